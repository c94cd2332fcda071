"""The examples of training on a dataset run, as their users would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from images_on_disk import encoded, picture

EXAMPLES = Path(__file__).parents[2] / "deploy/examples"


@pytest.fixture
def photos(make: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with real images of two classes, and a dataset of the same classes beside it."""
    make("datasets/more-photos", classes=["Bag", "Coat"])
    for label, name in enumerate(("Bag", "Coat")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(encoded(picture(label, number)))
    return tmp_path


def run(name: str, folder: Path, *options: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), "photos", "datasets/more-photos", "--batch-size", "16", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_pytorch_example_lowers_the_share_of_synthetic_images_and_goes_on_from_its_checkpoint(photos: Path) -> None:
    first = run("train_pytorch.py", photos, "--epochs", "2", "--synthetic-until", "1")
    shares = [int(share) for share in re.findall(r"(\d+)% synthetic", first)]
    assert len(shares) == 2 and shares[0] > shares[1]
    more = run("train_pytorch.py", photos, "--epochs", "3", "--synthetic-until", "1")
    assert "epoch 3, step 0" in more and "epoch 2" not in more
    assert "a classifier of Bag, Coat" in more


@pytest.mark.parametrize("workers", ["2", pytest.param("0", marks=pytest.mark.slow)])
def test_the_lightning_example_trains_on_real_and_synthetic_images(photos: Path, workers: str) -> None:
    said = run("train_lightning.py", photos, "--epochs", "2", "--workers", workers)
    assert "synthetic: 0.500" in said
    assert float(re.findall(r"accuracy: ([\d.]+)", said)[-1]) >= 0.5
