"""What all datasets of this package share: epochs that count themselves, and going on in the middle of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset

from gansynth.errors import InputError
from gansynth.loaders.order import Reader, Uneven
from gansynth.loaders.processes import Epochs, Ranks

Sample = dict[str, Any]


class EpochDataset(IterableDataset[Sample], ABC):
    """Samples epoch after epoch, each in an order of its own, shared by ranks of torch.distributed and DataLoader workers.

    Epochs count themselves when iterated to the end; `set_epoch` begins another. `state_dict` and `load_state_dict` go on
    in the middle of one, by way of torchdata's StatefulDataLoader with workers too.

    Args:
        uneven: see `open_dataset`.
    """

    def __init__(self, uneven: Uneven | None) -> None:
        self._uneven = uneven
        self._epochs, self._ranks = Epochs(), Ranks()
        self._epoch, self._position, self._resuming = 0, 0, False

    @abstractmethod
    def _samples(self, reader: Reader, epoch: int, skip: int) -> Iterator[Sample]:
        """What a process reads in an epoch, without its first samples."""

    @abstractmethod
    def _count(self, reader: Reader, epoch: int) -> int | None:
        """How many samples that are; None if nobody knows before the end."""

    @abstractmethod
    def _layout(self, reader: Reader) -> dict[str, Any]:
        """What a state depends on besides the process."""

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch next; not needed where epochs follow each other."""
        self._epochs.set(epoch)

    def __iter__(self) -> Iterator[Sample]:
        # No generator: a state may be asked for before the first sample is, and has to be of this epoch.
        reader = self._ranks.reader()
        if not self._resuming:
            self._epoch, self._position = self._epochs.current(reader), 0
        self._resuming = False
        return self._read(reader, self._epoch, self._position)

    def _read(self, reader: Reader, epoch: int, skip: int) -> Iterator[Sample]:
        count = self._count(reader, epoch)
        for sample in self._samples(reader, epoch, skip):
            self._position += 1
            if self._position == count:  # a loop that knows the length, such as Lightning's, never asks for more
                self._epochs.finish(reader, epoch)
            yield sample
        self._epochs.finish(reader, epoch)
        if reader.workers == 1:  # others may not be done, and a worker that is has nothing more to give in this epoch
            self._epoch, self._position = epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Where this process is in the epoch."""
        return {"epoch": self._epoch, "position": self._position, "layout": self._arrangement()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a process was that read the same part.

        Raises:
            InputError: the state is of other datasets or settings, or of another number of ranks or workers.
        """
        here, there = self._arrangement(), state["layout"]
        if differing := [key for key in here if there.get(key) != here[key]]:
            raise InputError(
                f"state: was saved with {', '.join(f'{key} {there.get(key)}' for key in differing)}, but here is "
                f"{', '.join(f'{key} {here[key]}' for key in differing)}; go on with the same datasets, settings, ranks and "
                f"workers, or begin a new epoch"
            )
        reader = self._ranks.reader()
        self._epoch, self._position, self._resuming = state["epoch"], state["position"], True
        finished = self._position == self._count(reader, self._epoch)
        self._epochs.note(reader, self._epoch + finished)  # a loader that was at its end begins the next epoch

    def _rule(self, reader: Reader) -> Uneven:
        return self._uneven or ("pad" if reader.ranks > 1 else "exact")

    def _arrangement(self) -> dict[str, Any]:
        reader = self._ranks.reader()
        return {
            **self._layout(reader),
            "uneven": self._rule(reader),
            "rank": reader.rank,
            "ranks": reader.ranks,
            "worker": reader.worker,
            "workers": reader.workers,
        }
