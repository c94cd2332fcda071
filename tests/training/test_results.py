"""What a training run leaves, and that its result is a generator like any other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from training_runs import SETTINGS, architectures, losses, recipe, stopped_after, weights

import gansynth
from gansynth.cli import run
from gansynth.errors import (
    InputError,
    RecipeError,
)
from gansynth.generators import describe, load_generator
from gansynth.latents import draw
from gansynth.recipe import Recipe
from gansynth.stopping import Stop
from gansynth.training.images import prepare
from gansynth.training.loop import Loop
from gansynth.training.players import players
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import train
from gansynth.training.sources import open_source


@architectures
def test_a_run_leaves_everything_that_a_person_wants_to_see(runs: dict[str, Path], architecture: str) -> None:
    folder = runs[architecture]
    for name in ("epoch-00001.png", "epoch-00003.png", "losses.png", "real-and-generated.png", "progress.gif"):
        with PIL.Image.open(folder / "pictures" / name) as image:
            image.load()
    assert [len(line.split(",")) for line in losses(folder).splitlines()] == [3] * 10
    assert (folder / "metrics.csv").read_text().startswith("epoch,step,frechet distance (8 x 8 thumbnails)\n1,3,")
    summary = json.loads((folder / "data.json").read_text())
    assert summary["classes"] == {"blue": 12, "red": 12}
    assert "8 x 8 thumbnails" in (folder / "README.md").read_text()
    assert not (folder / "work").exists()


@architectures
def test_what_a_run_keeps_is_a_recipe_that_gives_the_same_again(
    runs: dict[str, Path], data: Path, architecture: str
) -> None:
    kept = TrainingRecipe.load(runs[architecture] / "training.yaml")
    assert kept.resolved() == recipe(data, runs[architecture], architecture).resolved()


@architectures
def test_a_result_is_a_generator_like_any_other(runs: dict[str, Path], architecture: str, tmp_path: Path) -> None:
    info = describe(str(runs[architecture]))
    assert (info.family, info.resolution) == (architecture, SETTINGS[architecture]["resolution"])
    conditional = {"classes": ["red", "blue"], "truncation": [0.5, 1.0]} if architecture == "biggan" else {}
    wanted = Recipe(
        name="d",
        generator=str(runs[architecture]),
        seeds="0-9",
        output=str(tmp_path / "d"),
        image={"format": "png"},
        **conditional,
    )
    summary = gansynth.generate(wanted, device="cpu")
    assert summary.finished and summary.samples == (40 if conditional else 10)
    assert run(["verify", str(tmp_path / "d")]) == 0


def test_unconditional_results_know_neither_classes_nor_truncation(runs: dict[str, Path]) -> None:
    for architecture in ("mlp", "dcgan"):
        info = describe(str(runs[architecture]))
        assert (info.num_classes, info.latents[0]) == (0, "normal")
        with pytest.raises(RecipeError, match="truncation"):
            info.check_truncation(0.5)


@pytest.mark.parametrize("truncation", [0.4, 1.0])
def test_the_library_loads_a_biggan_and_gives_the_same_images(runs: dict[str, Path], truncation: float) -> None:
    from pytorch_pretrained_biggan import BigGAN, convert_to_images

    theirs = BigGAN.from_pretrained(str(runs["biggan"])).eval()
    ours = load_generator(str(runs["biggan"]), "cpu")
    z = torch.from_numpy(draw("truncated_normal", range(6), 4, np.full(6, truncation)))
    classes = torch.arange(6) % 2
    with torch.no_grad():
        images = theirs(z, torch.nn.functional.one_hot(classes, 2).float(), truncation)
    expected = np.stack([np.asarray(image) for image in convert_to_images(images)])
    found = ours.sample(z, classes, torch.full([6], truncation)).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_truncation_has_statistics_of_its_own(runs: dict[str, Path]) -> None:
    state = torch.load(runs["biggan"] / "pytorch_model.bin", weights_only=True)
    means = [tensor for name, tensor in state.items() if name.endswith("running_means")]
    assert all(len(tensor) == 51 and torch.isfinite(tensor).all() for tensor in means)
    assert any((tensor[10] != tensor[50]).any() for tensor in means)


@architectures
def test_the_same_recipe_gives_the_same_weights(
    runs: dict[str, Path], data: Path, architecture: str, tmp_path: Path
) -> None:
    train(recipe(data, tmp_path / "again", architecture), device="cpu")
    assert losses(tmp_path / "again") == losses(runs[architecture])
    assert weights(tmp_path / "again") == weights(runs[architecture])


def test_learning_rates_fall_to_zero_over_the_last_part_if_asked_for(data: Path, tmp_path: Path) -> None:
    whole = recipe(data, tmp_path / "whole", "mlp", epochs=10, decay=0.5)
    images = prepare(open_source(data), 16, tmp_path / "images", 0.05)
    trained = players(whole, 2, "cpu")
    loop = Loop(whole, images, trained, "cpu")
    assert [round(loop.rate(step), 3) for step in range(0, 30, 5)] == [1, 1, 1, 1, 0.667, 0.333]
    assert loop.rate(loop.steps - 1) == pytest.approx(1 / 15)
    loop.step(25)
    assert [group["lr"] for o in trained.optimizers for group in o.param_groups] == [pytest.approx(2e-4 / 3)] * 2


def test_only_a_biggan_has_truncations_to_wait_for(data: Path, tmp_path: Path) -> None:
    units = list[str]()

    def show(total: int, unit: str, done: int) -> Any:
        units.append(unit)
        return stopped_after(10**9, Stop())

    train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu", show=show)
    assert units == ["images read", "images"]


def test_it_says_what_the_data_are(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = recipe(data, tmp_path / "run", "mlp", epochs=1).model_dump(mode="json", exclude_none=True)
    (tmp_path / "r.yaml").write_text(json.dumps(content))
    assert run(["train", str(tmp_path / "r.yaml"), "--device", "cpu"]) == 0
    assert "24 images, 2 classes: blue, red (all as one, since mlp has none)\n" in capsys.readouterr().err


def test_tensorboard_gets_the_curves(data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "mlp", epochs=1, tensorboard=True), device="cpu")
    assert len(list((tmp_path / "run" / "tensorboard").glob("events.*"))) == 1


def test_without_matplotlib_it_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'gansynth\[train\]'"):
        train(recipe(data, tmp_path / "run", "mlp"), device="cpu")
    assert not (tmp_path / "run").exists()
