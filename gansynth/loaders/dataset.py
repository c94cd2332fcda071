"""Datasets of gansynth as an iterable PyTorch dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch.utils.data import IterableDataset

from gansynth.errors import InputError
from gansynth.loaders.catalogue import Catalogue, look_up
from gansynth.loaders.images import ImageKind, to_image
from gansynth.loaders.order import Order, Reader, Uneven, deal, require_enough, share
from gansynth.loaders.processes import Epochs, Ranks
from gansynth.loaders.read import Samples

Sample = dict[str, Any]
Split = Literal["train", "val", "test"]


def open_dataset(
    url: str | Sequence[str],
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
        url: folder or fsspec URL of a dataset, or a list of them.
        split: train, val or test.
        where: a condition on manifest columns in Python's syntax, such as "truncation <= 0.6 and class_name != 'Bag'".
            Manifests are filtered by it before a tar is touched. Rejected samples are left out in any case.
        columns: manifest columns that samples are to have besides image and label, such as "z", "seed" or "class_name".
        image: what images are: "tensor" (uint8 [3, h, w]), "pil" or "bytes" (as stored).
        transform: applied to each image.
        shuffle: a new order every epoch; off, the order of the shards.
        seed: of all orders; the same for all ranks.
        batch_size: of the DataLoader. Workers are then given whole batches, so that one batch an epoch may be short, not one
            a worker, and `len(loader)` is right.
        uneven: what to do if ranks do not divide the samples evenly. "exact": every sample once, so some ranks have one
            more. "drop": leave some out. "pad": read some twice. Default: "pad" where there are several ranks, which
            would else wait for each other forever, "exact" where there is one.
        mixed_shards: how many shards a worker has open at a time, mixing their samples.
        unfinished: accept a dataset of which shards are missing, and read those that exist.

    Raises:
        InputError: there is no such dataset or split, it is unfinished, the condition or a column does not fit it, nothing
            fits the condition, or images differ in size (and no transform can make them equal).
        StoreError: storage cannot be reached, or a file is missing or has another size than was written.
    """
    catalogue = look_up([url] if isinstance(url, str) else list(url), split, where, unfinished)
    unknown = [name for name in columns if name not in catalogue.schema.names]
    if unknown:
        raise InputError(
            f"columns: saw {unknown[0]!r}, which manifests do not have; they have {', '.join(catalogue.schema.names)}"
        )
    if catalogue.resolution is None and image == "tensor" and transform is None:
        raise InputError(
            "url: the datasets' images differ in size, so they cannot be put into batches; pass a transform that makes them equal"
        )
    for name, value in (("batch_size", batch_size), ("mixed_shards", mixed_shards)):
        if value < 1:
            raise InputError(f"{name}: saw {value}; it is a whole number from 1")
    order = Order([shard.count for shard in catalogue.shards], shuffle, seed, mixed_shards)
    return SynthesizedDataset(catalogue, order, columns, image, transform, batch_size, uneven)


class SynthesizedDataset(IterableDataset[Sample]):
    """Samples of datasets: {"image", "label" (int), and the columns asked for}. Made by `open_dataset`.

    Ranks of torch.distributed and workers of a DataLoader read parts of their own, whatever the number of shards. Epochs
    count themselves when iterated to the end; `set_epoch` begins another. `state_dict` and `load_state_dict` go on in the
    middle of an epoch, through torchdata's StatefulDataLoader with workers too.

    Attributes:
        class_names: label -> name.
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
        self.catalogue, self.order = catalogue, order
        self.class_names = catalogue.class_names
        self._columns, self._image, self._transform = tuple(columns), image, transform
        self._batch_size, self._uneven = batch_size, uneven
        self._epochs, self._ranks = Epochs(), Ranks()
        self._position = 0  # samples of the epoch that this process has given
        self._epoch = 0
        self._resuming = False

    def __len__(self) -> int:
        """Samples of an epoch for this rank, over all its workers."""
        reader = self._ranks.reader()
        return share(len(self.order), reader, self._rule(reader))[1]

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch next; not needed where epochs follow each other."""
        self._epochs.set(epoch)

    def __iter__(self) -> Iterator[Sample]:
        reader = self._ranks.reader()
        first, count = self._part(reader)
        if not self._resuming:
            self._epoch, self._position = self._epochs.current(reader), 0
        self._resuming = False
        samples = Samples(self.catalogue, self._columns, self.order.mixed_shards)
        try:
            for shard, row in self.order.samples(self._epoch, first, count, self._position):
                sample = self._sample(samples, shard, row)
                self._position += 1
                yield sample
        finally:
            samples.close()
        self._epochs.finish(reader, self._epoch)
        if reader.workers == 1:  # others may not be done, and a worker that is has nothing more to give in this epoch
            self._epoch, self._position = self._epoch + 1, 0

    def _part(self, reader: Reader) -> tuple[int, int]:
        """Where this process's samples begin in the epoch's sequence, and how many there are."""
        rule = self._rule(reader)
        require_enough(len(self.order), reader, rule)
        return deal(*share(len(self.order), reader, rule), reader, self._batch_size)

    def _rule(self, reader: Reader) -> Uneven:
        return self._uneven or ("pad" if reader.ranks > 1 else "exact")

    def _sample(self, samples: Samples, shard: int, row: int) -> Sample:
        data, values = samples.read(shard, row)
        image = to_image(data, values["format"], self._image, values["key"])
        kept = {
            name: torch.from_numpy(values[name].copy()) if name in ("z", "w") else values[name]
            for name in self._columns
        }
        return {"image": self._transform(image) if self._transform else image, "label": values["label"], **kept}

    def state_dict(self) -> dict[str, Any]:
        """Where this process is in the epoch."""
        return {"epoch": self._epoch, "position": self._position, "layout": self._layout()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another process was that read the same part.

        Raises:
            InputError: the state is of other datasets, or of another number of ranks or workers.
        """
        if state["layout"] != self._layout():
            raise InputError(
                f"state: was saved by {state['layout']}, but here is {self._layout()}; go on with the same datasets, settings, ranks "
                f"and workers, or begin a new epoch"
            )
        self._epoch, self._position, self._resuming = state["epoch"], state["position"], True
        reader = self._ranks.reader()
        finished = self._position == self._part(reader)[1]
        self._epochs.note(reader, self._epoch + finished)  # a loader that was at its end begins the next epoch

    def _layout(self) -> dict[str, Any]:
        reader, order = self._ranks.reader(), self.order
        return {
            "samples": len(order),
            "shards": len(order.counts),
            "shuffle": order.shuffle,
            "seed": order.seed,
            "mixed_shards": order.mixed_shards,
            "batch_size": self._batch_size,
            "uneven": self._rule(reader),
            "rank": reader.rank,
            "ranks": reader.ranks,
            "worker": reader.worker,
            "workers": reader.workers,
        }
