"""Starting from trained weights: those of a run, or of any folder or file of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import about, weights
from gansynth.training import checkpoint, folder
from gansynth.training.players import Players

_GENERATOR_CLASSES, _DISCRIMINATOR_CLASSES = "embeddings.weight", "embedding.parametrizations.weight.original"
# The dimension of these that counts the classes, of which another data set may have others.
_OF_CLASSES = {_GENERATOR_CLASSES: 1, _DISCRIMINATOR_CLASSES: 0}
_DERIVED = "embedding.parametrizations.weight.0."  # what spectral norm finds again from any start

Pairs = list[tuple[int, int]]
"Numbers of a class there and here."


def start_from(path: Path, players: Players, classes: Sequence[str] = ()) -> bool:
    """Put trained weights into fresh players.

    A run's folder gives both players; weights alone give the generator, which then meets a discriminator that knows nothing
    and would mislead it, so that the discriminator has to learn first (`warmup`). A class takes over what belongs to the class
    of its name, and stays fresh if there is none; where one side has no names, equally many classes are taken to be the same.

    Args:
        path: folder of a run or of weights, or a file of weights.
        players: fresh ones.
        classes: names of theirs; empty if they have none.

    Returns:
        whether the discriminator is still fresh.

    Raises:
        RecipeError: there is nothing.
        WeightsError: weights of another architecture or size.
    """
    if not path.exists():
        raise RecipeError(f"init: there is no {path}; give the folder of a run, or of weights")
    if (found := checkpoint.read(path)) is not None:
        networks = found["networks"]
        generator = networks.get("averaged", networks["generator"])
    else:
        networks, generator = {}, weights.read_tensors(weights.weights_file(path))
    pairs = _same_classes(path, players, generator, classes)
    if networks:
        _fill(players.discriminator, networks["discriminator"], path, pairs)
    _fill(players.generator, generator, path, pairs)
    if players.averaged is not players.generator:
        players.averaged.load_state_dict(players.generator.state_dict())
    return found is None


def _same_classes(path: Path, players: Players, generator: Mapping[str, torch.Tensor], classes: Sequence[str]) -> Pairs:
    own = players.generator.state_dict()
    if _GENERATOR_CLASSES not in own or _GENERATOR_CLASSES not in generator:
        return []
    count, before = own[_GENERATOR_CLASSES].shape[-1], generator[_GENERATOR_CLASSES].shape[-1]
    names = _names(path if path.is_dir() else path.parent)
    if not classes or len(names) != before:
        return [(number, number) for number in range(count)] if count == before else []
    return [(names.index(name), number) for number, name in enumerate(classes) if name in names]


def _names(place: Path) -> Sequence[Any]:
    """Of the classes of weights, as they say themselves, or the data of the run; none if neither does."""
    found = about.read(place).get("labels") or list(folder.seen(place).get("classes", ()))
    return found if isinstance(found, list) else []


def _fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path, pairs: Pairs) -> None:
    own = network.state_dict()
    others = [
        name
        for name, tensor in own.items()
        if (name not in tensors or tensors[name].shape != tensor.shape)
        and not name.startswith((*_OF_CLASSES, _DERIVED))
    ]
    if others or set(tensors) - set(own):
        name = [*others, *sorted(set(tensors) - set(own))][0]
        seen = list(tensors[name].shape) if name in tensors else "no such tensor"
        wanted = list(own[name].shape) if name in own else "none"
        raise WeightsError(
            f"init: {path} does not fit this recipe's {type(network).__name__.lower()}: {name} is {seen} there and {wanted} here; "
            f"give architecture, resolution, width, discriminator_width and z_dim the values that it was trained with"
        )
    fitting = {
        name: tensor for name, tensor in tensors.items() if tensor.shape == own[name].shape and name not in _OF_CLASSES
    }
    for name, dimension in _OF_CLASSES.items():
        for before, now in pairs if name in tensors else ():
            own[name].select(dimension, now).copy_(tensors[name].select(dimension, before))
    network.load_state_dict({**own, **fitting})
