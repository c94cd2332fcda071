"""Training through Prefect: a sweep over workers, its table, and a dataset of what was trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import images_on_disk
import pytest
from cluster import wait_for
from ruamel.yaml import YAML

import gansynth
from gansynth.dataset import Dataset
from gansynth.errors import InputError, OutputError, RecipeError, TrainingError, WeightsError
from gansynth.stopping import Stop
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import Trained, train
from integration.test_flow import ROOT, artifacts, running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_on_disk.folder(tmp_path_factory.mktemp("data") / "colours", count=12, side=16)


def recipe(data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    settings = {"name": "colours", "architecture": "mlp", "data": str(data), "output": str(output), "resolution": 16}
    rest = {"width": 8, "z_dim": 4, "epochs": 2, "batch_size": 8, "sample_every": 1, "metric_images": 10}
    return {**settings, **rest, **changes}


def test_a_sweep_names_its_best_run_and_shows_all(prefect_server: None, data: Path, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    from flows.train import train as train_flow

    sweep = {"keys": {"learning_rate": [0.0001, 0.001], "width": [8, 12]}}
    state = train_flow(
        recipe(data, tmp_path / "out", sweep=sweep), run={"workers": 2, "device": "cpu"}, return_state=True
    )
    found = state.result()
    assert [row["values"] for row in found["runs"]] == [
        {"learning_rate": rate, "width": width} for rate in (0.0001, 0.001) for width in (8, 12)
    ]
    assert found["distance"] == min(row["distance"] for row in found["runs"])
    page = (tmp_path / "out" / "README.md").read_text()
    assert page.index(f"| {Path(found['folder']).name} |") < 250, "the best is the first of the table"
    for row in found["runs"]:
        assert gansynth.load_generator(row["folder"]).info.family == "mlp"
        assert f"{Path(row['folder']).name}/pictures/real-and-generated.png" in page
    assert json.loads((tmp_path / "out" / "sweep.json").read_text()) == found["runs"]
    with get_client(sync_client=True) as client:
        assert artifacts(client, state) == {"runs", "training", "real-and-generated"}


def test_a_run_of_a_sweep_that_cannot_go_on_costs_only_itself(prefect_server: None, data: Path, tmp_path: Path) -> None:
    from flows.train import train as train_flow

    sweep = {"keys": {"learning_rate": [0.0001, 1e30]}}
    found = train_flow(recipe(data, tmp_path / "out", sweep=sweep), run={"workers": 1, "device": "cpu"})
    assert (found["values"], [bool(row["error"]) for row in found["runs"]]) == (
        {"learning_rate": 0.0001},
        [False, True],
    )
    assert "learning_rate" in found["runs"][1]["error"]
    with pytest.raises(TrainingError, match="no variant came to an end"):
        train_flow(
            recipe(data, tmp_path / "none", sweep={"keys": {"learning_rate": [1e30]}}),
            run={"workers": 1, "device": "cpu"},
        )


def test_a_run_of_a_sweep_that_fails_says_why(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import train as module

    def out_of_memory(*args: object, **options: object) -> None:
        raise RuntimeError("no memory\nleft")

    monkeypatch.setattr(module, "train_generator", out_of_memory)
    row = module.train_variant.fn(3, {**recipe(data, tmp_path / "out"), "threads": "auto"}, threads=1)
    assert row == {"number": 3, "error": "RuntimeError: no memory left", "failed": True}


@pytest.mark.parametrize("error", [OutputError, RecipeError, WeightsError, InputError])
def test_only_what_concerns_all_runs_of_a_sweep_ends_it(
    data: Path, error: type[InputError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import train as module

    def refuse(*args: object, **options: object) -> None:
        raise error("it says why")

    monkeypatch.setattr(module, "train_generator", refuse)
    if error is InputError:
        with pytest.raises(InputError, match="it says why"):
            module.train_variant.fn(3, recipe(data, tmp_path / "out"), threads=1)
    else:
        row = module.train_variant.fn(3, recipe(data, tmp_path / "out"), threads=1)
        assert row == {"number": 3, "error": "it says why", "failed": True}


def test_what_concerns_all_runs_of_a_sweep_stops_those_that_have_begun(
    prefect_server: None, data: Path, tmp_path: Path
) -> None:
    from flows.train import train as train_flow

    wanted = recipe(data, tmp_path / "out", epochs=1_000_000, sample_every=1_000_000, metric="none")
    wanted["sweep"] = {"keys": {"class_names": [["one"], ["blue", "red"]]}}
    with pytest.raises(InputError, match="class_names: saw 1 names"):
        train_flow(wanted, run={"workers": 1, "device": "cpu"})
    assert not (tmp_path / "out" / "01" / "result.json").exists()


def test_a_sweep_is_refused_before_it_runs_where_it_cannot_go(prefect_server: None, data: Path, tmp_path: Path) -> None:
    from flows.train import train as train_flow

    plain = TrainingRecipe.parse(recipe(data, tmp_path / "out" / "01"))
    train(plain, device="cpu")
    card = (tmp_path / "out" / "01" / "README.md").read_text()
    sweep = {"keys": {"learning_rate": [0.0001, 0.001]}}
    for output, said in (
        (tmp_path / "out", r"out/01: was begun with learning_rate 0\.0002, not 0\.001"),
        (tmp_path / "out" / "01", "out/01: holds a run, whose card"),
        (data / "out", "lies in the data"),
    ):
        with pytest.raises(OutputError, match=said):
            train_flow(recipe(data, output, sweep=sweep), run={"workers": 1, "device": "cpu"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["01"]
    assert (tmp_path / "out" / "01" / "README.md").read_text() == card
    assert not (data / "out").exists()


def test_a_finished_sweep_is_left_as_it_is_by_another_number_of_workers(
    prefect_server: None, data: Path, tmp_path: Path
) -> None:
    from flows.train import train as train_flow

    wanted = recipe(data, tmp_path / "out", epochs=1, sweep={"keys": {"width": [8]}})
    train_flow(wanted, run={"workers": 1, "device": "cpu"})
    result = tmp_path / "out" / "00" / "result.json"
    before = result.stat().st_mtime_ns
    train_flow(wanted, run={"workers": 2, "device": "cpu"})
    assert result.stat().st_mtime_ns == before
    assert "threads: auto\n" in (tmp_path / "out" / "00" / "training.yaml").read_text()


def test_data_that_no_run_can_use_is_refused_once(prefect_server: None, tmp_path: Path) -> None:
    from flows.train import train as train_flow

    wanted = recipe(tmp_path / "nowhere", tmp_path / "out", sweep={"keys": {"learning_rate": [0.0001, 0.001]}})
    with pytest.raises(InputError, match="nowhere"):
        train_flow(wanted, run={"workers": 1, "device": "cpu"})
    assert not (tmp_path / "out").exists()


def test_a_generator_is_trained_and_used(prefect_server: None, data: Path, tmp_path: Path) -> None:
    from flows.train import train_and_synthesize

    wanted = {"name": "more", "generator": "to be trained", "seeds": "0-9", "output": str(tmp_path / "more")}
    found = train_and_synthesize(recipe(data, tmp_path / "run"), wanted, run={"workers": 1, "device": "cpu"})
    assert found["synthesis"]["complete"] and found["synthesis"]["images"] == 10
    made = Dataset.open(str(tmp_path / "more"))
    assert gansynth.load_generator(str(tmp_path / "run")).info.name == made.record.recipe.info.name
    again = train_and_synthesize(recipe(data, tmp_path / "run"), wanted, run={"workers": 1, "device": "cpu"})
    assert again["training"]["distance"] == found["training"]["distance"] and again["synthesis"]["shards"] == 0


def test_the_best_of_a_sweep_is_not_known_before_every_run_has_ended(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import train as module

    rows = [{"error": "", "failed": False}, {"error": "no memory left", "failed": True}]
    monkeypatch.setattr(module, "train", lambda *args, **options: {"place": str(tmp_path), "runs": rows})
    wanted = {"name": "more", "generator": "to be trained", "seeds": "0-9", "output": str(tmp_path / "more")}
    with pytest.raises(TrainingError, match=r"1 run of the sweep failed \(no memory left\)"):
        module.train_and_synthesize.fn(recipe(data, tmp_path / "run"), wanted)
    assert not (tmp_path / "more").exists()


def test_a_training_keeps_its_gpu_to_itself(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import train as module

    kept: list[tuple[str, ...]] = []

    @contextmanager
    def keep(devices: tuple[str, ...], stop: Stop) -> Iterator[None]:
        kept.append(devices)
        yield
        kept.clear()

    def training(wanted: TrainingRecipe, device: str, **options: Any) -> Trained:
        assert kept == [(device,)]
        return train(wanted, device="cpu")

    monkeypatch.setattr(module, "choose_device", lambda device: "cuda:0")
    monkeypatch.setattr(module, "kept", keep)
    monkeypatch.setattr(module, "train_generator", training)
    module.train.fn(recipe(data, tmp_path / "run", epochs=1))
    assert kept == []


def test_the_deployment_that_trains_and_synthesizes_has_recipes_that_fit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    deployments = YAML(typ="safe").load(ROOT / "deploy/prefect.yaml")["deployments"]
    (chain,) = (d for d in deployments if d["entrypoint"] == "flows/train.py:train_and_synthesize")
    small = {"data": str(data), "output": str(tmp_path / "run"), "epochs": 1, "width": 8, "metric": "none"}
    trained = train(TrainingRecipe.load(chain["parameters"]["training"], small), device="cpu")
    wanted = gansynth.Recipe.parse(chain["parameters"]["synthesis"], {"generator": str(trained.folder)})
    assert gansynth.plan(wanted).samples == 10_000


@pytest.mark.slow
def test_a_sweep_from_the_command_line(data: Path, tmp_path: Path) -> None:
    found = program(
        recipe(data, tmp_path / "out", epochs=1), tmp_path, "sweep={keys: {learning_rate: [0.0001, 0.001]}}"
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"2 runs, the table is in {tmp_path / 'out/README.md'}; the best:\n")


@pytest.mark.slow
def test_a_killed_worker_costs_a_sweep_no_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"GANSYNTH_TEST_MARK={tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv(*mark.split("="))

    def kill() -> None:
        wait_for(lambda: list(tmp_path.glob("out/*/checkpoints/*")), 120, "no run of the sweep began")
        os.kill(next(pid for pid, line in running(mark).items() if "spawn_main" in line), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    wanted = recipe(data, tmp_path / "out", epochs=60, sample_every=60, checkpoint_every=10)
    found = program(wanted, tmp_path, "sweep={keys: {learning_rate: [0.0001, 0.0002]}}")
    killer.join()
    assert found.returncode == 0, found.stderr
    assert [row["error"] for row in json.loads((tmp_path / "out" / "sweep.json").read_text())] == ["", ""]


def test_a_sweep_that_means_nothing_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    refused = program(recipe(data, tmp_path / "out"), tmp_path, "sweep={keys: {colour: [1]}}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("gansynth: sweep: saw the key 'colour'") and refused.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def program(content: dict[str, Any], place: Path, change: str) -> subprocess.CompletedProcess[str]:
    file = place / "recipe.yaml"
    YAML().dump(content, file)
    command = [sys.executable, "-m", "flows.train", str(file), "--device", "cpu", "--workers", "1", "--set", change]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True)
