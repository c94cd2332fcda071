"""Seeds -> latent vectors. One stream of random numbers a seed, so a latent never depends on batch, worker or order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from gansynth.info import Latent

Floats = npt.NDArray[np.float32]


def draw(
    latent: Latent,
    seeds: Iterable[int],
    z_dim: int,
    truncations: npt.NDArray[np.float64] | None = None,
) -> Floats:
    """Latent vectors of the given seeds.

    Args:
        latent: `truncated_normal`: bit-equal to `truncated_noise_sample(1, z_dim, truncation, seed)` of
            pytorch-pretrained-biggan, that is, normal values cut off at +-2 and scaled by the truncation.
            `normal`: `torch.randn(1, z_dim)` of a CPU generator seeded with the seed, not scaled.
            `numpy_normal`: `numpy.random.RandomState(seed).randn(1, z_dim)`, not scaled (StyleGAN's convention).
        seeds: n seeds in [0, 2^32).
        z_dim: length of each vector.
        truncations: scale of each vector, float64 [n], for `truncated_normal`; 1 if left out.

    Returns:
        float32 [n, z_dim].
    """
    if latent == "truncated_normal":
        values = _truncated_normal(seeds, z_dim)
        return values if truncations is None else values * truncations.astype(np.float32)[:, None]
    if latent == "normal":
        return _torch_normal(seeds, z_dim)
    rows = [np.random.RandomState(seed).randn(1, z_dim) for seed in seeds]
    return np.concatenate(rows).astype(np.float32)


def _truncated_normal(seeds: Iterable[int], z_dim: int) -> Floats:
    from scipy.stats import truncnorm

    # truncnorm.rvs pushes uniform numbers through the quantile function; one call for all rows gives the same bits
    # as one call a seed, about twelve times faster.
    stream = np.random.RandomState()  # seeding again is cheaper than making another
    rows = []
    for seed in seeds:
        stream.seed(seed)
        rows.append(stream.uniform(size=(1, z_dim)))
    uniform = np.concatenate(rows)
    return np.asarray(truncnorm.ppf(uniform, -2, 2), dtype=np.float32)


def _torch_normal(seeds: Iterable[int], z_dim: int) -> Floats:
    import torch

    generator = torch.Generator(device="cpu")
    rows = [torch.randn(1, z_dim, generator=generator.manual_seed(int(seed))) for seed in seeds]
    return torch.cat(rows).numpy()
