"""Training as a flow: one run, or the runs of a sweep fanned out over workers; and a run followed by a dataset of it.

python -m flows.train deploy/recipes/mlp-flowers.yaml
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.logging import get_run_logger

from flows import worker
from flows.credentials import use_credentials
from flows.drive import Call, drive, stopping
from flows.embedded import detach_server
from flows.gpus import kept
from flows.guard import guarded
from flows.parameters import Run, Workers, load_recipe
from flows.runners import POOLS, PoolLost, devices_of, open_pool
from flows.synthesize import synthesize
from gansynth.api import describe_error
from gansynth.cli import execute
from gansynth.cli.training import load
from gansynth.environment import choose_device, cores
from gansynth.errors import InputError, Interrupted, OutputError, TrainingError
from gansynth.progress import counted, progress, tell
from gansynth.stopping import Stop
from gansynth.store import Store, is_url
from gansynth.training import folder, pictures
from gansynth.training.pictures import require_curves
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import Trained
from gansynth.training.run import train as train_generator
from gansynth.training.sweep import TABLE, page, ranked, variants

_PICTURES = 20  # of the best runs, as artifacts
_LOST = "its worker was lost"


@task(name="train-variant", task_run_name="variant {number}", persist_result=False)
def train_variant(
    number: int, recipe: dict[str, Any], threads: int, credentials_block: str | None = None
) -> dict[str, Any]:
    """One run of a sweep in a worker process; goes on where it was interrupted.

    Args:
        number: of the variant.
        recipe: its content.
        threads: torch threads where neither the recipe nor the run so far says.
        credentials_block: see `Workers`.

    Returns:
        number and result; or number, error, and whether running again may help, if training cannot go on.

    Raises:
        InputError: of what all variants share, such as the data.
        Interrupted: stopped on request.
    """
    use_credentials(credentials_block)
    device = os.environ.get("GANSYNTH_WORKER_DEVICE", "cpu")
    try:
        found = train_generator(TrainingRecipe.parse(recipe), device=device, threads=threads, stop=worker.STOP)
    except Interrupted:
        raise
    except Exception as error:  # one that diverges is a result too, one that finds no memory costs the others nothing
        if type(error) is InputError:  # what is wrong with a recipe, its weights or its output is a subclass
            raise
        return {"number": number, "error": describe_error(error), "failed": not isinstance(error, TrainingError)}
    return {"number": number, "error": "", "failed": False, **_facts(found)}


def _facts(found: Trained) -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "place": found.place,
        "epochs": found.epochs,
        "steps": found.steps,
        "distance": found.distance,
        "metric": found.metric,
        "images_per_second": found.images_per_second,
    }


@flow(name="train", persist_result=False)
def train(
    recipe: str | dict[str, Any],
    output: str | None = None,
    overrides: dict[str, Any] | None = None,
    run: Workers = Workers(),
) -> dict[str, Any]:
    """Train a generator, or all variants of a sweep; what was interrupted goes on.

    Args:
        recipe: path of a training recipe, or its content.
        output: replaces the recipe's.
        overrides: replaces further keys.
        run: where; several workers share the runs of a sweep.

    Returns:
        folder of the (best) run with its epochs, steps and distance; `runs` with those of every variant of a sweep, or its
        error, and whether it `failed` in a way that running again may mend.

    Raises:
        InputError: the request cannot be done.
        TrainingError: no run came to an end.
        Interrupted: stopped on request.
    """
    use_credentials(run.credentials_block)
    wanted = load_recipe(TrainingRecipe, recipe, output, overrides)
    with stopping(Stop()) as stop:
        if wanted.sweep is None:
            device = choose_device(run.device)
            with kept((device,), stop):
                found = _facts(train_generator(wanted, device=device, stop=stop, show=progress, tell=tell))
            _show([found], f"# {wanted.name}\n\n`{found['folder']}`\n")
            return found
        rows = _sweep(wanted, run, devices_of(run), stop)
    stop.raise_if_requested()
    return _conclude(wanted, rows)


def _sweep(recipe: TrainingRecipe, run: Workers, devices: tuple[str, ...], stop: Stop) -> list[dict[str, Any]]:
    """Run all variants; a row for each, in order."""
    chosen = variants(recipe)
    _require_usable(recipe, [variant for _, variant in chosen])
    threads = max(1, cores() // len(devices))
    calls: list[Call] = [
        (
            train_variant,
            {
                "number": number,
                "recipe": variant.content(),
                "threads": threads,
                "credentials_block": run.credentials_block if run.runner == "ray" else None,
            },
        )
        for number, (_, variant) in enumerate(chosen)
    ]
    lost = {"error": _LOST, "failed": True, "metric": ""}
    rows = [{"values": values, "folder": variant.folder, **lost} for values, variant in chosen]
    with progress(len(chosen), "runs") as advance:
        pools, left = POOLS, calls
        while pools and left and not stop.requested and not _through_pool(left, rows, run, devices, stop, advance):
            before = len(left)
            left = [call for call, row in zip(calls, rows, strict=True) if row["error"] == _LOST]
            pools = POOLS if len(left) < before else pools - 1
    return rows


def _through_pool(
    calls: list[Call],
    rows: list[dict[str, Any]],
    run: Workers,
    devices: tuple[str, ...],
    stop: Stop,
    advance: Callable[[int], None],
) -> bool:
    """Fill in the rows of some variants; False if the pool broke and another should be tried."""
    intact, refused = True, None
    with open_pool(run, devices, stop) as pool:
        for found in drive(pool, calls, pool.window * len(devices), stop):
            if isinstance(found, PoolLost):
                intact = False
            elif isinstance(found, InputError) and refused is None:
                refused = found
                stop.request(signal.SIGTERM)  # or the pool would train what it has begun to the end
            elif isinstance(found, Exception) and not stop.requested:
                get_run_logger().warning("a run failed: %s", describe_error(found))
            elif isinstance(found, dict):
                rows[found["number"]].update(found)
                advance(1)
    if refused is not None:
        raise refused
    return intact


def _require_usable(recipe: TrainingRecipe, chosen: list[TrainingRecipe]) -> None:
    """Raise OutputError before anything runs if a variant cannot go where it should, or the table of all cannot."""
    folder.require_apart(recipe)
    if Store(recipe.folder).exists(folder.RECIPE):
        raise OutputError(
            f"output {recipe.folder}: holds a run, whose card the table of the sweep would replace; choose another output"
        )
    for variant in chosen:
        if not is_url(variant.folder):
            folder.require_usable(Path(variant.folder), variant)


def _conclude(recipe: TrainingRecipe, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write table and page of a sweep, show them, and name the best run."""
    finished = [row for row in ranked(rows) if not row["error"]]
    if not finished:
        raise TrainingError(
            f"output {recipe.folder}: no variant came to an end: {rows[0]['error']}; run the same command again"
        )
    text = page(recipe, rows, finished[0]["metric"])
    store = Store(recipe.folder)
    store.publish(TABLE, text.encode())
    store.publish("sweep.json", (json.dumps(rows, indent=1) + "\n").encode())
    _show([{**row["values"], **{k: v for k, v in row.items() if k != "values"}} for row in ranked(rows)], text)
    return {**finished[0], "runs": rows}


