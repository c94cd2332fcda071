"""The bench measures what it says: figures that are there, consistent, and counted on what is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY

import gansynth
from gansynth.bench.measure import Report, measure
from gansynth.bench.network import flops
from gansynth.bench.pipeline import STAGES
from gansynth.bench.random_biggan import random_model, save
from gansynth.bench.report import lines
from gansynth.bench.tune import BATCH_SIZES, tune
from gansynth.cli import run

SHORT: dict[str, Any] = {"rounds": 1, "seconds": 0.05}


@pytest.fixture(scope="module")
def fashion() -> Report:
    return measure("fashion-32", "cpu", **SHORT, batch_size=4, threads=1)


def test_a_generator_is_compared_with_its_library(fashion: Report) -> None:
    assert fashion.reference is not None
    assert fashion.network_ratio is not None
    assert fashion.largest_difference is not None
    assert fashion.largest_difference < 1e-4
    assert fashion.network.flops_per_image < fashion.reference.flops_per_image
    assert fashion.settings == {**fashion.settings, "batch_size": 4, "threads": 1, "precision": "float32"}
    assert fashion.precision_difference is None


def test_figures_fit_together(fashion: Report) -> None:
    network = fashion.network
    assert network.flops_per_second == pytest.approx(network.images_per_second * network.flops_per_image, rel=1e-3)
    assert network.utilisation == pytest.approx(network.flops_per_second / fashion.matrix_product_flops, abs=1e-3)
    assert fashion.cost().images_per_hour == pytest.approx(3600 * fashion.images_per_second, rel=1e-3)
    assert [stage.name for stage in fashion.stages] == list(STAGES)
    generator = next(stage for stage in fashion.stages if stage.name == "generator")
    assert 0 < generator.utilisation <= 1


def test_the_report_reads_well_and_is_json(fashion: Report) -> None:
    text = "\n".join(lines(fashion))
    assert "times the library" in text
    assert all(len(line) < 120 for line in text.splitlines())
    assert json.loads(json.dumps(fashion.as_json()))["settings"]["batch_size"] == 4


def test_another_precision_is_compared_with_float32() -> None:
    found = measure("fashion-32", "cpu", **SHORT, precision="bfloat16", batch_size=50).precision_difference
    assert found is not None
    assert 0 < found.mean < 2
    assert found.largest < 100
    assert 0 < found.frechet < 10
    assert (found.features, found.images) == ("8 x 8 thumbnails", 500)


def test_a_generator_without_a_library_is_compared_with_a_plain_loop() -> None:
    report = measure("fake", "cpu", **SHORT, batch_size=8)
    assert report.reference is None
    assert report.end_to_end_ratio > 0
    assert "times the plain loop" in "\n".join(lines(report))


def test_operations_are_counted_on_what_is_run() -> None:
    a, b, c = torch.ones(2, 3), torch.ones(3, 5), torch.ones(2, 5)
    assert flops(lambda: a @ b) == flops(lambda: c.addmm_(a, b)) == 2 * 2 * 3 * 5
    image, weight = torch.ones(1, 4, 8, 8), torch.ones(6, 4, 3, 3)
    assert flops(lambda: torch.nn.functional.conv2d(image, weight, padding=1)) == 2 * 8 * 8 * 6 * 4 * 9


def test_random_weights_give_images_that_are_neither_flat_nor_saturated(tmp_path: Path) -> None:
    generator = gansynth.load_generator(str(save(random_model(TINY), TINY, tmp_path / "tiny")))
    images = generator.sample(torch.randn(4, 8), torch.arange(4) % 3, torch.full([4], 0.5))
    assert images.float().std() > 10
    assert ((images > 0) & (images < 255)).float().mean() > 0.5


def test_random_weights_do_not_disturb_the_callers_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    random_model(TINY)
    assert torch.rand(1) == expected


def test_tuning_tries_every_batch_size_and_names_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BATCH_SIZES, "cpu", (1, 4, 16))  # the others take their time
    trials: list[Any] = []
    best = tune("fashion-32", "cpu", trials.append, seconds=0.05)
    assert {trial.batch_size for trial in trials} == set(BATCH_SIZES["cpu"])
    assert all(trial.images_per_second > 0 for trial in trials)
    assert best.images_per_second >= 0.98 * max(trial.images_per_second for trial in trials)


def test_the_command_prints_writes_and_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "bench.json"
    options = ["--rounds", "1", "--seconds", "0.05", "--json", str(path), "--save"]
    assert run(["bench", "fashion-32", "--device", "cpu", *options]) == 0
    assert "recipe to committed shards" in capsys.readouterr().out
    speed = json.loads(path.read_text())["images_per_second"]
    kept = json.loads((tmp_path / "cache/costs.json").read_text())
    assert kept[0]["images_per_hour"] == pytest.approx(3600 * speed, rel=1e-3)


def test_endurance_shows_speed_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "fashion-32", "--device", "cpu", "--shards", "4"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 5
    assert "peak memory" in shown[0]
    assert "first half" in shown[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-model"], "no-such-model"),
        (["fashion-32", "--rounds", "0"], "positive"),
        (["fashion-32", "--tune", "--threads", "2"], "--threads"),
        (["fake", "--compile"], "compile"),
        (["fashion-32", "--json", "/no/such/folder/a.json", "--rounds", "1", "--seconds", "0.05"], "--json"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", *arguments, "--device", "cpu"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gansynth:")]
    assert len(errors) == 1
    assert said in errors[0]
