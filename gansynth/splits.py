"""Which split a seed falls into, and the seeds of one split without listing them.

u(seed) = (2654435769 seed mod 2^32) / 2^32 (Knuth's multiplicative hash) is compared with the cumulative ratios.
Counting the seeds of a split below a bound is a sum of floors of a linear function, which Euclid's algorithm
evaluates in logarithmic time, so splits cost no memory however long the seed range is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gansynth.seeds import Seeds

SPLITS = ("train", "val", "test")
_MULTIPLIER = 2654435769
_MODULUS = 2**32
UInts = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


def bounds(ratios: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """The half-open interval of 2^32 u(seed) that belongs to each split, in the order written.

    Args:
        ratios: share of each split in (0, 1]; they add up to 1.
    """
    result: dict[str, tuple[int, int]] = {}
    low, total = 0, Decimal(0)
    for position, (name, ratio) in enumerate(ratios.items(), 1):
        total += Decimal(repr(ratio))  # as written: 0.7 + 0.2 is 0.9 here
        high = _MODULUS if position == len(ratios) else min(_MODULUS, math.ceil(total * _MODULUS))
        result[name] = (low, high)
        low = high
    return result


def split_of(seed: int, ratios: Mapping[str, float]) -> str:
    """Name of the split that a seed falls into."""
    u = seed * _MULTIPLIER % _MODULUS
    return next(name for name, (low, high) in bounds(ratios).items() if low <= u < high)


@dataclass(frozen=True)
class SplitSeeds:
    """The seeds of one split, in the order of `seeds`; indexable without being listed.

    Args:
        seeds: seeds of all splits.
        low, high: interval of 2^32 u(seed) that belongs to this split.
    """

    seeds: Seeds
    low: int
    high: int

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def _starts(self) -> Ints:
        starts = np.array([r.start for r in self.seeds.ranges], dtype=np.uint64)
        stops = np.array([r.stop for r in self.seeds.ranges], dtype=np.uint64)
        return np.concatenate([[0], np.cumsum(self._below(stops) - self._below(starts))]).astype(np.int64)

    def _below(self, n: UInts) -> UInts:
        """How many x in [0, n) belong to this split."""
        return _count_below(n, self.high) - _count_below(n, self.low)

    def at(self, positions: Ints) -> Ints:
        """Seeds at the given positions of this split, int64 [n]."""
        which = np.searchsorted(self._starts, positions, side="right") - 1
        first = np.array([r.start for r in self.seeds.ranges], dtype=np.int64)[which]
        last = np.array([r.stop - 1 for r in self.seeds.ranges], dtype=np.int64)[which]
        rank = positions - self._starts[which]
        if (self.low, self.high) == (0, _MODULUS):
            return first + rank
        # Smallest x with rank + 1 members of the split in [first, x], by bisection.
        target = self._below(first.astype(np.uint64)) + rank.astype(np.uint64) + np.uint64(1)
        while (first < last).any():
            middle = (first + last) // 2
            enough = self._below((middle + 1).astype(np.uint64)) >= target
            first, last = np.where(enough, first, middle + 1), np.where(enough, middle, last)
        return first


def _count_below(n: UInts, threshold: int) -> UInts:
    """How many x in [0, n) have (multiplier * x mod 2^32) < threshold."""
    # floor((ax + m) / m) - floor((ax + m - t) / m) is 1 exactly where ax mod m < t.
    return _floor_sum(n, _MODULUS) - _floor_sum(n, _MODULUS - threshold)


def _floor_sum(n: UInts, offset: int) -> UInts:
    """Sum of floor((multiplier * x + offset) / 2^32) over x in [0, n), modulo 2^64, for each n <= 2^32."""
    # Products stay below 2^64 as long as n and the operands stay at or below 2^32; the sums may wrap, since only
    # differences of sums are used. Elements that are done have n = 0 and add nothing.
    total = np.zeros_like(n)
    a, m = _MULTIPLIER, _MODULUS
    b = np.full_like(n, offset)
    while n.any():
        if a >= m:
            pairs = np.where(n % 2 == 0, n // 2 * (n - np.uint64(1)), (n - np.uint64(1)) // 2 * n)
            total += pairs * np.uint64(a // m)
            a %= m
        total += n * (b // np.uint64(m))
        b %= np.uint64(m)
        top = np.uint64(a) * n + b
        n, b = top // np.uint64(m), top % np.uint64(m)
        a, m = m, a
    return total
