"""The fully connected GAN (Goodfellow et al., 2014, arXiv:1406.2661), with the layer sizes of common tutorials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from gansynth.errors import WeightsError
from gansynth.networks.naming import weights_in_order

HIDDEN = (256, 512, 1024)
CHANNELS = 3


class Generator(nn.Module):
    """z -> image through dense layers with ReLU, and tanh in the end.

    Args:
        z_dim: length of z.
        resolution: height and width in pixels.
        hidden: widths of the layers between.
    """

    def __init__(self, z_dim: int = 100, resolution: int = 64, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        self.z_dim, self.resolution, self.hidden = z_dim, resolution, tuple(hidden)
        self.main = _dense([z_dim, *hidden, CHANNELS * resolution**2])
        self.main.append(nn.Tanh())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Images, float32 [n, 3, h, w] in [-1, 1], from z, float32 [n, z_dim]."""
        return torch.as_tensor(self.main(z)).view(-1, CHANNELS, self.resolution, self.resolution)


class Discriminator(nn.Module):
    """Image -> logit of "real"; the sigmoid is part of the loss."""

    def __init__(self, resolution: int = 64, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        self.main = _dense([CHANNELS * resolution**2, *reversed(hidden), 1])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n], of images, float32 [n, 3, h, w] in [-1, 1]."""
        return torch.as_tensor(self.main(images.flatten(1))).squeeze(1)


def _dense(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def settings_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of the `Generator` whose state dict has tensors of these shapes.

    Raises:
        WeightsError: no generator has such; the message names no file.
    """
    weights = weights_in_order(shapes)
    if len(weights) < 2 or any(len(shape) != 2 for shape in weights):
        raise WeightsError("its tensors are not those of two or more dense layers")
    side = math.isqrt(weights[-1][0] // CHANNELS)
    if CHANNELS * side**2 != weights[-1][0]:
        raise WeightsError(f"its last layer gives {weights[-1][0]} values, no square image of {CHANNELS} channels")
    return {"z_dim": weights[0][1], "resolution": side, "hidden": tuple(shape[0] for shape in weights[:-1])}
