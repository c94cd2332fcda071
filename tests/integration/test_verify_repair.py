"""Damage of any kind is found, named and mended, and the bytes are the original ones again."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

import gansynth
from gansynth import check
from gansynth.errors import StoreError
from gansynth.receipt import Receipt
from gansynth.session import Session
from gansynth.store import CLAIMS, Store

from . import RECEIPT, all_but_receipts, command, shards, state, write_recipe

_DAMAGED = "train/000002"
_SUFFIXES = [".tar", ".parquet", RECEIPT]
_CATALOGUE = [
    "README.md",
    "samples.jpg",
    "_info.json",
    "train.index.json",
    "val.index.json",
    "train/sizes.json",
    "val/sizes.json",
]


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A dataset that may be damaged."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


@pytest.fixture(scope="module")
def damageable(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that its tests damage and put back as it was."""
    return Path(shutil.copytree(dataset, tmp_path_factory.mktemp("damageable") / "copy"))


def _flip(path: Path, position: int, bits: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip_first(path: Path) -> None:
    _flip(path, 0)


def _flip_middle(path: Path) -> None:
    _flip(path, path.stat().st_size // 2)


def _flip_last(path: Path) -> None:
    _flip(path, -1)


def test_an_untouched_dataset_has_no_problems(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(dataset)
    assert command("verify", dataset) == 0
    assert "5 shards, all as they were written" in capsys.readouterr().out
    assert state(dataset) == before


def test_repairing_an_untouched_dataset_changes_nothing(dataset: Path) -> None:
    before = state(dataset)
    assert command("repair", dataset, "--device", "cpu") == 0
    assert state(dataset) == before


@pytest.mark.parametrize("suffix", _SUFFIXES)
@pytest.mark.parametrize("damage", [_flip_first, _flip_middle, _flip_last, _halve, _shorten, Path.unlink])
def test_damage_is_found_and_mended(
    damage: Callable[[Path], None], suffix: str, copy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy / f"{_DAMAGED}{suffix}")
    assert command("verify", copy) == 1
    named = _DAMAGED if damage is Path.unlink and suffix == RECEIPT else f"{_DAMAGED}{suffix}"
    assert capsys.readouterr().out.startswith(f"{named}: ")
    assert command("repair", copy, "--device", "cpu") == 0
    assert "1 shard with 50 images made" in capsys.readouterr().out
    assert all_but_receipts(copy) == all_but_receipts(dataset)
    assert command("verify", copy) == 0


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_flipped_byte_of_tar_or_manifest_is_found(data: st.DataObject, damageable: Path) -> None:
    name = data.draw(st.sampled_from(sorted(shards(damageable))))
    path = damageable / name
    position = data.draw(st.integers(0, path.stat().st_size - 1))
    bits = data.draw(st.integers(1, 255))
    whole = path.read_bytes()
    _flip(path, position, bits)
    found = _paths_of_problems(damageable)
    path.write_bytes(whole)
    assert found == [name]


@pytest.mark.parametrize("name", ["verify", "repair"])
@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_a_file_that_cannot_be_read_now_is_not_taken_for_damaged(
    suffix: str, name: str, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _flip_middle(copy / "train/000000.tar")  # real damage, found before
    before = state(copy)
    read = LocalFileSystem.cat_file

    def out_of_reach(self: LocalFileSystem, path: str, *args: Any, **kwargs: Any) -> bytes:
        if path.endswith(_DAMAGED + suffix):
            raise OSError(errno.EIO, "Input/output error")
        return read(self, path, *args, **kwargs)

    monkeypatch.setattr(LocalFileSystem, "cat_file", out_of_reach)
    assert command(name, copy) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"gansynth: {_DAMAGED}{suffix}: cannot be read from {copy} (Input/output error)")
    assert message.count("\n") == 1
    assert state(copy) == before


def test_a_letter_of_other_case_anywhere_in_a_receipt_is_found(damageable: Path) -> None:
    path = damageable / f"{_DAMAGED}{RECEIPT}"
    whole = path.read_bytes()
    unnoticed = []
    for position in range(len(whole)):
        _flip(path, position, bits=0x20)
        with suppress(StoreError):
            Receipt.decode(path.read_bytes())
            unnoticed.append(whole[position : position + 20])
        path.write_bytes(whole)
    assert unnoticed == []


def test_white_space_changed_in_a_receipt_is_found(copy: Path) -> None:
    path = copy / f"{_DAMAGED}{RECEIPT}"
    path.write_bytes(path.read_bytes().replace(b"\n", b" ", 1))
    assert _paths_of_problems(copy) == [f"{_DAMAGED}{RECEIPT}"]


def _paths_of_problems(folder: Path) -> list[str]:
    return [problem.path for problem in check.verify(gansynth.Dataset.open(str(folder)))]


def test_receipts_that_changed_places_are_found_and_mended(copy: Path, dataset: Path) -> None:
    first, second = (copy / f"train/{number:06d}{RECEIPT}" for number in (0, 1))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    assert command("verify", copy) == 1
    assert command("repair", copy, "--device", "cpu") == 0
    assert all_but_receipts(copy) == all_but_receipts(dataset)
    assert command("verify", copy) == 0


def test_shards_that_changed_places_with_their_receipts_are_found_and_mended(copy: Path, dataset: Path) -> None:
    """Each of the three files fits the other two; only the plan tells that they are in the wrong place."""
    for suffix in _SUFFIXES:
        shutil.copy(copy / f"train/000000{suffix}", copy / f"train/000001{suffix}")
    receipt = json.loads((copy / f"train/000001{RECEIPT}").read_bytes())
    del receipt["checksum"]
    forged = Receipt(**{**receipt, "shard": 1})
    (copy / f"train/000001{RECEIPT}").write_bytes(forged.encode())
    assert command("verify", copy) == 1
    assert command("repair", copy, "--device", "cpu") == 0
    assert all_but_receipts(copy) == all_but_receipts(dataset)


def test_damage_all_over_is_mended_in_one_go(copy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _flip_middle(copy / "train/000000.tar")
    (copy / "train/000001.parquet").unlink()
    _halve(copy / f"val/000000{RECEIPT}")
    _empty(copy / "README.md")
    (copy / "_info.json").unlink()
    assert command("repair", copy, "--device", "cpu") == 0
    assert "3 shards" in capsys.readouterr().out
    assert all_but_receipts(copy) == all_but_receipts(dataset)
    assert command("verify", copy) == 0


@pytest.mark.parametrize("name", _CATALOGUE)
@pytest.mark.parametrize("damage", [_flip_middle, Path.unlink])
@pytest.mark.parametrize("remedy", [("finalize",), ("repair", "--device", "cpu")], ids=lambda remedy: remedy[0])
def test_a_damaged_index_file_or_card_is_found_and_mended(
    name: str,
    damage: Callable[[Path], None],
    remedy: tuple[str, ...],
    copy: Path,
    dataset: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(copy / name)
    assert command("verify", copy) == 1
    assert capsys.readouterr().out.startswith(f"{name}: ")
    assert command(*remedy, copy) == 0
    assert all_but_receipts(copy) == all_but_receipts(dataset)
    assert command("verify", copy) == 0


@pytest.mark.parametrize("position", [0, 100, 500, -1])
def test_a_recipe_of_a_dataset_that_cannot_be_trusted_is_refused(
    position: int, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _flip(copy / "recipe.yaml", position, 0xFF)
    assert command("verify", copy) == 2
    message = capsys.readouterr().err
    assert "recipe.yaml" in message
    assert "Traceback" not in message


def test_an_edited_recipe_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "recipe.yaml"
    path.write_text(path.read_text().replace("samples_per_shard: 50", "samples_per_shard: 60"))
    for name in ("verify", "status", "repair", "finalize"):
        assert command(name, copy) == 2
        assert "was edited" in capsys.readouterr().err


def test_an_unfinished_dataset_lacks_the_shards_it_lacks(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path)})
    gansynth.generate(recipe, device="cpu", shards=lambda plan: [plan.shard(1), plan.shard(4)])
    assert command("verify", tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [f"train/{number:06d}: is missing" for number in (0, 2, 3)]
    assert command("finalize", tmp_path) == 1
    assert "3 of 5 shards are missing" in capsys.readouterr().out
    assert command("repair", tmp_path, "--device", "cpu") == 0
    assert all_but_receipts(tmp_path) == all_but_receipts(dataset)


def test_a_receipt_of_no_shard_does_not_stand_in_for_a_missing_shard(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(copy / f"train/000003{RECEIPT}", copy / f"train/000099{RECEIPT}")
    (copy / f"val/000000{RECEIPT}").unlink()
    assert command("status", copy, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["missing"], status["done"], status["state"]) == (1, 4, "unfinished")
    assert command("finalize", copy) == 1
    assert "1 of 5 shards are missing" in capsys.readouterr().out


def test_a_receipt_of_no_shard_is_named_and_does_not_hinder_the_repair_of_others(
    copy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = f"train/000099{RECEIPT}"
    shutil.copy(copy / f"train/000003{RECEIPT}", copy / stray)
    _flip_middle(copy / "train/000000.tar")
    assert command("repair", copy, "--device", "cpu") == 1
    assert f"{stray}: belongs to no shard" in capsys.readouterr().out
    (copy / stray).unlink()
    assert command("verify", copy) == 0
    assert all_but_receipts(copy) == all_but_receipts(dataset)


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("verify", "status", "repair", "finalize"):
        assert command(name, tmp_path) == 2
        assert "no dataset of gansynth" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("complete", [True, False])
def test_finalize_does_not_disturb_a_run_at_work(
    complete: bool, copy: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor one that makes a shard which another has made meanwhile."""
    if not complete:
        (copy / f"{_DAMAGED}{RECEIPT}").unlink()
    opened = gansynth.Dataset.open(str(copy))
    shard = opened.plan.find("train", 2)
    codes = []
    made = Session(opened, "cpu").render(
        [shard], on_rows=lambda count: codes.append(command("finalize", copy)), take_over=complete
    )
    assert [type(outcome) for outcome in made] == [Receipt]
    assert set(codes) == {0 if complete else 1}
    assert command("finalize", copy) == 0
    assert all_but_receipts(copy) == all_but_receipts(dataset)
    assert not (copy / ".tmp").exists()


def test_finalize_clears_claims_that_expired_and_no_other(copy: Path) -> None:
    store = Store(copy)
    for name, expires in {"train-000000.0": 0.0, "train-000001.0": 1e12}.items():
        store.create(f"{CLAIMS}/{name}", json.dumps({"worker": "somebody", "expires": expires}).encode())
    assert command("finalize", copy) == 0
    assert list(store.list(CLAIMS)) == ["train-000001.0"]


def test_status_recommends_no_clearing_while_shards_are_missing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(copy).scratch("shard.tar"):
        assert command("status", copy) == 0
        assert "finalize" in capsys.readouterr().out
        (copy / f"{_DAMAGED}{RECEIPT}").unlink()
        assert command("status", copy) == 0
        shown = capsys.readouterr().out
    assert "runs at work or interrupted" in shown and "finalize" not in shown


def test_finalize_clears_what_interrupted_runs_left(copy: Path, dataset: Path) -> None:
    (copy / ".tmp/attempt").mkdir(parents=True)
    (copy / ".tmp/attempt/train-000000.tar").write_bytes(b"half a tar")
    assert command("verify", copy) == 0
    assert command("finalize", copy) == 0
    assert not (copy / ".tmp").exists()
    assert all_but_receipts(copy) == all_but_receipts(dataset)


@pytest.mark.parametrize(("factory", "warned"), [("blank", True), ("patchy", False)])
def test_a_dataset_with_few_images_is_complete_but_not_without_a_warning(
    factory: str, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    changes = {"generator": f"{__package__}:{factory}", "classes": [7], "seeds": "0-19", "output": str(folder)}
    recipe = write_recipe(tmp_path / "recipe.yaml", **changes)
    for arguments in (
        ("generate", recipe, "--allow-code", "--device", "cpu"),
        ("verify", folder),
        ("finalize", folder),
    ):
        assert command(*arguments) == 0
        assert ("warning: " in capsys.readouterr().err) == warned, arguments
