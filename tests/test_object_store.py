"""Object stores: as few requests as there can be, whole objects, exclusive creation, faults that pass, secrets kept."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import fsspec.config
import pytest
from s3_server import FAULTS, KEY, SECRET, Server

from gansynth import object_store
from gansynth.errors import OutputError, StoreError, StoreMissing
from gansynth.store import CLAIMS, SCRATCH, Store


@pytest.fixture
def store(bucket: str) -> Store:
    return Store(f"s3://{bucket}/some/prefix")


@pytest.fixture
def two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """To be asked for before the store, which reads it when it is opened."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """The least that S3 takes as a part."""
    monkeypatch.setattr(object_store, "PART_BYTES", 5 * 2**20)
    return 5 * 2**20


def asked(server: Server) -> list[str]:
    """The requests since the last call: method and key."""
    found = [f"{request.method} {request.key.removeprefix('some/prefix/')}".strip() for request in server.requests]
    server.requests.clear()
    return found


def big_file(folder: Path, size: int) -> Path:
    path = folder / "big"
    path.write_bytes(os.urandom(size))
    return path


# Requests


def test_each_act_is_one_request(store: Store, s3: Server, tmp_path: Path) -> None:
    store.publish("train/a", b"0123456789")
    assert asked(s3) == ["PUT train/a"]
    with store.scratch("b.tar") as path:
        path.write_bytes(b"tar")
        store.publish_file(path, "train/b.tar")
    assert asked(s3) == ["PUT train/b.tar"]
    assert (store.read("train/a"), store.read("train/a", 2, 3), store.find("none")) == (b"0123456789", b"234", None)
    assert asked(s3) == ["GET train/a", "GET train/a", "GET none"]
    assert store.list("train") == {"a": 10, "b.tar": 3}
    assert asked(s3) == ["GET"]


def test_a_long_listing_is_a_request_for_a_thousand_files(store: Store, s3: Server, bucket: str) -> None:
    for number in range(2500):
        s3.put(bucket, f"some/prefix/train/{number:06d}.tar", b"")
    assert len(store.list("train")) == 2500
    assert asked(s3) == ["GET"] * 3


def test_the_mark_of_an_empty_folder_is_no_file(store: Store, s3: Server, bucket: str) -> None:
    s3.put(bucket, "some/prefix/", b"")
    s3.put(bucket, "some/prefix/train/", b"")
    s3.put(bucket, "some/prefix/train/a", b"1")
    assert store.list() == {} and store.list("train") == {"a": 1} and store.below() == ("train/a",)


def test_a_file_has_another_version_once_it_has_changed(store: Store) -> None:
    store.publish("a", b"1")
    store.publish("b", b"1")
    first = store.versions()
    store.publish("a", b"2")
    assert first["a"] != store.versions()["a"] and first["b"] == store.versions()["b"]


# Large files


def test_a_large_file_is_sent_in_parts(store: Store, s3: Server, bucket: str, small_parts: int, tmp_path: Path) -> None:
    path = big_file(tmp_path, 2 * small_parts + 1)
    data = path.read_bytes()
    store.publish_file(path, "train/a.tar")
    assert asked(s3).count("PUT train/a.tar") == 3
    assert store.read("train/a.tar") == data and s3.uploads(bucket) == [] and not path.exists()


def test_an_upload_in_parts_that_fails_leaves_nothing(
    two_attempts: None, store: Store, s3: Server, bucket: str, small_parts: int, tmp_path: Path
) -> None:
    s3.faults = lambda request: "500" if "partNumber=2" in request.query else None
    path = big_file(tmp_path, 2 * small_parts + 1)
    with pytest.raises(StoreError, match=r"train/a\.tar: cannot be written to s3://.*InternalError"):
        store.publish_file(path, "train/a.tar")
    assert s3.files(bucket) == {} and s3.uploads(bucket) == []
    assert s3.broken == 2, "the part was not sent again"
    assert path.exists(), "it is its owner's who cleans up"


def test_parts_of_writers_that_were_killed_are_cleared_after_a_day(
    store: Store, s3: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("some/prefix/train/a.tar", "somebody/elses.tar"):
        store._fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)
    monkeypatch.setattr(object_store, "_ABANDONED_AFTER", timedelta(days=36500))  # moto says that all began in 2010
    store.clear_scratch()
    assert len(s3.uploads(bucket)) == 2
    monkeypatch.setattr(object_store, "_ABANDONED_AFTER", timedelta(days=1))
    store.clear_scratch()
    assert s3.uploads(bucket) == ["somebody/elses.tar"]


def test_scratch_is_cleared_and_claims_are_not(store: Store) -> None:
    store.publish(f"{SCRATCH}/left", b"")
    store.publish(f"{CLAIMS}/train-000000.0", b"{}")
    store.clear_scratch()
    assert store.below(SCRATCH) == (f"{CLAIMS}/train-000000.0",)


# Creating


def test_exactly_one_of_many_creates_a_file(store: Store, bucket: str) -> None:
    start = threading.Barrier(6)

    def create(caller: int) -> bool:
        own = Store(store.url)
        start.wait()
        return own.create("claims/a", b"the same for all")

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(create, range(6))).count(True) == 1
    assert store.list(SCRATCH) == {}


def test_a_created_file_whose_answer_was_lost_is_the_callers_own(store: Store, s3: Server) -> None:
    answers = iter(["lost answer"])
    s3.faults = lambda request: next(answers, None) if request.key.endswith("/a") else None
    assert store.create("a", b"mine")
    assert not store.create("a", b"another's")
    assert store.read("a") == b"mine" and s3.broken == 1


def test_a_server_that_overwrites_what_should_be_created_is_refused(store: Store, s3: Server, bucket: str) -> None:
    s3.ignores_conditions = True
    with pytest.raises(OutputError, match="cannot create files exclusively"):
        store.create("a", b"1")
    assert s3.files(bucket) == {}


# Faults that pass, and those that do not


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_that_fails_once_is_repeated(store: Store, s3: Server, fault: str) -> None:
    def acts() -> list[object]:
        store.publish("train/a", b"0123456789")
        return [store.read("train/a"), store.list("train"), store.exists("train/a"), store.delete("train/b")]

    expected = acts()
    count = len(asked(s3))
    for broken in range(count):
        numbers = iter(range(2 * count))
        s3.faults = lambda request, numbers=numbers, broken=broken: fault if next(numbers) == broken else None  # type: ignore[misc]  # defaults bind what the loop changes
        assert acts() == expected
    assert s3.broken == count


def test_a_server_that_does_not_answer_is_asked_again(
    store: Store, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 0.5}})
    impatient = Store(store.url)
    answers = iter(["slow"])
    s3.faults = lambda request: next(answers, None)
    impatient.publish("a", b"1")
    assert s3.broken == 1 and store.read("a") == b"1"


def test_what_fails_for_good_is_a_storage_error(two_attempts: None, store: Store, s3: Server) -> None:
    s3.faults = lambda request: "500"
    for act in (lambda: store.read("a"), lambda: store.publish("a", b""), lambda: store.list("a")):
        with pytest.raises(StoreError, match="InternalError") as error:
            act()
        assert not isinstance(error.value, StoreMissing)
    assert len(s3.requests) == 6


def test_a_bucket_that_does_not_exist_is_not_taken_for_an_empty_one(s3: Server) -> None:
    store = Store("s3://no-such-bucket/prefix")
    for act in (lambda: store.find("recipe.yaml"), lambda: store.list(), lambda: store.below()):
        with pytest.raises(StoreError, match="bucket does not exist") as error:
            act()
        assert not isinstance(error.value, StoreMissing)
    with pytest.raises(OutputError, match=r"cannot be written .*bucket does not exist"):
        store.writable()


# Several processes

# In a process of its own: a fork of this one would inherit locks of the server's threads.
FORKING = """
import multiprocessing, sys
from gansynth.store import Store
store = Store(sys.argv[1])
store.publish("a", b"mine")

