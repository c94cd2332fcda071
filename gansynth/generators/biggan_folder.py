"""A folder of BigGAN-deep weights in the format of pytorch-pretrained-biggan, read without loading tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import about, weights
from gansynth.info import GeneratorInfo
from gansynth.labels import imagenet, numbered_classes

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
            gansynth.json gives labels, licence, origin and terms.
        name: name to show instead of the path.
        options: BigGAN takes none.

    Raises:
        WeightsError: no weights, no or broken configuration.
        RecipeError: options were given.
    """
    folder = path if path.is_dir() else path.parent
    given, config = about.read(folder), read_config(folder)
    info = describe_config(config, name or str(path.resolve()), options)
    weights.weights_file(path)
    labels = about.labels(given, config["num_classes"], folder) or info.labels
    return replace(info, labels=labels, **about.facts(given, folder))


def describe_config(config: Mapping[str, Any], name: str, options: Mapping[str, Any] | None = None) -> GeneratorInfo:
    """Facts of weights that are not at hand, from their configuration alone."""
    if options:
        raise RecipeError(f"generator_options: saw `{next(iter(options))}`; BigGAN generators take none")
    count = config["num_classes"]
    return GeneratorInfo(
        name=name,
        family="biggan",
        z_dim=config["z_dim"],
        num_classes=count,
        resolution=config["output_dim"],
        labels=imagenet() if count == 1000 else numbered_classes(count),
    )


def details(path: Path) -> dict[str, object]:
    """For `gansynth models info`: the architecture, and the number of parameters where the file tells without loading."""
    config, file = read_config(path if path.is_dir() else path.parent), weights.weights_file(path)
    shapes = weights.read_shapes(file)
    statistics = ("running_means", "running_vars", "weight_u", "weight_v")
    return {
        "architecture": (
            f"BigGAN-deep, {len(config['layers'])} blocks, channel width {config['channel_width']}, "
            f"{config.get('n_stats', 51)} rows of batch-norm statistics"
        ),
        "parameters": sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(statistics)),
        "file": f"{file.name}: {len(shapes)} tensors",
    }


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
