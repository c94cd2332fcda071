"""A finished training run is left as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import images_on_disk
import pytest
from training_runs import recipe

from gansynth.errors import (
    InputError,
    OutputError,
)
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import train


def test_a_finished_run_is_left_as_it_is(runs: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(runs["biggan"].rglob("*"))}
    monkeypatch.setattr("gansynth.training.run.Run", None)
    found = train(recipe(data, runs["biggan"], "biggan"), device="cpu")
    assert (found.steps, found.epochs, found.images_per_second) == (9, 3, None)
    assert {path: path.stat().st_mtime_ns for path in sorted(runs["biggan"].rglob("*"))} == before


def stamps(folder: Path, *but: str) -> dict[str, int]:
    """When each file was changed."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in but)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def finished(tmp_path: Path) -> TrainingRecipe:
    """The recipe of a finished run of its own data."""
    place = images_on_disk.folder(tmp_path / "data", count=12, side=32)
    wanted = recipe(place, tmp_path / "run", "mlp", epochs=1, sample_every=1, threads="auto")
    train(wanted, device="cpu")
    return wanted


@pytest.mark.parametrize(
    "changes",
    [{"threads": 2}, {"sample_every": 2}, {"checkpoint_every": 9}, {"max_skipped": 0.5}, {"tensorboard": True}],
)
def test_a_finished_run_is_left_where_a_recipe_would_make_it_again(
    finished: TrainingRecipe, changes: dict[str, Any]
) -> None:
    before = stamps(Path(finished.folder))
    assert train(finished.model_copy(update=changes), device="cpu").images_per_second is None
    assert stamps(Path(finished.folder)) == before


def test_a_finished_run_is_left_where_its_files_look_different_and_its_images_are_the_same(
    finished: TrainingRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps(tmp_path / "run", "result.json")
    os.utime(tmp_path / "data" / "red" / "red-00.png", (0, 0))
    monkeypatch.setattr("gansynth.training.run.Run", None)
    assert train(finished, device="cpu").steps == 3
    assert stamps(tmp_path / "run", "result.json") == before
    assert not (tmp_path / "run" / "work").exists()
    monkeypatch.setattr("gansynth.training.run.read_images", None)
    assert train(finished, device="cpu").steps == 3, "it was remembered"
    monkeypatch.chdir(tmp_path)
    assert train(finished.model_copy(update={"data": "data"}), device="cpu").steps == 3, "the same by another path"


def test_a_finished_run_is_left_where_its_data_are_gone(finished: TrainingRecipe, tmp_path: Path) -> None:
    before = stamps(tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert train(finished, device="cpu").steps == 3
    assert stamps(tmp_path / "run") == before
    with pytest.raises(InputError, match="there is no"):
        train(finished.model_copy(update={"epochs": 2}), device="cpu")


def test_a_finished_run_of_other_images_keeps_its_result(finished: TrainingRecipe, tmp_path: Path) -> None:
    before = stamps(tmp_path / "run")
    (tmp_path / "data" / "red" / "red-00.png").unlink()
    with pytest.raises(OutputError, match="other images"):
        train(finished, device="cpu")
    after = stamps(tmp_path / "run")
    assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize("content", ["{}", "[]", "1", '{"recipe": [], "data": 1}'])
def test_a_damaged_result_is_none(finished: TrainingRecipe, content: str, tmp_path: Path) -> None:
    before = (tmp_path / "run" / "result.json").read_text()
    (tmp_path / "run" / "result.json").write_text(content)
    (tmp_path / "run" / "data.json").write_text("[]")
    assert train(finished, device="cpu").steps == 3
    assert (tmp_path / "run" / "result.json").read_text() == before


def test_no_step_left_leaves_threads_as_they_were(finished: TrainingRecipe, tmp_path: Path) -> None:
    (tmp_path / "run" / "result.json").unlink()
    before = (tmp_path / "run" / "training.yaml").read_text()
    train(finished.model_copy(update={"threads": 2}), device="cpu")
    assert (tmp_path / "run" / "training.yaml").read_text() == before
