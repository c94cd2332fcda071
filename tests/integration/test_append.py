"""Datasets grow by parts, and by nothing else: what exists stays, and another recipe on the same output is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import gansynth

from . import all_but_receipts, command, receipts, rows, shards, state, write_recipe

_FIRST = "0-19"
_SECOND = "100-114"
_DECIDED_AT_THE_END = {"README.md", "recipe.yaml", "_info.json"}


def _is_catalogue(name: str) -> bool:
    return name in _DECIDED_AT_THE_END or name.endswith((".index.json", "/sizes.json"))


def test_appending_a_part_adds_shards_and_changes_nothing_but_the_catalogue(make: Callable[..., Path]) -> None:
    folder = make(seeds=[_FIRST])
    before = state(folder)
    make(seeds=[_FIRST, _SECOND])
    after = state(folder)
    assert before.keys() < after.keys()
    changed = {name for name, entry in before.items() if after[name] != entry}
    assert changed == {name for name in before if _is_catalogue(name)}
    assert command("verify", folder) == 0


def test_shard_numbers_stay_dense_when_parts_are_appended(make: Callable[..., Path]) -> None:
    seeds: list[str] = []
    for part in (_FIRST, _SECOND, "7000-7009"):
        seeds.append(part)
        folder = make(seeds=seeds)
        for split in ("train", "val"):
            stems = sorted(int(path.stem) for path in folder.glob(f"{split}/*.tar"))
            assert stems == list(range(len(stems)))
    parts = [row["part"] for row in rows(folder, "train")]
    assert parts == sorted(parts)
    assert set(parts) == {0, 1, 2}


def test_a_dataset_that_grew_is_the_same_as_one_made_at_once(make: Callable[..., Path]) -> None:
    grown = make("grown", seeds=[_FIRST])
    make("grown", seeds=[_FIRST, _SECOND])
    assert all_but_receipts(grown) == all_but_receipts(make("at-once", seeds=[_FIRST, _SECOND]))


def test_an_earlier_shorter_recipe_is_accepted_and_changes_nothing(make: Callable[..., Path]) -> None:
    folder = make(seeds=[_FIRST, _SECOND])
    before = state(folder)
    make(seeds=[_FIRST])
    assert state(folder) == before


def test_an_earlier_shorter_recipe_makes_only_the_shards_of_its_own_parts(make: Callable[..., Path]) -> None:
    folder = make(seeds=[_FIRST, _SECOND])
    first, *_, last = (name for name in receipts(folder) if name.startswith("train/"))
    (folder / first).unlink()
    (folder / last).unlink()
    summary = gansynth.generate(gansynth.Recipe.load(folder / "recipe.yaml", _onto(folder, [_FIRST])), device="cpu")
    assert [receipt.part for receipt in summary.receipts] == [0]
    assert (summary.missing, summary.finished) == (1, False)


def test_a_part_whose_recipe_was_interrupted_before_its_first_shard_is_made_later(make: Callable[..., Path]) -> None:
    folder = make(seeds=[_FIRST])
    recipe = gansynth.Recipe.load(folder / "recipe.yaml", _onto(folder, [_FIRST, _SECOND]))
    gansynth.generate(recipe, device="cpu", shards=lambda plan: [])
    assert command("verify", folder) == 1
    assert command("generate", folder / "recipe.yaml", "--output", folder, "--device", "cpu") == 0
    assert command("verify", folder) == 0
    assert all_but_receipts(folder) == all_but_receipts(make("at-once", seeds=[_FIRST, _SECOND]))


def _onto(folder: Path, seeds: Sequence[str]) -> dict[str, Any]:
    return {"output": str(folder), "seeds": list(seeds)}


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"classes": ["sneaker", 9]}, ["classes", "[7, 9, 8]", "[7, 9]"]),
        ({"classes": [9, "sneaker", "Bag"]}, ["classes", "[7, 9, 8]", "[9, 7, 8]"]),
        ({"labels": "dense"}, ["labels", "generator"]),
        ({"truncation": [0.5, 1.0]}, ["truncation", "[0.4, 1.0]", "[0.5, 1.0]"]),
        ({"image": {"format": "jpg", "quality": 90}}, ["image", "95", "90"]),
        ({"seeds": ["0-38"]}, ["seeds", "0-39", "0-38"]),
        ({"seeds": ["0-49"]}, ["seeds", "0-39", "0-49"]),
        ({"seeds": ["50-59", "0-39"]}, ["seeds", "0-39", "50-59"]),
        ({"seed_use": "disjoint"}, ["seed_use", "shared", "disjoint"]),
        ({"latent": "normal"}, ["latent", "truncated_normal", "normal"]),
        ({"samples_per_shard": 60}, ["samples_per_shard", "50", "60"]),
        ({"batch_size": 8}, ["batch_size", "16", "8"]),
        ({"splits": {"val": 0.2, "train": 0.8}}, ["splits", "train", "val"]),
        ({"splits": {"train": 0.7, "val": 0.3}}, ["splits", "0.8", "0.7"]),
        ({"generator": "fake", "classes": [7, 9, 8]}, ["generator", "fashion-32", "fake"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_another_recipe_on_the_same_output_is_refused(
    changes: dict[str, Any], seen: list[str], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(dataset)
    recipe = write_recipe(tmp_path / "recipe.yaml", output=str(dataset), **changes)
    assert command("generate", recipe, "--device", "cpu") == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "belongs to another recipe" in message
    assert [text for text in seen if text not in message] == []
    assert state(dataset) == before


def test_another_recipe_is_refused_before_its_shards_are_chosen(dataset: Path, tmp_path: Path) -> None:
    before = state(dataset)
    recipe = write_recipe(tmp_path / "recipe.yaml", output=str(dataset), samples_per_shard=60)
    assert command("generate", recipe, "--shards", "0", "--device", "cpu") == 2
    assert command("plan", recipe) == 2
    assert state(dataset) == before


def test_another_name_is_accepted_and_the_dataset_keeps_its_own(make: Callable[..., Path]) -> None:
    folder = make(seeds=[_FIRST])
    before = state(folder)
    make(seeds=[_FIRST], name="renamed")
    assert state(folder) == before
    make(name="renamed", seeds=[_FIRST, _SECOND])
    assert YAML(typ="safe", pure=True).load((folder / "recipe.yaml").read_text())["name"] == "small"


def test_captions_of_an_unconditional_dataset_stay_the_same_when_it_grows_under_another_name(
    make: Callable[..., Path],
) -> None:
    unconditional = {"generator": "fake", "generator_options": {"num_classes": 0}, "classes": None, "truncation": [1.0]}
    grown = make("grown", **unconditional, seeds=[_FIRST])
    make("grown", **unconditional, seeds=[_FIRST, _SECOND], name="renamed")
    assert shards(grown) == shards(make("at-once", **unconditional, seeds=[_FIRST, _SECOND]))


def test_files_of_unknown_origin_are_not_mixed_with_a_new_dataset(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/000000.tar").write_bytes(b"precious")
    before = state(tmp_path)
    assert command("generate", dataset / "recipe.yaml", "--output", tmp_path, "--device", "cpu") == 2
    assert state(tmp_path) == before
