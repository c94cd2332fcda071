"""Which split a seed falls into: the formula, its stability, and counting without listing."""

from __future__ import annotations

import itertools
import tracemalloc
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gansynth.seeds import SEED_LIMIT, parse_seeds
from gansynth.splits import SPLITS, SplitSeeds, bounds, split_of

Ratios = dict[str, float]
THREE: Ratios = {"train": 0.7, "val": 0.2, "test": 0.1}


@st.composite
def ratios(draw: st.DrawFn) -> Ratios:
    """One to three splits in any order; the shares are decimal fractions that add up to 1."""
    names = draw(st.permutations(SPLITS))[: draw(st.integers(1, 3))]
    cuts = sorted(draw(st.sets(st.integers(1, 999), min_size=len(names) - 1, max_size=len(names) - 1)))
    edges = [0, *cuts, 1000]
    return {name: (high - low) / 1000 for name, (low, high) in zip(names, itertools.pairwise(edges), strict=True)}


@st.composite
def seed_texts(draw: st.DrawFn) -> str:
    """A few short ranges, in no particular order."""
    firsts = draw(st.lists(st.integers(0, (SEED_LIMIT - 1) // 500), min_size=1, max_size=4, unique=True))
    return ",".join(f"{500 * first}-{min(500 * first + draw(st.integers(0, 299)), SEED_LIMIT - 1)}" for first in firsts)


def by_formula(seed: int, shares: Ratios) -> str:
    """u(seed) against the cumulative ratios, in exact arithmetic."""
    u = Fraction(seed * 2654435769 % 2**32, 2**32)
    total = Fraction(0)
    for name, share in shares.items():
        total += Fraction(Decimal(repr(share)))
        if u < total:
            return name
    return name


def of_split(text: str, shares: Ratios, split: str) -> SplitSeeds:
    return SplitSeeds(parse_seeds(text), *bounds(shares)[split])


@given(st.integers(0, SEED_LIMIT - 1), ratios())
def test_a_seed_falls_where_the_formula_says(seed: int, shares: Ratios) -> None:
    assert split_of(seed, shares) == by_formula(seed, shares)


@settings(max_examples=25)
@given(seed_texts(), ratios())
def test_the_seeds_of_a_split_are_those_of_the_formula_in_order(text: str, shares: Ratios) -> None:
    for split in shares:
        expected = [seed for seed in parse_seeds(text) if by_formula(seed, shares) == split]
        seeds = of_split(text, shares, split)
        assert len(seeds) == len(expected)
        assert seeds.at(np.arange(len(seeds))).tolist() == expected


@settings(max_examples=25)
@given(seed_texts(), ratios(), st.data())
def test_positions_may_be_asked_for_in_any_order(text: str, shares: Ratios, data: st.DataObject) -> None:
    for split in shares:
        seeds = of_split(text, shares, split)
        everything = seeds.at(np.arange(len(seeds)))
        positions = np.array(data.draw(st.lists(st.integers(0, max(0, len(seeds) - 1)))), dtype=np.int64)
        if len(seeds):
            np.testing.assert_array_equal(seeds.at(positions), everything[positions])


@settings(max_examples=25)
@given(ratios())
def test_adding_seeds_moves_no_seed_to_another_split(shares: Ratios) -> None:
    for split in shares:
        few, many = of_split("100-199", shares, split), of_split("0-299,1000-1099", shares, split)
        kept = [seed for seed in many.at(np.arange(len(many))).tolist() if 100 <= seed <= 199]
        assert few.at(np.arange(len(few))).tolist() == kept


@given(ratios())
def test_every_split_gets_its_share_of_all_seeds_there_are(shares: Ratios) -> None:
    lengths = {split: len(of_split("0-4294967295", shares, split)) for split in shares}
    assert sum(lengths.values()) == SEED_LIMIT
    for split, share in shares.items():
        assert abs(lengths[split] - share * SEED_LIMIT) <= 1


@pytest.mark.parametrize("split", SPLITS)
def test_first_middle_and_last_of_all_seeds_are_found_without_listing(split: str) -> None:
    tracemalloc.start()
    try:
        seeds = of_split("0-4294967295", THREE, split)
        first, middle, last = seeds.at(np.array([0, len(seeds) // 2, len(seeds) - 1])).tolist()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert [split_of(seed, THREE) for seed in (first, middle, last)] == [split] * 3
    assert first == next(seed for seed in itertools.count() if by_formula(seed, THREE) == split)
    assert last == next(seed for seed in itertools.count(SEED_LIMIT - 1, -1) if by_formula(seed, THREE) == split)
    assert abs(middle - SEED_LIMIT // 2) < 100


def test_the_order_of_the_ratios_counts() -> None:
    train_first, val_first = {"train": 0.5, "val": 0.5}, {"val": 0.5, "train": 0.5}
    assert all(split_of(seed, train_first) != split_of(seed, val_first) for seed in range(100))


def test_ratios_are_added_as_they_are_written() -> None:
    assert bounds({"train": 0.7, "val": 0.2, "test": 0.1})["test"][0] == -(-9 * 2**32 // 10)


@pytest.mark.parametrize(
    "shares", [{"train": 1.0, "val": 5e-10, "test": 4e-10}, {"train": 1.0, "val": 1e-10}, {"val": 1e-10, "train": 1.0}]
)
def test_ratios_that_add_up_to_one_only_nearly_still_split_all_seeds(shares: Ratios) -> None:
    assert sum(len(of_split("0-4294967295", shares, split)) for split in shares) == SEED_LIMIT
