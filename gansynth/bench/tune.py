"""Which batch size and number of torch threads render the most images on this machine with all of its cores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from threading import BrokenBarrierError
from typing import Any

from gansynth.bench.network import seconds_of
from gansynth.bench.subject import Subject, prepared
from gansynth.environment import cores
from gansynth.errors import RenderError
from gansynth.sampling import reproducible

BATCH_SIZES = {"cpu": (1, 2, 4, 8, 16, 32), "cuda": (8, 16, 32, 64, 128, 256)}
_AS_GOOD = 0.98


@dataclass(frozen=True)
class Trial:
    """What so many workers at a time reach together.

    Args:
        batch_size, threads: as in a recipe.
        workers: processes at work.
        images_per_second: of all of them; 0 if the batch does not fit into memory.
    """

    batch_size: int
    threads: int
    workers: int
    images_per_second: float


def tune(
    name: str,
    device: str,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    *,
    seconds: float = 3.0,
    **keys: Any,
) -> Trial:
    """Try batch sizes, and on a CPU all ways to share the cores among workers as flows do.

    Args:
        name: a generator as in a recipe.
        device: torch device.
        on_trial: called with each result.
        seconds: about how long each trial takes.
        keys: precision and compile as in a recipe.

    Returns:
        of the trials within 2 % of the fastest the one with the fewest threads and the smallest batch.

    Raises:
        InputError: no such generator.
        RenderError: nothing could be rendered.
    """
    trials: list[Trial] = []
    for threads in _divisors(cores()) if device == "cpu" else [1]:
        for trial in _trials(name, device, threads, cores() // threads if device == "cpu" else 1, seconds, keys):
            on_trial(trial)
            trials.append(trial)
    best = max(trial.images_per_second for trial in trials)
    if not best:
        raise RenderError(f"{name}: not even the smallest batch fits into the memory of {device}; use a larger device")
    good = (trial for trial in trials if trial.images_per_second >= _AS_GOOD * best)
    return min(good, key=lambda trial: (trial.threads, trial.batch_size))


def _divisors(count: int) -> list[int]:
    return [number for number in range(1, count + 1) if count % number == 0]


def _trials(
    name: str, device: str, threads: int, workers: int, seconds: float, keys: dict[str, Any]
) -> Iterator[Trial]:
    # Processes of their own, started anew: torch's thread pools do not shrink, and workers of a flow are processes too.
    context = multiprocessing.get_context("spawn")
    sizes = BATCH_SIZES["cpu" if device == "cpu" else "cuda"]
    keys = {**keys, "threads": threads, "batch_size": sizes[0]}
    with ProcessPoolExecutor(workers, context, _enter, (context.Barrier(workers),)) as pool:
        futures = [pool.submit(_rates, name, device, sizes, seconds, keys) for _ in range(workers)]
        rates = _results(futures) or [[0.0] * len(sizes)]
    for size, of_size in zip(sizes, zip(*rates, strict=True), strict=True):
        yield Trial(size, threads, workers, round(sum(of_size), 3) if all(of_size) else 0.0)


def _results(futures: list[Future[list[float]]]) -> list[list[float]] | None:
    """What the workers found; None if one was killed, as where so many do not fit into memory together."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    if any(isinstance(error, BrokenProcessPool) for error in errors):
        return None
    for error in errors:
        if not isinstance(error, BrokenBarrierError):  # which the others end with when one fails
            raise error
    return [future.result() for future in futures]


# In the workers

_barrier: Any = None


def _enter(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _rates(name: str, device: str, sizes: tuple[int, ...], seconds: float, keys: dict[str, Any]) -> list[float]:
    """Images/s of this worker for each batch size while all others are at work; 0 where memory does not suffice."""
    try:
        with prepared(name, device, with_reference=False, **keys) as subject, reproducible(keys["threads"]):
            return [_rate(subject.of_batch_size(size), seconds) for size in sizes]
    except BaseException:
        _barrier.abort()
        raise


def _rate(subject: Subject, seconds: float) -> float:
    import torch

    def batches(count: int) -> float:
        batch = subject.batch()
        return seconds_of(lambda: [subject.generator.sample(*batch) for _ in range(count)], subject.device)

    count = 0
    with suppress(torch.OutOfMemoryError):
        count = max(2, round(seconds / min(batches(1), batches(1))))
    _barrier.wait()
    with suppress(torch.OutOfMemoryError):
        return count * subject.recipe.batch_size / batches(count) if count else 0.0
    return 0.0
