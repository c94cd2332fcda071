"""Real and synthetic images in one dataset, at a share that may change with time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, count, islice, repeat
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from gansynth.errors import InputError
from gansynth.loaders.arguments import one_of
from gansynth.loaders.blend import Blend, Bools, Ratio, Schedule
from gansynth.loaders.dataset import SynthesizedDataset
from gansynth.loaders.epochs import EpochDataset, Sample
from gansynth.loaders.images import form
from gansynth.loaders.order import Reader, Uneven, deal, share
from gansynth.loaders.pools import Pools
from gansynth.loaders.real import Real, RealDataset, RealFiles, RealStream
from gansynth.mirror import local_path

_REAL = 10  # purpose of a stream of random numbers; order.py and pools.py have others
_CYCLE = 1 << 32  # between the orders of one epoch's passes over the synthetic samples


def mix(
    real: Any,
    synthetic: SynthesizedDataset,
    *,
    ratio: Ratio = 0.5,
    schedule: Schedule = "epoch",
    balance: bool = False,
    class_names: Sequence[str] | None = None,
    transform: Callable[[Any], Any] | None = None,
    uneven: Uneven | None = None,
) -> MixedDataset:
    """Mix real images with a dataset of gansynth.

    >>> dataset = mix("photos", open_dataset("datasets/more-photos", batch_size=64), ratio=0.5)   # doctest: +SKIP

    An epoch has every real image once, and as many synthetic ones between them as the ratio asks for: other ones every epoch,
    and the same again if there are not enough.

    Args:
        real: a folder of images with a sub-folder for each class (or a zip of such, IDX or npz files), or the URL of one,
            of which a local copy is kept; a PyTorch dataset with a length, of (image, label); or an iterable of these such
            as a WebDataset, which has to deal itself out to ranks and workers. Images are made square and of the synthetic
            ones' size, but for tensors, which stay as they are. Going on in the middle of an epoch is exact with a stream
            that gives the same order again for an epoch, which it is told by `set_epoch` if it has that; one that shuffles
            without a seed repeats some samples and leaves others out.
        synthetic: from `open_dataset`; its `batch_size`, `image` and `seed` hold for the mixture.
        ratio: share of synthetic samples: a number from 0 to 1; a mapping such as {0: 0.8, 30: 0.2}, with straight lines
            between; or a function.
        schedule: what such a mapping or function goes by: the epoch, or the step (batches of this rank).
        balance: give every class equally often, from either side; real images of rare classes then come several times.
        class_names: names of the real classes in the order of their labels, where the data has none of its own.
        transform: applied to all images, which have to be of one dtype before it: real tensors with values from 0 to 1 do not
            go with synthetic ones from 0 to 255.
        uneven: as in `open_dataset`, for the real images.

    Raises:
        InputError: class names do not match, there are no real images, or what is asked for cannot be had from a stream.
            While reading: real tensors are of another dtype or shape than the synthetic ones, or an image cannot be used.
    """
    if synthetic.catalogue.resolution is None or synthetic.image == "bytes":
        raise InputError('synthetic: images of one size, as "tensor" or "pil", are needed; open the dataset so')
    one_of("schedule", schedule, Schedule)
    if uneven is not None:
        one_of("uneven", uneven, Uneven)
    blend = Blend(ratio, schedule, synthetic.batch_size)
    blend.share(0)
    found = _real(real, synthetic, class_names)
    labels = _numbering(found, synthetic)
    if isinstance(found, RealStream) and (balance or schedule == "step"):
        what = "balance" if balance else "schedule by step"
        raise InputError(
            f"{what}: needs real images that can be counted, and a stream cannot; give a folder, or a dataset with a length"
        )
    if not isinstance(found, RealStream) and not len(found):
        raise InputError("real: holds no image; check the path, or leave mixing out")
    return MixedDataset(found, synthetic, blend, labels, balance, transform, uneven)


def _real(real: Any, synthetic: SynthesizedDataset, class_names: Sequence[str] | None) -> Real | RealStream:
    arguments: Any = (synthetic.catalogue.resolution, synthetic.image, class_names)
    if isinstance(real, str | os.PathLike):
        return RealFiles(local_path(os.fspath(real)), *arguments)
    if isinstance(real, IterableDataset):  # some have a length all the same, and a __getitem__ that only raises
        return RealStream(real, *arguments)
    if hasattr(real, "__getitem__") and hasattr(real, "__len__"):
        return RealDataset(real, *arguments)
    if hasattr(real, "__iter__"):
        return RealStream(real, *arguments)
    raise InputError(
        f"real: saw {type(real).__name__}; give a folder, a PyTorch dataset, or an iterable of (image, label)"
    )


def _numbering(real: Real | RealStream, synthetic: SynthesizedDataset) -> dict[int, int]:
    """Label of each synthetic class in the real data's numbering."""
    names, made = list(real.class_names), synthetic.class_names
    if made and not names:
        raise InputError(
            f"class_names: the real images have none, so nothing tells which of them is {next(iter(made.values()))!r}; pass "
            f"class_names, in the order of the labels"
        )
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"class_names: {repeated!r} is there twice; name every class differently")
    if foreign := [name for name in made.values() if name not in names]:
        raise InputError(
            f"class_names: the synthetic class {foreign[0]!r} is none of the real ones ({', '.join(names[:8])}{', ...' * (len(names) > 8)}); "
            f"pass class_names that agree, or leave it out with `where`"
        )
    labels = {label: names.index(name) for label, name in made.items()}
    if synthetic.catalogue.unlabelled:
        if len(names) > 1:
            raise unlabelled(
                f"the real ones have {len(names)} classes ({', '.join(names[:8])}{', ...' * (len(names) > 8)})"
            )
        labels[0] = 0
    return labels


