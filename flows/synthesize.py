"""The main job: recipe -> dataset, its shards fanned out over workers.

python -m flows.synthesize deploy/recipes/demo.yaml --workers 2
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from prefect import flow

from flows.announce import announce
from flows.board import Board, images_done
from flows.credentials import use_credentials
from flows.deployments import WORKERS, begin_elsewhere
from flows.drive import stopping
from flows.embedded import detach_server
from flows.guard import guarded
from flows.job import Job
from flows.parameters import Run, load_recipe
from flows.runners import devices_of
from flows.settings import require_server
from gansynth.claims import HELD
from gansynth.cli import execute
from gansynth.cli.options import RecipeOptions, naming
from gansynth.cli.recipes import DEFAULTS, warn_of_few_images
from gansynth.dataset import Dataset
from gansynth.errors import InputError, RenderError
from gansynth.plan import Plan
from gansynth.progress import counted, duration, progress
from gansynth.recipe import Recipe
from gansynth.seeds import Seeds, parse_seeds
from gansynth.session import begin, finish, resolve_for
from gansynth.stopping import Stop


@flow(name="synthesize", persist_result=False)
def synthesize(
    recipe: str | dict[str, Any],
    output: str | None = None,
    overrides: dict[str, Any] | None = None,
    shards: str | None = None,
    run: Run = Run(),
) -> dict[str, Any]:
    """Make the missing shards of a recipe on all workers; finish the dataset and announce it when none is missing.

    Args:
        recipe: path of a recipe file, or its content; see `load_recipe`.
        output: replaces the recipe's.
        overrides: replaces further keys, such as {"image.quality": 90}.
        shards: which of them, by their place in the plan, such as "0-999"; all if left out. A run of some shards does not
            finish the dataset.
        run: where and how.

    Returns:
        output, shards and images made in this run, seconds, those of all workers at work, and whether the dataset is complete.

    Raises:
        InputError: the request cannot be done; nothing was written.
        RenderError: some shards failed; the others are there, and another run makes the rest.
        Interrupted: stopped on request.
    """
    chosen = None if shards is None else parse_seeds(shards, "shards")
    return make(load_recipe(Recipe, recipe, output, overrides), run, chosen)


def make(wanted: Recipe, run: Run, chosen: Seeds | None = None) -> dict[str, Any]:
    """What the flow `synthesize` does, for flows that do more."""
    use_credentials(run.credentials_block)
    dataset, plan, devices = begin_for(wanted, run)
    if chosen and max(chosen) >= len(plan):
        raise InputError(
            f"shards: saw {max(chosen)}, but the plan has shards 0 to {len(plan) - 1}; see `gansynth plan`"
        )
    started = time.monotonic()
    with progress(plan.samples, "images", images_done(plan, dataset.done())) as advance:
        with stopping(Stop()) as stop:
            job = Job(dataset, plan, chosen, run, devices, stop, Board(dataset, plan, advance))
            job.make()
        seconds = time.monotonic() - started
        if chosen is None and not stop.requested:
            complete(dataset)  # before anything is shown, which may fail
        job.board.finish(seconds, len(devices), pictures=chosen is None and not stop.requested)
    stop.raise_if_requested()
    return _conclude(job, seconds)


def begin_for(wanted: Recipe, run: Run) -> tuple[Dataset, Plan, tuple[str, ...]]:
    """The dataset, begun; the shards asked for; and a device for each worker.

    Raises InputError if the request cannot be done; nothing was written.
    """
    if run.runner != "deployment":
        devices = devices_of(run)
        begun = begin(wanted, devices[0], allow_mixed=run.allow_mixed, allow_code=run.allow_code, keep_generator=False)
        return begun.dataset, begun.plan, devices
    # The machines that render begin it, since recipe.yaml records their environment.
    if wanted.output is None:
        raise InputError("output: the recipe names none; add `output: s3://...` that all machines can reach")
    resolved, found = resolve_for(wanted, "cpu", allow_code=run.allow_code)
    if found is None or len(found.recipe.parts) < len(resolved.parts):
        with stopping(Stop()) as stop:
            begin_elsewhere(wanted, run, len(resolved.parts), stop)
    dataset = Dataset.open(wanted.output)
    return dataset, Plan(dataset.record.recipe.with_parts(resolved.parts)), ("elsewhere",) * (run.workers or WORKERS)


def complete(dataset: Dataset) -> None:
    """Finalize and announce the dataset if no shard is missing, also of what it has grown by meanwhile."""
    dataset = Dataset.open(dataset.store.url)
    finish(dataset)
    if dataset.is_complete:
        announce(dataset)


def _conclude(job: Job, seconds: float) -> dict[str, Any]:
    """What the run did; raises if shards are missing."""
    dataset, board = job.dataset, job.board
    absent = [shard.stem for shard in job.todo()]
    if absent:
        reasons = [*(f"{f['shard']}: {f['error']}" for f in board.failed), *job.errors]
        if held := board.held.intersection(absent):
            reasons.append(f"{counted(len(held), 'shard')} {HELD}")
        reason = reasons[0] if reasons else "nobody said why"
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise RenderError(
            f"{counted(len(absent), 'shard')} missing: {reason}{more}; run the same command again to make them"
        )
    return {
        "output": dataset.store.place,
        "shards": board.made.shards,
        "images": board.made.images,
        "seconds": round(seconds, 2),
        "worker_seconds": round(board.made.seconds, 2),
        "complete": dataset.is_complete,
    }


app = App(name="python -m flows.synthesize", result_action="return_value")


@app.default
def main(
    recipe: Path,
    /,
    *,
    runner: Literal["process", "ray", "deployment"] = "process",
    workers: int | None = None,
    deployment: str = "synthesize/shards",
    ray_address: str | None = None,
    allow_mixed: Annotated[bool, Parameter(negative="")] = False,
    options: RecipeOptions = DEFAULTS,
) -> int:
    """Make a dataset with Prefect: fan out over workers, resume what was interrupted, announce what is complete.

    Example:

        python -m flows.synthesize deploy/recipes/demo.yaml --workers 2

    Args:
        recipe: a recipe file.
        runner: where the work runs: process (worker processes here), ray, or deployment (flow runs of a work pool).
        workers: how many; the visible GPUs if left out, else the cores; 4 flow runs with --runner deployment.
        deployment: for --runner deployment, the deployment of this flow that makes the shards.
        ray_address: for --runner ray, an existing cluster, such as auto; one on this machine if left out.
        allow_mixed: go on with a dataset that was begun with another device or other library versions.
    """
    wanted = options.load(recipe)
    run = Run.of_options(
        runner=runner,
        workers=workers,
        device=options.device,
        allow_mixed=allow_mixed,
        allow_code=options.allow_code,
        deployment=deployment,
        ray_address=ray_address,
    )
    # Once more inside the flow; here, so that bad input ends before a server is started.
    with naming(recipe):
        if runner == "deployment":
            require_server()
            resolve_for(wanted, "cpu", allow_code=options.allow_code)
        else:
            begin(
                wanted, devices_of(run)[0], allow_mixed=allow_mixed, allow_code=options.allow_code, keep_generator=False
            )
    detach_server()
    with guarded():
        state = synthesize(wanted.content(), run=run, return_state=True)
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
