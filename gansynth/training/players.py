"""Generator against discriminator: how each architecture is built, judged and stepped."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gansynth.training.recipe import TrainingRecipe

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class Players:
    """Both networks with their optimisers.

    Args:
        generator, discriminator: on the device.
        averaged: the generator's running average, or the generator itself if there is none.
        generate: (generator, z, classes) -> images in [-1, 1], float32 [n, 3, h, w].
        judge: (images, classes) -> scores [n].
        discriminator_loss: (scores of real, scores of generated) -> loss.
        generator_loss: scores of generated -> loss.
        draw: (count, random) -> z, float32 [count, z_dim].
        ema: decay of the average by step, 0 for none.
        optimizers: the generator's and the discriminator's.
        blank: a generator of the same shape, with any weights.
        batch_statistics: whether images on the way are normalised by their own batch, since the statistics that a trained
            generator uses are computed at the end.
    """

    generator: nn.Module
    discriminator: nn.Module
    averaged: nn.Module
    generate: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
    judge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    discriminator_loss: Loss
    generator_loss: Callable[[torch.Tensor], torch.Tensor]
    draw: Callable[[int, torch.Generator], torch.Tensor]
    ema: float
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
    blank: Callable[[], nn.Module]
    batch_statistics: bool = False

    def still(self) -> nn.Module:
        """The averaged generator as it is now, apart from the one that is trained, ready to render."""
        copied = self.blank()
        copied.load_state_dict(self.averaged.state_dict())
        copied.to(next(self.averaged.parameters()).device).requires_grad_(False)
        return copied.train(self.batch_statistics)

    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint keeps."""
        found = {"generator": self.generator, "discriminator": self.discriminator}
        return found if self.averaged is self.generator else {**found, "averaged": self.averaged}

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Move the running average on; at the beginning it follows faster."""
        if self.averaged is self.generator:
            return
        decay = min(self.ema, (1 + step) / (10 + step))
        mine, theirs = self.averaged.state_dict(), self.generator.state_dict()
        for name, value in theirs.items():
            if value.dtype.is_floating_point:
                mine[name].lerp_(value, 1 - decay)
            else:
                mine[name].copy_(value)


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Forward passes in training mode that leave a network as it is: without gradients, and with what they change on the way
    (running statistics, vectors of spectral norms) put back."""
    before = [buffer.clone() for buffer in network.buffers()]
    with torch.no_grad():
        yield
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)


def players(recipe: TrainingRecipe, num_classes: int, device: str) -> Players:
    """Fresh players of a recipe, with weights from its seed.

    Args:
        recipe: what to train.
        num_classes: of the data, 0 if it has none.
        device: torch device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        build = {"mlp": _mlp, "dcgan": _dcgan, "biggan": _biggan}[recipe.architecture]
        generator, discriminator, rules = build(recipe, num_classes)
    layout: Any = torch.channels_last if recipe.architecture != "mlp" else torch.contiguous_format
    for network in (generator, discriminator):
        network.to(device, torch.float32, memory_format=layout)  # type: ignore[call-overload]  # torch documents it
    ema = recipe.value("ema")
    rates = (recipe.value("learning_rate"), recipe.value("discriminator_learning_rate"))
    betas = tuple(recipe.value("betas"))
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=rate, betas=betas)
        for network, rate in zip((generator, discriminator), rates, strict=True)
    ]
    averaged = copy.deepcopy(generator).requires_grad_(False) if ema else generator
    return Players(
        generator=generator,
        discriminator=discriminator,
        averaged=averaged,
        ema=ema,
        optimizers=(optimizers[0], optimizers[1]),
        **rules(generator, discriminator),
    )


def _unconditional(z_dim: int, blank: Callable[[], nn.Module]) -> Callable[[nn.Module, nn.Module], dict[str, Any]]:
    """Binary cross-entropy on logits, and latents from the normal distribution (Goodfellow et al., 2014)."""

    def rules(generator: nn.Module, discriminator: nn.Module) -> dict[str, Any]:
        return {
            "generate": lambda network, z, classes: network(z),
            "judge": lambda images, classes: discriminator(images),
            "discriminator_loss": lambda real, fake: (
                F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
                + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
            ),
            "generator_loss": lambda fake: F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake)),
            "draw": lambda count, random: torch.randn(count, z_dim, generator=random),
            "blank": blank,
        }

    return rules


def _mlp(recipe: TrainingRecipe, num_classes: int) -> tuple[nn.Module, nn.Module, Any]:
    from gansynth.networks.mlp import Discriminator, Generator

    z_dim, width = recipe.value("z_dim"), recipe.value("width")
    generator = Generator(z_dim, recipe.resolution, _hidden(width))
    discriminator = Discriminator(recipe.resolution, _hidden(recipe.value("discriminator_width")))
    return generator, discriminator, _unconditional(z_dim, lambda: Generator(z_dim, recipe.resolution, _hidden(width)))


def _hidden(width: int) -> tuple[int, int, int]:
    return width, 2 * width, 4 * width


def _dcgan(recipe: TrainingRecipe, num_classes: int) -> tuple[nn.Module, nn.Module, Any]:
    from gansynth.networks.dcgan import Discriminator, Generator

    z_dim, width = recipe.value("z_dim"), recipe.value("width")
    generator = Generator(z_dim, recipe.resolution, width)
    discriminator = Discriminator(recipe.resolution, recipe.value("discriminator_width"))
    return generator, discriminator, _unconditional(z_dim, lambda: Generator(z_dim, recipe.resolution, width))


def _biggan(recipe: TrainingRecipe, num_classes: int) -> tuple[nn.Module, nn.Module, Any]:
    """Hinge loss (Lim and Ye, 2017, arXiv:1705.02894); latents as recipes draw them at truncation 1."""
    from gansynth.networks.biggan import Discriminator, config_of, trainable

    count, z_dim, width = max(1, num_classes), recipe.value("z_dim"), recipe.value("width")
    config = config_of(recipe.resolution, count, width, z_dim)
    generator = trainable(config)
    discriminator = Discriminator(recipe.resolution, count, recipe.value("discriminator_width"))

    def rules(generator: nn.Module, discriminator: nn.Module) -> dict[str, Any]:
        return {
            "generate": lambda network, z, classes: network(z, F.one_hot(classes, count).to(z.dtype), 1.0),
            "judge": discriminator,
            "discriminator_loss": lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
            "generator_loss": lambda fake: -fake.mean(),
            "draw": lambda n, random: truncated_normal(n, z_dim, random),
            "blank": lambda: trainable(config),
            "batch_statistics": True,
        }

    return generator, discriminator, rules


def truncated_normal(count: int, z_dim: int, random: torch.Generator) -> torch.Tensor:
    """Normal values cut off at +-2, float32 [count, z_dim], by their quantiles."""
    edge = 0.5 * (1 + torch.erf(torch.tensor(2 / 2**0.5, dtype=torch.float64)))
    uniform = torch.rand(count, z_dim, generator=random, dtype=torch.float64)
    return torch.as_tensor(torch.special.ndtri(1 - edge + uniform * (2 * edge - 1)).float())
