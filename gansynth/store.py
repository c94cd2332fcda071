"""The one door to storage: list, read, publish atomically. Paths are relative to the dataset's root, with slashes."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gansynth.errors import OutputError, StoreError

SCRATCH = ".tmp"
_TRIES = 100


class Store:
    """A dataset's folder or bucket prefix.

    Args:
        url: a path or any fsspec URL.

    Raises:
        OutputError: no such kind of URL, or its driver is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        try:
            filesystem, root = fsspec.core.url_to_fs(os.fspath(url))
        except (ValueError, ImportError) as error:
            raise OutputError(f"output {url}: cannot be opened ({error}); use a folder or an fsspec URL") from None
        self.url = str(url)
        self._fs: Any = filesystem
        self._root = str(root).rstrip("/")
        self._local = isinstance(filesystem, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    # Reading

    def list(self, folder: str = "") -> dict[str, int]:
        """Names and sizes in bytes of the files directly in a folder; empty if there is no such folder."""
        self._fs.invalidate_cache()
        try:
            entries = self._fs.ls(self._path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {e["name"].rstrip("/").rpartition("/")[2]: int(e["size"] or 0) for e in entries if e["type"] == "file"}

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._path(path)))

    def size(self, path: str) -> int:
        """Size in bytes. Raises StoreError if there is no such file."""
        try:
            self._fs.invalidate_cache()
            return int(self._fs.size(self._path(path)))
        except FileNotFoundError:
            raise StoreError(f"{path}: is missing from {self.url}; run `gansynth repair`") from None

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file, or of a range of it. Raises StoreError if it cannot be read."""
        try:
            end = None if length is None else offset + length
            return cast(bytes, self._fs.cat_file(self._path(path), start=offset or None, end=end))
        except FileNotFoundError:
            raise StoreError(f"{path}: is missing from {self.url}; run `gansynth repair`") from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error}); try again") from None

    # Writing

    def writable(self) -> None:
        """Raise OutputError unless files can be made here. Leaves nothing behind."""
        created = [p for p in [Path(self._root), *Path(self._root).parents] if not p.exists()] if self._local else []
        try:
            probe = f"{SCRATCH}/probe-{uuid.uuid4().hex}"
            self.publish(probe, b"")
            self.delete(probe)
            if self._local:
                self._drop_scratch_if_empty()
        except (OSError, StoreError) as error:
            for folder in created:
                with suppress(OSError):
                    folder.rmdir()
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
            raise OutputError(f"output {self.url}: cannot be written ({reason}); choose another place") from None

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A local path for a file in the making; the file is removed at the end if it was not published.

        For a local store it lies on the same file system, so that publishing is a rename.
        """
        # A folder of its own for each file: those of other threads and processes come and go beside it.
        if self._local:
            folder = Path(self._path(f"{SCRATCH}/{uuid.uuid4().hex}"))
            _make_folder(folder)
        else:
            folder = Path(tempfile.mkdtemp(prefix="gansynth-"))
        path = folder / name
        try:
            yield path
        finally:
            with suppress(OSError):  # somebody cleared the scratch folder meanwhile
                path.unlink(missing_ok=True)
                folder.rmdir()
            if self._local:
                self._drop_scratch_if_empty()

    def _drop_scratch_if_empty(self) -> None:
        with suppress(OSError):  # other files are in the making
            Path(self._path(SCRATCH)).rmdir()

    def publish_file(self, source: Path, path: str) -> None:
        """Put a finished local file in place as a whole: readers see all of it or nothing. Takes the file away."""
        size = source.stat().st_size
        target = self._path(path)
        try:
            if self._local:
                with source.open("rb") as file:
                    os.fsync(file.fileno())
                _make_folder(Path(target).parent)
                source.replace(target)
                _sync_folder(Path(target).parent)
            else:
                self._fs.put_file(str(source), target)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written to {self.url} ({error}); make room or check access") from error
        stored = self.size(path)
        if stored != size:
            raise StoreError(f"{path}: {size} bytes were written, but {stored} are stored; try again")

    def publish(self, path: str, data: bytes) -> None:
        """Put bytes in place as a whole: readers see all of them or nothing."""
        try:
            with self.scratch(uuid.uuid4().hex) as temporary:
                temporary.write_bytes(data)
                self.publish_file(temporary, path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written to {self.url} ({error}); make room or check access") from error

    def create(self, path: str, data: bytes) -> bool:
        """Make a file only if there is none of that name; whether it was made. Exactly one of many callers succeeds."""
        target = self._path(path)
        try:
            if not self._local:
                self._fs.pipe_file(target, data, mode="create")
                return True
            with self.scratch(uuid.uuid4().hex) as temporary:
                temporary.write_bytes(data)
                _make_folder(Path(target).parent)
                os.link(temporary, target)  # unlike a rename, it fails if the name is taken
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(f"{path}: cannot be written to {self.url} ({error}); make room or check access") from error
        return True

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(self._path(path))

    def clear_scratch(self) -> None:
        """Remove what interrupted runs left behind."""
        if self._local:
            shutil.rmtree(self._path(SCRATCH), ignore_errors=True)
        elif self.exists(SCRATCH):
            self._fs.rm(self._path(SCRATCH), recursive=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, also while others remove those that they find empty."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
