"""Which two samples to go between: every pair once, groups of alike samples in turn, with no list of pairs in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gansynth.plan import Permutation

Ints = npt.NDArray[np.int64]


class Pairs:
    """All pairs of two samples that are alike, in an order that is random but fixed.

    Groups of such samples take turns, so that each gets pairs as long as it has any, and no pair comes twice.

    Args:
        keys: what samples have to share, a key for each sample.
    """

    def __init__(self, keys: Sequence[tuple[int, float]]) -> None:
        alike: dict[tuple[int, float], list[int]] = {}
        for index, key in enumerate(keys):
            alike.setdefault(key, []).append(index)
        self._groups = [
            (
                np.array(members, np.int64),
                Permutation(len(members) * (len(members) - 1) // 2, f"gansynth/1/pairs/{key}"),
            )
            for key, members in sorted(alike.items())
            if len(members) > 1
        ]
        self._sizes = np.array([order.size for _, order in self._groups], np.int64)

    def __len__(self) -> int:
        return int(self._sizes.sum())

    def at(self, positions: Ints) -> tuple[Ints, Ints]:
        """Both samples of the pairs at these positions, int64 [n] each."""
        pairs = [self._pair(position) for position in positions.tolist()]
        return np.array([a for a, _ in pairs], np.int64), np.array([b for _, b in pairs], np.int64)

    def _pair(self, position: int) -> tuple[int, int]:
        begun = 0  # rounds that all groups which are left have taken part in
        for level in np.unique(self._sizes).tolist():
            left = np.flatnonzero(self._sizes > begun)
            taken = (level - begun) * len(left)
            if position < taken:
                members, order = self._groups[left[position % len(left)]]
                return _unranked(members, int(order(np.array([begun + position // len(left)], np.int64))[0]))
            position, begun = position - taken, level
        raise IndexError(position)


def _unranked(members: Ints, rank: int) -> tuple[int, int]:
    """The pair (a < b) of this rank among all, in colexicographic order."""
    b = int((1 + np.sqrt(1 + 8 * rank)) / 2)
    while b * (b - 1) // 2 > rank:
        b -= 1
    while b * (b + 1) // 2 <= rank:
        b += 1
    return int(members[rank - b * (b - 1) // 2]), int(members[b])
