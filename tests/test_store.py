"""Storage: whole files or none, listing, ranges, exclusive creation, and nothing left behind."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from gansynth import local_files
from gansynth.errors import OutputError, StoreError, StoreMissing
from gansynth.store import CLAIMS, SCRATCH, Store


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where no dataset is yet."""
    if request.param == "local":
        yield str(tmp_path / "datasets" / "new")
        return
    root = f"/gansynth-{uuid.uuid4().hex}"
    yield f"memory:/{root}"
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)


@pytest.fixture
def store(url: str) -> Store:
    return Store(url)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class Forgetful(Store):
    """Storage that keeps one byte less than it was given."""

    def size(self, path: str) -> int:
        return super().size(path) - 1


# Reading


def test_what_was_published_is_read_back(store: Store) -> None:
    store.publish("train/000000.tar", b"content")
    assert store.read("train/000000.tar") == b"content"
    assert store.size("train/000000.tar") == 7
    assert store.exists("train/000000.tar")


def test_another_store_of_the_same_url_sees_it(store: Store, url: str) -> None:
    store.publish("a", b"1")
    assert Store(url).read("a") == b"1"
    assert Store(url + "/").list() == {"a": 1}


def test_a_published_file_may_be_replaced_as_a_whole(store: Store) -> None:
    store.publish("a", b"long content")
    store.publish("a", b"short")
    assert store.read("a") == b"short"
    assert store.list() == {"a": 5}


def test_an_empty_file_is_a_file(store: Store) -> None:
    store.publish("a", b"")
    assert store.list() == {"a": 0}
    assert store.read("a") == b""


def test_a_listing_gives_the_files_of_one_folder_with_their_sizes(store: Store) -> None:
    store.publish("train/000000.tar", b"1234")
    store.publish("train/000000_stats.json", b"12")
    store.publish("train/deep/other", b"")
    store.publish("recipe.yaml", b"1")
    assert store.list("train") == {"000000.tar": 4, "000000_stats.json": 2}
    assert store.list() == {"recipe.yaml": 1}


def test_a_listing_sees_what_others_wrote_meanwhile(store: Store, url: str) -> None:
    assert store.list("train") == {}
    Store(url).publish("train/a", b"1")
    assert store.list("train") == {"a": 1}
    Store(url).delete("train/a")
    assert store.list("train") == {}


def test_what_does_not_exist_is_empty_and_not_an_error(store: Store) -> None:
    assert store.list() == store.list("train") == {}
    assert not store.exists("a")


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (0, 4, b"0123"), (3, 4, b"3456"), (3, 0, b""), (8, 9, b"89")],
)
def test_a_range_can_be_read(store: Store, offset: int, length: int | None, expected: bytes) -> None:
    store.publish("a", b"0123456789")
    assert store.read("a", offset, length) == expected


def test_a_missing_file_is_a_storage_error_that_names_it(store: Store) -> None:
    for read in (store.read, store.size):
        with pytest.raises(StoreMissing, match=r"train/000000\.tar: is missing"):
            read("train/000000.tar")


def test_a_folder_is_no_file(store: Store) -> None:
    store.publish("train/a", b"1")
    with pytest.raises(StoreError, match="train"):
        store.read("train")


# Drivers that fail


class DriverError(Exception):
    """No OSError, like those of most drivers of object stores."""


class Failing(fsspec.AbstractFileSystem):
    """Storage that answers every request with an error that tells secrets."""

    protocol = "failing"

    @staticmethod
    def _fail(*args: object, **kwargs: object) -> None:
        raise DriverError("403 for\nhttps://me:hunter2@host/bucket/key?X-Amz-Signature=hunter2 (denied)")

    ls = info = cat_file = put_file = pipe_file = rm_file = rm = size = _fail


@pytest.fixture
def failing() -> Store:
    fsspec.register_implementation("failing", Failing, clobber=True)
    return Store("failing://me:hunter2@host/dataset")


