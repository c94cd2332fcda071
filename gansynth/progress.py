"""How far a long job is: a bar on a terminal, a plain line now and then elsewhere. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 30.0


class Advance(Protocol):
    """Tell of finished units, and of how it goes."""

    def __call__(self, count: int, note: str = "", /) -> None: ...


@contextmanager
def progress(total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Show progress while the block runs; yields a function that is called with each number of finished units.

    Args:
        total: units in all.
        unit: what they are, in the plural.
        done: units that were finished before.
    """
    console = Console(stderr=True)
    with _bar(console, total, unit, done) if console.is_terminal else _lines(total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(console: Console, total: int, unit: str, done: int) -> Iterator[Advance]:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, completed=done, rate="", note="")
        start, count = time.monotonic(), 0

        def advance(number: int, note: str = "", /) -> None:
            nonlocal count
            count += number
            rate = f"{count / max(time.monotonic() - start, 1e-6):,.1f}/s"
            bar.update(task, advance=number, rate=rate, note=note)

        yield advance


@contextmanager
def _lines(total: int, unit: str, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    count = 0

    def advance(number: int, note: str = "", /) -> None:
        nonlocal count, last
        count += number
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last, rate = now, count / (now - start)
            left = (total - done - count) / rate if rate else 0
            told = f"{done + count:,}/{total:,} {unit}, {rate:,.1f}/s, {duration(left)} left"
            print(f"{told}, {note}" if note else told, file=sys.stderr, flush=True)

    yield advance


def tell(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3.5 h", "12 days": two figures that a person reads at a glance."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}" if size == 3600 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def size(count: float) -> str:
    """ "512 B", "12.3 MB": a number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:,.1f} {unit}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """ "1 shard", "1,200 shards"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
