"""Bytes of a file, taken forward and only as far as they exist, and what reading one file may cost.

Nothing is allocated because a length field says so: a length is compared with what remains, and long byte strings
stay in the file, as `Span`s, until a tensor of a known shape is read from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from gansynth.generators.stylegan2.refusals import Damaged, Unsafe

MAX_WORK = 400_000  # instructions of a file; a snapshot of 1024 pixels has about 50,000
MAX_TEXT = 16 << 20  # bytes of text of a file; the source texts in a snapshot are about 0.1 MB
_WINDOW = 8192


class Budget:
    """What one file may still cost, nested streams included.

    Attributes:
        work: instructions, and elements that an instruction copies.
        text: bytes of text.
    """

    __slots__ = ("text", "work")

    def __init__(self, work: int = MAX_WORK, text: int = MAX_TEXT) -> None:
        self.work = work
        self.text = text

    def spend(self, work: int = 1) -> None:
        """Count work; raises Unsafe if there is more of it than any snapshot needs."""
        self.work -= work
        if self.work < 0:
            raise Unsafe(f"more than {MAX_WORK} of them")

    def spend_text(self, length: int) -> None:
        """Count text; raises Unsafe if there is more of it than any snapshot has."""
        self.text -= length
        if self.text < 0:
            raise Unsafe(f"more than {MAX_TEXT >> 20} MiB of text")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file that were not read: a byte string of the pickle."""

    start: int
    length: int


class Source:
    """A file, read at any place.

    Args:
        file: open for reading in binary, seekable.
        size: of the file in bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    def read(self, span: Span) -> bytes:
        """The bytes of a span; raises Damaged if they are no longer there."""
        self._file.seek(span.start)
        data = self._file.read(span.length)
        if len(data) != span.length:
            raise Damaged("it became shorter while it was read")
        return data

    def fill(self, start: int, target: memoryview) -> None:
        """Fill a writable buffer of bytes from a place on; raises Damaged if they are no longer there."""
        self._file.seek(start)
        done = 0
        while done < len(target):
            # readinto comes with every buffered and raw binary file, though BinaryIO does not name it.
            count = self._file.readinto(target[done:])  # type: ignore[attr-defined]  # see above
            if not count:
                raise Damaged("it became shorter while it was read")
            done += count


class Cursor:
    """A place in a span of a file that moves forward.

    Attributes:
        position, end: in the file.
    """

    __slots__ = ("_base", "_source", "_window", "end", "position")

    def __init__(self, source: Source, span: Span) -> None:
        self._source = source
        self._window = b""
        self._base = self.position = span.start
        self.end = span.start + span.length

    def byte(self) -> int:
        """The next byte as a number."""
        index = self.position - self._base
        if index >= len(self._window):
            self._look(1)
            index = 0
        self.position += 1
        return self._window[index]

    def take(self, length: int) -> bytes:
        """The next bytes; raises Damaged if fewer remain."""
        index = self.position - self._base
        if index + length > len(self._window):
            self._look(length)
            index = 0
        self.position += length
        return self._window[index : index + length]

    def skip(self, length: int) -> Span:
        """The next bytes, unread; raises Damaged if fewer remain."""
        self._demand(length)
        span = Span(self.position, length)
        self.position += length
        return span

    def line(self, limit: int) -> bytes:
        """The bytes up to a line feed, which is passed over; raises Damaged if none comes within the limit."""
        index = self.position - self._base
        if index + limit > len(self._window):
            self._look(min(limit, self.end - self.position))
            index = 0
        stop = self._window.find(b"\n", index, index + limit)
        if stop < 0:
            raise Damaged(f"a name at position {self.position} does not end")
        self.position = self._base + stop + 1
        return self._window[index:stop]

    def _look(self, length: int) -> None:
        """Have the next bytes, and some more, in the window."""
        self._demand(length)
        wanted = min(max(length, _WINDOW), self.end - self.position)
        self._window = self._source.read(Span(self.position, wanted))
        self._base = self.position

    def _demand(self, length: int) -> None:
        if length > self.end - self.position:
            raise Damaged(
                f"it is cut short: {length} bytes are announced at position {self.position}, "
                f"where {self.end - self.position} remain"
            )
