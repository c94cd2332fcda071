"""Watches the reader of StyleGAN2 snapshots at work: what it does beside reading, how long it takes, what it raises.

    python tests/stylegan2_guard.py FILE...

prints one JSON object a file. An audit hook cannot be taken away again, so this runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from stylegan2_files import SMALL, dumps, snapshot, stylegan3, tensorflow

from gansynth.errors import WeightsError
from gansynth.generators.stylegan2 import read

MEMORY = 1 << 30
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Guard:
    """Records every audited event but the opening of the file that is read, and bounds memory."""

    def __init__(self) -> None:
        self._path = ""
        self._events: list[str] = []
        self._watching = False
        self._warm_up()
        sys.addaudithook(self._hook)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def watch(self, path: Path) -> dict[str, Any]:
        """Read a file. The result has outcome (a class of error, or "read"), message, cause, seconds and events.

        Seconds are of the processor: a busy machine makes no file slow, and reading neither waits nor has threads.
        """
        self._path, self._events = str(path), []
        outcome, message, cause = "read", "", None
        self._watching, start = True, time.process_time()
        try:
            read(path)
        except WeightsError as error:
            outcome, message = type(error).__name__, str(error)
            cause = repr(error.__cause__) if error.__cause__ else None
        except BaseException as error:  # whatever it is, it is a finding
            outcome, message = f"escaped {type(error).__name__}", str(error)
        finally:
            seconds = time.process_time() - start
            self._watching = False
        return {
            "outcome": outcome,
            "message": message,
            "cause": cause,
            "seconds": seconds,
            "events": self._events,
        }

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open" and str(arguments[0]) == self._path and not arguments[2] & _WRITING:
            return
        if len(self._events) < 5:
            self._events.append(f"{event} {arguments!r}"[:200])

    def _warm_up(self) -> None:
        """Whatever Python and numpy import when first used is imported now."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "good.pkl"
            for tree in (snapshot(), snapshot(SMALL, code="bf2", channels_last=True), tensorflow(), stylegan3(), {}):
                path.write_bytes(dumps(tree))
                try:
                    read(path)
                except WeightsError:
                    continue


if __name__ == "__main__":
    guard = Guard()
    for name in sys.argv[1:]:
        print(json.dumps({"file": Path(name).stem, **guard.watch(Path(name))}), flush=True)
