"""Fixtures of the training tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import images_on_disk
import pytest
from training_runs import SETTINGS, recipe

from gansynth.training import result
from gansynth.training.run import train


@pytest.fixture(scope="package", autouse=True)
def _few_statistics() -> Iterator[None]:
    """Statistics over fewer images than a user wants."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "_STATISTICS_IMAGES", 8)
        patch.setattr(result, "_STATISTICS_BATCH", 8)
        yield


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_on_disk.folder(tmp_path_factory.mktemp("data") / "colours", count=12, side=32)


@pytest.fixture(scope="package")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each architecture. Not to be changed."""
    place = tmp_path_factory.mktemp("runs")
    for architecture in SETTINGS:
        train(recipe(data, place / architecture, architecture), device="cpu")
    return {architecture: place / architecture for architecture in SETTINGS}
