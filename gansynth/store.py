"""The one door to storage: list, read, publish atomically. Paths are relative to the dataset's root, with slashes."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gansynth.errors import OutputError, StoreError, StoreMissing

SCRATCH = ".tmp"
CLAIMS = f"{SCRATCH}/claims"
T = TypeVar("T")
_LOCK = "lock"
_TRIES = 100
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_URL = re.compile(r"(?P<scheme>\w+://)(?:[^/\s]*@)?(?P<place>[^\s?]*)(?:\?[^\s'\"]*)?")


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
            filesystem, root = fsspec.core.url_to_fs(self.url)
        except Exception as error:  # drivers raise what they like, on opening a connection too
            raise OutputError(
                f"output {self.place}: cannot be opened ({_reason(error)}); use a folder or an fsspec URL"
            ) from None
        self._fs: Any = filesystem
        self._root = str(root).rstrip("/")
        self._local = isinstance(filesystem, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Store({self.place!r})"

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        # Drivers of object stores raise errors that are no OSError, and may put addresses with credentials into them.
        try:
            yield
        except StoreError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise StoreMissing(f"{path}: is missing from {self.place}; run `gansynth repair`") from None
        except Exception as error:
            reason = _reason(error)
            message = f"{path or 'files'}: cannot be read from {self.place} ({reason}); try again, or check access"
            raise StoreError(message, reason) from None

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            reason = _reason(error)
            message = f"{path}: cannot be written to {self.place} ({reason}); make room or check access"
            raise StoreError(message, reason) from None

    # Reading

    def list(self, folder: str = "") -> dict[str, int]:
        """Names and sizes in bytes of the files directly in a folder; empty if there is no such folder."""
        try:
            with self._reading(folder):
                self._fs.invalidate_cache()
                entries = self._fs.ls(self._path(folder), detail=True)
        except StoreMissing:
            return {}
        return {e["name"].rstrip("/").rpartition("/")[2]: int(e["size"] or 0) for e in entries if e["type"] == "file"}

    def below(self, folder: str) -> tuple[str, ...]:
        """Paths of all files in a folder and in the folders in it; none if there is no such folder."""
        with self._reading(folder):
            self._fs.invalidate_cache()
            found = self._fs.find(self._path(folder))
        return tuple(f"{folder}/{name.rpartition(f'/{folder}/')[2]}" for name in found)

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
        end = None if length is None else offset + length
        with self._reading(path):
            return cast(bytes, self._fs.cat_file(self._path(path), start=offset or None, end=end))

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
            reason = error.reason or str(error)
            raise OutputError(f"output {self.place}: cannot be written ({reason}); choose another place") from None

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A local path for a file in the making; the file is removed at the end if it was not published.

        For a local store it lies on the same file system, so that publishing is a rename.
        """
        # A folder of its own for each file: those of other threads and processes come and go beside it.
        with self._writing(name):
            folder = Path(self._path(f"{SCRATCH}/{uuid.uuid4().hex}") if self._local else tempfile.mkdtemp())
        try:
            with self._writing(name):
                lock = _again_if_removed(lambda: _locked(folder / _LOCK))
            with lock:
                yield folder / name
        finally:
            with suppress(OSError):  # somebody cleared the scratch folder meanwhile
                for path in (folder / name, folder / _LOCK):
                    path.unlink(missing_ok=True)
                folder.rmdir()
            if self._local:
                self._drop_scratch_if_empty()

    def _drop_scratch_if_empty(self) -> None:
        for folder in (CLAIMS, SCRATCH):
            with suppress(OSError):  # there is none, or other files are in the making
                Path(self._path(folder)).rmdir()

    def publish_file(self, source: Path, path: str) -> None:
        """Put a finished local file in place as a whole: readers see all of it or nothing. Takes the file away."""
        target = self._path(path)
        with self._writing(path):
            size = source.stat().st_size
            if self._local:
                with source.open("rb") as file:
                    os.fsync(file.fileno())
                _make_folder(Path(target).parent)
                source.replace(target)
                _sync_folder(Path(target).parent)
            else:
                self._fs.put_file(str(source), target)
        stored = self.size(path)
        if stored != size:
            raise StoreError(f"{path}: {size} bytes were written, but {stored} are stored; try again")

    def publish(self, path: str, data: bytes) -> None:
        """Put bytes in place as a whole: readers see all of them or nothing."""
        with self._writing(path), self.scratch(uuid.uuid4().hex) as temporary:
            temporary.write_bytes(data)
            self.publish_file(temporary, path)

    def create(self, path: str, data: bytes) -> bool:
        """Make a file only if there is none of that name; whether it was made. Exactly one of many callers succeeds."""
        target = self._path(path)
        with self._writing(path):
            try:
                if not self._local:
                    self._fs.pipe_file(target, data, mode="create")
                    return True
                with self.scratch(uuid.uuid4().hex) as temporary:
                    temporary.write_bytes(data)
                    _link(temporary, Path(target))
            except FileExistsError:
                return False
        return True

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        with self._writing(path), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(path))
        if self._local and path.startswith(f"{SCRATCH}/"):
            self._drop_scratch_if_empty()

    def clear_scratch(self) -> None:
        """Remove what interrupted runs left behind, but neither claims nor what a live process is making."""
        if not self._local:
            for path in self.below(SCRATCH):
                if not path.startswith(f"{CLAIMS}/"):
                    self.delete(path)
            return
        for entry in Path(self._path(SCRATCH)).glob("*"):
            if not entry.is_dir():
                entry.unlink(missing_ok=True)
            elif entry != Path(self._path(CLAIMS)) and _abandoned(entry / _LOCK):
                shutil.rmtree(entry, ignore_errors=True)
        self._drop_scratch_if_empty()


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


def without_secrets(text: str) -> str:
    """A text with the credentials taken out of the URLs in it: user and password, and signed queries."""
    return _URL.sub(r"\g<scheme>\g<place>", text)


def _reason(error: Exception) -> str:
    """What storage said, on one line and without credentials."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return without_secrets(" ".join(said.split())) or type(error).__name__


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, also while others remove those that they find empty."""
    _again_if_removed(lambda: folder.mkdir(parents=True, exist_ok=True))


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
