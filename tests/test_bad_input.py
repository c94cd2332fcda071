"""Whatever is wrong with a request: exit code 2, one line that says so, no traceback, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gansynth.cli import run
from gansynth.generators import weights

# Values are YAML, as a user would write them; None leaves the key out.
BASE: dict[str, str | None] = {
    "name": "demo",
    "generator": "fake",
    "generator_options": "{resolution: 8, num_classes: 4, z_dim: 4}",
    "classes": "[0, 1]",
    "truncation": "[0.5]",
    "seeds": "0-9",
    "samples_per_shard": "5",
}

BAD_RECIPES: dict[str, tuple[dict[str, str | None], str]] = {
    "unknown key": ({"trunkation": "0.5"}, "did you mean `truncation`?"),
    "unknown key, nothing like it": ({"zzz": "0.5"}, "saw the key `zzz`"),
    "unknown key of image": ({"image": "{format: jpg, qualty: 9}"}, "did you mean `quality`?"),
    "key that is a number": ({"5": "6"}, "saw the key 5"),
    "truncation 0": ({"truncation": "0"}, "truncation: saw 0"),
    "truncation 1.2": ({"truncation": "1.2"}, "truncation: saw 1.2"),
    "truncation below 0": ({"truncation": "[0.5, -0.5]"}, "truncation: saw -0.5"),
    "truncation text": ({"truncation": "a"}, "truncation: saw 'a'"),
    "truncation NaN": ({"truncation": ".nan"}, "truncation: saw nan"),
    "truncation infinite": ({"truncation": "[.inf]"}, "truncation: saw inf"),
    "truncation true": ({"truncation": "true"}, "truncation: saw True"),
    "truncation empty": ({"truncation": "[]"}, "truncation: saw [], an empty list"),
    "truncation twice": ({"truncation": "[0.5, 1, 0.5]"}, "0.5 twice"),
    "seeds backwards": ({"seeds": "5-1"}, 'write "1-5"'),
    "seeds negative": ({"seeds": "-3"}, 'seeds: saw "-3"'),
    "seeds with a gap": ({"seeds": "1,,2"}, 'seeds: saw "" in "1,,2"'),
    "seeds too large": ({"seeds": "4294967296"}, "above the largest seed 4294967295"),
    "seeds to too large": ({"seeds": "0-4294967296"}, "above the largest seed 4294967295"),
    "seed twice": ({"seeds": "3,3"}, "seed 3 occurs twice"),
    "seed twice in ranges": ({"seeds": "0-9,20,5-6"}, "seed 5 occurs twice"),
    "seed twice in parts": ({"seeds": "[0-9, 9-12]"}, "seed 9 occurs twice"),
    "seeds text": ({"seeds": "many"}, 'seeds: saw "many"'),
    "seeds fraction": ({"seeds": "1.5"}, "seeds: saw 1.5"),
    "seeds empty": ({"seeds": "[]"}, "seeds: saw []"),
    "seeds empty text": ({"seeds": '""'}, 'seeds: saw ""'),
    "seeds missing": ({"seeds": None}, "the key `seeds` is missing"),
    "seed use": ({"seed_use": "twice"}, "seed_use: saw 'twice'"),
    "class index": ({"classes": "[4]"}, "use 0 to 3"),
    "class index negative": ({"classes": "[-1]"}, "saw index -1"),
    "class name": ({"classes": "[zebra]"}, 'no class "zebra"'),
    "class name, nearly": ({"classes": "[tint]"}, "the nearest are 0 (tint 0)"),
    "class index quoted": ({"classes": "['3']"}, "without quotes"),
    "class true": ({"classes": "[true]"}, "classes: saw"),
    "class fraction": ({"classes": "[1.5]"}, "classes: saw"),
    "class ambiguous": ({"generator": "biggan-deep-256", "generator_options": None, "classes": "[crane]"}, "ambiguous"),
    "class twice": ({"classes": "[1, 1]"}, "class 1 (tint 1) is listed twice"),
    "class twice by name": ({"classes": "[1, TINT-1]"}, "class 1 (tint 1) is listed twice"),
    "classes empty": ({"classes": "[]"}, "classes: saw [], an empty list"),
    "classes missing": ({"classes": None}, "classes: the key is missing"),
    "class of an unconditional generator": ({"generator_options": "{num_classes: 0}"}, "unconditional"),
    "all of an unconditional generator": ({"generator_options": "{num_classes: 0}", "classes": "all"}, "unconditional"),
    "labels incomplete": ({"labels": "{0: 7}"}, "class 1 (tint 1) has no label"),
    "labels too many": ({"labels": "{0: 7, 1: 8, 2: 9}"}, "class 2 (tint 2) is not among the classes"),
    "labels unknown": ({"labels": "{zebra: 7}"}, 'no class "zebra"'),
    "labels negative": ({"labels": "{0: 0, 1: -1}"}, "labels: saw -1"),
    "labels text": ({"labels": "{0: zero, 1: one}"}, "labels: saw"),
    "provenance text": ({"provenance": "maybe"}, "provenance: saw 'maybe'"),
    "splits below 1": ({"splits": "{train: 0.5, val: 0.4}"}, "adds up to 0.9"),
    "splits above 1": ({"splits": "{train: 0.9, val: 0.4}"}, "adds up to 1.3"),
    "splits 0": ({"splits": "{train: 1, val: 0}"}, "outside (0, 1]"),
    "splits NaN": ({"splits": "{train: .nan}"}, "splits"),
    "splits unknown": ({"splits": "{dev: 1}"}, 'a split "dev"'),
    "splits empty": ({"splits": "{}"}, "splits"),
    "splits list": ({"splits": "[train]"}, "splits: saw ['train']"),
    "splits without a seed": ({"splits": "{train: 0.5, val: 0.5}", "seeds": "0"}, "no seed falls into val"),
    "image format": ({"image": "{format: bmp}"}, "image.format: saw 'bmp'"),
    "image text": ({"image": "jpg"}, "image: saw 'jpg'"),
    "quality 0": ({"image": "{quality: 0}"}, "image.quality: saw 0"),
    "quality 101": ({"image": "{quality: 101}"}, "image.quality: saw 101"),
    "quality of png": ({"image": "{format: png, quality: 9}"}, "png does not have"),
    "quality of lossless webp": (
        {"image": "{format: webp, lossless: true, quality: 9}"},
        "lossless webp does not have",
    ),
    "samples_per_shard 0": ({"samples_per_shard": "0"}, "samples_per_shard: saw 0"),
    "samples_per_shard too many": ({"samples_per_shard": "1000001"}, "samples_per_shard: saw 1000001"),
    "samples_per_shard fraction": ({"samples_per_shard": "1.5"}, "samples_per_shard: saw 1.5"),
    "batch_size 0": ({"batch_size": "0"}, "batch_size: saw 0"),
    "threads text": ({"threads": "few"}, "threads: saw 'few'"),
    "precision": ({"precision": "float8"}, "precision: saw 'float8'"),
    "latent": ({"latent": "uniform"}, "latent: saw 'uniform'"),
    "latent of another family": ({"latent": "numpy_normal"}, "latent: saw numpy_normal"),
    "name with a slash": ({"name": "a/b"}, "no path separators"),
    "name with a backslash": ({"name": "a\\b"}, "no path separators"),
    "name that climbs": ({"name": "../a"}, "no path separators"),
    "name empty": ({"name": '""'}, "name: saw ''"),
    "name too long": ({"name": "a" * 101}, "at most 100 characters"),
    "name that is a number": ({"name": "5"}, "name: saw 5"),
    "name with a line break": ({"name": '"a\\nb"'}, "name: saw 'a\\nb'"),
    "name missing": ({"name": None}, "the key `name` is missing"),
    "generator unknown": ({"generator": "biggan-deep-255"}, "biggan-deep-256"),
    "generator empty": ({"generator": '""'}, "generator: saw ''"),
    "generator that is a number": ({"generator": "5"}, "generator: saw 5"),
    "generator that runs code": ({"generator": "os:system"}, "--allow-code"),
    "generator option unknown": ({"generator_options": "{size: 8}"}, "saw `size`"),
    "generator option": ({"generator_options": "{z_dim: 0}"}, "generator_options.z_dim: saw 0"),
    "output empty": ({"output": '""'}, "output: saw ''"),
    "output of no known kind": ({"output": "nowhere://bucket/x"}, "output nowhere://bucket/x: cannot be opened"),
}

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "an empty file"),
    "only a comment": (b"# name: demo\n", "an empty file"),
    "list": (b"- name: demo\n", "a list, not a mapping"),
    "text": (b"name\n", "a single value, not a mapping"),
    "number": (b"5\n", "not a mapping"),
    "unclosed": (b"name: [demo\n", "not valid YAML"),
    "colon in colon": (b"name: demo: more\n", "not valid YAML"),
    "tab": (b"image:\n\tformat: jpg\n", "not valid YAML"),
    "key twice": (b"name: a\nname: b\n", "not valid YAML"),
    "two documents": (b"name: a\n---\nname: b\n", "not valid YAML"),
    "tag that would run code": (b'name: !!python/object/apply:os.system ["touch ran"]\n', "not valid YAML"),
    "control character": (b"name: a\x00b\n", "not valid YAML"),
    "latin-1": ("name: châtaigne\n".encode("latin-1"), "is not UTF-8 text"),
    "0 as a key": (b"name: demo\n0: a\n", "saw the key 0"),
    "nothing as a key": (b"name: demo\n: a\n", "saw the key None"),
    "list as a key": (b"[a, b]: c\n", "recipe.yaml"),
}

BAD_OPTIONS: dict[str, tuple[list[str], str]] = {
    "shard beyond the plan": (["--shards", "4"], "the plan has shards 0 to 3"),
    "shards beyond the plan": (["--shards", "0-99999999"], "the plan has shards 0 to 3"),
    "shards text": (["--shards", "all"], "--shards"),
    "shards empty": (["--shards", ""], '--shards: saw ""'),
    "shards backwards": (["--shards", "3-1"], "--shards"),
    "shards twice": (["--shards", "1,1"], "--shards"),
    "device unknown": (["--device", "bogus"], 'device: saw "bogus"'),
    "device of no number": (["--device", "cuda:x"], 'device: saw "cuda:x"'),
    "device empty": (["--device", ""], "device"),
    "device of another kind": (["--device", "meta"], 'device: saw "meta"'),
    "set without a value": (["--set", "nonsense"], "--set: saw 'nonsense'"),
    "set without a key": (["--set", "=5"], "--set: saw '=5'"),
    "set of no YAML": (["--set", "truncation=[0.4"], "--set"),
    "set of an unknown key": (["--set", "trunkation=0.5"], "did you mean `truncation`?"),
    "set into no mapping": (["--set", "name.first=x"], "name: saw"),
    "set of a bad value": (["--set", "image.quality=0"], "image.quality: saw 0"),
    "unknown option": (["--frobnicate"], "--frobnicate"),
    "option without its value": (["--output"], "--output"),
    "two recipes": (["another.yaml"], "another.yaml"),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written relative to the working folder is noticed too."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a recipe file with some keys changed; its output is in this test's folder."""

    def _write(**changes: str | None) -> str:
        keys = {**BASE, "output": str(tmp_path / "out"), **changes}
        lines = [f"{key}: {value}\n" for key, value in keys.items() if value is not None]
        (tmp_path / "recipe.yaml").write_text("".join(lines))
        return str(tmp_path / "recipe.yaml")

    return _write


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must be refused as bad input; returns what it said."""

    def _refused(*arguments: str) -> str:
        before = snapshot(tmp_path)
        capsys.readouterr()
        code = run(arguments)
        found = capsys.readouterr()
        assert code == 2, found
        assert found.out == ""
        assert "Traceback" not in found.err
        assert found.err.startswith("gansynth: ")
        assert found.err.endswith("\n")
        assert len(found.err.splitlines()) == 1, found.err
        assert snapshot(tmp_path) == before
        return found.err

    return _refused


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every folder and file, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def test_the_recipe_that_these_tests_spoil_is_good(write: Callable[..., str], tmp_path: Path) -> None:
    assert run(["generate", write()]) == 0
    assert len(list((tmp_path / "out" / "train").glob("*.tar"))) == 4


# Recipes


@pytest.mark.parametrize("command", ["generate", "plan"])
@pytest.mark.parametrize("case", BAD_RECIPES)
def test_a_bad_recipe_is_refused(
    write: Callable[..., str], refused: Callable[..., str], case: str, command: str
) -> None:
    changes, said = BAD_RECIPES[case]
    assert said in refused(command, write(**changes))


@pytest.mark.parametrize("case", ["unknown key", "class name", "seeds backwards", "class ambiguous"])
def test_a_bad_recipe_has_no_contact_sheet(write: Callable[..., str], refused: Callable[..., str], case: str) -> None:
    changes, said = BAD_RECIPES[case]
    assert said in refused("sheet", write(**changes))


@pytest.mark.parametrize("command", ["generate", "plan", "sheet"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_recipe_is_refused(
    refused: Callable[..., str], tmp_path: Path, case: str, command: str
) -> None:
    content, said = BAD_FILES[case]
    (tmp_path / "recipe.yaml").write_bytes(content)
    assert said in refused(command, str(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize("command", ["generate", "plan", "sheet"])
def test_a_recipe_that_is_not_there_is_refused(refused: Callable[..., str], tmp_path: Path, command: str) -> None:
    assert "there is no such file" in refused(command, "absent.yaml")
    assert "absent" in refused(command, "absent/recipe.yaml")
    (tmp_path / "folder").mkdir()
    assert "folder" in refused(command, "folder")


def test_a_recipe_without_output_cannot_be_generated(write: Callable[..., str], refused: Callable[..., str]) -> None:
    assert "--output" in refused("generate", write(output=None))
    assert run(["plan", write(output=None)]) == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(
        [*BASE, "labels", "splits", "image", "latent", "batch_size", "threads", "precision", "seed_use"]
    ),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**33) | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=4,
    ),
)
def test_no_value_of_any_key_gives_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any
) -> None:
    base = {"name": "demo", "generator": "fake", "classes": [0, 1], "seeds": "0-9"}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**base, key: value}, ensure_ascii=False), encoding="utf-8")
    code = run(["plan", str(tmp_path / "recipe.yaml")])
    found = capsys.readouterr()
    assert code in (0, 2)
    assert bool(found.err) == (code == 2)
    assert all(line.startswith("gansynth: ") for line in found.err.splitlines())


def test_several_faults_are_told_at_once_one_a_line(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", write(truncation="a", samples_per_shard="0", nmae="x")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("gansynth: recipe ") for line in lines)
    assert [any(word in line for line in lines) for word in ("truncation", "samples_per_shard", "nmae")] == [True] * 3


@pytest.mark.parametrize("command", ["plan", "generate", "sheet"])
@pytest.mark.parametrize(
    "fault",
    [{"classes": "[99]"}, {"truncation": "[1.5]"}, {"latent": "numpy_normal"}, {"labels": "{nothing: 3}"}],
    ids=lambda fault: next(iter(fault)),
)
def test_a_recipe_that_does_not_fit_its_generator_is_named_as_the_file_at_fault(
    write: Callable[..., str], refused: Callable[..., str], tmp_path: Path, command: str, fault: dict[str, str]
) -> None:
    path = write(generator="fashion-32", generator_options=None, **{"output": str(tmp_path / "out"), **fault})
    assert refused(command, path, "--device", "cpu").startswith(f"gansynth: recipe {path}: {next(iter(fault))}: ")


# Options


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_refused(write: Callable[..., str], refused: Callable[..., str], case: str) -> None:
    options, said = BAD_OPTIONS[case]
    assert said in refused("generate", write(), *options)


@pytest.mark.parametrize("case", [case for case in BAD_OPTIONS if not case.startswith("shard")])
def test_a_bad_option_cannot_be_planned(write: Callable[..., str], refused: Callable[..., str], case: str) -> None:
    options, said = BAD_OPTIONS[case]
    assert said in refused("plan", write(), *options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(
    write: Callable[..., str], refused: Callable[..., str], device: str
) -> None:
    assert f"device: saw {device}, but this machine has 0 usable GPUs" in refused(
        "generate", write(), "--device", device
    )
    assert f"device: saw {device}" in refused("sheet", write(), "--device", device)


@pytest.mark.parametrize("arguments", [["generate"], ["frobnicate"], ["models", "frobnicate"], ["plan", "--json"]])
def test_an_incomplete_or_unknown_command_is_refused(refused: Callable[..., str], arguments: list[str]) -> None:
    assert "--help" in refused(*arguments)


@pytest.mark.parametrize("command", ["info", "pull"])
def test_a_model_that_does_not_exist_is_refused(refused: Callable[..., str], command: str) -> None:
    assert "fashion-32" in refused("models", command, "fashion-33")


@pytest.mark.parametrize(
    "options",
    [["--classes", "0"], ["--samples", "-1"], ["--classes", "many"], ["--to", "absent/sheet.png"]],
    ids=" ".join,
)
def test_a_bad_option_of_a_sheet_is_refused(
    write: Callable[..., str], refused: Callable[..., str], options: list[str]
) -> None:
    assert options[0] in refused("sheet", write(), *options)


# Weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the weights that ship with the package."""
    shipped = weights.locate("fashion-32")
    assert shipped is not None
    return Path(shutil.copytree(shipped, tmp_path / "weights"))


