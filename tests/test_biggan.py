"""BigGAN-deep against the library it comes from: same images, but each truncation with its own statistics."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image  # noqa: F401  # the library's convert_to_images uses it without importing it
import pytest
import torch
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_pretrained_biggan import BigGAN, convert_to_images, truncated_noise_sample
from pytorch_pretrained_biggan.model import BigGANBatchNorm
from safetensors.torch import save_file

import gansynth
from gansynth.bench.random_biggan import random_model, save
from gansynth.errors import RenderError, WeightsError
from gansynth.generators import weights
from gansynth.generators.biggan import BigGANGenerator
from gansynth.generators.biggan_folder import describe_config

Pixels = npt.NDArray[np.uint8]
TRUNCATIONS = [0.2, 0.4, 0.5, 0.9, 1.0]  # the library finds the right row of statistics for each of these
GRID = [row / 50 for row in range(1, 51)]
MISSED_BY_LIBRARY = {0.14, 0.28, 0.56, 0.58, 0.94}


def arguments(
    config: Mapping[str, Any], seeds: list[int], classes: list[int], truncation: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and one-hot classes as the library takes them."""
    z = np.concatenate([truncated_noise_sample(1, config["z_dim"], truncation, seed) for seed in seeds])
    one_hot = torch.nn.functional.one_hot(torch.tensor(classes), config["num_classes"]).float()
    return torch.from_numpy(z.astype(np.float32)), one_hot


def by_library(model: Any, seeds: list[int], classes: list[int], truncation: float) -> Pixels:
    """The library's own images: its forward pass in evaluation mode, and its conversion."""
    with torch.no_grad():
        images = model(*arguments(vars(model.config), seeds, classes, truncation), truncation)
    return np.stack([np.asarray(image) for image in convert_to_images(images)])


def by_gansynth(generator: Any, seeds: list[int], classes: list[int], truncation: float) -> Pixels:
    z, _ = arguments({"z_dim": generator.z_dim, "num_classes": generator.num_classes}, seeds, classes, truncation)
    images = generator.sample(z, torch.tensor(classes), torch.full([len(seeds)], truncation))
    return np.asarray(images.numpy())


