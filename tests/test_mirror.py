"""Local copies of what lies in object storage, whatever its keys are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from s3_server import Server

from gansynth.errors import InputError, OutputError
from gansynth.mirror import Mirror


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / "deep" / "down" / "cache"))
    return tmp_path / "deep" / "down" / "cache"


def files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != ".mirror.json"}


@pytest.mark.parametrize(
    "key", ["../../../../stolen", "a/../../stolen", "a/../b", "./a", "a//b", "/stolen", "..", "a/.", "a\0b"]
)
def test_a_key_that_is_no_file_of_a_folder_is_refused_before_anything_is_written(
    s3: Server, bucket: str, tmp_path: Path, key: str
) -> None:
    s3.put(bucket, "some/prefix/a.txt", b"1")
    s3.put(bucket, f"some/prefix/{key}", b"2")
    with pytest.raises(InputError, match="names no file inside a folder; rename or delete") as caught:
        Mirror(f"s3://{bucket}/some/prefix").pull()
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == {}


def test_a_file_outside_is_not_removed_either(s3: Server, bucket: str, tmp_path: Path) -> None:
    """Nor what an older version may have noted."""
    s3.put(bucket, "some/prefix/a", b"1")
    mirror = Mirror(f"s3://{bucket}/some/prefix")
    (mirror.pull().parent / "mine").write_bytes(b"mine")
    (mirror.folder / ".mirror.json").write_text(json.dumps({"../mine": "1"}))
    assert files(mirror.pull()) == {"a": b"1"}
    assert (mirror.folder.parent / "mine").read_bytes() == b"mine"


def test_what_was_deleted_in_the_store_does_not_come_back(s3: Server, bucket: str) -> None:
    url = f"s3://{bucket}/some/run"
    first = Mirror(url)
    first.folder.mkdir(parents=True)
    (first.folder / "sent").write_bytes(b"1")
    first.push(last="")
    (first.folder / "not yet sent").write_bytes(b"2")
    s3.backend.delete_object(bucket, "some/run/sent")
    again = Mirror(url)
    again.pull_if_any()
    assert files(again.folder) == {"not yet sent": b"2"}


def test_several_may_pull_the_same_at_once(s3: Server, bucket: str) -> None:
    s3.put(bucket, "some/prefix/a", b"1")
    mirrors = [Mirror(f"s3://{bucket}/some/prefix") for _ in range(2)]
    assert [files(mirror.pull()) for mirror in mirrors] == [{"a": b"1"}] * 2
    before = (mirrors[0].folder / ".mirror.json").stat().st_mtime_ns
    mirrors[1].pull()
    assert (mirrors[0].folder / ".mirror.json").stat().st_mtime_ns == before, "nothing was to be noted"


def test_two_keys_that_no_folder_can_hold_together_are_named(s3: Server, bucket: str, tmp_path: Path) -> None:
    for key in ("a", "a/b/c"):
        s3.put(bucket, f"some/prefix/{key}", b"1")
    with pytest.raises(InputError, match=r'holds both "a" and "a/b/c", .*; rename or delete one'):
        Mirror(f"s3://{bucket}/some/prefix").pull()
    assert files(tmp_path) == {}


def test_a_file_may_become_a_folder_and_a_folder_a_file(s3: Server, bucket: str) -> None:
    mirror = Mirror(f"s3://{bucket}/some/prefix")
    for keys in ({"a", "b/c/d"}, {"a/e", "b"}, {"a"}):
        for key in s3.files(bucket):
            s3.backend.delete_object(bucket, key)
        for key in keys:
            s3.put(bucket, f"some/prefix/{key}", key.encode())
        assert files(mirror.pull()) == {key: key.encode() for key in keys}


def test_a_copy_that_cannot_be_written_is_a_message(s3: Server, bucket: str, cache: Path) -> None:
    s3.put(bucket, "some/prefix/a", b"1")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"in the way")
    with pytest.raises(OutputError, match=r"cannot be written .*; make room, or let GANSYNTH_CACHE") as caught:
        Mirror(f"s3://{bucket}/some/prefix").pull()
    assert f"s3://{bucket}/some/prefix" in str(caught.value) and "\n" not in str(caught.value)
