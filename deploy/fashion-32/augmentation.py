"""What synthetic images are worth when real ones are few, on Fashion-MNIST.

python deploy/fashion-32/augmentation.py WORK

For 50, 100 and 500 real training images a class, trains the same small classifier for the same number of steps on real images
alone, on real ones mirrored and shifted, and on these mixed with synthetic ones; tests it on the 10,000 real test images, three
seeds each; writes WORK/augmentation.md. There are two sources of synthetic images: fashion-32, which has itself been trained on
all 60,000 real images and so knows more than the classifier may, and a generator trained on nothing but the same few images.
Goes on where it was interrupted. Needs Debian's package dataset-fashion-mnist, and some hours on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import gansynth
from gansynth.loaders import mix, open_dataset
from gansynth.quality.classifier import Classifier, accuracy, altered
from gansynth.training.images import read_all
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import train
from gansynth.training.sources import open_source

DATA = Path("/usr/share/datasets/fashion-mnist")
NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
FEW = (50, 100, 500)  # real images a class
SEEDS = (0, 1, 2)
BATCH, STEPS = 64, 1000
TRAINED_ON = 80_000  # images that the generator of few images is shown, over all epochs
# What a classifier is trained on: a title, mirrored and shifted or not, the set of synthetic images, their share.
ARMS: dict[str, tuple[str, bool, str | None, float]] = {
    "real": ("real", False, None, 0.0),
    "altered": ("real, mirrored and shifted", True, None, 0.0),
    "all-25": ("+ 25 % fashion-32", True, "all", 0.25),
    "all-50": ("+ 50 % fashion-32", True, "all", 0.5),
    "all-75": ("+ 75 % fashion-32", True, "all", 0.75),
    "few-50": ("+ 50 % of a generator of these few", True, "few", 0.5),
    "varied-50": ("+ 50 % of its samples and their variations", True, "varied", 0.5),
}


class Few(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The first real training images of each class."""

    classes = NAMES

    def __init__(self, pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], count: int) -> None:
        index = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(len(NAMES))]))
        self.pixels, self.targets = pixels[index], labels[index]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.pixels[index].copy()).permute(2, 0, 1), int(self.targets[index])


def synthesized(work: Path, few: Few, count: int) -> dict[str, list[str]]:
    """Folders of synthetic images, by set; made if they are not there."""
    return {
        "all": [_made(work / "all", generator="fashion-32", classes="all", seeds="0-1999")],
        "few": [_made(work / f"few-{count}", generator=_generator(work, few, count), classes="all", seeds="0-499")],
        "varied": [
            str(work / f"few-{count}"),
            _made(work / f"varied-{count}", vary={"from": str(work / f"few-{count}"), "sigma": 0.3, "count": 3}),
        ],
    }


def _made(folder: Path, **recipe: Any) -> str:
    about = {"name": folder.name, "image": {"format": "png"}, "output": str(folder)}
    gansynth.generate(gansynth.Recipe.parse({**recipe, **about}))
    return str(folder)


def _generator(work: Path, few: Few, count: int) -> str:
    """A generator that has seen only the few images, with the alterations that small data needs."""
    data, folder = work / f"few-{count}.npz", work / f"generator-{count}"
    if not data.exists():
        np.savez_compressed(data, images=few.pixels, labels=few.targets)
    recipe = {
        "name": f"few-{count}",
        "architecture": "biggan",
        "data": str(data),
        "class_names": NAMES,
        "resolution": 32,
        "width": 16,
        "discriminator_width": 32,
        "batch_size": 64,
        "epochs": round(TRAINED_ON / len(few)),
        "sample_every": max(1, round(TRAINED_ON / len(few) / 8)),
        "augment": ["translation", "cutout"],
        "decay": 0.4,
        "threads": 1,
        "precision": "bfloat16",
        "metric": "fashion",
        "metric_images": 500,
        "output": str(folder),
    }
    train(TrainingRecipe.parse(recipe))
    return str(folder)


def trained(few: Few, folders: list[str] | None, share: float, alter: bool, seed: int) -> Classifier:
    """A classifier after a fixed number of steps, its rate falling to zero along a half cosine."""
    torch.manual_seed(seed)
    network = Classifier(len(NAMES))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    network.train()
    for images, labels in islice(_batches(few, folders, share, seed), STEPS):
        pixels = images.permute(0, 2, 3, 1)
        loss = F.cross_entropy(network(altered(pixels) if alter else pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _batches(
    few: Few, folders: list[str] | None, share: float, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = np.random.default_rng(seed)
    loader: Any = None
    if folders:
        loader = torch.utils.data.DataLoader(
            mix(few, open_dataset(folders, seed=seed, batch_size=BATCH), ratio=share), BATCH
        )
    while loader:
        yield from ((batch["image"], batch["label"]) for batch in loader if len(batch["label"]) == BATCH)
    while True:
        order = random.permutation(len(few))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield torch.from_numpy(few.pixels[chosen]).permute(0, 3, 1, 2), torch.from_numpy(few.targets[chosen])


def table(found: dict[str, float]) -> str:
    """Mean accuracy in per cent and, after +-, the standard deviation over seeds, as Markdown."""
    lines = ["| trained on | " + " | ".join(f"{count} a class" for count in FEW) + " |", "|---" * (len(FEW) + 1) + "|"]
    for arm, (title, *_) in ARMS.items():
        cells = []
        for count in FEW:
            values = [100 * found[key] for seed in SEEDS if (key := f"{count}/{arm}/{seed}") in found]
            cells.append(f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    results = chosen.work / "results.json"
    found: dict[str, float] = json.loads(results.read_text()) if results.exists() else {}
    pixels, labels = read_all(open_source(chosen.data), 32)
    test = read_all(open_source(chosen.data / "t10k-images-idx3-ubyte.gz"), 32)
    for count in FEW:
        few = Few(pixels, labels, count)
        folders = synthesized(chosen.work, few, count)
        for arm in chosen.arms:
            _, alter, source, share = ARMS[arm]
            for seed in SEEDS:
                key = f"{count}/{arm}/{seed}"
                if key not in found:
                    network = trained(few, folders[source] if source else None, share, alter, seed)
                    found[key] = accuracy(network, *test)
                    results.write_text(json.dumps(found, indent=1) + "\n")
                    print(f"{count} a class, {ARMS[arm][0]}, seed {seed}: {found[key]:.4f}", flush=True)
    (chosen.work / "augmentation.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
