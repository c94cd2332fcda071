"""What lives in a worker process: its device, its stop request, and the generator, loaded once."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
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


def start(parent: int, devices: tuple[str, ...], locks: str) -> None:
    """Initializer of a worker process.

    Args:
        parent: process id of the flow; when it is gone, so is this worker.
        devices: one torch device for each worker.
        locks: folder in which each worker locks one of them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the flow decides
    signal.signal(signal.SIGTERM, _request_stop)
    threading.Thread(target=_watch, args=(parent,), name="watch-parent", daemon=True).start()
    # A task's timeout may interrupt anything, and torch bears being imported only once.
    import torch

    device = _take(devices, Path(locks))
    if device.startswith("cuda:"):
        # This process sees its own GPU only, so nothing lands on another by mistake.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        index = int(device.removeprefix("cuda:"))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
        torch.cuda.init()  # at once: Prefect brings the flow's environment along with every task
        device = "cuda:0"
    os.environ["GANSYNTH_WORKER_DEVICE"] = device


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
    # Prefect cancels the whole process group, and the flow then asks its workers too: twice would mean at once.
    if not STOP.requested:
        STOP.request(number)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def _take(devices: tuple[str, ...], locks: Path) -> str:
    """The first device that no other worker has locked."""
    for position, device in enumerate(devices):
        file = (locks / str(position)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return device
    raise RuntimeError(f"more workers than devices: {devices}")
