"""StyleGAN2's configuration F with random weights: reading a snapshot, rendering beside its convolutions alone, memory.

    python tests/bench/stylegan2.py [--resolution 1024] [--threads 2] [--rounds 5] [--batch 4]

The convolutions are those of the network on samples of the same shapes, each called on its own through torch; they alternate
with rendering in one run. Memory is the peak of a fresh process that reads the snapshot and renders one batch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from stylegan2_files import written

import gansynth
from gansynth.environment import peak_memory
from gansynth.generators.stylegan2 import Config, read
from gansynth.progress import size


def config_f(resolution: int) -> Config:
    """The configuration that FFHQ's snapshots have (Karras et al., 2020)."""
    sides = [1 << power for power in range(2, resolution.bit_length())]
    channels = tuple(min(32768 // side, 512) for side in sides)
    return Config(512, 512, 0, resolution, 3, 8, 512, 0, 0.01, channels, "skip", True, (256.0,) * len(sides))


def convolutions(config: Config) -> list[Callable[[], Any]]:
    """Every convolution of one image."""
    calls: list[Callable[[], Any]] = []
    before = None
    for side, width in zip(config.resolutions, config.channels, strict=True):
        if before is not None:
            calls.append(partial(F.conv_transpose2d, _features(before, side // 2), _kernel(before, width, 3), stride=2))
        calls.append(partial(F.conv2d, _features(width, side), _kernel(width, width, 3), padding=1))
        calls.append(partial(F.conv2d, _features(width, side), _kernel(config.img_channels, width, 1)))
        before = width
    return calls


def _features(width: int, side: int) -> torch.Tensor:
    return torch.randn(1, width, side, side).to(memory_format=torch.channels_last)


def _kernel(out: int, width: int, side: int) -> torch.Tensor:
    return torch.randn(out, width, side, side).to(memory_format=torch.channels_last)


def seconds(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def peak_of_batch(path: Path, batch: int, threads: int) -> int:
    torch.set_num_threads(threads)
    generator = gansynth.load_generator(str(path))
    z = torch.randn(batch, generator.z_dim)
    generator.sample(z, torch.zeros(batch, dtype=torch.int64), torch.full([batch], 0.7))
    return peak_memory("cpu")["host_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("resolution", 1024), ("threads", 2), ("rounds", 5), ("batch", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    config = config_f(chosen.resolution)
    with tempfile.TemporaryDirectory() as folder:
        path = written(config, Path(folder))
        reading = seconds(lambda: read(path))
        print(
            f"snapshot of {size(path.stat().st_size)}, {config.parameters / 1e6:.1f} million parameters: read in {reading:.2f} s"
        )
        generator = gansynth.load_generator(str(path))
        z, label, psi = torch.randn(1, config.z_dim), torch.zeros(1, dtype=torch.int64), torch.full([1], 0.7)
        calls = convolutions(config)
        times: dict[str, list[float]] = {"image": [], "convolutions": []}
        with torch.inference_mode():
            for number in range(chosen.rounds + 1):
                image = seconds(lambda: generator.sample(z, label, psi))
                alone = sum(seconds(call) for call in calls)
                if number:  # the first is to warm up
                    times["image"].append(image)
                    times["convolutions"].append(alone)
        image, alone = (statistics.median(values) for values in times.values())
        print(f"one image {image:.2f} s, its convolutions alone {alone:.2f} s: {image / alone:.2f} times")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peak = pool.apply(peak_of_batch, (path, chosen.batch, chosen.threads))
        print(f"batch of {chosen.batch}: peak memory {size(peak)}")


if __name__ == "__main__":
    main()
