"""A folder of BigGAN-deep weights in the format of pytorch-pretrained-biggan, read without loading tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import weights
from gansynth.info import GeneratorInfo
from gansynth.labels import LabelSet, imagenet, named_classes, numbered_classes

_REQUIRED = ("channel_width", "layers", "num_classes", "output_dim", "z_dim")


def _count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _blocks(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(b, list) and len(b) == 3 and isinstance(b[0], bool) and _count(b[1]) and _count(b[2]) for b in value
    )


_FITS: dict[str, Callable[[Any], bool]] = {
    "channel_width": _count,
    "layers": _blocks,
    "num_classes": _count,
    "output_dim": _count,
    "z_dim": _count,
    "class_embed_dim": _count,
    "attention_layer_position": lambda value: _count(value, least=0),
    "n_stats": lambda value: _count(value, least=2),
    "eps": lambda value: isinstance(value, float) and 0 < value < 1,
}


def describe(path: Path, name: str | None = None, options: Mapping[str, Any] | None = None) -> GeneratorInfo:
    """Facts of the weights in a folder, without loading them.

    Args:
        path: folder with config.json and the weights, or the file of weights beside its config.json. An optional
            gansynth.json gives labels, licence and origin.
        name: name to show instead of the path.
        options: BigGAN takes none.

    Raises:
        WeightsError: no weights, no or broken configuration.
        RecipeError: options were given.
    """
    folder = path if path.is_dir() else path.parent
    about = weights.read_json(folder / "gansynth.json") if (folder / "gansynth.json").exists() else {}
    info = describe_config(read_config(folder), name or str(path.resolve()), options, about)
    weights.weights_file(path)
    return info


def describe_config(
    config: Mapping[str, Any],
    name: str,
    options: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> GeneratorInfo:
    """Facts of weights that are not at hand, from their configuration and the content of gansynth.json."""
    if options:
        raise RecipeError(f"generator_options: saw `{next(iter(options))}`; BigGAN generators take none")
    about = about or {}
    return GeneratorInfo(
        name=name,
        family="biggan",
        z_dim=config["z_dim"],
        num_classes=config["num_classes"],
        resolution=config["output_dim"],
        labels=_labels(config["num_classes"], about, name),
        licence=str(about.get("licence", "unknown")),
        origin=str(about.get("origin", "unknown")),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder in the library's format; raises WeightsError if it describes no BigGAN-deep."""
    path = folder / weights.CONFIG_NAME
    if not path.exists():
        raise WeightsError(
            f"{folder}: holds no {weights.CONFIG_NAME}, so its architecture is unknown; put it beside the weights"
        )
    config = weights.read_json(path)
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        raise WeightsError(f"{path}: has no `{missing[0]}`, so it describes no BigGAN-deep; restore the original file")
    for key, fits in _FITS.items():
        if key in config and not fits(config[key]):
            raise WeightsError(f"{path}: `{key}` has a value that describes no BigGAN-deep; restore the original file")
    size = 4 * 2 ** sum(bool(layer[0]) for layer in config["layers"])
    if size != config["output_dim"]:
        raise WeightsError(
            f"{path}: output_dim is {config['output_dim']}, but its layers give {size}; restore the file"
        )
    widths = [(16, 16), *((layer[1], layer[2]) for layer in config["layers"])]
    chained = all(a[1] == b[0] and b[1] <= b[0] for a, b in pairwise(widths)) and widths[-1][1] == 1
    if not chained:
        raise WeightsError(
            f"{path}: its layers do not lead from width 16 to 1, each starting where the one before ends; restore the file"
        )
    return config


def _labels(num_classes: int, about: Mapping[str, Any], name: str) -> LabelSet:
    names = about.get("labels")
    if names is None:
        return imagenet() if num_classes == 1000 else numbered_classes(num_classes)
    if not isinstance(names, list) or len(names) != num_classes or not all(isinstance(n, str) for n in names):
        raise WeightsError(f"{name}: labels in gansynth.json must be a list of {num_classes} names; correct it")
    return named_classes(names)
