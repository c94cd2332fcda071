"""Centres of classes: the mean style of each, which truncation may move towards in place of the mean over all classes.

A centre is computed once in float64 on the CPU, so that it has the same bits on every machine, and then kept in the cache
folder.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from gansynth.environment import cache_folder
from gansynth.generators.stylegan2.mapping import MappingNetwork

SAMPLES = 10_000
_SEED = 0
_AT_ONCE = 1_000


def class_center(mapping: MappingNetwork, z_dim: int, label: int, weights_sha256: str) -> npt.NDArray[np.float32]:
    """Mean of w over 10,000 latents of a class, float32 [w_dim].

    Args:
        mapping: the mapping network.
        z_dim: length of its latents.
        label: index of the class.
        weights_sha256: identity of the weights, for the cache.
    """
    path = cache_folder() / "centers" / f"{weights_sha256}-{label}.npy"
    width = mapping.w_avg.shape[0]
    if (kept := _kept(path, width)) is not None:
        return kept
    center = _mean_style(mapping, z_dim, label)
    _keep(path, center)
    return center


def _mean_style(mapping: MappingNetwork, z_dim: int, label: int) -> npt.NDArray[np.float32]:
    exact = copy.deepcopy(mapping).cpu().double()
    z = torch.from_numpy(np.random.RandomState(_SEED).randn(SAMPLES, z_dim))
    total = sum(exact(part, torch.full([len(part)], label)).sum(dim=0) for part in z.split(_AT_ONCE))
    return np.asarray((torch.as_tensor(total) / SAMPLES).float().numpy())


def _kept(path: Path, width: int) -> npt.NDArray[np.float32] | None:
    try:
        center = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = center.shape == (width,) and center.dtype == np.float32 and np.isfinite(center).all()
    return np.asarray(center) if fits else None


def _keep(path: Path, center: npt.NDArray[np.float32]) -> None:
    with suppress(OSError):  # it can be computed again
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            np.save(made, center)
            made.replace(path)
