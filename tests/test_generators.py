"""The generator contract, the fake generator, and finding generators by name, path or `package.module:factory`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gansynth
from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import describe
from gansynth.generators.protocol import Generator
from gansynth.generators.weights import KNOWN

ROOT = Path(__file__).parent.parent
FACTORY = """
from gansynth.generators import load_generator

calls = []

def small(device, precision, **options):
    calls.append((device, precision, options))
    return load_generator("fake", options={"resolution": 8, **options})

def useless(device, precision):
    return object()

def broken(device, precision):
    raise OSError("no licence server")
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """With several threads the position in a batch may change bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module of the user's, with factories of generators."""
    (tmp_path / "my_generators.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_generators", raising=False)
    return "my_generators"


def fake(**options: int) -> Generator:
    return gansynth.load_generator("fake", options={"resolution": 16, **options})


def render(generator: Generator, seeds: list[int], classes: list[int], truncation: float = 0.5) -> np.ndarray[Any, Any]:
    rows = [torch.randn(generator.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    images = generator.sample(torch.stack(rows), torch.tensor(classes), torch.full([len(seeds)], truncation))
    return images.numpy()


# The contract


@pytest.mark.parametrize("name", ["fake", "fashion-32"])
def test_every_generator_keeps_the_contract(name: str) -> None:
    generator = gansynth.load_generator(name)
    assert isinstance(generator, Generator)
    assert generator.num_classes == len(generator.labels) == 10
    assert generator.licence == "MIT"
    assert len(bytes.fromhex(generator.weights_sha256)) == 32
    images = generator.sample(
        torch.zeros(2, generator.z_dim), torch.tensor([0, 9]), torch.tensor([0.5, 1.0]), torch.tensor([1, 2])
    )
    assert images.shape == (2, generator.resolution, generator.resolution, 3)
    assert images.dtype == torch.uint8


@pytest.mark.parametrize("name", ["fake", "fashion-32"])
def test_what_is_described_is_what_is_loaded(name: str) -> None:
    info, generator = describe(name), gansynth.load_generator(name)
    for attribute in ("z_dim", "num_classes", "resolution", "labels", "weights_sha256", "licence"):
        assert getattr(info, attribute) == getattr(generator, attribute), attribute


@pytest.mark.parametrize("name", ["fake", "fashion-32"])
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(5)))
def test_an_image_does_not_depend_on_its_position_in_the_batch(name: str, order: list[int]) -> None:
    generator = gansynth.load_generator(name)
    seeds, classes = [5, 6, 7, 8, 9], [0, 1, 1, 4, 9]
    images = render(generator, seeds, classes)
    shuffled = render(generator, [seeds[i] for i in order], [classes[i] for i in order])
    assert np.array_equal(shuffled, images[order])


