"""Batch-norm statistics for every truncation, computed once training is over ("standing statistics", Brock et al., 2019).

A BigGAN that is trained sees latents of one spread only. Fed with narrower ones it needs the statistics that belong to them, or
truncation would cost more fidelity than it brings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gansynth.networks.biggan import ROWS, TrainedNorm, norms
from gansynth.training.players import truncated_normal


@torch.no_grad()
def standing_statistics(
    model: Any, batches: int, batch_size: int, seed: int, on_row: Callable[[], None] = lambda: None
) -> None:
    """Fill running_means and running_vars of a BigGAN, row by row, and leave it in evaluation mode.

    Classes come in turn. Spectral norm settles on the way, since the model is in training mode.

    Args:
        model: of `networks.biggan.trainable`.
        batches, batch_size: forward passes for each of the 51 truncations, and images in each.
        seed: of the latents, which are the same for every truncation but for their spread.
        on_row: called after each truncation.
    """
    device = next(model.parameters()).device
    num_classes, z_dim = model.config.num_classes, model.config.z_dim
    model.train()
    for row in range(ROWS):
        random = torch.Generator().manual_seed(seed)
        totals = _Totals(model)
        with totals:
            for number in range(batches):
                z = truncated_normal(batch_size, z_dim, random) * (row / (ROWS - 1))
                classes = (torch.arange(batch_size) + number * batch_size) % num_classes
                model(z.to(device), F.one_hot(classes, num_classes).float().to(device), 1.0)
        totals.store(row, batches)
        on_row()
    model.eval()


class _Totals:
    """Sums of the means and variances of what goes into each batch norm."""

    def __init__(self, model: nn.Module) -> None:
        self._norms = list(norms(model))
        self._sums: dict[TrainedNorm, tuple[torch.Tensor, torch.Tensor]] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        self._handles = [norm.register_forward_pre_hook(self._add) for norm in self._norms]

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _add(self, norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(norm, TrainedNorm)
        variance, mean = (t.double() for t in torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0))
        before = self._sums.get(norm)
        self._sums[norm] = (mean, variance) if before is None else (before[0] + mean, before[1] + variance)

    def store(self, row: int, batches: int) -> None:
        for norm, (mean, variance) in self._sums.items():
            norm.running_means[row] = mean / batches
            norm.running_vars[row] = variance / batches
