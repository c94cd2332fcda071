"""How a run has gone so far: losses of every step, distances by epoch, and the files and pictures of both."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gansynth.errors import InputError
from gansynth.training import pictures
from gansynth.training.gallery import Gallery, save_grid
from gansynth.training.pictures import save
from gansynth.training.recipe import TrainingRecipe

LOSSES, METRICS = "losses.csv", "metrics.csv"
_MOST_ROWS = 5000
_SMOOTHED = 100  # steps behind what progress tells

Distances = list[tuple[int, int, float]]
"(epoch, step, distance) in order."


class History:
    """Keeps what a run will be judged by.

    Args:
        folder: of the run.
        recipe: of the run.
        gallery: draws and measures.
        steps: of the whole run.
    """

    def __init__(self, folder: Path, recipe: TrainingRecipe, gallery: Gallery, steps: int) -> None:
        self._folder, self._recipe, self._gallery = folder, recipe, gallery
        self._losses = np.zeros((steps, 2), np.float32)
        self.distances: Distances = []

    def resume(self, losses: torch.Tensor, notes: dict[str, Any]) -> None:
        """Take over what a checkpoint says."""
        self._losses[: len(losses)] = losses.numpy()
        if notes["metric"] == self._gallery.measure:  # else they could not be compared with what follows
            self.distances = [(int(e), int(s), float(d)) for e, s, d in notes["distances"]]

    def losses(self, step: int) -> torch.Tensor:
        """Of the first steps, float32 [step, 2], for a checkpoint."""
        return torch.from_numpy(self._losses[:step].copy())

    def notes(self) -> dict[str, Any]:
        """What else a checkpoint needs of it."""
        return {"distances": self.distances, "metric": self._gallery.measure}

    def add(self, step: int, values: npt.NDArray[np.float32]) -> str:
        """Keep the losses of the steps that end with `step`, float32 [n, 2], and tell of them."""
        self._losses[step - len(values) : step] = values
        mean = self._losses[max(0, step - _SMOOTHED) : step].mean(axis=0)
        return f"D {mean[0]:.3f}, G {mean[1]:.3f}"

    def look(self, epoch: int, step: int) -> None:
        """Pictures and figures of an epoch's end."""
        distance = self._gallery.distance()
        self.distances = [row for row in self.distances if row[1] < step]
        told = ""
        if distance is not None:
            self.distances.append((epoch, step, distance))
            told = f", distance {distance:.3g}"
        save_grid(self._folder, epoch, self._gallery.grid(f"{self._recipe.name}, epoch {epoch}{told}"))
        self._write(step)

    def _write(self, step: int) -> None:
        losses, name = self._losses[:step], self._gallery.metric
        _write_tables(self._folder, losses, self.distances, name)
        steps, means = thinned(losses)
        drawn = pictures.curves(steps, means, self.distances, self._recipe.name, name)
        save(self._folder / pictures.FOLDER / pictures.CURVES, drawn)
        if self._recipe.tensorboard:
            _write_tensorboard(self._folder, losses, self.distances, name)


def thinned(losses: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Means over equal numbers of steps, and the last step of each; at most 5,000 of them.

    Args:
        losses: float32 [steps, 2].
    """
    block = -(-len(losses) // _MOST_ROWS) or 1
    ends = np.minimum(np.arange(block, len(losses) + block, block), len(losses))
    means = [losses[max(0, end - block) : end].mean(axis=0) for end in ends]
    return ends, np.array(means, np.float32).reshape(-1, 2)


def _write_tables(folder: Path, losses: npt.NDArray[np.float32], distances: Distances, name: str) -> None:
    """Write losses.csv and, where there is one, metrics.csv.

    Args:
        losses: of discriminator and generator, float32 [steps, 2].
        distances: to the real images.
        name: of the distance.
    """
    steps, means = thinned(losses)
    rows = [(int(step), *(f"{value:.5g}" for value in row)) for step, row in zip(steps, means, strict=True)]
    save(folder / LOSSES, _csv(["step", "discriminator", "generator"], rows))
    if distances:
        columns = ["epoch", "step", f"frechet distance ({name})"]
        save(folder / METRICS, _csv(columns, [(epoch, step, f"{d:.5g}") for epoch, step, d in distances]))


def _csv(header: list[str], rows: list[Any]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    return buffer.getvalue().encode()


def require_tensorboard() -> None:
    """Raise InputError if tensorboard is not installed, before hours are spent."""
    try:
        import torch.utils.tensorboard  # noqa: F401 - only to see whether it is there
    except ModuleNotFoundError:
        raise InputError("tensorboard: is not installed; run pip install 'gansynth[train]'") from None


def _write_tensorboard(folder: Path, losses: npt.NDArray[np.float32], distances: Distances, metric: str) -> None:
    """Write the curves as TensorBoard's events, in place of those that are there."""
    from torch.utils.tensorboard import SummaryWriter

    place = folder / "tensorboard"
    for old in place.glob("events.*"):
        old.unlink()
    steps, means = thinned(losses)
    with SummaryWriter(str(place)) as writer:
        for number, values in zip(steps.tolist(), means.tolist(), strict=True):
            writer.add_scalar("loss/discriminator", values[0], number)
            writer.add_scalar("loss/generator", values[1], number)
        for _, number, value in distances:
            writer.add_scalar(f"frechet distance/{metric}", value, number)
