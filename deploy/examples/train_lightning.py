"""Train a small classifier on real and synthetic images with Lightning, on all GPUs that there are.

python deploy/examples/train_lightning.py photos datasets/more-photos

Each GPU's process reads its own part of the images, and all of them the same number of batches: the datasets see to that
themselves, so Lightning needs no sampler. Needs the package `lightning`.
"""

from __future__ import annotations

import argparse

import lightning
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from gansynth.loaders import MixedDataset, mix, open_dataset


class Data(lightning.LightningDataModule):
    """Real and synthetic images, half and half.

    Args:
        real: a folder of images with a sub-folder for each class.
        synthetic: a dataset of gansynth of the same classes.
        batch_size: of each process.
        workers: processes that read, for each process that trains.
    """

    def __init__(self, real: str, synthetic: str, batch_size: int, workers: int) -> None:
        super().__init__()
        self._options = {"batch_size": batch_size, "num_workers": workers}
        self.mixed: MixedDataset = mix(real, open_dataset(synthetic, batch_size=batch_size), ratio=0.5)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.mixed, persistent_workers=self._options["num_workers"] > 0, **self._options)


class Classifier(lightning.LightningModule):
    """Two strided convolutions, for images of any size."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        convolutions = (nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        self.layers = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, classes))

    def training_step(self, batch: dict[str, torch.Tensor], _index: int) -> torch.Tensor:
        scores = self.layers(batch["image"].float() / 127.5 - 1)
        loss = F.cross_entropy(scores, batch["label"])
        accuracy = (scores.argmax(1) == batch["label"]).float().mean()
        made = batch["is_synthetic"].float().mean()
        self.log_dict(
            {"loss": loss, "accuracy": accuracy, "synthetic": made}, on_step=False, on_epoch=True, prog_bar=True
        )
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", help="a folder of images with a sub-folder for each class")
    parser.add_argument("synthetic", help="a dataset of gansynth of the same classes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    data = Data(options.real, options.synthetic, options.batch_size, options.workers)
    trainer = lightning.Trainer(max_epochs=options.epochs, use_distributed_sampler=False)
    trainer.fit(Classifier(len(data.mixed.class_names)), data)
    for name, value in trainer.logged_metrics.items():
        print(f"{name}: {float(value):.3f}")


if __name__ == "__main__":
    main()
