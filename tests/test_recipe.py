"""Recipes: what may be written, how it is read, and what is said about mistakes."""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gansynth.errors import RecipeError
from gansynth.recipe import _TAKES, ImageFormat, Recipe
from gansynth.recipe_file import parse_value, written

BASE: dict[str, Any] = {"name": "small", "generator": "fake", "classes": [0, 1], "seeds": "0-9"}
Overrides = dict[str, Any]


def complaint(**changes: Any) -> str:
    """What is said about the base recipe with some keys changed: always one line."""
    with pytest.raises(RecipeError) as error:
        Recipe(**{**BASE, **changes})
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def write(folder: Path, content: object) -> Path:
    path = folder / "recipe.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        yaml = YAML(typ="safe", pure=True)
        yaml.width = 10_000  # ruamel.yaml cannot read its own keys that it broke over two lines
        yaml.dump(content, path)
    return path


def refused(path: Path, overrides: Overrides | None = None) -> str:
    """What is said about a file: always one line that names it."""
    with pytest.raises(RecipeError) as error:
        Recipe.load(path, overrides)
    assert len(str(error.value).splitlines()) == 1
    assert str(path) in str(error.value)
    return str(error.value)


names = st.text(st.sampled_from(string.ascii_letters + string.digits + "._ äñ漢-"), min_size=1, max_size=20).map(
    lambda text: "a" + text
)
recipes = st.fixed_dictionaries(
    {
        "name": names,
        "generator": st.sampled_from(["fake", "fashion-32", "./weights/mine", "pkg.module:factory"]),
        "seeds": st.sampled_from(["0-9", "3", ["0-9", "20-29"], ["0", "4-7,10-12"]]),
    },
    optional={
        "classes": st.just("all") | st.lists(st.integers(0, 9) | names, min_size=1, max_size=4),
        "labels": st.sampled_from(["generator", "dense"]) | st.dictionaries(names, st.integers(0, 99), min_size=1),
        "truncation": st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4, unique=True),
        "splits": st.sampled_from([{"train": 1.0}, {"val": 0.25, "train": 0.75}, {"train": 1e-05, "test": 0.99999}]),
        "image": st.sampled_from([{"format": "png"}, {"format": "webp", "lossless": True}, {"subsampling": "4:2:0"}]),
        "precision": st.sampled_from(["auto", "float16"]),
        "latent": st.sampled_from(["normal", None]),
        "batch_size": st.sampled_from(["auto", 7]),
        "samples_per_shard": st.integers(1, 1_000_000),
        "output": st.sampled_from(["./datasets/x", "s3://bucket/prefix", "memory://here"]),
        "generator_options": st.just({"num_classes": 3}),
        "provenance": st.sampled_from(["auto", True, False]),
    },
)


