"""Signals become requests; requests become a stop at a shard boundary, or after the time of grace."""

from __future__ import annotations

import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansynth.errors import Interrupted
from gansynth.stopping import GRACE_SECONDS, Stop, stop_on_signals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_nobody_asked_so_nothing_stops() -> None:
    stop = Stop(grace=0)
    assert not stop.requested
    assert not stop.expired
    stop.raise_if_requested()


def test_a_request_leaves_the_time_of_grace(clock: list[float]) -> None:
    stop = Stop()
    stop.request(signal.SIGTERM)
    assert stop.requested
    clock[0] += GRACE_SECONDS - 0.01
    assert not stop.expired
    clock[0] += 0.01
    assert stop.expired


def test_asking_twice_means_at_once(clock: list[float]) -> None:
    stop = Stop(grace=1e9)
    stop.request(signal.SIGINT)
    assert not stop.expired
    stop.request(signal.SIGINT)
    assert stop.expired


def test_no_grace_means_at_once() -> None:
    stop = Stop(grace=0)
    stop.request(signal.SIGTERM)
    assert stop.expired


@given(st.lists(st.sampled_from([signal.SIGINT, signal.SIGTERM]), min_size=1, max_size=4))
def test_the_exit_code_tells_the_last_signal(numbers: list[signal.Signals]) -> None:
    stop = Stop()
    for number in numbers:
        stop.request(number)
    with pytest.raises(Interrupted, match="run the same command again") as caught:
        stop.raise_if_requested()
    assert caught.value.exit_code == {signal.SIGINT: 130, signal.SIGTERM: 143}[numbers[-1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_request_and_raises_nothing(number: signal.Signals) -> None:
    with stop_on_signals(Stop()) as stop:
        signal.raise_signal(number)
        assert stop.requested
    with pytest.raises(Interrupted, match=f"stopped by signal {number.value}"):
        stop.raise_if_requested()


def test_only_the_named_signals_are_caught() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals(Stop(), (signal.SIGUSR1,)) as stop:
        assert signal.getsignal(signal.SIGINT) is before
        signal.raise_signal(signal.SIGUSR1)
        assert stop.requested


def test_the_handlers_are_restored_however_the_block_ends() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with stop_on_signals(Stop()):
        assert all(signal.getsignal(n) is not handler for n, handler in zip(numbers, before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before
    with pytest.raises(ZeroDivisionError), stop_on_signals(Stop()):
        _ = 1 / 0
    assert [signal.getsignal(number) for number in numbers] == before


def test_nested_blocks_restore_the_outer_one() -> None:
    with stop_on_signals(Stop()) as outer:
        with stop_on_signals(Stop()) as inner:
            signal.raise_signal(signal.SIGTERM)
        assert inner.requested
        assert not outer.requested
        signal.raise_signal(signal.SIGTERM)
        assert outer.requested
