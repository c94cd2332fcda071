"""CPU time of writing a sample of three members into a tar: gansynth's writer beside webdataset's, alternating in one run.

    python tests/bench/tar.py

gansynth's writer also takes the sha256 of the whole tar, which is shown apart.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import webdataset

from gansynth.shard import TarWriter

SAMPLES, ROUNDS = 3000, 9
IMAGE, LABEL, ABOUT = bytes(90_000), b"207", b'{"seed": 1, "truncation": 0.5, "class_index": 207}'


def by_webdataset(path: Path) -> None:
    with webdataset.TarWriter(str(path)) as sink:
        for number in range(SAMPLES):
            sink.write({"__key__": f"train-000000-{number:06d}", "jpg": IMAGE, "cls": LABEL, "json": ABOUT})


def by_gansynth(path: Path) -> None:
    with path.open("wb") as file:
        writer = TarWriter(file)
        for number in range(SAMPLES):
            key = f"train-000000-{number:06d}"
            writer.add(((f"{key}.jpg", IMAGE), (f"{key}.cls", LABEL), (f"{key}.json", ABOUT)))
        writer.finish()


def hashing(path: Path) -> None:
    digest = hashlib.sha256()
    for _ in range(SAMPLES):
        digest.update(IMAGE)
    path.write_bytes(digest.digest())


def cpu_milliseconds(act: Callable[[Path], None], path: Path) -> float:
    started = time.process_time()
    act(path)
    seconds = time.process_time() - started
    path.unlink()
    return 1000 * seconds / SAMPLES


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        rows = [
            [cpu_milliseconds(act, Path(folder) / "a.tar") for act in (by_webdataset, by_gansynth, hashing)]
            for _ in range(ROUNDS)
        ]
    theirs, ours, digest = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"webdataset.TarWriter          {theirs:.3f} ms a sample")
    print(f"gansynth, writing             {ours - digest:.3f} ms   1/{theirs / (ours - digest):.1f}")
    print(f"gansynth, writing and sha256  {ours:.3f} ms   1/{theirs / ours:.1f}")
