"""The command line as a user meets it: what each command prints, writes and exits with."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow.parquet as pq
import pytest
from conftest import SMALL
from cyclopts import App

import gansynth
from gansynth.cli import app, run
from gansynth.generators import load_generator
from gansynth.generators.weights import KNOWN

Write = Callable[..., str]
OPTIONS = {"resolution": 16, "num_classes": 2, "z_dim": 4}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a recipe file: the small recipe with some keys changed, its output in this test's folder."""

    def _write(**changes: Any) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps({**SMALL, "output": str(tmp_path / "out"), **changes}))
        return str(path)

    return _write


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a dataset but the receipts, which hold times and hosts."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("_stats.json")
    }


def commands(application: App, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, with those of groups such as `models`."""
    for name in application:
        if not name.startswith("-"):
            yield (*prefix, name)
            yield from commands(application[name], (*prefix, name))


def installed() -> str:
    """The command that the package installs."""
    return str(Path(sys.executable).with_name("gansynth"))


# Help


@pytest.mark.parametrize("command", list(commands(app)), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    assert f"Usage: gansynth {' '.join(command)}" in found.out
    if command != ("models",):
        examples = [line for line in found.out.splitlines() if line.strip().startswith(f"gansynth {' '.join(command)}")]
        assert examples


def test_the_bare_command_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    text = capsys.readouterr().out
    assert all(command[0] in text for command in commands(app))
    assert "Exit codes" in text


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("gansynth")


# plan


def test_plan_shows_shards_and_samples_and_writes_nothing(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", write()]) == 0
    text = capsys.readouterr().out
    assert text.startswith("small: fashion-32, 32 x 32, 3 classes, 2 truncations, 40 seeds in 1 part\n")
    assert f"output: {tmp_path / 'out'}" in text
    rows = {
        line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:5].strip() in ("train", "val", "all")
    }
    assert rows["all"][1:] == ["240", "0"]
    assert int(rows["train"][1]) + int(rows["val"][1]) == 240
    assert "size: about" in text
    assert "time: about" in text
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_plan_as_json_agrees_with_the_library(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    assert run(["plan", path, "--json"]) == 0
    facts, planned = json.loads(capsys.readouterr().out), gansynth.plan(gansynth.Recipe.load(path))
    assert (facts["shards"], facts["samples"]) == (len(planned), planned.samples)
    assert facts["splits"]["train"]["shards"] == planned.shards_of("train")
    assert (facts["done"], facts["missing"]) == (0, len(planned))
    assert facts["truncations"] == [0.4, 1.0]
    assert facts["parts"] == ["0-39"]
    assert facts["estimated_bytes"] > 0


def test_plan_counts_what_is_done(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    assert run(["generate", path, "--shards", "0,2"]) == 0
    capsys.readouterr()
    assert run(["plan", path, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["done"], facts["missing"]) == (2, facts["shards"] - 2)


def test_plan_needs_no_weights(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["plan", write(generator="biggan-deep-512", classes=["golden retriever"], seeds="0-999999"), "--json"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert (facts["samples"], facts["resolution"]) == (2_000_000, 512)


def test_options_replace_keys_of_the_recipe(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "truncation=0.5", "--set", "image.quality=80", "--set", "seeds=0-99", "--set", "classes=all"]
    assert run(["plan", write(), "--json", *changes]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["truncations"], facts["samples"]) == ([0.5], 1000)

    options = ["--output", str(tmp_path / "elsewhere"), "--set", "image={format: png}", "--set", "seeds=0-9"]
    assert run(["generate", write(), *options]) == 0
    assert not (tmp_path / "out").exists()
    rows = pq.read_table(tmp_path / "elsewhere" / "train" / "000000.parquet").to_pylist()
    assert {row["format"] for row in rows} == {"png"}


# generate


def test_generate_makes_a_complete_dataset_quietly(
    write: Write, tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", write(), "--device", "cpu"]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    assert "shards with 240 images made" in found.out
    assert found.out.endswith(f"{tmp_path / 'out'}: complete\n")
    assert tree(tmp_path / "out") == tree(dataset)


@pytest.mark.parametrize("order", range(3))
def test_shards_made_in_any_order_by_separate_runs_are_the_same_dataset(
    write: Write, tmp_path: Path, dataset: Path, order: int
) -> None:
    path = write()
    numbers = list(range(len(gansynth.plan(gansynth.Recipe.load(path)))))
    random.Random(order).shuffle(numbers)
    for chosen in (numbers[:2], numbers[2:3], numbers[1:4], numbers[3:]):  # some twice
        assert run(["generate", path, "--shards", ",".join(map(str, chosen))]) == 0
    assert tree(tmp_path / "out") == tree(dataset)


def test_generating_again_makes_nothing_and_changes_nothing(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    run(["generate", path])
    before = tree(tmp_path / "out")
    capsys.readouterr()
    assert run(["generate", path]) == 0
    assert capsys.readouterr().out.startswith("0 shards with 0 images made")
    assert tree(tmp_path / "out") == before


def test_a_dataset_grows_by_appended_parts(write: Write, tmp_path: Path) -> None:
    assert run(["generate", write(seeds=["0-39"])]) == 0
    before = {name: data for name, data in tree(tmp_path / "out").items() if name.endswith((".tar", ".parquet"))}
    assert run(["generate", write(seeds=["0-39", "100-139"])]) == 0
    after = tree(tmp_path / "out")
    assert before.items() < after.items()
    assert run(["verify", str(tmp_path / "out")]) == 0


def test_the_recorded_recipe_makes_the_same_dataset_elsewhere(tmp_path: Path, dataset: Path) -> None:
    assert run(["generate", str(dataset / "recipe.yaml"), "--output", str(tmp_path / "copy")]) == 0
    assert tree(tmp_path / "copy") == tree(dataset)


class _Scripted:
    """A generator of the user's; calls `act` with the number of each call, from 0."""

    act: Callable[[int], None]

    def __init__(self, device: str, precision: str) -> None:
        self._fake, self._calls = load_generator("fake", options=OPTIONS), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fake, name)

    def sample(self, *args: Any) -> Any:
        self._calls += 1
        type(self).act(self._calls - 1)
        return self._fake.sample(*args)


