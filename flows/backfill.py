"""Making good what a dataset lacks: missing and damaged shards, and no other, in any range of its parts."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.credentials import use_credentials
from flows.parameters import Run
from flows.synthesize import begin_for, complete, make
from gansynth import check
from gansynth.dataset import Dataset
from gansynth.errors import InputError
from gansynth.progress import progress
from gansynth.recipe import Recipe
from gansynth.seeds import parse_seeds


@flow(name="backfill", persist_result=False)
def backfill(
    output: str,
    parts: str | None = None,
    verify: bool = True,
    run: Run = Run(),
) -> dict[str, Any]:
    """Make the missing and the damaged shards of a dataset again, with the bytes that they had.

    Args:
        output: folder or URL of the dataset.
        parts: which of its parts (nights, of one that `nightly` grows), such as "0-6,9"; all if left out.
        verify: read every byte of the existing shards, and make those again that are not as they were written.
        run: where and how.

    Returns:
        what `synthesize` returns, and the number of shards that were `damaged`.

    Raises:
        InputError: there is no such dataset or part.
        RenderError: some shards failed.
    """
    use_credentials(run.credentials_block)
    dataset = Dataset.open(output)
    chosen = _chosen(dataset, parts)
    recipe = Recipe.parse({**dataset.record.recipe.record(), "output": output})
    problems = _damaged(dataset, chosen) if verify else []
    if problems:  # receipts go only if this machine can make what they stand for
        begin_for(recipe, run)
    for problem in problems:
        check.discard(dataset, problem)
    done = dataset.done()
    lacking = [
        shard.ordinal for shard in dataset.plan if shard.part in chosen and shard.number not in done[shard.split]
    ]
    made: dict[str, Any] = {
        "output": dataset.store.place,
        "shards": 0,
        "images": 0,
        "seconds": 0.0,
        "worker_seconds": 0.0,
    }
    if lacking:
        made = make(recipe, run, parse_seeds(",".join(map(str, lacking)), "shards"))
    complete(dataset)
    return {**made, "complete": dataset.is_complete, "damaged": len(problems)}


def _chosen(dataset: Dataset, parts: str | None) -> frozenset[int]:
    existing = {section.part for section in dataset.plan.sections}
    if parts is None:
        return frozenset(existing)
    wanted = frozenset(parse_seeds(parts, "parts"))
    if unknown := sorted(wanted - existing):
        raise InputError(f"parts: saw {unknown[0]}, but {dataset.store.place} has parts 0 to {max(existing)}")
    return wanted


def _damaged(dataset: Dataset, parts: frozenset[int]) -> list[check.Problem]:
    """What is wrong with the shards that exist, a problem for each that has any."""
    found: dict[int, check.Problem] = {}
    existing = dataset.done()
    with progress(sum(map(len, existing.values())), "shards") as advance:
        for problem in check.verify(dataset, lambda: advance(1), parts):
            get_run_logger().warning("%s: %s", problem.path, problem.what)
            if problem.shard and problem.shard.number in existing[problem.shard.split]:
                found[problem.shard.ordinal] = problem
    return list(found.values())
