"""Same recipe, same bytes: wherever, whenever, in whatever order and by however many processes a dataset is made."""

from __future__ import annotations

import json
import os
import socket
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gansynth
from gansynth.plan import Plan, ShardPlan
from gansynth.store import Store

from . import all_but_receipts, command, contents, finish, members, rows, shards, start, write_recipe

_HOST = "a-host-with-a-telling-name"


def _backwards(plan: Plan) -> Iterable[ShardPlan]:
    return reversed(list(plan))


def test_two_outputs_of_one_recipe_are_equal_but_for_receipts(dataset: Path, make: Callable[..., Path]) -> None:
    assert all_but_receipts(make()) == all_but_receipts(dataset)


def test_shards_made_backwards_are_the_same(dataset: Path, tmp_path: Path) -> None:
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path)})
    summary = gansynth.generate(recipe, device="cpu", shards=_backwards)
    assert [(receipt.split, receipt.shard) for receipt in summary.receipts][:2] == [("val", 0), ("train", 3)]
    assert all_but_receipts(tmp_path) == all_but_receipts(dataset)


def test_shards_made_one_by_one_are_the_same(dataset: Path, tmp_path: Path) -> None:
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path)})
    for ordinal in (2, 0, 4, 1, 3):
        summary = gansynth.generate(recipe, device="cpu", shards=lambda plan, wanted=ordinal: [plan.shard(wanted)])
        assert len(summary.receipts) == 1
    assert summary.finished
    assert all_but_receipts(tmp_path) == all_but_receipts(dataset)


def test_shards_chosen_on_the_command_line_are_the_same(dataset: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", output=str(tmp_path / "dataset"))
    for chosen in ("4,1", "2-3", "0"):
        assert command("generate", recipe, "--shards", chosen, "--device", "cpu") == 0
    assert all_but_receipts(tmp_path / "dataset") == all_but_receipts(dataset)


def test_a_recipe_file_means_the_same_as_keywords(dataset: Path, tmp_path: Path) -> None:
    """So does a class by its index, or by its name in another spelling."""
    path = write_recipe(tmp_path / "recipe.yaml", classes=[7, "Ankle-Boot", "bag"])
    recipe = gansynth.Recipe.load(path, {"output": str(tmp_path / "dataset")})
    gansynth.generate(recipe, device="cpu")
    assert all_but_receipts(tmp_path / "dataset") == all_but_receipts(dataset)


def test_the_recipe_in_a_dataset_makes_the_dataset_again(dataset: Path, tmp_path: Path) -> None:
    assert command("generate", dataset / "recipe.yaml", "--output", tmp_path / "again", "--device", "cpu") == 0
    assert all_but_receipts(tmp_path / "again") == all_but_receipts(dataset)


def test_two_processes_at_once_make_the_same(dataset: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", output=str(tmp_path / "dataset"))
    finish([start("generate", recipe, "--device", "cpu") for _ in range(2)])
    assert all_but_receipts(tmp_path / "dataset") == all_but_receipts(dataset)
    assert command("verify", tmp_path / "dataset") == 0


def test_a_writer_that_clears_up_does_not_disturb_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers remove .tmp when it is empty, and another may do so just when this one is about to use it."""
    make_folder, removed = os.mkdir, []

    def mkdir(path: str, *arguments: int) -> None:
        make_folder(path, *arguments)
        if Path(path).name == ".tmp" and not removed:
            removed.append(path)
            Path(path).rmdir()

    monkeypatch.setattr(os, "mkdir", mkdir)
    Store(tmp_path).publish("file", b"content")
    assert removed
    assert contents(tmp_path) == {"file": b"content"}


def test_nothing_in_tar_or_manifest_tells_where_or_by_whom_it_was_made(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: _HOST)
    folder = make("a-folder-with-a-telling-name")
    assert all(_HOST.encode() in data for data in contents(folder, "_stats.json$").values())  # the name was taken up
    for name, data in shards(folder).items():
        assert b"telling" not in data, name
    # Columns are compressed, so their text is looked at too. Images may hold any bytes by chance.
    for row in rows(folder):
        assert "telling" not in json.dumps(row)
    for tar in folder.glob("*/*.tar"):
        with tarfile.open(tar) as archive:
            assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in archive} == {(0, 0, 0, "", "", 0o644)}


def test_members_and_metadata_hold_what_is_documented_and_no_more(dataset: Path) -> None:
    about = [json.loads(data) for name, data in members(dataset / "train/000000.tar").items() if name.endswith(".json")]
    assert {frozenset(sample) for sample in about} == {
        frozenset({"sample_id", "seed", "truncation", "class_index", "class_name"})
    }
    metadata = pq.read_metadata(dataset / "train/000000.parquet").metadata
    assert set(metadata) == {
        b"ARROW:schema",
        b"gansynth.format_version",
        b"gansynth.weights_sha256",
        b"gansynth.licence",
        b"gansynth.render",
    }
    assert set(json.loads(metadata[b"gansynth.render"])) == {
        "family",
        "generator_options",
        "latent",
        "precision",
        "batch_size",
        "threads",
        "compile",
        "image",
    }