@pytest.fixture
def scripted(write: Write, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[str]]:
    """Arguments that generate 3 shards of 4 batches with a generator that does something at each batch."""

    def _scripted(act: Callable[[int], None]) -> list[str]:
        module = types.ModuleType("scripted_generators")
        vars(module)["make"] = type("Scripted", (_Scripted,), {"act": staticmethod(act)})
        monkeypatch.setitem(sys.modules, "scripted_generators", module)
        changes = {"classes": "all", "truncation": 1, "seeds": "0-29", "splits": {"train": 1.0}}
        path = write(generator="scripted_generators:make", samples_per_shard=20, batch_size=5, **changes)
        return ["generate", path, "--allow-code"]

    return _scripted


def test_a_failed_shard_is_reported_and_made_by_the_next_run(
    scripted: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(call: int) -> None:
        if call == 5:
            raise RuntimeError("boom\nwith details")

    assert run(scripted(fail)) == 1
    found = capsys.readouterr()
    assert found.err == "shard train/000001 failed: RuntimeError: boom with details\n"
    assert "1 of 3 shards missing" in found.out
    assert run(scripted(lambda call: None)) == 0
    assert capsys.readouterr().out.startswith("1 shard with 20 images made")


def test_a_run_whose_every_shard_fails_gives_up(
    scripted: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(call: int) -> None:
        raise RuntimeError("boom")

    assert run(scripted(fail)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("gansynth: 3 shards in a row failed, the last with: RuntimeError: boom")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_at_a_shard_boundary(
    scripted: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path, number: int, code: int
) -> None:
    def interrupt(call: int) -> None:
        if call == 5:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    assert run(scripted(interrupt)) == code
    assert signal.getsignal(number) is before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gansynth: stopped by signal")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.tar")) == ["000000.tar", "000001.tar"]
    assert not (tmp_path / "out" / ".tmp").exists()
    assert run(scripted(lambda call: None)) == 0
    assert run(["verify", str(tmp_path / "out")]) == 0


# status, verify, repair, finalize


def test_status_tells_a_complete_dataset(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", str(dataset)]) == 0
    assert capsys.readouterr().out.startswith("small: complete, ")
    assert run(["status", str(dataset), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["state"], facts["missing"], facts["planned_samples"]) == ("small", "complete", 0, 240)
    assert facts["shards"] == facts["done"] == sum(split["done"] for split in facts["splits"].values())
    assert not facts["scratch"]


def test_status_tells_an_unfinished_dataset(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["generate", write(), "--shards", "0"])
    capsys.readouterr()
    assert run(["status", str(tmp_path / "out"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["state"], facts["done"]) == ("unfinished", 1)
    assert run(["status", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith(f"small: unfinished, 1 of {facts['shards']} shards")


def test_verify_says_that_all_is_well(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(dataset)]) == 0
    assert "all as they were written" in capsys.readouterr().out


def test_damage_is_found_named_and_repaired(
    make: Callable[..., Path], dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    tar = folder / "train" / "000001.tar"
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    tar.write_bytes(data)
    (folder / "val" / "000000_stats.json").unlink()
    assert run(["verify", str(folder)]) == 1
    text = capsys.readouterr().out
    assert "train/000001.tar: holds other bytes" in text
    assert "val/000000: is missing" in text
    assert "gansynth repair" in text
    assert run(["repair", str(folder)]) == 0
    assert run(["verify", str(folder)]) == 0
    assert tree(folder) == tree(dataset)


def test_repairing_a_sound_dataset_changes_nothing(make: Callable[..., Path], dataset: Path) -> None:
    folder = make()
    assert run(["repair", str(folder)]) == 0
    assert tree(folder) == tree(dataset)


def test_finalize_writes_the_index_files_again(
    make: Callable[..., Path], dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    assert run(["finalize", str(folder)]) == 0
    assert "right already" in capsys.readouterr().out
    (folder / "_info.json").write_text("{}")
    (folder / "train" / "sizes.json").unlink()
    (folder / ".tmp" / "0123").mkdir(parents=True)
    (folder / ".tmp" / "0123" / "000000.tar").touch()
    assert run(["finalize", str(folder)]) == 0
    assert "written" in capsys.readouterr().out
    assert tree(folder) == tree(dataset)


def test_finalize_tells_what_is_missing(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["generate", write(), "--shards", "0"])
    capsys.readouterr()
    assert run(["finalize", str(tmp_path / "out")]) == 1
    assert "shards are missing" in capsys.readouterr().out


# show


def test_random_samples_are_remade_with_the_same_bytes(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for path in dataset.rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    for row in random.Random(0).sample(rows, 20):
        assert run(["show", str(dataset), row["key"]]) == 0
        text = capsys.readouterr().out
        assert "identical: the re-made image has the same bytes" in text
        shown = dict(line.split(maxsplit=1) for line in text.splitlines()[:-1])
        assert shown["sample_id"] == row["sample_id"]
        assert shown["class_name"] == row["class_name"]
        assert float(shown["truncation"]) == row["truncation"]
        assert int(shown["seed"]) == row["seed"]


def test_show_writes_the_remade_image(dataset: Path, tmp_path: Path) -> None:
    assert run(["show", str(dataset), "train-000000-000003", "--to", str(tmp_path / "one.png")]) == 0
    with PIL.Image.open(tmp_path / "one.png") as image:
        assert (image.format, image.size) == ("PNG", (32, 32))


def test_show_tells_a_stored_image_that_is_not_the_samples(
    make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(image={"format": "png", "compress_level": 0})  # all images have one size, so they can be exchanged
    rows = pq.read_table(folder / "train" / "000000.parquet").to_pylist()
    a, b = (slice(row["image_offset"], row["image_offset"] + row["image_bytes"]) for row in rows[:2])
    data = bytearray((folder / "train" / "000000.tar").read_bytes())
    data[a], data[b] = data[b], data[a]
    (folder / "train" / "000000.tar").write_bytes(data)
    assert run(["show", str(folder), rows[0]["key"]]) == 1
    assert "differs by at most" in capsys.readouterr().out
    assert run(["show", str(folder), rows[2]["key"]]) == 0


# sheet


@pytest.mark.parametrize("source", ["recipe", "dataset"])
def test_a_sheet_is_a_picture_of_a_plausible_size(
    write: Write, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    target = tmp_path / "sheet.png"
    arguments = [write() if source == "recipe" else str(dataset), "--to", str(target)]
    assert run(["sheet", *arguments, "--classes", "2", "--samples", "3"]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    with PIL.Image.open(target) as image:
        assert image.format == "PNG"
        assert 6 * 32 < image.width < 6 * 72 + 200  # 2 truncations of 3 samples, and names
        assert 2 * 32 < image.height < 2 * 72 + 60
    assert not (tmp_path / "out").exists()


def test_a_sheet_is_named_after_its_recipe(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run(["sheet", write(name="two words"), "--samples", "1"]) == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["two-words-sheet.png"]


# models


def test_models_list_names_every_known_generator(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    places = {
        line.split()[0]: line.split(maxsplit=5)[5] for line in lines if line.split()[:1] and line.split()[0] in KNOWN
    }
    assert places == {name: "embedded" if name == "fashion-32" else "to be pulled" for name in KNOWN}


def test_models_info_shows_facts_and_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "info", "fashion-32", "--classes"]) == 0
    text = capsys.readouterr().out
    assert str(KNOWN["fashion-32"].weights_sha256) in text
    assert "Ankle boot" in text
    assert run(["models", "info", "biggan-deep-256", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["resolution"], facts["classes"], len(facts["labels"])) == (256, 1000, 1000)
    assert facts["weights_sha256"] is None


def test_pulling_embedded_weights_says_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "pull", "fashion-32"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "config.json").is_file()


# The installed command


def test_the_installed_command_exits_with_the_code_of_the_command(write: Write) -> None:
    good = subprocess.run([installed(), "plan", write(), "--json"], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["samples"] == 240
    bad = subprocess.run([installed(), "plan", "no-such-file.yaml"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "gansynth: recipe no-such-file.yaml: there is no such file; check the path\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    # PYTHONUNBUFFERED would hide what a full buffer does at exit, so it is left out.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [installed(), "models", "list"], stdout=writing, stderr=subprocess.PIPE, env=environment, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