REQUESTS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: store.list("train"),
    "list all": lambda store: store.list(),
    "exists": lambda store: store.exists("train/a"),
    "size": lambda store: store.size("train/a"),
    "read": lambda store: store.read("train/a"),
    "publish": lambda store: store.publish("train/a", b"1"),
    "create": lambda store: store.create("train/a", b"1"),
    "delete": lambda store: store.delete("train/a"),
    "clear": lambda store: store.clear_scratch(),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_whatever_a_driver_raises_is_a_storage_error_without_its_secrets(
    failing: Store, request_: Callable[[Store], object]
) -> None:
    with pytest.raises(StoreError) as error:
        request_(failing)
    message = "".join(traceback.format_exception(error.value)).rpartition("StoreError: ")[2].rstrip()
    assert "403 for https://host/bucket/key (denied)" in message
    assert "failing://host/dataset" in message
    assert len(message.splitlines()) == 1
    assert "hunter2" not in "".join(traceback.format_exception(error.value))
    assert not isinstance(error.value, StoreMissing)


def test_a_place_that_a_driver_cannot_write_to_is_refused(failing: Store) -> None:
    with pytest.raises(OutputError, match="failing://host/dataset: cannot be written") as error:
        failing.writable()
    assert "hunter2" not in str(error.value) + repr(failing)


def test_a_driver_that_cannot_be_opened_is_an_error_about_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("failing", Failing, clobber=True)
    Failing.clear_instance_cache()
    monkeypatch.setattr(Failing, "__init__", Failing._fail)
    with pytest.raises(OutputError, match="failing://elsewhere/dataset: cannot be opened") as error:
        Store("failing://me:hunter2@elsewhere/dataset")
    assert "hunter2" not in str(error.value)


# Writing


def test_a_finished_file_is_moved_into_place(store: Store) -> None:
    with store.scratch("shard.tar") as path:
        path.write_bytes(b"finished")
        store.publish_file(path, "train/000000.tar")
    assert store.read("train/000000.tar") == b"finished"
    assert not path.exists()
    assert not path.parent.exists()


def test_nothing_shows_before_it_is_published(store: Store) -> None:
    with store.scratch("shard.tar") as path:
        path.write_bytes(b"half")
        assert store.list("train") == store.list() == {}


def test_an_exception_removes_the_scratch_file(store: Store) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), store.scratch("shard.tar") as path:
        path.write_bytes(b"half")
        raise RuntimeError("on purpose")
    assert not path.parent.exists()
    assert store.list(SCRATCH) == {}


def test_publishing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    Store(tmp_path).publish("train/a", b"1")
    assert Store(tmp_path).create("train/b", b"2")
    assert files(tmp_path) == ["train", "train/a", "train/b"]


def test_a_scratch_file_outlives_another_that_ends_before_it_is_written(store: Store) -> None:
    with store.scratch("first") as first:
        with store.scratch("second") as second:
            second.write_bytes(b"2")
        first.write_bytes(b"1")
        store.publish_file(first, "a")
    assert store.read("a") == b"1"


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
def test_many_writers_do_not_get_in_each_others_way(tmp_path: Path, shared: bool) -> None:
    # On a real file system, since folders for scratch files come and go under the writers' feet.
    one, start = Store(tmp_path), threading.Barrier(8)

    def write(writer: int) -> None:
        store = one if shared else Store(tmp_path)
        start.wait()
        for number in range(150):
            store.publish(f"train/{writer}-{number}", b"x")

    with ThreadPoolExecutor(8) as pool:
        for written in [pool.submit(write, writer) for writer in range(8)]:
            written.result()
    assert len(one.list("train")) == 8 * 150


def test_other_bytes_than_were_written_are_a_storage_error() -> None:
    with pytest.raises(StoreError, match="a: 4 bytes were written, but 3 are stored"):
        Forgetful(f"memory://gansynth-{uuid.uuid4().hex}").publish("a", b"1234")


def test_another_writer_may_put_its_own_file_in_place_at_the_same_moment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = iter([b"its receipt, which is longer"])
    monkeypatch.setattr(local_files, "_sync_folder", lambda folder: (folder / "a").write_bytes(next(others)))
    monkeypatch.setattr(Store, "size", lambda store, path: len(next(others, b"mine")))
    Store(url).publish("a", b"mine")


def test_what_cannot_be_published_leaves_what_was_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.publish("train/000000.tar/inner", b"in the way")
    with pytest.raises(StoreError, match=r"train/000000\.tar: cannot be written"):
        store.publish("train/000000.tar", b"new")
    assert files(tmp_path) == ["train", "train/000000.tar", "train/000000.tar/inner"]


def test_deleting_removes_a_file_and_minds_no_missing_one(store: Store) -> None:
    store.publish("a", b"1")
    store.delete("a")
    store.delete("a")
    store.delete("never/was")
    assert not store.exists("a")
    assert store.list() == {}


