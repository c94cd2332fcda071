"""Samples derived from kept ones: which those are, and the latents of their neighbours or of what lies between two."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth import manifest
from gansynth.dataset import Dataset
from gansynth.errors import OutputError, RecipeError
from gansynth.latents import between, neighbours
from gansynth.pairs import Pairs
from gansynth.plan import Origins, Permutation, Rows, ShardPlan
from gansynth.recipe import Recipe, Vary
from gansynth.resolve import ResolvedRecipe
from gansynth.where import fitting

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


def adopt(recipe: Recipe) -> Recipe:
    """A recipe of derived samples with everything that it takes over from the dataset that they start from.

    Other recipes are given back as they are. Reads manifests, and writes nothing.

    Raises:
        InputError: no such dataset, an unfinished one, a condition that does not fit it or that too few samples fit.
    """
    derived = recipe.derived
    if derived is None or derived.parents is not None:
        return recipe
    kind = "vary" if isinstance(derived, Vary) else "interpolate"
    source = _open(derived.source, kind)
    place = derived.source if "://" in derived.source else str(Path(derived.source).expanduser().absolute())
    theirs = source.record.recipe
    kept = {split: found for split in theirs.splits if len((found := _kept(source, split, derived.where)).ids)}
    if not kept:
        raise RecipeError(f"{kind}: no sample of {source.store.place} fits where: {derived.where!r}; loosen it")
    groups = {split: len(found.ids) for split, found in kept.items()}
    if not isinstance(derived, Vary):
        groups = _share_out(derived.pairs, {split: len(_pairs_of(found)) for split, found in kept.items()})
    present = set(np.concatenate([found.classes for found in kept.values()]).tolist())
    classes = [
        (label, target) for label, target in zip(theirs.classes, theirs.targets, strict=False) if label.index in present
    ]
    truncations = set(np.concatenate([found.truncations for found in kept.values()]).tolist())
    changes: dict[str, Any] = {
        "generator": recipe.generator or theirs.info.name,
        "generator_options": theirs.info.options,
        "precision": theirs.precision if recipe.precision == "auto" else recipe.precision,
        "truncation": [value for value in theirs.truncations if value in truncations],
        "latent": theirs.latent,
        "splits": {split: count / sum(groups.values()) for split, count in groups.items()},
        kind: derived.model_copy(update={"source": place, "parents": groups, "parents_sha256": _digest(kept)}),
    }
    if classes:
        changes["classes"] = [label.index for label, _ in classes]
        if recipe.labels == "generator":
            changes["labels"] = {label.index: target for label, target in classes}
    return recipe.model_copy(update=changes)


class Lineage:
    """The rows of a plan of derived samples.

    Args:
        recipe: with a derivation.

    Raises:
        OutputError: the dataset that they start from is gone, or is no longer what it was.
    """

    def __init__(self, recipe: ResolvedRecipe) -> None:
        if recipe.derivation is None:
            raise ValueError("a recipe of samples that are drawn by seed has no lineage")
        self._recipe, self._derivation = recipe, recipe.derivation
        self._source = _open(self._derivation.source, self._derivation.kind)
        every = {
            split: _kept(self._source, split, self._derivation.where) for split in self._source.record.recipe.splits
        }
        self._kept = {split: kept for split, kept in every.items() if len(kept.ids)}
        if _digest(self._kept) != self._derivation.parents_sha256:
            raise OutputError(
                f"{self._derivation.kind}: {self._source.store.place} holds other samples than when this dataset was begun; "
                f"restore it, or begin in an empty folder"
            )
        if self._derivation.kind == "interpolate":
            self._pairs = {split: _pairs_of(kept) for split, kept in self._kept.items()}
        self._vectors = lru_cache(maxsize=8)(self._read_vectors)

    @property
    def weights_sha256(self) -> str | None:
        """Of the generator that made the parents."""
        return self._source.record.recipe.info.weights_sha256

    def rows(self, shard: ShardPlan) -> Rows:
        """The samples of a shard; those of one parent or pair lie in one shard, or in two that follow each other."""
        order = Permutation(shard.size, f"gansynth/1/{self._derivation.kind}/{shard.split}/{shard.number}")
        position = shard.first + order(np.arange(shard.size, dtype=np.int64))
        group, number = position // self._derivation.each, position % self._derivation.each
        derive = self._varied if self._derivation.kind == "vary" else self._between
        first, origins = derive(self._kept[shard.split], shard.split, group, number)
        kept, recipe = self._kept[shard.split], self._recipe
        classes = {label.index: position for position, label in enumerate(recipe.classes)} or {-1: 0}
        truncations = {value: position for position, value in enumerate(recipe.truncations)}
        return Rows(
            seeds=kept.seeds[first],
            classes=np.array([classes[index] for index in kept.classes[first].tolist()], np.int64),
            truncations=np.array([truncations[value] for value in kept.truncations[first].tolist()], np.int64),
            origins=origins,
        )

    def _varied(self, kept: Kept, split: str, parent: Ints, number: Ints) -> tuple[Ints, Origins]:
        ids = [kept.ids[index] for index in parent.tolist()]
        names = [f"{name}/{count}" for name, count in zip(ids, number.tolist(), strict=True)]
        z, sigma = self._read(kept, split, parent, "z"), self._derivation.sigma or 0.0
        columns = {"variant": number.tolist()}
        recipe, truncations = self._recipe, kept.truncations[parent]
        if self._derivation.space == "z":
            return parent, Origins(ids, columns, neighbours(recipe.latent, z, names, sigma, truncations))
        # A latent that has nothing of its parent's: the style towards which the parent's moves.
        noise = neighbours(recipe.latent, z, names, 1.0, truncations)
        return parent, Origins(ids, columns, z, self._read(kept, split, parent, "w"), noise, sigma)

    def _between(self, kept: Kept, split: str, pair: Ints, number: Ints) -> tuple[Ints, Origins]:
        first, second = self._pairs[split].at(pair)
        steps = self._derivation.each
        position = (number + 1) / (steps + 1)
        columns = {
            "other_parent": [kept.ids[index] for index in second.tolist()],
            "position": position.tolist(),
        }
        ids = [kept.ids[index] for index in first.tolist()]
        a, b = (self._read(kept, split, which, "z") for which in (first, second))
        z = between(self._recipe.latent, a, b, position, kept.truncations[first])
        if self._derivation.space == "z":
            return first, Origins(ids, columns, z)
        a, b = (self._read(kept, split, which, "w") for which in (first, second))
        t = position.astype(np.float32)[:, None]
        return first, Origins(ids, columns, z, (1 - t) * a + t * b)

    def _read(self, kept: Kept, split: str, index: Ints, column: str) -> npt.NDArray[np.float32]:
        """Latents or styles of kept samples, float32 [n, d]."""
        shards, rows = kept.shards[index], kept.rows[index]
        read = {shard: self._vectors(split, shard, column) for shard in np.unique(shards).tolist()}
        return np.stack([read[shard][row] for shard, row in zip(shards.tolist(), rows.tolist(), strict=True)])

    def _read_vectors(self, split: str, shard: int, column: str) -> npt.NDArray[np.float32]:
        table = manifest.read(self._source.store, f"{split}/{shard:06d}.parquet", [column])
        vectors = table[column].combine_chunks()
        return np.asarray(vectors.flatten().to_numpy().reshape(len(vectors), -1), np.float32)


def rows_of(dataset: Dataset) -> Callable[[ShardPlan], Rows]:
    """What gives the rows of a dataset's shards. Raises OutputError as `Lineage`."""
    recipe = dataset.record.recipe
    return Lineage(recipe).rows if recipe.derivation else dataset.plan.rows


