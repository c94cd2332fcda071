"""Starting from trained weights: those of a run, or of any folder or file of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from gansynth.errors import RecipeError, WeightsError
from gansynth.generators import weights
from gansynth.training import checkpoint
from gansynth.training.players import Players

# Tensors that belong to the classes, of which another data set may have others.
_OF_CLASSES = ("embeddings.weight", "embedding.")


def start_from(path: Path, players: Players) -> bool:
    """Put trained weights into fresh players.

    A run's folder gives both players; weights alone give the generator, which then meets a discriminator that knows nothing
    and would mislead it, so that the discriminator has to learn first (`warmup`). Where the classes are others than before, what belongs to the classes stays fresh.

    Args:
        path: folder of a run or of weights, or a file of weights.
        players: fresh ones.

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
        _fill(players.discriminator, networks["discriminator"], path)
    else:
        generator = weights.read_tensors(weights.weights_file(path))
    _fill(players.generator, generator, path)
    if players.averaged is not players.generator:
        players.averaged.load_state_dict(players.generator.state_dict())
    return found is None


def _fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    own = network.state_dict()
    others = [
        name
        for name, tensor in own.items()
        if (name not in tensors or tensors[name].shape != tensor.shape) and not name.startswith(_OF_CLASSES)
    ]
    if others or set(tensors) - set(own):
        name = [*others, *sorted(set(tensors) - set(own))][0]
        seen = list(tensors[name].shape) if name in tensors else "no such tensor"
        wanted = list(own[name].shape) if name in own else "none"
        raise WeightsError(
            f"init: {path} does not fit this recipe's {type(network).__name__.lower()}: {name} is {seen} there and {wanted} here; "
            f"give architecture, resolution, width, discriminator_width and z_dim the values that it was trained with"
        )
    fitting = {name: tensor for name, tensor in tensors.items() if tensor.shape == own[name].shape}
    network.load_state_dict({**own, **fitting})
