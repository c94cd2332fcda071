"""StyleGAN2 in the pipeline: facts of a snapshot or a converted folder, its options and licence, and loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import about, weights
from gansynth.generators.stylegan2.config import FAMILY, Config, check_shapes
from gansynth.generators.stylegan2.licence import LICENCE, terms_of
from gansynth.generators.stylegan2.snapshot import describe_snapshot, read
from gansynth.info import GeneratorInfo
from gansynth.labels import LabelSet, named_classes, numbered_classes

if TYPE_CHECKING:
    from gansynth.generators.stylegan2.generator import StyleGAN2Generator

SUFFIX = ".pkl"
_OPTIONS: dict[str, Any] = {"noise_mode": "const", "truncation_cutoff": None, "truncation_center": "global"}
_CHOICES = {"noise_mode": ("const", "none", "random"), "truncation_center": ("global", "class")}
ORIGIN = "a StyleGAN2 or StyleGAN2-ADA snapshot"


def is_stylegan2(path: Path) -> bool:
    """Whether a path looks like a StyleGAN2 snapshot or a folder (or file in one) that one was converted to."""
    if _is_snapshot(path):
        return True
    config = (path if path.is_dir() else path.parent) / weights.CONFIG_NAME
    return config.is_file() and weights.read_json(config).get("family") == FAMILY


def describe(path: Path, options: Mapping[str, Any]) -> GeneratorInfo:
    """Facts of a snapshot or converted folder; its tensors stay where they are.

    Args:
        path: a .pkl file, whose classes an optional X.labels.txt beside it names; or a folder with config.json and
            model.safetensors, whose optional gansynth.json gives labels, licence, origin and terms.
        options: noise_mode (const, none, random), truncation_cutoff (number of layers, null for all) and
            truncation_center (global, class).

    Raises:
        RecipeError: options that do not exist, or do not fit the network.
        WeightsError: the file is refused, damaged or of another network.
    """
    config = _config(path)
    require_pictures(config, path)
    facts: dict[str, Any]
    if _is_snapshot(path):
        labels, facts = _labels_beside(path, config.c_dim), {"terms": terms_of(path)}
    else:
        folder = path if path.is_dir() else path.parent
        given = about.read(folder)
        labels, facts = about.labels(given, config.c_dim, folder), about.facts(given, folder)
    return GeneratorInfo(
        name=str(path.resolve()),
        family=FAMILY,
        z_dim=config.z_dim,
        num_classes=config.c_dim,
        resolution=config.resolution,
        labels=labels or numbered_classes(config.c_dim),
        latents=("numpy_normal", "normal"),
        truncation_rule="psi",
        options=_chosen(options, config),
        w_dim=config.w_dim,
        **{"licence": LICENCE, "origin": ORIGIN, **facts},
    )


def details(path: Path) -> dict[str, object]:
    """For `gansynth models info`: architecture, parameters and what the file holds; no tensor is loaded."""
    if _is_snapshot(path):
        found = describe_snapshot(path)
        config, content = found.config, f"pickle of {found.framework}: {', '.join(found.contents)}"
    else:
        config, file = _config(path), weights.weights_file(path)
        content = f"{file.name}: {len(weights.read_shapes(file))} tensors"
    widths = [f"{width} at {side}" for side, width in zip(config.resolutions, config.channels, strict=True)]
    return {
        "architecture": (
            f"StyleGAN2, {config.architecture}, {config.mapping_layers} mapping layers, w of {config.w_dim}, "
            f"{'noise' if config.use_noise else 'no noise'}, channels {', '.join(widths)}"
        ),
        "parameters": config.parameters,
        "file": content,
    }


def load(info: GeneratorInfo, path: Path, device: str, precision: str) -> StyleGAN2Generator:
    """Load the weights that `describe` described."""
    import torch

    from gansynth.generators.stylegan2.generator import StyleGAN2Generator

    if _is_snapshot(path):
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


def require_pictures(config: Config, path: Path) -> None:
    """Raise WeightsError if what a network renders is neither colour nor greyscale."""
    if config.img_channels not in (1, 3):
        raise WeightsError(
            f"{path}: renders {config.img_channels} channels; only colour and greyscale images are supported"
        )


def _is_snapshot(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == SUFFIX


def _config(path: Path) -> Config:
    if _is_snapshot(path):
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


def _labels_beside(path: Path, count: int) -> LabelSet | None:
    file = about.labels_file(path)
    return named_classes(about.read_labels_file(file, count)) if file.exists() else None
