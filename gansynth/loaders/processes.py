"""Who this process is among ranks and DataLoader workers, and which epoch it is in."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info

from gansynth.loaders.order import Reader

_MOST_WORKERS = 4096


class Ranks:
    """Finds out which rank and worker this process is.

    The rank comes from torch.distributed; in a worker process that was started anew, which knows nothing of it, from the
    process that started it; before torch.distributed is initialised, from the variables that torchrun sets.
    """

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None

    def __getstate__(self) -> dict[str, tuple[int, int]]:
        return {"_before": self._rank()}

    def reader(self) -> Reader:
        """This process."""
        rank, ranks = self._rank()
        info = get_worker_info()
        return Reader(rank, ranks, info.id, info.num_workers) if info else Reader(rank, ranks)

    def _rank(self) -> tuple[int, int]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return self._before or (int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


class Epochs:
    """The number of the epoch, shared with DataLoader workers, which are other processes and may live for one epoch only.

    Each worker notes in a slot of its own that it has finished an epoch; the last one to do so notes it for all. So a
    worker that begins late, or an epoch that was left half-way, never sets workers apart.
    """

    def __init__(self) -> None:
        self._slots = torch.zeros(_MOST_WORKERS, dtype=torch.int64).share_memory_()

    def set(self, epoch: int) -> None:
        """Begin this one next."""
        self._slots.fill_(epoch)

    def current(self, reader: Reader) -> int:
        """The epoch to read now."""
        return int(self._slots[: reader.workers].min())

    def note(self, reader: Reader, epoch: int) -> None:
        """Note the epoch that a worker reads next."""
        self._slots[reader.worker] = epoch

    def finish(self, reader: Reader, epoch: int) -> None:
        """Note that a worker has read its part of an epoch."""
        self.note(reader, epoch + 1)
        if int(self._slots[: reader.workers].min()) > epoch:
            self._slots.fill_(epoch + 1)
