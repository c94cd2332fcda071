"""The command train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gansynth.cli.options import overrides
from gansynth.environment import choose_device
from gansynth.errors import InputError
from gansynth.progress import counted, progress, tell
from gansynth.stopping import Stop, stop_on_signals
from gansynth.training.recipe import TrainingRecipe


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(train)


def train(
    recipe: Path,
    /,
    *,
    device: str = "auto",
    output: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> int:
    """Train a GAN on images; the result is a folder that other recipes take as their generator.

    For example:

        gansynth train deploy/recipes/mlp-flowers.yaml --set data=./flowers.zip

    Interrupted, by Ctrl-C or by anything else, the same command goes on where it stopped.

    Args:
        recipe: a training recipe.
        device: auto, cpu or cuda:N.
        output: the folder of the run, in place of the recipe's.
        set: replace a key of the recipe, such as `--set epochs=20`; may be repeated.
    """
    wanted = load(recipe, output, set or [])
    if wanted.sweep:
        raise InputError(
            f"recipe {recipe}: has a sweep, whose runs go to several workers; use python -m flows.train {recipe}, or remove it"
        )
    choose_device(device)
    from gansynth.training.run import train as train_generator

    with stop_on_signals(Stop()) as stop:
        found = train_generator(wanted, device=device, stop=stop, show=progress, tell=tell)
    if found.skipped:
        print(f"{counted(found.skipped, 'image')} left out, listed in {found.folder / 'data.json'}", file=sys.stderr)
    speed = f", {found.images_per_second:,.1f} images/s" if found.images_per_second else ""
    distance = "" if found.distance is None else f", Frechet distance {found.distance:.4g} ({found.metric})"
    print(f"{counted(found.epochs, 'epoch')}, {counted(found.steps, 'step')}{speed}{distance}")
    print(found.place)
    return 0


def load(path: Path, output: str | None, assignments: list[str]) -> TrainingRecipe:
    """The training recipe in a file, with the options of the command line applied."""
    changes = overrides(assignments)
    return TrainingRecipe.load(path, changes if output is None else {**changes, "output": output})
