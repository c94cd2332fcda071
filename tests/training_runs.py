"""Short training runs of small networks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gansynth.stopping import Stop
from gansynth.training.recipe import TrainingRecipe

SETTINGS: dict[str, dict[str, Any]] = {
    "mlp": {"resolution": 16, "width": 16, "z_dim": 8},
    "dcgan": {"resolution": 16, "width": 8, "z_dim": 8, "augment": ["color", "translation", "cutout"]},
    "biggan": {
        "resolution": 32,
        "width": 4,
        "discriminator_width": 4,
        "z_dim": 4,
        "flip": True,
        "crop": 0.1,
        "rotate": 5,
    },
}
architectures = pytest.mark.parametrize("architecture", SETTINGS)


def recipe(data: Path, output: Path, architecture: str, **changes: Any) -> TrainingRecipe:
    settings = {"name": "colours", "architecture": architecture, "data": str(data), "output": str(output)}
    rest = {"epochs": 3, "batch_size": 8, "sample_every": 1, "metric_images": 10, "checkpoint_every": 2, "threads": 1}
    return TrainingRecipe(**{**settings, **rest, **SETTINGS[architecture], **changes})


def losses(folder: Path) -> str:
    return (folder / "losses.csv").read_text()


def weights(folder: Path) -> bytes:
    names = ("pytorch_model.bin", "model.safetensors")
    return next((folder / name).read_bytes() for name in names if (folder / name).is_file())


@contextmanager
def stopped_after(images: int, stop: Stop) -> Iterator[Any]:
    """Progress that asks to stop once so many images are done."""
    done = 0

    def advance(count: int, note: str = "", /) -> None:
        nonlocal done
        done += count
        if done >= images:
            stop.request(signal.SIGINT)

    yield advance


def counts(unit: str, steps: int) -> int:
    """Images after which a run has done so many steps of 8; never while images are read."""
    return 8 * steps if unit == "images" else 10**9
