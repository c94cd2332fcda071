"""Which samples of a dataset others are derived from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth import manifest
from gansynth.dataset import Dataset
from gansynth.derivation import Derivation
from gansynth.errors import OutputError, RecipeError
from gansynth.pairs import Pairs
from gansynth.where import Condition, fitting

_READERS = 16
_COLUMNS = ("row", "sample_id", "seed", "class_index", "truncation")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kept:
    """Samples of one split of a dataset that fit a condition, in their order there.

    Args:
        ids: sample_id of each.
        shards, rows: where its manifest row is, int64 [n].
        seeds: int64 [n].
        classes: index in the generator, int64 [n]; -1 for unconditional ones.
        truncations: float64 [n].
    """

    ids: Sequence[str]
    shards: Ints
    rows: Ints
    seeds: Ints
    classes: Ints
    truncations: npt.NDArray[np.float64]

    def within(self, shards: int) -> Kept:
        """Those of the first shards alone."""
        first = slice(int(np.searchsorted(self.shards, shards)))
        return Kept(
            ids=self.ids[first],
            shards=self.shards[first],
            rows=self.rows[first],
            seeds=self.seeds[first],
            classes=self.classes[first],
            truncations=self.truncations[first],
        )


def open_source(url: str, kind: str) -> Dataset:
    """The dataset that samples start from. Raises RecipeError if there is none."""
    try:
        return Dataset.open(url)
    except OutputError as error:
        raise RecipeError(f"{kind}: from: {error}") from None


def shards_in(source: Dataset, kind: str) -> dict[str, int]:
    """Number of its shards by split. Raises RecipeError if some do not exist yet."""
    existing, planned = sum(map(len, source.done().values())), len(source.plan)
    if existing < planned:
        raise RecipeError(
            f"{kind}: {source.store.place} is unfinished, {existing} of {planned} shards exist; run its recipe again first"
        )
    return {split: source.plan.shards_of(split) for split in source.record.recipe.splits}


def kept_in(source: Dataset, shards: Mapping[str, int], where: str | None) -> dict[str, Kept]:
    """The samples that fit a condition, by split; splits in which none does are left out.

    Args:
        source: the dataset.
        shards: how many of each split to look at, from the first one on.
        where: the condition.

    Raises:
        InputError: the condition does not fit the manifests.
    """
    keep = fitting(where, source.manifest_schema)
    every = {split: _kept_in(source, split, count, keep) for split, count in shards.items()}
    return {split: kept for split, kept in every.items() if len(kept.ids)}


def parents_of(source: Dataset, derivation: Derivation) -> dict[str, Kept]:
    """The samples that those of a dataset that was begun are derived from, by split.

    Parts that were appended to the source since are not looked at. Datasets from before it was recorded how many shards
    the source had tell by the digest of what they found there.

    Raises:
        OutputError: the source is no longer what it was.
    """
    begun = [derivation.shards] if derivation.shards else _sizes_so_far(source)
    done = source.done()
    whole = [shards for shards in begun if all(done.get(s, set()) >= set(range(n)) for s, n in shards.items())]
    if not whole:
        raise OutputError(
            f"{derivation.kind}: {source.store.place} lacks shards that it had when this dataset was begun; run `gansynth repair` "
            f"on it, or run its recipe again"
        )
    widest = kept_in(source, whole[0], derivation.where)
    for shards in whole:
        found = {split: kept.within(shards[split]) for split, kept in widest.items()}
        found = {split: kept for split, kept in found.items() if len(kept.ids)}
        if digest_of(found) == derivation.parents_sha256:
            return found
    raise OutputError(
        f"{derivation.kind}: {source.store.place} holds other samples than when this dataset was begun; restore it, or begin in "
        f"an empty folder"
    )


def _sizes_so_far(source: Dataset) -> list[Mapping[str, int]]:
    """Numbers of its shards by split after each of its parts, the last one first."""
    sections = source.plan.sections
    return [
        {
            split: sum(section.shards for section in sections if section.split == split and section.part <= part)
            for split in source.record.recipe.splits
        }
        for part in sorted({section.part for section in sections}, reverse=True)
    ]


def _kept_in(source: Dataset, split: str, shards: int, keep: Condition) -> Kept:
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(
            pool.map(lambda n: manifest.read(source.store, f"{split}/{n:06d}.parquet", _COLUMNS, keep), range(shards))
        )

    def column(name: str) -> npt.NDArray[Any]:
        filled = [table[name].fill_null(-1) if name == "class_index" else table[name] for table in tables]
        return np.concatenate([part.to_numpy() for part in filled]) if filled else np.empty(0)

    return Kept(
        ids=[name for table in tables for name in table["sample_id"].to_pylist()],
        shards=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        rows=column("row").astype(np.int64),
        seeds=column("seed").astype(np.int64),
        classes=column("class_index").astype(np.int64),
        truncations=column("truncation").astype(np.float64),
    )


def digest_of(kept: Mapping[str, Kept]) -> str:
    """Names kept samples, given by split."""
    digest = hashlib.sha256()
    for split, found in kept.items():
        digest.update(f"{split} {' '.join(found.ids)}\n".encode())
    return digest.hexdigest()


def pairs_of(kept: Kept) -> Pairs:
    """All pairs of kept samples of one class and truncation."""
    return Pairs(list(zip(kept.classes.tolist(), kept.truncations.tolist(), strict=True)))
