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
    """A batch on its way to the host.

    Args:
        images: uint8 [n, h, w, 3], complete only after `wait`.
        w: styles, float32 [n, w_dim], complete only after `wait`; None for families without.
        wait: returns once they are there: the seconds that rendering and copying took on the device.
    """

    images: torch.Tensor
    w: torch.Tensor | None
    wait: Callable[[], tuple[float, float]]

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8 [n, h, w, 3]; waits until they are there."""
        self.wait()
        return np.asarray(self.images.numpy())

    def styles(self) -> npt.NDArray[np.float32] | None:
        """float32 [n, w_dim]; waits until they are there."""
        self.wait()
        return None if self.w is None else np.asarray(self.w.numpy())


class Conveyor:
    """Lets a generator render and sends images and styles to the host.

    Args:
        device: the torch device that the generator is on.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def send(self, render: Callable[[], tuple[torch.Tensor, torch.Tensor | None]]) -> Arrival:
        """One batch; on a GPU this returns when the work is queued.

        Args:
            render: gives images, uint8 [n, h, w, 3], and styles, float32 [n, w_dim], or None for families without.
        """
        if self._copies is None:
            started = time.perf_counter()
            images, w = render()
            seconds = time.perf_counter() - started
            return Arrival(images.cpu(), w, lambda: (seconds, 0.0))
        return self._send_from_gpu(render, self._copies)

    def _send_from_gpu(
        self, render: Callable[[], tuple[torch.Tensor, torch.Tensor | None]], copies: torch.cuda.Stream
    ) -> Arrival:
        import torch

        begun, rendered = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        arrived = torch.cuda.Event(enable_timing=True, blocking=True)  # who waits for it sleeps, leaving the core free
        with torch.cuda.device(self._device):
            started = time.perf_counter()
            begun.record()
            images, w = render()
            if images.device.type == "cpu":  # a generator without a network
                seconds = time.perf_counter() - started
                return Arrival(images, w if w is None else w.cpu(), lambda: (seconds, 0.0))
            rendered.record()
            with torch.cuda.stream(copies):
                copies.wait_event(rendered)
                images, w = _to_host(images, copies), w if w is None else _to_host(w, copies)
                arrived.record()

        def wait() -> tuple[float, float]:
            with torch.cuda.device(self._device):  # any thread may wait
                arrived.synchronize()
            return begun.elapsed_time(rendered) / 1000, rendered.elapsed_time(arrived) / 1000

        return Arrival(images, w, wait)


def _to_host(tensor: torch.Tensor, stream: torch.cuda.Stream) -> torch.Tensor:
    """Begin to copy a tensor on the current stream."""
    import torch

    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)  # its memory must not be used again before the copy is done
    return host