def unlabelled(seen: str) -> InputError:
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

    def __len__(self) -> int:
        """Samples of the next epoch for this rank, over all its workers. Raises TypeError for a stream."""
        reader = self._ranks.reader()
        epoch = self._epochs.current(reader)
        counts = [self._count(worker, epoch) for worker in reader.siblings()]
        if None in counts:
            raise TypeError("the length of a stream is known at its end only")
        return sum(count or 0 for count in counts)

    def _samples(self, reader: Reader, epoch: int, skip: int) -> Iterator[Sample]:
        places = self._places(reader, epoch)
        skipped = list(islice(places, skip))
        stream: Iterator[tuple[Any, int]] = iter(())
        if isinstance(self._real, RealStream):
            stream = islice(self._real.samples(epoch), sum(1 for place in skipped if place is None), None)
        forms: dict[bool, str] = {}
        with self._synthetic.reading() as read:
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
        flags = chain.from_iterable(batch.tolist() for batch in self._batches(reader, epoch))
        seed = self._order.seed
        if self._pools is not None:
            yield from self._pools.places(flags, [seed, epoch], reader)
            return
        synthetic = self._synthetic_places(reader, epoch)
        real: Iterator[int | None] = repeat(None)
        if not isinstance(self._real, RealStream):
            order = np.random.default_rng([_REAL, seed, epoch]).permutation(len(self._real))
            first, size = self._real_part(reader)
            real = iter(order[np.arange(first, first + size) % len(order)].tolist())
        for flag in flags:
            yield next(synthetic) if flag else next(real)

    def _synthetic_places(self, reader: Reader, epoch: int) -> Iterator[tuple[int, int]]:
        part = self._synthetic_part(reader)
        for cycle in count():
            yield from self._order.samples(epoch + cycle * _CYCLE, *part)

    def _batches(self, reader: Reader, epoch: int) -> Iterator[Bools]:
        real = math.inf if isinstance(self._real, RealStream) else self._real_part(reader)[1]
        first_step = self._steps_before(reader, epoch) if self._blend.schedule == "step" else 0
        return self._blend.batches(reader, epoch, first_step, real, self._synthetic_part(reader)[1])

    def _steps_before(self, reader: Reader, epoch: int) -> int:
        """Batches of this rank in earlier epochs, which had shares of their own."""
        steps = 0
        for earlier in range(epoch):
            parts = [
                (worker, self._real_part(worker)[1], self._synthetic_part(worker)[1]) for worker in reader.siblings()
            ]
            steps += sum(sum(1 for _ in self._blend.batches(w, earlier, steps, *sizes)) for w, *sizes in parts)
        return steps

    def _count(self, reader: Reader, epoch: int) -> int | None:
        return None if isinstance(self._real, RealStream) else sum(map(len, self._batches(reader, epoch)))

    def _real_part(self, reader: Reader) -> tuple[int, int]:
        size = 0 if isinstance(self._real, RealStream) else len(self._real)
        return deal(*share(size, reader, self._rule(reader)), reader, 1)

    def _synthetic_part(self, reader: Reader) -> tuple[int, int]:
        """A part for every process; where there are more processes than samples, all of them."""
        first, size = deal(*share(len(self._order), reader, "pad"), reader, 1)
        return (first, size) if size else (0, len(self._order))

    def _layout(self, reader: Reader) -> dict[str, Any]:
        real = "a stream" if isinstance(self._real, RealStream) else len(self._real)
        return {
            "real": real,
            "samples": len(self._order),
            "digest of the samples": self._synthetic.catalogue.digest,
            "ratio": str(self._blend),
            "seed": self._order.seed,
            "mixed_shards": self._order.mixed_shards,
            "batch_size": self._blend.batch_size,
            "balance": self._pools is not None,
        }
