"""GPUs of this machine, kept for one flow run at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from prefect.logging import get_run_logger

from gansynth.stopping import Stop

_POLL_SECONDS = 0.5


@contextmanager
def kept(devices: tuple[str, ...], stop: Stop) -> Iterator[None]:
    """Keep the GPUs among some torch devices for the block, as soon as no other flow run on this machine has one of them.

    Raises Interrupted if a stop is requested meanwhile.
    """
    names = sorted({_name(device) for device in devices if device.startswith("cuda:")})
    with ExitStack() as held:
        told = False
        while names and not _lock_all(names, held):
            if not told:
                get_run_logger().warning("waiting for GPUs that another run on this machine uses")
            told = True
            time.sleep(_POLL_SECONDS)
            stop.raise_if_requested()
        yield


def _name(device: str) -> str:
    """The same for a GPU, whatever CUDA_VISIBLE_DEVICES makes its number."""
    import torch

    return str(torch.cuda.get_device_properties(device).uuid)


def _lock_all(names: list[str], held: ExitStack) -> bool:
    """Lock all of them, or none: two runs that hold what the other waits for would wait for ever."""
    folder = Path(tempfile.gettempdir(), "gansynth-gpus")
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o777)  # runs of all users share the GPUs
    with ExitStack() as stack:
        for name in names:
            path = folder / name
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o644))
            file = stack.enter_context(path.open("rb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        held.enter_context(stack.pop_all())
    return True
