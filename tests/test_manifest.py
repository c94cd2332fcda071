"""Manifests: one schema, latents bit for bit, the same bytes twice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gansynth import manifest
from gansynth.errors import StoreDamaged, StoreError
from gansynth.store import Store
from gansynth.where import parse

METADATA = {"gansynth.format_version": "1", "gansynth.licence": "MIT"}
Floats = npt.NDArray[np.float32]


def row(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "key": f"train-000000-{index:06d}",
        "sample_id": f"{index:032x}",
        "split": "train",
        "shard": 0,
        "row": index,
        "part": 0,
        "seed": 2**32 - 1 - index,
        "class_index": 7,
        "class_name": "Sneaker",
        "wnid": None,
        "label": 7,
        "truncation": 0.1 + 0.2,
        "width": 32,
        "height": 32,
        "format": "jpg",
        "image_bytes": 900 + index,
        "image_offset": 512 + 10240 * index,
        "image_sha256": "0" * 64,
        "status": "ok",
        "reason": None,
        **changes,
    }


def latents(count: int, z_dim: int = 4) -> Floats:
    return np.random.default_rng(0).standard_normal((count, z_dim)).astype(np.float32)


def z_of(table: pa.Table) -> Floats:
    column = table["z"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(table), -1)


def test_the_columns_are_those_of_the_format() -> None:
    table = manifest.decode(manifest.encode([row(0), row(1)], latents(2), METADATA))
    assert {field.name: str(field.type) for field in table.schema} == {
        "key": "string",
        "sample_id": "string",
        "split": "string",
        "shard": "int32",
        "row": "int32",
        "part": "int32",
        "seed": "int64",
        "class_index": "int32",
        "class_name": "string",
        "wnid": "string",
        "label": "int32",
        "truncation": "double",
        "z": "fixed_size_list<element: float>[4]",
        "width": "int32",
        "height": "int32",
        "format": "string",
        "image_bytes": "int64",
        "image_offset": "int64",
        "image_sha256": "string",
        "status": "string",
        "reason": "string",
        "parent": "string",
    }
    assert table.schema.names == manifest.schema(4).names


def test_styles_are_a_column_of_their_own() -> None:
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    table = manifest.decode(manifest.encode([row(0), row(1)], latents(2), METADATA, w))
    assert table.schema.field("w").type == pa.list_(pa.float32(), 3)
    assert table["w"].to_pylist() == w.tolist()
    assert set(table.schema.names) - set(manifest.schema(4).names) == {"w"}
    assert table.schema.names == manifest.schema(4, w_dim=3).names


def test_values_come_back_as_they_were() -> None:
    rows = [row(0), row(1, status="rejected", reason="constant image", image_bytes=None, image_offset=None)]
    table = manifest.decode(manifest.encode(rows, latents(2), METADATA))
    read = table.drop_columns(["z", "parent"]).to_pylist()
    assert read == rows
    assert read[0]["truncation"] == 0.30000000000000004


@given(
    arrays.arrays(np.uint32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.integers(0, 2**32 - 1)).map(
        lambda bits: bits.view(np.float32)
    )
)
def test_latents_come_back_bit_for_bit(z: Floats) -> None:
    table = manifest.decode(manifest.encode([row(index) for index in range(len(z))], z, METADATA))
    assert z_of(table).shape == z.shape
    assert z_of(table).tobytes() == z.tobytes()


def test_unconditional_samples_have_no_class() -> None:
    rows = [row(0, class_index=None, class_name=None, label=0)]
    table = manifest.decode(manifest.encode(rows, latents(1), METADATA))
    assert table.select(["class_index", "class_name", "wnid", "label"]).to_pylist() == [
        {"class_index": None, "class_name": None, "wnid": None, "label": 0}
    ]


@pytest.mark.parametrize("column", ["key", "sample_id", "seed", "label", "truncation", "status"])
def test_what_every_sample_has_cannot_be_null(column: str) -> None:
    assert not manifest.schema(4).field(column).nullable


def test_the_same_rows_give_the_same_bytes() -> None:
    rows = [row(index) for index in range(300)]
    assert manifest.encode(rows, latents(300), METADATA) == manifest.encode(rows, latents(300), dict(METADATA))


def test_the_files_metadata_is_kept() -> None:
    data = manifest.encode([row(0)], latents(1), METADATA)
    metadata = pq.read_schema(io.BytesIO(data)).metadata
    assert {key: metadata[key.encode()].decode() for key in METADATA} == METADATA


def test_single_columns_can_be_read() -> None:
    data = manifest.encode([row(index) for index in range(3)], latents(3), METADATA)
    table = manifest.decode(data, ["seed", "z"])
    assert table.column_names == ["seed", "z"]
    assert table["seed"].to_pylist() == [2**32 - 1, 2**32 - 2, 2**32 - 3]


@pytest.mark.parametrize("damage", ["empty", "no Parquet", "cut short", "beginning lost", "end overwritten"])
def test_a_damaged_manifest_is_a_storage_error(damage: str) -> None:
    data = manifest.encode([row(index) for index in range(3)], latents(3), METADATA)
    damaged = {
        "empty": b"",
        "no Parquet": b"x" * 500,
        "cut short": data[: len(data) // 2],
        "beginning lost": data[100:],
        "end overwritten": data[:-50] + bytes(50),
    }[damage]
    with pytest.raises(StoreError, match="repair"):
        manifest.decode(damaged)


# Damage


WHOLE = manifest.encode([row(index) for index in range(20)], latents(20), METADATA)
FOOTER = int.from_bytes(WHOLE[-8:-4], "little") + 8
READ = ["sample_id", "z", "seed", "class_index"]


@given(
    st.lists(st.tuples(st.integers(0, FOOTER - 1), st.integers(0, 255)), min_size=1, max_size=3),
    st.sampled_from([None, "seed > 0"]),
)
def test_a_damaged_footer_is_damage_and_no_fault_of_storage(damage: list[tuple[int, int]], where: str | None) -> None:
    data = bytearray(WHOLE)
    for position, value in damage:
        data[len(data) - FOOTER + position] = value
    store = Store("memory://damaged-manifests")
    store.publish("a.parquet", bytes(data))
    keep = parse(where, manifest.schema(4)) if where else None
    try:
        found = manifest.read(store, "a.parquet", READ, keep)
    except StoreDamaged as error:
        assert "a.parquet: is not a readable manifest" in str(error) and "run `gansynth repair`" in str(error)
        assert "\n" not in str(error)
    else:
        assert found.column_names == READ and found.to_pylist() is not None


class Broken(io.BytesIO):
    """A connection that is lost while a file is read."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError("connection reset")


class Failing(Store):
    """Storage of which the connection is lost, for once or for good."""

    for_good = False

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        with self._reading(path):
            yield Broken(WHOLE)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._reading(path):
            if self.for_good:
                raise OSError("connection reset")
        return super().read(path, offset, length)


def test_a_fault_of_storage_is_no_damage() -> None:
    store = Failing("memory://failing-manifests")
    store.publish("a.parquet", WHOLE)
    assert manifest.read(store, "a.parquet", READ) == manifest.decode(WHOLE, READ)
    store.for_good = True
    with pytest.raises(StoreError, match="connection reset") as caught:
        manifest.read(store, "a.parquet", READ)
    assert not isinstance(caught.value, StoreDamaged)