def grey_levels_apart(a: Pixels, b: Pixels) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def with_statistics(model: Any, choose: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A copy whose rows of statistics are all alike, so that the library cannot look up a wrong one."""
    changed = copy.deepcopy(model)
    for module in changed.modules():
        if isinstance(module, BigGANBatchNorm):
            module.running_means.copy_(choose(module.running_means).expand_as(module.running_means))
            module.running_vars.copy_(choose(module.running_vars).expand_as(module.running_vars))
    return changed


def float_images(generator: Any, z: torch.Tensor, classes: list[int], truncations: list[float]) -> torch.Tensor:
    return torch.as_tensor(generator.forward(z, torch.tensor(classes), torch.tensor(truncations)))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """With several threads the position in a batch may change bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fashion() -> Any:
    return gansynth.load_generator("fashion-32")


@pytest.fixture(scope="module")
def tiny_model() -> Any:
    return random_model(TINY)


@pytest.fixture(scope="module")
def tiny_folder(tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_model, TINY, tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Any:
    return gansynth.load_generator(str(tiny_folder))


@pytest.fixture(scope="module")
def deep_128(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The full architecture of biggan-deep-128, random: the library's model and gansynth's generator."""
    config = weights.KNOWN["biggan-deep-128"].config
    assert config is not None
    model = random_model(config)
    folder = save(model, config, tmp_path_factory.mktemp("weights") / "deep-128")
    generator = gansynth.load_generator(str(folder))
    (folder / "pytorch_model.bin").unlink()  # 200 MB
    return model, generator


# Same images as the library


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_fashion_images_are_those_of_the_library(fashion: Any, truncation: float) -> None:
    model = BigGAN.from_pretrained(str(weights.locate("fashion-32"))).eval()
    seeds, classes = [0, 1, 7, 2**32 - 1], [0, 3, 9, 5]
    theirs = by_library(model, seeds, classes, truncation)
    assert grey_levels_apart(by_gansynth(fashion, seeds, classes, truncation), theirs) <= 1
    assert theirs.std() > 20


@pytest.mark.parametrize("truncation", TRUNCATIONS)
def test_deep_128_images_are_those_of_the_library(deep_128: tuple[Any, Any], truncation: float) -> None:
    model, generator = deep_128
    theirs = by_library(model, [3, 4], [207, 980], truncation)
    ours = by_gansynth(generator, [3, 4], [207, 980], truncation)
    assert ours.shape == (2, 128, 128, 3)
    assert grey_levels_apart(ours, theirs) <= 1
    assert len(np.unique(theirs)) > 20  # an image, not a saturated plane that any network would match


# A truncation for every sample


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(GRID), min_size=6, max_size=6))
def test_a_batch_of_mixed_truncations_gives_each_row_what_a_uniform_batch_gives(
    fashion: Any, truncations: list[float]
) -> None:
    z = torch.randn(6, fashion.z_dim, generator=torch.Generator().manual_seed(1))
    classes = torch.arange(6)
    mixed = fashion.sample(z, classes, torch.tensor(truncations))
    for row, truncation in enumerate(truncations):
        uniform = fashion.sample(z, classes, torch.full([6], truncation))
        assert torch.equal(mixed[row], uniform[row])


@pytest.mark.parametrize("truncation", GRID)
def test_every_multiple_of_two_hundredths_takes_its_own_row(tiny: Any, tiny_model: Any, truncation: float) -> None:
    row = round(truncation * 50)
    z, one_hot = arguments(TINY, [5, 6], [0, 2], truncation)
    with torch.no_grad():
        expected = with_statistics(tiny_model, lambda rows: rows[row])(z, one_hot, truncation)
    assert torch.allclose(float_images(tiny, z, [0, 2], [truncation] * 2), expected, atol=1e-5)


def test_only_the_five_truncations_that_the_library_misses_differ_from_it(tiny: Any, tiny_model: Any) -> None:
    z, one_hot = arguments(TINY, [5, 6], [0, 2], 1.0)
    with torch.no_grad():
        theirs = {t: tiny_model(z, one_hot, t) for t in GRID}
    differing = {
        t for t in GRID if not torch.allclose(float_images(tiny, z, [0, 2], [t] * 2), theirs[t], rtol=0, atol=1e-4)
    }
    assert differing == MISSED_BY_LIBRARY


@settings(max_examples=60, deadline=None)
@given(truncation=st.floats(2**-20, 1.0, width=32))
def test_truncations_between_two_rows_interpolate_linearly(tiny: Any, tiny_model: Any, truncation: float) -> None:
    lower = min(math.floor(truncation * 50), 49)
    weight = truncation * 50 - lower
    between = with_statistics(tiny_model, lambda rows: torch.lerp(rows[lower], rows[lower + 1], weight))
    z, one_hot = arguments(TINY, [8], [1], 1.0)
    with torch.no_grad():
        expected = between(z, one_hot, 0.5)
    assert torch.allclose(float_images(tiny, z, [1], [truncation]), expected, atol=1e-3)


def test_a_truncation_near_a_row_is_nearer_to_that_row_than_to_the_other(tiny: Any) -> None:
    z, _ = arguments(TINY, [8], [1], 1.0)
    lower, near_lower, near_upper, upper = (float_images(tiny, z, [1], [t]) for t in (0.4, 0.401, 0.419, 0.42))
    assert (near_lower - lower).abs().sum() < (near_lower - upper).abs().sum()
    assert (near_upper - upper).abs().sum() < (near_upper - lower).abs().sum()


# Independence within a batch


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(8)), others=st.integers(0, 2**31))
def test_neither_position_nor_neighbours_change_an_image(fashion: Any, order: list[int], others: int) -> None:
    z = torch.randn(8, fashion.z_dim, generator=torch.Generator().manual_seed(0))
    classes, truncations = torch.arange(8), torch.linspace(0.2, 1, 8)
    images = fashion.sample(z, classes, truncations)
    assert torch.equal(fashion.sample(z[order], classes[order], truncations[order]), images[order])

    replaced = torch.randn(8, fashion.z_dim, generator=torch.Generator().manual_seed(others))
    replaced[3] = z[3]
    assert torch.equal(fashion.sample(replaced, classes, truncations)[3], images[3])


def test_deep_128_images_do_not_depend_on_their_position(deep_128: tuple[Any, Any]) -> None:
    _, generator = deep_128
    z = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))
    classes, truncations = torch.tensor([1, 999]), torch.tensor([0.3, 0.8])
    images = generator.sample(z, classes, truncations)
    assert torch.equal(generator.sample(z.flip(0), classes.flip(0), truncations.flip(0)), images.flip(0))


# Evaluation mode, precision, unusable weights


def test_a_model_in_training_mode_is_put_into_evaluation_mode(tiny_model: Any) -> None:
    model = copy.deepcopy(tiny_model).train()
    info = replace(describe_config(TINY, "tiny"), weights_sha256="0" * 64)
    generator = BigGANGenerator(model, info, "cpu", "float32")
    assert not any(module.training for module in model.modules())
    z, _ = arguments(TINY, [1], [1], 0.5)
    assert torch.equal(float_images(generator, z, [1], [0.5]), float_images(generator, z, [1], [0.5]))


def test_rendering_leaves_no_graph_and_wants_no_gradients(fashion: Any) -> None:
    images = fashion.sample(torch.zeros(1, 64), torch.tensor([0]), torch.tensor([0.5]))
    assert not images.requires_grad
    assert images.is_contiguous()
    assert images.dtype == torch.uint8


def test_weights_that_are_not_finite_are_an_error(tiny_model: Any, tmp_path: Path) -> None:
    broken = copy.deepcopy(tiny_model)
    with torch.no_grad():
        broken.generator.conv_to_rgb.bias.fill_(math.nan)
    with pytest.raises(WeightsError, match="not finite"):
        gansynth.load_generator(str(save(broken, TINY, tmp_path / "broken")))


def test_an_image_that_is_not_finite_is_an_error(tiny: Any) -> None:
    with pytest.raises(RenderError, match="not finite"):
        tiny.sample(torch.full([1, 8], math.nan), torch.tensor([0]), torch.tensor([0.5]))


def test_bfloat16_stays_near_float32(fashion: Any) -> None:
    half = gansynth.load_generator("fashion-32", precision="bfloat16")
    exact = by_gansynth(fashion, [1, 2, 3, 4], [0, 1, 8, 9], 0.5).astype(int)
    rough = by_gansynth(half, [1, 2, 3, 4], [0, 1, 8, 9], 0.5).astype(int)
    assert 0 < np.abs(rough - exact).mean() < 2
    assert half.weights_sha256 == fashion.weights_sha256


@pytest.mark.slow
def test_the_network_compiles_as_a_whole_and_gives_the_same_images(tiny_folder: Path, tiny: Any) -> None:
    generator: Any = gansynth.load_generator(str(tiny_folder))
    # Without a code generator behind it this takes a second; a break in the graph would be an error.
    generator._network.compile(backend="eager", fullgraph=True, dynamic=False)
    z, classes, truncations = torch.randn(3, 8), torch.arange(3), torch.tensor([0.3, 0.5, 1.0])
    assert torch.allclose(generator.forward(z, classes, truncations), tiny.forward(z, classes, truncations), atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of what the compiler imports
def test_compiled_code_renders_the_same_images(tiny_folder: Path) -> None:
    plain, compiled = (gansynth.load_generator(str(tiny_folder), compile=compile) for compile in (False, True))
    assert grey_levels_apart(by_gansynth(plain, [1, 2], [0, 1], 0.5), by_gansynth(compiled, [1, 2], [0, 1], 0.5)) <= 1


def test_a_machine_that_cannot_compile_says_so(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    generator = gansynth.load_generator(str(tiny_folder), compile=True)
    with pytest.raises(RenderError, match="set `compile: false`"):
        generator.sample(torch.zeros(1, 8), torch.tensor([0]), torch.tensor([0.5]))


# Files


def test_safetensors_and_pytorch_files_of_the_same_weights_are_the_same_weights(
    tiny_model: Any, tiny: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "converted"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(reversed(TINY.items())), indent=4))
    save_file({k: v.contiguous().clone() for k, v in tiny_model.state_dict().items()}, folder / "model.safetensors")
    converted = gansynth.load_generator(str(folder))
    assert converted.weights_sha256 == tiny.weights_sha256
    assert gansynth.load_generator(str(tiny_folder / "pytorch_model.bin")).weights_sha256 == tiny.weights_sha256
    assert np.array_equal(by_gansynth(converted, [1], [1], 0.5), by_gansynth(tiny, [1], [1], 0.5))


def test_other_weights_or_another_configuration_are_another_identity(
    tiny_model: Any, tiny: Any, tmp_path: Path
) -> None:
    changed = copy.deepcopy(tiny_model)
    with torch.no_grad():
        changed.embeddings.weight[0, 0] += 1e-3
    other_weights = gansynth.load_generator(str(save(changed, TINY, tmp_path / "a")))
    other_config = gansynth.load_generator(str(save(tiny_model, {**TINY, "eps": 1e-5}, tmp_path / "b")))
    assert len({tiny.weights_sha256, other_weights.weights_sha256, other_config.weights_sha256}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("embeddings.weight"), "lacks embeddings.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected extra"),
        (lambda state: state.update({"embeddings.weight": torch.zeros(8, 4)}), r"embeddings.weight of shape \[8, 4\]"),
        (lambda state: state.clear(), "lacks .* more"),
    ],
    ids=["missing", "unexpected", "reshaped", "empty"],
)
def test_weights_load_strictly(
    tiny_model: Any, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    folder = save(tiny_model, TINY, tmp_path / "changed")
    state = dict(tiny_model.state_dict())
    change(state)
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=said) as caught:
        gansynth.load_generator(str(folder))
    assert "pytorch_model.bin" in str(caught.value)
    assert "\n" not in str(caught.value)
