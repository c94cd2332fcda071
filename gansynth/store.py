"""The one door to storage: list, read, publish atomically. Paths are relative to the dataset's root, with slashes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from gansynth.driver import Driver
from gansynth.errors import GansynthError, OutputError, StoreError, StoreMissing
from gansynth.local_files import CLAIMS, SCRATCH, LocalFiles
from gansynth.object_store import Objects, no_such_bucket
from gansynth.redaction import reason, without_secrets

__all__ = ["CLAIMS", "SCRATCH", "Store", "is_url", "without_secrets"]

# What tells one version of a file from another in the listings of the drivers: S3, Azure, GCS, local, web.
_VERSION = ("ETag", "etag", "content_md5", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "created")
_PUTS = 3


class Store:
    """A dataset's folder or bucket prefix. Whatever goes wrong in storage is raised as StoreError or a subclass of it.

    Args:
        url: a path or any fsspec URL.

    Raises:
        OutputError: no such kind of URL, its driver is not installed, or it cannot be opened.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = os.fspath(url)
        self.place = without_secrets(self.url)
        try:
            self._driver = Driver(self.url)
        except Exception as error:  # drivers raise what they like, on opening a connection too
            hint = "; run pip install 'gansynth[s3]'" if isinstance(error, ImportError) and "s3fs" in str(error) else ""
            raise OutputError(
                f"output {self.place}: cannot be opened ({reason(error, self.url)}){hint or '; use a folder or an fsspec URL'}"
            ) from None
        self._root, self._local = self._driver.root, self._driver.is_local

    def __repr__(self) -> str:
        return f"Store({self.place!r})"

    @property
    def _fs(self) -> Any:
        return self._driver.filesystem

    @property
    def _files(self) -> LocalFiles | Objects:
        return self._driver.files

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        # Drivers of object stores raise errors that are no OSError, and may put addresses with credentials into them.
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) and not no_such_bucket(error):
                raise StoreMissing(f"{path}: is missing from {self.place}; run `gansynth repair`") from None
            said = reason(error, self.url)
            message = f"{path or 'files'}: cannot be read from {self.place} ({said}); try again, or check access"
            raise StoreError(message, said) from None

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except GansynthError:
            raise
        except Exception as error:
            said = reason(error, self.url)
            message = f"{path}: cannot be written to {self.place} ({said}); make room or check access"
            raise StoreError(message, said) from None

    # Reading

    def list(self, folder: str = "") -> dict[str, int]:
        """Names and sizes in bytes of the files directly in a folder; empty if there is no such folder."""
        return {name: int(entry["size"] or 0) for name, entry in self._entries(folder).items()}

    def versions(self, folder: str = "") -> dict[str, str]:
        """Names of the files directly in a folder, each with a text that changes when the file does, on most stores."""
        return {name: _version(entry) for name, entry in self._entries(folder).items()}

    def tree(self) -> dict[str, str]:
        """The same for all files in the folder and below, by path; of a single file, whose path is "" then."""
        with self._reading(""):
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True)
        return {name[len(self._root) + 1 :]: _version(entry) for name, entry in found.items() if not name.endswith("/")}

    def _entries(self, folder: str) -> dict[str, dict[str, Any]]:
        try:
            with self._reading(folder):
                self._fs.invalidate_cache()
                entries = self._fs.ls(self._path(folder), detail=True)
        except StoreMissing:
            return {}
        # Names that end with a slash are what some tools leave in place of empty folders.
        files = (entry for entry in entries if entry["type"] == "file" and not entry["name"].endswith("/"))
        return {entry["name"].rpartition("/")[2]: entry for entry in files}

    def below(self, folder: str = "") -> tuple[str, ...]:
        """Paths of all files in a folder and in the folders in it; none if there is no such folder."""
        with self._reading(folder):
            self._fs.invalidate_cache()
            found = self._fs.find(self._path(folder))
        return tuple(name[len(self._root) + 1 :] for name in found if not name.endswith("/"))

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name; not being able to tell is an error."""
        try:
            with self._reading(path):
                self._fs.invalidate_cache()
                self._fs.info(self._path(path))  # not exists(), which takes every error for a no
        except StoreMissing:
            return False
        return True

    def size(self, path: str) -> int:
        """Size in bytes. Raises StoreMissing if there is no such file."""
        with self._reading(path):
            self._fs.invalidate_cache()
            return int(self._fs.size(self._path(path)))

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file, or of a range of it. Raises StoreMissing if there is no such file."""
        if length == 0:  # S3 has no name for an empty range, and would send everything
            return b""
        end = None if length is None else offset + length
        with self._reading(path):
            return cast(
                bytes, self._fs.cat_file(self._path(path), start=offset or None, end=end, **self._files.reading)
            )

    def find(self, path: str) -> bytes | None:
        """Bytes of a file, None if there is none: one request in place of two."""
        try:
            return self.read(path)
        except StoreMissing:
            return None

    def local(self, path: str) -> Path | None:
        """Where a file lies on this machine's file systems; None if it is elsewhere."""
        return Path(self._path(path)) if self._local else None

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """A file to be read here and there, without fetching the rest. Raises StoreMissing if there is no such file."""
        with self._reading(path), self._fs.open(self._path(path), "rb") as file:
            yield file

    def fetch(self, path: str, target: Path) -> None:
        """Copy a whole file to this machine. Raises StoreMissing if there is no such file."""
        with self._reading(path):
            self._fs.get_file(self._path(path), str(target))

    def ranges(self, path: str, spans: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """Parts of a file, given as offset and length in bytes, fetched side by side where storage can."""
        name = self._path(path)
        starts, ends = [offset for offset, _ in spans], [offset + length for offset, length in spans]
        with self._reading(path):
            return cast(Sequence[bytes], self._fs.cat_ranges([name] * len(spans), starts, ends, on_error="raise"))

    # Writing

    def writable(self) -> None:
        """Raise OutputError unless files can be made here. Leaves nothing behind."""
        created = [p for p in [Path(self._root), *Path(self._root).parents] if not p.exists()] if self._local else []
        try:
            probe = f"{SCRATCH}/probe-{uuid.uuid4().hex}"
            self.publish(probe, b"")
            self.delete(probe)
        except StoreError as error:
            for folder in created:
                with suppress(OSError):
                    folder.rmdir()
            said = error.reason or str(error)
            raise OutputError(f"output {self.place}: cannot be written ({said}); choose another place") from None

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A local path for a file in the making; the file is removed at the end if it was not published.

        For a local store it lies on the same file system, so that publishing is a rename.
        """
        with ExitStack() as stack:
            with self._writing(name):
                folder = stack.enter_context(self._files.folder())
            yield folder / name

    def publish_file(self, source: Path, path: str) -> None:
        """Put a finished local file in place as a whole: readers see all of it or nothing. Takes the file away."""
        with self._writing(path):
            size = source.stat().st_size
            self._put(path, size, lambda: self._files.put_file(source, self._path(path)))
            source.unlink(missing_ok=True)

    def publish(self, path: str, data: bytes) -> None:
        """Put bytes in place as a whole: readers see all of them or nothing."""
        with self._writing(path):
            objects = self._files
            if isinstance(objects, LocalFiles):
                with self.scratch(uuid.uuid4().hex) as temporary:
                    temporary.write_bytes(data)
                    self.publish_file(temporary, path)
                return
            self._put(path, len(data), lambda: objects.put(data, self._path(path)))

    def _put(self, path: str, size: int, put: Callable[[], bool]) -> None:
        """Put a file until it is certain to be stored whole."""
        for _ in range(_PUTS):
            if put() or (stored := self.size(path)) == size:
                return
            # Most likely another writer of this shard has put its own receipt, with other timings, in place just now.
        raise StoreError(f"{path}: {size} bytes were written, but {stored} are stored; try again")

    def create(self, path: str, data: bytes) -> bool:
        """Make a file only if there is none of that name; whether it was made. Exactly one of many callers succeeds.

        Raises:
            OutputError: the store has no way to do so.
        """
        with self._writing(path):
            return self._files.create(data, self._path(path))

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        with self._writing(path), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(path))
        files = self._files
        if isinstance(files, LocalFiles) and path.startswith(f"{SCRATCH}/"):
            files.drop_empty_folders()

    def clear_scratch(self) -> None:
        """Remove what interrupted runs left behind, but neither claims nor what a live process is making."""
        if not self._local:
            for path in self.below(SCRATCH):
                if not path.startswith(f"{CLAIMS}/"):
                    self.delete(path)
        with self._writing(SCRATCH):
            self._files.clear()


def _version(entry: Mapping[str, Any]) -> str:
    return "|".join(str(entry[key]) for key in ("size", *_VERSION) if entry.get(key) is not None)


def is_url(text: str) -> bool:
    """Whether a place is named by an fsspec URL rather than by a path of this machine."""
    return "://" in text
