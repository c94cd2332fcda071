"""The driver of fsspec behind a URL, opened anew by every process that comes into being by a fork."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gansynth.local_files import LocalFiles
from gansynth.object_store import Objects, objects

# Never let go: dropped in a child, a driver would close connections, and take them from the poll, of its parent.
_INHERITED: list[Any] = []


class Driver:
    """Reads (`filesystem`) and writes (`files`) what lies at a URL, in whatever process.

    Args:
        url: a path or any fsspec URL.

    Raises:
        Exception: whatever the driver raises if it is not installed or cannot connect.
    """

    def __init__(self, url: str) -> None:
        filesystem, root = fsspec.core.url_to_fs(url)
        self.root = str(root).rstrip("/")
        self.is_local = isinstance(filesystem, LocalFileSystem)
        self._opened = self._open(filesystem)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "is_local": self.is_local, "filesystem": self.filesystem}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root, self.is_local = state["root"], state["is_local"]
        self._opened = self._open(state["filesystem"])

    @property
    def filesystem(self) -> Any:
        """Of fsspec."""
        return self._of_this_process()[1]

    @property
    def files(self) -> LocalFiles | Objects:
        """What writes through it."""
        return self._of_this_process()[2]

    def _open(self, filesystem: Any) -> tuple[int, Any, LocalFiles | Objects]:
        files = LocalFiles(Path(self.root)) if self.is_local else objects(filesystem, self.root)
        return os.getpid(), filesystem, files

    def _of_this_process(self) -> tuple[int, Any, LocalFiles | Objects]:
        opened = self._opened
        if opened[0] != os.getpid():
            inherited = opened[1]
            _INHERITED.append(inherited)
            # With its own options rather than from the URL: they hold what was configured when it was opened.
            opened = self._opened = self._open(type(inherited)(*inherited.storage_args, **inherited.storage_options))
        return opened
