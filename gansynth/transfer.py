"""Batches from device to host without waiting: pinned memory, a stream of its own, one event a batch.

While images travel and are encoded the device renders the next batches. On the CPU there is nothing to copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device. From ordinary memory a copy to a GPU would wait for all work queued there."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class Arrival:
    """Images on their way to the host.

    Args:
        host: uint8 [n, h, w, 3], complete only after `wait`.
        wait: returns once they are there: the seconds that rendering and copying took on the device.
    """

    host: torch.Tensor
    wait: Callable[[], tuple[float, float]]

    def __len__(self) -> int:
        return len(self.host)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8 [n, h, w, 3]; waits until they are there."""
        self.wait()
        return np.asarray(self.host.numpy())


class Conveyor:
    """Lets a generator render and sends its images to the host.

    Args:
        device: the torch device that the generator is on.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def send(self, render: Callable[[], torch.Tensor]) -> Arrival:
        """Images of one batch; on a GPU this returns when the work is queued.

        Args:
            render: gives uint8 [n, h, w, 3].
        """
        if self._copies is None:
            started = time.perf_counter()
            images = render()
            seconds = time.perf_counter() - started
            return Arrival(images.cpu(), lambda: (seconds, 0.0))
        return self._send_from_gpu(render, self._copies)

    def _send_from_gpu(self, render: Callable[[], torch.Tensor], copies: torch.cuda.Stream) -> Arrival:
        import torch

        begun, rendered = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        arrived = torch.cuda.Event(enable_timing=True, blocking=True)  # who waits for it sleeps, leaving the core free
        with torch.cuda.device(self._device):
            started = time.perf_counter()
            begun.record()
            images = render()
            if images.device.type == "cpu":  # a generator without a network
                seconds = time.perf_counter() - started
                return Arrival(images, lambda: (seconds, 0.0))
            rendered.record()
            host = torch.empty(images.shape, dtype=images.dtype, pin_memory=True)
            with torch.cuda.stream(copies):
                copies.wait_event(rendered)
                host.copy_(images, non_blocking=True)
                images.record_stream(copies)  # its memory must not be used again before the copy is done
                arrived.record()

        def wait() -> tuple[float, float]:
            with torch.cuda.device(self._device):  # any thread may wait
                arrived.synchronize()
            return begun.elapsed_time(rendered) / 1000, rendered.elapsed_time(arrived) / 1000

        return Arrival(host, wait)
