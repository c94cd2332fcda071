"""Real and synthetic samples by class, so that every class can be given equally often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth.loaders.dataset import SynthesizedDataset
from gansynth.loaders.order import Reader
from gansynth.loaders.real import Real

_CLASSES, _POOL = 20, 21  # what a stream of random numbers is for
_READERS = 16


class Pools:
    """Where the samples of each class are, on both sides.

    Args:
        real: real images.
        synthetic: synthetic ones.
        labels: label of each synthetic class in the real data's numbering.
    """

    def __init__(self, real: Real, synthetic: SynthesizedDataset, labels: dict[int, int]) -> None:
        found = real.labels()
        self._real = {int(label): np.flatnonzero(found == label) for label in np.unique(found)}
        self._synthetic = _places(synthetic, labels)
        self._classes = sorted({*self._real, *self._synthetic})

    def places(self, flags: Iterable[bool], key: list[int], reader: Reader) -> Iterator[int | tuple[int, int]]:
        """A sample for each flag, class after class in random rounds; from the other side where one lacks the class.

        Args:
            flags: whether a synthetic sample is wanted.
            key: seed and epoch.
            reader: takes a part of each class, or all of a class that is too small to be parted.
        """
        classes = self._rounds(key, reader)
        drawn: dict[tuple[bool, int], Iterator[Any]] = {}
        for flag in flags:
            label = next(classes)
            synthetic = label in self._synthetic if flag or label not in self._real else False
            if (synthetic, label) not in drawn:
                drawn[synthetic, label] = self._draw(synthetic, label, key, reader)
            yield next(drawn[synthetic, label])

    def _rounds(self, key: list[int], reader: Reader) -> Iterator[int]:
        random = np.random.default_rng([_CLASSES, *key, _number(reader)])
        while True:
            yield from random.permutation(self._classes).tolist()

    def _draw(self, synthetic: bool, label: int, key: list[int], reader: Reader) -> Iterator[Any]:
        pool = (self._synthetic if synthetic else self._real)[label]
        readers = reader.ranks * reader.workers
        for cycle in count():
            order = np.random.default_rng([_POOL, *key, synthetic, label, cycle]).permutation(len(pool))
            mine = order[_number(reader) :: readers] if len(order) >= readers else order
            for place in pool[mine].tolist():
                yield tuple(place) if synthetic else place


def _number(reader: Reader) -> int:
    return reader.rank * reader.workers + reader.worker


def _places(synthetic: SynthesizedDataset, labels: dict[int, int]) -> dict[int, npt.NDArray[np.int64]]:
    """Shard and row of each synthetic sample, int64 [n, 2], by class."""
    catalogue = synthetic.catalogue
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(lambda shard: catalogue.rows(shard, ["label"])["label"].to_numpy(), catalogue.shards))
    shards = np.concatenate([np.full(len(column), number) for number, column in enumerate(found)])
    rows = np.concatenate([np.arange(len(column)) for column in found])
    places, column = np.stack([shards, rows], axis=1), np.concatenate(found)
    return {mine: places[column == theirs] for theirs, mine in labels.items() if (column == theirs).any()}
