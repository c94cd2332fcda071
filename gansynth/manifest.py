"""The Parquet manifest of a shard: one row a planned sample, with its latent vector."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gansynth.derivation import Kind
from gansynth.errors import StoreDamaged
from gansynth.store import Store
from gansynth.where import Condition

FORMAT_VERSION = 1
Floats = npt.NDArray[np.float32]
_DAMAGED = (pa.ArrowException, OSError, LookupError, ValueError, MemoryError)
"What Arrow raises for bytes that are no manifest: a broken length can ask for any memory, a broken name for any column."

_DERIVED: Mapping[Kind, Sequence[pa.Field]] = {
    "vary": [pa.field("variant", pa.int32(), nullable=False)],
    "interpolate": [
        pa.field("other_parent", pa.string(), nullable=False),
        pa.field("position", pa.float64(), nullable=False),
    ],
}


def schema(z_dim: int, w_dim: int = 0, kind: Kind | None = None) -> pa.Schema:
    """Columns of a manifest.

    Args:
        z_dim: length of z.
        w_dim: length of the style w, for families that have one (StyleGAN). It is w before truncation, which is the same
            for every layer.
        kind: how the samples are derived from others: variations have their number, samples between two the other parent
            and their position in (0, 1).
    """
    w = [pa.field("w", pa.list_(pa.float32(), w_dim), nullable=False)] if w_dim else []
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("shard", pa.int32(), nullable=False),
            pa.field("row", pa.int32(), nullable=False),
            pa.field("part", pa.int32(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
            pa.field("class_index", pa.int32()),
            pa.field("class_name", pa.string()),
            pa.field("wnid", pa.string()),
            pa.field("label", pa.int32(), nullable=False),
            pa.field("truncation", pa.float64(), nullable=False),
            pa.field("z", pa.list_(pa.float32(), z_dim), nullable=False),
            *w,
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("format", pa.string(), nullable=False),
            pa.field("image_bytes", pa.int64()),
            pa.field("image_offset", pa.int64()),
            pa.field("image_sha256", pa.string()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("parent", pa.string()),
            *(_DERIVED[kind] if kind else ()),
        ]
    )


def encode(
    rows: Sequence[Mapping[str, Any]],
    z: Floats,
    metadata: Mapping[str, str],
    w: Floats | None = None,
    kind: Kind | None = None,
) -> bytes:
    """A Parquet file of the rows.

    Args:
        rows: a mapping from column to value for each row, without z and w.
        z: latents, float32 [n, z_dim].
        metadata: key-value metadata of the file.
        w: styles before truncation, float32 [n, w_dim], of families that have them.
        kind: how the samples are derived from others, if they are.

    Returns:
        the same bytes for the same input and pyarrow version.
    """
    vectors = {"z": z} if w is None else {"z": z, "w": w}
    columns = schema(z.shape[1], 0 if w is None else w.shape[1], kind)
    arrays = [
        _vectors(vectors[field.name])
        if field.name in vectors
        else pa.array([row.get(field.name) for row in rows], field.type)
        for field in columns
    ]
    table = pa.Table.from_arrays(arrays, schema=columns.with_metadata(dict(metadata)))
    buffer = io.BytesIO()
    text = [field.name for field in columns if pa.types.is_string(field.type)]
    pq.write_table(table, buffer, compression="zstd", use_dictionary=text, store_schema=True)
    return buffer.getvalue()


def _vectors(values: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def decode(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a manifest; raises StoreDamaged if the bytes are not a Parquet file, or lack one of the columns."""
    try:
        return _rows(io.BytesIO(data), columns)
    except _DAMAGED as error:
        raise StoreDamaged(
            f"the manifest is not a readable Parquet file ({_one_line(error)}); run `gansynth repair`"
        ) from None


def read(store: Store, path: str, columns: Sequence[str], keep: Condition | None = None) -> pa.Table:
    """Columns of the rows of a stored manifest that fit a condition, if there is one; nothing else of the file is fetched.

    Raises:
        StoreMissing: there is no such file.
        StoreError: it cannot be read.
        StoreDamaged: it is not a Parquet file of manifest rows.
    """
    with store.opened(path) as file, suppress(Exception):
        return _rows(file, columns, keep)
    # Arrow has the same errors for damaged files as for storage that fails; what it says of bytes at hand is about the file.
    data = store.read(path)
    try:
        return _rows(io.BytesIO(data), columns, keep)
    except _DAMAGED as error:
        raise StoreDamaged(
            f"{store.place}/{path}: is not a readable manifest ({_one_line(error)}); run `gansynth repair`"
        ) from None


def _rows(file: Any, columns: Sequence[str] | None, keep: Condition | None = None) -> pa.Table:
    wanted = None if columns is None else list(columns)
    also = keep.columns - set(wanted or ()) if keep else ()
    found = pq.ParquetFile(file).read(None if wanted is None else [*wanted, *also], use_threads=False)
    found = found.filter(keep.expression) if keep else found
    found = found if wanted is None else found.select(wanted)
    found.validate(full=True)  # or broken text would fail whoever looks at it
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


Status = Literal["ok", "rejected"]
