"""Chunks of shards handed to flow runs of a deployment, wherever its work pool runs them.

The deployment is one of the flow `synthesize`, with the runner `process`. This flow run asks for shards and looks at what
is there; the other ones need nothing but the dataset's storage and the Prefect server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from flows.pace import Pace
from flows.parameters import Run
from flows.tasks import row_of
from gansynth.dataset import Dataset, Numbers, read_record
from gansynth.errors import InputError, RenderError
from gansynth.plan import ShardPlan
from gansynth.progress import duration
from gansynth.recipe import Recipe
from gansynth.recipe_file import written
from gansynth.seeds import parse_seeds
from gansynth.stopping import Stop
from gansynth.store import Store

CHUNK = 6  # times as long as a task: a machine may take minutes to start
WORKERS = 4  # flow runs at once, if nobody says how many
_POLL_SECONDS = 2.0
_LOOK_SECONDS = 60.0  # between two looks at what flow runs have made: each lists the whole dataset
_SLOW = 5  # times as long as a shard takes: how long a machine may be silent, where `Run.silence_minutes` is shorter
_AT_ONCE = 100  # flow runs read by one request
_BEGINNINGS = 3  # how often to begin a dataset where machines are lost
_DELETED = "its flow run was deleted"


class Chunk:
    """A flow run that makes some shards; what it made is read from the receipts.

    Args:
        run: the flow run.
        dataset: in the making.
        shards: asked of it.
        done: numbers of the shards that exist, by split.
    """

    def __init__(self, run: FlowRun, dataset: Dataset, shards: list[ShardPlan], done: Numbers) -> None:
        self.id: UUID = run.id
        self._dataset, self._shards = dataset, shards
        self._before = self._count = self._among(done)
        self._heard: float | None = None
        self._state: State[Any] | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._lock = threading.Lock()

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        """Call with this chunk once its flow run has ended."""
        with self._lock:
            if self._state is None:
                self._callbacks.append(call)
                return
        call(self)

    def finish(self, state: State[Any]) -> None:
        """Take in the state in which the flow run has ended."""
        with self._lock:
            self._state = state
        for call in self._callbacks:
            call(self)

    def is_silent(self, is_running: bool, done: Numbers, patience: float) -> bool:
        """Whether no shard has come for so many seconds that its machine must be dead. One that is not running waits for a
        machine, the first or another one."""
        found = self._among(done)
        if self._heard is None or found != self._count or not is_running:
            self._count, self._heard = found, time.monotonic()
        return time.monotonic() > self._heard + patience

    def result(self, raise_on_failure: bool = True) -> dict[str, Any]:
        """What a task for the same shards would have returned, of what has come since. Raises RenderError if none has."""
        found = self._among(self._dataset.done())
        rows = [
            row_of(receipt)
            for split in {shard.split for shard in self._shards}
            for receipt in self._dataset.receipts(split, {n for s, n in found - self._before if s == split})
        ]
        if not rows and len(found) < len(self._shards):
            message = self._state.message if self._state else None
            raise RenderError(message or "its flow run ended without a word; see Prefect's log of it")
        # Without the time that a machine took to start: the next chunk is measured by this.
        seconds, workers = sum(row["seconds"] for row in rows), len({row["worker"] for row in rows})
        return {"made": rows, "failed": [], "held": [], "seconds": seconds, "workers": max(1, workers)}

    def _among(self, done: Numbers) -> set[tuple[str, int]]:
        return {(shard.split, shard.number) for shard in self._shards if shard.number in done[shard.split]}


class Deployments:
    """A pool whose workers are flow runs.

    Args:
        run: of this flow run.
        dataset: in the making.
        client: of the Prefect server.
        pace: knows what a shard takes.
    """

    window = 1  # each waits for a machine of its own
    cores = 1  # its flow runs count their own

    def __init__(self, run: Run, dataset: Dataset, client: SyncPrefectClient, pace: Pace) -> None:
        self._run, self._dataset, self._client, self._pace = run, dataset, client, pace
        self._running: dict[UUID, Chunk] = {}
        self._looked = 0.0

    def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
        """Hand the shards of a task to a flow run."""
        recipe = written({**self._dataset.record.recipe.record(), "output": self._dataset.store.url})
        shards = [self._dataset.plan.shard(ordinal) for ordinal in parameters["ordinals"]]
        text = str(parse_seeds(",".join(map(str, parameters["ordinals"])), "shards"))
        done = self._dataset.done()  # before the flow run is there: whatever fails here leaves none behind
        chunk = Chunk(_start(self._run, recipe, text), self._dataset, shards, done)
        self._running[chunk.id] = chunk
        return chunk

    def end(self, futures: Iterable[Any], force: bool) -> None:
        """Cancel the flow runs; their work pool's worker ends those that do not stop by themselves."""
        if not force:
            for chunk in futures:
                with suppress(Exception):  # ended meanwhile
                    self._client.set_flow_run_state(chunk.id, Cancelling())

    def end_all(self) -> None:
        """Cancel all flow runs that have not ended."""
        self.end(list(self._running.values()), force=False)

    def is_broken(self, error: Exception) -> bool:
        return False

    def abandon(self) -> None: ...

    def poll(self) -> None:
        """Look which flow runs have ended."""
        patience = max(60 * self._run.silence_minutes, _SLOW * (self._pace.seconds_per_shard or 0.0))
        waiting = list(self._running)
        states = {run.id: run.state for run in _read(self._client, waiting)}
        done = self._dataset.done() if time.monotonic() > self._looked + _LOOK_SECONDS else None
        self._looked = self._looked if done is None else time.monotonic()
        for number in waiting:
            state = states.get(number, Crashed(message=_DELETED))
            chunk = self._running[number]
            if done and state and chunk.is_silent(state.is_running(), done, patience):
                state = _dead(self._client, number, patience)
            if state and state.is_final():
                del self._running[number]
                chunk.finish(state)


