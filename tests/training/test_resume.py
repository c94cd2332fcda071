"""Going on with a training run that was stopped, killed or is to be longer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import images_on_disk
import pytest
import torch
from training_runs import architectures, counts, losses, recipe, stopped_after, weights

from gansynth.errors import (
    Interrupted,
    OutputError,
    StoreError,
)
from gansynth.stopping import Stop
from gansynth.store import Store
from gansynth.training import folder
from gansynth.training.loop import Loop
from gansynth.training.run import train


@architectures
@pytest.mark.parametrize("steps", [1, 5])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    runs: dict[str, Path], data: Path, architecture: str, steps: int, tmp_path: Path
) -> None:
    wanted, stop = recipe(data, tmp_path / "run", architecture), Stop()

    with pytest.raises(Interrupted):
        train(wanted, device="cpu", stop=stop, show=lambda _, unit, __: stopped_after(counts(unit, steps), stop))
    assert not (tmp_path / "run" / "config.json").exists()
    assert train(wanted, device="cpu").steps == 9
    assert losses(tmp_path / "run") == losses(runs[architecture])
    assert (tmp_path / "run" / "metrics.csv").read_text() == (runs[architecture] / "metrics.csv").read_text()
    assert weights(tmp_path / "run") == weights(runs[architecture])


def test_a_killed_run_ends_as_if_it_had_not_been(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    content = recipe(data, tmp_path / "run", "dcgan").model_dump(mode="json", exclude_none=True)
    path.write_text(json.dumps(content))  # JSON is YAML
    script = (
        "import os, signal, sys\n"
        "from gansynth.training import trainer\n"
        "from gansynth.cli import main\n"
        "real = trainer.Run._save\n"
        "def save(self):\n"
        "    real(self)\n"
        "    if self.step == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if len(sys.argv) == 3: trainer.Run._save = save\n"
        "main(['train', sys.argv[1], '--device', 'cpu'])\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([*command, "kill"], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert losses(tmp_path / "run") == losses(runs["dcgan"])
    assert weights(tmp_path / "run") == weights(runs["dcgan"])


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    runs: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    wanted, stop = recipe(data, tmp_path / "run", "mlp"), Stop()
    with pytest.raises(Interrupted):
        train(wanted, device="cpu", stop=stop, show=lambda *_: stopped_after(8 * 7, stop))
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:500])
    train(wanted, device="cpu")
    assert weights(tmp_path / "run") == weights(runs["mlp"])


def test_a_finished_run_can_be_trained_for_longer(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu")
    train(recipe(data, tmp_path / "run", "mlp"), device="cpu")
    assert weights(tmp_path / "run") == weights(runs["mlp"])
    assert losses(tmp_path / "run") == losses(runs["mlp"])


def test_a_run_goes_on_with_the_threads_that_it_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()
    step = Loop.step

    def counted(self: Loop, number: int) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return step(self, number)

    monkeypatch.setattr(Loop, "step", counted)
    outside = torch.get_num_threads()
    for epochs, threads, offered in ((1, "auto", 2), (2, "auto", 1), (3, 1, 2), (4, "auto", 2)):
        train(
            recipe(data, tmp_path / "run", "mlp", epochs=epochs, threads=threads, metric="none"),
            device="cpu",
            threads=offered,
        )
        kept = (tmp_path / "run" / "training.yaml").read_text()
        assert f"threads: {threads}\n" in kept
        assert f"  threads: '{seen[-1]}'\n  precision: float32\n" in kept
    assert seen == [2] * 6 + [1] * 6
    assert torch.get_num_threads() == outside


def test_epochs_stay_where_decay_has_begun(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "mlp", epochs=2, decay=0.5), device="cpu")
    before = (tmp_path / "run" / "training.yaml").read_text()
    with pytest.raises(OutputError, match=r"epochs is 4 and was 2, but decay .*keep epochs 2, .*init: "):
        train(recipe(data, tmp_path / "run", "mlp", epochs=4, decay=0.5), device="cpu")
    assert (tmp_path / "run" / "training.yaml").read_text() == before
    stop = Stop()
    with pytest.raises(Interrupted):
        train(
            recipe(data, tmp_path / "early", "mlp", epochs=2, decay=0.5),
            device="cpu",
            stop=stop,
            show=lambda _, unit, __: stopped_after(counts(unit, 2), stop),
        )
    for place in ("early", "whole"):
        train(recipe(data, tmp_path / place, "mlp", epochs=3, decay=0.5), device="cpu")
    assert losses(tmp_path / "early") == losses(tmp_path / "whole")


def test_a_stop_before_the_first_step_leaves_no_picture(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    wanted, stop = recipe(data, tmp_path / "run", "mlp"), Stop()
    with pytest.raises(Interrupted):
        train(wanted, device="cpu", stop=stop, tell=lambda text: stop.request(signal.SIGINT))
    assert not list((tmp_path / "run").glob("pictures/epoch-*"))
    train(wanted, device="cpu")
    assert (tmp_path / "run" / "metrics.csv").read_text() == (runs["mlp"] / "metrics.csv").read_text()


@pytest.mark.parametrize("lost", ["model.safetensors", "pictures/progress.gif", "result.json"])
def test_what_a_failed_last_upload_left_is_sent_by_the_same_command(
    runs: dict[str, Path], data: Path, lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / "cache"))
    url = f"memory://{tmp_path.name}/run"
    wanted, store, publish = recipe(data, tmp_path, "mlp").model_copy(update={"output": url}), Store(url), Store.publish

    def failing(self: Store, path: str, content: bytes) -> None:
        if path == lost and "README.md" in self.tree():
            raise StoreError("the network is gone")
        publish(self, path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", failing)
        with pytest.raises(StoreError):
            train(wanted, device="cpu")
    assert "result.json" not in store.tree()
    assert train(wanted, device="cpu").place == url
    assert "result.json" in store.tree()
    assert store.read("model.safetensors") == weights(runs["mlp"])
    assert store.read("losses.csv").decode() == losses(runs["mlp"])
    monkeypatch.setattr(Store, "publish", None)
    assert train(wanted, device="cpu").steps == 9, "nothing was left to send"


def test_fewer_epochs_than_were_done_are_refused(runs: dict[str, Path], data: Path) -> None:
    with pytest.raises(OutputError, match="has done 9 steps, more than the 3"):
        train(recipe(data, runs["mlp"], "mlp", epochs=1), device="cpu")
    assert "epochs: 3" in (runs["mlp"] / "training.yaml").read_text()


def test_a_folder_has_one_process_at_a_time(data: Path, tmp_path: Path) -> None:
    wanted = recipe(data, tmp_path / "run", "mlp", epochs=1)
    with folder.claimed(tmp_path / "run"), pytest.raises(OutputError, match="another process trains there"):
        train(wanted, device="cpu")
    assert train(wanted, device="cpu").steps == 3


def test_figures_that_cannot_be_compared_share_no_curve(data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu")
    train(recipe(data, tmp_path / "run", "mlp", epochs=2, metric_images=20), device="cpu")
    assert [row.split(",")[0] for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]] == ["2"]


def test_distances_by_truncation_of_an_earlier_metric_are_taken_away(data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "biggan", epochs=1), device="cpu")
    assert len((tmp_path / "run" / "truncations.csv").read_text().splitlines()) > 2
    train(recipe(data, tmp_path / "run", "biggan", epochs=2, metric="none"), device="cpu")
    assert not (tmp_path / "run" / "truncations.csv").exists()


def test_another_recipe_or_other_data_are_refused(data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu")
    before = losses(tmp_path / "run")
    with pytest.raises(OutputError, match=r"begun with learning_rate 0\.0002, not 0\.1"):
        train(recipe(data, tmp_path / "run", "mlp", learning_rate=0.1), device="cpu")
    other = images_on_disk.folder(tmp_path / "other", count=11, side=32)
    with pytest.raises(OutputError, match="other images"):
        train(recipe(other, tmp_path / "run", "mlp", epochs=2), device="cpu")
    assert losses(tmp_path / "run") == before
    assert f"data: {data}" in (tmp_path / "run" / "training.yaml").read_text()


def test_a_run_from_before_a_key_was_there_goes_on(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    wanted = recipe(data, tmp_path / "run", "mlp", epochs=1)
    train(wanted, device="cpu")
    path = tmp_path / "run" / "training.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "warmup" not in line))
    train(recipe(data, tmp_path / "run", "mlp"), device="cpu")
    assert weights(tmp_path / "run") == weights(runs["mlp"])
