"""A small image classifier: the features of a distance, and the judge of whether generated images teach what real ones do.

Training a classifier on generated images alone and testing it on real ones gives the classification accuracy score (Ravuri
and Vinyals, 2019, arXiv:1905.10887).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
BUNDLED = Path(__file__).parent / "fashion-classifier.safetensors"
_AT_ONCE = 1000
_SHIFT = 2  # pixels, when images are altered


class Classifier(nn.Module):
    """Three convolutions and two dense layers, for grey or grey-scaled images.

    Args:
        num_classes: number of classes.
        side: height and width of the images, a multiple of 8.
        width: channels after the first convolution.
    """

    def __init__(self, num_classes: int, side: int = 32, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Dropout(0.25), nn.Linear(2 * width * (side // 8) ** 2, 128), nn.ReLU()
        )
        self.head = nn.Linear(128, num_classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n, num_classes], of uint8 [n, h, w, 3]."""
        return torch.as_tensor(self.head(self.body(_grey(pixels))))

    @torch.no_grad()
    def features(self, images: Images) -> npt.NDArray[np.floating]:
        """The layer before the last, float32 [n, 128], of uint8 [n, h, w, 3]."""
        self.eval()
        parts = [self.body(_grey(_tensor(images[start : start + _AT_ONCE]))) for start in _starts(images)]
        return np.asarray(torch.cat(parts).numpy())

    @torch.no_grad()
    def predict(self, images: Images) -> Labels:
        """The likeliest class of each image, int64 [n], of uint8 [n, h, w, 3]."""
        self.eval()
        parts = [self(_tensor(images[start : start + _AT_ONCE])).argmax(1) for start in _starts(images)]
        return np.asarray(torch.cat(parts).numpy())


def fit(
    images: Images,
    labels: Labels,
    num_classes: int,
    epochs: int = 10,
    seed: int = 0,
    batch_size: int = 128,
    augment: bool = False,
) -> Classifier:
    """A classifier trained with Adam, its rate falling to zero along a half cosine.

    Args:
        images, labels: uint8 [n, h, w, 3] and int64 [n].
        num_classes: number of classes.
        epochs: passes over the images.
        seed: of weights and order; the same on the same machine gives the same classifier.
        batch_size: images a step.
        augment: mirror half of the images, and move each by up to two pixels in height and width (black comes in).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(num_classes, images.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        steps = epochs * -(-len(images) // batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        network.train()
        for _ in range(epochs):
            for index in torch.randperm(len(images)).split(batch_size):
                pixels, target = _tensor(images[index.numpy()]), torch.from_numpy(labels[index.numpy()])
                loss = F.cross_entropy(network(altered(pixels) if augment else pixels), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval()


def accuracy(network: Classifier, images: Images, labels: Labels) -> float:
    """Share of images that are given their label."""
    return float((network.predict(images) == labels).mean())


def bundled() -> Classifier:
    """The classifier of 32-pixel Fashion-MNIST that comes with gansynth."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(BUNDLED)
    network = Classifier(10)
    network.load_state_dict(tensors)
    return network.eval()


def altered(pixels: torch.Tensor) -> torch.Tensor:
    """Mirror half of the images and move each by up to two pixels in height and width, uint8 [n, side, side, 3] both."""
    count, side = pixels.shape[:2]
    mirrored = torch.where((torch.rand(count) < 0.5)[:, None, None, None], pixels.flip(2), pixels)
    padded = F.pad(mirrored, (0, 0, _SHIFT, _SHIFT, _SHIFT, _SHIFT))
    down, right = torch.randint(0, 2 * _SHIFT + 1, (2, count, 1))
    rows, columns = torch.arange(side) + down, torch.arange(side) + right
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _grey(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float().mean(dim=3)[:, None] / 127.5 - 1


def _tensor(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images))


def _starts(images: Images) -> range:
    return range(0, len(images), _AT_ONCE)
