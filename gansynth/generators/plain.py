"""DCGAN and fully connected generators: what `gansynth train` makes, and state dicts with the tutorials' names of layers."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansynth.errors import RecipeError, RenderError, WeightsError
from gansynth.generators import about, weights
from gansynth.generators.protocol import Described
from gansynth.info import GeneratorInfo
from gansynth.labels import LabelSet
from gansynth.transfer import to_device

if TYPE_CHECKING:
    import torch

FAMILIES = ("dcgan", "mlp")
_FIRST = "main.0.weight"


def is_plain(path: Path) -> bool:
    """Whether a path looks like a folder of these families, or a file of weights that has no config.json beside it."""
    config = (path if path.is_dir() else path.parent) / weights.CONFIG_NAME
    if config.is_file():
        return weights.read_json(config).get("family") in FAMILIES
    return path.is_file()


def describe(path: Path, options: Mapping[str, Any]) -> GeneratorInfo:
    """Facts of a folder or a state dict, from the shapes of its tensors.

    Args:
        path: a folder with config.json and weights, or a file of weights (.pth, .pt, .bin, .safetensors).
        options: these generators take none.

    Raises:
        RecipeError: options were given.
        WeightsError: no such weights, or of another network.
    """
    if options:
        raise RecipeError(
            f"generator_options: saw `{next(iter(options))}`; DCGAN and fully connected generators take none"
        )
    family, settings = _settings(path)
    folder = path if path.is_dir() else path.parent
    given = about.read(folder) if path.is_dir() else {}
    return GeneratorInfo(
        name=str(path.resolve()),
        family=family,
        z_dim=settings["z_dim"],
        num_classes=0,
        resolution=settings["resolution"],
        labels=LabelSet(()),
        latents=("normal", "truncated_normal", "numpy_normal"),
        truncation_rule="one",
        **about.facts(given, folder),
    )


def details(path: Path) -> dict[str, object]:
    """For `gansynth models info`: architecture and parameters."""
    family, settings = _settings(path)
    shapes = weights.read_shapes(weights.weights_file(path))
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    fixed = ("running_mean", "running_var", "num_batches_tracked")
    return {
        "architecture": f"{'DCGAN' if family == 'dcgan' else 'fully connected'}: {shown}",
        "parameters": sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(fixed)),
        "file": f"{weights.weights_file(path).name}: {len(shapes)} tensors",
    }


def load(info: GeneratorInfo, path: Path, device: str) -> PlainGenerator:
    """Load the weights that `describe` described."""
    family, settings = _settings(path)
    file = weights.weights_file(path)
    tensors = weights.read_tensors(file)
    network = _module(family).Generator(**settings)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{file}: does not fit a generator of this family ({reason}); check the file") from None
    identity = weights.identity(tensors, {"family": family, **settings})
    return PlainGenerator(replace(info, weights_sha256=identity), network, device)


def _settings(path: Path) -> tuple[str, dict[str, Any]]:
    """Family and the arguments of its network, from the shapes of the tensors."""
    file = weights.weights_file(path)
    shapes = weights.read_shapes(file)
    if _FIRST not in shapes:
        raise WeightsError(
            f"{file}: holds no {_FIRST} as DCGAN and fully connected generators do; put the config.json of its family into "
            f"{file.parent}, or rename its tensors"
        )
    family = "mlp" if len(shapes[_FIRST]) == 2 else "dcgan"
    try:
        return family, _module(family).settings_of(shapes)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}; check the file") from None


def _module(family: str) -> Any:
    return importlib.import_module(f"gansynth.networks.{family}")  # imports torch


class PlainGenerator(Described):
    """A DCGAN or fully connected generator ready to render; the contract is `protocol.Generator`."""

    def __init__(self, info: GeneratorInfo, network: Any, device: str) -> None:
        import torch

        super().__init__(info)
        self.device = torch.device(device)
        self._network = network.eval().to(self.device)

    def sample(
        self,
        z: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            images = self._network(to_device(z, self.device))
            finite = torch.isfinite(images).flatten(1).all(dim=1)
            if self.device.type == "cpu" and not finite.all():
                raise RenderError("the network's output is not finite, so its weights are unusable; check the weights")
            images = torch.where(finite[:, None, None, None], images, -1.0)  # on a GPU, see protocol.py
            pixels = (images * 127.5 + 128).clamp_(0, 255).to(torch.uint8)
            return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
