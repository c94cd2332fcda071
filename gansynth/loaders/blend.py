"""When to take a real image and when a synthetic one: the arithmetic of mixing, without any image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gansynth.errors import InputError
from gansynth.loaders.order import Reader

Ratio = float | Mapping[int, float] | Callable[[int], float]
Schedule = Literal["epoch", "step"]
Bools = npt.NDArray[np.bool_]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Blend:
    """A share of synthetic samples that may change with time.

    Args:
        ratio: share of synthetic samples in [0, 1]: a number; a mapping from epochs (or steps) to shares, with straight lines
            between them and the outermost ones before and after; or a function of the epoch (or step).
        schedule: what the ratio goes by, epochs or steps. A step is a batch of this rank.
        batch_size: of the DataLoader.
    """

    ratio: Ratio
    schedule: Schedule
    batch_size: int

    def __str__(self) -> str:
        """For comparing: of functions nothing can be said but that they are."""
        if callable(self.ratio):
            return f"a function of the {self.schedule}"
        if isinstance(self.ratio, Mapping):
            return f"{ {when: float(share) for when, share in sorted(self.ratio.items())} } by {self.schedule}"
        return f"{float(self.ratio):g}"

    def share(self, when: int) -> float:
        """The share at an epoch or step. Raises InputError unless it is in [0, 1]."""
        found: object = self.ratio(when) if callable(self.ratio) else self.ratio
        try:
            if isinstance(found, Mapping):
                points = sorted(found.items())
                found = np.interp(when, [x for x, _ in points], [y for _, y in points])
            share = float(found)  # type: ignore[arg-type]  # what is no number is told below
        except (TypeError, ValueError):
            share = math.nan
        if not 0 <= share <= 1:
            seen = repr(found) if math.isnan(share) else f"{share:g}"
            raise InputError(
                f"ratio: saw {seen}; it is the share of synthetic samples, from 0 to 1, or such shares by {self.schedule}"
            )
        return share

    def batches(self, reader: Reader, epoch: int, first_step: int, real: float, synthetic: int) -> Iterator[Bools]:
        """Which samples of each batch of a worker are synthetic; the shares are kept from batch to batch.

        Args:
            reader: the worker: steps go from worker to worker in turn, as a DataLoader takes batches.
            epoch: from 0.
            first_step: steps that this rank has done before this epoch.
            real: real samples of this worker, after which the epoch ends.
            synthetic: its synthetic samples: while nothing else is wanted, the epoch ends after these.
        """
        owed, alone, number = 0.0, 0, 0
        while real > 0:
            step = first_step + number * reader.workers + reader.worker
            share = self.share(epoch if self.schedule == "epoch" else step)
            total = owed + share * np.arange(self.batch_size + 1) + _ROUNDING
            chosen = np.diff(np.floor(total)) > 0
            owed = float(total[-1] - math.floor(total[-1])) - _ROUNDING
            if share == 1:
                chosen = chosen[: synthetic - alone]
                alone += len(chosen)
            reals = np.cumsum(~chosen)
            if len(reals) and reals[-1] > real:
                chosen = chosen[: int(np.searchsorted(reals, real + 1))]
            real -= int((~chosen).sum())
            if len(chosen):
                yield chosen
            number += 1
            if alone and alone == synthetic:
                return
