"""Walks pass through the images of their seeds, keep the latents' distance from the origin, and come out as files."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stylegan2_files import SMALL, written

import gansynth
from gansynth.cli import run
from gansynth.errors import InputError
from gansynth.generators import describe, load_for
from gansynth.recipe import Recipe
from gansynth.resolve import ResolvedRecipe, resolve
from gansynth.walk import Walk, frames, lerp, mixed, slerp

vectors = arrays(np.float32, 5, elements=st.floats(-3, 3, width=32))
shares = st.floats(0, 1)


def prepared(name: str, **keys: Any) -> tuple[ResolvedRecipe, Any]:
    recipe = resolve(gansynth.Recipe(name="walk", generator=name, seeds="0-9", **keys), describe(name))
    return recipe, load_for(recipe, "cpu")


@pytest.fixture
def fashion() -> tuple[ResolvedRecipe, Any]:
    return prepared("fashion-32", classes=["Coat"], truncation=0.5)


@pytest.fixture
def styled(tmp_path: Path) -> tuple[ResolvedRecipe, Any]:
    return prepared(str(written(SMALL, tmp_path)), truncation=0.7)


# Paths


@given(vectors, vectors)
def test_paths_begin_and_end_where_they_should(a: np.ndarray, b: np.ndarray) -> None:
    for path in (slerp, lerp):
        assert np.allclose(path(a, b, 0.0), a, atol=1e-5)
        assert np.allclose(path(a, b, 1.0), b, atol=1e-5)


@given(vectors, vectors, shares)
def test_slerp_stays_on_the_sphere_and_turns_at_an_even_pace(a: np.ndarray, b: np.ndarray, t: float) -> None:
    assume(min(np.linalg.norm(a), np.linalg.norm(b)) > 0.1)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b, -1, 1))
    assume(0.01 < angle < 3.1)
    point = slerp(a, b, t)
    assert np.linalg.norm(point) == pytest.approx(1, abs=1e-4)
    assert np.arccos(np.clip(a @ point, -1, 1)) == pytest.approx(t * angle, abs=2e-3)


@given(vectors, shares)
def test_slerp_of_one_direction_or_of_opposite_ones_is_finite(a: np.ndarray, t: float) -> None:
    for b in (a, 2 * a, -a, 0 * a):
        assert np.isfinite(slerp(a, b, t)).all()


@pytest.mark.parametrize(("loop", "count"), [(False, 9), (True, 12)])
def test_a_walk_has_its_stations_at_even_distances(loop: bool, count: int) -> None:
    walk = Walk((5, 6, 7), 4, "w", loop)
    stations = np.array([[0.0], [4.0], [8.0]], np.float32)
    points = walk.points(stations)[:, 0].tolist()
    assert len(walk) == len(points) == count
    assert points == [0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 4, 2][:count]


# Images


def test_frames_at_the_seeds_are_the_images_of_a_dataset(fashion: tuple[ResolvedRecipe, Any], tmp_path: Path) -> None:
    recipe, generator = fashion
    found = list(frames(recipe, generator, Walk((3, 8), 5)))
    assert len(found) == 6
    png = {"format": "png"}
    made = gansynth.Recipe(
        name="d", generator="fashion-32", classes=["Coat"], truncation=0.5, seeds="3,8", image=png, output=str(tmp_path)
    )
    gansynth.generate(made, device="cpu")
    import webdataset

    samples = webdataset.WebDataset(str(tmp_path / "train/000000.tar"), shardshuffle=False).decode("rgb8")
    by_seed = {sample["json"]["seed"]: sample["png"] for sample in samples}
    for image, seed in ((found[0], 3), (found[-1], 8)):
        assert (
            np.abs(image.astype(int) - by_seed[seed]).max() <= 1
        )  # another place in the batch may change the last bits


def test_frames_between_are_neither_of_their_neighbours(fashion: tuple[ResolvedRecipe, Any]) -> None:
    found = list(frames(*fashion, Walk((3, 8), 4)))
    steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(found)]
    assert min(steps) > 0
    assert max(steps) < np.abs(found[0].astype(int) - found[-1]).mean()


def test_a_walk_in_w_is_straight_between_styles(styled: tuple[ResolvedRecipe, Any]) -> None:
    import torch

    recipe, generator = styled
    found = list(frames(recipe, generator, Walk((1, 2), 2, "w")))
    z = np.concatenate([np.random.RandomState(seed).randn(1, SMALL.z_dim) for seed in (1, 2)]).astype(np.float32)
    w = generator.styles(torch.from_numpy(z), torch.zeros(2, dtype=torch.int64))
    middle = generator.sample_styles(
        w.mean(dim=0, keepdim=True), torch.zeros(1, dtype=torch.int64), torch.full([1], 0.7)
    )
    assert np.abs(found[1].astype(int) - middle[0].numpy()).max() <= 1


def test_walking_in_w_needs_styles(fashion: tuple[ResolvedRecipe, Any]) -> None:
    with pytest.raises(InputError, match=r"--space w: fashion-32 \(biggan\) has no styles"):
        list(frames(*fashion, Walk((1, 2), 2, "w")))


def test_mixing_takes_the_first_layers_by_row_and_the_others_by_column(styled: tuple[ResolvedRecipe, Any]) -> None:
    sheet = mixed(*styled, coarse=[1, 2], fine=[2, 3, 5], layer=2)
    shape = [[image is not None for image in row] for row in sheet.images]
    assert shape == [[False, True, True, True], [True] * 4, [True] * 4]
    source, crossed = sheet.images[2][0], sheet.images[2][1]  # both styles are of seed 2
    assert source is not None
    assert crossed is not None
    assert np.abs(source.astype(int) - crossed).max() <= 1
    row = [image for image in sheet.images[1] if image is not None]
    assert all((a != b).any() for a, b in itertools.combinations(row, 2))
    for layer in (0, SMALL.num_ws):
        with pytest.raises(InputError, match="--layer"):
            mixed(*styled, coarse=[1], fine=[2], layer=layer)


# Files


def test_a_strip_is_a_png_with_a_row_a_leg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "walk.png"
    arguments = ["--class", "Bag", "--seeds", "1,5,9", "--steps", "3", "--to", str(path), "--device", "cpu"]
    assert run(["interpolate", "fashion-32", *arguments]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 4 * 48
        assert image.height > 2 * 48


def test_a_recipe_tells_class_truncation_and_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: mine\ngenerator: fashion-32\nclasses: [Bag, Coat]\ntruncation: [0.5, 1]\nseeds: 7,9\n"
        "splits: {train: 0.5, val: 0.5}\nlabels: dense\nseed_use: disjoint\noutput: /nowhere/at/all\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run(["interpolate", str(recipe), "--steps", "2", "--to", "a", "--device", "cpu"]) == 0
    direct = ["--class", "Bag", "--truncation", "0.5", "--seeds", "7,9", "--steps", "2", "--device", "cpu"]
    assert run(["interpolate", "fashion-32", *direct, "--to", "b"]) == 0
    names = ["frame-000000.png", "frame-000001.png", "frame-000002.png"]
    for folder in ("a", "b"):
        assert sorted(path.name for path in Path(folder).iterdir()) == names
    assert all((Path("a") / name).read_bytes() == (Path("b") / name).read_bytes() for name in names)


def test_a_gif_holds_every_frame_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "walk.gif"
    options = ["--loop", "--steps", "4", "--fps", "20", "--to", str(path), "--device", "cpu"]
    assert run(["interpolate", "fashion-32", *options, "--seeds", "1,5"]) == 0
    with PIL.Image.open(io.BytesIO(path.read_bytes())) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (8, 50, 0)


def test_a_gif_lasts_as_long_as_its_frames_a_second_say(tmp_path: Path) -> None:
    path = tmp_path / "walk.gif"
    options = ["--loop", "--steps", "4", "--fps", "40", "--to", str(path), "--device", "cpu"]
    assert run(["interpolate", "fashion-32", *options, "--seeds", "1,5"]) == 0
    with PIL.Image.open(path) as image:
        durations = [frame.info["duration"] for frame in PIL.ImageSequence.Iterator(image)]
    assert sum(durations) == 8 * 25
    assert set(durations) == {20, 30}


def test_a_dataset_is_walked_as_its_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(name="mine", generator="fashion-32", classes=["Bag"], truncation=[0.5], seeds="7,9", output="set")
    gansynth.generate(recipe, device="cpu")
    assert run(["interpolate", "set", "--steps", "2", "--to", "a", "--device", "cpu"]) == 0
    direct = ["--class", "Bag", "--truncation", "0.5", "--seeds", "7,9", "--steps", "2", "--device", "cpu"]
    assert run(["interpolate", "fashion-32", *direct, "--to", "b"]) == 0
    assert all((Path("a") / p.name).read_bytes() == p.read_bytes() for p in Path("b").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-model"], "no-such-model"),
        (["no-such.yaml"], "no such file"),
        (["fashion-32", "--class", "Hat"], "Hat"),
        (["fashion-32", "--seeds", "1"], "two or more"),
        (["fashion-32", "--seeds", "0-4000000000"], "1,000 at most"),
        (["fashion-32", "--seeds", ""], "--seeds"),
        (["fashion-32", "--steps", "0"], "--steps"),
        (["fashion-32", "--steps", "30000"], "134 million pixels"),
        (["fashion-32", "--steps", "200000", "--to", "a.gif"], "134 million pixels"),
        (["fashion-32", "--to", "walk.mp4"], "video encoder"),
        (["fashion-32", "--fps", "0.001"], "--fps"),
        (["fashion-32", "--mix", "2", "--steps", "4"], "--mix"),
        (["fashion-32", "--truncation", "2"], "truncation"),
        (["fashion-32", "--fps", "0"], "--fps"),
        (["fashion-32", "--layer", "2"], "--layer"),
        (["fashion-32", "--mix", "2", "--loop"], "--mix"),
        (["fashion-32", "--mix", "2", "--to", "a.gif"], "--mix"),
        (["fashion-32", "--mix", "2"], "no styles"),
        (["fashion-32", "--to", "/no/such/place/a.png"], "--to"),
        (["fashion-32", "--to", "taken"], "exists already"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    assert run(["interpolate", *arguments, "--device", "cpu"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gansynth:")]
    assert len(errors) == 1
    assert said in errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
