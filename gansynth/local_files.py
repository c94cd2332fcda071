"""Publishing on a local file system: made under another name, synced to disk, then renamed or linked into place."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

SCRATCH = ".tmp"
CLAIMS = f"{SCRATCH}/claims"
T = TypeVar("T")
_LOCK = "lock"
_TRIES = 100
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class LocalFiles:
    """Writes files of a dataset below a folder. Scratch files lie in it too, so that publishing is a rename.

    Args:
        root: the dataset's folder; it need not exist.
    """

    reading: Mapping[str, Any] = {}
    "Options of the driver's `cat_file`."

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder for a file in the making, locked against `clear`, and removed with what is left in it."""
        # A folder of its own for each file: those of other threads and processes come and go beside it.
        folder = self._root / SCRATCH / uuid.uuid4().hex
        lock = _again_if_removed(lambda: _locked(folder / _LOCK))
        try:
            with lock:
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self.drop_empty_folders()

    def put_file(self, source: Path, target: str) -> bool:
        """Move a file into place, durably. True: it is certain to be there as a whole."""
        with source.open("rb") as file:
            os.fsync(file.fileno())
        place = Path(target)
        _again_if_removed(lambda: place.parent.mkdir(parents=True, exist_ok=True))
        source.replace(place)
        _sync_folder(place.parent)
        return True  # and no look at the name, where another writer's file may be by now

    def create(self, data: bytes, target: str) -> bool:
        """Make a file whose name must be free; whether it was."""
        with self.folder() as folder:
            (folder / "new").write_bytes(data)
            try:
                _link(folder / "new", Path(target))
            except FileExistsError:
                return False
        return True

    def clear(self) -> None:
        """Remove what killed processes left, but neither claims nor what a live one is making."""
        for entry in (self._root / SCRATCH).glob("*"):
            if not entry.is_dir():
                entry.unlink(missing_ok=True)
            elif entry != self._root / CLAIMS and _abandoned(entry / _LOCK):
                shutil.rmtree(entry, ignore_errors=True)
        self.drop_empty_folders()

    def drop_empty_folders(self) -> None:
        """Remove the folder of scratch files if there are none."""
        for folder in (CLAIMS, SCRATCH):
            with suppress(OSError):  # there is none, or other files are in the making
                (self._root / folder).rmdir()


def _locked(path: Path) -> TextIO:
    """A new file in a new folder, locked until it is closed or its process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    with suppress(OSError):  # a file system without locks: what is left behind there must be cleared by hand
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _abandoned(lock: Path) -> bool:
    try:
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # an older version made the folder
        return True
    except OSError:  # locked, or there are no locks to tell by
        return False
    return True


def _link(source: Path, target: Path) -> None:
    """Give a file a name that must be free, also while others remove folders that they find empty."""

    def link() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)  # unlike a rename, it fails if the name is taken
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            with target.open("xb") as file:  # as on exFAT and many FUSE mounts: exclusive too, but not in one piece
                file.write(source.read_bytes())

    _again_if_removed(link)


def _again_if_removed(act: Callable[[], T]) -> T:
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            return act()
    return act()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