def _open(url: str, kind: str) -> Dataset:
    try:
        source = Dataset.open(url)
    except OutputError as error:
        raise RecipeError(f"{kind}: from: {error}") from None
    existing, planned = sum(map(len, source.done().values())), len(source.plan)
    if existing < planned:
        raise RecipeError(
            f"{kind}: {source.store.place} is unfinished, {existing} of {planned} shards exist; run its recipe again first"
        )
    return source


def _kept(source: Dataset, split: str, where: str | None) -> Kept:
    keep = fitting(where, source.manifest_schema)
    numbers = range(source.plan.shards_of(split))
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(
            pool.map(lambda n: manifest.read(source.store, f"{split}/{n:06d}.parquet", _COLUMNS, keep), numbers)
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


def _digest(kept: dict[str, Kept]) -> str:
    digest = hashlib.sha256()
    for split, found in kept.items():
        digest.update(f"{split} {' '.join(found.ids)}\n".encode())
    return digest.hexdigest()


def _pairs_of(kept: Kept) -> Pairs:
    """All pairs of kept samples of one class and truncation."""
    return Pairs(list(zip(kept.classes.tolist(), kept.truncations.tolist(), strict=True)))


def _share_out(pairs: int, available: dict[str, int]) -> dict[str, int]:
    """Pairs by split, in proportion to what there is. Raises RecipeError if there is too little."""
    total = sum(available.values())
    if pairs > total:
        raise RecipeError(
            f"interpolate: saw {pairs} pairs, but there are only {total} of one class, truncation and split; ask for fewer, or "
            f"loosen `where`"
        )
    shares = {split: pairs * count // total for split, count in available.items()}
    for split, count in available.items():  # what rounding left over
        shares[split] += min(pairs - sum(shares.values()), count - shares[split])
    return {split: count for split, count in shares.items() if count}
