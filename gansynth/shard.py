"""The tar of a shard: byte-reproducible, and readable by every WebDataset reader."""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE


class TarWriter:
    """Writes members of fixed time, owner and mode to a file, keeping count and sha256.

    Headers are `tarfile.TarInfo`'s (ustar). The archive ends as tarfile ends it, padded to whole 10 KiB records.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member; returns the byte offset of its data within the tar."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        header = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
        offset = self.size + len(header)
        self._write(header + data + bytes(-len(data) % _BLOCK))
        return offset

    def finish(self) -> str:
        """Write the end of the archive; returns the sha256 of the whole tar, hexadecimal."""
        end = self.size + 2 * _BLOCK
        self._write(bytes(2 * _BLOCK + -end % tarfile.RECORDSIZE))
        return self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)
