"""One flow run's tasks: how many it has, however often its pool breaks; and how long flow runs elsewhere may be silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

import flows  # noqa: F401 - sets what Prefect reads when it is imported
import gansynth
from flows import deployments, job
from flows.pace import Pace
from flows.parameters import Run
from gansynth.dataset import Dataset
from gansynth.session import begin
from gansynth.stopping import Stop

RECIPE = {"name": "tasks", "generator": "fake", "classes": [0], "samples_per_shard": 10, "seeds": "0-99"}


@pytest.fixture
def begun(tmp_path: Path) -> Dataset:
    """Ten shards, none of them made."""
    return begin(gansynth.Recipe(**RECIPE, output=str(tmp_path / "data")), "cpu").dataset


class Future:
    """Of a task that ended before anybody asked."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)

    def result(self, raise_on_failure: bool) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Pool:
    """Makes nothing, and breaks at a task."""

    window = 1

    def __init__(self, breaks_at: int) -> None:
        self.tasks, self._breaks_at = 0, breaks_at

    def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
        self.tasks += 1
        nothing = {"made": [], "failed": [], "held": [], "seconds": 0.0}
        return Future(BrokenProcessPool("killed") if self.tasks == self._breaks_at else nothing)

    def end(self, futures: Any, force: bool) -> None: ...

    def is_broken(self, error: Exception) -> bool:
        return isinstance(error, BrokenProcessPool)

    def abandon(self) -> None: ...


def test_a_pool_that_breaks_gives_its_flow_run_no_further_tasks(
    begun: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = [Pool(breaks_at=4), Pool(breaks_at=99)]
    unopened, chunks = iter(pools), list[int]()

    @contextmanager
    def open_pool(*arguments: Any) -> Iterator[Pool]:
        yield next(unopened)

    def chunk() -> bool:
        before = pools[1].tasks
        intact = job._drive_further()
        chunks.append(pools[1].tasks - before)
        return intact

    monkeypatch.setattr(job, "TASKS_PER_RUN", 6)
    monkeypatch.setattr(job, "open_pool", open_pool)
    monkeypatch.setattr(job, "_chunk", chunk)
    board: Any = SimpleNamespace(held=set(), failed=[], collect=lambda report: None, refresh=lambda: None)
    job.Job(begun, begun.plan, None, Run(device="cpu"), ("cpu",), Stop(), board, tasks_left=6).make()
    assert [pool.tasks for pool in pools] == [4, 10]
    assert chunks == [6, 2], "of its own six tasks it had two left"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by the test."""
    now = [1000.0]
    monkeypatch.setattr(deployments, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(("shard_takes", "waits"), [(60.0, 7200), (7000.0, 35_000)])
def test_a_flow_run_is_taken_for_dead_once_it_is_silent_for_far_longer_than_a_shard_takes(
    begun: Dataset, clock: list[float], monkeypatch: pytest.MonkeyPatch, shard_takes: float, waits: float
) -> None:
    running = SimpleNamespace(is_running=lambda: True, is_final=lambda: False)
    cancelled: list[UUID] = []
    client: Any = SimpleNamespace(set_flow_run_state=lambda number, state: cancelled.append(number))
    monkeypatch.setattr(deployments, "_read", lambda client, ids: [SimpleNamespace(id=i, state=running) for i in ids])
    monkeypatch.setattr(deployments, "_start", lambda *arguments: SimpleNamespace(id=uuid4()))
    pace = Pace(10, 1, 300.0)
    pool = deployments.Deployments(Run(runner="deployment"), begun, client, pace)
    chunk = pool.submit(None, {"ordinals": [0, 1]})
    pool.poll()  # begins to wait
    pace.took(1, shard_takes)  # known from shards that others have made meanwhile
    clock[0] += waits - 1
    pool.poll()
    assert not cancelled
    clock[0] += 100
    pool.poll()
    assert cancelled == [chunk.id]
    with pytest.raises(gansynth.errors.RenderError, match="its machine is taken for dead"):
        chunk.result()
