"""The steps of a training run, from the last checkpoint to the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gansynth.environment import environment
from gansynth.errors import OutputError, TrainingError
from gansynth.mirror import local_path
from gansynth.networks.biggan import ROWS
from gansynth.progress import Advance, counted
from gansynth.quality.features import extractor
from gansynth.stopping import Stop
from gansynth.training import checkpoint, folder, pictures, result
from gansynth.training.gallery import Gallery, grid_path
from gansynth.training.history import History
from gansynth.training.images import Images, Summary, prepare
from gansynth.training.init import start_from
from gansynth.training.items import Source
from gansynth.training.loop import Loop
from gansynth.training.players import players
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.sources import open_source

_LOOK_ON_GPU = 20  # steps between looks at the losses, each of which waits for the GPU
Show = Callable[[int, str, int], AbstractContextManager[Advance]]
"(total, unit in the plural, done before) -> what to tell of finished units."


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Ties:
    """What connects a run with its caller: arguments of `train`.

    Args:
        on_saved: called whenever the run could go on from what is in its folder.
    """

    device: str
    threads: int | None
    stop: Stop
    show: Show
    tell: Tell
    on_saved: Callable[[], None]


def read_images(recipe: TrainingRecipe, source: Source, state: str, ties: Ties) -> Images:
    """The images of a recipe, decoded once for its folder."""
    with ties.show(source.count or 0, "images read", 0) as advance:

        def on_image(count: int) -> None:
            ties.stop.raise_if_requested()
            advance(count)

        place = Path(recipe.folder) / folder.WORK / "data"
        return prepare(source, recipe.resolution, place, recipe.max_skipped, on_image, state)


def _told(recipe: TrainingRecipe, summary: Summary) -> str:
    """What the data are, on one line."""
    classes = list(summary.classes)
    text = counted(summary.images, "image")
    if summary.skipped:
        text += f" ({len(summary.skipped):,} left out)"
    if not classes:
        return text
    shown = f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
    text += f", {counted(len(classes), 'class', 'classes')}: {shown}"
    return text if recipe.architecture == "biggan" else f"{text} (all as one, since {recipe.architecture} has none)"


def ignore(count: int, note: str = "", /) -> None: ...


class Run:
    """What is quick to check comes first, then the data are read; nothing is written before all of it is known to fit.

    Args:
        recipe: of the run.
        state: of its data.
        device: torch device.
        before: whether the run was begun already.
        ties: to the caller.
    """

    def __init__(self, recipe: TrainingRecipe, state: str, device: str, before: bool, ties: Ties) -> None:
        self.recipe, self.state, self.device = recipe, state, device
        self.on_saved, self.stop, self.show = ties.on_saved, ties.stop, ties.show
        self.folder = Path(recipe.folder)
        source = open_source(recipe.source, recipe.class_names)
        self.players = players(recipe, len(source.classes), device)
        found = checkpoint.load(self.folder, self.players)
        fresh = found is not None and bool(found[2].get("fresh_discriminator"))
        if recipe.init and found is None:
            fresh = start_from(local_path(recipe.init), self.players, source.classes)
        measure = None if recipe.metric == "none" else extractor(recipe.metric)
        self.images = read_images(recipe, source, state, ties)
        folder.require_same_images(self.folder, self.images.summary)
        ties.tell(_told(recipe, self.images.summary))
        self.gallery = Gallery(recipe, self.images, self.players, measure)
        self.loop = Loop(recipe, self.images, self.players, device, fresh)
        self.history = History(self.folder, recipe, self.gallery, self.loop.steps)
        self.step, self.seconds, self.done_here = 0, 0.0, 0
        if found is not None:
            self._resume(*found)
        where = None if before and self._is_over() else self._environment()
        folder.begin(self.folder, recipe, where, self.images.summary)

    def _is_over(self) -> bool:
        return self.step == self.loop.steps

    def _environment(self) -> dict[str, str]:
        """What the numbers depend on beside the recipe."""
        chosen = {"threads": f"{torch.get_num_threads()}", "precision": self.loop.precision}
        return {**environment(self.device), **chosen}

    def finish(self) -> tuple[dict[str, Any], float | None]:
        """Go on to the last step, then write the result: its facts, and images/s if there were steps to do."""
        with self.show(self.loop.steps * self.loop.batch_size, "images", self.step * self.loop.batch_size) as advance:
            while self.step < self.loop.steps:
                self._stretch(advance)
                epoch, within = divmod(self.step, self.loop.steps_per_epoch)
                due = epoch % self.recipe.value("sample_every") == 0 or self._is_over()
                if within == 0 and due and self.step:
                    self.history.look(epoch, self.step)
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
        epochs = folder.begun_with(self.folder).epochs
        if not self.loop.agrees_with(epochs, step):
            raise OutputError(
                f"output {self.folder}: epochs is {self.recipe.value('epochs')} and was {epochs}, but decay lowers the learning rates of "
                f"steps that are done, so that this would be another run; keep epochs {epochs}, or begin another run with init: "
                f"{self.folder}"
            )
        self.step = step
        self.history.resume(losses, notes)

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
                told = f"epoch {self.step / self.loop.steps_per_epoch:.1f}, {self.history.add(self.step, values)}"
                told += " (warm-up)" if self.step <= self.loop.warmup else ""
                advance(len(values) * self.loop.batch_size, told)
        self.seconds += time.monotonic() - started
        self.done_here += self.step - first

    def _next(self, interval: int) -> int:
        return (self.step // interval + 1) * interval

    def _is_due(self) -> bool:
        return self.step % self.recipe.checkpoint_every == 0 or self._is_over()

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
        notes = {**self.history.notes(), "fresh_discriminator": self.loop.fresh_discriminator}
        checkpoint.save(self.folder, self.step, self.players, self.history.losses(self.step), notes)
        self.on_saved()

    def _conclude(self) -> tuple[dict[str, Any], float | None]:
        epochs = self.loop.steps // self.loop.steps_per_epoch
        grids = [path for path in (grid_path(self.folder, epoch) for epoch in range(1, epochs + 1)) if path.is_file()]
        if grids:
            pictures.animate(grids, self.folder / pictures.FOLDER / pictures.ANIMATION)
        rows = self.show(ROWS, "truncations", 0) if self.recipe.architecture == "biggan" else nullcontext(ignore)
        with rows as advance:

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
                self.history.distances,
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
        return facts, rate