def recipe_of(write: Callable[..., str], folder: Path) -> str:
    return write(generator=str(folder), generator_options=None)


@pytest.mark.parametrize("command", ["generate", "plan"])
def test_weights_without_their_configuration_are_refused(
    write: Callable[..., str], refused: Callable[..., str], folder: Path, command: str
) -> None:
    (folder / "config.json").unlink()
    assert "holds no config.json" in refused(command, recipe_of(write, folder))


@pytest.mark.parametrize("command", ["generate", "plan"])
def test_a_configuration_without_weights_is_refused(
    write: Callable[..., str], refused: Callable[..., str], folder: Path, command: str
) -> None:
    (folder / "pytorch_model.bin").unlink()
    assert "holds no weights" in refused(command, recipe_of(write, folder))


@pytest.mark.parametrize("command", ["generate", "sheet"])
def test_truncated_weights_are_refused(
    write: Callable[..., str], refused: Callable[..., str], folder: Path, command: str
) -> None:
    file = folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "pytorch_model.bin: cannot be read as weights" in refused(command, recipe_of(write, folder))


@pytest.mark.parametrize("command", ["generate", "sheet"])
def test_a_state_dict_of_another_shape_is_refused(
    write: Callable[..., str], refused: Callable[..., str], folder: Path, command: str
) -> None:
    state = weights.read_tensors(folder / "pytorch_model.bin")
    torch.save({**state, "embeddings.weight": torch.zeros(64, 12)}, folder / "pytorch_model.bin")
    assert "where [64, 10] is needed" in refused(command, recipe_of(write, folder))


