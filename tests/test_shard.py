"""Tars: the bytes of the standard library, readable everywhere, and offsets that lead to the data."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from gansynth.shard import TarWriter

Members = list[tuple[str, bytes]]
members_of_any_size = st.lists(
    st.sampled_from([0, 1, 511, 512, 513, 9216, 10240]) | st.integers(0, 3000), max_size=12
).map(lambda sizes: [(f"train-000000-{row:06d}.jpg", bytes([row % 256]) * size) for row, size in enumerate(sizes)])


def written(members: Members) -> tuple[bytes, list[int], str]:
    """The tar of the members, the offset of each one's data, and the sha256 that the writer gives."""
    buffer = io.BytesIO()
    tar = TarWriter(buffer)
    offsets = tar.add(members)
    digest = tar.finish()
    assert tar.size == len(buffer.getvalue())
    return buffer.getvalue(), offsets, digest


def by_tarfile(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def samples(count: int) -> Members:
    """Whole samples as they lie in a shard."""
    kinds = {
        "jpg": lambda row: b"\xff\xd8" + bytes([row]) * 700,
        "cls": lambda row: str(row).encode(),
        "txt": lambda row: f"class {row}".encode(),
        "json": lambda row: json.dumps({"seed": row}).encode(),
    }
    return [(f"train-000003-{row:06d}.{kind}", make(row)) for row in range(count) for kind, make in kinds.items()]


@given(members_of_any_size)
def test_the_tar_is_what_tarfile_would_write(members: Members) -> None:
    assert written(members)[0] == by_tarfile(members)


@given(members_of_any_size)
def test_it_comes_in_whole_records_and_is_reproducible(members: Members) -> None:
    data, _, _ = written(members)
    assert len(data) % 10240 == 0
    assert written(members)[0] == data


@given(members_of_any_size)
def test_offsets_lead_to_the_data_and_the_sha256_is_right(members: Members) -> None:
    tar, offsets, digest = written(members)
    for (_, data), offset in zip(members, offsets, strict=True):
        assert tar[offset : offset + len(data)] == data
    assert digest == hashlib.sha256(tar).hexdigest()


def test_tarfile_reads_members_without_time_owner_or_host() -> None:
    members = samples(3)
    with tarfile.open(fileobj=io.BytesIO(written(members)[0])) as tar:
        infos = tar.getmembers()
        contents = [tar.extractfile(info) for info in infos]
        assert [
            (info.name, file.read() if file else b"") for info, file in zip(infos, contents, strict=True)
        ] == members
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in infos} == {
        (0, 0, 0, "", "", 0o644)
    }
    assert all(info.isreg() for info in infos)


def test_webdataset_reads_whole_samples_in_order(tmp_path: Path) -> None:
    path = tmp_path / "000003.tar"
    path.write_bytes(written(samples(5))[0])
    read = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [f"train-000003-{row:06d}" for row in range(5)]
    for row, sample in enumerate(read):
        assert sample["cls"] == str(row).encode()
        assert sample["txt"] == f"class {row}".encode()
        assert json.loads(sample["json"]) == {"seed": row}
        assert sample["jpg"] == samples(5)[4 * row][1]


def test_text_that_is_no_ascii_name_is_refused_rather_than_changed() -> None:
    with pytest.raises(UnicodeEncodeError):
        TarWriter(io.BytesIO()).add([("ä.jpg", b"")])
