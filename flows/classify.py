"""Downstream of a dataset: a small classifier trained on it, by the event that it is ready. A pattern for one's own training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from torch import nn
from torch.utils.data import DataLoader

from flows.credentials import use_credentials
from gansynth.dataset import Dataset
from gansynth.errors import InputError
from gansynth.loaders import SynthesizedDataset, open_dataset

_BATCH = 64


@flow(name="train-classifier", persist_result=False)
def train_classifier(
    uri: str,
    output: str,
    epochs: int = 1,
    where: str | None = None,
    workers: int = 0,
    credentials_block: str | None = None,
) -> dict[str, Any]:
    """Train a classifier on the train split of a dataset, and measure it on val if there is one.

    Args:
        uri: of the dataset, as the event `gansynth.dataset.ready` says.
        output: a folder for classifier.pt.
        epochs: passes over the images.
        where: a condition on manifest rows.
        workers: processes that read.
        credentials_block: a Secret block with environment variables for storage; left out: the environment's own.

    Returns:
        the `classifier`, the number of `images`, and its `accuracy` on its classes in val, None without one. It tells how well the
        classifier knows the generator, not how good it is on real images.
    """
    use_credentials(credentials_block)
    data = open_dataset(uri, where=where, batch_size=_BATCH)
    if len(data.class_names) < 2:
        raise InputError(f"{uri}: has {len(data.class_names)} classes, so there is nothing to tell apart")
    labels = {label: index for index, label in enumerate(data.class_names)}
    network = _network(len(labels))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for images, targets in _batches(data, labels, workers):
            loss = F.cross_entropy(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    accuracy = None
    if "val" in Dataset.open(uri).record.recipe.splits:
        known = f"label in {tuple(labels)}"  # of the others, which `where` left out, the classifier knows nothing
        accuracy = _accuracy(
            network.eval(), open_dataset(uri, "val", where=known, shuffle=False, batch_size=_BATCH), labels
        )
    path = Path(output) / "classifier.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"classes": list(data.class_names.values()), "network": network.state_dict()}, path)
    said = "" if accuracy is None else f", accuracy on val {accuracy:.3f}"
    create_markdown_artifact(f"`{path}`: {len(data):,} images of `{uri}`{said}\n", key="classifier")
    return {"classifier": str(path), "images": len(data), "accuracy": accuracy}


def _network(classes: int) -> nn.Sequential:
    """Three strided convolutions, for images of any size: float32 [n, 3, h, w] in [-1, 1] -> [n, classes]."""
    layers: list[nn.Module] = []
    for ingoing, outgoing in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(ingoing, outgoing, 3, stride=2, padding=1), nn.BatchNorm2d(outgoing), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def _batches(data: SynthesizedDataset, labels: dict[int, int], workers: int) -> Any:
    for batch in DataLoader(data, batch_size=_BATCH, num_workers=workers):
        targets = torch.tensor([labels[label] for label in batch["label"].tolist()])
        yield batch["image"].float() / 127.5 - 1, targets


@torch.no_grad()
def _accuracy(network: nn.Module, data: SynthesizedDataset, labels: dict[int, int]) -> float:
    right = sum(int((network(images).argmax(1) == targets).sum()) for images, targets in _batches(data, labels, 0))
    return right / len(data)
