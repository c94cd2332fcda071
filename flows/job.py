"""The shards of a dataset that one flow run makes: cut into tasks, driven through a pool, in chunks where there are many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

from prefect import flow
from prefect.task_engine import TaskRunTimeoutError

from flows.board import Board
from flows.deployments import CHUNK, open_deployments
from flows.drive import Call, drive, stopping
from flows.pace import TASKS_PER_RUN, Pace
from flows.parameters import Run
from flows.runners import POOLS, Pool, PoolLost, open_pool
from flows.tasks import render_block
from gansynth.api import describe_error
from gansynth.dataset import Dataset, missing, read_receipt
from gansynth.errors import StoreError
from gansynth.plan import Plan, ShardPlan
from gansynth.seeds import Seeds
from gansynth.stopping import Stop

_FAILED_TASKS = 12  # one after another, or three for each worker: what ails them will ail the rest


_further: ContextVar[Callable[[], bool]] = ContextVar("further")


def _drive_further() -> bool:
    return _further.get()()


# Tasks in a flow run of their own, since Prefect bears only so many in one. It sends the flow along with each task: hence no
# closure, no parameters, and a function that pickle finds under its name.
_chunk = flow(name="chunk", persist_result=False)(_drive_further)


@dataclass
class Job:
    """What is to be made, and what came of it.

    Args:
        dataset: begun already.
        plan: the shards asked for.
        ordinals: which of them; all if None.
        run: how.
        devices: one for each worker.
        stop: requests to stop.
        board: collects what is made.
        errors: of tasks that failed as a whole.
        in_vain: tasks in a row that have made nothing.
        existing: shards of the dataset when that was last looked at.
        tasks_left: that this flow run may still have; others go into flow runs of their own.
    """

    dataset: Dataset
    plan: Plan
    ordinals: Seeds | None
    run: Run
    devices: tuple[str, ...]
    stop: Stop
    board: Board
    errors: list[str] = field(default_factory=list)
    in_vain: int = 0
    existing: int = 0
    tasks_left: int = field(default_factory=lambda: TASKS_PER_RUN)

    @property
    def hopeless(self) -> bool:
        """Whether so many tasks in a row have made nothing that no other should be tried."""
        return self.in_vain >= max(_FAILED_TASKS, 3 * len(self.devices))

    def todo(self) -> Iterator[ShardPlan]:
        """The shards that do not exist yet, in order."""
        done = self.dataset.done()
        if self.ordinals is None:
            return missing(self.plan, done)
        chosen = map(self.plan.shard, self.ordinals)
        return (shard for shard in chosen if shard.number not in done[shard.split])

    def make(self) -> None:
        """Make the missing shards. What fails is on the board, or among the errors."""
        take_over, pools = False, POOLS
        existing = self.existing = self._count()
        while pools and not self.stop.requested and not self.hopeless and next(self.todo(), None):
            intact = self._through_pool(take_over)
            if intact and self.board.held and not take_over:
                # What others held comes last, and is then made all the same: they may be gone.
                take_over, self.board.held = True, set()
            elif intact and self.run.runner != "deployment":
                break  # what failed here would fail again, but a flow run may just have lost its machine
            else:
                before, existing = existing, self._count()
                pools = POOLS if existing > before else pools - 1

    def _through_pool(self, take_over: bool) -> bool:
        """Drive all missing shards through one pool; False if the pool broke and another should be tried."""
        self.errors.clear()
        self.board.failed.clear()
        elsewhere = self.run.runner == "deployment"
        seconds = 60 * self.run.task_minutes * (CHUNK if elsewhere else 1)
        pace = Pace(sum(1 for _ in self.todo()), len(self.devices), seconds)
        self._recall(pace)
        with (
            open_deployments(self.run, self.dataset, pace)
            if elsewhere
            else open_pool(self.run, self.devices, self.stop) as pool
        ):
            calls = self._calls(pace, pool.cores, take_over)
            intact = self._drive(pool, self._own(calls), pace)
            while intact and not self.stop.requested and (first := next(calls, None)):
                more = chain([first], islice(calls, TASKS_PER_RUN - 1))
                _further.set(partial(self._drive, pool, more, pace))
                intact = bool(_chunk())
        return intact

    def _own(self, calls: Iterator[Call]) -> Iterator[Call]:
        """As many as this flow run may still have."""
        while self.tasks_left and (call := next(calls, None)):
            self.tasks_left -= 1
            yield call

    def _recall(self, pace: Pace) -> None:
        """Begin with what a shard took that exists already, if there is one: a chunk of a single shard costs a machine's start."""
        for split, numbers in self.dataset.done().items():
            if numbers:
                with suppress(StoreError):  # verifying is not this flow's business
                    pace.took(1, read_receipt(self.dataset.store, split, min(numbers)).seconds["wall"])
                return

    def _calls(self, pace: Pace, cores: int, take_over: bool) -> Iterator[Call]:
        """A task for each block of missing shards; its worker has a fair share of the cores."""
        todo = (shard.ordinal for shard in self.todo())
        task = render_block
        if self.run.timeout_minutes:
            task = task.with_options(timeout_seconds=60 * self.run.timeout_minutes)
        shared = {
            "url": self.dataset.store.url,
            "encode_threads": max(1, cores // len(self.devices)),
            "allow_mixed": self.run.allow_mixed,
            "allow_code": self.run.allow_code,
            "take_over": take_over,
            # Worker processes have inherited what it holds.
            "credentials_block": self.run.credentials_block if self.run.runner == "ray" else None,
        }
        while not self.hopeless and (block := list(islice(todo, pace.next_size()))):
            yield task, {**shared, "ordinals": block}

    def _drive(self, pool: Pool, calls: Iterator[Call], pace: Pace) -> bool:
        intact = True
        with stopping(self.stop):  # once more: Prefect takes signals for itself in a flow run within a flow run
            for result in drive(pool, calls, pool.window * len(self.devices), self.stop, self.board.refresh):
                if isinstance(result, PoolLost):
                    intact = False
                    self.errors.append(str(result))
                elif isinstance(result, Exception):
                    self.in_vain = 0 if self._has_grown() else self.in_vain + 1
                    self.errors.append(self._describe(result))
                elif result is not None:
                    self.board.collect(result)
                    self.in_vain = 0 if result["made"] else self.in_vain + bool(result["failed"])
                    if result["made"]:
                        pace.took(len(result["made"]), result["seconds"] / result["workers"])
        return intact

    def _has_grown(self) -> bool:
        """Whether there are more shards than before: a task that was interrupted does not tell what it has made."""
        before = self.existing
        with suppress(StoreError):  # which may be what ails the task
            self.existing = self._count()
        return self.existing > before

    def _count(self) -> int:
        """Number of shards of the dataset that exist."""
        return sum(map(len, self.dataset.done().values()))

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TaskRunTimeoutError):
            return f"a task was interrupted after timeout_minutes: {self.run.timeout_minutes:g}"
        return describe_error(error)
