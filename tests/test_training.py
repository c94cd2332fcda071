"""Training: what a run leaves, going on after an interruption, and what stops it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import images_on_disk
import numpy as np
import PIL.Image
import pytest
import torch

import gansynth
from gansynth.cli import run
from gansynth.errors import (
    InputError,
    Interrupted,
    OutputError,
    RecipeError,
    StoreError,
    TrainingError,
    WeightsError,
)
from gansynth.generators import describe, load_generator
from gansynth.latents import draw
from gansynth.recipe import Recipe
from gansynth.stopping import Stop
from gansynth.store import Store
from gansynth.training import folder, result
from gansynth.training.images import prepare
from gansynth.training.init import start_from
from gansynth.training.loop import Loop
from gansynth.training.players import players
from gansynth.training.recipe import TrainingRecipe
from gansynth.training.run import train
from gansynth.training.sources import open_source

SETTINGS: dict[str, dict[str, Any]] = {
    "mlp": {"resolution": 16, "width": 16, "z_dim": 8},
    "dcgan": {"resolution": 16, "width": 8, "z_dim": 8, "augment": ["color", "translation", "cutout"]},
    "biggan": {
        "resolution": 32,
        "width": 4,
        "discriminator_width": 4,
        "z_dim": 4,
        "flip": True,
        "crop": 0.1,
        "rotate": 5,
    },
}


@pytest.fixture(scope="module", autouse=True)
def _few_statistics() -> Iterator[None]:
    """Statistics over fewer images than a user wants."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result, "_STATISTICS_IMAGES", 8)
        patch.setattr(result, "_STATISTICS_BATCH", 8)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_on_disk.folder(tmp_path_factory.mktemp("data") / "colours", count=12, side=32)


def recipe(data: Path, output: Path, architecture: str, **changes: Any) -> TrainingRecipe:
    settings = {"name": "colours", "architecture": architecture, "data": str(data), "output": str(output)}
    rest = {"epochs": 3, "batch_size": 8, "sample_every": 1, "metric_images": 10, "checkpoint_every": 2, "threads": 1}
    return TrainingRecipe(**{**settings, **rest, **SETTINGS[architecture], **changes})


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each architecture. Not to be changed."""
    place = tmp_path_factory.mktemp("runs")
    for architecture in SETTINGS:
        train(recipe(data, place / architecture, architecture), device="cpu")
    return {architecture: place / architecture for architecture in SETTINGS}


architectures = pytest.mark.parametrize("architecture", SETTINGS)


def losses(folder: Path) -> str:
    return (folder / "losses.csv").read_text()


def weights(folder: Path) -> bytes:
    names = ("pytorch_model.bin", "model.safetensors")
    return next((folder / name).read_bytes() for name in names if (folder / name).is_file())


# What a run leaves


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


# Going on


@contextmanager
def stopped_after(images: int, stop: Stop) -> Iterator[Any]:
    """Progress that asks to stop once so many images are done."""
    done = 0

    def advance(count: int, note: str = "", /) -> None:
        nonlocal done
        done += count
        if done >= images:
            stop.request(signal.SIGINT)

    yield advance


def counts(unit: str, steps: int) -> int:
    """Images after which a run has done so many steps of 8; never while images are read."""
    return 8 * steps if unit == "images" else 10**9


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


def test_learning_rates_fall_to_zero_over_the_last_part_if_asked_for(data: Path, tmp_path: Path) -> None:
    whole = recipe(data, tmp_path / "whole", "mlp", epochs=10, decay=0.5)
    images = prepare(open_source(data), 16, tmp_path / "images", 0.05)
    trained = players(whole, 2, "cpu")
    loop = Loop(whole, images, trained, "cpu")
    assert [round(loop.rate(step), 3) for step in range(0, 30, 5)] == [1, 1, 1, 1, 0.667, 0.333]
    assert loop.rate(loop.steps - 1) == pytest.approx(1 / 15)
    loop.step(25)
    assert [group["lr"] for o in trained.optimizers for group in o.param_groups] == [pytest.approx(2e-4 / 3)] * 2


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


def test_a_finished_run_is_left_as_it_is(runs: dict[str, Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(runs["biggan"].rglob("*"))}
    monkeypatch.setattr("gansynth.training.run.Run", None)
    found = train(recipe(data, runs["biggan"], "biggan"), device="cpu")
    assert (found.steps, found.epochs, found.images_per_second) == (9, 3, None)
    assert {path: path.stat().st_mtime_ns for path in sorted(runs["biggan"].rglob("*"))} == before


def stamps(folder: Path, *but: str) -> dict[str, int]:
    """When each file was changed."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in but)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