@given(content=recipes)
def test_a_recipe_written_as_yaml_is_read_back_the_same(
    content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = Recipe(**content)
    folder = tmp_path_factory.mktemp("recipes")
    assert Recipe.load(write(folder, content)) == recipe
    assert Recipe.load(write(folder, recipe.model_dump())) == recipe


@pytest.mark.parametrize(
    "keys",
    [
        {"generator": "fake", "seeds": ["0-9", {"seeds": "10-12", "classes": ["tint 0"]}], "classes": "all"},
        {"vary": {"from": "data", "sigma": 0.1, "count": 2}},
        {"interpolate": {"from": "data", "where": "seed < 9", "pairs": 3, "steps": 2}, "image": {"format": "png"}},
    ],
)
def test_its_content_makes_the_same_recipe(keys: dict[str, Any]) -> None:
    recipe = Recipe.parse({"name": "small", **keys})
    assert Recipe.parse(recipe.content()) == recipe
    assert recipe.model_copy(update={"output": "out"}).content() == {**recipe.content(), "output": "out"}


def test_what_a_user_writes_is_what_is_read(tmp_path: Path) -> None:
    recipe = Recipe.load(
        write(
            tmp_path,
            "name: dogs\n"
            "generator: biggan-deep-256\n"
            "classes: [golden retriever, 980, n09472597]  # a name, an index, a wnid\n"
            "truncation: 1\n"
            "seeds: 0-4999,7000\n"
            "splits: {train: 0.9, val: 0.1}\n"
            "image: {subsampling: 4:2:0}\n",
        )
    )
    assert recipe.classes == ["golden retriever", 980, "n09472597"]
    assert recipe.truncation == [1.0]
    assert [len(part) for part in recipe.parts] == [5001]
    assert list(recipe.splits.items()) == [("train", 0.9), ("val", 0.1)]
    assert recipe.image.options() == {"format": "jpg", "quality": 95, "subsampling": "4:2:0"}


def test_seeds_in_a_list_are_one_part_each() -> None:
    recipe = Recipe(**{**BASE, "seeds": ["0-4,5-9", 20, "30-39"]})
    assert recipe.seeds == ["0-9", "20", "30-39"]
    assert [len(part) for part in recipe.parts] == [10, 1, 10]


def test_a_single_value_stands_for_a_list() -> None:
    recipe = Recipe(**{**BASE, "classes": "tint 1", "truncation": 0.5, "seeds": 7})
    assert (recipe.classes, recipe.truncation, recipe.seeds) == (["tint 1"], [0.5], ["7"])


def test_a_recipe_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe(**BASE).name = "other"


def test_any_finite_truncation_may_be_written_since_psi_may_be_negative() -> None:
    assert Recipe(**{**BASE, "truncation": [0, -0.7, 2]}).truncation == [0.0, -0.7, 2.0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trunkation": 0.5}, ["`trunkation`", "did you mean `truncation`"]),
        ({"truncation": "a"}, ["truncation", "'a'"]),
        ({"truncation": math.nan}, ["truncation", "nan"]),
        ({"truncation": [0.5, math.inf]}, ["truncation", "inf"]),
        ({"truncation": 10**400}, ["truncation"]),
        ({"truncation": [0.5, 0.25, 0.5]}, ["truncation", "0.5 twice"]),
        ({"truncation": [1, 1.0]}, ["truncation", "1 twice"]),
        ({"truncation": []}, ["truncation", "[]"]),
        ({"truncation": None}, ["truncation", "None"]),
        ({"classes": []}, ["classes", "[]"]),
        ({"classes": [1.5]}, ["classes", "[1.5]"]),
        ({"classes": {"a": 1}}, ["classes", "{'a': 1}"]),
        ({"labels": "sparse"}, ["labels", "'sparse'"]),
        ({"labels": {"tint 0": 1.5}}, ["labels", "1.5"]),
        ({"splits": {"train": 0.5}}, ["splits", "0.5"]),
        ({"splits": {"train": 0.8, "val": 0.3}}, ["splits", "1.1"]),
        ({"splits": {"train": 0.5, "dev": 0.5}}, ["splits", '"dev"']),
        ({"splits": {"train": 1.0, "val": 0}}, ["splits", "'val': 0"]),
        ({"splits": {"train": 1.5, "val": -0.5}}, ["splits", "1.5"]),
        ({"splits": {}}, ["splits", "{}"]),
        ({"splits": {"train": "most"}}, ["splits", "'most'"]),
        ({"image": {"format": "gif"}}, ["image.format", "'gif'", "jpg, png or webp"]),
        ({"image": {"quality": 0}}, ["image.quality", "0"]),
        ({"image": {"quality": 101}}, ["image.quality", "101"]),
        ({"image": {"subsampling": "4:1:1"}}, ["image.subsampling", "'4:1:1'"]),
        ({"image": {"format": "png", "quality": 90}}, ["image", "quality", "png"]),
        ({"image": {"format": "jpg", "compress_level": 6}}, ["image", "compress_level", "jpg"]),
        ({"image": {"format": "webp", "subsampling": "4:2:0"}}, ["image", "subsampling", "webp"]),
        ({"image": {"format": "webp", "lossless": True, "quality": 90}}, ["image", "quality", "lossless"]),
        ({"image": {"qualty": 90}}, ["`image.qualty`", "did you mean `quality`"]),
        ({"image": "jpg"}, ["image", "'jpg'"]),
        ({"samples_per_shard": 0}, ["samples_per_shard", "0"]),
        ({"samples_per_shard": 1_000_001}, ["samples_per_shard", "1000001"]),
        ({"samples_per_shard": 10.5}, ["samples_per_shard", "10.5"]),
        ({"samples_per_shard": "auto"}, ["samples_per_shard", "'auto'"]),
        ({"batch_size": 0}, ["batch_size", "0"]),
        ({"batch_size": "big"}, ["batch_size", "'big'"]),
        ({"threads": -1}, ["threads", "-1"]),
        ({"name": "a/b"}, ["name", "'a/b'"]),
        ({"name": "a\\b"}, ["name", r"a\\b"]),
        ({"name": "../up"}, ["name", "'../up'"]),
        ({"name": ".."}, ["name", "'..'"]),
        ({"name": "two\nlines"}, ["name", r"two\nlines"]),
        ({"name": ""}, ["name", "''"]),
        ({"name": "x" * 101}, ["name", "xxx"]),
        ({"name": 3}, ["name", "3"]),
        ({"generator": ""}, ["generator", "''"]),
        ({"generator_options": [1]}, ["generator_options", "[1]"]),
        ({"precision": "float64"}, ["precision", "'float64'"]),
        ({"seed_use": "alone"}, ["seed_use", "'alone'"]),
        ({"latent": "uniform"}, ["latent", "'uniform'"]),
        ({"output": ""}, ["output", "''"]),
        ({"seeds": "5-1"}, ["seeds", '"5-1"']),
        ({"seeds": "0-9,4"}, ["seeds", "seed 4"]),
        ({"seeds": ["0-9", "9-12"]}, ["seeds", "seed 9"]),
        ({"seeds": -3}, ["seeds", '"-3"']),
        ({"seeds": 2**32}, ["seeds", "4294967296"]),
        ({"seeds": "9" * 5000}, ["seeds"]),
        ({"seeds": "1\n5"}, ["seeds"]),
        ({"seeds": 1.5}, ["seeds", "1.5"]),
        ({"seeds": []}, ["seeds", "[]"]),
        ({"seeds": None}, ["seeds", "None"]),
        ({"two\nlines": 1}, ["two"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_named_with_what_was_seen(changes: dict[str, Any], named: list[str]) -> None:
    message = complaint(**changes)
    assert [piece for piece in named if piece not in message] == []


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(
    "key", ["truncation", "seeds", "classes", "samples_per_shard", "batch_size", "threads", "image.quality"]
)
def test_a_boolean_is_no_number(key: str, value: bool) -> None:
    with pytest.raises(RecipeError, match=f"{key}: saw {value}"):
        Recipe.parse(BASE, {key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("truncation", [True]),
        ("classes", [True]),
        ("seeds", [True]),
        ("splits", {"train": True}),
        ("labels", {"tint 0": True}),
        ("labels", {True: 0}),
    ],
)
def test_nor_is_one_inside_a_list_or_mapping(key: str, value: object) -> None:
    assert complaint(**{key: value}).startswith(f"{key}: saw ")


@pytest.mark.parametrize("key", ["name", "generator", "seeds"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(RecipeError, match=f"`{key}` is missing"):
        Recipe(**{name: value for name, value in BASE.items() if name != key})


def test_every_mistake_gets_a_line() -> None:
    with pytest.raises(RecipeError) as error:
        Recipe(**{**BASE, "truncation": "a", "threads": 0, "colour": "red"})
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(any(key in line for line in lines) for key in ("truncation", "threads", "colour"))


@pytest.mark.parametrize("fields", [Recipe.model_fields, ImageFormat.model_fields])
def test_every_key_has_its_entry_in_what_keys_take(fields: dict[str, Any]) -> None:
    assert set(fields) - set(_TAKES) == set()


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("", "an empty file"),
        ("# only a comment\n", "an empty file"),
        ("- name: a\n", "a list"),
        ("just text\n", "a single value"),
        ("42\n", "a single value"),
        ("name: [\n", "not valid YAML"),
        ("name: a\n\tseeds: 0\n", "not valid YAML"),
        ("name: a\nname: b\n", 'duplicate key "name"'),
        ("name: a\n---\nname: b\n", "not valid YAML"),
        ("name: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        ("3: a\n", "the key 3"),
        ("name: a\0b\n", "not valid YAML"),
        (b"name: \xff\xfe\n", "is not UTF-8 text"),
        ("name: 2024-12-24\ngenerator: fake\nseeds: 0-9\n", "name: saw datetime.date(2024, 12, 24)"),
        ("name: 2024-24-12\ngenerator: fake\nseeds: 0-9\n", "recipe"),
        ('name: a\ngenerator: fake\nseeds: 0-9\n"two\\nlines": 1\n', "two"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str | bytes, seen: str) -> None:
    assert seen in refused(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.yaml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)


def test_every_line_about_a_file_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, {**BASE, "threads": 0, "batch_size": 0})
    with pytest.raises(RecipeError) as error:
        Recipe.load(path)
    assert [str(path) in line for line in str(error.value).splitlines()] == [True, True]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"name": "other"}, {"name": "other"}),
        ({"image.quality": 80}, {"image": {"format": "jpg", "subsampling": "4:2:0", "quality": 80}}),
        ({"image": {"format": "png"}}, {"image": {"format": "png"}}),
        ({"splits.val": 0.5, "splits.train": 0.5}, {"splits": {"train": 0.5, "val": 0.5}}),
        ({"generator_options.z_dim": 8}, {"generator_options": {"z_dim": 8}}),
        ({"truncation": [0.25]}, {"truncation": [0.25]}),
    ],
)
def test_overrides_replace_what_the_file_says(tmp_path: Path, overrides: Overrides, expected: dict[str, Any]) -> None:
    content = {**BASE, "image": {"format": "jpg", "subsampling": "4:2:0"}}
    assert Recipe.load(write(tmp_path, content), overrides) == Recipe(**{**content, **expected})


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"image.quality": 0}, "image.quality: saw 0"),
        ({"image.hue": 1}, "`image.hue`"),
        ({"colour": "red"}, "`colour`"),
        ({"name.first": "a"}, "name: saw"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, overrides: Overrides, named: str) -> None:
    assert named in refused(write(tmp_path, BASE), overrides)


