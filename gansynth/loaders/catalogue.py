"""Which samples datasets offer: their shards checked against what was written, and how many rows of each fit a condition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

from gansynth import manifest
from gansynth.dataset import Dataset
from gansynth.errors import InputError, StoreDamaged, StoreMissing
from gansynth.index import shards_listed
from gansynth.store import Store
from gansynth.where import Condition, fitting

_READERS = 16


@dataclass(frozen=True)
class Shard:
    """A shard of which samples are wanted.

    Args:
        store: that it is in.
        dataset: fingerprint of its dataset.
        stem: path of its files, without suffix.
        tar_bytes: size of its tar.
        count: number of its samples that fit the condition.
    """

    store: Store
    dataset: str
    stem: str
    tar_bytes: int
    count: int


@dataclass(frozen=True)
class Catalogue:
    """What there is to read.

    Args:
        shards: those with samples that fit.
        keep: the condition.
        where: its text.
        class_names: label -> name of each class of which samples fit.
        unlabelled: whether samples of an unconditional generator are among those that fit; their label 0 means no class.
        schema: of the manifests.
        resolution: height and width of the images in pixels; None if datasets differ.
    """

    shards: tuple[Shard, ...]
    keep: Condition
    where: str | None
    class_names: dict[int, str]
    unlabelled: bool
    schema: pa.Schema
    resolution: int | None

    def __len__(self) -> int:
        return sum(shard.count for shard in self.shards)

    @cached_property
    def digest(self) -> str:
        """16 hex digits that differ for other samples, wherever the datasets lie."""
        parts = [(shard.dataset, shard.stem, shard.tar_bytes, shard.count) for shard in self.shards]
        return hashlib.sha256(json.dumps([self.where, *parts]).encode()).hexdigest()[:16]

    def rows(self, shard: Shard, columns: Sequence[str]) -> pa.Table:
        """Manifest rows of a shard's samples, in their order in the tar."""
        table = manifest.read(shard.store, f"{shard.stem}.parquet", columns, self.keep)
        if table.num_rows != shard.count:
            raise StoreDamaged(
                f"{shard.stem}: has {table.num_rows} samples that fit, but had {shard.count} when it was opened; open the dataset "
                f"again, and run `gansynth verify` if nobody changed it"
            )
        return table


def look_up(urls: Sequence[str], split: str, where: str | None, unfinished: bool) -> Catalogue:
    """Open datasets.

    Args:
        urls: folders or fsspec URLs of datasets.
        split: train, val or test.
        where: a condition, see `where.parse`; rejected samples are never read.
        unfinished: accept a dataset of which shards are missing, and read those that exist.

    Raises:
        InputError: no dataset there, an unfinished one, no such split, an unusable condition, or one that nothing fits.
        StoreError: a file is missing, or has another size than was written.
    """
    if not urls:
        raise InputError("url: saw none; give the folder or URL of a dataset, or a list of them")
    datasets = [Dataset.open(url) for url in urls]
    infos = [dataset.record.recipe.info for dataset in datasets]
    schema = _common([dataset.manifest_schema for dataset in datasets])
    keep = fitting(where, schema)
    parts = [_Part(dataset, list(_shards(dataset, split, unfinished)), None) for dataset in datasets]
    if where is not None:
        parts = [_narrowed(part, keep) for part in parts]
    parts = [replace(part, shards=[shard for shard in part.shards if shard.count]) for part in parts]
    shards = tuple(shard for part in parts for shard in part.shards)
    if not shards:
        fits = "" if where is None else f" that fits {where!r}"
        raise InputError(
            f"{', '.join(d.store.place for d in datasets)}: split {split} has no sample{fits}; loosen the condition, or read another split"
        )
    sizes = {info.resolution for info in infos}
    unlabelled = any(part.shards and not part.dataset.record.recipe.classes for part in parts)
    resolution = sizes.pop() if len(sizes) == 1 else None
    return Catalogue(shards, keep, where, _class_names(parts), unlabelled, schema, resolution)