@pytest.fixture
def finished(tmp_path: Path) -> TrainingRecipe:
    """The recipe of a finished run of its own data."""
    place = images_on_disk.folder(tmp_path / "data", count=12, side=32)
    wanted = recipe(place, tmp_path / "run", "mlp", epochs=1, sample_every=1, threads="auto")
    train(wanted, device="cpu")
    return wanted


@pytest.mark.parametrize(
    "changes",
    [{"threads": 2}, {"sample_every": 2}, {"checkpoint_every": 9}, {"max_skipped": 0.5}, {"tensorboard": True}],
)
def test_a_finished_run_is_left_where_a_recipe_would_make_it_again(
    finished: TrainingRecipe, changes: dict[str, Any]
) -> None:
    before = stamps(Path(finished.folder))
    assert train(finished.model_copy(update=changes), device="cpu").images_per_second is None
    assert stamps(Path(finished.folder)) == before


def test_a_finished_run_is_left_where_its_files_look_different_and_its_images_are_the_same(
    finished: TrainingRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps(tmp_path / "run", "result.json")
    os.utime(tmp_path / "data" / "red" / "red-00.png", (0, 0))
    monkeypatch.setattr("gansynth.training.run.Run", None)
    assert train(finished, device="cpu").steps == 3
    assert stamps(tmp_path / "run", "result.json") == before
    assert not (tmp_path / "run" / "work").exists()
    monkeypatch.setattr("gansynth.training.run.read_images", None)
    assert train(finished, device="cpu").steps == 3, "it was remembered"
    monkeypatch.chdir(tmp_path)
    assert train(finished.model_copy(update={"data": "data"}), device="cpu").steps == 3, "the same by another path"


def test_a_finished_run_is_left_where_its_data_are_gone(finished: TrainingRecipe, tmp_path: Path) -> None:
    before = stamps(tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert train(finished, device="cpu").steps == 3
    assert stamps(tmp_path / "run") == before
    with pytest.raises(InputError, match="there is no"):
        train(finished.model_copy(update={"epochs": 2}), device="cpu")


def test_a_finished_run_of_other_images_keeps_its_result(finished: TrainingRecipe, tmp_path: Path) -> None:
    before = stamps(tmp_path / "run")
    (tmp_path / "data" / "red" / "red-00.png").unlink()
    with pytest.raises(OutputError, match="other images"):
        train(finished, device="cpu")
    after = stamps(tmp_path / "run")
    assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize("content", ["{}", "[]", "1", '{"recipe": [], "data": 1}'])
def test_a_damaged_result_is_none(finished: TrainingRecipe, content: str, tmp_path: Path) -> None:
    before = (tmp_path / "run" / "result.json").read_text()
    (tmp_path / "run" / "result.json").write_text(content)
    (tmp_path / "run" / "data.json").write_text("[]")
    assert train(finished, device="cpu").steps == 3
    assert (tmp_path / "run" / "result.json").read_text() == before


def test_no_step_left_leaves_threads_as_they_were(finished: TrainingRecipe, tmp_path: Path) -> None:
    (tmp_path / "run" / "result.json").unlink()
    before = (tmp_path / "run" / "training.yaml").read_text()
    train(finished.model_copy(update={"threads": 2}), device="cpu")
    assert (tmp_path / "run" / "training.yaml").read_text() == before


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


def test_only_a_biggan_has_truncations_to_wait_for(data: Path, tmp_path: Path) -> None:
    units = list[str]()

    def show(total: int, unit: str, done: int) -> Any:
        units.append(unit)
        return stopped_after(10**9, Stop())

    train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu", show=show)
    assert units == ["images read", "images"]


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


def test_a_start_from_trained_weights_survives_a_kill_before_the_first_checkpoint(
    runs: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"epochs": 1, "init": str(runs["mlp"]), "checkpoint_every": 100}
    train(recipe(data, tmp_path / "whole", "mlp", **changes), device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", lambda self, number: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(recipe(data, tmp_path / "run", "mlp", **changes), device="cpu")
    train(recipe(data, tmp_path / "run", "mlp", **changes), device="cpu")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


def test_figures_that_cannot_be_compared_share_no_curve(data: Path, tmp_path: Path) -> None:
    train(recipe(data, tmp_path / "run", "mlp", epochs=1), device="cpu")
    train(recipe(data, tmp_path / "run", "mlp", epochs=2, metric_images=20), device="cpu")
    assert [row.split(",")[0] for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]] == ["2"]


def test_reading_images_can_be_stopped(data: Path, tmp_path: Path) -> None:
    stop = Stop()
    stop.request(signal.SIGINT)
    with pytest.raises(Interrupted):
        train(recipe(data, tmp_path / "run", "mlp"), device="cpu", stop=stop)
    assert not (tmp_path / "run").exists()


def test_it_says_what_the_data_are(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = recipe(data, tmp_path / "run", "mlp", epochs=1).model_dump(mode="json", exclude_none=True)
    (tmp_path / "r.yaml").write_text(json.dumps(content))
    assert run(["train", str(tmp_path / "r.yaml"), "--device", "cpu"]) == 0
    assert "24 images, 2 classes: blue, red (all as one, since mlp has none)\n" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_network_that_cannot_take_the_images_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    network = torch.jit.trace(torch.nn.Linear(7, 2), torch.zeros(1, 7))
    network.save(str(tmp_path / "network.pt"))
    with pytest.raises(InputError, match=r"metric: .*network\.pt cannot take uint8 images of \[16, 16\]"):
        train(recipe(data, tmp_path / "run", "mlp", metric=str(tmp_path / "network.pt")), device="cpu")
    assert not (tmp_path / "run").exists()


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


@architectures
def test_training_may_start_from_trained_weights(
    runs: dict[str, Path], data: Path, architecture: str, tmp_path: Path
) -> None:
    for number, start in enumerate((runs[architecture], runs[architecture] / "pytorch_model.bin")):
        if start.exists():
            train(recipe(data, tmp_path / f"{number}", architecture, epochs=2, init=str(start)), device="cpu")
            assert losses(tmp_path / f"{number}").splitlines()[1] != losses(runs[architecture]).splitlines()[1]


def weights_alone(run: Path, place: Path) -> Path:
    """The generator of a run without its discriminator."""
    place.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (place / path.name).write_bytes(path.read_bytes())
    return place


def tensors(network: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def equal(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@architectures
def test_a_discriminator_that_knows_nothing_learns_alone_at_first(
    runs: dict[str, Path], data: Path, architecture: str, tmp_path: Path
) -> None:
    wanted = recipe(data, tmp_path / "run", architecture, ema=0.9)
    images = prepare(open_source(data), wanted.resolution, tmp_path / "images", 0.05)
    trained = players(wanted, 2, "cpu")
    assert start_from(weights_alone(runs[architecture], tmp_path / "start"), trained)
    loop = Loop(wanted, images, trained, "cpu", fresh_discriminator=True)
    before = [tensors(network) for network in (trained.generator, trained.averaged, trained.discriminator)]
    assert loop.warmup == loop.steps_per_epoch == 3
    for number in range(3):
        assert torch.isfinite(loop.step(number)).all()
    assert equal(tensors(trained.generator), before[0]) and equal(tensors(trained.averaged), before[1])
    assert not equal(tensors(trained.discriminator), before[2])
    assert (len(trained.optimizers[0].state), len(trained.optimizers[1].state) > 0) == (0, True)
    loop.step(3)
    assert not equal(tensors(trained.generator), before[0]) and not equal(tensors(trained.averaged), before[1])


@pytest.mark.parametrize(("architecture", "steps"), [("dcgan", 2), ("biggan", 5)])
def test_a_run_that_was_stopped_remembers_that_its_discriminator_was_fresh(
    runs: dict[str, Path], data: Path, architecture: str, steps: int, tmp_path: Path
) -> None:
    start, stop = weights_alone(runs[architecture], tmp_path / "start"), Stop()
    train(recipe(data, tmp_path / "whole", architecture, init=str(start)), device="cpu")
    wanted = recipe(data, tmp_path / "run", architecture, init=str(start))
    with pytest.raises(Interrupted):
        train(wanted, device="cpu", stop=stop, show=lambda _, unit, __: stopped_after(counts(unit, steps), stop))
    train(wanted, device="cpu")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert "In the first 3 steps the discriminator alone learned." in (tmp_path / "run" / "README.md").read_text()


def test_how_long_the_discriminator_learns_alone_can_be_chosen(
    runs: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    images = prepare(open_source(data), 16, tmp_path / "images", 0.05)

    def warmup(fresh: bool, **changes: Any) -> int:
        wanted = recipe(data, tmp_path / "run", "mlp", **changes)
        return Loop(wanted, images, players(wanted, 2, "cpu"), "cpu", fresh).warmup

    assert (warmup(True, warmup=0), warmup(True, warmup=5), warmup(False, warmup=5), warmup(False)) == (0, 5, 5, 0)
    for changes in ({"epochs": 1}, {"warmup": 9}):
        with pytest.raises(RecipeError, match=r"^warmup: .* the generator would stay as it is; raise epochs"):
            warmup(True, **changes)


def test_a_run_from_before_a_key_was_there_goes_on(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    wanted = recipe(data, tmp_path / "run", "mlp", epochs=1)
    train(wanted, device="cpu")
    path = tmp_path / "run" / "training.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "warmup" not in line))
    train(recipe(data, tmp_path / "run", "mlp"), device="cpu")
    assert weights(tmp_path / "run") == weights(runs["mlp"])


def test_other_classes_keep_what_does_not_belong_to_classes(runs: dict[str, Path], tmp_path: Path) -> None:
    data = images_on_disk.folder(tmp_path / "data", count=6, side=32)
    images_on_disk.folder(tmp_path / "more", count=6, side=32)
    (tmp_path / "more" / "red").rename(data / "third")
    train(recipe(data, tmp_path / "run", "biggan", epochs=1, init=str(runs["biggan"])), device="cpu")
    assert describe(str(tmp_path / "run")).num_classes == 3


@pytest.mark.parametrize("alone", [False, True])
def test_classes_take_over_what_belongs_to_their_names(runs: dict[str, Path], alone: bool, tmp_path: Path) -> None:
    start = weights_alone(runs["biggan"], tmp_path / "start") if alone else runs["biggan"]
    wanted = recipe(tmp_path, tmp_path / "run", "biggan")

    def of_classes(*names: str) -> list[list[torch.Tensor]]:
        """What belongs to each class, in the generator and in the discriminator."""
        made = players(wanted, len(names), "cpu")
        start_from(start, made, names)
        judged = made.discriminator.embedding.parametrizations.weight.original
        return [[*made.generator.embeddings.weight.T], [*judged]]

    before = of_classes("blue", "red")
    turned = of_classes("apple", "red", "blue")
    for number in range(1 if alone else 2):
        assert equal([turned[number][1], turned[number][2]], [before[number][1], before[number][0]])
        assert not any(torch.equal(turned[number][0], row) for row in before[number])
    strangers = of_classes("ant", "bee")
    assert not torch.equal(strangers[0][0], before[0][0])


@pytest.mark.parametrize(
    ("init", "changes", "error"),
    [
        ("nowhere", {}, RecipeError),
        ("biggan", {}, WeightsError),
        ("mlp", {"width": 32}, WeightsError),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    runs: dict[str, Path], data: Path, init: str, changes: dict[str, Any], error: type[Exception], tmp_path: Path
) -> None:
    wanted = recipe(data, tmp_path / "run", "mlp", init=str(runs.get(init, init)), **changes)
    with pytest.raises(error, match=r"^init: "):
        train(wanted, device="cpu")
    assert not (tmp_path / "run").exists()


# What stops a run


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