@contextmanager
def open_deployments(run: Run, dataset: Dataset, pace: Pace) -> Iterator[Deployments]:
    """A pool that hands its tasks to flow runs of the deployment that a run names.

    Args:
        run: of this flow run.
        dataset: in the making.
        pace: knows what a shard takes; a machine is not taken for dead before several times that.
    """
    over = threading.Event()
    with get_client(sync_client=True) as client:
        pool = Deployments(run, dataset, client, pace)

        def poll() -> None:
            while not over.wait(_POLL_SECONDS):
                with suppress(Exception):  # a server or a storage that is away comes back
                    pool.poll()

        thread = threading.Thread(target=poll, name="poll-flow-runs", daemon=True)
        thread.start()
        try:
            yield pool
        except BaseException:
            pool.end_all()
            raise
        finally:
            over.set()
            thread.join()


def begin_elsewhere(wanted: Recipe, run: Run, parts: int, stop: Stop) -> None:
    """Let a flow run begin the dataset, since recipe.yaml records the environment of those who render, and make a shard.

    Args:
        wanted: what to make.
        run: of this flow run.
        parts: that the dataset is to have.
        stop: ends the waiting, and cancels the flow run.

    Raises:
        RenderError: it could not; says why.
        Interrupted: stopped on request.
    """
    with get_client(sync_client=True) as client:
        for _ in range(_BEGINNINGS):
            state = _end_of(client, _start(run, written(wanted.content()), "0").id, 60 * run.silence_minutes, stop)
            found = read_record(Store(str(wanted.output)))
            if state.is_completed() or (found and len(found.recipe.parts) >= parts):
                return  # what others make of it is in the receipts
            if not state.is_crashed():  # a machine that was lost says nothing about the next one
                break
    raise RenderError(f"deployment {run.deployment}: {state.message}; see Prefect's log of the flow run")


def _end_of(client: SyncPrefectClient, number: UUID, patience: float, stop: Stop) -> State[Any]:
    """The state in which a flow run ends; one that runs for more than so many seconds, or is deleted, has crashed."""
    running: float | None = None
    while True:
        time.sleep(_POLL_SECONDS)
        with suppress(httpx.HTTPError):  # a server that is away comes back
            if stop.requested:
                client.set_flow_run_state(number, Cancelling())
            found = _read(client, [number])
            state = found[0].state if found else Crashed(message=_DELETED)
            running = (running or time.monotonic()) if state and state.is_running() else None
            if running and time.monotonic() > running + patience:
                state = _dead(client, number, patience)
            if state and state.is_final():
                return state
        stop.raise_if_requested()


def _dead(client: SyncPrefectClient, number: UUID, patience: float) -> State[Any]:
    """Give a flow run up whose machine must be dead. If it is not, its pool's worker ends it."""
    client.set_flow_run_state(number, Cancelling())
    return Crashed(message=f"no shard has come for {duration(patience)}, so its machine is taken for dead")


def _start(run: Run, recipe: str, shards: str) -> FlowRun:
    """A flow run of the deployment for some shards. Raises InputError if there is no such deployment.

    The recipe is sent as YAML: a mapping would lose the order of its keys on PostgreSQL, and numbers as keys anywhere.
    """
    theirs = Run(
        allow_mixed=run.allow_mixed,
        allow_code=run.allow_code,
        device=run.device,
        block_minutes=run.block_minutes,
        timeout_minutes=run.timeout_minutes,
        credentials_block=run.credentials_block,
    )
    parameters = {"recipe": recipe, "shards": shards, "run": theirs.model_dump(mode="json")}
    try:
        return run_deployment(run.deployment, parameters=parameters, timeout=0)  # type: ignore[return-value]  # typed for async callers too
    except ObjectNotFound:
        raise InputError(
            f"--deployment: saw {run.deployment}, which the Prefect server does not know; deploy deploy/prefect.yaml first"
        ) from None


def _read(client: SyncPrefectClient, ids: list[UUID]) -> list[FlowRun]:
    found: list[FlowRun] = []
    for first in range(0, len(ids), _AT_ONCE):
        some = FlowRunFilterId(any_=ids[first : first + _AT_ONCE])
        found += client.read_flow_runs(flow_run_filter=FlowRunFilter(id=some), limit=_AT_ONCE)
    return found
