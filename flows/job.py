"""The shards of a dataset that one flow run makes: cut into tasks, driven through a pool, in chunks where there are many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from prefect import flow

from flows.board import Board
from flows.deployments import CHUNK, open_deployments
from flows.drive import Call, drive, result_of
from flows.pace import TASKS_PER_RUN, Pace
from flows.parameters import Run
from flows.runners import Pool, open_pool
from flows.tasks import render_block
from gansynth.api import describe_error
from gansynth.dataset import Dataset, missing
from gansynth.environment import cores
from gansynth.plan import Plan, ShardPlan
from gansynth.seeds import Seeds
from gansynth.stopping import Stop

_POOLS = 3  # how often to start a pool again that has broken
_WINDOW = 2  # tasks in the queue for each worker


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
    """

    dataset: Dataset
    plan: Plan
    ordinals: Seeds | None
    run: Run
    devices: tuple[str, ...]
    stop: Stop
    board: Board
    errors: list[str] = field(default_factory=list)

    def todo(self) -> Iterator[ShardPlan]:
        """The shards that do not exist yet, in order."""
        done = self.dataset.done()
        if self.ordinals is None:
            return missing(self.plan, done)
        chosen = map(self.plan.shard, self.ordinals)
        return (shard for shard in chosen if shard.number not in done[shard.split])

    def make(self) -> None:
        """Make the missing shards. What fails is on the board, or among the errors."""
        take_over = False
        for _ in range(_POOLS):
            if self.stop.requested or next(self.todo(), None) is None:
                break
            if self._through_pool(take_over):
                if self.board.held and not take_over:
                    # What others held comes last, and is then made all the same: they may be gone.
                    take_over, self.board.held = True, set()
                elif self.run.runner != "deployment":
                    break  # what failed here would fail again, but a flow run may just have lost its machine

    def _through_pool(self, take_over: bool) -> bool:
        """Drive all missing shards through one pool; False if the pool broke and another should be tried."""
        self.errors.clear()
        elsewhere = self.run.runner == "deployment"
        seconds = 60 * self.run.block_minutes * (CHUNK if elsewhere else 1)
        pace = Pace(sum(1 for _ in self.todo()), len(self.devices), seconds)
        calls = self._calls(pace, take_over)
        with open_deployments(self.run, self.dataset) if elsewhere else open_pool(self.run, self.devices) as pool:
            intact = self._drive(pool, islice(calls, TASKS_PER_RUN), pace)
            while intact and not self.stop.requested and (first := next(calls, None)):
                intact = self._chunk(pool, chain([first], islice(calls, TASKS_PER_RUN - 1)), pace)
        return intact

    def _chunk(self, pool: Pool, calls: Iterator[Call], pace: Pace) -> bool:
        """Drive tasks in a flow run of their own, since Prefect bears only so many in one."""

        @flow(name="chunk", persist_result=False)
        def chunk() -> bool:
            return self._drive(pool, calls, pace)

        return bool(chunk())

    def _calls(self, pace: Pace, take_over: bool) -> Iterator[Call]:
        """A task for each block of missing shards."""
        todo = (shard.ordinal for shard in self.todo())
        task = render_block
        if self.run.timeout_minutes:
            task = task.with_options(timeout_seconds=60 * self.run.timeout_minutes)
        shared = {
            "url": self.dataset.store.url,
            "encode_threads": max(1, cores() // len(self.devices)),
            "allow_mixed": self.run.allow_mixed,
            "allow_code": self.run.allow_code,
            "take_over": take_over,
        }
        while block := list(islice(todo, pace.next_size())):
            yield task, {**shared, "ordinals": block}

    def _drive(self, pool: Pool, calls: Iterator[Call], pace: Pace) -> bool:
        intact = True
        for future in drive(pool, calls, _WINDOW * len(self.devices), self.stop, self.board.refresh):
            result = result_of(future)
            if isinstance(result, Exception) and pool.is_broken(result):
                intact = False
            elif isinstance(result, Exception):
                self.errors.append(describe_error(result))
            elif result is not None:
                self.board.collect(result)
                if result["made"]:
                    pace.took(len(result["made"]), result["seconds"])
        return intact
