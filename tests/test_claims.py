"""Claims: one holder a shard, until it gives up, or its time is over and somebody else comes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from gansynth import claims
from gansynth.claims import LIFETIME_SECONDS, Claims
from gansynth.errors import OutputError, StoreError
from gansynth.plan import ShardPlan
from gansynth.store import Store


class Clock:
    """A clock that stands still until it is set."""

    now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(claims, "time", SimpleNamespace(time=clock.time))
    return clock


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "dataset")
        return
    root = f"/gansynth-{uuid.uuid4().hex}"
    yield f"memory:/{root}"
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)


def shard(number: int, split: str = "train") -> ShardPlan:
    return ShardPlan(split=split, number=number, ordinal=number, part=0, first=10 * number, size=10)


def writer(url: str, name: str) -> Claims:
    return Claims(Store(url), name)


def test_a_claimed_shard_is_nobody_elses(url: str) -> None:
    assert writer(url, "a").take(shard(3))
    assert not writer(url, "b").take(shard(3))


def test_nor_can_its_holder_take_it_twice(url: str) -> None:
    holder = writer(url, "a")
    assert holder.take(shard(3))
    assert not holder.take(shard(3))


def test_shards_are_claimed_one_by_one(url: str) -> None:
    holder, other = writer(url, "a"), writer(url, "b")
    assert holder.take(shard(3))
    assert other.take(shard(30))
    assert other.take(shard(3, "val"))
    assert not other.take(shard(3))


def test_exactly_one_of_many_takers_wins(tmp_path: Path) -> None:
    for number in range(20):
        start = threading.Barrier(8)

        def take(name: int, number: int = number, start: threading.Barrier = start) -> bool:
            taker = writer(str(tmp_path), f"{name}")
            start.wait()
            return taker.take(shard(number))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1


def test_exactly_one_of_many_takes_an_expired_claim(tmp_path: Path, clock: Clock) -> None:
    assert writer(str(tmp_path), "lost").take(shard(0))
    for _ in range(10):
        clock.now += LIFETIME_SECONDS + 1
        start = threading.Barrier(8)

        def take(name: int, start: threading.Barrier = start) -> bool:
            taker = writer(str(tmp_path), f"{name}")
            start.wait()
            return taker.take(shard(0))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1


def test_a_claim_holds_for_its_lifetime_and_no_longer(url: str, clock: Clock) -> None:
    assert writer(url, "a").take(shard(3))
    clock.now += LIFETIME_SECONDS - 1
    assert not writer(url, "b").take(shard(3))
    clock.now += 2
    assert writer(url, "b").take(shard(3))
    assert not writer(url, "c").take(shard(3))


def test_a_renewed_claim_holds_on(url: str, clock: Clock) -> None:
    holder, other = writer(url, "a"), writer(url, "b")
    assert holder.take(shard(3))
    for _ in range(12):
        clock.now += LIFETIME_SECONDS / 4
        holder.renew()
        assert not other.take(shard(3))
    clock.now += LIFETIME_SECONDS + 1
    assert other.take(shard(3))


def test_renewing_often_writes_seldom(url: str, clock: Clock) -> None:
    holder = writer(url, "a")
    assert holder.take(shard(3))
    for _ in range(1000):
        clock.now += LIFETIME_SECONDS / 1000
        holder.renew()
    assert len(Store(url).list(claims.FOLDER)) <= 3


def test_a_shard_given_up_can_be_taken_at_once(url: str) -> None:
    holder, other = writer(url, "a"), writer(url, "b")
    assert holder.take(shard(3))
    holder.release(shard(3))
    assert other.take(shard(3))


def test_a_shard_given_up_leaves_no_file(url: str, clock: Clock) -> None:
    holder = writer(url, "a")
    assert holder.take(shard(3))
    clock.now += LIFETIME_SECONDS * 0.6
    holder.renew()
    holder.release(shard(3))
    assert Store(url).list(claims.FOLDER) == {}


def test_only_the_holder_can_give_a_shard_up(url: str) -> None:
    assert writer(url, "a").take(shard(3))
    other = writer(url, "b")
    other.release(shard(3))
    assert not other.take(shard(3))


def test_a_holder_that_lost_its_claim_does_not_give_up_its_successors(url: str, clock: Clock) -> None:
    slow, successor = writer(url, "slow"), writer(url, "successor")
    assert slow.take(shard(3))
    clock.now += LIFETIME_SECONDS + 1
    assert successor.take(shard(3))
    slow.release(shard(3))
    assert not writer(url, "third").take(shard(3))


def test_nor_does_it_get_its_claim_back_by_renewing(url: str, clock: Clock) -> None:
    slow, successor = writer(url, "slow"), writer(url, "successor")
    assert slow.take(shard(3))
    clock.now += LIFETIME_SECONDS + 1
    assert successor.take(shard(3))
    with pytest.raises(StoreError, match="took this shard over"):
        slow.renew()
    successor.release(shard(3))
    assert writer(url, "third").take(shard(3))


def test_a_claim_that_is_given_up_while_another_looks_at_it_is_no_error(tmp_path: Path) -> None:
    holder = writer(str(tmp_path), "a")
    assert holder.take(shard(3))

    class Late(Store):
        """Storage whose listings are overtaken by events."""

        def list(self, folder: str = "") -> dict[str, int]:
            listing = super().list(folder)
            holder.release(shard(3))
            return listing

    assert Claims(Late(tmp_path), "b").take(shard(3)) in (True, False)


# Hints, between writers of the same bytes


def test_a_hint_holds_like_a_claim_and_costs_one_file(url: str) -> None:
    first = writer(url, "a")
    assert first.hint(shard(3)) and not writer(url, "b").hint(shard(3))
    assert len(Store(url).list(claims.FOLDER)) == 1
    first.release(shard(3))
    assert Store(url).list(claims.FOLDER) == {}
    assert writer(url, "b").hint(shard(3))


def test_a_hint_of_a_killed_writer_expires(url: str, clock: Clock) -> None:
    assert writer(url, "killed").hint(shard(0))
    clock.now += LIFETIME_SECONDS + 1
    heir = writer(url, "heir")
    assert heir.hint(shard(0))
    heir.release(shard(0))
    assert Store(url).list(claims.FOLDER) == {}


def test_where_files_cannot_be_created_exclusively_there_are_no_hints(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store, path: str, data: bytes) -> bool:
        raise OutputError("cannot create files exclusively")

    monkeypatch.setattr(Store, "create", refuse)
    assert writer(url, "a").hint(shard(0)) and writer(url, "b").hint(shard(0))
