"""The unit of work that Prefect sees: a block of shards. Small texts and numbers go in and out, never tensors."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import task_run
from prefect.tasks import Task

from flows import worker
from gansynth.api import describe_error
from gansynth.errors import StoreError
from gansynth.receipt import Receipt
from gansynth.render import Failure


def _is_io(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: storage comes back, a broken generator does not."""
    return isinstance(state.result(raise_on_failure=False), (StoreError, OSError))


def _name() -> str:
    ordinals = task_run.parameters["ordinals"]
    return f"shards {ordinals[0]} to {ordinals[-1]}"


@task(
    name="render-block",
    task_run_name=_name,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_is_io,
    persist_result=False,
)
def render_block(
    url: str, ordinals: list[int], encode_threads: int, allow_mixed: bool, allow_code: bool
) -> dict[str, Any]:
    """Make the shards of a block that do not exist yet.

    Args:
        url: the dataset, begun already.
        ordinals: the shards, by their place in the dataset's plan.
        encode_threads, allow_mixed, allow_code: see `Session`.

    Returns:
        `made` (a small dict a shard), `failed` (stem and error of each) and `held` (stems of shards left to others).

    Raises:
        StoreError: storage failed for some shards; on the retry only these are made.
    """
    session = worker.session(url, encode_threads, allow_mixed, allow_code)
    plan, wanted = session.dataset.plan, set(ordinals)
    done = session.dataset.done()
    todo = (shard for shard in map(plan.shard, sorted(wanted)) if shard.number not in done[shard.split])
    made: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    storage: Exception | None = None
    for outcome in session.render(todo, worker.STOP):
        if isinstance(outcome, Failure):
            failed.append({"shard": outcome.shard.stem, "error": describe_error(outcome.error)})
            storage = outcome.error if isinstance(outcome.error, (StoreError, OSError)) else storage
        else:
            made.append(_row(outcome))
    if storage is not None:
        raise StoreError(f"{failed[-1]['shard']}: {describe_error(storage)}") from storage
    return {"made": made, "failed": failed, "held": [shard.stem for shard in session.held]}


def _row(receipt: Receipt) -> dict[str, Any]:
    """One line of the table of shards."""
    return {
        "shard": f"{receipt.split}/{receipt.shard:06d}",
        "images": receipt.samples,
        "rejected": receipt.rejected,
        "images/s": receipt.images_per_second,
        "seconds": receipt.seconds["wall"],
        "bytes": receipt.tar.bytes + receipt.manifest.bytes,
        "worker": receipt.worker,
    }
