"""How many shards a task gets, by the time that shards take."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from flows.pace import Pace

WANTED = 300.0


def sizes(shards: int, workers: int, seconds_a_shard: float) -> list[int]:
    """Tasks one after another, each measured before the next is sized."""
    pace, found = Pace(shards, workers, WANTED), []
    while sum(found) < shards:
        found.append(pace.next_size())
        pace.took(found[-1], found[-1] * seconds_a_shard)
    return found


@given(st.integers(1, 20_000), st.integers(1, 64), st.floats(0.001, 10_000))
def test_every_shard_is_in_one_task_and_none_takes_longer_than_wanted(
    shards: int, workers: int, seconds_a_shard: float
) -> None:
    found = sizes(shards, workers, seconds_a_shard)
    assert sum(found) == shards and min(found) >= 1
    assert found[0] == 1, "nobody knows yet what a shard takes"
    assert all(size == 1 or (size - 1) * seconds_a_shard < 1.001 * WANTED for size in found)


@given(st.integers(100, 20_000), st.integers(1, 16), st.floats(0.001, 300))
def test_tasks_are_few_and_the_last_ones_leave_no_worker_idle_for_long(
    shards: int, workers: int, seconds_a_shard: float
) -> None:
    found = sizes(shards, workers, seconds_a_shard)
    work = shards * seconds_a_shard
    # The end: a quarter of a fair share, ever less, from WANTED to a 30th.
    shared_out = 4 * workers * (math.log(120 * workers) + 2) if workers > 1 else 1
    assert len(found) <= 2 + work / WANTED + shared_out
    assert found[-1] * seconds_a_shard <= max(WANTED / 10, work / workers, seconds_a_shard)


def test_what_a_shard_took_before_spares_the_first_task_of_one() -> None:
    pace = Pace(1000, 2, WANTED)
    pace.took(1, 60.0)
    assert pace.next_size() == 5
