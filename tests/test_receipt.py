"""Receipts: read back as written, and no damage goes unnoticed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gansynth.errors import StoreError
from gansynth.receipt import FileRecord, Receipt

counts = st.integers(0, 2**40)
finite = st.floats(0, 1e9)
texts = st.text(max_size=20)
files = st.builds(FileRecord, bytes=counts, sha256=st.text("0123456789abcdef", min_size=64, max_size=64))
receipts = st.builds(
    Receipt,
    split=st.sampled_from(["train", "val", "test"]),
    shard=counts,
    part=counts,
    rows=counts,
    samples=counts,
    rejected=counts,
    tar=files,
    manifest=files,
    classes=st.dictionaries(texts, counts, max_size=3),
    truncations=st.dictionaries(st.floats(0, 1).map(repr), counts, max_size=3),
    seconds=st.dictionaries(texts, finite, max_size=3),
    images_per_second=finite,
    peak_memory=st.dictionaries(texts, counts, max_size=2),
    worker=texts,
    environment=st.dictionaries(texts, texts, max_size=3),
)
RECEIPT = Receipt(
    split="train",
    shard=12,
    part=0,
    rows=50,
    samples=49,
    rejected=1,
    tar=FileRecord(bytes=102400, sha256="0a" * 32),
    manifest=FileRecord(bytes=9000, sha256="1b" * 32),
    licence="MIT",
    classes={"7": 25, "9": 24},
    truncations={"0.4": 30, "1.0": 19},
    seconds={"wall": 100.0, "generator": 0.25},
    images_per_second=20.5,
    peak_memory={"host_bytes": 400000000},
    worker="host:123",
    environment={"torch": "2.9", "device": "a processor"},
)
DATA = RECEIPT.encode()


def edited(**changes: Any) -> bytes:
    """The receipt with some keys of its JSON changed by hand; None takes a key out."""
    content = {**json.loads(DATA), **changes}
    return json.dumps({key: value for key, value in content.items() if value is not None}, indent=1).encode() + b"\n"


@given(receipts)
def test_a_receipt_is_read_back_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.decode(receipt.encode()) == receipt
    assert Receipt.decode(receipt.encode()).encode() == receipt.encode()


def test_a_receipt_is_json_that_ends_in_a_newline() -> None:
    content = json.loads(DATA)
    assert content["tar"] == {"bytes": 102400, "sha256": "0a" * 32}
    assert DATA.endswith(b"}\n")


def test_editing_nothing_is_fine() -> None:
    assert edited() == DATA
    assert Receipt.decode(edited()) == RECEIPT


@settings(max_examples=500)
@given(st.integers(0, len(DATA) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= 1 << bit
    with pytest.raises(StoreError, match="repair"):
        Receipt.decode(bytes(damaged))


@settings(max_examples=500)
@given(
    st.integers(0, len(DATA) - 1), st.integers(1, 255) | st.sampled_from([ord(" ") ^ ord("\n"), ord(".") ^ ord("e")])
)
def test_so_is_any_changed_byte(position: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= change
    with pytest.raises(StoreError, match="repair"):
        Receipt.decode(bytes(damaged))


@given(st.integers(0, len(DATA) - 1))
def test_so_is_a_file_cut_short(length: int) -> None:
    with pytest.raises(StoreError, match="repair"):
        Receipt.decode(DATA[:length])


EDITED = {
    "a count": edited(rows=49),
    "another shard": edited(shard=13),
    "another worker": edited(worker="another:1"),
    "another checksum": edited(checksum="0" * 64),
    "another hash": edited(tar={"bytes": 102400, "sha256": "0b" * 32}),
    "a key too many": edited(extra=1),
    "a key too few": edited(worker=None),
    "no checksum": edited(checksum=None),
    "no version": edited(format_version=None),
    "text for a number": edited(rows="50"),
    "no number": edited(seconds={"wall": float("nan")}),
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "an empty mapping": b"{}",
    "no text": b"\xff",
    "an empty file": b"",
    "twice the same": DATA * 2,
}


@pytest.mark.parametrize("what", EDITED)
def test_so_is_a_file_edited_by_hand(what: str) -> None:
    with pytest.raises(StoreError, match="repair"):
        Receipt.decode(EDITED[what])
