"""The unit of work that Prefect sees: a block of shards. Small texts and numbers go in and out, never tensors."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, cast

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import Task

from flows import worker
from flows.credentials import use_credentials
from gansynth.api import FAILURES_IN_A_ROW, describe_error
from gansynth.errors import StoreError
from gansynth.receipt import Receipt
from gansynth.render import Failure

_RETRIES = 2
# What a task run has made, by its id, kept from try to try: Prefect repeats a task in the same process.
_made: dict[str, list[dict[str, Any]]] = {}
_spent: dict[str, float] = {}  # and the seconds that this took


def _is_io(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may help: storage comes back, a broken generator does not."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, (StoreError, OSError)) and not isinstance(error, TaskRunTimeoutError)


def _name() -> str:
    ordinals = task_run.parameters["ordinals"]
    return f"shards {ordinals[0]} to {ordinals[-1]}"


@task(
    name="render-block",
    task_run_name=_name,
    retries=_RETRIES,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_is_io,
    persist_result=False,
)
def render_block(
    url: str,
    ordinals: list[int],
    encode_threads: int,
    allow_mixed: bool,
    allow_code: bool,
    take_over: bool = False,
    credentials_block: str | None = None,
) -> dict[str, Any]:
    """Make the shards of a block that do not exist yet; end early if several in a row fail, as they will with any other.

    Args:
        url: the dataset, begun already.
        ordinals: the shards, by their place in the dataset's plan.
        encode_threads, allow_mixed, allow_code: see `Session`.
        take_over: see `Session.render`.
        credentials_block: see `Workers`; workers of a Ray cluster do not inherit the flow's environment.

    Returns:
        `made` (a small dict a shard), `failed` (stem and error of each), `held` (stems of shards left to others), the `seconds`
        that they took, without loading the generator, and how many `workers` shared these.

    Raises:
        StoreError: storage failed for some shards, and there is another try; it makes only these.
    """
    use_credentials(credentials_block)
    session = worker.session(url, encode_threads, allow_mixed, allow_code)
    log, started = get_run_logger(), time.monotonic()
    plan, wanted = session.dataset.plan, set(ordinals)
    done = session.dataset.done()
    todo = (shard for shard in map(plan.shard, sorted(wanted)) if shard.number not in done[shard.split])
    made = _made.setdefault(task_run.id, [])
    failed: list[dict[str, str]] = []
    storage: Exception | None = None
    in_a_row = 0
    with closing(cast(Any, session.render(todo, worker.STOP, take_over=take_over))) as outcomes:
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                failed.append({"shard": outcome.shard.stem, "error": describe_error(outcome.error)})
                log.error("%s: %s (%s)", outcome.shard.stem, failed[-1]["error"], session.worker)
                storage = outcome.error if isinstance(outcome.error, (StoreError, OSError)) else storage
                in_a_row += 1
                if in_a_row == FAILURES_IN_A_ROW:
                    break
            else:
                made.append(row_of(outcome))
                log.info("%(shard)s: %(images)d images, %(images/s).1f a second (%(worker)s)", made[-1])
                in_a_row = 0
    spent = _spent.pop(task_run.id, 0.0) + time.monotonic() - started
    if storage is not None and task_run.run_count <= _RETRIES:
        _spent[task_run.id] = spent
        raise StoreError(f"{failed[-1]['shard']}: {describe_error(storage)}") from storage
    return {
        "made": _made.pop(task_run.id),
        "failed": failed,
        "held": [shard.stem for shard in session.held],
        "seconds": spent,
        "workers": 1,
    }


def row_of(receipt: Receipt) -> dict[str, Any]:
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
