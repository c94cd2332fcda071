"""A small process that ends the descendants of another one if that one dies without a chance to do so itself.

`kill -9` of a flow would leave Prefect's embedded server running for ever. The guard reads from a pipe of which the
flow's process holds the other end: a byte means that the flow has ended well, the end of the pipe that it has died.
Linux only (it reads /proc); elsewhere it does nothing. Run as a script, so it imports next to nothing.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_SECONDS, _GRACE_SECONDS = 0.2, 2.0


@contextmanager
def guarded() -> Iterator[None]:
    """Let a guard watch this process while the block runs."""
    if not Path("/proc/self/stat").exists():
        yield
        return
    command = [sys.executable, "-S", "-E", __file__, str(os.getpid())]
    # Its own session: Ctrl-C in the terminal must not end the guard before the flow.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                guard.communicate(b".")


def watch(parent: int) -> None:
    """Remember the parent's descendants until its end of the pipe closes; then end them."""
    seen: dict[int, str] = {}
    while not select.select([0], [], [], _POLL_SECONDS)[0]:
        seen.update(_descendants(parent))
    if os.read(0, 1):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _alive(seen):
            seen.update(_descendants(pid))  # Ray goes on starting workers
        alive = _alive(seen)
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and _alive(seen):
            time.sleep(_POLL_SECONDS)


def _alive(seen: dict[int, str]) -> list[int]:
    return [pid for pid, start in seen.items() if _started(pid) == start]


def _descendants(pid: int) -> dict[int, str]:
    """Processes below one, with the times they started at; this process and its own are not among them."""
    found: dict[int, str] = {}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, path.read_text().split()):
                if child != os.getpid() and (start := _started(child)):
                    found |= {child: start, **_descendants(child)}
    return found


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None if it is gone or a zombie."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return None


if __name__ == "__main__":
    watch(int(sys.argv[1]))
