"""A local copy of a folder or file in object storage, for what needs real files: weights, training data and runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from gansynth.environment import cache_folder
from gansynth.errors import InputError, OutputError, quoted
from gansynth.redaction import holds_password
from gansynth.store import Store, is_url

_STATE = ".mirror.json"  # beside the copy: the store's files by version, and the stamps of their copies
_TEMPORARY = ".part"
_Stamp = tuple[int, int]


class Mirror:
    """Keeps a local folder and one of a store alike.

    Args:
        url: of the folder or file.
        ignored: names of folders that stay on this machine.

    Raises:
        InputError: the URL cannot be opened, or holds a password.
    """

    def __init__(self, url: str, ignored: tuple[str, ...] = ()) -> None:
        if holds_password(url):
            raise InputError(
                f"{Store(url).place}: its URL holds a password, which would be written into records; set it in the environment"
            )
        self._store, self._ignored = Store(url), ignored
        self.folder = cache_folder() / "mirrors" / hashlib.sha256(url.encode()).hexdigest()[:24]
        self._known: dict[str, _Stamp] = {}  # files that the store has, with those of the copies that are the same

    def pull(self) -> Path:
        """Make the local copy what the store holds, by one listing; only what changed there is fetched.

        A copy that was changed here since, and not in the store, stays: it is what a push that failed did not send.

        Returns:
            the folder, or the file if the URL is one's.

        Raises:
            InputError: there is nothing at the URL, or something that no folder can hold.
            OutputError: the copy cannot be written.
            StoreError: the store cannot be read.
        """
        found = self._store.tree()
        if not found:
            raise InputError(f"{self._store.place}: holds no file; check the URL")
        single = PurePosixPath(self._store.place).name
        names = {path: path or single for path in found}
        self._require_files(set(names.values()))
        before = self._state()
        try:
            for path in before.keys() - found.keys():  # first, since a file may have become a folder
                self._drop(path or single)
            for path, name in names.items():
                target = self.folder / name
                if path not in before or before[path][0] != found[path] or not target.is_file():
                    self._fetch(path, target)
                    before[path] = (found[path], *_stamp(target))
            self._remember({path: before[path] for path in found})
        except OSError as error:
            raise OutputError(
                f"{self.folder}: the copy of {self._store.place} cannot be written ({error.strerror or error}); make room, or let "
                f"GANSYNTH_CACHE name another folder"
            ) from None
        return self.folder / single if set(found) == {""} else self.folder

    def _require_files(self, names: set[str]) -> None:
        """Raise InputError unless these can be files of one folder, as keys of object stores need not be."""
        for name in sorted(names):
            if not _is_inside(name):
                raise InputError(
                    f"{self._store.place}: holds the key {quoted(name)}, which names no file inside a folder; rename or delete that "
                    f"object"
                )
            for parent in PurePosixPath(name).parents:
                if str(parent) in names:
                    raise InputError(
                        f"{self._store.place}: holds both {quoted(str(parent))} and {quoted(name)}, but no folder can be a file too; "
                        f"rename or delete one of the two objects"
                    )

    def _fetch(self, path: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{target.name}.{os.getpid()}{_TEMPORARY}")
        self._store.fetch(path, temporary)
        temporary.replace(target)

    def _drop(self, name: str) -> None:
        """Remove a file, and the folders that it leaves empty."""
        if not _is_inside(name):  # as an earlier version may have noted it
            return
        (self.folder / name).unlink(missing_ok=True)
        for parent in PurePosixPath(name).parents[:-1]:
            with suppress(OSError):
                (self.folder / parent).rmdir()

    def pull_if_any(self) -> None:
        """The same for a place that may be empty yet, or again: what it once held goes here too, unless changed since."""
        if self._store.tree():
            self.pull()
            return
        for path, (_, *stamp) in self._state().items():
            with suppress(OSError):  # gone already
                if _stamp(self.folder / path) == tuple(stamp):
                    self._drop(path)

    def push(self, last: str) -> None:
        """Make the store hold what the local folder does: files that changed are sent, those that are gone removed.

        Args:
            last: a file that is sent after all others, since it says that they are complete.
        """
        local = {path: _stamp(file) for path, file in self._files()}
        for path in sorted(local, key=lambda path: (path == last, path)):
            if self._known.get(path) != local[path]:
                self._store.publish(path, (self.folder / path).read_bytes())
        for path in self._known.keys() - local.keys():
            self._store.delete(path)
        found = self._store.tree()
        self._remember({path: (found[path], *stamp) for path, stamp in local.items() if path in found})

    def _files(self) -> Iterator[tuple[str, Path]]:
        for file in self.folder.rglob("*"):
            path = file.relative_to(self.folder)
            if file.is_file() and path.parts[0] not in (*self._ignored, _STATE) and file.suffix != _TEMPORARY:
                yield path.as_posix(), file

    def _state(self) -> dict[str, tuple[str, int, int]]:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            found = json.loads((self.folder / _STATE).read_text())
            return {path: (version, size, changed) for path, (version, size, changed) in found.items()}
        return {}

    def _remember(self, state: dict[str, tuple[str, int, int]]) -> None:
        if state != self._state():
            temporary = self.folder / f"{_STATE}.{os.getpid()}{_TEMPORARY}"  # others may pull the same
            temporary.write_text(json.dumps(state))
            temporary.replace(self.folder / _STATE)
        self._known = {path: (size, changed) for path, (_, size, changed) in state.items()}


def _stamp(file: Path) -> _Stamp:
    """By which a change of a file is known: its size, and when it was changed."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _is_inside(name: str) -> bool:
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def local_path(place: str) -> Path:
    """A path as it is, and of a URL a local copy, which is brought up to date."""
    return Mirror(place).pull() if is_url(place) else Path(place).expanduser()
