"""The pipeline without a network, beside the loop that a user would write: images a second, in one run.

    python tests/bench/pipeline.py                  both, alternating, and their ratio
    python tests/bench/pipeline.py --memory 50      peak memory while 50 shards are made

Both sides take their pixels from the fake generator (256 x 256, 1/f textures), encode JPEG at quality 95 without chroma
subsampling, and write tars of four members a sample. The plain loop does one thing after the other: Pillow, then
`webdataset.ShardWriter`. gansynth also hashes every image, writes manifests, syncs files to disk and commits.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL.Image
import webdataset

import gansynth
from gansynth.environment import cores, device_model
from gansynth.sampling import draw_latents, sample_rows

SHARD = 500


def recipe(folder: Path, shards: int) -> gansynth.Recipe:
    return gansynth.Recipe(
        name="bench",
        generator="fake",
        generator_options={"resolution": 256},
        classes="all",
        truncation=[0.5, 1.0],
        seeds=f"0-{shards * SHARD // 20 - 1}",
        samples_per_shard=SHARD,
        batch_size=32,
        output=str(folder / "gansynth"),
    )


def plain_loop(folder: Path, shards: int) -> float:
    """Seconds that the plain loop takes."""
    plan = gansynth.plan(recipe(folder, shards))
    generator = gansynth.load_generator("fake", options={"resolution": 256})
    (folder / "plain").mkdir()
    started = time.perf_counter()
    with webdataset.ShardWriter(str(folder / "plain" / "%06d.tar"), maxcount=SHARD, verbose=0) as sink:
        for shard in plan:
            rows = plan.rows(shard)
            z = draw_latents(plan.recipe, rows)
            for first in range(0, len(rows), plan.recipe.batch_size):
                for i, image in enumerate(sample_rows(generator, plan.recipe, rows, z, first), first):
                    sink.write(_sample(plan, shard.key(i), rows, i, image))
    return time.perf_counter() - started


def _sample(
    plan: gansynth.api.Plan, key: str, rows: gansynth.plan.Rows, i: int, image: np.ndarray
) -> dict[str, object]:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling="4:4:4")
    label = plan.recipe.classes[rows.classes[i]]
    about = {
        "seed": int(rows.seeds[i]),
        "truncation": plan.recipe.truncations[rows.truncations[i]],
        "class": label.index,
    }
    return {"__key__": key, "jpg": buffer.getvalue(), "cls": label.index, "txt": label.name, "json": about}


def pipeline(folder: Path, shards: int) -> float:
    """Seconds that gansynth takes, from latents to receipts."""
    return gansynth.generate(recipe(folder, shards), device="cpu").seconds


def compare(rounds: int, shards: int) -> None:
    images = shards * SHARD
    print(f"{device_model('cpu')}, {cores()} cores; {rounds} rounds of {images:,} images on each side, alternating")
    with tempfile.TemporaryDirectory() as folder:  # imports, and the first touch of everything
        plain_loop(Path(folder), 1), pipeline(Path(folder), 1)
    ratios = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            plain, ours = plain_loop(Path(folder), shards), pipeline(Path(folder), shards)
        ratios.append(plain / ours)
        print(
            f"plain loop {images / plain:7.1f} images/s   gansynth {images / ours:7.1f} images/s   ratio {plain / ours:.2f}"
        )
    print(f"median ratio {statistics.median(ratios):.2f}")


def memory(shards: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        seen, peaks = 0, []

        def on_rows(count: int) -> None:
            nonlocal seen
            seen += count
            if seen >= SHARD * (len(peaks) + 1):
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

        gansynth.generate(recipe(Path(folder), shards), device="cpu", on_rows=on_rows)
    for number in sorted({1, 2, 5, *range(10, len(peaks) + 1, 10)}):
        print(f"peak memory after shard {number:3}: {peaks[number - 1]:7.1f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--memory", type=int, metavar="SHARDS")
    arguments = parser.parse_args()
    memory(arguments.memory) if arguments.memory else compare(arguments.rounds, arguments.shards)