@pytest.mark.parametrize("command", ["generate", "sheet"])
def test_weights_that_were_not_pulled_are_refused(
    write: Callable[..., str], refused: Callable[..., str], command: str
) -> None:
    recipe = write(generator="biggan-deep-128", generator_options=None)
    assert "gansynth models pull biggan-deep-128" in refused(command, recipe)


# Outputs


def test_an_output_below_a_file_is_refused(
    write: Callable[..., str], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/out", "file/deep/down"):
        assert f"output {tmp_path / place}: " in refused("generate", write(output=str(tmp_path / place)))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_an_output_where_nothing_can_be_written_is_refused(
    write: Callable[..., str], refused: Callable[..., str]
) -> None:
    assert "output /proc/nowhere: cannot be written" in refused("generate", write(output="/proc/nowhere"))


@pytest.mark.parametrize("name", ["README.md", "train/holiday.jpg", "train/000000.tar"])
def test_an_output_with_foreign_files_is_refused(
    write: Callable[..., str], refused: Callable[..., str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    assert f"holds {name}, but no recipe.yaml" in refused("generate", write())


@pytest.fixture
def made(write: Callable[..., str], tmp_path: Path) -> str:
    """A dataset of the base recipe, in two splits."""
    assert run(["generate", write(splits="{train: 0.6, val: 0.4}")]) == 0
    return str(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"truncation": "[0.5, 0.6]"}, "truncation is [0.5] in the dataset, but [0.5, 0.6] in the recipe"),
        ({"classes": "[1, 0]"}, "classes is [0, 1] in the dataset, but [1, 0] in the recipe"),
        ({"image": "{quality: 80}"}, "'quality': 80"),
        ({"samples_per_shard": "6"}, "samples_per_shard is 5 in the dataset, but 6 in the recipe"),
        ({"splits": "{train: 0.7, val: 0.3}"}, "splits"),
        ({"splits": "{val: 0.4, train: 0.6}"}, "splits"),
        ({"seeds": "0-8"}, "seeds are"),
        ({"seeds": "[20-29, 0-9]"}, "only new parts may be appended"),
        ({"generator_options": "{resolution: 16, num_classes: 4, z_dim: 4}"}, "'resolution': 16"),
        ({"precision": "bfloat16"}, "precision is float32 in the dataset, but bfloat16 in the recipe"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("command", ["generate", "plan"])
def test_another_recipe_on_an_existing_output_is_refused_with_the_difference(
    write: Callable[..., str],
    refused: Callable[..., str],
    made: str,
    changes: dict[str, str],
    difference: str,
    command: str,
) -> None:
    message = refused(command, write(**{"splits": "{train: 0.6, val: 0.4}", **changes}))
    assert difference in message
    assert "belongs to another recipe" in message


def test_a_record_that_was_damaged_or_edited_is_refused(
    write: Callable[..., str], refused: Callable[..., str], made: str
) -> None:
    record = Path(made) / "recipe.yaml"
    content = record.read_text()
    recipe = write(splits="{train: 0.6, val: 0.4}")
    for text, said in (
        (content.replace("samples_per_shard: 5", "samples_per_shard: 6"), "was edited"),
        (content[:100], "is damaged"),
        ("", "is damaged"),
        ("- a", "is damaged"),
        ("name: [", "is damaged"),
    ):
        record.write_text(text)
        assert said in refused("generate", recipe)
        assert said in refused("status", made)


@pytest.mark.parametrize("value", [None, "", "5", "x", "[]", "[1]", "{a: 1}", "[[]]", "'"])
def test_no_damaged_line_of_a_record_gives_a_traceback(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str], value: str | None
) -> None:
    lines = (dataset / "recipe.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        changed = [] if value is None else [f"{line.partition(':')[0]}: {value}"]
        (tmp_path / "recipe.yaml").write_text("\n".join([*lines[:number], *changed, *lines[number + 1 :]]))
        code = run(["status", str(tmp_path)])
        found = capsys.readouterr()
        assert code in (0, 1, 2), line  # 1: this folder has no card
        assert len(found.err.splitlines()) == (code > 0), line


@pytest.mark.parametrize("command", ["status", "verify", "repair", "finalize", "show"])
def test_a_folder_that_is_no_dataset_is_refused(refused: Callable[..., str], tmp_path: Path, command: str) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").touch()
    key = ["train-000000-000000"] if command == "show" else []
    for place in ("holiday", "absent", "holiday/photo.jpg"):
        assert f"{place}: holds no recipe.yaml" in refused(command, place, *key)


# show


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("nonsense", "which is no key"),
        ("train-0-0", "which is no key"),
        ("../../etc-000000-000000", "which is no key"),
        ("", "which is no key"),
        ("test-000000-000000", "only the splits train, val"),
        ("train-000099-000000", "does not exist (yet)"),
        ("train-000000-000099", "has rows 0 to 4"),
    ],
)
def test_a_bad_key_is_refused(refused: Callable[..., str], made: str, key: str, said: str) -> None:
    assert said in refused("show", made, key)


def test_a_place_where_the_image_cannot_go_is_refused(refused: Callable[..., str], made: str) -> None:
    assert "--to absent/one.png" in refused("show", made, "train-000000-000000", "--to", "absent/one.png")


def test_other_weights_than_the_datasets_are_refused(refused: Callable[..., str], dataset: Path, folder: Path) -> None:
    state = weights.read_tensors(folder / "pytorch_model.bin")
    torch.save({**state, "embeddings.weight": torch.zeros(64, 10)}, folder / "pytorch_model.bin")
    assert "other weights" in refused("show", str(dataset), "train-000000-000000", "--generator", str(folder))


def test_a_damaged_dataset_is_left_alone_without_its_weights(made: str) -> None:
    (Path(made) / "train" / "000000_stats.json").unlink()
    (Path(made) / "train" / "000001.tar").write_bytes(b"")
    before = snapshot(Path(made))
    assert run(["repair", made, "--generator", "absent"]) == 2
    assert snapshot(Path(made)) == before
