"""Real and synthetic samples by class, so that every class can be given equally often."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from gansynth.loaders.dataset import SynthesizedDataset
from gansynth.loaders.order import CYCLE, Ints, Reader
from gansynth.loaders.real import Real

Place = tuple[int, int]  # shard, and position among the shard's samples that fit
_CLASSES, _POOL, _AGAIN = 20, 21, 22  # what a stream of random numbers is for
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
        self._labels = _labels(synthetic, labels)
        self._synthetic = set(np.unique(np.concatenate(self._labels)).tolist())
        self._classes = sorted({*self._real, *self._synthetic})
        self._near = min(2, synthetic.order.mixed_shards)  # blocks at hand, in all not more shards than may be open
        self._order = replace(synthetic.order, shuffle=True, mixed_shards=synthetic.order.mixed_shards // self._near)

    def places(self, flags: Iterable[bool], epoch: int, reader: Reader) -> Iterator[int | Place]:
        """A sample for each flag, class after class in random rounds; from the other side where one lacks the class.

        Args:
            flags: whether a synthetic sample is wanted.
            epoch: from 0.
            reader: takes a part of each class's real images, or all of them if they are too few to be parted, and begins with
                a part of its own of the synthetic ones.
        """
        key = [self._order.seed, epoch]
        random = np.random.default_rng([_AGAIN, *key, _number(reader)])
        supply = _Supply(self._labels, self._blocks(epoch, reader), self._near, random)
        classes = self._rounds(key, reader)
        real: dict[int, Iterator[int]] = {}
        for flag in flags:
            label = next(classes)
            if label not in self._real or (flag and label in self._synthetic):
                yield supply.take(label)
            else:
                if label not in real:
                    real[label] = self._draw(label, key, reader)
                yield next(real[label])

    def _rounds(self, key: list[int], reader: Reader) -> Iterator[int]:
        random = np.random.default_rng([_CLASSES, *key, _number(reader)])
        while True:
            yield from random.permutation(self._classes).tolist()

    def _draw(self, label: int, key: list[int], reader: Reader) -> Iterator[int]:
        pool, readers = self._real[label], reader.ranks * reader.workers
        for cycle in count():
            order = np.random.default_rng([_POOL, *key, label, cycle]).permutation(len(pool))
            mine = order[_number(reader) :: readers] if len(order) >= readers else order
            yield from pool[mine].tolist()

    def _blocks(self, epoch: int, reader: Reader) -> Iterator[tuple[Ints, Ints]]:
        """All synthetic samples again and again, by blocks of shards: a process's own part first, then those of others."""
        total, readers = len(self._order), reader.ranks * reader.workers
        for cycle in count():
            for turn in range(readers):
                part = (_number(reader) + turn) % readers
                first, after = total * part // readers, total * (part + 1) // readers
                yield from self._order.blocks(epoch + cycle * CYCLE, first, after - first)


@dataclass
class _Block:
    """Samples of a few shards: how many, and by class; `fresh` has those that were not given yet."""

    size: int
    places: dict[int, list[Place]]
    fresh: dict[int, list[Place]]


class _Supply:
    """Gives synthetic samples of any class, mostly from one or two blocks of shards, for the sake of what opening one costs.

    The next block takes the place of the oldest when as many samples were given as that one holds. Until then a class that is
    used up is given again from the blocks at hand, in another order, and one that they lack from some shard that has it.

    Args:
        labels: class of each sample of each shard, int64 [n] a shard.
        blocks: shards and rows of the samples of one block after the other, without end.
        near: how many blocks to have at hand.
        random: decides what is given again.
    """

    def __init__(
        self, labels: Sequence[Ints], blocks: Iterator[tuple[Ints, Ints]], near: int, random: np.random.Generator
    ) -> None:
        self._labels, self._blocks, self._random = labels, blocks, random
        self._near = deque((self._next_block() for _ in range(near)), near)
        self._left = self._near[0].size
        self._again: dict[int, list[Place]] = {}
        self._holding: dict[int, list[int]] = {}

    def take(self, label: int) -> Place:
        """A sample of a class, of which there has to be one somewhere."""
        if not self._left:
            self._near.append(self._next_block())
            self._left = self._near[0].size
            self._again.clear()
        self._left -= 1
        for block in self._near:
            if rest := block.fresh.get(label):
                return rest.pop()
        if not self._again.get(label):
            self._again[label] = self._used(label)
        return self._again[label].pop()

    def _used(self, label: int) -> list[Place]:
        found = [place for block in self._near for place in block.places.get(label, ())]
        if not found:
            if label not in self._holding:
                self._holding[label] = [n for n, column in enumerate(self._labels) if (column == label).any()]
            shard = self._holding[label][int(self._random.integers(len(self._holding[label])))]
            found = [(shard, row) for row in np.flatnonzero(self._labels[shard] == label).tolist()]
        return [found[position] for position in self._random.permutation(len(found))]

    def _next_block(self) -> _Block:
        shards, rows = next(self._blocks)
        classes = [int(self._labels[shard][row]) for shard, row in zip(shards, rows, strict=True)]
        places: dict[int, list[Place]] = {}
        for label, place in zip(classes, zip(shards.tolist(), rows.tolist(), strict=True), strict=True):
            places.setdefault(label, []).append(place)
        return _Block(len(rows), places, {label: list(found) for label, found in places.items()})


def _number(reader: Reader) -> int:
    return reader.rank * reader.workers + reader.worker


def _labels(synthetic: SynthesizedDataset, labels: dict[int, int]) -> list[Ints]:
    """Class of each synthetic sample in the real data's numbering, int64 [n] a shard."""
    catalogue = synthetic.catalogue
    stored = np.array(sorted(labels), np.int64)
    mine = np.array([labels[label] for label in sorted(labels)], np.int64)
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda shard: catalogue.rows(shard, ["label"])["label"].to_numpy(), catalogue.shards)
        return [mine[np.searchsorted(stored, column)] for column in found]