@dataclass(frozen=True)
class _Part:
    """What one of the datasets offers; `labels` are those of samples that fit, None for all of them."""

    dataset: Dataset
    shards: list[Shard]
    labels: set[int] | None


def _narrowed(part: _Part, keep: Condition) -> _Part:
    """A part without the samples that do not fit."""

    def labels(shard: Shard) -> list[int]:
        found: list[int] = manifest.read(shard.store, f"{shard.stem}.parquet", ["label"], keep)["label"].to_pylist()
        return found

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(labels, part.shards))
    shards = [replace(shard, count=len(fit)) for shard, fit in zip(part.shards, found, strict=True)]
    return replace(part, shards=shards, labels={label for fit in found for label in fit})


def _common(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns that all manifests have; a vector only if it is of the same length everywhere."""
    first, *others = schemas
    return pa.schema([field for field in first if all(field in list(schema) for schema in others)])


def _class_names(parts: Sequence[_Part]) -> dict[int, str]:
    """Names by label; classes to which a recipe gives one label are named together."""
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for part in parts:
        place, recipe = part.dataset.store.place, part.dataset.record.recipe
        together: dict[int, list[str]] = {}
        for label, target in zip(recipe.classes, recipe.targets, strict=False):  # unconditional: a label, no class
            if part.labels is None or target in part.labels:
                together.setdefault(target, []).append(label.name)
        for target, found in together.items():
            name = " / ".join(found)
            if names.setdefault(target, name) != name:
                differs = f"label {target} is {name!r} here, but {names[target]!r}"
            elif numbers.setdefault(name, target) != target:
                differs = f"{name!r} has label {target} here, but {numbers[name]}"
            else:
                continue
            raise InputError(f"{place}: {differs} in another of the datasets; give all of them the same `labels`")
    return names


def _shards(dataset: Dataset, split: str, unfinished: bool) -> Iterator[Shard]:
    """All shards of a split, after a look at whether their files are there: one listing."""
    store, splits = dataset.store, dataset.record.recipe.splits
    if split not in splits:
        raise InputError(f"split: saw {split!r}, but {store.place} has only {', '.join(splits)}")
    done = dataset.done()
    existing, planned = sum(map(len, done.values())), len(dataset.plan)
    if existing < planned and not unfinished:
        raise InputError(
            f"{store.place}: is unfinished, {existing} of {planned} shards exist; run its recipe again to go on, or read what there "
            f"is with unfinished=True"
        )
    files, fingerprint = store.list(split), dataset.record.fingerprint
    for number, (samples, tar_bytes) in sorted(_written(dataset, split, done[split]).items()):
        for suffix in (".tar", ".parquet"):
            if f"{number:06d}{suffix}" not in files:
                raise StoreMissing(
                    f"{split}/{number:06d}{suffix}: is missing from {store.place}; run `gansynth repair`"
                )
        if (found := files[f"{number:06d}.tar"]) != tar_bytes:
            raise StoreDamaged(
                f"{split}/{number:06d}.tar: has {found:,} bytes in {store.place}, but {tar_bytes:,} were written; run `gansynth repair`"
            )
        yield Shard(store, fingerprint, f"{split}/{number:06d}", tar_bytes, samples)


def _written(dataset: Dataset, split: str, numbers: set[int]) -> dict[int, tuple[int, int]]:
    """Samples and bytes of the tar of each shard: from the index of a finished dataset, else from the receipts."""
    index = dataset.store.find(f"{split}.index.json")
    if index is not None:
        listed = shards_listed(index, f"{dataset.store.place}/{split}.index.json")
        if len(listed) == len(numbers):  # it has an entry a shard, in order
            return {
                number: (entry["nsamples"], entry["filesize"])
                for number, entry in zip(sorted(numbers), listed, strict=True)
            }
    return {receipt.shard: (receipt.samples, receipt.tar.bytes) for receipt in dataset.receipts(split, numbers)}
