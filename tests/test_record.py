"""recipe.yaml in a dataset: read back as written, refused when damaged, and able to say what differs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gansynth.errors import OutputError
from gansynth.generators import describe
from gansynth.labels import imagenet, named_classes
from gansynth.recipe import Recipe
from gansynth.record import Record
from gansynth.resolve import ResolvedRecipe, resolve

FAKE = describe("fake", {"num_classes": 3, "resolution": 32})
UNCONDITIONAL = describe("fake", {"num_classes": 0})
HERE = {"device": "Some Processor @ 2.00GHz (AVX2)", "torch": "2.9.0", "render_version": "1"}
BASE: dict[str, Any] = {
    "name": "small",
    "generator": "fake",
    "classes": [0, 2],
    "truncation": [0.4, 1.0],
    "seeds": ["0-99", "200-249"],
    "splits": {"train": 0.8, "val": 0.2},
}
names = st.from_regex(r"\A\w[\w .+()-]{0,99}\Z")


def resolved(**changes: Any) -> ResolvedRecipe:
    return resolve(Recipe(**{**BASE, **changes}), FAKE)


def record(**changes: Any) -> Record:
    return Record(resolved(**changes), HERE)


DATA = record().encode()


def edited(path: str, value: object) -> bytes:
    """The file of the base record with one value changed by hand."""
    yaml = YAML(typ="safe", pure=True)
    content = inner = yaml.load(DATA.decode())
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    buffer = io.StringIO()
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(content, buffer)
    return buffer.getvalue().encode()


def require_same(again: Record, first: Record) -> None:
    """Everything that rendering, naming and captions depend on; names of classes that are not used are not kept."""
    assert again.recipe.record() == first.recipe.record()
    assert list(again.recipe.splits.items()) == list(first.recipe.splits.items())
    assert again.recipe.classes == tuple(replace(label, synonyms=()) for label in first.recipe.classes)
    assert again.recipe.targets == first.recipe.targets
    assert replace(again.recipe.info, labels=first.recipe.info.labels) == first.recipe.info
    assert (again.environment, again.others) == (first.environment, first.others)
    assert again.fingerprint == first.fingerprint
    assert again.encode() == first.encode()


@settings(max_examples=40)
@given(
    changes=st.fixed_dictionaries(
        {"name": names},
        optional={
            "classes": st.just("all") | st.permutations([0, 1, 2]),
            "labels": st.just("dense") | st.just({0: 5, 2: 9}),
            "truncation": st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=4, unique=True),
            "splits": st.sampled_from([{"train": 1.0}, {"val": 0.5, "train": 0.5}, {"test": 1 / 3, "val": 1 - 1 / 3}]),
            "seeds": st.sampled_from(["0-99", ["0-99", "200-249"], ["50-99,0-49", "100-101,4294967295"]]),
            "seed_use": st.sampled_from(["shared", "disjoint"]),
            "latent": st.just("normal"),
            "image": st.sampled_from([{"format": "png"}, {"format": "webp", "lossless": True}, {"quality": 10}]),
            "batch_size": st.integers(1, 3000),
            "provenance": st.booleans(),
            "samples_per_shard": st.integers(1, 3000),
        },
    ),
    environment=st.dictionaries(st.sampled_from(["device", "torch"]), st.text("abc 019.@(),-_+", max_size=200)),
)
@example({"name": "yes"}, {})
@example({"name": "1.5"}, {"device": "1e-05"})
@example({"name": "2024-12-24"}, {"device": "null"})
@example({"name": "0" * 100}, {"device": "word " * 60})
def test_a_record_is_read_back_as_it_was_written(changes: dict[str, Any], environment: dict[str, str]) -> None:
    if changes.get("classes") != [0, 2] and isinstance(changes.get("labels"), dict):
        changes = {**changes, "classes": [0, 2]}
    first = Record(resolved(**changes), environment, ({**HERE, **environment},))
    require_same(Record.decode(first.encode(), "here"), first)


def test_so_is_one_of_an_unconditional_generator() -> None:
    recipe = Recipe(name="plain", generator="fake", generator_options={"num_classes": 0}, seeds="0-9")
    first = Record(resolve(recipe, UNCONDITIONAL), HERE)
    require_same(Record.decode(first.encode(), "here"), first)


def test_so_is_one_of_imagenet_classes_with_every_kind_of_name() -> None:
    info = replace(FAKE, num_classes=1000, labels=imagenet())
    first = Record(resolve(Recipe(**{**BASE, "classes": "all"}), info), HERE)
    require_same(Record.decode(first.encode(), "here"), first)


def test_what_it_was_read_from_is_a_recipe_too() -> None:
    content = YAML(typ="safe", pure=True).load(DATA.decode())
    assert resolve(Recipe.parse(content), FAKE) == resolved()


def test_it_says_what_a_person_wants_to_know() -> None:
    content = YAML(typ="safe", pure=True).load(DATA.decode())
    assert content["fingerprint"] == record().fingerprint
    assert content["weights_sha256"] == FAKE.weights_sha256
    assert content["environment"] == HERE
    assert "auto" not in DATA.decode()


def test_no_place_is_kept_in_it() -> None:
    assert record(output="/somewhere/else").encode() == DATA


ODD_TEXTS = [
    "?unknown",
    ":0",
    "a: b",
    "a #b",
    "- a",
    "[a]",
    "it's",
    '"',
    "%a",
    "null",
    "yes",
    "12:30:00",
    "1e5",
    "~",
    "é",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_class_and_a_device_may_have_odd_names(text: str) -> None:
    info = replace(FAKE, labels=named_classes(["plain", text, "last"]))
    first = Record(resolve(Recipe(**{**BASE, "classes": "all"}), info), {"device": text})
    require_same(Record.decode(first.encode(), "here"), first)


# Damage


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("truncation", [0.4, 0.9]),
        ("classes", [0, 1]),
        ("labels", "dense"),
        ("seeds", ["0-98", "200-249"]),
        ("seed_use", "disjoint"),
        ("latent", "normal"),
        ("splits", {"train": 0.5, "val": 0.5}),
        ("image.quality", 94),
        ("samples_per_shard", 999),
        ("batch_size", 31),
        ("threads", 2),
        ("precision", "float16"),
        ("generator_options.resolution", 64),
        ("weights_sha256", "0" * 64),
        ("fingerprint", "0" * 64),
    ],
)
def test_an_edited_file_is_refused(path: str, value: object) -> None:
    with pytest.raises(OutputError, match=r"here/recipe\.yaml: was edited"):
        Record.decode(edited(path, value), "here")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fingerprint", ...),
        ("weights_sha256", ...),
        ("environment", ...),
        ("about", ...),
        ("about.classes", ...),
        ("about.classes", {0: ["one", None, "too many"]}),
        ("about.classes", [1, 2]),
        ("about.latents", []),
        ("about.truncation_rule", "none"),
        ("about.resolution", 10**9),
        ("about.num_classes", "three"),
        ("generator", ...),
        ("seeds", ...),
        ("seeds", []),
        ("truncation", [2.0]),
        ("colour", "red"),
        ("classes", [7]),
        ("also_rendered_in", 3),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(path: str, value: object) -> None:
    with pytest.raises(OutputError) as error:
        Record.decode(edited(path, value), "here")
    assert str(error.value).startswith("here/recipe.yaml: is damaged")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"just text", b"- a\n- b\n", b"a: [", b"\0" * 100, DATA[:300]])
def test_a_file_that_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(OutputError, match=r"here/recipe\.yaml: is damaged"):
        Record.decode(data, "here")


@settings(max_examples=150)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_whatever_byte_is_damaged_the_file_is_refused_or_decides_the_same(position: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= change
    try:
        read = Record.decode(bytes(damaged), "here")
    except OutputError:
        return
    assert read.recipe.with_parts(()).record() | {"name": "", "generator": ""} == resolved().with_parts(()).record() | {
        "name": "",
        "generator": "",
    }
    assert read.recipe.info.weights_sha256 == FAKE.weights_sha256


# Going on with a dataset


def test_the_same_recipe_differs_in_nothing() -> None:
    assert record().differences(resolved()) == []
    assert record().differences(resolved(name="another", output="memory://elsewhere")) == []


@pytest.mark.parametrize("seeds", [["0-99"], ["0-99", "200-249"], ["0-99", "200-249", "300-399"]])
def test_nor_does_one_with_parts_appended_or_left_out(seeds: list[str]) -> None:
    assert record().differences(resolved(seeds=seeds)) == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"classes": [0, 1]}, "classes"),
        ({"labels": "dense"}, "labels"),
        ({"truncation": [0.4, 0.9]}, "truncation"),
        ({"seeds": ["0-98", "200-249"]}, "seeds"),
        ({"seeds": ["0-99", "200-250"]}, "seeds"),
        ({"seeds": ["200-249", "0-99"]}, "seeds"),
        ({"seed_use": "disjoint"}, "seed_use"),
        ({"latent": "normal"}, "latent"),
        ({"splits": {"train": 0.7, "val": 0.3}}, "splits"),
        ({"splits": {"val": 0.2, "train": 0.8}}, "splits"),
        ({"image": {"quality": 90}}, "image"),
        ({"samples_per_shard": 10}, "samples_per_shard"),
        ({"batch_size": 7}, "batch_size"),
        ({"threads": 2}, "threads"),
        ({"precision": "float16"}, "precision"),
        ({"provenance": True}, "provenance"),
    ],
    ids=str,
)
def test_a_difference_is_named_with_both_values(changes: dict[str, Any], key: str) -> None:
    lines = record().differences(resolved(**changes))
    named = [line for line in lines if line.startswith((f"{key} is ", f"{key} are "))]
    assert len(named) == 1
    assert "in the dataset, but" in named[0]


def test_other_weights_are_a_difference_and_unknown_ones_are_not() -> None:
    other = replace(resolved(), info=replace(FAKE, weights_sha256="0" * 64))
    unknown = replace(resolved(), info=replace(FAKE, weights_sha256=None))
    assert [line.partition(" ")[0] for line in record().differences(other)] == ["generator"]
    assert record().differences(unknown) == []


def test_appended_parts_extend_the_record_and_keep_its_fingerprint() -> None:
    first = record(seeds=["0-99"])
    longer = first.extended(resolved(name="another"))
    assert longer.recipe == resolved()
    assert longer.fingerprint == first.fingerprint
    assert longer.environment == HERE


def test_a_shorter_recipe_takes_no_part_away() -> None:
    assert record().extended(resolved(seeds=["0-99"])) == record()
