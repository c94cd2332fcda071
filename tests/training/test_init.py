"""Starting from trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import images_on_disk
import pytest
import torch
from training_runs import architectures, counts, losses, recipe, stopped_after, weights

from gansynth.errors import (
    Interrupted,
    RecipeError,
    WeightsError,
)
from gansynth.generators import describe
from gansynth.stopping import Stop
from gansynth.training.images import prepare
from gansynth.training.init import start_from
from gansynth.training.loop import Loop
from gansynth.training.players import players
from gansynth.training.run import train
from gansynth.training.sources import open_source


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


@pytest.mark.parametrize(("architecture", "steps"), [("dcgan", 2), pytest.param("biggan", 5, marks=pytest.mark.slow)])
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
