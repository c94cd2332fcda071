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
_RUN = 4096


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

    def flags(self, epoch: int, first_step: int, real: int, synthetic: int) -> Bools:
        """Which samples of a rank's epoch are synthetic, bool [n]; arguments as for `runs`."""
        return np.concatenate([np.zeros(0, np.bool_), *self.runs(epoch, first_step, real, synthetic)])

    def runs(self, epoch: int, first_step: int, real: float, synthetic: int) -> Iterator[Bools]:
        """The same in pieces, for epochs of which the end is not known; the shares are kept from piece to piece.

        Args:
            epoch: from 0.
            first_step: steps that this rank has done before this epoch.
            real: real samples, after which the epoch ends; may be infinite.
            synthetic: synthetic samples: while nothing else is wanted, the epoch ends after these.
        """
        length = _RUN if self.schedule == "epoch" else self.batch_size
        owed, alone, number = 0.0, 0, 0
        while real > 0:
            share = self.share(epoch if self.schedule == "epoch" else first_step + number)
            total = owed + share * np.arange(length + 1) + _ROUNDING
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


@dataclass(frozen=True)
class Turns:
    """What one worker takes of an epoch of its rank.

    Args:
        flags: which of its samples are synthetic, bool [n].
        real: which of the rank's real samples are its own, int64 [m].
        synthetic: where its synthetic ones begin among the rank's; they follow each other, so that workers read different shards.
    """

    flags: Bools
    real: npt.NDArray[np.int64]
    synthetic: int


def turns(flags: Bools, batch_size: int, reader: Reader) -> Turns:
    """Deal a rank's batches to its workers in turn, as a DataLoader asks them, so that only the last one may be short.

    Args:
        flags: which samples of the rank's epoch are synthetic, bool [n].
        batch_size: of the DataLoader.
        reader: the worker.
    """
    worker = np.arange(len(flags)) // batch_size % reader.workers
    mine = worker == reader.worker
    real = (np.cumsum(~flags) - 1)[mine & ~flags]
    return Turns(flags[mine], real, int((flags & (worker < reader.worker)).sum()))
