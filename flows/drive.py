"""Keeping a pool busy: some tasks at a time, in the order given, until they end or a stop is requested."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect.futures import PrefectFuture
from prefect.tasks import Task

from flows.runners import Pool, PoolLost
from gansynth.stopping import GRACE_SECONDS, Stop, stop_on_signals

Call = tuple[Task[..., Any], dict[str, Any]]
"A task and its parameters."
# The latter where a program calls a flow on import: each worker imports the program.
_KILLED = 'workers were killed, or could not start (a program of one\'s own needs `if __name__ == "__main__":`)'


def drive(
    pool: Pool, calls: Iterable[Call], at_once: int, stop: Stop, refresh: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Submit tasks, some at a time, and yield what they return, or the exceptions that end them, as they end.

    PoolLost comes last: what else was in the queue is not heard of again.

    Args:
        pool: takes the tasks.
        calls: tasks with their parameters; asked for the next one when there is room for it.
        at_once: how many may be in the queue.
        stop: once requested, no task is submitted, and workers are told to stop, then made to.
        refresh: called twice a second and after each task.
    """
    finished: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
    waiting = iter(calls)
    running: set[PrefectFuture[Any]] = set()
    while True:
        while not stop.requested and len(running) < at_once and (call := next(waiting, None)):
            future = pool.submit(*call)
            future.add_done_callback(finished.put)
            running.add(future)
        if not running:
            return
        try:
            ended = finished.get(timeout=0.5)
        except queue.Empty:
            reason = next(filter(None, map(_lost, running)), None)
        else:
            running.discard(ended)
            result = _result_of(ended)
            reason = _KILLED if isinstance(result, Exception) and pool.is_broken(result) else None
            if reason is None:
                yield result
        if reason is not None:
            pool.abandon()
            yield PoolLost(reason)
            return
        refresh()
        if stop.requested and not _end(pool, running, stop):
            return


def _lost(future: PrefectFuture[Any]) -> str | None:
    """Why a future, and with it its pool, will never tell anything; None if all is well.

    When Prefect's engine fails in a worker process, for want of its server for example, it exits the task with SystemExit.
    Its chain of futures raises that in the thread that takes in the results of all tasks, which thereby ends (seen in 3.8.8).
    """
    chained = getattr(getattr(future, "wrapped_future", None), "wrapped_future", None)
    process = getattr(chained, "_process_future", None)
    if chained is None or process is None or chained.done() or not process.done() or process.cancelled():
        return None
    error = process.exception()
    if error is None or isinstance(error, Exception):
        return None
    return f"Prefect's task engine gave up ({type(error).__name__}: {error})"


def _result_of(future: PrefectFuture[Any]) -> Any:
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:
        return error


def stopping(stop: Stop) -> AbstractContextManager[Stop]:
    """Signals as stop requests where Python allows it: in the main thread."""
    return stop_on_signals(stop) if threading.current_thread() is threading.main_thread() else nullcontext(stop)


def _end(pool: Pool, running: Iterable[PrefectFuture[Any]], stop: Stop) -> bool:
    """Tell the workers to stop at a boundary; False once they have had their time and were ended."""
    overdue = stop.overdue(GRACE_SECONDS / 2)
    if overdue or not stop.told:
        pool.end(running, force=overdue)
    stop.told = True
    return not overdue
