"""The batch norms of BigGAN-deep for inference: one multiply-add each, with statistics of each sample's own truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Affine = tuple[torch.Tensor, torch.Tensor]  # scale and shift, each float32 [n, channels, 1, 1]
_ON_GRID = 1e-4  # in rows; float32 truncations miss their row by less than 1e-5


def input_major(weight: torch.Tensor) -> torch.Tensor:
    """Weights [out, in] of a linear layer as a matrix [in, out] in memory: few samples are multiplied several times as fast."""
    return weight.detach().T.contiguous()


class BatchNorms(nn.Module):
    """Scales and shifts of all batch norms of the network at once, in the order in which it applies them.

    Args:
        norms: the library's batch norms, the unconditional one last; with each, [channels], what its input lacks: biases
            of the convolutions before it, which are taken off the means instead.
    """

    weight: torch.Tensor
    last_scale: torch.Tensor
    last_shift: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor

    def __init__(self, norms: Sequence[tuple[Any, torch.Tensor]]) -> None:
        super().__init__()
        *conditional, (last, _) = norms
        scales, offsets = zip(*((norm.scale.weight, norm.offset.weight) for norm, _ in conditional), strict=True)
        self._sizes = [norm.running_means.shape[1] for norm, _ in norms]
        self.register_buffer("weight", input_major(torch.cat([*scales, *offsets])))
        self.register_buffer("last_scale", last.weight.detach().clone())
        self.register_buffer("last_shift", last.bias.detach().clone())
        self.register_buffer("means", torch.cat([norm.running_means - bias for norm, bias in norms], dim=1))
        self.register_buffer("variances", torch.cat([norm.running_vars + norm.eps for norm, _ in norms], dim=1))

    def forward(self, condition: torch.Tensor, truncation: torch.Tensor) -> list[Affine]:
        """Scale and shift of every batch norm.

        Args:
            condition: float32 [n, z_dim + class_embed_dim].
            truncation: float32 [n] in (0, 1].
        """
        n, rows = len(condition), _StatisticsRows.of(truncation, len(self.means))
        scale, shift = (condition @ self.weight).chunk(2, dim=1)
        scale = torch.cat([1 + scale, self.last_scale.expand(n, -1)], dim=1) * rows.take(self.variances).rsqrt()
        shift = torch.cat([shift, self.last_shift.expand(n, -1)], dim=1) - rows.take(self.means) * scale
        columns = [torch.split(tensor[:, :, None, None], self._sizes, dim=1) for tensor in (scale, shift)]
        return list(zip(*columns, strict=True))


@dataclass(frozen=True)
class _StatisticsRows:
    """Which rows of the batch-norm statistics each sample takes: lower + weight (upper - lower), each [n]."""

    lower: torch.Tensor
    upper: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, truncation: torch.Tensor, count: int) -> _StatisticsRows:
        """Rows for truncations in (0, 1], float32 [n], when row i of `count` belongs to truncation i / (count - 1)."""
        position = truncation.double() * (count - 1)
        nearest = position.round()
        position = torch.where((position - nearest).abs() < _ON_GRID, nearest, position)
        lower = position.floor().clamp(0, count - 1)
        upper = (lower + 1).clamp(max=count - 1)
        return cls(lower.long(), upper.long(), (position - lower).float()[:, None])

    def take(self, statistics: torch.Tensor) -> torch.Tensor:
        """float32 [n, channels] from statistics [rows, channels]."""
        return torch.lerp(statistics[self.lower], statistics[self.upper], self.weight)
