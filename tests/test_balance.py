"""Filling up the classes of real images."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gansynth
from gansynth.balance import parts
from gansynth.cli import run
from gansynth.errors import LabelError, RecipeError
from gansynth.loaders import open_dataset
from gansynth.seeds import parse_seeds
from gansynth.store import Store

COUNTS = {"Bag": 9, "Coat": 2, "Dress": 9, "Shirt": 4, "Trouser": 2}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, count in COUNTS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            PIL.Image.new("L", (32, 32), number).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 40), min_size=1), st.integers(0, 1000))
def test_every_class_gets_what_it_lacks(missing: dict[str, int], first_seed: int) -> None:
    given_to: Counter[str] = Counter()
    seeds: list[int] = []
    for part in parts(missing, first_seed):
        found = list(parse_seeds(part["seeds"]))
        seeds += found
        given_to.update({name: len(found) for name in part["classes"]})
    assert given_to == missing
    assert seeds == list(range(first_seed, first_seed + max(missing.values())))


@pytest.mark.parametrize(("to", "wanted"), [("max", 9), ("6", 6)])
def test_real_and_synthetic_images_together_are_balanced(
    photos: Path, tmp_path: Path, to: str, wanted: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "balance.yaml"
    arguments = ["--real", str(photos), "--to", to, "--generator", "fashion-32", "-o", str(path)]
    assert run(["balance", *arguments]) == 0
    missing = {name: wanted - count for name, count in COUNTS.items() if count < wanted}
    assert f"{sum(missing.values())} images in {len(missing)} classes" in capsys.readouterr().out
    recipe = gansynth.Recipe.load(path, {"output": str(tmp_path / "data"), "samples_per_shard": 4})
    gansynth.generate(recipe)
    labels = Counter(sample["label"] for sample in open_dataset(str(tmp_path / "data")))
    names = list(COUNTS)
    assert {names[label]: count for label, count in labels.items()} == missing


def test_a_recipe_is_printed_if_no_file_is_named(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["balance", "--real", str(photos), "--to", "max", "--generator", "fashion-32"]) == 0
    assert "labels: {" in capsys.readouterr().out


def test_any_class_name_comes_back_from_the_file(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"Coat": "? y", "Shirt": "- x: {a}", "Trouser": "null"}
    generator = Path(
        shutil.copytree(Path(gansynth.__file__).parent / "generators/pretrained/fashion-32", tmp_path / "generator")
    )
    about = json.loads((generator / "gansynth.json").read_text())
    about["labels"] = [names.get(name, name) for name in about["labels"]]
    (generator / "gansynth.json").write_text(json.dumps(about))
    for name, other in names.items():
        (photos / name).rename(photos / other)
    path = tmp_path / "balance.yaml"
    assert run(["balance", "--real", str(photos), "--to", "max", "--generator", str(generator), "-o", str(path)]) == 0
    recipe = gansynth.Recipe.load(path)
    assert recipe.classes is not None and set(recipe.classes) == set(names.values())
    assert {label.name for label in gansynth.plan(recipe).recipe.classes} == set(names.values())


def test_real_images_may_lie_in_object_storage(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--to", "max", "--generator", "fashion-32"]
    store = Store("memory://bucket/photos")
    for path in photos.rglob("*.png"):
        store.publish(path.relative_to(photos).as_posix(), path.read_bytes())
    assert run(["balance", "--real", str(photos), *arguments]) == 0
    expected = capsys.readouterr().out.partition("\n")[2]
    assert run(["balance", "--real", "memory://bucket/photos", *arguments]) == 0
    told, _, content = capsys.readouterr().out.partition("\n")
    assert content == expected and "memory://bucket/photos" in told
    assert run(["balance", "--real", "memory://me:hunter22@bucket/photos", *arguments]) == 2
    assert "hunter22" not in capsys.readouterr().err


def test_classes_that_lack_nothing_need_no_recipe(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["balance", "--real", str(photos), "--to", "2", "--generator", "fashion-32"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "nothing to make" in printed.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--to": "0"}, "--to"),
        ({"--to": "many"}, "--to"),
        ({"--generator": "nowhere"}, "generator"),
        ({"--generator": "fake"}, "Coat"),
        ({"--real": "nowhere"}, "no nowhere"),
        ({"--truncation": "3"}, "truncation"),
        ({"--first-seed": "4294967290"}, "--first-seed"),
        ({"--name": "a/b"}, "name"),
    ],
)
def test_what_cannot_be_balanced_is_refused(
    photos: Path, tmp_path: Path, changes: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"--real": str(photos), "--to": "max", "--generator": "fashion-32", "-o": str(tmp_path / "b.yaml")}
    assert run(["balance", *(text for pair in (arguments | changes).items() for text in pair)]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "b.yaml").exists()


def test_a_file_that_is_there_is_kept(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert run(["balance", "--real", str(photos), "--to", "max", "--generator", "fashion-32", "-o", str(path)]) == 2
    assert path.read_text() == "mine"


# Parts of some classes


def planned(**changes: Any) -> Any:
    content = {"name": "part", "generator": "fashion-32", "classes": ["Bag", "Coat", "Dress"], **changes}
    return gansynth.plan(gansynth.Recipe.parse(content))


def samples_of(plan: Any) -> Counter[tuple[str, int]]:
    return Counter(
        (plan.recipe.classes[position].name, seed)
        for shard in plan
        for position, seed in zip(plan.rows(shard).classes.tolist(), plan.rows(shard).seeds.tolist(), strict=True)
    )


def test_a_part_may_be_of_some_classes() -> None:
    plan = planned(seeds=["0-2", {"seeds": "10-13", "classes": ["Dress", "Coat"]}], samples_per_shard=3)
    expected = {(name, seed) for name in ("Bag", "Coat", "Dress") for seed in range(3)}
    expected |= {(name, seed) for name in ("Coat", "Dress") for seed in range(10, 14)}
    assert samples_of(plan) == Counter(dict.fromkeys(expected, 1))
    again = planned(**{k: v for k, v in plan.recipe.record().items() if k in ("seeds", "samples_per_shard")})
    assert samples_of(again) == samples_of(plan)


def test_disjoint_seeds_are_dealt_to_the_classes_of_their_part() -> None:
    plan = planned(seeds=["0-5", {"seeds": "10-13", "classes": ["Coat"]}], seed_use="disjoint")
    found = samples_of(plan)
    assert sum(found.values()) == 10 and {name for name, seed in found if seed >= 10} == {"Coat"}


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ([{"seeds": "0-9", "classes": ["Sandal"]}], "not among the classes"),
        ([{"seeds": "0-9", "classes": []}], "classes"),
        ([{"seeds": "0-9"}], "classes"),
        ([{"seeds": "x", "classes": ["Bag"]}], "seeds"),
        ([{"seeds": "0-9", "classes": ["Bag"], "size": 1}], "size"),
        (["0-9", {"seeds": "5", "classes": ["Bag"]}], "5"),
        ([{"seeds": "0-9", "classes": ["Bag", "Coat"]}], "no sample of class"),
        ([{"seeds": "0-9", "classes": ["Pyjamas"]}], "Pyjamas"),
    ],
)
def test_a_part_that_means_nothing_is_refused(seeds: Any, says: str) -> None:
    with pytest.raises((RecipeError, LabelError), match=says) as caught:
        planned(seeds=seeds)
    assert "validation" not in str(caught.value)
