"""Stored images by byte range: from local tars directly, from remote ones by ranges or, if most is wanted, as a whole."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from gansynth.errors import StoreDamaged, StoreError, StoreMissing
from gansynth.loaders.catalogue import Catalogue, Shard

NEEDED = ("key", "label", "format", "image_offset", "image_bytes")
_WHOLE = 0.25  # share of a remote tar from which on fetching all of it is quicker than fetching ranges


class Samples:
    """Reads samples of a catalogue, keeping a few shards open.

    Args:
        catalogue: what there is.
        columns: manifest columns that are wanted of each sample.
        open_shards: how many shards to keep open.
    """

    def __init__(self, catalogue: Catalogue, columns: Sequence[str], open_shards: int) -> None:
        self._catalogue, self._limit = catalogue, open_shards
        self._columns = list(dict.fromkeys([*NEEDED, *columns]))
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def read(self, shard: int, row: int) -> tuple[bytes, dict[str, Any]]:
        """A sample's encoded image, and its values in the columns that are wanted and needed.

        Args:
            shard: position in the catalogue.
            row: position among the shard's samples that fit.

        Raises:
            StoreError: storage cannot be read, or does not hold what was written.
        """
        if shard not in self._open:
            if len(self._open) == self._limit:
                self._open.popitem(last=False)[1].close()
            self._open[shard] = _OpenShard(self._catalogue, self._catalogue.shards[shard], self._columns)
        self._open.move_to_end(shard)
        return self._open[shard].read(row)

    def close(self) -> None:
        """Close what is open."""
        while self._open:
            self._open.popitem()[1].close()


class _OpenShard:
    def __init__(self, catalogue: Catalogue, shard: Shard, columns: list[str]) -> None:
        self._shard = shard
        table = catalogue.rows(shard, columns)
        self._values = {name: _plain(table[name]) for name in columns}
        self._spans = list(zip(self._values["image_offset"], self._values["image_bytes"], strict=True))
        self._fetch, self.close = self._opened()

    def _opened(self) -> tuple[Callable[[int], bytes], Callable[[], None]]:
        tar = f"{self._shard.stem}.tar"
        local = self._shard.store.local(tar)
        if local is not None:
            return self._by_position(local)
        if sum(length for _, length in self._spans) < _WHOLE * self._shard.tar_bytes:
            parts = self._shard.store.ranges(tar, self._spans)
            return parts.__getitem__, lambda: None
        with tempfile.NamedTemporaryFile(prefix="gansynth-") as copy:  # its descriptor outlives its name
            self._shard.store.fetch(tar, Path(copy.name))
            return self._by_position(Path(copy.name))

    def _by_position(self, path: Path) -> tuple[Callable[[int], bytes], Callable[[], None]]:
        with self._errors():
            descriptor = os.open(path, os.O_RDONLY)

        def fetch(row: int) -> bytes:
            offset, length = self._spans[row]
            with self._errors():
                return os.pread(descriptor, length, offset)

        return fetch, lambda: os.close(descriptor)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        tar = f"{self._shard.stem}.tar"
        try:
            yield
        except FileNotFoundError:
            raise StoreMissing(f"{tar}: is missing from {self._shard.store.place}; run `gansynth repair`") from None
        except OSError as error:
            reason = str(error.strerror)
            raise StoreError(
                f"{tar}: cannot be read from {self._shard.store.place} ({reason}); check access", reason
            ) from None

    def read(self, row: int) -> tuple[bytes, dict[str, Any]]:
        data = self._fetch(row)
        if len(data) != self._spans[row][1]:
            raise StoreDamaged(
                f"{self._values['key'][row]}: the tar ends before its image does, so it is cut off; run `gansynth repair`"
            )
        return data, {name: values[row] for name, values in self._values.items()}


def _plain(column: pa.ChunkedArray) -> Any:
    """Values by row: vectors as float32 [n, d], else a list, with "" or -1 where there is no value."""
    if pa.types.is_fixed_size_list(column.type):
        flat = column.combine_chunks()
        return flat.flatten().to_numpy().reshape(len(flat), column.type.list_size)
    if column.null_count:
        column = column.fill_null("" if pa.types.is_string(column.type) else -1)
    return column.to_pylist()
