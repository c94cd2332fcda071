"""Where tasks run. One parameter chooses; the rest of a flow does not know."""

from __future__ import annotations

import multiprocessing
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any

from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect.tasks import Task

from flows import worker
from gansynth.environment import choose_device, cores, visible_devices
from gansynth.errors import InputError, RenderError
from gansynth.stopping import GRACE_SECONDS, Stop, stop_on_signals

Call = tuple[Task[..., Any], dict[str, Any]]
"A task and its parameters."
RUNNERS = ("process",)


def require_runner(name: str) -> None:
    """Raise InputError unless there is a runner of that name."""
    if name not in RUNNERS:
        raise InputError(f"--runner: saw {name}, which does not exist; use {' or '.join(RUNNERS)}")


def worker_devices(device: str, workers: int | None) -> tuple[str, ...]:
    """One torch device for each worker.

    Args:
        device: auto, cpu, cuda or cuda:N.
        workers: how many; the visible GPUs if left out, else the cores.

    Raises:
        InputError: no such device, or more workers than GPUs.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers: saw {workers}; use 1 or more")
    choose_device(device)
    devices = visible_devices(device)
    if devices == ["cpu"]:
        return ("cpu",) * (workers or cores())
    if workers is not None and workers > len(devices):
        raise InputError(
            f"--workers: saw {workers}, but {device} gives {len(devices)} GPU{'s' if len(devices) > 1 else ''} and each "
            f"worker needs its own; use --workers {len(devices)}, or --device auto for all GPUs"
        )
    return tuple(devices[: workers or len(devices)])


@contextmanager
def open_runner(name: str, devices: tuple[str, ...]) -> Iterator[TaskRunner[Any]]:
    """A started task runner with one worker for each device; each loads the generator once.

    Args:
        name: see `require_runner`.
        devices: see `worker_devices`.
    """
    with (
        _server_for_children(),
        tempfile.TemporaryDirectory(prefix="gansynth-devices-") as locks,
        ProcessPoolTaskRunner(
            max_workers=len(devices), initializer=worker.start, initargs=(os.getpid(), devices, locks)
        ) as runner,
    ):
        yield runner


@contextmanager
def _server_for_children() -> Iterator[None]:
    """Let worker processes use this flow run's server; without an address each would start an embedded one."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = str(get_client(sync_client=True).api_url).rstrip("/")
    try:
        yield
    finally:
        if before is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = before


def lost(future: PrefectFuture[Any]) -> str | None:
    """Why a future will never be done, or None if all is well.

    When Prefect's engine fails in a worker, for want of its server for example, it exits the task with SystemExit,
    which its chain of futures does not pass on (seen in 3.8.8).
    """
    chained = getattr(getattr(future, "wrapped_future", None), "wrapped_future", None)
    process = getattr(chained, "_process_future", None)
    if chained is None or process is None or chained.done() or not process.done() or process.cancelled():
        return None
    error = process.exception()
    return None if error is None or isinstance(error, Exception) else f"{type(error).__name__}: {error}"


def drive(
    pool: TaskRunner[Any], calls: Iterable[Call], at_once: int, stop: Stop, refresh: Callable[[], None] = lambda: None
) -> Iterator[PrefectFuture[Any]]:
    """Submit tasks, some at a time, and yield their futures as they end.

    Args:
        pool: a started task runner.
        calls: tasks with their parameters.
        at_once: how many may be in the queue.
        stop: once requested, no task is submitted, and workers are told to stop, then made to.
        refresh: called twice a second and after each task.
    """
    finished: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
    waiting = iter(calls)
    running: set[PrefectFuture[Any]] = set()
    while True:
        for task, parameters in islice(waiting, 0 if stop.requested else at_once - len(running)):
            future = pool.submit(task, parameters)
            future.add_done_callback(finished.put)
            running.add(future)
        if not running:
            return
        try:
            ended = [finished.get(timeout=0.5)]
        except queue.Empty:
            ended = [future for future in running if lost(future)]
        running.difference_update(ended)
        yield from ended
        refresh()
        if stop.requested and not _stop_workers(stop):
            return


def result_of(future: PrefectFuture[Any]) -> Any:
    """What a task returned, or the exception that ended it."""
    if reason := lost(future):
        return RenderError(f"Prefect's task engine gave up ({reason})")
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:
        return error


def stopping() -> AbstractContextManager[Stop]:
    """Signals as stop requests where Python allows it: in the main thread."""
    stop = Stop()
    return stop_on_signals(stop) if threading.current_thread() is threading.main_thread() else nullcontext(stop)


def _stop_workers(stop: Stop) -> bool:
    """Tell the workers to stop at a boundary; False once they have had their time and were ended."""
    for child in multiprocessing.active_children():
        if stop.overdue(GRACE_SECONDS / 2):
            child.kill()
        elif not stop.told:
            child.terminate()  # SIGTERM: a request, see flows.worker
    stop.told = True
    return not stop.overdue(GRACE_SECONDS / 2)
