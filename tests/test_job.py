"""One flow run's tasks: how many it has, however often its pool breaks; when it gives up; and that a signal stops it anywhere."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gansynth
from flows import job, worker
from flows.parameters import Run
from flows.runners import POOLS
from gansynth.dataset import Dataset
from gansynth.errors import StoreError
from gansynth.receipt import SUFFIX
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
    """Leaves receipts of nothing, but for shards that are claimed; breaks at a task."""

    window, cores = 1, 1

    def __init__(self, dataset: Dataset, breaks_at: int = 0, makes: bool = True, claimed: tuple[int, ...] = ()) -> None:
        self.tasks, self._breaks_at = 0, breaks_at
        self._dataset, self._makes, self._claimed = dataset, makes, claimed

    def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
        self.tasks += 1
        if self.tasks == self._breaks_at:
            return Future(BrokenProcessPool("killed"))
        shards = [self._dataset.plan.shard(ordinal) for ordinal in parameters["ordinals"]]
        held = [shard for shard in shards if shard.ordinal in self._claimed and not parameters["take_over"]]
        made = [shard for shard in shards if shard not in held and self._makes]
        for shard in made:
            (receipt := Path(self._dataset.store.url, f"{shard.stem}{SUFFIX}")).parent.mkdir(exist_ok=True)
            receipt.touch()
        about = {"seconds": 1e9, "workers": 1}  # so long that a task is always a single shard
        return Future({"made": made, "failed": [], "held": [shard.stem for shard in held], **about})

    def end(self, futures: Any, force: bool) -> None: ...

    def is_broken(self, error: Exception) -> bool:
        return isinstance(error, BrokenProcessPool)

    def abandon(self) -> None: ...


@pytest.fixture
def make(begun: Dataset, monkeypatch: pytest.MonkeyPatch) -> Callable[..., job.Job]:
    """Run a job through some pools, one after another; returns it."""

    def _make(*pools: Pool, **options: Any) -> job.Job:
        unopened = iter(pools)

        @contextmanager
        def open_pool(*arguments: Any) -> Iterator[Pool]:
            yield next(unopened)

        monkeypatch.setattr(job, "open_pool", open_pool)
        board: Any = SimpleNamespace(held=set(), failed=[], refresh=lambda: None)
        board.collect = lambda report: board.held.update(report["held"])
        made = job.Job(begun, begun.plan, None, Run(device="cpu"), ("cpu",), Stop(), board, **options)
        made.make()
        return made

    return _make


def missing(made: job.Job) -> list[int]:
    return [shard.ordinal for shard in made.todo()]


def test_a_pool_that_breaks_gives_its_flow_run_no_further_tasks(
    begun: Dataset, make: Callable[..., job.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    pools, chunks = [Pool(begun, breaks_at=4, makes=False), Pool(begun)], list[int]()

    def chunk() -> bool:
        before = pools[1].tasks
        intact = job._drive_further()
        chunks.append(pools[1].tasks - before)
        return intact

    monkeypatch.setattr(job, "TASKS_PER_RUN", 6)
    monkeypatch.setattr(job, "_chunk", chunk)
    assert missing(make(*pools, tasks_left=6)) == []
    assert [pool.tasks for pool in pools] == [4, 10]
    assert chunks == [6, 2], "of its own six tasks it had two left"


def test_killed_workers_end_no_run_that_gets_on(begun: Dataset, make: Callable[..., job.Job]) -> None:
    assert missing(make(*(Pool(begun, breaks_at=2) for _ in range(10)))) == []


def test_pools_that_break_before_anything_is_made_end_a_run(begun: Dataset, make: Callable[..., job.Job]) -> None:
    pools = [Pool(begun, breaks_at=5), *(Pool(begun, breaks_at=1) for _ in range(9))]
    assert len(missing(make(*pools))) == 6
    assert sum(pool.tasks > 0 for pool in pools) == 1 + POOLS


def test_what_killed_workers_had_claimed_is_made_after_however_many(
    begun: Dataset, make: Callable[..., job.Job]
) -> None:
    pools = [Pool(begun, breaks_at=2, claimed=(7,)) for _ in range(POOLS - 1)]
    assert missing(make(*pools, Pool(begun, claimed=(7,)), Pool(begun))) == []


def test_a_signal_stops_a_further_flow_run_too(
    begun: Dataset, make: Callable[..., job.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Signalling(Pool):
        def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
            if self.tasks == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().submit(task, parameters)

    def chunk() -> bool:
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Prefect takes the signal for itself
        try:
            return job._drive_further()
        finally:
            signal.signal(signal.SIGTERM, before)

    monkeypatch.setattr(job, "TASKS_PER_RUN", 2)
    monkeypatch.setattr(job, "_chunk", chunk)
    made = make(Signalling(begun), tasks_left=2)
    assert made.stop.requested and len(missing(made)) == 6, "only what had been handed out was made"


def test_storage_that_is_away_for_one_task_ends_no_run(
    begun: Dataset, make: Callable[..., job.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = job.Job._count

    class Away(Pool):
        def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
            monkeypatch.setattr(job.Job, "_count", refuse if self.tasks == 3 else count)
            future = super().submit(task, parameters)
            return Future(StoreError("no answer")) if self.tasks == 4 else future

    def refuse(self: job.Job) -> int:
        raise StoreError("no answer")

    made = make(Away(begun))
    assert missing(made) == [] and made.errors == ["no answer"]


def test_a_worker_that_is_asked_twice_still_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect cancels all processes of a run at once, and then the flow asks its workers."""
    stop = Stop(grace=1e9)
    monkeypatch.setattr(worker, "STOP", stop)
    for _ in range(2):
        worker._request_stop(signal.SIGTERM, None)
    assert stop.requested and not stop.expired