def test_describing_generators_and_planning_load_no_torch() -> None:
    program = """
import sys
import gansynth
from gansynth.generators import describe
from gansynth.generators.weights import KNOWN
for name in ["fake", *KNOWN]:
    describe(name)
gansynth.plan(gansynth.Recipe(name="x", generator="fashion-32", classes="all", seeds="0-9"))
print("torch" in sys.modules, "pytorch_pretrained_biggan" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == ["False", "False"], done.stderr


# The fake generator


@settings(max_examples=15, deadline=None)
@given(
    resolution=st.integers(1, 40),
    num_classes=st.integers(0, 20),
    z_dim=st.integers(1, 40),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
)
def test_fake_images_have_the_promised_shape_and_are_repeatable(
    resolution: int, num_classes: int, z_dim: int, seeds: list[int]
) -> None:
    options = {"resolution": resolution, "num_classes": num_classes, "z_dim": z_dim}
    classes = [seed % max(1, num_classes) for seed in seeds]
    first, second = (render(fake(**options), seeds, classes) for _ in range(2))
    assert first.shape == (len(seeds), resolution, resolution, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)


def test_fake_latents_give_different_textures() -> None:
    images = render(fake(), list(range(20)), [0] * 20)
    assert len({image.tobytes() for image in images}) == 20


def test_fake_classes_have_different_tints() -> None:
    means = render(fake(num_classes=10), [1] * 10, list(range(10))).mean(axis=(1, 2))
    apart = np.abs(means[:, None] - means[None, :]).max(axis=2) + 99 * np.eye(10)
    assert apart.min() > 1


@settings(max_examples=15, deadline=None)
@given(low=st.floats(0.05, 0.9), step=st.floats(0.1, 1.0), seed=st.integers(0, 2**32 - 1))
def test_fake_contrast_grows_with_the_truncation(low: float, step: float, seed: int) -> None:
    generator = fake()
    weak, strong = (render(generator, [seed], [0], t).std() for t in (low, min(1.0, low + step)))
    assert weak < strong


def test_fake_images_are_no_flat_planes() -> None:
    assert render(fake(resolution=64), [1, 2, 3], [0, 1, 2], 1.0).std(axis=(1, 2)).min() > 15


def test_fake_without_classes_is_unconditional() -> None:
    generator = fake(num_classes=0)
    assert generator.num_classes == len(generator.labels) == 0
    assert render(generator, [1], [0]).shape == (1, 16, 16, 3)


def test_fake_options_are_part_of_its_identity() -> None:
    assert len({fake(resolution=r, z_dim=z).weights_sha256 for r in (8, 16) for z in (4, 5)}) == 4
    assert fake(z_dim=16).weights_sha256 == fake().weights_sha256


@pytest.mark.parametrize(
    "options",
    [
        {"size": 8},
        {"resolution": 0},
        {"resolution": 4097},
        {"resolution": 8.0},
        {"resolution": "8"},
        {"num_classes": -1},
        {"num_classes": True},
        {"z_dim": None},
    ],
    ids=str,
)
def test_bad_fake_options_are_refused_in_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(options))) as caught:
        describe("fake", options)
    assert "\n" not in str(caught.value)


# Finding generators


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="fashion-33") as caught:
        describe("fashion-33")
    assert all(name in str(caught.value) for name in ["fake", *KNOWN])


def test_biggan_takes_no_options() -> None:
    with pytest.raises(RecipeError, match="noise_mode"):
        describe("fashion-32", {"noise_mode": "const"})


def test_known_generators_are_described_without_their_weights() -> None:
    for name, known in KNOWN.items():
        info = describe(name)
        assert (info.resolution, info.num_classes, info.z_dim) == (known.resolution, known.num_classes, known.z_dim)


def test_loading_weights_that_were_not_pulled_says_how_to_get_them() -> None:
    with pytest.raises(WeightsError, match="gansynth models pull biggan-deep-256"):
        gansynth.load_generator("biggan-deep-256")


def test_a_folder_is_named_by_its_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(gansynth.generators.__file__).parent / "pretrained" / "fashion-32"
    monkeypatch.chdir(folder.parent)
    assert describe("./fashion-32").name == str(folder)


# Code as a generator


def test_code_is_not_run_without_permission(my_module: str) -> None:
    for look in (describe, gansynth.load_generator):
        with pytest.raises(RecipeError, match="--allow-code"):
            look(f"{my_module}:small")
    assert my_module not in sys.modules


def test_code_is_run_with_permission(my_module: str) -> None:
    name = f"{my_module}:small"
    generator = gansynth.load_generator(name, "cpu", "bfloat16", {"num_classes": 2}, allow_code=True)
    assert isinstance(generator, Generator)
    assert (generator.resolution, generator.num_classes) == (8, 2)
    assert sys.modules[my_module].calls == [("cpu", "bfloat16", {"num_classes": 2})]
    info = describe(name, {"num_classes": 2}, allow_code=True)
    assert (info.name, info.resolution, info.weights_sha256) == (name, 8, generator.weights_sha256)


def test_a_dataset_can_be_made_with_code_as_its_generator(my_module: str, tmp_path: Path) -> None:
    recipe = gansynth.Recipe(
        name="mine", generator=f"{my_module}:small", classes=[0, 1], seeds="0-4", output=str(tmp_path / "out")
    )
    summary = gansynth.generate(recipe, device="cpu", allow_code=True)
    assert summary.samples == 10
    assert summary.finished


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_generators:absent", "cannot be imported"),
        ("no_such_module_of_mine:make", "cannot be imported"),
        ("my_generators:useless", "lacks parts of the generator contract"),
    ],
)
def test_code_that_is_no_generator_is_refused_in_one_line(my_module: str, name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        gansynth.load_generator(name, allow_code=True)
    assert "\n" not in str(caught.value)


def test_options_that_a_factory_does_not_take_are_refused(my_module: str) -> None:
    with pytest.raises(RecipeError, match="resolutoin"):
        gansynth.load_generator(f"{my_module}:small", options={"resolutoin": 8}, allow_code=True)
    with pytest.raises(RecipeError, match="generator_options"):
        gansynth.load_generator(f"{my_module}:useless", options={"anything": 8}, allow_code=True)


def test_a_fault_within_a_factory_keeps_its_traceback(my_module: str) -> None:
    with pytest.raises(OSError, match="no licence server"):
        gansynth.load_generator(f"{my_module}:broken", allow_code=True)
