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

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from flows.parameters import Run
from flows.tasks import row_of
from gansynth.dataset import Dataset
from gansynth.errors import InputError, RenderError
from gansynth.plan import ShardPlan
from gansynth.recipe import Recipe
from gansynth.seeds import parse_seeds

CHUNK = 6  # times as long as a task: a machine may take minutes to start
WORKERS = 4  # flow runs at once, if nobody says how many
_POLL_SECONDS = 2.0
_LOOK_SECONDS = 60.0  # between two looks at what a flow run has made
_SILENCE_SECONDS = 1800.0  # without a new shard; the machine of such a run is taken for dead


class Chunk:
    """A flow run that makes some shards; what it made is read from the receipts.

    Args:
        run: the flow run.
        dataset: in the making.
        shards: asked of it.
    """

    def __init__(self, run: FlowRun, dataset: Dataset, shards: list[ShardPlan]) -> None:
        self.id: UUID = run.id
        self._dataset, self._shards = dataset, shards
        self._before = _existing(dataset, shards)
        self._heard = self._looked = time.monotonic()
        self._count = len(self._before)
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

    def is_silent(self) -> bool:
        """Whether no shard has come for so long that its machine must be dead. Pending runs wait for a machine."""
        if time.monotonic() < self._looked + _LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        count = len(_existing(self._dataset, self._shards))
        if count != self._count:
            self._count, self._heard = count, time.monotonic()
        return time.monotonic() > self._heard + _SILENCE_SECONDS

    def result(self, raise_on_failure: bool = True) -> dict[str, Any]:
        """What a task for the same shards would have returned, of what has come since. Raises RenderError if none has."""
        found = _existing(self._dataset, self._shards)
        rows = [
            row_of(receipt)
            for split in {shard.split for shard in self._shards}
            for receipt in self._dataset.receipts(split, {n for s, n in found - self._before if s == split})
        ]
        if not rows and len(found) < len(self._shards):
            message = self._state.message if self._state else None
            raise RenderError(message or "its flow run ended without a word; see Prefect's log of it")
        # Without the time that a machine took to start: the next chunk is measured by this.
        return {"made": rows, "failed": [], "held": [], "seconds": sum(row["seconds"] for row in rows)}


def _existing(dataset: Dataset, shards: Iterable[ShardPlan]) -> set[tuple[str, int]]:
    done = dataset.done()
    return {(shard.split, shard.number) for shard in shards if shard.number in done[shard.split]}


class Deployments:
    """A pool whose workers are flow runs.

    Args:
        run: of this flow run.
        dataset: in the making.
        client: of the Prefect server.
    """

    def __init__(self, run: Run, dataset: Dataset, client: SyncPrefectClient) -> None:
        self._run, self._dataset, self._client = run, dataset, client
        self._running: dict[UUID, Chunk] = {}

    def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
        """Hand the shards of a task to a flow run."""
        recipe = {**self._dataset.record.recipe.record(), "output": self._dataset.store.url}
        shards = [self._dataset.plan.shard(ordinal) for ordinal in parameters["ordinals"]]
        text = str(parse_seeds(",".join(map(str, parameters["ordinals"])), "shards"))
        chunk = Chunk(_start(self._run, recipe, text), self._dataset, shards)
        self._running[chunk.id] = chunk
        return chunk

    def end(self, futures: Iterable[Any], force: bool) -> None:
        """Cancel the flow runs; their work pool's worker ends those that do not stop by themselves."""
        if not force:
            for chunk in futures:
                with suppress(Exception):  # ended meanwhile
                    self._client.set_flow_run_state(chunk.id, Cancelling())

    def is_broken(self, error: Exception) -> bool:
        return False

    def poll(self) -> None:
        """Look which flow runs have ended."""
        for run in _read(self._client, list(self._running)):
            chunk = self._running[run.id]
            state = run.state
            if state and not state.is_final() and state.is_running() and chunk.is_silent():
                state = Crashed(message="no shard has come for half an hour, so its machine is taken for dead")
                self._client.set_flow_run_state(run.id, state, force=True)
            if state and state.is_final():
                del self._running[run.id]
                chunk.finish(state)


@contextmanager
def open_deployments(run: Run, dataset: Dataset) -> Iterator[Deployments]:
    """A pool that hands its tasks to flow runs of the deployment that a run names."""
    over = threading.Event()
    with get_client(sync_client=True) as client:
        pool = Deployments(run, dataset, client)

        def poll() -> None:
            while not over.wait(_POLL_SECONDS):
                with suppress(Exception):  # a server that is away comes back
                    pool.poll()

        thread = threading.Thread(target=poll, name="poll-flow-runs", daemon=True)
        thread.start()
        try:
            yield pool
        finally:
            over.set()
            thread.join()


def begin_elsewhere(wanted: Recipe, run: Run) -> None:
    """Let a flow run begin the dataset, since recipe.yaml records the environment of those who render, and make a shard.

    Raises:
        RenderError: it could not; says why.
    """
    with get_client(sync_client=True) as client:
        flow_run = _start(run, wanted.content(), "0")
        while not (flow_run.state and flow_run.state.is_final()):
            time.sleep(_POLL_SECONDS)
            with suppress(Exception):
                flow_run = _read(client, [flow_run.id])[0]
    if not flow_run.state.is_completed():
        raise RenderError(f"deployment {run.deployment}: {flow_run.state.message}; see Prefect's log of the flow run")


def _start(run: Run, recipe: dict[str, Any], shards: str) -> FlowRun:
    """A flow run of the deployment for some shards. Raises InputError if there is no such deployment."""
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
        return run_deployment(run.deployment, parameters=parameters, timeout=0)  # type: ignore[return-value]
    except ObjectNotFound:
        raise InputError(
            f"--deployment: saw {run.deployment}, which the Prefect server does not know; deploy deploy/prefect.yaml first"
        ) from None


def _read(client: SyncPrefectClient, ids: list[UUID]) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids))) if ids else []
