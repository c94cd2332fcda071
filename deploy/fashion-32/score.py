"""Classification accuracy score of a generator of Fashion-MNIST (Ravuri and Vinyals, 2019, arXiv:1905.10887).

python deploy/fashion-32/score.py fashion-32

Trains the same small classifier on the 60,000 real training images, and on 60,000 synthetic ones at each truncation, with the
same mirroring and shifts; tests each on the 10,000 real test images; prints the ratio, and the Frechet distance of the synthetic
images to the real training images. `--plain` leaves mirroring and shifts out. Needs Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gansynth.generators import load_generator
from gansynth.latents import draw
from gansynth.quality.classifier import accuracy, fit
from gansynth.quality.features import extractor
from gansynth.quality.frechet import frechet_distance
from gansynth.training.images import read_all
from gansynth.training.sources import open_source

DATA = Path("/usr/share/datasets/fashion-mnist")
_AT_ONCE = 500


def synthetic(name: str, count: int, truncation: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images of seeds 0, 1, ... in the ten classes by turns, uint8 [count, 32, 32, 3], and their classes."""
    generator = load_generator(name)
    parts = []
    for first in range(0, count, _AT_ONCE):
        seeds = range(first, min(first + _AT_ONCE, count))
        psi = np.full(len(seeds), truncation)
        z = torch.from_numpy(draw(generator.info.latents[0], seeds, generator.z_dim, psi))
        classes = torch.tensor([seed % 10 for seed in seeds])
        parts.append(generator.sample(z, classes, torch.from_numpy(psi).float()).cpu().numpy())
    return np.concatenate(parts), np.arange(count, dtype=np.int64) % 10


def draw_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Share of the accuracy, and Frechet distance, over truncation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    truncations = [row["truncation"] for row in rows]
    titles = {
        "ratio": "share of the accuracy that real images give",
        "distance": "Frechet distance (bundled classifier)",
    }
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        axes.plot(truncations, [row[key] for row in rows], marker="o")
        axes.set(title=title, xlabel="truncation", xticks=truncations)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--count", type=int, default=60_000, help="images to train each classifier on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--truncations", type=float, nargs="+", default=[0.2, 0.4, 0.6, 0.8, 1.0])
    parser.add_argument("--plain", action="store_true", help="neither mirror nor shift the images")
    parser.add_argument("--picture", type=Path, help="where to draw both figures over truncation, as PNG")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    chosen = parser.parse_args()
    real, labels = read_all(open_source(chosen.data), 32)
    test = read_all(open_source(chosen.data / "t10k-images-idx3-ubyte.gz"), 32)
    real, labels = real[: chosen.count], labels[: chosen.count]
    reference = accuracy(fit(real, labels, 10, chosen.epochs, augment=not chosen.plain), *test)
    print(f"real images: {reference:.4f}", flush=True)
    measure = extractor("fashion")
    features = measure.features(real[:10_000])
    rows = []
    for truncation in chosen.truncations:
        images, classes = synthetic(chosen.generator, chosen.count, truncation)
        score = accuracy(fit(images, classes, 10, chosen.epochs, augment=not chosen.plain), *test)
        distance = frechet_distance(features, measure.features(images[:10_000]))
        rows.append({"truncation": truncation, "accuracy": score, "ratio": score / reference, "distance": distance})
        print(
            f"truncation {truncation:.1f}: {score:.4f}, {score / reference:.3f} of real; Frechet distance {distance:.2f} "
            f"({measure.name})",
            flush=True,
        )
    if chosen.picture:
        draw_curves(rows, chosen.picture)
    if chosen.json:
        chosen.json.write_text(json.dumps({"real": reference, "images": len(real), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
