"""Generators by name or path. `describe` loads neither weights nor torch; `load_generator` does."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import biggan_folder, fake, plain, weights
from gansynth.generators.stylegan2 import family as stylegan2
from gansynth.info import GeneratorInfo
from gansynth.mirror import local_path
from gansynth.resolve import ResolvedRecipe

if TYPE_CHECKING:
    from gansynth.generators.protocol import Generator

__all__ = ["PRECISIONS", "describe", "details", "load_for", "load_generator"]

PRECISIONS = ("float32", "bfloat16", "float16")


def describe(name_or_path: str, options: Mapping[str, Any] | None = None, *, allow_code: bool = False) -> GeneratorInfo:
    """Facts of a generator: enough to validate a recipe and to plan.

    Args:
        name_or_path: a name of `gansynth models list`, a folder, file or URL of weights, or `package.module:factory`.
        options: the recipe's generator_options.
        allow_code: permit `package.module:factory`, which runs code.

    Raises:
        RecipeError: no such generator, or options that it does not take.
        WeightsError: a folder or file that describes no generator.
    """
    options = options or {}
    if name_or_path == "fake":
        return fake.describe(options)
    if name_or_path in weights.KNOWN:
        return _describe_known(name_or_path, options)
    if _is_code(name_or_path):
        custom = _run_factory(name_or_path, options, "cpu", "float32", allow_code)
        return _info_of(name_or_path, custom, options)
    path = local_path(name_or_path)
    if not path.exists():
        raise RecipeError(
            f"generator: saw {name_or_path!r}, which is neither a known name nor an existing path; "
            f"known are {', '.join(['fake', *weights.KNOWN])}"
        )
    if stylegan2.is_stylegan2(path):
        return stylegan2.describe(path, options)
    if plain.is_plain(path):
        return plain.describe(path, options)
    return biggan_folder.describe(path, options=options)


def details(name_or_path: str) -> dict[str, object]:
    """What `gansynth models info` shows besides: architecture, parameters, content of the file; loads no tensor if it can."""
    known = weights.KNOWN.get(name_or_path)
    path = weights.locate(name_or_path) if known else local_path(name_or_path)
    if name_or_path == "fake" or path is None or _is_code(name_or_path):
        return {"parameters": round(known.parameters * 1e6)} if known else {}
    if stylegan2.is_stylegan2(path):
        return stylegan2.details(path)
    return plain.details(path) if plain.is_plain(path) else biggan_folder.details(path)


def load_generator(
    name_or_path: str,
    device: str = "cpu",
    precision: str = "float32",
    options: Mapping[str, Any] | None = None,
    *,
    compile: bool = False,
    allow_code: bool = False,
) -> Generator:
    """A generator with its weights, in evaluation mode, ready to `sample`.

    Args:
        name_or_path, options, allow_code: as in `describe`.
        device: a torch device such as cpu or cuda:0.
        precision: float32, bfloat16 or float16.
        compile: put the network through torch.compile, for families that have one; the first batch then takes minutes.

    Raises:
        RecipeError, WeightsError: as `describe`; also weights that are missing, damaged or do not fit.
    """
    options = options or {}
    if precision not in PRECISIONS:
        raise RecipeError(f"precision: saw {precision!r}; use {', '.join(PRECISIONS)}")
    if _is_code(name_or_path):
        return _run_factory(name_or_path, options, device, precision, allow_code)
    info = describe(name_or_path, options)
    if info.family == "fake":
        return fake.FakeGenerator(info)
    if info.family == "stylegan2":
        return stylegan2.load(info, _path_of(name_or_path), device, precision)
    if info.family in plain.FAMILIES:
        return plain.load(info, _path_of(name_or_path), device)
    from gansynth.generators import biggan  # imports torch

    return biggan.load(info, _path_of(name_or_path), device, precision, compile)


def load_for(recipe: ResolvedRecipe, device: str, *, allow_code: bool = False) -> Generator:
    """The generator of a recipe, loaded as the recipe says; see `load_generator`."""
    info = recipe.info
    return load_generator(
        info.name, device, recipe.precision, info.options, compile=recipe.compile, allow_code=allow_code
    )


def _describe_known(name: str, options: Mapping[str, Any]) -> GeneratorInfo:
    known, folder = weights.KNOWN[name], weights.locate(name)
    if folder is not None:
        info = biggan_folder.describe(folder, name, options)
    else:
        info = biggan_folder.describe_config(known.config or {}, name, options)
    return replace(info, licence=known.licence, origin=known.origin, weights_sha256=known.weights_sha256)


def _path_of(name_or_path: str) -> Path:
    if name_or_path not in weights.KNOWN:
        return local_path(name_or_path)
    folder = weights.locate(name_or_path)
    if folder is None:
        raise WeightsError(
            f"generator: the weights of {name_or_path} are not on this machine; run `gansynth models pull {name_or_path}`, "
            f"or give the path of a folder that holds them"
        )
    return folder


def _is_code(name: str) -> bool:
    module, colon, factory = name.partition(":")
    return bool(colon) and factory.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _run_factory(name: str, options: Mapping[str, Any], device: str, precision: str, allow_code: bool) -> Generator:
    from gansynth.generators.protocol import Generator

    if not allow_code:
        raise RecipeError(f"generator: {name} would run code; pass --allow-code if you trust it")
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"generator: {name} cannot be imported ({error}); check the name and PYTHONPATH") from None
    try:
        generator = factory(**{"device": device, "precision": precision, **options})
    except TypeError as error:
        raise RecipeError(
            f"generator: {name} cannot be called with generator_options {dict(options)} ({error})"
        ) from error
    if not isinstance(generator, Generator):
        raise RecipeError(
            f"generator: {name} returned an object of type {type(generator).__name__} that lacks parts of the generator contract; "
            f"see gansynth/generators/protocol.py"
        )
    return generator


def _info_of(name: str, generator: Generator, options: Mapping[str, Any]) -> GeneratorInfo:
    return GeneratorInfo(
        name=name,
        family="custom",
        z_dim=generator.z_dim,
        num_classes=generator.num_classes,
        resolution=generator.resolution,
        labels=generator.labels,
        latents=("truncated_normal", "normal", "numpy_normal"),
        truncation_rule="psi",
        options=dict(options),
        weights_sha256=generator.weights_sha256,
        licence=generator.licence,
        w_dim=getattr(generator, "w_dim", 0),
    )
