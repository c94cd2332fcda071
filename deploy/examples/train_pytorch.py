"""Train a small classifier on real and synthetic images, in plain PyTorch.

python deploy/examples/train_pytorch.py photos datasets/more-photos

The share of synthetic images falls from 80 % in the first epoch to 20 % in the last, and every class comes equally often,
however many real images it has. Interrupted by whatever, the same command goes on in the middle of the epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

from gansynth.loaders import mix, open_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", help="a folder of images with a sub-folder for each class")
    parser.add_argument("synthetic", help="a dataset of gansynth of the same classes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--synthetic-until", type=int, default=8, help="epochs of mostly synthetic images; real ones follow"
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, default=Path("classifier.pt"))
    options = parser.parse_args()

    synthetic = open_dataset(options.synthetic, batch_size=options.batch_size)
    data = mix(options.real, synthetic, ratio={0: 0.8, options.synthetic_until: 0.2}, balance=True)
    loader = StatefulDataLoader(data, batch_size=options.batch_size, num_workers=options.workers)
    model = network(len(data.class_names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    first = 0
    if options.checkpoint.exists():
        saved = torch.load(options.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first = saved["epoch"]

    for epoch in range(first, options.epochs):
        for step, batch in enumerate(loader):
            loss = F.cross_entropy(model(batch["image"].float() / 127.5 - 1), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 100 == 0:
                made = batch["is_synthetic"].float().mean()
                print(f"epoch {epoch + 1}, step {step}: loss {loss:.3f}, {made:.0%} synthetic", flush=True)
                save(options.checkpoint, model, optimizer, loader, epoch)
        save(options.checkpoint, model, optimizer, loader, epoch + 1)
    print(f"{options.checkpoint}: a classifier of {', '.join(data.class_names.values())}")


def network(classes: int) -> nn.Sequential:
    """Three strided convolutions, for images of any size: float32 [n, 3, h, w] in [-1, 1] -> [n, classes]."""
    layers: list[nn.Module] = []
    for ingoing, outgoing in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(ingoing, outgoing, 3, stride=2, padding=1), nn.BatchNorm2d(outgoing), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, loader: StatefulDataLoader, epoch: int
) -> None:
    """Write a checkpoint as a whole: what is there before stays until the new one is complete."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "loader": loader.state_dict(),
        "epoch": epoch,
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


if __name__ == "__main__":
    main()
