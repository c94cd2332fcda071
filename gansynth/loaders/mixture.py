"""The samples of a mixture: epochs of whole batches, dealt to ranks and workers, that can be gone on with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from gansynth.errors import InputError
from gansynth.loaders.blend import Blend, Bools, Turns, turns
from gansynth.loaders.dataset import SynthesizedDataset
from gansynth.loaders.epochs import EpochDataset, Sample
from gansynth.loaders.images import form
from gansynth.loaders.order import CYCLE, Reader, Uneven, deal, require_enough, share
from gansynth.loaders.pools import Pools
from gansynth.loaders.real import Real, RealStream

_REAL = 10  # purpose of a stream of random numbers; order.py and pools.py have others
_REMEMBERED = 64 << 20  # bytes of stored images a process, where rare classes are given again and again


def unlabelled(seen: str) -> InputError:
    """The error of synthetic images without a class among real ones of several."""
    return InputError(
        f"synthetic: images of an unconditional generator have no class, but {seen}; take real images of one class, or a dataset "
        f"of a conditional generator"
    )


class MixedDataset(EpochDataset):
    """Samples {"image", "label" (int, in the real data's numbering), "is_synthetic" (bool)}. Made by `mix`.

    Attributes:
        class_names: label -> name of the class.
    """

    def __init__(
        self,
        real: Real | RealStream,
        synthetic: SynthesizedDataset,
        blend: Blend,
        labels: dict[int, int],
        balance: bool,
        transform: Callable[[Any], Any] | None,
        uneven: Uneven | None,
    ) -> None:
        super().__init__(uneven)
        self.class_names = dict(enumerate(real.class_names))
        self._real, self._synthetic, self._blend = real, synthetic, blend
        self._labels, self._transform = labels, transform
        self._order = replace(synthetic.order, shuffle=True)
        self._pools = None if isinstance(real, RealStream) or not balance else Pools(real, synthetic, labels)
        self._steps: dict[tuple[int, int], list[int]] = {}

    def __len__(self) -> int:
        """Samples of the next epoch for this rank, over all its workers. Raises TypeError for a stream."""
        if isinstance(self._real, RealStream):
            raise TypeError("the length of a stream is known at its end only")
        reader = self._ranks.reader()
        return len(self._flags(self._real, reader, self._epochs.current(reader)))

    def _samples(self, reader: Reader, epoch: int, skip: int) -> Iterator[Sample]:
        places = self._places(reader, epoch)
        skipped = list(islice(places, skip))
        stream: Iterator[tuple[Any, int]] = iter(())
        if isinstance(self._real, RealStream):
            stream = islice(self._real.samples(epoch), sum(1 for place in skipped if place is None), None)
        forms: dict[bool, str] = {}
        with self._synthetic.reading(_REMEMBERED if self._pools else 0) as read:
            for place in places:
                if isinstance(place, tuple):
                    sample = read(*place)
                    found = sample["image"], self._labels[sample["label"]]
                elif (taken := self._read_real(place, stream)) is not None:
                    found = taken
                else:
                    return
                yield self._sample(*found, isinstance(place, tuple), forms)

    def _read_real(self, place: int | None, stream: Iterator[tuple[Any, int]]) -> tuple[Any, int] | None:
        if place is None or isinstance(self._real, RealStream):
            return next(stream, None)
        return self._real.read(place)

    def _sample(self, image: Any, label: int, synthetic: bool, forms: dict[bool, str]) -> Sample:
        """A sample; `forms` has the form of the last image of either side."""
        if label and self._synthetic.catalogue.unlabelled:
            raise unlabelled(f"a real one has label {label}")
        forms[synthetic] = form(image, with_shape=self._transform is None)
        if len(set(forms.values())) > 1:
            raise InputError(
                f"real: the images are {forms[False]}, but the synthetic ones {forms[True]}, and a batch cannot hold both; let the "
                f"real data give PIL images, or uint8 tensors of that size, with a transform for both in mix, or pass open_dataset "
                f"a transform that makes of the synthetic images what the real ones are"
            )
        return {
            "image": self._transform(image) if self._transform else image,
            "label": label,
            "is_synthetic": synthetic,
        }

    # Which sample comes when: a real one by its index (None: the next of the stream), a synthetic one by shard and row

    def _places(self, reader: Reader, epoch: int) -> Iterator[int | tuple[int, int] | None]:
        if isinstance(self._real, RealStream):
            return self._stream_places(reader, epoch)
        mine = self._turns(self._real, reader, epoch)
        if self._pools is not None:
            return self._pools.places(mine.flags.tolist(), epoch, reader)
        order = np.random.default_rng([_REAL, self._order.seed, epoch]).permutation(len(self._real))
        first, _ = share(len(self._real), reader, self._rule(reader))
        real = iter(order[(first + mine.real) % len(order)].tolist())
        wanted = int(mine.flags.sum())
        synthetic = self._cycle(epoch, *share(len(self._order), reader, "pad"), mine.synthetic, wanted)
        return (next(synthetic) if flag else next(real) for flag in mine.flags.tolist())

    def _stream_places(self, reader: Reader, epoch: int) -> Iterator[tuple[int, int] | None]:
        """Without an end, which is the stream's; each process has a part of the synthetic samples, or all if they are too few."""
        first, size = deal(*share(len(self._order), reader, "pad"), reader, 1)
        part = (first, size) if size else (0, len(self._order))
        flags = chain.from_iterable(run.tolist() for run in self._blend.runs(epoch, 0, math.inf, part[1]))
        synthetic, real = self._cycle(epoch, *part, 0, math.inf), repeat(None)
        return (next(synthetic) if flag else next(real) for flag in flags)

    def _cycle(self, epoch: int, first: int, size: int, start: int, wanted: float) -> Iterator[tuple[int, int]]:
        """So many synthetic samples from a position on, in a part of the sequence that is gone through in another order each time."""
        while wanted > 0:
            cycle, offset = divmod(start, size)
            taken = int(min(size - offset, wanted))
            yield from self._order.samples(epoch + cycle * CYCLE, first + offset, taken)
            start, wanted = start + taken, wanted - taken

    def _turns(self, real: Real, reader: Reader, epoch: int) -> Turns:
        return turns(self._flags(real, reader, epoch), self._blend.batch_size, reader)

    def _flags(self, real: Real, reader: Reader, epoch: int) -> Bools:
        """Which samples of a rank's epoch are synthetic."""
        step = self._steps_before(real, reader, epoch) if self._blend.schedule == "step" else 0
        return self._flags_from(step, real, reader, epoch)

    def _flags_from(self, step: int, real: Real, reader: Reader, epoch: int) -> Bools:
        rule = self._rule(reader)
        require_enough(len(real), reader, rule)
        sizes = share(len(real), reader, rule)[1], share(len(self._order), reader, "pad")[1]
        return self._blend.flags(epoch, step, *sizes)

    def _steps_before(self, real: Real, reader: Reader, epoch: int) -> int:
        """Batches of this rank in earlier epochs, which had shares of their own."""
        known = self._steps.setdefault((reader.rank, reader.ranks), [0])
        while len(known) <= epoch:
            samples = len(self._flags_from(known[-1], real, reader, len(known) - 1))
            known.append(known[-1] + math.ceil(samples / self._blend.batch_size))
        return known[epoch]

    def _count(self, reader: Reader, epoch: int) -> int | None:
        return None if isinstance(self._real, RealStream) else len(self._turns(self._real, reader, epoch).flags)

    def _layout(self, reader: Reader) -> dict[str, Any]:
        return {
            "real": "a stream" if isinstance(self._real, RealStream) else len(self._real),
            "samples": len(self._order),
            "digest of the samples": self._synthetic.catalogue.digest,
            "ratio": str(self._blend),
            "seed": self._order.seed,
            "mixed_shards": self._order.mixed_shards,
            "batch_size": self._blend.batch_size,
            "balance": self._pools is not None,
        }
