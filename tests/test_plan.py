"""Plans: every sample once, splits apart, shards that never move, and no memory however many samples there are."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gansynth.errors import RecipeError
from gansynth.generators import describe
from gansynth.plan import Permutation, Plan, ShardPlan
from gansynth.recipe import Recipe
from gansynth.resolve import resolve
from gansynth.splits import split_of

Recipes = dict[str, Any]
PARTS = ["0-15", "60-69,45", "100-102", "4294967280-4294967295"]


@st.composite
def recipes(draw: st.DrawFn) -> Recipes:
    num_classes = draw(st.integers(0, 4))
    classes = draw(st.permutations(range(num_classes)))[: draw(st.integers(1, max(1, num_classes)))]
    return {
        "name": "planned",
        "generator": "fake",
        "generator_options": {"num_classes": num_classes},
        **({"classes": list(classes)} if num_classes else {}),
        "truncation": draw(st.permutations([0.25, 0.5, 1.0]))[: draw(st.integers(1, 3))],
        "seeds": PARTS[: draw(st.integers(1, len(PARTS)))],
        "seed_use": draw(st.sampled_from(["shared", "disjoint"])),
        "splits": draw(
            st.sampled_from(
                [{"train": 1.0}, {"train": 0.8, "val": 0.2}, {"test": 0.1, "val": 0.1, "train": 0.8}, {"val": 1.0}]
            )
        ),
        "samples_per_shard": draw(st.integers(3, 60) | st.just(1000)),
    }


def plan_of(content: Recipes) -> Plan:
    recipe = Recipe(**content)
    return Plan(resolve(recipe, describe(recipe.generator, recipe.generator_options)))


def plan_or_reject(content: Recipes) -> Plan:
    try:
        return plan_of(content)
    except RecipeError:  # a split or class without a sample
        reject()


@dataclass(frozen=True)
class Sample:
    split: str
    part: int
    position: int
    truncation: float
    seed: int


def samples_of(plan: Plan, shard: ShardPlan) -> list[Sample]:
    rows = plan.rows(shard)
    assert len(rows) == shard.size == len(rows.classes) == len(rows.truncations)
    assert {array.dtype for array in (rows.seeds, rows.classes, rows.truncations)} == {np.dtype(np.int64)}
    truncations = plan.recipe.truncations
    return [
        Sample(shard.split, shard.part, int(position), truncations[truncation], int(seed))
        for seed, position, truncation in zip(rows.seeds, rows.classes, rows.truncations, strict=True)
    ]


def all_samples(plan: Plan) -> list[Sample]:
    return [sample for shard in plan for sample in samples_of(plan, shard)]


# Samples


@settings(max_examples=25)
@given(recipes().map(lambda content: {**content, "seed_use": "shared"}))
def test_shared_seeds_meet_every_class_and_truncation_exactly_once(content: Recipes) -> None:
    plan = plan_or_reject(content)
    seeds = [seed for part in plan.recipe.parts for seed in part]
    wanted = itertools.product(range(max(1, len(plan.recipe.classes))), plan.recipe.truncations, seeds)
    made = [(sample.position, sample.truncation, sample.seed) for sample in all_samples(plan)]
    assert sorted(made) == sorted(wanted)
    assert plan.samples == len(made)


@settings(max_examples=25)
@given(recipes().map(lambda content: {**content, "seed_use": "disjoint"}))
def test_disjoint_seeds_are_each_used_once_and_dealt_out_evenly(content: Recipes) -> None:
    plan = plan_or_reject(content)
    samples = all_samples(plan)
    assert sorted(sample.seed for sample in samples) == sorted(seed for part in plan.recipe.parts for seed in part)
    combinations = max(1, len(plan.recipe.classes)) * len(plan.recipe.truncations)
    for _, dealt in itertools.groupby(samples, key=lambda sample: (sample.part, sample.split)):
        counts = Counter((sample.position, sample.truncation) for sample in dealt)
        fewest = min(counts.values()) if len(counts) == combinations else 0
        assert max(counts.values()) - fewest <= 1


@settings(max_examples=25)
@given(recipes())
def test_splits_share_no_seed_and_follow_the_formula(content: Recipes) -> None:
    for sample in all_samples(plan_or_reject(content)):
        assert sample.split == split_of(sample.seed, content["splits"])


@settings(max_examples=25)
@given(recipes())
def test_a_sample_lies_in_the_part_that_its_seed_came_from(content: Recipes) -> None:
    plan = plan_or_reject(content)
    parts = [set(part) for part in plan.recipe.parts]
    assert all(sample.seed in parts[sample.part] for sample in all_samples(plan))


# Shards


@settings(max_examples=25)
@given(recipes())
def test_shards_are_full_but_for_the_last_of_a_part_and_split(content: Recipes) -> None:
    shards = list(plan_or_reject(content))
    for _, section in itertools.groupby(shards, key=lambda shard: (shard.part, shard.split)):
        *full, last = section
        assert all(shard.size == content["samples_per_shard"] for shard in full)
        assert 1 <= last.size <= content["samples_per_shard"]


@settings(max_examples=25)
@given(recipes())
def test_numbers_are_dense_in_every_split_and_ordinals_in_the_plan(content: Recipes) -> None:
    plan = plan_or_reject(content)
    shards = list(plan)
    assert len(plan) == len(shards)
    assert [shard.ordinal for shard in shards] == list(range(len(shards)))
    for split in content["splits"]:
        numbers = [shard.number for shard in shards if shard.split == split]
        assert numbers == list(range(plan.shards_of(split)))


@settings(max_examples=25)
@given(recipes())
def test_iterating_counting_and_finding_agree(content: Recipes) -> None:
    plan = plan_or_reject(content)
    for shard in plan:
        assert plan.shard(shard.ordinal) == shard
        assert plan.find(shard.split, shard.number) == shard


@pytest.mark.parametrize("ordinal", [-1, 3])
def test_there_is_no_shard_outside_the_plan(ordinal: int) -> None:
    plan = plan_of({"name": "a", "generator": "fake", "classes": [0], "seeds": "0-29", "samples_per_shard": 10})
    assert len(plan) == 3
    with pytest.raises(IndexError):
        plan.shard(ordinal)
    for split in ("train", "val"):
        with pytest.raises(KeyError):
            plan.find(split, ordinal)


def test_files_and_keys_are_numbered_with_six_digits() -> None:
    shard = ShardPlan(split="val", number=12, ordinal=40, part=0, first=0, size=10)
    assert shard.stem == "val/000012"
    assert shard.key(7) == "val-000012-000007"


@settings(max_examples=25)
@given(recipes())
def test_appending_a_part_changes_no_existing_shard(content: Recipes) -> None:
    longer = plan_or_reject({**content, "seeds": PARTS})
    shorter = plan_or_reject(content)
    for before in shorter:
        after = longer.find(before.split, before.number)
        assert after == before
        assert samples_of(longer, after) == samples_of(shorter, before)
    assert [longer.shard(ordinal) for ordinal in range(len(shorter))] == list(shorter)


@settings(max_examples=25)
@given(recipes(), st.data())
def test_a_shard_is_the_same_in_whatever_order_shards_are_asked_for(content: Recipes, data: st.DataObject) -> None:
    plan, expected = plan_or_reject(content), all_samples(plan_or_reject(content))
    order = data.draw(st.permutations(range(len(plan)))) if len(plan) <= 30 else reversed(range(len(plan)))
    made = {ordinal: samples_of(plan, plan.shard(ordinal)) for ordinal in order}
    assert [sample for ordinal in range(len(plan)) for sample in made[ordinal]] == expected


def test_classes_truncations_and_seeds_mix_within_every_shard() -> None:
    plan = plan_of(
        {
            "name": "mixed",
            "generator": "fake",
            "classes": "all",  # 10
            "truncation": [0.5, 1.0],
            "seeds": "0-999",
            "samples_per_shard": 2000,
        }
    )
    assert len(plan) == 10
    for shard in plan:
        samples = samples_of(plan, shard)
        # 200 of a class, 1000 of a truncation and 20 of 10 seeds are expected: bounds of about five deviations.
        assert all(130 <= count <= 270 for count in Counter(sample.position for sample in samples).values())
        assert all(880 <= count <= 1120 for count in Counter(sample.truncation for sample in samples).values())
        tenths = Counter(sample.seed // 100 for sample in samples)
        assert len(tenths) == 10
        assert all(130 <= count <= 270 for count in tenths.values())
        assert len({sample.position for sample in samples[:50]}) >= 8


# Permutation


@given(st.integers(1, 700), st.text(max_size=20))
def test_a_permutation_reaches_every_position_once(size: int, key: str) -> None:
    assert sorted(Permutation(size, key)(np.arange(size)).tolist()) == list(range(size))


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 10**9, 2**42, 2**42 + 12345])
def test_a_large_permutation_stays_in_range_and_distinct(size: int) -> None:
    positions = np.unique(np.linspace(0, size - 1, 20_000).astype(np.int64))
    images = Permutation(size, "key")(positions)
    assert images.min() >= 0
    assert images.max() < size
    assert len(np.unique(images)) == len(positions)
    assert abs(images.mean() / size - 0.5) < 0.02


@given(st.integers(1, 700), st.data())
def test_an_image_does_not_depend_on_what_else_is_asked_for(size: int, data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1))
    permutation = Permutation(size, "key")
    assert [permutation(np.array([p]))[0] for p in positions] == permutation(np.array(positions)).tolist()


def test_other_keys_give_other_permutations() -> None:
    orders = {tuple(Permutation(100, f"{key}")(np.arange(100)).tolist()) for key in range(50)}
    assert len(orders) == 50


def test_the_positions_given_are_left_alone() -> None:
    positions = np.arange(100)
    Permutation(100, "key")(positions)
    assert positions.tolist() == list(range(100))


# Size


@pytest.mark.parametrize("seed_use", ["shared", "disjoint"])
def test_billions_of_samples_are_planned_in_a_few_megabytes(seed_use: str) -> None:
    tracemalloc.start()
    try:
        plan = plan_of(
            {
                "name": "vast",
                "generator": "fake",
                "generator_options": {"num_classes": 100},
                "classes": "all",
                "truncation": [0.4, 0.9],
                "seeds": ["0-1999999999", "2000000000-4294967295"],
                "seed_use": seed_use,
                "splits": {"train": 0.9, "val": 0.1},
            }
        )
        assert plan.samples == 2**32 * (200 if seed_use == "shared" else 1)
        shards = [next(iter(plan)), plan.shard(len(plan) // 2), plan.shard(len(plan) - 1)]
        rows = [plan.rows(shard) for shard in shards]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert shards[-1] == plan.find("val", plan.shards_of("val") - 1)
    for shard, chosen in zip(shards, rows, strict=True):
        assert len(chosen) == shard.size > 0
        assert {split_of(seed, plan.recipe.splits) for seed in chosen.seeds[:20].tolist()} == {shard.split}
