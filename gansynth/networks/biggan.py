"""BigGAN-deep (Brock et al., 2019, arXiv:1809.11096) to be trained: the generator of pytorch-pretrained-biggan with batch
statistics, and a discriminator with projection (Miyato and Koyama, 2018, arXiv:1802.05637) and spectral norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from pytorch_pretrained_biggan.model import BigGANBatchNorm
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

ROWS = 51  # of batch-norm statistics: truncations 0, 0.02, ..., 1
RESOLUTIONS = (32, 64, 128)


class TrainedNorm(BigGANBatchNorm):  # type: ignore[misc]  # the library has no types
    """The library's batch norm, which takes the batch's own statistics while it is trained.

    Its state dict is the library's. In evaluation mode it is the library's in every respect.
    """

    def forward(self, x: torch.Tensor, truncation: float, condition_vector: torch.Tensor | None = None) -> torch.Tensor:
        if not self.training:
            return torch.as_tensor(super().forward(x, truncation, condition_vector))
        if condition_vector is None:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        x = F.batch_norm(x, None, None, training=True, eps=self.eps)
        weight = 1 + self.scale(condition_vector)[:, :, None, None]
        return torch.addcmul(self.offset(condition_vector)[:, :, None, None], x, weight)


def config_of(resolution: int, num_classes: int, width: int, z_dim: int) -> dict[str, Any]:
    """The library's configuration of a generator.

    Args:
        resolution: 32, 64 or 128 pixels.
        num_classes: from 1.
        width: channels of the last block; the first has 16 times as many.
        z_dim: length of z, and of the class embedding.
    """
    doublings, multiple = resolution.bit_length() - 3, 16
    layers: list[list[Any]] = []
    for _ in range(doublings):
        after = max(1, multiple // 2)
        layers += [[True, multiple, after], [False, after, after]]
        multiple = after
    layers[-1][2] = 1  # the library's last layer expects the width itself; at 32 pixels that takes one halving more
    return {
        "attention_layer_position": 2 * (doublings - 1),
        "channel_width": width,
        "class_embed_dim": z_dim,
        "eps": 1e-4,
        "layers": layers,
        "n_stats": ROWS,
        "num_classes": num_classes,
        "output_dim": resolution,
        "z_dim": z_dim,
    }


def trainable(config: dict[str, Any]) -> BigGAN:
    """The library's model, fresh, with batch norms that can be trained; BigGAN's initialisation is orthogonal."""
    model = BigGAN(BigGANConfig.from_dict(config))
    for module in model.modules():
        if isinstance(module, BigGANBatchNorm):
            module.__class__ = TrainedNorm  # keeps parameters and names; the library builds its norms itself
            if not module.conditional:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(_raw_weight(module))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def _raw_weight(module: nn.Module) -> torch.Tensor:
    """The parameter behind spectral norm, if there is any."""
    return cast(torch.Tensor, module.weight_orig if hasattr(module, "weight_orig") else module.weight)


def norms(model: nn.Module) -> Iterator[TrainedNorm]:
    """All batch norms, in the order of the state dict."""
    return (module for module in model.modules() if isinstance(module, TrainedNorm))


class _Down(nn.Module):
    """A residual block of the discriminator."""

    def __init__(self, width_in: int, width_out: int, halve: bool, first: bool) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv_0 = spectral_norm(nn.Conv2d(width_in, width_out, 3, padding=1))
        self.conv_1 = spectral_norm(nn.Conv2d(width_out, width_out, 3, padding=1))
        self.shortcut = spectral_norm(nn.Conv2d(width_in, width_out, 1)) if width_in != width_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_0(x if self.first else F.relu(x))
        y = self.conv_1(F.relu(y))
        if not self.halve:
            return torch.as_tensor(y + self.shortcut(x))
        return torch.as_tensor(F.avg_pool2d(y, 2) + self.shortcut(F.avg_pool2d(x, 2)))


class Discriminator(nn.Module):
    """Image and class -> score, high for real images.

    Args:
        resolution: 32, 64 or 128 pixels.
        num_classes: from 1.
        width: channels of the first block; they double until they are 8 times as many.
    """

    def __init__(self, resolution: int, num_classes: int, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = 3
        for number in range(resolution.bit_length() - 3):
            out = width * min(8, 1 << number)
            blocks.append(_Down(before, out, halve=True, first=number == 0))
            before = out
        self.blocks = nn.Sequential(*blocks, _Down(before, before, halve=False, first=False))
        self.linear = spectral_norm(nn.Linear(before, 1))
        self.embedding = spectral_norm(nn.Embedding(num_classes, before))

    def forward(self, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Scores, float32 [n].

        Args:
            images: float32 [n, 3, h, w] in [-1, 1].
            classes: int64 [n].
        """
        features = F.relu(self.blocks(images)).sum(dim=(2, 3))
        projection = (self.embedding(classes) * features).sum(dim=1)
        return torch.as_tensor(self.linear(features).squeeze(1) + projection)
