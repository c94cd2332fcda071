"""Stopping on request: Ctrl-C and SIGTERM end a run at a shard boundary, or after a time of grace."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gansynth.errors import Interrupted

GRACE_SECONDS = 8.0


class Stop:
    """A request to stop, which work looks at between shards and between batches."""

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self.told = False
        self._signal: int | None = None
        self._deadline = 0.0

    def request(self, signal_number: int) -> None:
        """Ask to stop; asking again means at once."""
        self._deadline = time.monotonic() + (self._grace if self._signal is None else 0.0)
        self._signal = signal_number

    @property
    def requested(self) -> bool:
        """No new shard may be started."""
        return self._signal is not None

    @property
    def expired(self) -> bool:
        """The shard at hand must be dropped."""
        return self.requested and time.monotonic() >= self._deadline

    def overdue(self, margin: float) -> bool:
        """Whether the time of grace ended `margin` seconds ago or more."""
        return self.requested and time.monotonic() >= self._deadline + margin

    def raise_if_requested(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self._signal is not None:
            raise Interrupted(self._signal)


@contextmanager
def stop_on_signals(stop: Stop, signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[Stop]:
    """Turn signals into requests while the block runs. Only in the main thread, where Python delivers signals."""

    def handle(number: int, frame: FrameType | None) -> None:
        stop.request(number)

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
