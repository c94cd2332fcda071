"""The shape of the package: data flows one way, and looking at a recipe needs neither torch nor Prefect."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLAN_A_RECIPE = """
import gansynth
recipe = gansynth.Recipe(name="a", generator="fashion-32", classes="all", truncation=[0.5], seeds="0-99")
plan = gansynth.plan(recipe)
assert plan.samples == 1000 and len(plan.rows(plan.shard(0))) == 1000
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def loaded_by(code: str, *modules: str) -> set[str]:
    """Which of the modules a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys\nprint(*(name for name in {modules!r} if name in sys.modules))"
    done = run(sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_imports_keep_to_the_layers(tmp_path: Path) -> None:
    script = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = run(sys.executable, "-c", script, "--cache-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_every_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    listed = {name.strip() for layer in layers for name in layer.split("|")}
    names = [
        path.stem for path in (ROOT / "gansynth").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    assert {f"gansynth.{name}" for name in names if name != "__init__"} == listed


def test_importing_the_library_loads_neither_torch_nor_prefect() -> None:
    assert loaded_by("import gansynth", "torch", "prefect", "pytorch_pretrained_biggan", "gansynth") == {"gansynth"}


def test_planning_a_recipe_does_not_load_torch() -> None:
    assert loaded_by(PLAN_A_RECIPE, "torch", "prefect", "gansynth.plan") == {"gansynth.plan"}


@pytest.mark.parametrize("module", ["torch", "prefect"])
def test_these_checks_can_fail(module: str) -> None:
    assert loaded_by(f"import {module}, gansynth", "torch", "prefect") >= {module}
