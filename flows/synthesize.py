"""The main job: recipe -> dataset, its shards fanned out over workers.

python -m flows.synthesize deploy/recipes/demo.yaml --workers 2
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from prefect import flow

from flows.announce import announce
from flows.board import Board, images_done
from flows.embedded import detach_server
from flows.guard import guarded
from flows.runners import Call, drive, open_runner, require_runner, result_of, stopping, worker_devices
from flows.tasks import render_block
from gansynth.api import describe_error
from gansynth.claims import HELD
from gansynth.cli import execute
from gansynth.cli.options import RecipeOptions, naming
from gansynth.cli.recipes import DEFAULTS, warn_of_few_images
from gansynth.dataset import Dataset, missing
from gansynth.environment import cores
from gansynth.errors import RenderError
from gansynth.estimate import images_per_second
from gansynth.plan import Plan
from gansynth.progress import counted, duration, progress
from gansynth.recipe import Recipe
from gansynth.session import begin
from gansynth.stopping import Stop

_BLOCK_SECONDS = 300.0  # a task costs Prefect a quarter of a second; minutes of work make that nothing
_BLOCKS_PER_WORKER = 4  # or fewer shards, so that no worker is idle for long at the end
_TASKS_PER_RUN = 1000  # Prefect becomes unstable beyond about twice as many
_POOLS = 3  # a worker that is killed takes its pool along; how often to start another
_WINDOW = 3  # blocks in the queue for each worker


@dataclass
class _Job:
    """What blocks of one flow run share."""

    dataset: Dataset
    plan: Plan
    devices: tuple[str, ...]
    allow_mixed: bool
    allow_code: bool
    stop: Stop
    board: Board
    errors: list[str] = field(default_factory=list)


@flow(name="synthesize", persist_result=False)
def synthesize(
    recipe: str | dict[str, Any],
    output: str | None = None,
    overrides: dict[str, Any] | None = None,
    runner: str = "process",
    workers: int | None = None,
    device: str = "auto",
    allow_mixed: bool = False,
    allow_code: bool = False,
) -> dict[str, Any]:
    """Make the missing shards of a recipe on all workers; finish the dataset and announce it when none is missing.

    Args:
        recipe: path of a recipe file, or its content.
        output: replaces the recipe's.
        overrides: replaces further keys, such as {"image.quality": 90}.
        runner: where blocks of shards run; see `flows.runners`.
        workers: how many; the visible GPUs if left out, else the cores.
        device: auto, cpu or cuda:N.
        allow_mixed: go on with a dataset of another environment.
        allow_code: permit `package.module:factory` generators.

    Returns:
        output, shards and images made in this run, seconds, and whether the dataset is complete.

    Raises:
        InputError: the request cannot be done; nothing was written.
        RenderError: some shards failed; the others are there, and another run makes the rest.
        Interrupted: stopped on request.
    """
    require_runner(runner)
    wanted = load_recipe(recipe, output, overrides)
    devices = worker_devices(device, workers)
    begun = begin(wanted, devices[0], allow_mixed=allow_mixed, allow_code=allow_code, keep_generator=False)
    dataset, plan, started = begun.dataset, begun.plan, time.monotonic()
    with stopping() as stop, progress(plan.samples, "images", images_done(plan, dataset.done())) as advance:
        job = _Job(dataset, plan, devices, allow_mixed, allow_code, stop, Board(dataset, plan, advance))
        for _ in range(_POOLS):
            if stop.requested or not _blocks(job, probe=True) or _run_pool(job, runner):
                break
        seconds = time.monotonic() - started
        if not stop.requested:
            _complete(dataset)  # before anything is shown, which may fail
        job.board.finish(seconds, len(devices), pictures=not stop.requested)
    stop.raise_if_requested()
    return _conclude(job, seconds)


def load_recipe(recipe: str | Mapping[str, Any], output: str | None, overrides: Mapping[str, Any] | None) -> Recipe:
    """The recipe from a file or a mapping, with keys replaced."""
    changes = {**(overrides or {}), **({"output": output} if output else {})}
    return Recipe.load(recipe, changes) if isinstance(recipe, str) else Recipe.parse(recipe, changes)


def _blocks(job: _Job, probe: bool = False) -> Any:
    """The missing shards in blocks of ordinals; with `probe`, whether there is any."""
    todo = missing(job.plan, job.dataset.done())
    if probe:
        return next(todo, None) is not None
    count = len(job.plan) - sum(map(len, job.dataset.done().values()))
    rate = images_per_second(job.plan.recipe, job.devices[0].partition(":")[0])
    return _cut((shard.ordinal for shard in todo), block_size(count, job, rate))


def block_size(count: int, job: _Job, rate: float | None) -> int:
    """Shards in a block: minutes of work, several blocks for each worker, and no more tasks than Prefect bears."""
    size = -(-count // (_BLOCKS_PER_WORKER * len(job.devices)))
    if rate is not None:
        size = min(size, int(_BLOCK_SECONDS * rate / job.plan.recipe.samples_per_shard))
    return max(1, size, -(-count // _TASKS_PER_RUN))


def _cut(ordinals: Iterator[int], size: int) -> Iterator[list[int]]:
    while block := list(islice(ordinals, size)):
        yield block


def _calls(job: _Job) -> Iterator[Call]:
    """A task for each block of missing shards."""
    threads = max(1, cores() // len(job.devices))
    for block in _blocks(job):
        yield (
            render_block,
            {
                "url": job.dataset.store.url,
                "ordinals": block,
                "encode_threads": threads,
                "allow_mixed": job.allow_mixed,
                "allow_code": job.allow_code,
            },
        )


def _run_pool(job: _Job, runner: str) -> bool:
    """Drive all missing shards through one pool; False if the pool broke and another should be tried."""
    job.errors.clear()
    intact = True
    with open_runner(runner, job.devices) as pool:
        for future in drive(pool, _calls(job), _WINDOW * len(job.devices), job.stop, job.board.refresh):
            result = result_of(future)
            if isinstance(result, BrokenProcessPool):
                intact = False
            elif isinstance(result, Exception):
                job.errors.append(describe_error(result))
            elif result is not None:
                job.board.collect(result)
    return intact


def _complete(dataset: Dataset) -> None:
    """Finalize and announce the dataset if no shard is missing."""
    dataset.finalize()
    if _is_complete(dataset):
        announce(dataset)


def _is_complete(dataset: Dataset) -> bool:
    return sum(map(len, dataset.done().values())) == len(dataset.plan)


def _conclude(job: _Job, seconds: float) -> dict[str, Any]:
    """What the run did; raises if shards are missing."""
    dataset, board = job.dataset, job.board
    absent = [shard.stem for shard in missing(job.plan, dataset.done())]
    if absent:
        reasons = [*(f"{f['shard']}: {f['error']}" for f in board.failed), *job.errors]
        if held := board.held.intersection(absent):
            reasons.append(f"{counted(len(held), 'shard')} {HELD}")
        reason = reasons[0] if reasons else "workers were killed"
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise RenderError(
            f"{counted(len(absent), 'shard')} missing: {reason}{more}; run the same command again to make them"
        )
    return {
        "output": dataset.store.place,
        "shards": len(board.made),
        "images": sum(row["images"] for row in board.made),
        "seconds": round(seconds, 2),
        "complete": _is_complete(dataset),
    }


app = App(name="python -m flows.synthesize", result_action="return_value")


@app.default
def main(
    recipe: Path,
    /,
    *,
    runner: str = "process",
    workers: int | None = None,
    allow_mixed: Annotated[bool, Parameter(negative="")] = False,
    options: RecipeOptions = DEFAULTS,
) -> int:
    """Make a dataset with Prefect: fan out over workers, resume what was interrupted, announce what is complete.

    Example:

        python -m flows.synthesize deploy/recipes/demo.yaml --workers 2

    Args:
        recipe: a recipe file.
        runner: where the work runs: process.
        workers: how many; the visible GPUs if left out, else the cores.
        allow_mixed: go on with a dataset that was begun with another device or other library versions.
    """
    require_runner(runner)
    wanted = options.load(recipe)
    devices = worker_devices(options.device, workers)
    # Once more inside the flow; here, so that bad input ends before a server is started.
    with naming(recipe):
        begin(wanted, devices[0], allow_mixed=allow_mixed, allow_code=options.allow_code, keep_generator=False)
    detach_server()
    with guarded():
        state = synthesize(
            wanted.content(),
            runner=runner,
            workers=workers,
            device=options.device,
            allow_mixed=allow_mixed,
            allow_code=options.allow_code,
            return_state=True,
        )
        result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    rate = f", {result['images'] / result['seconds']:,.1f} images/s" if result["images"] else ""
    print(
        f"{counted(result['shards'], 'shard')} with {counted(result['images'], 'image')} made in {duration(result['seconds'])}{rate}"
    )
    print(f"{result['output']}: {'complete' if result['complete'] else 'unfinished'}")
    warn_of_few_images(Dataset.open(str(wanted.output)))
    return 0


if __name__ == "__main__":
    sys.exit(execute(app, sys.argv[1:]))
