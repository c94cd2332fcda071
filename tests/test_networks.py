"""The networks of `gansynth train`: shapes, names that others use, statistics, alterations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import describe, load_generator
from gansynth.networks import biggan, dcgan, mlp
from gansynth.training.augment import alter, differentiable
from gansynth.training.players import truncated_normal
from gansynth.training.recipe import DEFAULTS, TrainingRecipe
from gansynth.training.statistics import standing_statistics
from gansynth.training.sweep import page, variants


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """In the order of the alphabet, as safetensors files have them."""
    return {name: tuple(tensor.shape) for name, tensor in sorted(network.state_dict().items())}


# Sizes and names


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.sampled_from([8, 16, 32, 64]), st.integers(1, 8), st.sampled_from([1, 3]))
def test_a_dcgan_is_known_by_its_shapes(z_dim: int, resolution: int, width: int, channels: int) -> None:
    network = dcgan.Generator(z_dim, resolution, width, channels)
    found = dcgan.settings_of(shapes(network))
    assert found == {"z_dim": z_dim, "resolution": resolution, "width": width, "channels": channels}
    assert network(torch.zeros(2, z_dim)).shape == (2, channels, resolution, resolution)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(8, 20), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_a_fully_connected_generator_is_known_by_its_shapes(z_dim: int, resolution: int, hidden: list[int]) -> None:
    network = mlp.Generator(z_dim, resolution, tuple(hidden))
    assert mlp.settings_of(shapes(network)) == {"z_dim": z_dim, "resolution": resolution, "hidden": tuple(hidden)}
    assert network(torch.zeros(2, z_dim)).shape == (2, 3, resolution, resolution)


def test_the_dcgan_is_the_one_of_the_tutorials() -> None:
    found = shapes(dcgan.Generator())
    convolutions = {name: shape for name, shape in found.items() if len(shape) == 4}
    assert convolutions == {
        "main.0.weight": (100, 512, 4, 4),
        "main.3.weight": (512, 256, 4, 4),
        "main.6.weight": (256, 128, 4, 4),
        "main.9.weight": (128, 64, 4, 4),
        "main.12.weight": (64, 3, 4, 4),
    }
    torch.manual_seed(0)
    state = dcgan.Generator().state_dict()
    assert abs(state["main.3.weight"].std().item() - 0.02) < 1e-3
    assert abs(state["main.1.weight"].mean().item() - 1) < 0.01
    assert (state["main.1.bias"] == 0).all()
    judged = shapes(dcgan.Discriminator())
    assert judged["main.0.weight"] == (64, 3, 4, 4)


def test_the_fully_connected_gan_is_the_one_of_the_recipe() -> None:
    found = shapes(mlp.Generator())
    assert [shape for name, shape in found.items() if name.endswith("weight")] == [
        (256, 100), (512, 256), (1024, 512), (12288, 1024)
    ]  # fmt: skip
    assert (DEFAULTS["mlp"]["epochs"], DEFAULTS["mlp"]["sample_every"], DEFAULTS["mlp"]["betas"]) == (
        500,
        10,
        [0.8, 0.999],
    )
    assert (DEFAULTS["dcgan"]["epochs"], DEFAULTS["dcgan"]["betas"]) == (10, [0.5, 0.999])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_state_dict_of_a_tutorial_is_a_generator(suffix: str, channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = dcgan.Generator(20, 16, 4, channels).eval()
    path = tmp_path / f"generator{suffix}"
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    info = describe(str(path))
    assert (info.family, info.z_dim, info.resolution, info.truncation_rule) == ("dcgan", 20, 16, "one")
    generator = load_generator(str(path))
    z = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    found = generator.sample(z, torch.zeros(3, dtype=torch.int64), torch.ones(3))
    with torch.no_grad():
        images = network(z).expand(-1, 3, -1, -1)
    expected = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    assert (found == expected).all()


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"gen.0.0.weight": (8, 8, 4, 4)}, r"no main\.0\.weight"),
        ({"main.0.weight": (8, 8)}, "two or more"),
        ({"main.0.weight": (8, 8), "main.2.weight": (7, 8)}, "no square image"),
        ({"main.0.weight": (8, 8, 4)}, "transposed convolutions"),
    ],
)
def test_other_networks_are_refused(tensors: dict[str, tuple[int, ...]], said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    with pytest.raises(WeightsError, match=said):
        describe(str(path))


@pytest.mark.parametrize("resolution", biggan.RESOLUTIONS)
def test_biggans_of_every_resolution_fit_together(resolution: int) -> None:
    config = biggan.config_of(resolution, 3, 8, 8)
    with torch.no_grad():
        images = biggan.trainable(config).train()(torch.randn(2, 8), torch.eye(3)[:2], 1.0)
        assert images.shape == (2, 3, resolution, resolution)
        assert biggan.Discriminator(resolution, 3, 4)(images, torch.tensor([0, 2])).shape == (2,)


# Batch norm


def test_in_training_batch_norm_is_that_of_the_batch() -> None:
    torch.manual_seed(0)
    model = biggan.trainable(biggan.config_of(32, 2, 4, 8)).train()
    norm = next(biggan.norms(model))
    x, condition = (
        torch.randn(6, norm.num_features if hasattr(norm, "num_features") else norm.running_means.shape[1], 4, 4),
        torch.randn(6, 16),
    )
    y = norm(x * 3 + 5, 1.0, condition)
    weight, bias = 1 + norm.scale(condition), norm.offset(condition)
    normal = (y - bias[:, :, None, None]) / weight[:, :, None, None]
    assert normal.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (normal.var(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-2


def test_standing_statistics_are_those_of_each_truncation() -> None:
    torch.manual_seed(0)
    model: Any = biggan.trainable(biggan.config_of(32, 2, 4, 8))
    standing_statistics(model, 2, 16, seed=3)
    assert not model.training
    norm = next(biggan.norms(model))
    seen = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for number in range(2):
            z = truncated_normal(16, 8, random) * 0.5
            model.train()(z, torch.eye(2)[(torch.arange(16) + 16 * number) % 2], 1.0)
    handle.remove()
    mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
    assert torch.allclose(norm.running_means[25], mean, atol=1e-4)


# Alterations


def batch(count: int = 8, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_flipping_mirrors_some_and_changes_nothing_else() -> None:
    images = batch(32)
    found = alter(images, torch.Generator().manual_seed(1), flip=True, crop=0, rotate=0)
    mirrored = [bool((a == b.flip(2)).all()) for a, b in zip(found, images, strict=True)]
    kept = [bool((a == b).all()) for a, b in zip(found, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 5 < sum(mirrored) < 27


def test_nothing_is_altered_unless_asked_for() -> None:
    images = batch()
    assert alter(images, torch.Generator(), False, 0, 0) is images
    assert differentiable(images, torch.Generator(), []) is images


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 0.5), st.floats(0, 180))
def test_crops_and_turns_stay_in_range(seed: int, crop: float, rotate: float) -> None:
    found = alter(batch(), torch.Generator().manual_seed(seed), True, crop, rotate)
    assert found.shape == (8, 3, 16, 16)
    assert found.abs().max() <= 1.0001


@pytest.mark.parametrize("name", ["color", "translation", "cutout"])
def test_what_the_discriminator_sees_leads_back_to_the_image(name: str) -> None:
    images = batch().requires_grad_(True)
    found = differentiable(images, torch.Generator().manual_seed(2), [name])
    assert found.shape == images.shape
    assert (found != images).any()
    found.square().sum().backward()
    assert images.grad is not None and (images.grad != 0).float().mean() > 0.5


def test_a_translation_moves_pixels_by_up_to_an_eighth() -> None:
    images = batch()
    found = differentiable(images, torch.Generator().manual_seed(2), ["translation"])
    padded = torch.nn.functional.pad(images, [2] * 4)
    for number, image in enumerate(found):
        places = [padded[number, :, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
        assert any((place == image).all() for place in places)


def test_latents_are_cut_off_at_two() -> None:
    z = truncated_normal(20_000, 2, torch.Generator().manual_seed(0))
    assert z.abs().max() <= 2
    assert abs(z.std().item() - 0.880) < 0.01  # of a normal distribution between -2 and 2
    assert abs(z.mean().item()) < 0.01


# Sweeps


def sweeping(**sweep: Any) -> TrainingRecipe:
    return TrainingRecipe(name="s", architecture="mlp", data="x", output="out", sweep=sweep)


def test_a_grid_has_every_combination() -> None:
    found = variants(sweeping(keys={"learning_rate": [1e-4, 2e-4], "width": [8, 16, 32]}))
    assert [(r.learning_rate, r.width) for _, r in found] == [(a, b) for a in (1e-4, 2e-4) for b in (8, 16, 32)]
    assert [r.folder for _, r in found] == [f"out/{number:02d}" for number in range(6)]
    assert all(r.sweep is None for _, r in found)


def test_random_values_lie_between_the_ends_and_stay_the_same() -> None:
    recipe = sweeping(keys={"learning_rate": [1e-5, 1e-2], "batch_size": [16, 64]}, random=50)
    found = [values for values, _ in variants(recipe)]
    assert found == [values for values, _ in variants(recipe)]
    rates = np.array([values["learning_rate"] for values in found])
    assert ((rates >= 1e-5) & (rates <= 1e-2)).all()
    assert 10 < (rates < 3e-4).sum() < 40  # by orders of magnitude
    assert {type(values["batch_size"]) for values in found} == {int}


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"keys": {"learning_rat": [1]}}, "learning_rat"),
        ({"keys": {"name": ["a", "b"]}}, "cannot vary"),
        ({"keys": {"width": []}}, "no values"),
        ({"keys": {"width": [0, 1]}}, "width"),
        ({"keys": {"width": [8, 16, 32]}, "random": 3}, "two numbers"),
        ({"keys": {"width": list(range(1, 50)), "batch_size": list(range(2, 50))}}, "points"),
    ],
)
def test_sweeps_that_mean_nothing_are_refused(sweep: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        variants(sweeping(**sweep))


def test_the_table_names_the_best_first() -> None:
    rows = [
        {"values": {"learning_rate": 1e-3}, "folder": "out/00", "distance": 9.0, "error": ""},
        {"values": {"learning_rate": 2e-4}, "folder": "out/01", "distance": 3.0, "error": ""},
        {"values": {"learning_rate": 1e0}, "folder": "out/02", "error": "not finite"},
        {"values": {"learning_rate": 3e-4}, "folder": "out/03", "distance": 5.0, "error": ""},
    ]
    text = page(sweeping(keys={"learning_rate": [1.0]}), rows, "thumbnails")
    assert text.index("| 01 |") < text.index("| 03 |") < text.index("| 00 |") < text.index("| 02 | 1 |  | not finite |")
    picture = "![{0}]({0}/pictures/real-and-generated.png)".format
    assert f"| {picture('01')} | {picture('03')} |" in text and f"| {picture('00')} |" in text
    assert "![02]" not in text
