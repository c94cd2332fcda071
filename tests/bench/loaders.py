"""Reading a dataset back through gansynth.loaders beside a plain webdataset pipeline, alternating in one run.

    python tests/bench/loaders.py [--workers 0 2] [--samples 8000] [--rounds 5]

The dataset is made for the purpose: 256 x 256 JPEG (quality 95) of 1/f texture in shards of 1,000, on local disk and then in the
page cache. Both sides decode to uint8 and go through a DataLoader with batches of 64. The second comparison keeps one row in
fifty, spread over all shards; webdataset drops the others by their .json, after decoding as its examples do, or (the "early" one)
before an image is decoded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import webdataset
from torch.utils.data import DataLoader

import gansynth
from gansynth.loaders import open_dataset

BATCH, KEEP = 64, 50


def made(folder: Path, samples: int) -> Path:
    options = {"resolution": 256, "num_classes": 10}
    recipe = {"name": "texture", "generator": "fake", "generator_options": options, "classes": "all"}
    place = {"seeds": f"0-{samples // 10 - 1}", "output": str(folder)}
    gansynth.generate(gansynth.Recipe.parse({**recipe, **place}))
    return folder


def by_webdataset(folder: Path, workers: int, limit: int | None, early: bool = False) -> Iterable[Any]:
    shards = sorted(map(str, folder.glob("train/*.tar")))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000)
    if early:
        dataset = dataset.select(lambda sample: json.loads(sample["json"])["seed"] < limit)
    dataset = dataset.decode("rgb8")
    if limit is not None and not early:
        dataset = dataset.select(lambda sample: sample["json"]["seed"] < limit)
    return DataLoader(dataset.to_tuple("jpg", "cls"), BATCH, num_workers=workers)


def by_gansynth(folder: Path, workers: int, limit: int | None) -> Iterable[Any]:
    where = None if limit is None else f"seed < {limit}"
    dataset = open_dataset(str(folder), where=where, batch_size=BATCH)
    return DataLoader(dataset, BATCH, num_workers=workers)


def speed(open_it: Callable[[], Iterable[Any]]) -> float:
    """Samples a second, with everything that opening takes."""
    started = time.perf_counter()
    count = sum(len(batch["label"] if isinstance(batch, dict) else batch[1]) for batch in open_it())
    return count / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = made(Path(name) / "texture", chosen.samples)
        for workers in chosen.workers:
            for what, limit in (("all samples", None), ("2 % of them", max(1, chosen.samples // 10 // KEEP))):
                sides: dict[str, Callable[..., Iterable[Any]]] = {"webdataset": by_webdataset}
                if limit is not None:
                    sides["webdataset, early"] = partial(by_webdataset, early=True)
                sides["gansynth"] = by_gansynth
                found: dict[str, list[float]] = {side: [] for side in sides}
                for number in range(chosen.rounds):
                    for side in sides if number % 2 else reversed(sides):
                        found[side].append(speed(partial(sides[side], folder, workers, limit)))
                speeds = {side: statistics.median(values) for side, values in found.items()}
                *others, ours = speeds.items()
                ratios = ", ".join(f"{ours[1] / value:.2f} x {side} ({value:,.0f})" for side, value in others)
                print(f"{workers} workers, {what}: {ours[1]:,.0f} samples/s, {ratios}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
