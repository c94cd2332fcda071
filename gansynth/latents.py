"""Seeds -> latent vectors, their neighbours, and what lies between two. One stream of random numbers a seed, so a latent never
depends on batch, worker or order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gansynth.info import Latent

Floats = npt.NDArray[np.float32]
Vector = TypeVar("Vector", npt.NDArray[np.float32], npt.NDArray[np.float64])
_TAIL = 1e-12  # quantiles nearer to 0 or 1 have no finite normal value in float64
_PARALLEL = 1e-6  # sine of the angle below which two directions are one


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


def neighbours(
    latent: Latent, z: Floats, names: Sequence[str], sigma: float, truncations: npt.NDArray[np.float64]
) -> Floats:
    """Latents near others, of the same distribution: sqrt(1 - sigma^2) z + sigma eps, with eps of a standard normal one.

    What truncation cuts off stays cut off: `truncated_normal` values are carried to normal ones by their quantiles, moved
    there, and carried back.

    Args:
        latent: distribution of z.
        z: float32 [n, z_dim].
        names: of the neighbours, n different texts: each has a stream of its own, which is the same for every sigma.
        sigma: 0 gives z itself, 1 latents that have nothing of it.
        truncations: by which truncated_normal values are scaled, float64 [n].

    Returns:
        float32 [n, z_dim].
    """
    eps = np.stack([_stream(name).standard_normal(z.shape[1]) for name in names])
    normal = _to_normal(latent, z, truncations)
    return _from_normal(latent, np.sqrt(1 - sigma**2) * normal + sigma * eps, truncations)


def between(
    latent: Latent, a: Floats, b: Floats, t: npt.NDArray[np.float64], truncations: npt.NDArray[np.float64]
) -> Floats:
    """Latents on the great circle from a (t = 0) to b (t = 1), see `slerp`; truncation is kept as by `neighbours`.

    Args:
        latent: distribution of both.
        a, b: float32 [n, z_dim].
        t: float64 [n].
        truncations: of both, float64 [n].

    Returns:
        float32 [n, z_dim].
    """
    pairs = zip(_to_normal(latent, a, truncations), _to_normal(latent, b, truncations), t.tolist(), strict=True)
    return _from_normal(latent, np.stack([slerp(x, y, at) for x, y, at in pairs]), truncations)


def slerp(a: Vector, b: Vector, t: float) -> Vector:
    """Spherical interpolation from a (t = 0) to b (t = 1), [d] (Shoemake, SIGGRAPH 1985).

    Halfway between two latents of a normal distribution a straight line comes too near to the origin, where no latent lies;
    this path keeps the distance. Opposite vectors have no path of their own and are joined by a straight line.
    """
    cosine = float(np.dot(a, b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < _PARALLEL:
        return lerp(a, b, t)
    weights = np.sin([(1 - t) * angle, t * angle]) / np.sin(angle)
    return np.asarray(weights[0] * a + weights[1] * b, a.dtype)


def lerp(a: Vector, b: Vector, t: float) -> Vector:
    """Linear interpolation from a (t = 0) to b (t = 1), [d]."""
    return np.asarray((1 - t) * a + t * b, a.dtype)


def _stream(name: str) -> np.random.RandomState:
    """Random numbers of a name; RandomState, since numpy keeps its numbers from release to release."""
    return np.random.RandomState(np.frombuffer(hashlib.sha256(name.encode()).digest(), "<u4"))


def _to_normal(latent: Latent, z: Floats, truncations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if latent != "truncated_normal":
        return z.astype(np.float64)
    from scipy.special import ndtri
    from scipy.stats import truncnorm

    quantiles = truncnorm.cdf(z / truncations[:, None], -2, 2)
    return np.asarray(ndtri(np.clip(quantiles, _TAIL, 1 - _TAIL)))


def _from_normal(latent: Latent, x: npt.NDArray[np.float64], truncations: npt.NDArray[np.float64]) -> Floats:
    if latent != "truncated_normal":
        return x.astype(np.float32)
    from scipy.special import ndtr
    from scipy.stats import truncnorm

    values = np.asarray(truncnorm.ppf(ndtr(x), -2, 2), np.float32)
    return values * truncations.astype(np.float32)[:, None]


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
