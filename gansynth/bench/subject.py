"""What is measured: a generator as gansynth renders it, and the network of its library with the same weights."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansynth.bench import random_biggan
from gansynth.generators import describe, load_for, weights
from gansynth.info import GeneratorInfo
from gansynth.recipe import Recipe
from gansynth.resolve import ResolvedRecipe, resolve

if TYPE_CHECKING:
    import torch

    from gansynth.generators.protocol import Generator

_TRUNCATION = 0.5
_FAKE = {"resolution": 256, "z_dim": 128}


@dataclass(frozen=True)
class Subject:
    """A generator to measure.

    Args:
        name: as in a recipe, absolute for a path.
        weights: "random", or "its own".
        recipe: names it, with batch size, precision, threads and compile chosen.
        device: torch device.
        generator: gansynth's, loaded on the device.
        reference: the library's network on the device in evaluation mode; None if the family has no library.
        load_seconds: time that loading took, folding and its check included.
    """

    name: str
    weights: str
    recipe: ResolvedRecipe
    device: str
    generator: Generator
    reference: Any | None
    load_seconds: float

    def of_shard_size(self, samples: int) -> Subject:
        """The same with shards of so many samples."""
        return replace(self, recipe=replace(self.recipe, samples_per_shard=samples))

    def of_batch_size(self, size: int) -> Subject:
        """The same with another batch size."""
        return replace(self, recipe=replace(self.recipe, batch_size=size))

    def batch(self, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """z, classes and truncation of a batch as `Generator.sample` takes them, on the host."""
        import torch

        info, size = self.recipe.info, self.recipe.batch_size
        z = torch.randn(size, info.z_dim, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)
        classes = (torch.arange(size) + seed) % max(1, info.num_classes)
        return z * _TRUNCATION, classes, torch.full([size], self.recipe.truncations[0])

    def by_reference(self, seed: int = 0) -> torch.Tensor:
        """The library's images of a batch, float32 [n, 3, h, w] on the device; not waited for."""
        import torch

        if self.reference is None:
            raise ValueError(f"{self.name} has no library")
        z, classes, _ = self.batch(seed)
        one_hot = torch.nn.functional.one_hot(classes, self.recipe.info.num_classes).float()
        with torch.inference_mode():
            images = self.reference(z.to(self.device), one_hot.to(self.device), self.recipe.truncations[0])
        return torch.as_tensor(images)


@contextmanager
def prepared(
    name: str, device: str, *, with_reference: bool = True, allow_code: bool = False, **keys: Any
) -> Iterator[Subject]:
    """Load what is to be measured; weights that are not on this machine are replaced by random ones.

    Args:
        name: a generator as in a recipe.
        device: torch device.
        allow_code: permit `package.module:factory`.
        with_reference: load the library's network too, if there is one.
        keys: further keys of the recipe: batch_size, threads, precision, compile, samples_per_shard.

    Raises:
        RecipeError, WeightsError: no such generator, or keys that it does not take.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place, origin = name, "its own"
        if name in weights.KNOWN and weights.locate(name) is None:
            config = weights.KNOWN[name].config or {}
            place = str(random_biggan.save(random_biggan.random_model(config), config, Path(temporary)))
            origin = "random"
        info = describe(place, _FAKE if name == "fake" else {}, allow_code=allow_code)
        recipe = resolve(_recipe(info, keys), info, device.partition(":")[0])
        started = time.perf_counter()
        generator = load_for(recipe, device, allow_code=allow_code)
        seconds = time.perf_counter() - started
        yield Subject(
            name if origin == "random" else info.name,
            origin,
            recipe,
            device,
            generator,
            _reference(info, place, device) if with_reference else None,
            seconds,
        )


def _recipe(info: GeneratorInfo, keys: dict[str, Any]) -> Recipe:
    content: dict[str, Any] = {
        "name": "bench",
        "generator": info.name,
        "generator_options": info.options,
        "truncation": 1.0 if info.truncation_rule == "one" else _TRUNCATION,
        "seeds": "0-999999",
    }
    if info.num_classes:
        content["classes"] = list(range(min(4, info.num_classes)))
    return Recipe(**content, **keys)


def _reference(info: GeneratorInfo, place: str, device: str) -> Any | None:
    if info.family != "biggan":
        return None
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig

    path = weights.locate(place) if place in weights.KNOWN else Path(place)
    assert path is not None, "prepared() has seen to it"
    folder = path if path.is_dir() else path.parent
    model = BigGAN(BigGANConfig.from_dict(weights.read_json(folder / weights.CONFIG_NAME)))
    model.load_state_dict(weights.read_tensors(weights.weights_file(path)))
    return model.eval().to(device)
