"""The tar of a shard: byte-reproducible, and readable by every WebDataset reader."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable
from typing import BinaryIO

_BLOCK = tarfile.BLOCKSIZE
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)  # fields of a ustar header (POSIX.1-1988)


class TarWriter:
    """Writes members of fixed time, owner and mode to a file, keeping count and sha256.

    The archive is what tarfile writes for `TarInfo(name)` in the ustar format, padded to whole 10 KiB records.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0

    def add(self, members: Iterable[tuple[str, bytes]]) -> list[int]:
        """Append members, given as name and data; returns the byte offset of each one's data within the tar."""
        pieces: list[bytes] = []
        offsets: list[int] = []
        position = self.size
        for name, data in members:
            padding = -len(data) % _BLOCK
            pieces += (_header(name, len(data)), data, bytes(padding))
            offsets.append(position + _BLOCK)
            position += _BLOCK + len(data) + padding
        self._write(b"".join(pieces))
        return offsets

    def finish(self) -> str:
        """Write the end of the archive; returns the sha256 of the whole tar, hexadecimal."""
        end = self.size + 2 * _BLOCK
        self._write(bytes(2 * _BLOCK + -end % tarfile.RECORDSIZE))
        return self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)


def _header(name: str, size: int) -> bytes:
    """The header that `tarfile.TarInfo` gives for a member of this name and size, seven times as fast.

    All headers of a shard are alike but for name and size, so these are set in one that tarfile made, and the checksum,
    the sum of all bytes, follows.
    """
    encoded = name.encode("ascii")
    if len(encoded) > 100 or size >= 8**11:  # needs fields that the template does not have
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    digits = b"%011o\0" % size
    header = bytearray(_TEMPLATE)
    header[_NAME] = encoded.ljust(100, b"\0")
    header[_SIZE] = digits
    header[_CHECKSUM] = b"%06o\0 " % (_TEMPLATE_SUM + sum(encoded) + sum(digits))
    return bytes(header)


_TEMPLATE = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
# Without name (empty) and size; the checksum field itself counts as eight spaces.
_TEMPLATE_SUM = sum(_TEMPLATE) - sum(_TEMPLATE[_SIZE]) - sum(_TEMPLATE[_CHECKSUM]) + 8 * ord(" ")
