"""What stops a training run, and what it says."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Any

import images_on_disk
import pytest
import torch
from training_runs import recipe

from gansynth.cli import run
from gansynth.errors import (
    InputError,
    Interrupted,
    OutputError,
    TrainingError,
)
from gansynth.stopping import Stop
from gansynth.training.loop import Loop
from gansynth.training.run import train


@pytest.mark.parametrize("place", ["", "runs/colours", "red"])
def test_an_output_in_the_data_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images_on_disk.folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    for data in (".", str(tmp_path / "data")):
        with pytest.raises(OutputError, match=r"lies in the data, .* choose a place outside of it"):
            train(recipe(Path(data), Path(place), "mlp"), device="cpu")
    with pytest.raises(OutputError, match="lies in the data"):
        wanted = recipe(tmp_path, tmp_path, "mlp").model_copy(update={"data": "s3://b/x/", "output": "s3://b/x/runs"})
        train(wanted, device="cpu")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["blue", "red"]


def test_too_little_memory_is_told_with_what_takes_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Loop, number: int) -> torch.Tensor:
        return torch.empty(2**62, dtype=torch.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", step)
        with pytest.raises(InputError, match=r"^width: .*width 16, .*batch_size 8 at resolution 16 needs more memory"):
            train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu")
    assert not (tmp_path / "run").exists()
    train(recipe(data, tmp_path / "run", "mlp", epochs=1, width=8), device="cpu")


def test_a_full_disk_while_the_animation_is_written_is_about_the_output(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == "progress.gif":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(
        OutputError, match=r"^output .*progress.gif: cannot be written \(No space left on device\); make room"
    ):
        train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu")


def test_reading_images_can_be_stopped(data: Path, tmp_path: Path) -> None:
    stop = Stop()
    stop.request(signal.SIGINT)
    with pytest.raises(Interrupted):
        train(recipe(data, tmp_path / "run", "mlp"), device="cpu", stop=stop)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_network_that_cannot_take_the_images_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    network = torch.jit.trace(torch.nn.Linear(7, 2), torch.zeros(1, 7))
    network.save(str(tmp_path / "network.pt"))
    with pytest.raises(InputError, match=r"metric: .*network\.pt cannot take uint8 images of \[16, 16\]"):
        train(recipe(data, tmp_path / "run", "mlp", metric=str(tmp_path / "network.pt")), device="cpu")
    assert not (tmp_path / "run").exists()


def test_losses_that_are_no_longer_finite_stop_with_the_last_good_checkpoint(data: Path, tmp_path: Path) -> None:
    good = recipe(data, tmp_path / "run", "mlp", epochs=1)
    train(good, device="cpu")
    path = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    content = torch.load(path, weights_only=True)
    content["optimizers"][0]["state"][0]["exp_avg"].fill_(float("inf"))
    torch.save(content, path)
    with pytest.raises(
        TrainingError, match=r"at step \d+ .*checkpoint of step 3 is kept; .*init: .* with a lower learning_rate"
    ):
        train(recipe(data, tmp_path / "run", "mlp"), device="cpu")
    assert path.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "/no/such/place"}, "there is no /no/such/place"),
        ({"architecture": "gan"}, "biggan, dcgan or mlp"),
        ({"resolution": 48}, "48; dcgan renders"),
        ({"betas": [1.0, 0.9]}, "betas"),
        ({"epoch": 3}, "did you mean `epochs`"),
        ({"metric": "fid"}, "metric"),
        ({"metric": "fashion"}, "fashion at 64 pixels"),
        ({"ema": 1}, "ema"),
        ({"augment": ["blur"]}, "augment"),
        ({"sweep": {"keys": {"width": [8, 16]}}}, "flows.train"),
        ({"output": "taken"}, "is no run"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    changes: dict[str, Any],
    said: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps({"name": "a", "architecture": "dcgan", "data": str(data), "output": "run", **changes}))
    assert run(["train", str(path), "--device", "cpu"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert said in errors[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.yaml", "taken"]


def test_a_folder_with_too_many_damaged_files_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = images_on_disk.folder(tmp_path / "data", count=9, side=32)
    for number in range(2):
        (place / "red" / f"bad-{number}.png").touch()
    content = recipe(place, tmp_path / "run", "mlp").model_dump(mode="json", exclude_none=True)
    (tmp_path / "r.yaml").write_text(json.dumps(content))
    assert run(["train", str(tmp_path / "r.yaml"), "--device", "cpu"]) == 2
    assert "2 of 20 images cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert (
        run(["train", str(tmp_path / "r.yaml"), "--device", "cpu", "--set", "max_skipped=0.2", "--set", "epochs=1"])
        == 0
    )
    told = capsys.readouterr().err
    assert "18 images (2 left out), 2 classes: " in told and "2 images left out, listed in" in told
    listed = json.loads((tmp_path / "run" / "data.json").read_text())["skipped"]
    assert [(item["name"], item["reason"]) for item in listed] == [
        ("red/bad-0.png", "an empty file"),
        ("red/bad-1.png", "an empty file"),
    ]
