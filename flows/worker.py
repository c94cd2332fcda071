"""What lives in a worker process: its device, its stop request, and the generator, loaded once."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
import threading
import time
from contextlib import suppress
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from prefect.logging import get_run_logger

from gansynth.dataset import Dataset
from gansynth.session import Session
from gansynth.stopping import Stop

STOP = Stop()
_POLL_SECONDS = 0.5
_held: list[TextIOWrapper] = []  # keeps the lock on this worker's device


def start(parent: int, devices: tuple[str, ...]) -> None:
    """Initializer of a worker process. Waits for a GPU that workers of other flow runs on this machine do not use.

    Args:
        parent: process id of the flow; when it is gone, so is this worker.
        devices: one torch device for each worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the flow decides
    signal.signal(signal.SIGTERM, _request_stop)
    threading.Thread(target=_watch, args=(parent,), name="watch-parent", daemon=True).start()
    device = devices[0]
    if device.startswith("cuda:"):
        # Before CUDA starts: this process sees its own GPU only, so nothing lands on another by mistake.
        os.environ["CUDA_VISIBLE_DEVICES"] = _take([_gpu(name) for name in devices])
        device = "cuda:0"
    os.environ["GANSYNTH_WORKER_DEVICE"] = device
    import torch  # noqa: F401 - a task's timeout may interrupt anything, and torch bears being imported only once


@lru_cache(maxsize=1)
def session(url: str, encode_threads: int, allow_mixed: bool, allow_code: bool) -> Session:
    """The session of this worker, kept from task to task."""
    device, started = os.environ.get("GANSYNTH_WORKER_DEVICE", "cpu"), time.monotonic()
    loaded = Session(
        Dataset.open(url), device, allow_mixed=allow_mixed, allow_code=allow_code, encode_threads=encode_threads
    )
    name, seconds = loaded.dataset.record.recipe.info.name, time.monotonic() - started
    get_run_logger().info("%s: loaded %s on %s in %.1f s", loaded.worker, name, device, seconds)
    return loaded


def _request_stop(number: int, frame: FrameType | None) -> None:
    STOP.request(number)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _gpu(device: str) -> str:
    """What CUDA_VISIBLE_DEVICES calls a torch device of the parent."""
    visible, index = os.environ.get("CUDA_VISIBLE_DEVICES"), int(device.removeprefix("cuda:"))
    return visible.split(",")[index].strip() if visible else str(index)


def _take(gpus: list[str]) -> str:
    """The first GPU that no other worker on this machine has locked, as soon as there is one."""
    folder = Path(tempfile.gettempdir(), "gansynth-devices")
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)  # workers of all users share the GPUs
    while not STOP.requested:
        for gpu in gpus:
            file = os.fdopen(os.open(folder / gpu, os.O_RDWR | os.O_CREAT, 0o666), "w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            return gpu
        time.sleep(_POLL_SECONDS)
    os._exit(1)
