"""Seed texts such as "0-4999,7000" and the seeds that they stand for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gansynth.errors import RecipeError, quoted

SEED_LIMIT = 2**32
_ITEM = re.compile(r"(\d{1,30})(?:\s*-\s*(\d{1,30}))?\Z", re.ASCII)


@dataclass(frozen=True)
class Seeds:
    """An ordered set of seeds, held as ranges: a billion seeds take no more memory than one.

    `str()` gives the shortest text that `parse_seeds` reads back as the same seeds in the same order.
    """

    ranges: tuple[range, ...]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __iter__(self) -> Iterator[int]:
        for r in self.ranges:
            yield from r

    def __str__(self) -> str:
        return ",".join(str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in self.ranges)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Position of each range's first seed; the number of seeds last."""
        return np.concatenate([[0], np.cumsum([len(r) for r in self.ranges])]).astype(np.int64)

    def at(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Seeds at the given positions, int64 [n], each position in [0, len(self))."""
        which = np.searchsorted(self._starts, positions, side="right") - 1
        first = np.array([r.start for r in self.ranges], dtype=np.int64)
        return first[which] + positions - self._starts[which]


def parse_seeds(text: str, what: str = "seeds") -> Seeds:
    """Read a seed text: seeds and inclusive ranges, separated by commas.

    Neighbouring ranges are joined, so "0-4,5-9" and "0-9" are the same.

    Args:
        text: such as "0-4999,7000".
        what: the key or option that it was given for, for messages.

    Raises:
        RecipeError: not of this form, a seed outside [0, 2^32), a range that runs backwards, or a seed given twice.
    """
    ranges: list[range] = []
    for item in text.split(","):
        match = _ITEM.match(item.strip())
        if match is None:
            place = "" if item == text else f" in {quoted(text)}"
            raise RecipeError(
                f"{what}: saw {quoted(item.strip())}{place}, which is neither a whole number from 0 nor a range; "
                'write numbers and ranges separated by commas, such as "0-4999,7000"'
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise RecipeError(f'{what}: saw "{item.strip()}", which runs backwards; write "{last}-{first}"')
        if last >= SEED_LIMIT:
            raise RecipeError(
                f"{what}: saw {last}, above the largest seed {SEED_LIMIT - 1} (2^32 - 1); use smaller numbers"
            )
        if ranges and ranges[-1].stop == first:
            ranges[-1] = range(ranges[-1].start, last + 1)
        else:
            ranges.append(range(first, last + 1))
    seeds = Seeds(tuple(ranges))
    require_distinct([seeds], what)
    return seeds


def require_distinct(parts: Iterable[Seeds], what: str = "seeds") -> None:
    """Raise RecipeError if a seed occurs twice, within a part or across parts."""
    ranges = sorted((r for part in parts for r in part.ranges), key=lambda r: r.start)
    for a, b in itertools.pairwise(ranges):
        if b.start < a.stop:
            raise RecipeError(
                f"{what}: {'seed' if what == 'seeds' else 'number'} {b.start} occurs twice; each may be used once, so take it out of one range"
            )
