"""Verification on a schedule: a run that fails if a dataset is not what its receipts say."""

from __future__ import annotations

import itertools

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.credentials import use_credentials
from gansynth import check
from gansynth.dataset import Dataset
from gansynth.errors import StoreDamaged
from gansynth.progress import counted, progress

_LISTED = 1000


@flow(name="verify", persist_result=False)
def verify(output: str, credentials_block: str | None = None) -> dict[str, int]:
    """Read every byte of a dataset and compare it with the receipts. The flow `backfill` mends what is found.

    Args:
        output: folder or URL of the dataset.
        credentials_block: see `Workers`.

    Returns:
        the number of `shards` that were read.

    Raises:
        InputError: there is no such dataset.
        StoreDamaged: something is damaged or missing; the artifact `problems` lists it.
    """
    use_credentials(credentials_block)
    dataset = Dataset.open(output)
    shards = sum(map(len, dataset.done().values()))
    with progress(shards, "shards") as advance:
        problems = list(check.verify(dataset, lambda: advance(1)))
    if problems:
        rows = [{"path": problem.path, "what": problem.what} for problem in problems[:_LISTED]]
        create_table_artifact(rows, key="problems", description=f"{len(problems):,} problems of {dataset.store.place}")
        unmade = sum(map(_is_unmade, problems))
        first = next(itertools.filterfalse(_is_unmade, problems), problems[0])
        waiting = f"{unmade:,} of them shards that are not there, which a run may still be making; " if unmade else ""
        raise StoreDamaged(
            f"{dataset.store.place}: {counted(len(problems), 'problem')}, such as {first.path}: {first.what}; {waiting}run the flow "
            f"backfill, or `gansynth repair`"
        )
    return {"shards": shards}


def _is_unmade(problem: check.Problem) -> bool:
    return problem.shard is not None and problem.path == problem.shard.stem
