"""The Frechet distance between two sets of features, each taken for a Gaussian (Dowson and Landau, 1982).

On the features of an Inception network it is known as FID (Heusel et al., 2017); on others it must name them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]


def frechet_distance(a: Features, b: Features) -> float:
    """|mean_a - mean_b|^2 + trace(C_a + C_b - 2 (C_a C_b)^(1/2)); zero for equal sets, in squared units of the features.

    Args:
        a, b: features, float [n, dimensions], n at least 2; the numbers of rows may differ.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"saw features of shapes {a.shape} and {b.shape}; give two or more rows of the same width")
    mean = a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)
    root = _square_root(np.atleast_2d(np.cov(a, rowvar=False, dtype=np.float64)))
    other = np.atleast_2d(np.cov(b, rowvar=False, dtype=np.float64))
    # The trace of the root of C_a C_b is that of the root of the symmetric C_a^(1/2) C_b C_a^(1/2).
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other @ root), 0, None)).sum()
    return float(max(0.0, mean @ mean + np.trace(root @ root) + np.trace(other) - 2 * cross))


def _square_root(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
