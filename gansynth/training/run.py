"""A training run from data to a generator's folder: begins, or goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gansynth.environment import choose_device, cores
from gansynth.errors import InputError, RecipeError
from gansynth.mirror import Mirror
from gansynth.stopping import Stop
from gansynth.store import is_url
from gansynth.training import checkpoint, folder, pictures
from gansynth.training.history import require_tensorboard
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.sources import open_source, state_of
from gansynth.training.trainer import Run, Show, Tell, Ties, ignore, read_images


@dataclass(frozen=True)
class Trained:
    """What a run has come to.

    Args:
        folder: where the generator is on this machine.
        place: the same, or its URL: what a recipe names as its generator.
        epochs, steps: done in all.
        images_per_second: of training in this process, without pictures and checkpoints; None if nothing was left to do.
        distance: Frechet distance of what is shipped to the real images, None if the recipe asks for none.
        metric: what it is measured on.
        skipped: images that could not be used.
    """

    folder: Path
    place: str
    epochs: int
    steps: int
    images_per_second: float | None
    distance: float | None
    metric: str
    skipped: int


def train(
    recipe: TrainingRecipe,
    *,
    device: str = "auto",
    threads: int | None = None,
    stop: Stop | None = None,
    show: Show = lambda total, unit, done: nullcontext(ignore),
    tell: Tell = lambda text: None,
) -> Trained:
    """Train a generator, or go on with a run that was interrupted; the result is a folder that recipes take as `generator`.

    On a CPU a run that was interrupted, however that happened, ends with the same numbers as one that was not: where the recipe
    leaves the number of threads open, it goes on with as many as it had. A run that is finished is left as it is, even where its
    data are gone.

    Args:
        recipe: what to train on what.
        device: auto, cpu or cuda:N.
        threads: torch threads where neither the recipe nor the run so far says; all cores if left out.
        stop: ends the run with a checkpoint.
        show: progress.
        tell: takes a line about the data once they are read.

    Raises:
        InputError: data, output or `init` cannot be used, or memory is too small; nothing is left behind.
        TrainingError: losses or weights are no longer finite; the last good checkpoint is kept.
        Interrupted: stopped on request; the same call goes on.
    """
    pictures.require_curves()
    if recipe.tensorboard:
        require_tensorboard()
    folder.require_apart(recipe)
    if not is_url(recipe.folder):
        return _train(recipe, Ties(device, threads, stop or Stop(), show, tell, lambda: None))
    mirror = Mirror(recipe.folder, ignored=(folder.WORK,))
    mirror.pull_if_any()
    here = recipe.model_copy(update={"output": str(mirror.folder)})
    ties = Ties(device, threads, stop or Stop(), show, tell, lambda: mirror.push(last=folder.RESULT))
    return replace(_train(here, ties), place=recipe.folder)


def _train(recipe: TrainingRecipe, ties: Ties) -> Trained:
    """The same in a folder of this machine."""
    place = Path(recipe.folder)
    result = folder.result_of(place, recipe)
    state = _state(recipe, finished=result is not None)
    if result is not None and state in (None, result[1]):
        return _as_it_is(place, result[0], ties)
    device = choose_device(ties.device)
    with folder.claimed(place):
        before = folder.require_usable(place, recipe)
        if result is not None and state is not None:
            images = read_images(recipe, open_source(recipe.source, recipe.class_names), state, ties)
            if folder.keep_result(place, state, images.summary):
                return _as_it_is(place, result[0], ties)
        try:
            with _threads(recipe.threads, folder.begun_with(place).threads if before else None, ties.threads):
                facts, rate = Run(recipe, state or "", device, before, ties).finish()
            return Trained(folder=place, place=str(place), images_per_second=rate, **facts)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if not before and checkpoint.newest(place) is None:
            folder.forget(place)
        raise _too_large(recipe, device)


def _state(recipe: TrainingRecipe, finished: bool) -> str | None:
    """Of the data; None if they are gone, which only a finished run can do without."""
    try:
        source = recipe.source
    except InputError:
        if finished:
            return None
        raise
    return None if finished and not source.exists() else state_of(source)


def _as_it_is(place: Path, facts: dict[str, Any], ties: Ties) -> Trained:
    ties.on_saved()  # of a push that failed at the end of the run something may be left to send
    return Trained(folder=place, place=str(place), images_per_second=None, **facts)


@contextmanager
def _threads(wanted: int | str, so_far: int | None, offered: int | None) -> Iterator[None]:
    """As many torch threads as a run must have to end with the numbers of one that was not interrupted."""
    threads = torch.get_num_threads()
    torch.set_num_threads(wanted if isinstance(wanted, int) else so_far or offered or cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _too_large(recipe: TrainingRecipe, device: str) -> RecipeError:
    widths = f"width {recipe.value('width')}, discriminator_width {recipe.value('discriminator_width')}"
    return RecipeError(
        f"width: a {recipe.architecture} with {widths} and batch_size {recipe.batch_size} at resolution {recipe.resolution} needs "
        f"more memory than {device} has; lower one of them"
    )


def _is_out_of_memory(error: RuntimeError) -> bool:
    """For the CPU's memory torch has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "tried to allocate" in str(error)
