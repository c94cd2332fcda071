"""Training with everything in object storage: data, runs, and the generators that come of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import images_on_disk
import pytest
from s3_server import Server

import gansynth
from gansynth.environment import cache_folder
from gansynth.errors import InputError
from gansynth.mirror import Mirror
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import train


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another_machine(tmp_path, monkeypatch, "first")


def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One that has nothing in its cache."""
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / f"cache-{name}"))


def recipe(data: Path | str, output: str, **changes: Any) -> TrainingRecipe:
    settings = {
        "name": "colours",
        "architecture": "mlp",
        "data": str(data),
        "output": output,
        "resolution": 16,
        "width": 16,
    }
    rest = {"z_dim": 8, "epochs": 3, "batch_size": 8, "metric_images": 10, "checkpoint_every": 2, "threads": 1}
    return TrainingRecipe.parse({**settings, **rest, **changes})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return images_on_disk.folder(tmp_path / "colours", count=12, side=32)


def test_a_run_killed_on_one_machine_goes_on_on_another(
    s3: Server, bucket: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(data, f"s3://{bucket}/runs/colours")
    alone = train(recipe(data, str(tmp_path / "alone")), device="cpu")
    worker: list[subprocess.Popen[bytes]] = []
    s3.watch = lambda request: worker[0].kill() if "step-000000006" in request.key else None
    code = (
        "from gansynth.training.recipe import TrainingRecipe; from gansynth.training.run import train; "
        f"train(TrainingRecipe.parse({asked.content()!r}), device='cpu')"
    )
    worker.append(subprocess.Popen([sys.executable, "-c", code], env={**os.environ}))
    assert worker[0].wait(timeout=120) == -9
    s3.watch = lambda request: None
    kept = s3.files(bucket, "runs/colours/")
    assert "checkpoints/step-000000004.pt" in kept and "result.json" not in kept
    another_machine(tmp_path, monkeypatch, "second")
    found = train(asked, device="cpu")
    assert found.place == f"s3://{bucket}/runs/colours"
    kept = s3.files(bucket, "runs/colours/")
    assert kept["losses.csv"] == (alone.folder / "losses.csv").read_bytes()
    assert kept["model.safetensors"] == (alone.folder / "model.safetensors").read_bytes()
    assert "result.json" in kept and len([name for name in kept if name.startswith("checkpoints/")]) == 2


def test_a_generator_in_object_storage_is_fetched_once_and_makes_the_same_dataset(
    s3: Server, bucket: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(recipe(data, str(tmp_path / "run")), device="cpu")
    for path in trained.folder.rglob("*"):
        if path.is_file():
            s3.put(bucket, f"runs/colours/{path.relative_to(trained.folder)}", path.read_bytes())
    wanted = {"name": "made", "seeds": "0-9", "output": str(tmp_path / "made")}
    gansynth.generate(gansynth.Recipe(**wanted, generator=f"s3://{bucket}/runs/colours"), device="cpu")
    gansynth.generate(
        gansynth.Recipe(**{**wanted, "output": str(tmp_path / "local")}, generator=trained.place), device="cpu"
    )
    assert (tmp_path / "made/train/000000.tar").read_bytes() == (tmp_path / "local/train/000000.tar").read_bytes()
    fetched = [request.key for request in s3.requests if request.key.endswith("model.safetensors")]
    assert len(fetched) == 1
    s3.requests.clear()
    assert gansynth.plan(gansynth.Recipe(**wanted, generator=f"s3://{bucket}/runs/colours")).samples == 10
    assert [request.key for request in s3.requests if request.key] == [], "what is known was asked for again"


def test_a_single_file_is_a_generator_too(s3: Server, bucket: str) -> None:
    from stylegan2_files import SMALL, written

    folder = cache_folder()
    folder.mkdir(parents=True)
    s3.put(bucket, "faces.pkl", written(SMALL, folder, "faces.pkl").read_bytes())
    assert gansynth.load_generator(f"s3://{bucket}/faces.pkl").z_dim == SMALL.z_dim


def test_data_are_fetched_and_changes_are_noticed(s3: Server, bucket: str, data: Path, tmp_path: Path) -> None:
    for path in data.rglob("*.png"):
        s3.put(bucket, f"photos/{path.relative_to(data)}", path.read_bytes())
    asked = recipe(f"s3://{bucket}/photos", str(tmp_path / "run"))
    assert train(asked, device="cpu").steps == 9
    assert sum(1 for path in asked.source.rglob("*.png")) == 24
    s3.backend.delete_object(bucket, "photos/red/red-00.png")
    assert sum(1 for path in asked.source.rglob("*.png")) == 23


def test_a_mirror_holds_what_the_store_holds(s3: Server, bucket: str) -> None:
    mirror = Mirror(f"s3://{bucket}/folder", ignored=("work",))
    mirror.pull_if_any()
    (mirror.folder / "work").mkdir(parents=True)
    for name, content in (("a", b"1"), ("b", b"2"), ("last", b"3"), ("work/cache", b"4")):
        (mirror.folder / name).write_bytes(content)
    s3.requests.clear()
    mirror.push(last="last")
    assert [request.key for request in s3.requests if request.method == "PUT"] == [
        "folder/a",
        "folder/b",
        "folder/last",
    ]
    assert s3.files(bucket) == {"folder/a": b"1", "folder/b": b"2", "folder/last": b"3"}
    (mirror.folder / "a").write_bytes(b"11")
    (mirror.folder / "b").unlink()
    mirror.push(last="last")
    assert s3.files(bucket) == {"folder/a": b"11", "folder/last": b"3"}
    shutil.rmtree(mirror.folder)
    assert (Mirror(f"s3://{bucket}/folder").pull() / "a").read_bytes() == b"11"


@pytest.mark.parametrize("url", ["s3://{bucket}/nothing/here", "s3://user:password@{bucket}/runs"])
def test_what_cannot_be_mirrored_is_refused(s3: Server, bucket: str, url: str) -> None:
    with pytest.raises(InputError) as error:
        gansynth.load_generator(url.format(bucket=bucket))
    assert "password@" not in str(error.value)
