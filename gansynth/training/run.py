"""A training run from data to a generator's folder: begins, or goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gansynth.environment import choose_device, cores, environment
from gansynth.errors import OutputError, TrainingError
from gansynth.mirror import Mirror, local_path
from gansynth.progress import Advance, counted
from gansynth.quality.features import extractor
from gansynth.stopping import Stop
from gansynth.store import is_url
from gansynth.training import checkpoint, folder, pictures, result
from gansynth.training.gallery import Gallery, grid_path, save_grid
from gansynth.training.images import Images, prepare
from gansynth.training.init import start_from
from gansynth.training.items import Source
from gansynth.training.loop import Loop
from gansynth.training.players import players
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.sources import open_source, state_of

_LOOK_ON_GPU = 20  # steps between looks at the losses, each of which waits for the GPU
Show = Callable[[int, str, int], AbstractContextManager[Advance]]
"(total, unit in the plural, done before) -> what to tell of finished units."


Tell = Callable[[str], None]


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
    stop: Stop | None = None,
    show: Show = lambda total, unit, done: nullcontext(_ignore),
    tell: Tell = lambda text: None,
) -> Trained:
    """Train a generator, or go on with a run that was interrupted; the result is a folder that recipes take as `generator`.

    On a CPU a run that was interrupted, however that happened, ends with the same numbers as one that was not, if the number of
    threads is the same. A run that is finished is left as it is.

    Args:
        recipe: what to train on what.
        device: auto, cpu or cuda:N.
        stop: ends the run with a checkpoint.
        show: progress.
        tell: takes a line about the data once they are read.

    Raises:
        InputError: data, output or `init` cannot be used; nothing is left behind.
        TrainingError: losses or weights are no longer finite; the last good checkpoint is kept.
        Interrupted: stopped on request; the same call goes on.
    """
    pictures.require_curves()
    if recipe.tensorboard:
        result.require_tensorboard()
    if is_url(recipe.folder):
        mirror = Mirror(recipe.folder, ignored=(folder.WORK,))
        mirror.pull_if_any()
        here = recipe.model_copy(update={"output": str(mirror.folder)})
        found = _train(here, device, stop, show, tell, lambda: mirror.push(last=folder.RESULT))
        return replace(found, place=recipe.folder)
    return _train(recipe, device, stop, show, tell, lambda: None)


def _train(
    recipe: TrainingRecipe, device: str, stop: Stop | None, show: Show, tell: Tell, on_saved: Callable[[], None]
) -> Trained:
    """The same in a folder of this machine; calls `on_saved` whenever the run could go on from what is in it."""
    place, state = Path(recipe.folder), state_of(recipe.source)
    if (found := folder.result_of(place, recipe, state)) is not None:
        on_saved()  # of a push that failed at the end of the run something may be left to send
        return Trained(folder=place, place=str(place), images_per_second=None, **found)
    chosen, threads = choose_device(device), torch.get_num_threads()
    torch.set_num_threads(cores() if recipe.threads == "auto" else recipe.threads)
    try:
        with folder.claimed(place):
            return _Run(recipe, state, chosen, stop or Stop(), show, tell, on_saved).finish()
    finally:
        torch.set_num_threads(threads)


def _ignore(count: int, note: str = "", /) -> None: ...


class _Run:
    """What is quick to check comes first, then the data are read; nothing is written before all of it is known to fit."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        state: str,
        device: str,
        stop: Stop,
        show: Show,
        tell: Tell,
        on_saved: Callable[[], None],
    ) -> None:
        self.on_saved = on_saved
        self.recipe, self.state, self.device, self.stop, self.show = recipe, state, device, stop, show
        self.folder = Path(recipe.folder)
        before = folder.require_usable(self.folder, recipe)
        source = open_source(recipe.source, recipe.class_names)
        self.players = players(recipe, len(source.classes), device)
        found = checkpoint.load(self.folder, self.players)
        fresh = found is not None and bool(found[2].get("fresh_discriminator"))
        if recipe.init and found is None:
            fresh = start_from(local_path(recipe.init), self.players)
        measure = None if recipe.metric == "none" else extractor(recipe.metric)
        self.images = self._images(source)
        tell(self._told())
        self.gallery = Gallery(recipe, self.images, self.players, measure)
        self.loop = Loop(recipe, self.images, self.players, device, fresh)
        self.step = 0
        self.distances: folder.Distances = []
        self.losses = np.zeros((self.loop.steps, 2), np.float32)
        self.seconds, self.done_here = 0.0, 0
        if found is not None:
            self._resume(*found)
        trained = None if before and self.step == self.loop.steps else environment(device)
        folder.begin(self.folder, recipe, trained, self.images.summary)

    def _images(self, source: Source) -> Images:
        with self.show(source.count or 0, "images read", 0) as advance:

            def on_image(count: int) -> None:
                self.stop.raise_if_requested()
                advance(count)

            place = self.folder / folder.WORK / "data"
            return prepare(source, self.recipe.resolution, place, self.recipe.max_skipped, on_image, self.state)

    def _told(self) -> str:
        summary = self.images.summary
        classes = list(summary.classes)
        shown = f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
        text = counted(summary.images, "image")
        if not classes:
            return text
        text += f", {counted(len(classes), 'class', 'classes')}: {shown}"
        return (
            text
            if self.recipe.architecture == "biggan"
            else f"{text} (all as one, since {self.recipe.architecture} has none)"
        )

    def finish(self) -> Trained:
        """Go on to the last step, then write the result."""
        with self.show(self.loop.steps * self.loop.batch_size, "images", self.step * self.loop.batch_size) as advance:
            while self.step < self.loop.steps:
                self._stretch(advance)
                epoch, within = divmod(self.step, self.loop.steps_per_epoch)
                if within == 0 and (epoch % self.recipe.value("sample_every") == 0 or self.step == self.loop.steps):
                    self._look(epoch)
                if self._is_due() or self.stop.requested:
                    self._save()
                self.stop.raise_if_requested()
        return self._conclude()

    def _resume(self, step: int, losses: torch.Tensor, notes: dict[str, Any]) -> None:
        if step > self.loop.steps:
            raise OutputError(
                f"output {self.folder}: has done {step:,} steps, more than the {self.loop.steps:,} that are asked for; raise epochs, "
                f"or choose another output"
            )
        self.step, self.losses[:step] = step, losses.numpy()
        if notes["metric"] == self.gallery.measure:  # else they could not be compared with what follows
            self.distances = [(int(e), int(s), float(d)) for e, s, d in notes["distances"]]

    def _stretch(self, advance: Advance) -> None:
        """Steps up to the next moment at which something is due, or somebody asks to stop."""
        started, first = time.monotonic(), self.step
        end = min(self._next(self.recipe.checkpoint_every), self._next(self.loop.steps_per_epoch), self.loop.steps)
        every = 1 if self.device == "cpu" else _LOOK_ON_GPU
        waiting: list[torch.Tensor] = []
        while self.step < end and not self.stop.requested:
            waiting.append(self.loop.step(self.step))
            self.step += 1
            if len(waiting) == every or self.step == end or self.stop.requested:
                values = torch.stack(waiting).float().cpu().numpy()
                waiting.clear()
                self._require_finite(values)
                self.losses[self.step - len(values) : self.step] = values
                mean = self.losses[max(0, self.step - 100) : self.step].mean(axis=0)
                told = f"epoch {self.step / self.loop.steps_per_epoch:.1f}, D {mean[0]:.3f}, G {mean[1]:.3f}"
                told += " (warm-up)" if self.step <= self.loop.warmup else ""
                advance(len(values) * self.loop.batch_size, told)
        self.seconds += time.monotonic() - started
        self.done_here += self.step - first

    def _next(self, interval: int) -> int:
        return (self.step // interval + 1) * interval

    def _is_due(self) -> bool:
        return self.step % self.recipe.checkpoint_every == 0 or self.step == self.loop.steps

    def _require_finite(self, values: Any) -> None:
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            step = self.step - len(values) + int(bad[0, 0])
            whose = ("discriminator", "generator")[bad[0, 1]]
            raise self._lost(step + 1, f"the loss of the {whose} is {values[tuple(bad[0])]}")

    def _lost(self, step: int, cause: str) -> TrainingError:
        kept = checkpoint.newest(self.folder)
        after = f"the checkpoint of step {kept:,} is kept" if kept else "there is no checkpoint yet"
        start = f" that starts from it (init: {self.folder})" if kept else ""
        return TrainingError(
            f"output {self.folder}: at step {step:,} {cause}; {after}; begin another run{start} with a lower learning_rate or "
            f"discriminator_learning_rate, or with precision float32"
        )

    def _save(self) -> None:
        for name, network in self.players.modules().items():
            for tensor_name, tensor in network.state_dict().items():
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise self._lost(self.step, f"{tensor_name} of the {name} is not finite")
        notes = {
            "distances": self.distances,
            "metric": self.gallery.measure,
            "fresh_discriminator": self.loop.fresh_discriminator,
        }
        losses = torch.from_numpy(self.losses[: self.step].copy())
        checkpoint.save(self.folder, self.step, self.players, losses, notes)
        self.on_saved()

    def _look(self, epoch: int) -> None:
        """Pictures and figures of an epoch's end."""
        distance = self.gallery.distance()
        self.distances = [row for row in self.distances if row[1] < self.step]
        told = ""
        if distance is not None:
            self.distances.append((epoch, self.step, distance))
            told = f", distance {distance:.3g}"
        save_grid(self.folder, epoch, self.gallery.grid(f"{self.recipe.name}, epoch {epoch}{told}"))
        self._write_curves()

    def _write_curves(self) -> None:
        losses, name = self.losses[: self.step], self.gallery.metric
        folder.write_tables(self.folder, losses, self.distances, name)
        steps, means = folder.thinned(losses)
        drawn = pictures.curves(steps, means, self.distances, self.recipe.name, name)
        pictures.save(self.folder / pictures.FOLDER / pictures.CURVES, drawn)
        if self.recipe.tensorboard:
            result.write_tensorboard(self.folder, losses, self.distances, name)

    def _conclude(self) -> Trained:
        epochs = self.loop.steps // self.loop.steps_per_epoch
        grids = [path for path in (grid_path(self.folder, epoch) for epoch in range(1, epochs + 1)) if path.is_file()]
        if grids:
            pictures.animate(grids, self.folder / pictures.FOLDER / pictures.ANIMATION)
        with self.show(51, "truncations", 0) as advance:

            def on_row(count: int, note: str = "", /) -> None:
                self.stop.raise_if_requested()
                advance(count)

            distance = result.write(
                self.folder,
                self.recipe,
                self.images,
                self.players,
                self.gallery,
                self.device,
                self.loop,
                self.distances,
                on_row,
            )
        facts = {
            "epochs": epochs,
            "steps": self.step,
            "distance": distance,
            "metric": self.gallery.metric,
            "skipped": len(self.images.summary.skipped),
        }
        folder.finish(self.folder, self.recipe, self.state, facts)
        self.on_saved()
        rate = self.done_here * self.loop.batch_size / self.seconds if self.done_here else None
        return Trained(folder=self.folder, place=str(self.folder), images_per_second=rate, **facts)