def child(name):
    assert store.read("a") == b"mine" and store.list()["a"] == 4 and store.create(name, b"")
    if name == "child":
        fork("grandchild")

def fork(name):
    process = multiprocessing.get_context("fork").Process(target=child, args=(name,))
    process.start()
    process.join()
    assert process.exitcode == 0 and store.exists(name)

fork("child")
store.publish("b", b"and the parent goes on")
"""


@pytest.mark.parametrize("place", ["s3://{bucket}/forked", "{folder}/forked"])
def test_a_forked_process_reads_and_writes_through_the_store_of_its_parent(
    place: str, s3: Server, bucket: str, tmp_path: Path
) -> None:
    url = place.format(bucket=bucket, folder=tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FORKING, url], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(Store(url).list()) == {"a", "b", "child", "grandchild"}


def test_a_store_sent_to_another_process_keeps_what_was_configured(
    s3: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"key": KEY, "secret": SECRET})
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    sent = pickle.dumps(Store(f"s3://{bucket}/some/prefix"))
    monkeypatch.delitem(fsspec.config.conf, "s3")
    store = pickle.loads(sent)
    store.publish("a", b"1")
    assert store.read("a") == b"1" and store.create("b", b"2")


# Secrets


def test_no_message_shows_a_secret(store: Store, s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"client_kwargs": {"aws_session_token": "token-of-a-block"}})

    class Telling(Exception):
        pass

    def tell(*arguments: object, **options: object) -> None:
        raise Telling(f"{KEY} with {SECRET} and token-of-a-block was refused")

    monkeypatch.setattr(store._fs, "cat_file", tell)
    with pytest.raises(StoreError, match=r"\*\*\* with \*\*\* and \*\*\* was refused"):
        store.read("a")
