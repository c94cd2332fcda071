"""The rows of a plan of derived samples: which parents each has, and its latent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from gansynth import manifest
from gansynth.dataset import Dataset
from gansynth.kept import Ints, Kept, open_source, pairs_of, parents_of
from gansynth.latents import between, neighbours
from gansynth.plan import Floats, Origins, Permutation, Rows, ShardPlan
from gansynth.resolve import ResolvedRecipe

_GROUPS_SEEN = 10_000  # enough to meet every class, since pairs take turns, and shards mix them


@dataclass(frozen=True)
class Family:
    """What is derived from one parent, or from a pair.

    Args:
        parents: their keys.
        numbers: of the samples among all that are derived from them.
        rows: the samples.
    """

    parents: tuple[str, ...]
    numbers: tuple[int, ...]
    rows: Rows


class Lineage:
    """The rows of a plan of derived samples.

    Args:
        recipe: with a derivation.

    Raises:
        OutputError: the dataset that they start from is no longer what it was; parts may have been appended.
        RecipeError: it is gone.
    """

    def __init__(self, recipe: ResolvedRecipe) -> None:
        if recipe.derivation is None:
            raise ValueError("a recipe of samples that are drawn by seed has no lineage")
        self._recipe, self._derivation = recipe, recipe.derivation
        self._source = open_source(self._derivation.source, self._derivation.kind)
        self._kept = parents_of(self._source, self._derivation)
        if self._derivation.kind == "interpolate":
            self._pairs = {split: pairs_of(kept) for split, kept in self._kept.items()}
        self._vectors = lru_cache(maxsize=8)(self._read_vectors)

    @property
    def source(self) -> Dataset:
        """The dataset that they start from."""
        return self._source

    @property
    def weights_sha256(self) -> str | None:
        """Of the generator that made the parents."""
        return self._source.record.recipe.info.weights_sha256

    def rows(self, shard: ShardPlan) -> Rows:
        """The samples of a shard; those of one parent or pair lie in one shard, or in two that follow each other."""
        order = Permutation(shard.size, f"gansynth/1/{self._derivation.kind}/{shard.split}/{shard.number}")
        position = shard.first + order(np.arange(shard.size, dtype=np.int64))
        return self._rows(shard.split, position // self._derivation.each, position % self._derivation.each)

    def families(self, classes: int, samples: int) -> list[Family]:
        """What becomes of one parent, or pair, of each class: the first ones of the first split.

        Args:
            classes: how many at most.
            samples: how many of each family at most, evenly spaced.
        """
        split, count = next(iter(self._derivation.groups.items()))
        kept, groups = self._kept[split], np.arange(min(count, _GROUPS_SEEN))
        firsts, seconds = (groups, groups) if self._derivation.kind == "vary" else self._pairs[split].at(groups)
        _, chosen = np.unique(kept.classes[firsts], return_index=True)
        each = self._derivation.each
        numbers = np.unique(np.linspace(0, each - 1, min(samples, each)).round().astype(np.int64))
        return [
            Family(
                parents=tuple(
                    f"{split}-{kept.shards[index]:06d}-{kept.rows[index]:06d}"
                    for index in dict.fromkeys((firsts[group], seconds[group]))
                ),
                numbers=tuple(numbers.tolist()),
                rows=self._rows(split, np.full(len(numbers), group), numbers),
            )
            for group in chosen[:classes].tolist()
        ]

    def _rows(self, split: str, group: Ints, number: Ints) -> Rows:
        derive = self._varied if self._derivation.kind == "vary" else self._between
        kept, recipe = self._kept[split], self._recipe
        first, origins = derive(kept, split, group, number)
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
        read, sigma = self._read(kept, split, parent), self._derivation.sigma or 0.0
        z, columns = read["z"], {"variant": number.tolist()}
        recipe, truncations = self._recipe, kept.truncations[parent]
        if self._derivation.space == "z":
            return parent, Origins(ids, columns, neighbours(recipe.latent, z, names, sigma, truncations))
        # A latent that has nothing of its parent's: the style towards which the parent's moves.
        noise = neighbours(recipe.latent, z, names, 1.0, truncations)
        return parent, Origins(ids, columns, z, read["w"], noise, sigma)

    def _between(self, kept: Kept, split: str, pair: Ints, number: Ints) -> tuple[Ints, Origins]:
        first, second = self._pairs[split].at(pair)
        steps = self._derivation.each
        position = (number + 1) / (steps + 1)
        columns = {
            "other_parent": [kept.ids[index] for index in second.tolist()],
            "position": position.tolist(),
        }
        ids = [kept.ids[index] for index in first.tolist()]
        # Pairs are spread over the whole dataset, so its shards are gone through once for both of each.
        ends = {name: np.split(found, 2) for name, found in self._read(kept, split, np.r_[first, second]).items()}
        a, b = ends["z"]
        z = between(self._recipe.latent, a, b, position, kept.truncations[first])
        if self._derivation.space == "z":
            return first, Origins(ids, columns, z)
        (a, b), t = ends["w"], position.astype(np.float32)[:, None]
        return first, Origins(ids, columns, z, (1 - t) * a + t * b)

    def _read(self, kept: Kept, split: str, index: Ints) -> dict[str, Floats]:
        """Latents of kept samples, and their styles if those are derived: float32 [n, d] by column, in one pass."""
        shards, rows, info = kept.shards[index], kept.rows[index], self._source.record.recipe.info
        lengths = {"z": info.z_dim, "w": info.w_dim} if self._derivation.space == "w" else {"z": info.z_dim}
        found = {column: np.empty((len(index), length), np.float32) for column, length in lengths.items()}
        order = np.argsort(shards, kind="stable")
        present, starts = np.unique(shards[order], return_index=True)
        for shard, places in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            for column, vectors in self._vectors(split, shard, tuple(found)).items():
                found[column][places] = vectors[rows[places]]
        return found

    def _read_vectors(self, split: str, shard: int, columns: tuple[str, ...]) -> dict[str, Floats]:
        table = manifest.read(self._source.store, f"{split}/{shard:06d}.parquet", columns)
        return {name: _matrix(table[name].combine_chunks()) for name in columns}


def _matrix(vectors: pa.FixedSizeListArray) -> Floats:
    return np.asarray(vectors.flatten().to_numpy().reshape(len(vectors), -1), np.float32)


def rows_of(dataset: Dataset) -> Callable[[ShardPlan], Rows]:
    """What gives the rows of a dataset's shards. Raises what `Lineage` does."""
    recipe = dataset.record.recipe
    return Lineage(recipe).rows if recipe.derivation else dataset.plan.rows