# Creating


def test_a_file_is_created_once(store: Store) -> None:
    assert store.create("claims/a", b"first")
    assert not store.create("claims/a", b"second")
    assert store.read("claims/a") == b"first"


def test_a_deleted_file_can_be_created_again(store: Store) -> None:
    assert store.create("a", b"first")
    store.delete("a")
    assert store.create("a", b"second")
    assert store.read("a") == b"second"


def test_exactly_one_of_many_creates_a_file(tmp_path: Path) -> None:
    for round_number in range(20):
        start = threading.Barrier(8)

        def create(caller: int, path: str = f"claims/{round_number}", start: threading.Barrier = start) -> bool:
            store = Store(tmp_path)
            start.wait()
            return store.create(path, f"{caller}".encode())

        with ThreadPoolExecutor(8) as pool:
            created = list(pool.map(create, range(8)))
        assert created.count(True) == 1
        assert Store(tmp_path).read(f"claims/{round_number}") == f"{created.index(True)}".encode()


def test_a_file_is_created_once_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    assert Store(tmp_path).create("claims/a", b"first")
    assert not Store(tmp_path).create("claims/a", b"second")
    assert files(tmp_path) == ["claims", "claims/a"]
    assert Store(tmp_path).read("claims/a") == b"first"


def test_what_cannot_be_created_is_an_error_raised_on_purpose(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((StoreError, OutputError)):
        Store(tmp_path / "file" / "dataset").create("a", b"1")


# Places


def test_a_writable_place_is_left_as_it_was(url: str) -> None:
    store = Store(url)
    store.publish("a", b"1")
    store.writable()
    assert store.list() == {"a": 1}
    assert store.list(SCRATCH) == {}


def test_asking_whether_a_new_place_is_writable_leaves_it_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    store.writable()
    assert files(tmp_path) in ([], ["new"])


@pytest.mark.parametrize("below", ["", "/dataset", "/deep/down/dataset"])
def test_a_file_is_no_place_to_write_and_nothing_is_left(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError) as error:
        Store(f"{tmp_path}/file{below}").writable()
    assert f"{tmp_path}/file{below}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert files(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_folders_made_on_the_way_to_an_unwritable_place_are_removed(tmp_path: Path) -> None:
    unwritable = "x" * 300  # longer than a file system's names
    with pytest.raises(OutputError):
        Store(tmp_path / "new" / "deep" / unwritable).writable()
    assert files(tmp_path) == []


@pytest.mark.parametrize("url", ["nosuch://bucket/prefix", "nosuch+more://x"])
def test_an_unknown_kind_of_url_is_named(url: str) -> None:
    with pytest.raises(OutputError, match="cannot be opened") as error:
        Store(url)
    assert url in str(error.value)


def test_a_relative_path_is_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("./data").publish("a", b"1")
    assert (tmp_path / "data" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["with space", "häß", "a#b", "a%20b", "a+b,c"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / name)
    store.publish("train/a", b"1")
    assert (tmp_path / name / "train" / "a").read_bytes() == b"1"
    assert store.list("train") == {"a": 1}


def test_what_is_in_the_making_is_not_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.scratch("shard.tar") as path:
        path.write_bytes(b"half")
        Store(tmp_path).clear_scratch()
        store.publish_file(path, "train/000000.tar")
    assert files(tmp_path) == ["train", "train/000000.tar"]


def test_what_a_killed_process_left_is_cleared_and_a_claim_is_not(tmp_path: Path) -> None:
    killed = f"""
import os
from gansynth.store import Store
with Store({str(tmp_path)!r}).scratch("shard.tar") as path:
    path.write_bytes(b"half")
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    store = Store(tmp_path)
    store.create(f"{CLAIMS}/train-000000.0", b"{}")
    assert any(path.endswith("/shard.tar") for path in store.below(SCRATCH))
    store.clear_scratch()
    assert store.below(SCRATCH) == (f"{CLAIMS}/train-000000.0",)


def test_scratch_of_interrupted_runs_is_cleared_and_nothing_else(store: Store) -> None:
    store.publish("train/a", b"1")
    store.publish(f"{SCRATCH}/attempt/half.tar", b"left")
    store.clear_scratch()
    store.clear_scratch()
    assert not store.exists(f"{SCRATCH}/attempt/half.tar")
    assert store.list("train") == {"a": 1}
