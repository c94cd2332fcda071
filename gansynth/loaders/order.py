"""In which order samples are read, and by whom: every epoch is a keyed shuffle that ranks and workers compute alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gansynth.errors import InputError

Uneven = Literal["exact", "drop", "pad"]
Ints = npt.NDArray[np.int64]
CYCLE = 1 << 32  # between the orders of one epoch's passes over the samples
_SHARDS, _ROWS, _BLOCK = range(3)  # what a stream of random numbers is for


@dataclass(frozen=True)
class Reader:
    """One of the processes that read a dataset together.

    Args:
        rank, ranks: of torch.distributed.
        worker, workers: of this rank's DataLoader; one if it has none.
    """

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1


def share(count: int, reader: Reader, uneven: Uneven) -> tuple[int, int]:
    """Where the samples of a rank begin in an epoch's sequence, and how many there are.

    Args:
        count: samples of all ranks.
        reader: whose rank is meant.
        uneven: what to do if ranks do not divide them evenly. `exact`: every sample once, so ranks may differ by one.
            `drop`: some are left out. `pad`: some are read twice, those at the epoch's beginning.
    """
    if uneven == "exact":
        first, after = (count * rank // reader.ranks for rank in (reader.rank, reader.rank + 1))
        return first, after - first
    each = count // reader.ranks if uneven == "drop" else -(-count // reader.ranks)
    return reader.rank * each, each


def deal(first: int, count: int, reader: Reader, batch_size: int) -> tuple[int, int]:
    """The part of a rank's samples that one worker reads: whole batches, but for the last of the last worker.

    A DataLoader makes batches within each worker, so that one short batch a rank is left, and not one a worker.
    """
    batches = -(-count // batch_size)
    start = batches * reader.worker // reader.workers * batch_size
    after = batches * (reader.worker + 1) // reader.workers * batch_size
    return first + min(start, count), min(after, count) - min(start, count)


@dataclass(frozen=True)
class Order:
    """The sequence of an epoch: shards in random order, the rows of each in random order, blocks of shards mixed.

    Args:
        counts: number of samples of each shard.
        shuffle: off, the sequence is that of the shards.
        seed: of all epochs.
        mixed_shards: how many shards are open at a time, their samples mixed.
    """

    counts: Sequence[int]
    shuffle: bool
    seed: int
    mixed_shards: int

    def __len__(self) -> int:
        return sum(self.counts)

    def samples(self, epoch: int, first: int, count: int, skip: int = 0) -> Iterator[tuple[int, int]]:
        """A part of the sequence, as shard and position within the shard's samples.

        Args:
            epoch: from 0.
            first: where the part begins.
            count: its length; it may go past the end, and then goes on from the beginning.
            skip: how many of its samples to leave out.
        """
        for shards, rows in self.blocks(epoch, first, count, skip):
            yield from zip(shards.tolist(), rows.tolist(), strict=True)

    def blocks(self, epoch: int, first: int, count: int, skip: int = 0) -> Iterator[tuple[Ints, Ints]]:
        """The same by blocks of shards: for each the shards and positions of its samples, int64 [n] both."""
        segments = list(self._segments(epoch, first, count))
        for start in range(0, len(segments), self.mixed_shards):
            block = segments[start : start + self.mixed_shards]
            size = sum(len(part) for _, part in block)
            if skip >= size:
                skip -= size
                continue
            shards = np.concatenate([np.full(len(part), shard) for shard, part in block])
            rows = np.concatenate([self._rows(epoch, shard)[part.start : part.stop] for shard, part in block])
            if self.shuffle:
                mixed = self._random(_BLOCK, epoch, first, start).permutation(size)
                shards, rows = shards[mixed], rows[mixed]
            yield shards[skip:], rows[skip:]
            skip = 0

    def _segments(self, epoch: int, first: int, count: int) -> Iterator[tuple[int, range]]:
        """Runs of samples of one shard: the shard, and which part of its order."""
        shards = np.arange(len(self.counts))
        if self.shuffle:
            shards = self._random(_SHARDS, epoch).permutation(len(shards))
        ends = np.cumsum(np.asarray(self.counts, np.int64)[shards])
        while count:
            first %= int(ends[-1])
            which = int(np.searchsorted(ends, first, side="right"))
            shard = int(shards[which])
            offset = first - int(ends[which]) + self.counts[shard]
            taken = min(count, self.counts[shard] - offset)
            yield shard, range(offset, offset + taken)
            first, count = first + taken, count - taken

    def _rows(self, epoch: int, shard: int) -> Ints:
        rows = np.arange(self.counts[shard])
        return self._random(_ROWS, epoch, shard).permutation(rows) if self.shuffle else rows

    def _random(self, purpose: int, *key: int) -> np.random.Generator:
        return np.random.default_rng([purpose, self.seed, *key])


def require_enough(count: int, reader: Reader, uneven: Uneven) -> None:
    """Raise InputError if ranks would go without samples."""
    if uneven == "drop" and count < reader.ranks:
        raise InputError(
            f"uneven: {count} samples dropped to a multiple of {reader.ranks} ranks leave none; use pad, or fewer ranks"
        )
