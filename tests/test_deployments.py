"""Flow runs on other machines: how long one may be silent before it counts as dead, and what it made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows import deployments
from flows.pace import Pace
from flows.parameters import Run
from gansynth.dataset import Dataset
from gansynth.errors import RenderError
from gansynth.receipt import Receipt

HOUR = 3600.0


class Machines:
    """A Prefect server with one flow run, whose state and whose clock are set by the test."""

    now, state = 1000.0, "running"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cancelled: list[UUID] = []
        monkeypatch.setattr(deployments, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(deployments, "_start", lambda *arguments: SimpleNamespace(id=uuid4()))
        monkeypatch.setattr(deployments, "_read", lambda client, ids: [self.read(number) for number in ids])

    def read(self, number: UUID) -> Any:
        about = {"is_running": lambda: self.state == "running", "is_final": lambda: self.state == "ended"}
        return SimpleNamespace(id=number, state=SimpleNamespace(**about, message=None))

    def set_flow_run_state(self, number: UUID, state: Any) -> None:
        self.cancelled.append(number)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(monkeypatch)


@pytest.fixture
def pool(machines: Machines, make: Callable[..., Path]) -> Callable[..., deployments.Deployments]:
    folder = make()

    def _pool(pace: Pace, **options: Any) -> deployments.Deployments:
        client: Any = machines
        return deployments.Deployments(Run(runner="deployment", **options), Dataset.open(str(folder)), client, pace)

    return _pool


@pytest.mark.parametrize(
    ("shard_takes", "options", "waits"),
    [(60.0, {}, 2 * HOUR), (2 * HOUR, {}, 10 * HOUR), (60.0, {"silence_minutes": 10}, HOUR / 6)],
)
def test_a_flow_run_counts_as_dead_once_it_is_silent_for_far_longer_than_a_shard_takes(
    pool: Callable[..., deployments.Deployments],
    machines: Machines,
    shard_takes: float,
    options: dict[str, Any],
    waits: float,
) -> None:
    pace = Pace(10, 1, 300.0)
    running = pool(pace, **options)
    pace.took(1, shard_takes)
    chunk = unmade(running)
    running.poll()
    machines.now += waits - 1
    running.poll()
    assert not machines.cancelled
    machines.now += 100
    running.poll()
    assert machines.cancelled == [chunk.id]
    with pytest.raises(RenderError, match="its machine is taken for dead"):
        chunk.result()


def test_a_flow_run_that_waits_for_another_machine_is_not_silent(
    pool: Callable[..., deployments.Deployments], machines: Machines
) -> None:
    running = pool(Pace(10, 1, 300.0))
    unmade(running)
    running.poll()
    machines.now, machines.state = machines.now + HOUR, "waiting"
    running.poll()
    machines.now += 3 * HOUR
    running.poll()
    machines.now, machines.state = machines.now + HOUR, "running"
    running.poll()
    assert not machines.cancelled
    machines.now += 3 * HOUR
    running.poll()
    assert len(machines.cancelled) == 1


def unmade(pool: deployments.Deployments) -> Any:
    """A chunk of a shard that is not there."""
    Path(pool._dataset.store.url, "train/000000_stats.json").unlink()
    return pool.submit(None, {"ordinals": [0]})


def test_workers_that_share_a_machine_make_its_next_chunk_larger(
    pool: Callable[..., deployments.Deployments], machines: Machines
) -> None:
    running = pool(Pace(10, 1, 300.0))
    paths = sorted(Path(running._dataset.store.url, "train").glob("*_stats.json"))
    receipts = [Receipt.decode(path.read_bytes()) for path in paths]
    for path in paths:
        path.unlink()
    chunk = running.submit(None, {"ordinals": range(len(paths))})
    for number, (path, receipt) in enumerate(zip(paths, receipts, strict=True)):
        path.write_bytes(receipt.model_copy(update={"worker": f"machine:{number % 2}"}).encode())
    machines.state = "ended"
    running.poll()
    report = chunk.result()
    assert len(report["made"]) == len(paths) and report["workers"] == 2
