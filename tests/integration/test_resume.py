"""Runs that are killed or stopped at any moment: what is there is whole and stays, and the next run makes the rest."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest

import gansynth
from gansynth import check
from gansynth.session import begin

from . import MANY, RECEIPT, all_but_receipts, command, receipts, start, state, wait_until, write_recipe

_SHARDS = 25


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    recipe = write_recipe(folder / "recipe.yaml", **MANY)
    gansynth.generate(gansynth.Recipe.load(recipe, {"output": str(folder / "dataset")}), device="cpu")
    assert len(receipts(folder / "dataset")) == _SHARDS
    return folder / "dataset"


def _begun(output: Path) -> bool:
    return (output / "recipe.yaml").exists()


def _making_a_tar(output: Path) -> bool:
    return any(output.glob(".tmp/*/*.tar"))


def _tar_without_receipt(output: Path) -> bool:
    return any(not tar.with_name(tar.stem + RECEIPT).exists() for tar in output.glob("*/*.tar"))


def _half_done(output: Path) -> bool:
    return len(receipts(output)) >= _SHARDS // 2


def _all_shards_done(output: Path) -> bool:
    return len(receipts(output)) == _SHARDS


@pytest.mark.parametrize(
    "moment",
    [
        _begun,
        pytest.param(_making_a_tar, marks=pytest.mark.slow),
        _tar_without_receipt,
        pytest.param(_half_done, marks=pytest.mark.slow),
        _all_shards_done,
    ],
)
def test_a_killed_run_is_gone_on_with_as_if_nothing_had_happened(
    moment: Callable[[Path], bool], uninterrupted: Path, tmp_path: Path
) -> None:
    output = tmp_path / "dataset"
    recipe = write_recipe(tmp_path / "recipe.yaml", output=str(output), **MANY)
    process = start("generate", recipe, "--device", "cpu")
    wait_until(lambda: moment(output), process)
    process.kill()
    process.communicate()
    # The last moment lies so near the end that the run may get there first.
    assert process.returncode == -signal.SIGKILL or moment is _all_shards_done

    kept = {name: entry for name, entry in state(output).items() if name in receipts(output)}
    assert {problem.what for problem in _problems(output) if problem.shard} <= {"is missing"}
    assert command("generate", recipe, "--device", "cpu") == 0
    assert kept.items() <= state(output).items()
    assert command("verify", output) == 0
    assert command("finalize", output) == 0
    assert not (output / ".tmp").exists()
    assert all_but_receipts(output) == all_but_receipts(uninterrupted)


def _problems(output: Path) -> Iterator[check.Problem]:
    return check.verify(gansynth.Dataset.open(str(output)))


def test_a_run_killed_between_recipe_and_card_is_gone_on_with(dataset: Path, tmp_path: Path) -> None:
    """Both are written before anything else, recipe.yaml first; a README.md alone is somebody else's."""
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path)})
    begin(recipe, "cpu")
    (tmp_path / "README.md").unlink()
    assert gansynth.generate(recipe, device="cpu").finished
    assert all_but_receipts(tmp_path) == all_but_receipts(dataset)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_asked_to_stop_does_so_at_a_shard_boundary(
    number: int, code: int, uninterrupted: Path, tmp_path: Path
) -> None:
    output = tmp_path / "dataset"
    recipe = write_recipe(tmp_path / "recipe.yaml", output=str(output), **MANY)
    process = start("generate", recipe, "--device", "cpu")
    wait_until(lambda: bool(receipts(output)), process)
    process.send_signal(number)
    _, message = process.communicate()
    assert process.returncode == code, message
    assert "run the same command again" in message
    assert "Traceback" not in message
    assert 0 < len(receipts(output)) < _SHARDS
    assert not _tar_without_receipt(output)
    assert not (output / ".tmp").exists()

    assert command("generate", recipe, "--device", "cpu") == 0
    assert all_but_receipts(output) == all_but_receipts(uninterrupted)


def test_a_complete_dataset_is_left_as_it_is(dataset: Path) -> None:
    before = state(dataset)
    assert command("generate", dataset / "recipe.yaml", "--output", dataset, "--device", "cpu") == 0
    assert state(dataset) == before


def test_a_deleted_receipt_makes_only_its_shard_again(dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "copy"))
    (folder / "train/000001_stats.json").unlink()
    kept = {name: entry for name, entry in state(folder).items() if name in receipts(folder)}
    assert command("generate", folder / "recipe.yaml", "--output", folder, "--device", "cpu") == 0
    assert len(receipts(folder)) == len(kept) + 1
    assert kept.items() <= state(folder).items()
    assert all_but_receipts(folder) == all_but_receipts(dataset)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_interrupted_dataset_loads_as_images_when_only_one_split_has_begun(
    split: str, tmp_path: Path, dataset: Path
) -> None:
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path / "dataset")})
    gansynth.generate(recipe, device="cpu", shards=lambda plan: [plan.find(split, 0)])
    _loads_as_images(tmp_path, {split: {"train": 50, "val": 42}[split]})


def test_an_interrupted_dataset_loads_as_images_when_all_splits_have_begun(tmp_path: Path, dataset: Path) -> None:
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path / "dataset")})
    gansynth.generate(recipe, device="cpu", shards=lambda plan: [plan.find("val", 0), plan.find("train", 2)])
    _loads_as_images(tmp_path, {"train": 50, "val": 42})


def test_a_dataset_killed_in_its_first_commit_loads_as_images(tmp_path: Path, dataset: Path) -> None:
    recipe = gansynth.Recipe.load(dataset / "recipe.yaml", {"output": str(tmp_path / "dataset")})
    gansynth.generate(recipe, device="cpu", shards=lambda plan: [plan.shard(0)])
    (tmp_path / "dataset/train/000000_stats.json").unlink()
    _loads_as_images(tmp_path, {"train": 50})
    (tmp_path / "dataset/train/000000.parquet").unlink()
    _loads_as_images(tmp_path, {"train": 50})


def _loads_as_images(folder: Path, sizes: dict[str, int]) -> None:
    loaded = datasets.load_dataset(str(folder / "dataset"), cache_dir=str(folder / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == sizes
    for split in loaded.values():
        assert set(split.column_names) == {"jpg", "cls", "txt", "json", "__key__", "__url__"}
        assert split[0]["jpg"].size == (32, 32)
