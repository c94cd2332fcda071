"""Where blocks of shards run. One parameter chooses; the rest of the flow does not know."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from flows import worker
from gansynth.environment import choose_device, cores, visible_devices
from gansynth.errors import InputError

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
