"""Resolved recipe -> shards. Pure: no torch, no files, and a billion samples take no more memory than ten.

Each part is planned alone. Within a part and a split, all (class, truncation, seed) samples go through a keyed
permutation and are cut into shards, so that classes and truncations mix inside every shard, and so that appending a
part leaves every existing shard as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth.derivation import Derivation
from gansynth.resolve import ResolvedRecipe
from gansynth.splits import SplitSeeds, bounds

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_ROUNDS = 6


class Permutation:
    """A keyed bijection of [0, size) that needs no memory.

    A balanced Feistel network (Luby and Rackoff, 1988) over the next power of four, walked along its cycles until the
    value falls into range (Black and Rogaway, 2002), with the finalizer of SplitMix64 as round function.
    """

    def __init__(self, size: int, key: str) -> None:
        self.size = size
        self._half = np.uint64(max(1, ((max(size, 2) - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        digest = hashlib.shake_256(key.encode()).digest(8 * _ROUNDS)
        self._keys = np.frombuffer(digest, dtype="<u8")

    def __call__(self, positions: Ints) -> Ints:
        """Images of the positions, int64 [n], each in [0, size)."""
        values = self._encrypt(positions.astype(np.uint64))
        while (outside := values >= np.uint64(self.size)).any():
            values[outside] = self._encrypt(values[outside])
        return values.astype(np.int64)

    def _encrypt(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right + key) & self._mask)
        return (left << self._half) | right


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class ShardPlan:
    """One shard: `size` consecutive rows of one part and split.

    Args:
        split: train, val or test.
        number: of the shard within its split, from 0 without gaps.
        ordinal: of the shard within the whole plan, from 0.
        part: which seed range, from 0.
        first: position of its first row within the part and split.
        size: number of rows.
    """

    split: str
    number: int
    ordinal: int
    part: int
    first: int
    size: int

    @property
    def stem(self) -> str:
        """Path of its files within the dataset, without suffix: "train/000012"."""
        return f"{self.split}/{self.number:06d}"

    def key(self, row: int) -> str:
        """WebDataset key of a row."""
        return f"{self.split}-{self.number:06d}-{row:06d}"


@dataclass(frozen=True)
class Origins:
    """Where derived samples come from, one element a row.

    Args:
        parents: sample_id of the sample that a row is derived from; of the first of two.
        columns: values of the manifest columns that only derived samples have, by name.
        z: their latents, float32 [n, z_dim].
        w: their styles, float32 [n, w_dim], where they are derived in w; else None.
        noise: latents of the styles that `w` moves towards by `sigma`, float32 [n, z_dim]; None where it does not move.
        sigma: see above.
    """

    parents: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    z: Floats
    w: Floats | None = None
    noise: Floats | None = None
    sigma: float = 0.0


@dataclass(frozen=True)
class Rows:
    """The samples of a shard, one array element a row, all int64 [n].

    Args:
        seeds: seed of each row; of derived samples, their parent's.
        classes: position in the recipe's list of classes; 0 for unconditional generators.
        truncations: position in the recipe's list of truncations.
        origins: of derived samples; None for those that are drawn by seed.
    """

    seeds: Ints
    classes: Ints
    truncations: Ints
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    def origin(self, index: int) -> dict[str, Any]:
        """Manifest columns of a row that only derived samples have, by name; empty for one that is drawn by seed."""
        if self.origins is None:
            return {}
        columns = self.origins.columns.items()
        return {"parent": self.origins.parents[index], **{name: values[index] for name, values in columns}}


@dataclass(frozen=True)
class Section:
    """All shards of one part and split."""

    part: int
    split: str
    seeds: SplitSeeds | None
    classes: tuple[int, ...]
    samples: int
    shards: int
    first_number: int
    first_ordinal: int


class Plan:
    """All shards of a resolved recipe, by ordinal: part after part, split after split."""

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self.recipe = recipe
        self._classes = max(1, len(recipe.classes))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Part after part, split after split; without the empty ones."""
        if self.recipe.derivation:
            return self._derived(self.recipe.derivation)
        sections: list[Section] = []
        numbers = dict.fromkeys(self.recipe.splits, 0)
        ordinal = 0
        for number, part in enumerate(self.recipe.parts):
            positions = part.positions(self._classes)
            combinations = len(positions) * len(self.recipe.truncations)
            for split, (low, high) in bounds(self.recipe.splits).items():
                chosen = SplitSeeds(part.seeds, low, high)
                samples = len(chosen) * (1 if self.recipe.seed_use == "disjoint" else combinations)
                shards = -(-samples // self.recipe.samples_per_shard)
                if shards:
                    sections.append(Section(number, split, chosen, positions, samples, shards, numbers[split], ordinal))
                numbers[split] += shards
                ordinal += shards
        return tuple(sections)

    def _derived(self, derivation: Derivation) -> tuple[Section, ...]:
        """A section a split."""
        sections: list[Section] = []
        for split in self.recipe.splits:
            samples = derivation.samples(split)
            shards = -(-samples // self.recipe.samples_per_shard)
            sections.append(Section(0, split, None, (), samples, shards, 0, sum(s.shards for s in sections)))
        return tuple(section for section in sections if section.shards)

    def __len__(self) -> int:
        return sum(section.shards for section in self.sections)

    def __iter__(self) -> Iterator[ShardPlan]:
        for section in self.sections:
            for index in range(section.shards):
                yield self._shard(section, index)

    @property
    def samples(self) -> int:
        """Number of samples of all shards."""
        return sum(section.samples for section in self.sections)

    def shard(self, ordinal: int) -> ShardPlan:
        """The shard with this ordinal. Raises IndexError outside [0, len(self))."""
        for section in self.sections:
            if 0 <= ordinal - section.first_ordinal < section.shards:
                return self._shard(section, ordinal - section.first_ordinal)
        raise IndexError(ordinal)

    def find(self, split: str, number: int) -> ShardPlan:
        """The shard with this number within its split. Raises KeyError if there is none."""
        for section in self.sections:
            if section.split == split and 0 <= number - section.first_number < section.shards:
                return self._shard(section, number - section.first_number)
        raise KeyError((split, number))

    def shards_of(self, split: str) -> int:
        """Number of shards of a split."""
        return sum(section.shards for section in self.sections if section.split == split)

    def _shard(self, section: Section, index: int) -> ShardPlan:
        first = index * self.recipe.samples_per_shard
        return ShardPlan(
            split=section.split,
            number=section.first_number + index,
            ordinal=section.first_ordinal + index,
            part=section.part,
            first=first,
            size=min(self.recipe.samples_per_shard, section.samples - first),
        )

    def rows(self, shard: ShardPlan) -> Rows:
        """The samples of a shard, drawn by seed; derived ones are known to `lineage.Lineage`."""
        section = next(s for s in self.sections if s.part == shard.part and s.split == shard.split)
        permutation = Permutation(section.samples, f"gansynth/1/{shard.split}/{shard.part}")
        position = permutation(np.arange(shard.first, shard.first + shard.size, dtype=np.int64))
        # Disjoint: the j-th seed of the split goes to the j-th combination in turn. Shared: to every combination.
        classes = np.array(section.classes, np.int64)
        combinations = len(classes) * len(self.recipe.truncations)
        seed = position if self.recipe.seed_use == "disjoint" else position // combinations
        combination = position % combinations
        if section.seeds is None:
            raise ValueError("rows of derived samples are not known to the plan")
        return Rows(
            seeds=section.seeds.at(seed),
            classes=classes[combination % len(classes)],
            truncations=combination // len(classes),
        )
