"""Resolving: every choice made, nothing accepted that the generator cannot do, and a fingerprint that tells datasets apart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansynth.errors import InputError, LabelError, RecipeError
from gansynth.generators import describe
from gansynth.info import GeneratorInfo, TruncationRule
from gansynth.labels import imagenet
from gansynth.recipe import Recipe
from gansynth.resolve import ResolvedRecipe, fingerprint, resolve

FAKE = describe("fake", {"num_classes": 6})
UNCONDITIONAL = describe("fake", {"num_classes": 0})
BASE: dict[str, Any] = {"name": "small", "generator": "fake", "classes": [0, 1], "seeds": "0-99"}


def resolved(
    info: GeneratorInfo = FAKE, device: str = "cpu", recorded: dict[str, Any] | None = None, **changes: Any
) -> ResolvedRecipe:
    content = {key: value for key, value in {**BASE, **changes}.items() if value is not ...}
    return resolve(Recipe(**content), info, device, recorded)


def complaint(info: GeneratorInfo = FAKE, **changes: Any) -> str:
    """What is said about the base recipe with some keys changed (`...` leaves one out): always one line."""
    with pytest.raises(InputError) as error:
        resolved(info, **changes)
    assert isinstance(error.value, (RecipeError, LabelError))
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def identity(recipe: ResolvedRecipe) -> str:
    return fingerprint(recipe.record(), recipe.info.weights_sha256 or "")


# Auto values


@pytest.mark.parametrize("resolution", [1, 32, 64, 128, 256, 512, 1024, 4096])
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_nothing_is_left_to_choose(device: str, resolution: int) -> None:
    recipe = resolved(describe("fake", {"resolution": resolution}), device)
    assert recipe == resolved(describe("fake", {"resolution": resolution}), device)
    assert "auto" not in json.dumps(recipe.record())
    assert None not in recipe.record().values()
    assert 1 <= recipe.batch_size <= recipe.samples_per_shard
    assert (recipe.precision, recipe.threads, recipe.latent) == ("float32", 1, "truncated_normal")


def test_networks_are_half_precise_on_a_gpu_alone_and_compiled_where_asked_for() -> None:
    info = describe("fashion-32")
    on_cpu, on_gpu = resolved(info), resolved(info, "cuda")
    assert (on_cpu.precision, on_cpu.compile) == ("float32", False)
    assert (on_gpu.precision, on_gpu.compile) == ("bfloat16", False)
    chosen = resolved(info, "cuda", precision="float32", compile=True)
    assert (chosen.precision, chosen.compile) == ("float32", True)


def test_compiling_belongs_to_the_fingerprint() -> None:
    info = describe("fashion-32")
    assert identity(resolved(info, compile=True)) != identity(resolved(info, compile=False))


def test_what_cannot_be_compiled_is_not_said_to_be() -> None:
    assert "compile: saw true" in complaint(compile=True)
    assert resolved(FAKE, "cuda").compile is False


def test_what_the_recipe_says_stands() -> None:
    recipe = resolved(batch_size=5, threads=3, precision="bfloat16", latent="normal")
    assert (recipe.batch_size, recipe.threads, recipe.precision, recipe.latent) == (5, 3, "bfloat16", "normal")


def test_a_batch_is_never_larger_than_a_shard() -> None:
    assert resolved(batch_size=100, samples_per_shard=7).batch_size == 7
    assert resolved(samples_per_shard=7).batch_size == 7


def test_the_dataset_that_is_continued_decides_where_the_recipe_says_auto() -> None:
    first = resolved(batch_size=11, threads=3, precision="float16", latent="normal")
    assert resolved(device="cuda", recorded=first.record()) == first


def test_the_recipe_decides_where_it_says_something() -> None:
    first = resolved(batch_size=11, threads=3)
    assert resolved(recorded=first.record(), batch_size=12, threads=4).record()["batch_size"] == 12
    assert resolved(recorded=first.record(), batch_size=12, threads=4).record()["threads"] == 4


@pytest.mark.parametrize(("resolution", "expected"), [(1, False), (127, False), (128, True), (1024, True)])
def test_images_say_what_they_are_from_128_pixels_on(resolution: int, expected: bool) -> None:
    info = describe("fake", {"resolution": resolution})
    assert resolved(info).provenance is expected
    assert [resolved(info, provenance=key).provenance for key in (True, False)] == [True, False]


@pytest.mark.parametrize("first", [True, False])
def test_a_dataset_stays_with_or_without_provenance(first: bool) -> None:
    info = describe("fake", {"resolution": 256})
    record = resolved(info, provenance=first).record()
    assert ("provenance" in record) is first  # datasets from before the key have none
    assert resolved(info, recorded=record).provenance is first


# Generator and recipe


def test_a_latent_that_the_generator_does_not_take_is_refused() -> None:
    message = complaint(latent="numpy_normal")
    assert "numpy_normal" in message
    assert "truncated_normal or normal" in message


@pytest.mark.parametrize(
    ("rule", "truncation", "allowed"),
    [
        ("unit", 0, False),
        ("unit", -0.5, False),
        ("unit", 1.2, False),
        ("unit", 1, True),
        ("unit", 1e-6, True),
        ("psi", 0, True),
        ("psi", -0.7, True),
        ("psi", 1.2, True),
        ("one", 1.0, True),
        ("one", 0.5, False),
    ],
)
def test_truncations_are_those_that_the_family_has(rule: TruncationRule, truncation: float, allowed: bool) -> None:
    assert rule in get_args(TruncationRule)
    info = replace(FAKE, truncation_rule=rule)
    if allowed:
        assert resolved(info, truncation=[truncation]).truncations == (truncation,)
    else:
        message = complaint(info, truncation=[1.0, truncation])
        assert message.startswith(f"truncation: saw {truncation:g}")


def test_classes_are_found_by_index_name_and_wnid() -> None:
    info = replace(FAKE, num_classes=1000, labels=imagenet())
    recipe = resolved(info, classes=["golden retriever", 979, "n09472597"])
    assert recipe.targets == (207, 979, 980)


def test_all_means_every_class_in_order() -> None:
    assert [label.index for label in resolved(classes="all").classes] == list(range(6))


def test_missing_classes_are_asked_for_with_an_example() -> None:
    message = complaint(classes=...)
    assert "classes" in message
    assert "tint 0" in message


def test_classes_of_an_unconditional_generator_are_refused() -> None:
    assert complaint(UNCONDITIONAL).startswith("classes: ")
    assert complaint(UNCONDITIONAL, classes="all").startswith("classes: ")
    assert resolved(UNCONDITIONAL, classes=...).classes == ()


@pytest.mark.parametrize("wanted", ["tint 99", 6, -1, "tnt 3"])
def test_a_class_that_does_not_exist_is_named(wanted: int | str) -> None:
    assert str(wanted) in complaint(classes=[0, wanted])


def test_one_class_in_two_spellings_is_refused_with_both() -> None:
    message = complaint(classes=[3, "TINT_3"])
    assert "3 and 'TINT_3'" in message


# Labels


def test_labels_are_the_generators_own_dense_or_given() -> None:
    assert resolved(classes=[4, 2]).targets == (4, 2)
    assert resolved(classes=[4, 2], labels="dense").targets == (0, 1)
    assert resolved(classes=[4, 2], labels={"tint 2": 7, 4: 7}).targets == (7, 7)


def test_without_classes_the_label_is_zero() -> None:
    assert resolved(UNCONDITIONAL, classes=...).targets == (0,)
    assert resolved(UNCONDITIONAL, classes=..., labels="dense").targets == (0,)


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ({0: 5}, "1 (tint 1)"),
        ({0: 5, 1: 6, 2: 7}, "2 (tint 2)"),
        ({0: 5, 1: -1}, "-1"),
        ({0: 5, 1: 2**31}, str(2**31)),
        ({0: 5, "tnt 1": 6}, "tnt 1"),
        ({0: 5, "tint 0": 6, 1: 7}, "tint 0"),
    ],
)
def test_labels_that_do_not_fit_the_classes_are_refused(labels: dict[int | str, int], named: str) -> None:
    assert named in complaint(labels=labels)


def test_labels_of_an_unconditional_generator_are_refused() -> None:
    assert complaint(UNCONDITIONAL, classes=..., labels={"a": 1}).startswith("labels: ")


# Splits


def test_a_split_without_a_sample_is_named() -> None:
    message = complaint(seeds="0-3", splits={"train": 0.99, "val": 0.01})
    assert message.startswith("splits: ")
    assert "val" in message


def test_the_only_class_of_a_split_without_a_sample_is_named() -> None:
    assert "0 (tint 0)" in complaint(seeds="0-3", splits={"train": 0.99, "val": 0.01}, classes=[0])


def test_a_class_that_disjoint_seeds_do_not_reach_is_named() -> None:
    message = complaint(seeds="0-2", seed_use="disjoint", classes="all")
    assert "train would have no sample of class 3 (tint 3)" in message
    assert resolved(seeds="0-5", seed_use="disjoint", classes="all").seed_use == "disjoint"


def test_splits_that_add_up_to_one_only_nearly_give_no_traceback() -> None:
    assert complaint(splits={"train": 1.0, "val": 5e-10, "test": 4e-10}).startswith("splits: ")


# Record and fingerprint

PARTS = ["0-99", "100-149"]
choices = st.fixed_dictionaries(
    {},
    optional={
        "classes": st.just("all") | st.permutations([0, 2, 4]),
        "labels": st.sampled_from(["generator", "dense"]),
        "truncation": st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=3, unique=True),
        "seeds": st.sampled_from([PARTS, PARTS[:1], "5,0-4,50-99"]),
        "seed_use": st.sampled_from(["shared", "disjoint"]),
        "latent": st.sampled_from(["normal", "truncated_normal"]),
        "splits": st.sampled_from([{"train": 1.0}, {"val": 0.3, "train": 0.7}]),
        "image": st.sampled_from([{"format": "png"}, {"format": "webp", "lossless": True}, {"quality": 50}]),
        "batch_size": st.integers(1, 2000),
        "threads": st.integers(1, 4),
        "precision": st.sampled_from(["float16", "bfloat16"]),
        "samples_per_shard": st.integers(1, 2000),
        "provenance": st.booleans(),
    },
)


@given(choices)
def test_a_record_resolves_to_itself(changes: dict[str, Any]) -> None:
    recipe = resolved(**changes)
    again = resolve(Recipe.parse(recipe.record()), FAKE, "cuda")
    assert again == recipe
    assert again.record() == recipe.record()
    assert identity(again) == identity(recipe)


def test_a_record_without_classes_resolves_to_itself() -> None:
    recipe = resolved(UNCONDITIONAL, classes=...)
    assert resolve(Recipe.parse(recipe.record()), UNCONDITIONAL) == recipe


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": [1, 0]},
        {"classes": [0, 2]},
        {"labels": {0: 1, 1: 0}},
        {"truncation": [0.5]},
        {"truncation": [1.0, 0.5]},
        {"seeds": "0-98"},
        {"seeds": ["0-49", "50-99"]},
        {"seeds": "50-99,0-49"},
        {"seed_use": "disjoint"},
        {"latent": "normal"},
        {"splits": {"train": 0.5, "val": 0.5}},
        {"splits": {"val": 1.0}},
        {"image": {"quality": 94}},
        {"image": {"subsampling": "4:2:0"}},
        {"image": {"format": "png"}},
        {"samples_per_shard": 999},
        {"batch_size": 31},
        {"threads": 2},
        {"precision": "bfloat16"},
        {"provenance": True},
    ],
    ids=str,
)
def test_every_key_that_decides_bytes_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert identity(resolved(**changes)) != identity(resolved())


def test_the_weights_and_the_order_of_splits_change_the_fingerprint() -> None:
    assert identity(resolved(replace(FAKE, weights_sha256="0" * 64))) != identity(resolved())
    train_first, val_first = {"train": 0.5, "val": 0.5}, {"val": 0.5, "train": 0.5}
    assert identity(resolved(splits=train_first)) != identity(resolved(splits=val_first))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"output": "memory://elsewhere"},
        {"seeds": ["0-99", "100-149"]},
        {"seeds": "0-49,50-99"},
        {"classes": ["tint 0", "tint 1"]},
        {"labels": "dense"},
        {"truncation": 1},
        {"image": {"quality": 95, "subsampling": "4:4:4"}},
        {"batch_size": 32, "threads": 1, "precision": "float32", "latent": "truncated_normal"},
        {"provenance": False},
    ],
    ids=str,
)
def test_another_way_to_say_the_same_leaves_the_fingerprint(changes: dict[str, Any]) -> None:
    assert identity(resolved(**changes)) == identity(resolved())


def test_where_the_weights_lie_leaves_the_fingerprint() -> None:
    assert identity(resolved(replace(FAKE, name="/elsewhere/weights"))) == identity(resolved())


def test_appending_parts_leaves_the_recipe_as_it_is() -> None:
    recipe = resolved()
    longer = recipe.with_parts(resolved(seeds=PARTS).parts)
    assert longer == resolved(seeds=PARTS)
    assert identity(longer) == identity(recipe)
