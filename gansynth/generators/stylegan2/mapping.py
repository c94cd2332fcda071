"""The mapping network of StyleGAN2: latents to styles w, and their truncation (Karras et al., 2019, arXiv:1812.04948)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

_SLOPE = 0.2
_EPSILON = 1e-8


class MappingNetwork(nn.Module):
    """z and class -> w.

    Args:
        tensors: named as in a state dict: fc0.weight, ..., embed.weight (conditional networks), w_avg.
        layers: how many of them.
        rate: learning rate of its layers beside that of the rest, with which weights are stored.
    """

    w_avg: torch.Tensor
    embed: torch.Tensor

    def __init__(self, tensors: Mapping[str, torch.Tensor], layers: int, rate: float) -> None:
        super().__init__()
        self.conditional = "embed.weight" in tensors
        self.register_buffer("w_avg", tensors["w_avg"].clone())
        if self.conditional:
            weight = tensors["embed.weight"]
            self.register_buffer("embed", weight.T / math.sqrt(weight.shape[1]) + tensors["embed.bias"])
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for index in range(layers):
            weight, bias = tensors[f"fc{index}.weight"], tensors[f"fc{index}.bias"]
            gain = math.sqrt(2) * rate  # of leaky ReLU, which is homogeneous
            self.weights.append(nn.Parameter(weight * (gain / math.sqrt(weight.shape[1])), requires_grad=False))
            self.biases.append(nn.Parameter(bias * gain, requires_grad=False))

    def forward(self, z: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """w before truncation, float32 [n, w_dim].

        Args:
            z: float32 [n, z_dim].
            classes: int64 [n]; ignored by unconditional networks.
        """
        x = _normalised(z)
        if self.conditional:
            x = torch.cat([x, _normalised(self.embed[classes])], dim=1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu_(F.linear(x, weight, bias), _SLOPE)
        return x


def truncated(w: torch.Tensor, psi: torch.Tensor, center: torch.Tensor, cutoff: int | None) -> torch.Tensor:
    """centre + psi (w - centre) for the first `cutoff` layers, w for the others.

    Args:
        w: float32 [n, layers, w_dim].
        psi: float32 [n]; 1 leaves w as it is, bit for bit.
        center: float32 [n, w_dim], or [1, w_dim] for all.
        cutoff: how many layers are truncated; all if None.

    Returns:
        float32 [n, layers, w_dim].
    """
    psi, center = psi[:, None, None], center[:, None]
    layers = w.shape[1]
    rows = torch.arange(layers, device=w.device)[:, None] < (layers if cutoff is None else cutoff)
    return torch.where(rows & (psi != 1), center + psi * (w - center), w)


def _normalised(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + _EPSILON).rsqrt()
