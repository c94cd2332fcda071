"""A dataset on storage: which shards it has, which it lacks, and its catalogue (index files, picture and card)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from gansynth import card, manifest, record, samples
from gansynth.errors import OutputError, StoreDamaged, StoreMissing
from gansynth.index import index_files
from gansynth.plan import Plan, ShardPlan
from gansynth.receipt import SUFFIX, Receipt
from gansynth.record import Record
from gansynth.store import Store

_RECEIPT = re.compile(r"(\d{6,})" + re.escape(SUFFIX) + r"\Z")
_READERS = 8  # receipts are read in parallel: on object stores each takes a round trip
Numbers = dict[str, set[int]]


@dataclass(frozen=True)
class Dataset:
    """A dataset that has been begun.

    Args:
        store: where it lies.
        record: its recipe.yaml.
    """

    store: Store
    record: Record

    @classmethod
    def open(cls, url: str) -> Dataset:
        """The dataset at a folder or URL. Raises OutputError if there is none, or if its recipe.yaml is damaged."""
        store = Store(url)
        found = read_record(store)
        if found is None:
            raise OutputError(f"{store.place}: holds no {record.FILE}, so it is no dataset of gansynth; check the path")
        return cls(store, found)

    @cached_property
    def plan(self) -> Plan:
        """All shards that it is to have."""
        return Plan(self.record.recipe)

    @property
    def manifest_schema(self) -> pa.Schema:
        """Columns of its manifests."""
        info, derivation = self.record.recipe.info, self.record.recipe.derivation
        return manifest.schema(info.z_dim, info.w_dim, derivation.kind if derivation else None)

    @cached_property
    def _listed(self) -> set[str]:
        """Splits that the card was seen to list."""
        return set()

    def done(self) -> Numbers:
        """Numbers of the planned shards that exist, by split: one listing a split, no probing."""
        return self.done_with_size()[0]

    def done_with_size(self) -> tuple[Numbers, int]:
        """The same, and the bytes of all files of the splits, from the same listings."""
        files = {split: self.store.list(split) for split in self.record.recipe.splits}
        planned = {split: self.plan.shards_of(split) for split in files}
        done = {split: {n for n in _numbers(files[split]) if n < planned[split]} for split in files}
        return done, sum(sum(sizes.values()) for sizes in files.values())

    @property
    def is_complete(self) -> bool:
        """Whether every planned shard exists."""
        return sum(map(len, self.done().values())) == len(self.plan)

    def receipts(self, split: str, numbers: set[int]) -> Iterator[Receipt]:
        """Receipts of these shards, by number. Raises StoreError for one that cannot be read."""
        with ThreadPoolExecutor(_READERS) as pool:
            yield from pool.map(lambda number: read_receipt(self.store, split, number), sorted(numbers))

    def few_images(self) -> str | None:
        """A warning if most samples were rejected; None if all is well. Reads the receipts."""
        found = [receipt for split, numbers in self.done().items() for receipt in self.receipts(split, numbers)]
        kept, rows = sum(r.samples for r in found), sum(r.rows for r in found)
        if 2 * kept >= rows:
            return None
        return (
            f"only {kept:,} of {rows:,} samples are images, the others were rejected; the manifests' column `reason` says "
            f"why, and most likely the generator's weights or precision are at fault"
        )

    def announce(self, split: str) -> None:
        """List a split in the unfinished card, now that a tar of it is in place."""
        if split in self._listed:
            return
        listed = card.listed_splits(self.store.find(card.FILE) or b"")
        # Remembered once it was seen, not once it was written: another run may overwrite the card at the same moment.
        self._listed.update(listed)
        if split not in listed:
            splits = [s for s in self.record.recipe.splits if s in listed | {split}]
            self.store.publish(card.FILE, card.unfinished(self.record, splits))

    def catalogue(self) -> dict[str, bytes]:
        """Index files, picture and finished card as they should be for the shards that exist: path -> content.

        A picture that the card vouches for is taken as it is: another version of Pillow would draw other bytes.
        """
        done = self.done()
        receipts = {split: list(self.receipts(split, done[split])) for split in self.record.recipe.splits}
        receipts = {split: shards for split, shards in receipts.items() if shards}
        picture = self._vouched_picture(receipts) or samples.draw(self.store, self.record.recipe, done)
        return {
            **index_files(self.record.recipe.name, receipts),
            **({samples.FILE: picture} if picture else {}),
            card.FILE: card.finished(self.record, receipts, picture),
        }

    def _vouched_picture(self, receipts: dict[str, list[Receipt]]) -> bytes | None:
        with suppress(StoreMissing):
            seal = card.seal_of(self.store.read(card.FILE))
            if seal and seal.picture and seal.shards == card.digest(receipts):
                picture = self.store.read(samples.FILE)
                return picture if hashlib.sha256(picture).hexdigest() == seal.picture else None
        return None

    def finalize(self) -> bool:
        """Write the catalogue if the dataset is complete and the catalogue is not there yet; whether it was written."""
        if not self.is_complete:
            return False
        changed = False
        # The card comes last: it is what says that the dataset is finished.
        for path, content in self.catalogue().items():
            if self.store.find(path) != content:
                self.store.publish(path, content)
                changed = True
        return changed


def read_record(store: Store) -> Record | None:
    """The record of the dataset in a store, or None if there is no dataset."""
    data = store.find(record.FILE)
    return None if data is None else Record.decode(data, store.place)


def read_receipt(store: Store, split: str, number: int) -> Receipt:
    """The receipt of a shard. Raises StoreMissing if there is none, StoreDamaged if it is damaged or another shard's."""
    receipt = Receipt.decode(store.read(f"{split}/{number:06d}{SUFFIX}"))
    if (receipt.split, receipt.shard) != (split, number):
        raise StoreDamaged(f"{split}/{number:06d}{SUFFIX}: is the receipt of another shard; run `gansynth repair`")
    return receipt


def shards_done(store: Store, splits: dict[str, float]) -> Numbers:
    """Numbers of the shards that have a receipt, by split."""
    return {split: _numbers(store.list(split)) for split in splits}


def _numbers(names: Iterable[str]) -> set[int]:
    return {int(match[1]) for name in names if (match := _RECEIPT.match(name))}


def missing(plan: Plan, done: Numbers) -> Iterator[ShardPlan]:
    """The shards of a plan that do not exist yet, in order."""
    return (shard for shard in plan if shard.number not in done.get(shard.split, set()))
