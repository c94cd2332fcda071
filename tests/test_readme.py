"""The README is true: its commands, keys, files and code."""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from images_on_disk import encoded, picture
from stylegan2_files import SMALL, written

import gansynth
from gansynth.cli import app
from gansynth.recipe import ImageFormat, Recipe
from gansynth.training.players import players
from gansynth.training.recipe import TrainingRecipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SHIPPED = sorted((ROOT / "deploy/recipes").glob("*.yaml"))
TRAINING = [path for path in SHIPPED if "architecture:" in path.read_text()]
LIKE_FFHQ = replace(SMALL, z_dim=512, w_dim=512, mapping_layers=8, mapping_width=512)


@pytest.mark.parametrize("key", [*Recipe.model_fields, *ImageFormat.model_fields])
def test_every_key_of_a_recipe_is_described(key: str) -> None:
    assert re.search(rf"\b{key}\b", README.partition("## Recipes")[2].partition("## A dataset")[0])


def test_every_command_is_listed() -> None:
    commands = [name for name in app if not name.startswith("-") and name != "models"]
    commands += [f"models {name}" for name in app["models"] if not name.startswith("-")]
    assert len(commands) > 10
    assert [name for name in commands if f"`gansynth {name}" not in README] == []


def test_the_tree_names_every_module_and_no_other() -> None:
    tree = README.partition("## The tree")[2].partition("## Prefect")[0]
    named = set(re.findall(r"[a-z_]+\.py", tree))
    modules = {path.name for path in (ROOT / "gansynth").glob("*.py")} - {"__init__.py"}
    assert modules <= named
    below = {path.name for folder in ("gansynth", "flows") for path in (ROOT / folder).rglob("*.py")}
    assert named - below == set()


def test_the_pictures_and_recipes_it_names_exist() -> None:
    for path in re.findall(r"\((deploy/[^)]+)\)", README):
        assert (ROOT / path).is_file()
    for recipe in (ROOT / "deploy/recipes").glob("*.yaml"):
        assert f"`{recipe.stem}`" in README


@pytest.mark.parametrize("path", [path for path in SHIPPED if path not in TRAINING], ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_planned(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load(path)
    monkeypatch.chdir(tmp_path)
    written(LIKE_FFHQ, tmp_path, "ffhq.pkl")  # where the recipe of that name looks for it
    shutil.copytree(ROOT / "gansynth/generators/pretrained/fashion-32", "runs/photos")  # likewise
    if recipe.derived:
        gansynth.generate(Recipe.load(ROOT / "deploy/recipes/demo.yaml", {"seeds": "0-19"}), device="cpu")
    plan = gansynth.plan(recipe)
    assert plan.samples > 0 and recipe.output


PUBLISHED = {
    "dcgan-faces": {"architecture": "dcgan", "resolution": 64, "z_dim": 100, "epochs": 10, "sample_every": 1,
                    "learning_rate": 2e-4, "betas": [0.5, 0.999]},
    "mlp-flowers": {"architecture": "mlp", "resolution": 64, "z_dim": 100, "epochs": 500, "sample_every": 10, "width": 256,
                    "learning_rate": 2e-4, "betas": [0.8, 0.999]},
    "fashion-32": {"architecture": "biggan", "resolution": 32, "licence": "MIT", "metric": "fashion", "seed": 0},
}  # fmt: skip


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_every_shipped_training_recipe_can_be_used(path: Path) -> None:
    recipe = TrainingRecipe.load(path)
    made = players(recipe, len(recipe.class_names or "ab"), "cpu")
    assert made.generator is not made.discriminator and recipe.output
    for key, value in PUBLISHED.get(path.stem, {}).items():
        assert recipe.resolved()[key] == value


@pytest.mark.parametrize("key", [key for key in TrainingRecipe.model_fields if key not in Recipe.model_fields])
def test_every_key_of_a_training_recipe_is_described(key: str) -> None:
    assert re.search(rf"\| .*`{key}`.* \|", README.partition("## Training")[2].partition("## Weights")[0])


def test_the_ffhq_recipe_renders_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load(ROOT / "deploy/recipes/ffhq.yaml", {"seeds": "3,4"})
    monkeypatch.chdir(tmp_path)
    written(LIKE_FFHQ, tmp_path, "ffhq.pkl")
    gansynth.generate(recipe, device="cpu")
    rows = pq.read_table("datasets/ffhq/train/000000.parquet").to_pylist()
    assert sorted((row["seed"], row["truncation"]) for row in rows) == [(3, 0.7), (3, 1.0), (4, 0.7), (4, 1.0)]
    for row in rows:
        assert row["z"] == np.random.RandomState(row["seed"]).randn(1, 512)[0].astype(np.float32).tolist()


def test_the_example_recipe_can_be_planned() -> None:
    from ruamel.yaml import YAML

    example = README.partition("## Recipes")[2].partition("```yaml")[2].partition("```")[0]
    assert gansynth.plan(Recipe.parse(YAML(typ="safe").load(example))).samples == 30_006


def _code(before: str) -> str:
    """The first block of Python after a text of the README."""
    return README.partition(before)[2].partition("```python")[2].partition("```")[0]


@pytest.mark.filterwarnings("ignore")
def test_the_training_loop_runs(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make("datasets/demo", samples_per_shard=20)
    (tmp_path / "loop.py").write_text(_code("<!-- training loop -->"))
    monkeypatch.chdir(tmp_path)
    runpy.run_path("loop.py", run_name="__main__")
    assert float(capsys.readouterr().out.removeprefix("loss ")) > 0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small dataset where the README's has its own."""
    folder = tmp_path_factory.mktemp("demo")
    recipe = Recipe.load(ROOT / "deploy/recipes/demo.yaml", {"seeds": "0-9", "output": str(folder / "datasets/demo")})
    gansynth.generate(recipe, device="cpu")
    return folder


def test_the_loader_example_gives_what_it_says(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    code = _code("## Using a dataset")
    found: dict[str, Any] = {}
    exec(code.replace("num_workers=2", "num_workers=0"), found)
    batch = next(iter(found["DataLoader"](found["dataset"], batch_size=64)))
    said = re.findall(r"(\w+) \[([\d, ]+)\]", code.partition("#")[2])
    assert len(said) == 3
    for key, (kind, shape) in zip(("image", "label", "z"), said, strict=True):
        assert str(batch[key].dtype) == f"torch.{kind}"
        assert list(batch[key].shape) == [int(size) for size in shape.split(",")]


def test_the_mixing_example_runs(make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("datasets/more-photos", classes=["Bag", "Coat"])
    for name in ("Bag", "Coat"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.png").write_bytes(encoded(picture(0, 1)))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(_code("**Real and synthetic together.**"), found)
    samples = list(found["data"])
    assert sum(not sample["is_synthetic"] for sample in samples) == 2
    assert {"image", "label", "is_synthetic"} == set(samples[0])


@pytest.mark.parametrize("name", ["duckdb", "glob, pandas", "pyarrow.dataset"])
def test_the_manifest_examples_find_rows(
    demo: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo)
    found: dict[str, Any] = {}
    exec(f"import {name}" + README.partition(f"```python\nimport {name}")[2].partition("```")[0], found)
    printed = capsys.readouterr().out
    assert "Sneaker" in printed or len(found.get("samples", found.get("table", ()))) > 0