def _show(rows: list[dict[str, Any]], text: str) -> None:
    """Artifacts in Prefect's UI; what is shown must not cost what is made."""
    with suppress(Exception):
        create_table_artifact([{k: v for k, v in row.items() if v is not None} for row in rows], key="runs")
        create_markdown_artifact(text, key="training")
        for row in rows[:_PICTURES]:
            png = Path(row["folder"]) / pictures.FOLDER / pictures.BESIDE
            if png.is_file():
                picture = f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
                create_image_artifact(picture, key="real-and-generated", description=row["folder"])


@flow(name="train-and-synthesize", persist_result=False)
def train_and_synthesize(
    training: str | dict[str, Any],
    synthesis: str | dict[str, Any],
    run: Workers = Workers(),
) -> dict[str, Any]:
    """Train a generator, then make a dataset with it (with the best one of a sweep).

    Args:
        training: path of a training recipe, or its content.
        synthesis: path of a recipe, or its content; its `generator` is replaced by the one that was trained.
        run: where.

    Returns:
        what both flows return, under `training` and `synthesis`.
    """
    trained = train(training, run=run)
    if failed := [row for row in trained.get("runs", ()) if row["failed"]]:
        raise TrainingError(
            f"{counted(len(failed), 'run')} of the sweep failed ({failed[0]['error']}) and may be the best; run the same again"
        )
    place = trained["place"]
    overrides = {"generator": place if is_url(place) else str(Path(place).resolve())}
    made = synthesize(synthesis, overrides=overrides, run=Run(**run.model_dump()))
    return {"training": trained, "synthesis": made}


app = App(name="python -m flows.train", result_action="return_value")


@app.default
def main(
    recipe: Path,
    /,
    *,
    device: str = "auto",
    output: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    runner: Literal["process", "ray"] = "process",
    workers: int | None = None,
    ray_address: str | None = None,
) -> int:
    """Train with Prefect: one run, or a sweep over all workers.

    For example:

        python -m flows.train deploy/recipes/mlp-flowers.yaml --set 'sweep={keys: {learning_rate: [0.0001, 0.0002]}}'

    Args:
        recipe: a training recipe.
        device: auto, cpu or cuda:N.
        output: the folder of the run, in place of the recipe's.
        set: replace a key of the recipe; may be repeated.
        runner: where the runs of a sweep run: process (worker processes here) or ray.
        workers: how many; the visible GPUs if left out, else the cores.
        ray_address: for --runner ray, an existing cluster, such as auto; one on this machine if left out.
    """
    run = Workers.of_options(runner=runner, workers=workers, device=device, ray_address=ray_address)
    require_curves()
    wanted = load(recipe, output, set or [])
    devices_of(run)
    if wanted.sweep:
        variants(wanted)
    detach_server()
    with guarded():
        state = train(wanted.content(), run=run, return_state=True)
        result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    if (runs := result.get("runs")) is not None:
        print(f"{counted(len(runs), 'run')}, the table is in {wanted.folder}/{TABLE}; the best:")
    distance = "" if result["distance"] is None else f", Frechet distance {result['distance']:.4g} ({result['metric']})"
    print(f"{counted(result['epochs'], 'epoch')}, {counted(result['steps'], 'step')}{distance}")
    print(result["place"])
    return int(any(row["failed"] for row in runs or ()))


if __name__ == "__main__":
    sys.exit(execute(app, sys.argv[1:]))
