"""How many shards make a task: minutes of work, as measured, however long a shard takes."""

from __future__ import annotations

import math

TASKS_PER_RUN = 1000  # Prefect becomes unstable beyond about twice as many in a flow run
# Of its length, for a task at the end, when the rest is shared out: any costs Prefect some 0.2 s.
_LEAST = 1 / 30
# Tasks that what is left is divided into, for each of several workers, so that none is idle for long at the end.
_SHARES = 4


class Pace:
    """Sizes tasks one after another. Until a shard has been timed, a task is a single one.

    Args:
        shards: to be made in all.
        workers: that share them.
        seconds: of work that a task should take.
    """

    def __init__(self, shards: int, workers: int, seconds: float) -> None:
        self._left, self._workers, self._wanted = shards, workers, seconds
        self._timed, self._seconds = 0, 0.0

    @property
    def seconds_per_shard(self) -> float | None:
        """As measured; None before the first."""
        return self._seconds / self._timed if self._timed else None

    def took(self, shards: int, seconds: float) -> None:
        """Take in how long a worker needed for some shards."""
        self._timed += shards
        self._seconds += seconds

    def next_size(self) -> int:
        """Number of shards of the next task."""
        size = 1
        if each := self.seconds_per_shard:
            fair = self._left / (_SHARES * self._workers) if self._workers > 1 else self._left
            floor = min(_LEAST * self._wanted / each, self._left / self._workers)
            size = max(1, math.ceil(min(self._wanted / each, max(fair, floor))))
        size = min(size, max(1, self._left))
        self._left -= size
        return size
