"""Training through gansynth beside a plain loop of the same networks on one batch that lies in memory.

    python tests/bench/training.py [--architecture dcgan] [--rounds 7] [--steps 10] [--threads 1]

The plain loop knows no data, no augmentation, no seeds and no running averages beyond those of the recipe: forward, backward and
the two optimisers' steps. Both sides have networks of their own and alternate in one run; the order changes every round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gansynth.training.images import Images, Summary
from gansynth.training.loop import Loop
from gansynth.training.players import Players, players
from gansynth.training.recipe import TrainingRecipe

CLASSES = 10


def data(count: int, side: int, folder: Path) -> Images:
    """Images of noise on disk, as `prepare` leaves them."""
    path = folder / "pixels.npy"
    random = np.random.default_rng(0)
    np.save(path, random.integers(0, 256, (count, side, side, 3), np.uint8))
    labels = (np.arange(count) % CLASSES).astype(np.int64)
    names = tuple(f"class {number}" for number in range(CLASSES))
    summary = Summary("noise", count, side, dict.fromkeys(names, count // CLASSES), [], "")
    return Images(np.load(path, mmap_mode="r"), labels, summary)


def plain(recipe: TrainingRecipe, sides: Players) -> Callable[[int], None]:
    """Steps of the same networks on one batch."""
    side, count = recipe.resolution, recipe.batch_size
    layout = torch.contiguous_format if recipe.architecture == "mlp" else torch.channels_last
    real = (torch.rand(count, 3, side, side) * 2 - 1).to(memory_format=layout)
    classes = torch.arange(count) % CLASSES
    half = torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16")

    def step(number: int) -> None:
        by_generator, by_discriminator = sides.optimizers
        z = torch.randn(count, recipe.value("z_dim"))
        with half:
            fake = sides.generate(sides.generator, z, classes)
        sides.discriminator.requires_grad_(True)
        with half:
            loss = sides.discriminator_loss(
                sides.judge(real, classes).float(), sides.judge(fake.detach().float(), classes).float()
            )
        by_discriminator.zero_grad(set_to_none=True)
        loss.backward()
        by_discriminator.step()
        sides.discriminator.requires_grad_(False)
        with half:
            loss = sides.generator_loss(sides.judge(fake.float(), classes).float())
        by_generator.zero_grad(set_to_none=True)
        loss.backward()
        by_generator.step()
        sides.average(number)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=["mlp", "dcgan", "biggan"], default="dcgan")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--width", type=int)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = TrainingRecipe(
        name="bench",
        architecture=chosen.architecture,
        data="noise",
        resolution=chosen.resolution,
        width=chosen.width,
        discriminator_width=chosen.width,
        batch_size=chosen.batch,
        precision=chosen.precision,
        epochs=1000,
        flip=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        images = data(20 * chosen.batch * CLASSES, chosen.resolution, Path(folder))
        loop = Loop(recipe, images, players(recipe, CLASSES, "cpu"), "cpu")
        steps = {"gansynth": loop.step, "plain": plain(recipe, players(recipe, CLASSES, "cpu"))}
        ratios, speeds = [], {name: [0.0] for name in steps}
        for round_ in range(chosen.rounds + 1):
            seconds = {}
            for name in sorted(steps, reverse=round_ % 2 == 1):
                started = time.perf_counter()
                for number in range(chosen.steps):
                    steps[name](round_ * chosen.steps + number)
                seconds[name] = time.perf_counter() - started
                speeds[name].append(chosen.steps * chosen.batch / seconds[name])
            if round_:  # the first warms up
                ratios.append(seconds["plain"] / seconds["gansynth"])
    shown = ", ".join(f"{name} {statistics.median(values[2:]):.1f} images/s" for name, values in speeds.items())
    print(f"{chosen.architecture}, {chosen.resolution} pixels, {chosen.precision}: {shown}; ", end="")
    print(f"gansynth beside plain: median {statistics.median(ratios):.3f} of {len(ratios)} rounds")


if __name__ == "__main__":
    sys.exit(main())
