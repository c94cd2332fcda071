"""StyleGAN2's networks against a straight, slow rendering of the published formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stylegan2_files
import torch
from scipy.signal import convolve2d, correlate2d
from stylegan2_files import CONFIGS, SMALL, dumps, random_tensors, written

import gansynth
from gansynth.errors import RenderError
from gansynth.generators.stylegan2 import Config, synthesis

Arrays = dict[str, np.ndarray]

# The formulas, one sample and one pixel plane at a time


def normalised(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt((v**2).mean() + 1e-8)


def dense(v: np.ndarray, tensors: Arrays, name: str, rate: float = 1.0) -> np.ndarray:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    # Not `weight @ v`: some BLAS kernels set floating-point flags for lanes that they discard, and numpy warns.
    return (weight * v).sum(axis=1) * rate / math.sqrt(len(v)) + rate * bias


def leaky(v: np.ndarray) -> np.ndarray:
    return np.where(v < 0, 0.2 * v, v)


def style(config: Config, tensors: Arrays, z: np.ndarray, label: int) -> np.ndarray:
    x = normalised(z.astype(np.float64))
    if config.c_dim:
        x = np.concatenate([x, normalised(dense(np.eye(config.c_dim)[label], tensors, "mapping.embed"))])
    for i in range(config.mapping_layers):
        x = math.sqrt(2) * leaky(dense(x, tensors, f"mapping.fc{i}", config.lr_multiplier))
    return x


def filtered(plane: np.ndarray, taps: np.ndarray) -> np.ndarray:
    return convolve2d(plane, 4 * taps, "valid")


def zeros_between(plane: np.ndarray) -> np.ndarray:
    spread = np.zeros((2 * len(plane), 2 * len(plane)))
    spread[::2, ::2] = plane
    return spread


def doubled(plane: np.ndarray, taps: np.ndarray) -> np.ndarray:
    n = len(taps)
    return filtered(np.pad(zeros_between(plane), ((n + 1) // 2, (n - 2) // 2)), taps)


def convolved(x: np.ndarray, weight: np.ndarray, taps: np.ndarray | None) -> np.ndarray:
    """[out, h, w]; with taps at twice the resolution."""
    planes = []
    for kernels in weight:
        if taps is None:
            planes.append(sum(correlate2d(p, k, "same") for p, k in zip(x, kernels, strict=True)))
            continue
        # The transposed convolution: each pixel lays the kernel down at twice its place.
        side, n = 2 * x.shape[1] + 1, len(taps)
        y = np.zeros((side, side))
        for plane, kernel in zip(x, kernels, strict=True):
            y += convolve2d(zeros_between(plane)[:-1, :-1], kernel, "full")
        before, after = 1 + (n + 1) // 2 - 2, 1 + (n - 2) // 2 - 1
        planes.append(filtered(np.pad(y, (before, after)), taps))
    return np.stack(planes)


def layer(
    config: Config, tensors: Arrays, name: str, x: np.ndarray, w: np.ndarray, clamp: float | None, up: bool, gain: float
) -> np.ndarray:
    scale = dense(w, tensors, f"{name}.affine")
    weight = tensors[f"{name}.weight"] * scale[:, None, None]
    weight = weight / np.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
    y = convolved(x, weight, tensors[f"{name}.resample_filter"] if up else None)
    if config.use_noise:
        y = y + tensors[f"{name}.noise_strength"] * tensors[f"{name}.noise_const"]
    y = math.sqrt(2) * gain * leaky(y + tensors[f"{name}.bias"][:, None, None])
    return y if clamp is None else np.clip(y, -clamp * gain, clamp * gain)


def rendered(config: Config, tensors: Arrays, ws: np.ndarray) -> np.ndarray:
    """[channels, h, w] from the w of each layer."""
    image: np.ndarray | None = None
    x = tensors["synthesis.b4.const"].astype(np.float64)
    for number, side in enumerate(config.resolutions):
        block, clamp = f"synthesis.b{side}", config.conv_clamp[number]
        taps, at = tensors[f"{block}.resample_filter"], max(0, 2 * number - 1)
        before, residual = x, config.architecture == "resnet" and number > 0
        if number > 0:
            x = layer(config, tensors, f"{block}.conv0", x, ws[at], clamp, True, 1.0)
            at += 1
        gain = math.sqrt(0.5) if residual else 1.0
        x = layer(config, tensors, f"{block}.conv1", x, ws[at], clamp, False, gain)
        if residual:
            weight = tensors[f"{block}.skip.weight"][:, :, 0, 0] / math.sqrt(len(before))
            skip_taps = tensors[f"{block}.skip.resample_filter"]
            x = x + math.sqrt(0.5) * np.stack([doubled(p, skip_taps) for p in np.tensordot(weight, before, 1)])
        if image is not None:
            image = np.stack([doubled(plane, taps) for plane in image])
        if config.architecture == "skip" or side == config.resolution:
            name = f"{block}.torgb"
            scale = dense(ws[at + 1], tensors, f"{name}.affine") / math.sqrt(len(x))
            rgb = np.tensordot(tensors[f"{name}.weight"][:, :, 0, 0] * scale, x, 1)
            rgb = rgb + tensors[f"{name}.bias"][:, None, None]
            rgb = rgb if clamp is None else np.clip(rgb, -clamp, clamp)
            image = rgb if image is None else image + rgb
    assert image is not None
    return image


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> Config:
    found: Config = request.param
    return found


def latents(config: Config, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    z = np.concatenate([np.random.RandomState(seed).randn(1, config.z_dim) for seed in range(count)])
    return torch.from_numpy(z.astype(np.float32)), torch.arange(count) % max(1, config.c_dim)


def test_styles_are_those_of_the_formulas(config: Config, tmp_path: Path) -> None:
    generator: Any = gansynth.load_generator(str(written(config, tmp_path)))
    z, classes = latents(config, 3)
    expected = [style(config, random_tensors(config), z[i].numpy(), int(classes[i])) for i in range(3)]
    assert np.allclose(generator.styles(z, classes).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("strips", [None, 1, 200], ids=["batch", "rows", "strips"])
def test_images_are_those_of_the_formulas(
    config: Config, strips: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if strips is not None:
        monkeypatch.setattr(synthesis, "_LARGE", 8 * 8)
        monkeypatch.setattr(synthesis, "_STRIP", strips)
    generator: Any = gansynth.load_generator(str(written(config, tmp_path)))
    # A different style for every layer, so that a wrong index shows.
    ws = np.random.default_rng(1).normal(size=(2, config.num_ws, config.w_dim)).astype(np.float32)
    tensors = random_tensors(config)
    expected = np.stack([rendered(config, tensors, w) for w in ws])
    found = generator.forward(torch.from_numpy(ws)).numpy()
    assert np.abs(expected).std() > 0.01
    assert np.allclose(found, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", ["skip", "orig", "resnet"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_comes_close_at_any_size(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis, "_LARGE", 8 * 8)
    path = str(written(CONFIGS[name], tmp_path))
    exact, half = (gansynth.load_generator(path, precision=p) for p in ("float32", precision))
    z, classes = latents(CONFIGS[name], 2)
    images = [generator.sample(z, classes, torch.ones(2)).int() for generator in (exact, half)]
    assert (images[0] - images[1]).abs().float().mean() < 5


@pytest.mark.parametrize("what", ["b8.conv1.weight", "b8.conv1.affine"])
def test_channels_of_zeros_are_rendered(what: str, tmp_path: Path) -> None:
    tensors = random_tensors(SMALL)
    for key in tensors:
        if key.startswith(f"synthesis.{what}"):
            tensors[key] = np.zeros_like(tensors[key])
    path = tmp_path / "zeros.pkl"
    path.write_bytes(dumps({"G_ema": stylegan2_files.generator(SMALL, tensors)}))
    loaded: Any = gansynth.load_generator(str(path))
    ws = np.random.default_rng(1).normal(size=(1, SMALL.num_ws, SMALL.w_dim)).astype(np.float32)
    assert np.allclose(loaded.forward(torch.from_numpy(ws))[0].numpy(), rendered(SMALL, tensors, ws[0]), atol=1e-4)


def test_bytes_are_those_of_the_reference_tools(tmp_path: Path) -> None:
    generator: Any = gansynth.load_generator(str(written(SMALL, tmp_path)))
    z, classes = latents(SMALL, 2)
    w = generator.styles(z, classes)
    images = generator.forward(w[:, None].expand(-1, SMALL.num_ws, -1)).numpy()
    expected = np.clip(127.5 * images + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    found = generator.sample(z, classes, torch.ones(2)).numpy()
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


def test_greyscale_networks_give_grey_pixels(tmp_path: Path) -> None:
    generator = gansynth.load_generator(str(written(CONFIGS["grey"], tmp_path)))
    images = generator.sample(*latents(CONFIGS["grey"], 2), torch.ones(2))
    assert images.shape == (2, 16, 16, 3)
    assert (images == images[..., :1]).all()


# Truncation


def sampled(path: Path, psi: list[float], seeds: list[int] | None = None, **options: Any) -> torch.Tensor:
    generator = gansynth.load_generator(str(path), options=options)
    z, classes = latents(SMALL, 1)
    count = len(psi)
    numbers = None if seeds is None else torch.tensor(seeds)
    return generator.sample(z.expand(count, -1), classes.expand(count), torch.tensor(psi), numbers)


def test_each_sample_has_its_own_psi(tmp_path: Path) -> None:
    path = written(SMALL, tmp_path)
    together = sampled(path, [1.0, 0.7, 0.0])
    apart = torch.cat([sampled(path, [psi]) for psi in (1.0, 0.7, 0.0)])
    assert (together.int() - apart.int()).abs().max() <= 1
    assert (together[0] != together[2]).any()


def test_the_cutoff_leaves_later_layers_alone(tmp_path: Path) -> None:
    path = written(SMALL, tmp_path)
    assert (sampled(path, [0.5], truncation_cutoff=0) == sampled(path, [1.0])).all()
    assert (sampled(path, [0.5], truncation_cutoff=SMALL.num_ws) == sampled(path, [0.5])).all()
    assert (sampled(path, [0.5], truncation_cutoff=2) != sampled(path, [0.5])).any()


def test_a_class_is_truncated_towards_its_own_centre(tmp_path: Path) -> None:
    config = CONFIGS["conditional"]
    path = str(written(config, tmp_path))
    to_all, to_class = (gansynth.load_generator(path, options={"truncation_center": c}) for c in ("global", "class"))
    z, _ = latents(config, 2)
    classes = torch.tensor([0, 3])
    at_zero = to_class.sample(z, classes, torch.zeros(2))
    assert (at_zero[0] != at_zero[1]).any()
    assert (to_all.sample(z, classes, torch.zeros(2))[0] == to_all.sample(z, classes, torch.zeros(2))[1]).all()
    assert (to_class.sample(z, classes, torch.ones(2)) == to_all.sample(z, classes, torch.ones(2))).all()


# Noise


def test_random_noise_belongs_to_the_seed_and_not_to_the_place_in_the_batch(tmp_path: Path) -> None:
    path = written(SMALL, tmp_path)
    a = sampled(path, [1.0, 1.0, 1.0], [5, 6, 5], noise_mode="random")
    assert (a[0].int() - a[2].int()).abs().max() <= 1
    assert (a[0] != a[1]).any()
    assert (sampled(path, [1.0, 1.0, 1.0], [5, 6, 5], noise_mode="random") == a).all()
    with pytest.raises(RenderError, match="seeds"):
        sampled(path, [1.0], noise_mode="random")


def test_noise_is_not_the_latent_of_its_seed(tmp_path: Path) -> None:
    generator: Any = gansynth.load_generator(str(written(SMALL, tmp_path)), options={"noise_mode": "random"})
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(5)).flatten()
    noise = generator._noise(torch.tensor([5]))[0].flatten()
    assert (noise[:16] != z).all()


def test_without_noise_is_as_if_its_strength_were_zero(tmp_path: Path) -> None:
    quiet = {n: np.zeros_like(t) if n.endswith("noise_strength") else t for n, t in random_tensors(SMALL).items()}
    generator: Any = gansynth.load_generator(str(written(SMALL, tmp_path)), options={"noise_mode": "none"})
    ws = np.random.default_rng(1).normal(size=(1, SMALL.num_ws, SMALL.w_dim)).astype(np.float32)
    expected = rendered(SMALL, quiet, ws[0])
    assert np.allclose(generator.forward(torch.from_numpy(ws))[0].numpy(), expected, atol=1e-4)