def test_overriding_leaves_the_given_mapping_alone() -> None:
    content = {**BASE, "image": {"quality": 90}}
    Recipe.parse(content, {"image.quality": 80})
    assert content["image"] == {"quality": 90}


def test_the_recipe_of_a_dataset_can_be_read_as_a_recipe() -> None:
    kept = {"format_version": 1, "fingerprint": "0" * 64, "weights_sha256": "1" * 64, "environment": {}, "about": {}}
    assert Recipe.parse({**BASE, **kept, "also_rendered_in": []}) == Recipe(**BASE, provenance=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[0.4, 0.9]", [0.4, 0.9]),
        ("0-9", "0-9"),
        ("7", 7),
        ("true", True),
        ("no", "no"),
        ("{train: 1.0}", {"train": 1}),
    ],
)
def test_a_value_from_the_command_line_is_yaml(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["[0.4", "a: b: c", "2024-24-12"])
def test_a_text_that_is_no_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_value(text)
    assert len(str(error.value).splitlines()) == 1
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        ({}, {"format": "jpg", "quality": 95, "subsampling": "4:4:4"}),
        ({"format": "png"}, {"format": "png", "compress_level": 6}),
        ({"format": "png", "compress_level": 0}, {"format": "png", "compress_level": 0}),
        ({"format": "webp"}, {"format": "webp", "quality": 95}),
        ({"format": "webp", "lossless": False, "quality": 50}, {"format": "webp", "quality": 50}),
        ({"format": "webp", "lossless": True}, {"format": "webp", "lossless": True}),
    ],
)
def test_image_options_have_their_defaults_filled_in(image: dict[str, Any], options: dict[str, Any]) -> None:
    assert ImageFormat(**image).options() == options
    assert ImageFormat(**options).options() == options


# Writing


TEXT = st.text(max_size=12) | st.sampled_from(["? y", "- x", "a: b", "null", "1_000", "<<", "=", "a\x85b", "\u2028"])


@given(st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3), max_size=3))
def test_what_is_written_comes_back(content: dict[str, Any]) -> None:
    assert YAML(typ="safe", pure=True).load(written(content)) == content


def test_a_recipe_sent_as_text_keeps_what_a_mapping_may_lose_on_its_way() -> None:
    """The order of splits, and numbers as keys."""
    content = {**BASE, "classes": [9, 7, "Bag"], "labels": {9: 0, 7: 1, "Bag": 2}, "splits": {"val": 0.1, "train": 0.9}}
    recipe = Recipe.read(written(content))
    assert list(recipe.splits) == ["val", "train"] and recipe == Recipe.parse(content)
    with pytest.raises(RecipeError, match="saw a list, not a mapping"):
        Recipe.read("- a\n- b\n")
