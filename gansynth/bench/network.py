"""The generator alone: speed and arithmetic beside its library's, the machine's best matrix product, precision."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gansynth.bench.subject import Subject

if TYPE_CHECKING:
    import torch

_MATRIX = {"cpu": (1024, 2048), "cuda": (4096, 8192)}


def wait_for(device: str) -> None:
    """Return when the device has done all that was asked of it."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(act: Callable[[], Any], device: str) -> float:
    """Wall time of an act, work on the device included."""
    wait_for(device)
    started = time.perf_counter()
    act()
    wait_for(device)
    return time.perf_counter() - started


def matrix_product_flops(device: str, precision: str) -> float:
    """FLOP/s of the fastest of some square matrix products: the peak that is within reach of any network."""
    import torch

    dtype = getattr(torch, precision)
    best = 0.0
    for size in _MATRIX[torch.device(device).type]:
        a = torch.randn(size, size, dtype=dtype, device=device)
        best = max(best, *(2 * size**3 / seconds_of(partial(torch.matmul, a, a), device) for _ in range(6)))
    return best


def flops(act: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions that an act executes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def in_place_product(_: Any, a: list[int], b: list[int], **__: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    # torch counts `addmm`, but not its in-place form; and nothing within compiled code.
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place_product})
    with torch.compiler.set_stance("force_eager"), counter:
        act()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Difference:
    """How far images of a precision are from those of float32.

    Args:
        mean, largest: of the pixels' grey levels (0 to 255).
        frechet: distance between the two sets of images, on the features named.
        features: name of the feature network.
        images: number of images.
    """

    mean: float
    largest: int
    frechet: float
    features: str
    images: int


def largest_difference(subject: Subject) -> float:
    """Largest difference between the library's images and gansynth's before they become bytes, in [-1, 1]."""
    ours: Any = subject.generator
    batch = [tensor.to(subject.device) for tensor in subject.batch()]
    return float((ours.forward(*batch) - subject.by_reference()).abs().max().item())


def precision_difference(subject: Subject, exact: Any, images: int) -> Difference:
    """Compare a generator with the same one in float32 on the same latents.

    Args:
        subject: the generator.
        exact: it in float32.
        images: at least so many, in whole batches.
    """
    import numpy as np

    from gansynth.quality.frechet import frechet_distance
    from gansynth.quality.thumbnails import NAME, features

    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    while len(pairs) * subject.recipe.batch_size < images:
        batch = subject.batch(seed=len(pairs))
        pairs.append((subject.generator.sample(*batch).cpu(), exact.sample(*batch).cpu()))
    rough, fine = (np.concatenate([pair[side].numpy() for pair in pairs]) for side in (0, 1))
    apart = np.abs(rough.astype(np.int16) - fine)
    return Difference(
        mean=float(apart.mean()),
        largest=int(apart.max()),
        frechet=frechet_distance(features(rough), features(fine)),
        features=NAME,
        images=len(rough),
    )
