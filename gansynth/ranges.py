"""A stored file as a Python file for random access: what is asked for is fetched, and nothing else."""

from __future__ import annotations

import io
from typing import Any

from gansynth.store import Store


class RangeFile(io.RawIOBase):
    """A file of a store, to be read only.

    Args:
        store, path: which file.

    Raises:
        StoreError, StoreMissing: when it is made, or read.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path
        self._size, self._position = store.size(path), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer)
        length = min(len(target), self._size - self._position)
        if length <= 0:
            return 0
        data = self._store.read(self._path, self._position, length)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)
