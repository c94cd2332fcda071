"""StyleGAN2 in the pipeline: facts of a snapshot or a converted folder, its options and licence, and loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import weights
from gansynth.generators.stylegan2.config import FAMILY, Config, check_shapes
from gansynth.generators.stylegan2.snapshot import describe_snapshot, read
from gansynth.info import GeneratorInfo
from gansynth.labels import LabelSet, named_classes, numbered_classes

if TYPE_CHECKING:
    from gansynth.generators.stylegan2.generator import StyleGAN2Generator

SUFFIX = ".pkl"
ABOUT = "gansynth.json"
_OPTIONS: dict[str, Any] = {"noise_mode": "const", "truncation_cutoff": None, "truncation_center": "global"}
_CHOICES = {"noise_mode": ("const", "none", "random"), "truncation_center": ("global", "class")}
LICENCE = (
    "of its publisher; snapshots that NVIDIA published are under the NVIDIA Source Code License, for non-commercial use "
    "(research or evaluation) only, which says nothing of generated images"
)
ORIGIN = "a StyleGAN2 or StyleGAN2-ADA snapshot"


def is_stylegan2(path: Path) -> bool:
    """Whether a path looks like a StyleGAN2 snapshot or a folder (or file in one) that one was converted to."""
    if path.is_file() and path.suffix == SUFFIX:
        return True
    config = (path if path.is_dir() else path.parent) / weights.CONFIG_NAME
    return config.is_file() and weights.read_json(config).get("family") == FAMILY


def describe(path: Path, options: Mapping[str, Any]) -> GeneratorInfo:
    """Facts of a snapshot or converted folder; its tensors stay where they are.

    Args:
        path: a .pkl file, or a folder with config.json and model.safetensors. An optional gansynth.json beside them gives
            labels, licence and origin.
        options: noise_mode (const, none, random), truncation_cutoff (number of layers, null for all) and
            truncation_center (global, class).

    Raises:
        RecipeError: options that do not exist, or do not fit the network.
        WeightsError: the file is refused, damaged or of another network.
    """
    config = _config(path)
    if config.img_channels not in (1, 3):
        raise WeightsError(
            f"{path}: renders {config.img_channels} channels; only colour and greyscale images are supported"
        )
    folder = path if path.is_dir() else path.parent
    about = weights.read_json(folder / ABOUT) if (folder / ABOUT).exists() else {}
    return GeneratorInfo(
        name=str(path.resolve()),
        family=FAMILY,
        z_dim=config.z_dim,
        num_classes=config.c_dim,
        resolution=config.resolution,
        labels=_labels(config.c_dim, about, path),
        latents=("numpy_normal", "normal", "truncated_normal"),
        truncation_rule="psi",
        options=_chosen(options, config),
        licence=str(about.get("licence", LICENCE)),
        origin=str(about.get("origin", ORIGIN)),
    )


def load(info: GeneratorInfo, path: Path, device: str, precision: str) -> StyleGAN2Generator:
    """Load the weights that `describe` described."""
    import torch

    from gansynth.generators.stylegan2.generator import StyleGAN2Generator

    if path.is_file() and path.suffix == SUFFIX:
        snapshot = read(path)
        config, arrays = snapshot.config, snapshot.tensors
    else:
        config, file = _config(path), weights.weights_file(path)
        tensors = weights.read_tensors(file)
        try:
            check_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config)
        except WeightsError as error:
            raise WeightsError(f"{file}: {error}; pair each file with its own {weights.CONFIG_NAME}") from None
        arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    identity = weights.identity({name: torch.from_numpy(array) for name, array in arrays.items()}, config.to_json())
    return StyleGAN2Generator(replace(info, weights_sha256=identity), config, arrays, device, precision)


def _config(path: Path) -> Config:
    if path.is_file() and path.suffix == SUFFIX:
        return describe_snapshot(path).config
    file = (path if path.is_dir() else path.parent) / weights.CONFIG_NAME
    try:
        return Config.from_json(weights.read_json(file))
    except WeightsError as error:
        text = str(error)
        raise WeightsError(
            text if text.startswith(str(file)) else f"{file}: {text}; convert the snapshot again"
        ) from None


def _chosen(options: Mapping[str, Any], config: Config) -> dict[str, Any]:
    for key, value in options.items():
        if key not in _OPTIONS:
            raise RecipeError(f"generator_options: saw `{key}`; StyleGAN2 generators take {', '.join(_OPTIONS)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise RecipeError(f"generator_options.{key}: saw {value!r}; it is {' or '.join(_CHOICES[key])}")
    chosen = {**_OPTIONS, **options}
    cutoff = chosen["truncation_cutoff"]
    if cutoff is not None and (type(cutoff) is not int or not 0 <= cutoff <= config.num_ws):
        raise RecipeError(
            f"generator_options.truncation_cutoff: saw {cutoff!r}; it is null or a whole number from 0 to {config.num_ws}"
        )
    if chosen["truncation_center"] == "class" and not config.c_dim:
        raise RecipeError(
            "generator_options.truncation_center: saw 'class', but the network has no classes; use global"
        )
    return chosen


def _labels(count: int, about: Mapping[str, Any], path: Path) -> LabelSet:
    names = about.get("labels")
    if names is None:
        return numbered_classes(count)
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{path}: labels in {ABOUT} must be a list of {count} names; correct it")
    return named_classes(names)
