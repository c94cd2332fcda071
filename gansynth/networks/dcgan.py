"""DCGAN (Radford et al., 2016, arXiv:1511.06434), with the names of layers that tutorials' state dicts have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gansynth.errors import WeightsError
from gansynth.networks.naming import weights_in_order

_SLOPE = 0.2


class Generator(nn.Module):
    """z -> image through transposed convolutions, each but the last with batch norm and ReLU.

    Args:
        z_dim: length of z.
        resolution: height and width in pixels, a power of two from 8 on.
        width: channels before the last layer; they double with every halving of the resolution.
        channels: of the image.
    """

    def __init__(self, z_dim: int = 100, resolution: int = 64, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        self.z_dim, self.resolution, self.width, self.channels = z_dim, resolution, width, channels
        widths = [width << power for power in reversed(range(_doublings(resolution)))]
        layers: list[nn.Module] = []
        before = z_dim
        for number, out in enumerate(widths):
            stride, padding = (1, 0) if number == 0 else (2, 1)
            layers += [
                nn.ConvTranspose2d(before, out, 4, stride, padding, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
            ]
            before = out
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False), nn.Tanh())
        self.apply(initialise)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Images, float32 [n, channels, h, w] in [-1, 1], from z, float32 [n, z_dim]."""
        return torch.as_tensor(self.main(z[:, :, None, None]))


class Discriminator(nn.Module):
    """Image -> logit of "real"; the sigmoid is part of the loss. Arguments as `Generator`."""

    def __init__(self, resolution: int = 64, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE, inplace=True)]
        for power in range(1, _doublings(resolution)):
            before, out = width << (power - 1), width << power
            layers += [
                nn.Conv2d(before, out, 4, 2, 1, bias=False),
                nn.BatchNorm2d(out),
                nn.LeakyReLU(_SLOPE, inplace=True),
            ]
        last = nn.Conv2d(width << (_doublings(resolution) - 1), 1, 4, 1, 0, bias=False)
        self.main = nn.Sequential(*layers, last)
        self.apply(initialise)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n], of images, float32 [n, channels, h, w] in [-1, 1]."""
        return torch.as_tensor(self.main(images)).flatten()


def initialise(module: nn.Module) -> None:
    """Convolutions from N(0, 0.02), batch norms from N(1, 0.02) with zero bias, as published."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _doublings(resolution: int) -> int:
    """From 4 pixels to half the resolution."""
    return resolution.bit_length() - 3


def settings_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of the `Generator` whose state dict has tensors of these shapes.

    Raises:
        WeightsError: no generator has such; the message names no file.
    """
    kernels = [shape for shape in weights_in_order(shapes) if len(shape) == 4]
    if len(kernels) < 2 or any(shape[2:] != (4, 4) for shape in kernels):
        raise WeightsError("its tensors are not those of two or more transposed convolutions of 4 x 4")
    if kernels[-1][1] not in (1, 3):
        raise WeightsError(f"its images have {kernels[-1][1]} channels, not 1 (grey) or 3 (red, green and blue)")
    return {
        "z_dim": kernels[0][0],
        "resolution": 4 << (len(kernels) - 1),
        "width": kernels[-1][0],
        "channels": kernels[-1][1],
    }
