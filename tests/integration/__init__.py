"""Whole datasets, made, killed, damaged, mended and read: helpers that these tests share."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sysconfig
import tarfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import torch
from conftest import SMALL
from ruamel.yaml import YAML

import gansynth
from gansynth.cli import run
from gansynth.generators import fake

RECEIPT = "_stats.json"
HANG = "GANSYNTH_TEST_HANG"
MANY = {"samples_per_shard": 10}  # 20 train shards and 5 of val, so that a run takes a moment to be interrupted in


def write_recipe(path: Path, **changes: Any) -> Path:
    """A recipe file of the small recipe with some keys changed."""
    with path.open("w") as file:
        YAML().dump({**SMALL, **changes}, file)
    return path


def command(*arguments: str | Path) -> int:
    """Run gansynth in this process; returns its exit code."""
    return run([str(argument) for argument in arguments])


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the console script `gansynth`."""
    script = Path(sysconfig.get_path("scripts")) / "gansynth"
    texts = [str(argument) for argument in arguments]
    return subprocess.Popen([str(script), *texts], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait for processes that must succeed; returns what each of them printed."""
    ends = [process.communicate() for process in processes]
    codes = [process.returncode for process in processes]
    assert codes == [0] * len(codes), "\n".join(errors for _, errors in ends)
    return [output for output, _ in ends]


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str], polls: int = 200_000) -> None:
    """Look again and again, until something has happened or the process has ended; fail if it takes too long."""
    for _ in range(polls):
        with suppress(FileNotFoundError):  # a folder went away while it was listed
            if happened() or process.poll() is not None:
                return
        time.sleep(0.0005)
    process.kill()
    raise AssertionError(f"did not happen: {process.communicate()}")


def contents(folder: Path, pattern: str = "") -> dict[str, bytes]:
    """Path -> bytes of all files whose path matches, as a regular expression."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if re.search(pattern, name)}


def shards(folder: Path) -> dict[str, bytes]:
    """Tars and manifests: what a recipe decides to the last bit."""
    return contents(folder, r"\.(tar|parquet)$")


def all_but_receipts(folder: Path) -> dict[str, bytes]:
    """Everything that does not tell when and by whom it was made."""
    return {name: data for name, data in contents(folder).items() if not name.endswith(RECEIPT)}


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of the last change of all files: equal only if nothing was written."""
    return {name: (data, (folder / name).stat().st_mtime_ns) for name, data in contents(folder).items()}


def receipts(folder: Path) -> list[str]:
    """Paths of the receipts that are there."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(f"*/*{RECEIPT}"))


def rows(folder: Path, split: str = "*") -> list[dict[str, Any]]:
    """Manifest rows of a split, or of all, shard after shard."""
    return [row for path in sorted(folder.glob(f"{split}/*.parquet")) for row in pq.read_table(path).to_pylist()]


def members(tar: Path) -> dict[str, bytes]:
    """Name -> content of everything in a tar."""
    with tarfile.open(tar) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def agrees(row: dict[str, Any], image: bytes, label: int) -> bool:
    """Whether a sample as some reader gave it is the one that a manifest row describes."""
    with PIL.Image.open(io.BytesIO(image)) as opened:
        opened.load()
        size = opened.size
    digest = hashlib.sha256(image).hexdigest()
    return (digest, label, size) == (row["image_sha256"], row["label"], (row["width"], row["height"]))


class Patchy(fake.FakeGenerator):
    """Renders every third seed as one flat colour, which gansynth rejects."""

    def sample(
        self, z: torch.Tensor, classes: torch.Tensor, truncation: torch.Tensor, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        assert seeds is not None
        images = super().sample(z, classes, truncation, seeds)
        images[torch.from_numpy(np.flatnonzero(seeds.numpy() % 3 == 0))] = 128
        return images


def patchy(device: str, precision: str) -> Patchy:
    """Factory of the patchy generator."""
    return Patchy(fake.describe({"resolution": 32}))


class Blank(fake.FakeGenerator):
    """Paints one grey."""

    def sample(self, z: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
        return torch.full((len(z), 32, 32, 3), 128, dtype=torch.uint8)


def blank(device: str, precision: str) -> Blank:
    """Factory of a generator whose every image is one flat colour."""
    return Blank(fake.describe({"resolution": 32}))


class Placed(fake.FakeGenerator):
    """Its images depend on their place in the batch, as kernels may make them do in the last bits."""

    def sample(
        self, z: torch.Tensor, classes: torch.Tensor, truncation: torch.Tensor, seeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        images = super().sample(z, classes, truncation, seeds)
        images[:, 0, 0] = torch.arange(len(images), dtype=torch.uint8)[:, None]
        return images


def placed(device: str, precision: str) -> Placed:
    """Factory of the generator that depends on places."""
    return Placed(fake.describe({"resolution": 32}))


class Lost(fake.FakeGenerator):
    """Its device is gone."""

    def sample(self, *arguments: Any) -> torch.Tensor:
        raise RuntimeError("device lost")


def lost(device: str, precision: str) -> Lost:
    """Factory of a generator that makes nothing."""
    return Lost(fake.describe({"resolution": 32}))


class Hanging(fake.FakeGenerator):
    """Never returns while the environment says so."""

    def sample(self, *arguments: Any) -> torch.Tensor:
        while os.environ.get(HANG):
            time.sleep(0.01)
        return super().sample(*arguments)


def hanging(device: str, precision: str) -> Hanging:
    """Factory of a generator that hangs."""
    return Hanging(fake.describe({"resolution": 32}))


def make_patchy(folder: Path) -> Path:
    """A dataset with a third of its samples rejected; its generator is code."""
    changes = {"generator": f"{__name__}:patchy", "classes": [7, 9, 8], "seeds": "0-19", "output": str(folder)}
    recipe = gansynth.Recipe(**{**SMALL, **changes})
    gansynth.generate(recipe, device="cpu", allow_code=True)
    return folder
