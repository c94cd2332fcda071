"""Datasets of gansynth as an iterable PyTorch dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

from gansynth.errors import InputError
from gansynth.loaders.arguments import Place, one_of, places, whole_number
from gansynth.loaders.catalogue import Catalogue, look_up
from gansynth.loaders.epochs import EpochDataset, Sample
from gansynth.loaders.images import ImageKind, to_image
from gansynth.loaders.order import Order, Reader, Uneven, deal, require_enough, share
from gansynth.loaders.read import Samples

Split = Literal["train", "val", "test"]


def open_dataset(
    url: Place | Sequence[Place],
    split: Split = "train",
    *,
    where: str | None = None,
    columns: Sequence[str] = (),
    image: ImageKind = "tensor",
    transform: Callable[[Any], Any] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    batch_size: int = 1,
    uneven: Uneven | None = None,
    mixed_shards: int = 8,
    unfinished: bool = False,
) -> SynthesizedDataset:
    """Open one or several datasets for training.

    >>> dataset = open_dataset("datasets/demo", where="truncation <= 0.6", columns=["z"])      # doctest: +SKIP
    >>> for batch in torch.utils.data.DataLoader(dataset, batch_size=64, num_workers=2): ...   # doctest: +SKIP

    Args:
        url: folder (a text or a path) or fsspec URL of a dataset, or a list of them.
        split: train, val or test.
        where: a condition on manifest columns in Python's syntax, such as "truncation <= 0.6 and class_name != 'Bag'".
            Manifests are filtered by it before a tar is touched. Rejected samples are left out in any case.
        columns: manifest columns that samples are to have besides image and label, such as "z", "seed" or "class_name".
        image: what images are: "tensor" (uint8 [3, h, w]), "pil" or "bytes" (as stored).
        transform: applied to each image.
        shuffle: a new order every epoch; off, the order of the shards.
        seed: of all orders, a whole number from 0; the same for all ranks.
        batch_size: of the DataLoader. Workers are then given whole batches, so that one batch an epoch may be short, not one
            a worker, and `len(loader)` is right.
        uneven: what to do if ranks do not divide the samples evenly. "exact": every sample once, so some ranks have one
            more. "drop": leave some out. "pad": read some twice. Default: "pad" where there are several ranks, which
            would else wait for each other forever, "exact" where there is one.
        mixed_shards: how many shards a worker has open at a time, mixing their samples.
        unfinished: accept a dataset of which shards are missing, and read those that exist.

    Raises:
        InputError: there is no such dataset or split, it is unfinished, the condition or a column does not fit it, nothing
            fits the condition, images differ in size (and no transform can make them equal), or an argument is none of
            what is listed here.
        StoreError: storage cannot be reached, or a file is missing or has another size than was written.
    """
    one_of("image", image, ImageKind)
    if uneven is not None:
        one_of("uneven", uneven, Uneven)
    seed, batch_size = whole_number("seed", seed, 0), whole_number("batch_size", batch_size, 1)
    mixed_shards = whole_number("mixed_shards", mixed_shards, 1)
    catalogue = look_up(places("url", url), split, where, unfinished)
    unknown = [name for name in columns if name not in catalogue.schema.names]
    if unknown:
        raise InputError(
            f"columns: saw {unknown[0]!r}, which manifests do not have; they have {', '.join(catalogue.schema.names)}"
        )
    if catalogue.resolution is None and image == "tensor" and transform is None:
        raise InputError(
            "url: the datasets' images differ in size, so they cannot be put into batches; pass a transform that makes them equal"
        )
    order = Order([shard.count for shard in catalogue.shards], shuffle, seed, mixed_shards)
    return SynthesizedDataset(catalogue, order, columns, image, transform, batch_size, uneven)


class SynthesizedDataset(EpochDataset):
    """Samples of datasets: {"image", "label" (int), and the columns asked for}. Made by `open_dataset`.

    Attributes:
        catalogue: what there is to read.
        order: of an epoch.
        image: what images are.
        batch_size: of the DataLoader.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        order: Order,
        columns: Sequence[str],
        image: ImageKind,
        transform: Callable[[Any], Any] | None,
        batch_size: int,
        uneven: Uneven | None,
    ) -> None:
        super().__init__(uneven)
        self.catalogue, self.order, self.image, self.batch_size = catalogue, order, image, batch_size
        self._columns, self._transform = tuple(columns), transform

    @property
    def class_names(self) -> dict[int, str]:
        """Label -> name of each class of which there are samples; labels are those of the whole dataset."""
        return self.catalogue.class_names

    def __len__(self) -> int:
        """Samples of an epoch for this rank, over all its workers."""
        reader = self._ranks.reader()
        return share(len(self.order), reader, self._rule(reader))[1]

    @contextmanager
    def reading(self, remembered: int = 0) -> Iterator[Callable[[int, int], Sample]]:
        """Gives what reads a sample by shard and position among the shard's samples that fit.

        Args:
            remembered: bytes of stored images to keep, for samples that are read again soon.
        """
        stored = Samples(self.catalogue, self._columns, self.order.mixed_shards)
        image_bytes = sum(shard.tar_bytes for shard in self.catalogue.shards) / len(self.order)
        fetch = lru_cache(int(remembered / image_bytes))(stored.read)

        def read(shard: int, row: int) -> Sample:
            data, values = fetch(shard, row)
            image = to_image(data, values["format"], self.image, values["key"])
            kept = {name: _as_tensor(values[name]) for name in self._columns}
            return {"image": self._transform(image) if self._transform else image, "label": values["label"], **kept}

        try:
            yield read
        finally:
            stored.close()

    def _samples(self, reader: Reader, epoch: int, skip: int) -> Iterator[Sample]:
        with self.reading() as read:
            for shard, row in self.order.samples(epoch, *self._part(reader), skip):
                yield read(shard, row)

    def _count(self, reader: Reader, epoch: int) -> int:
        return self._part(reader)[1]

    def _part(self, reader: Reader) -> tuple[int, int]:
        """Where a process's samples begin in an epoch's sequence, and how many there are."""
        rule = self._rule(reader)
        require_enough(len(self.order), reader, rule)
        return deal(*share(len(self.order), reader, rule), reader, self.batch_size)

    def _layout(self, reader: Reader) -> dict[str, Any]:
        order = self.order
        return {
            "samples": len(order),
            "shards": len(order.counts),
            "digest of the samples": self.catalogue.digest,
            "shuffle": order.shuffle,
            "seed": order.seed,
            "mixed_shards": order.mixed_shards,
            "batch_size": self.batch_size,
        }


def _as_tensor(value: Any) -> Any:
    """A vector as a tensor of its own; anything else as it is."""
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
