"""What a person looks at: grids, curves, real beside generated images, an animation. Each file appears as a whole."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from gansynth.animation import gif
from gansynth.drawing import Image, Sheet
from gansynth.errors import InputError, OutputError

FOLDER = "pictures"
CURVES, BESIDE, ANIMATION = "losses.png", "real-and-generated.png", "progress.gif"
ACROSS, _MOST_ROWS = 10, 10
_ROWS_WITHOUT_CLASSES = 8
_MOST_FRAMES = 100
_LARGEST_CELL = 128


def rows_of_grid(num_classes: int) -> npt.NDArray[np.int64]:
    """The class of each row of a grid, int64 [rows]: the first ten, or 0 throughout where there are none."""
    return np.arange(min(num_classes, _MOST_ROWS)) if num_classes else np.zeros(_ROWS_WITHOUT_CLASSES, np.int64)


def grid(images: npt.NDArray[np.uint8], classes: Sequence[str], title: str) -> bytes:
    """A PNG of a grid with ten images a row.

    Args:
        images: uint8 [rows * 10, h, w, 3].
        classes: names of the rows; empty if they have none.
        title: above the grid.
    """
    rows = [list(images[start : start + ACROSS]) for start in range(0, len(images), ACROSS)]
    names = [classes[number] if classes else "" for number in range(len(rows))]
    return Sheet(names, [title], [""] * ACROSS, rows, images.shape[1]).png(_LARGEST_CELL)


def beside(
    real: npt.NDArray[np.uint8], generated: npt.NDArray[np.uint8], classes: Sequence[str], distance: str
) -> bytes:
    """A PNG with real images to the left and generated ones to the right, in rows as `grid`."""
    half = ACROSS // 2 + 1
    rows = []
    for start in range(0, len(real), ACROSS):
        rows.append([*real[start : start + half], *generated[start : start + half]])
    names = [classes[number] if classes else "" for number in range(len(rows))]
    groups = ["real", f"generated{distance}"]
    return Sheet(names, groups, [""] * (2 * half), rows, real.shape[1]).png(_LARGEST_CELL)


def require_curves() -> None:
    """Raise InputError if curves cannot be drawn, before hours are spent."""
    try:
        import matplotlib  # noqa: F401 - only to see whether it is there
    except ModuleNotFoundError:
        raise InputError(
            "training draws its curves with matplotlib, which is not installed; run pip install 'gansynth[train]'"
        ) from None


def curves(
    steps: npt.NDArray[np.int64], losses: npt.NDArray[np.float32], distances: Any, name: str, what: str
) -> bytes:
    """A PNG of both losses, and of the distance to the real images where there is one.

    Args:
        steps: int64 [k].
        losses: of discriminator and generator, float32 [k, 2].
        distances: (epoch, step, distance) in order; may be empty.
        name: of the run.
        what: name of the distance.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = 2 if distances else 1
    figure = Figure(figsize=(9, 3.2 * panels), layout="constrained")
    axes = [figure.add_subplot(panels, 1, number + 1) for number in range(panels)]
    for column, label in enumerate(("discriminator", "generator")):
        axes[0].plot(steps, losses[:, column], linewidth=0.4, alpha=0.35, color=f"C{column}")
        axes[0].plot(steps, _smooth(losses[:, column]), label=label, color=f"C{column}")
    axes[0].set(title=name, ylabel="loss")
    axes[0].legend()
    if distances:
        axes[1].plot([row[1] for row in distances], [row[2] for row in distances], marker=".", color="C2")
        axes[1].set(ylabel=f"Frechet distance\n({what})", ylim=(0, 1.05 * max(row[2] for row in distances)))
    axes[-1].set(xlabel="step")
    for axis in axes:
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _smooth(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """A running mean over a fiftieth of the curve."""
    width = max(1, len(values) // 50)
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    starts = np.maximum(0, np.arange(1, len(values) + 1) - width)
    ends = np.arange(1, len(values) + 1)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def animate(grids: Sequence[Path], path: Path) -> None:
    """Write a GIF of grids, at most a hundred of them, the last one included; raises OutputError if it cannot."""
    chosen = np.unique(np.linspace(0, len(grids) - 1, min(len(grids), _MOST_FRAMES)).round().astype(int))

    def frames() -> Iterator[Image]:
        for index in chosen:
            with PIL.Image.open(grids[index]) as image:
                yield np.asarray(image.convert("RGB"))

    save(path, gif(frames(), fps=min(10.0, max(1.0, len(chosen) / 10))))


def save(path: Path, data: bytes) -> None:
    """Write a file that appears as a whole or not at all; raises OutputError if it cannot."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"output {path}: cannot be written ({error.strerror}); make room, or choose another place"
        ) from None
