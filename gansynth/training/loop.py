"""The training loop that all architectures share. Every step draws from its own stream, so a run can go on anywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from gansynth.training.augment import alter, differentiable
from gansynth.training.images import Images
from gansynth.training.players import Players
from gansynth.training.recipe import TrainingRecipe

_MIX = 0x9E3779B97F4A7C15  # spreads steps over seeds


class Loop:
    """Trains players on images.

    Args:
        recipe, images, players: what to train, on what.
        device: torch device.
    """

    def __init__(self, recipe: TrainingRecipe, images: Images, players: Players, device: str) -> None:
        self.recipe, self.images, self.players, self.device = recipe, images, players, torch.device(device)
        self.batch_size = min(recipe.batch_size, len(images.labels))
        self.steps_per_epoch = max(1, len(images.labels) // self.batch_size)
        self.steps = self.steps_per_epoch * recipe.value("epochs")
        half = recipe.precision == "bfloat16" or (recipe.precision == "auto" and self.device.type == "cuda")
        self._autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        self._channels_last = recipe.architecture != "mlp"
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

    def random(self, step: int) -> torch.Generator:
        """The stream of a step."""
        return torch.Generator().manual_seed((self.recipe.seed + 1) * _MIX + step & (2**63 - 1))

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Real images, float32 [n, 3, h, w] in [-1, 1], and their classes, int64 [n], on the device."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.images.labels))
            self._order = epoch, order
        index = np.sort(self._order[1][number * self.batch_size : (number + 1) * self.batch_size])
        pixels = torch.from_numpy(np.ascontiguousarray(self.images.pixels[index]))
        classes = torch.from_numpy(self.images.labels[index])
        if self.device.type == "cuda":
            pixels, classes = pixels.pin_memory(), classes.pin_memory()
        pixels, classes = (t.to(self.device, non_blocking=True) for t in (pixels, classes))
        images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        return images if self._channels_last else images.contiguous(), classes

    def rate(self, number: int) -> float:
        """Share of its learning rate that a step has: 1, then falling in a straight line over the last `decay` of the run."""
        falling = self.recipe.decay * self.steps
        return min(1.0, (self.steps - number) / falling) if falling else 1.0

    def _set_rates(self, number: int) -> None:
        rates = (self.recipe.value("learning_rate"), self.recipe.value("discriminator_learning_rate"))
        for optimizer, rate in zip(self.players.optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.rate(number)

    def step(self, number: int) -> torch.Tensor:
        """One step of both players; their losses, float32 [2], on the device."""
        players, recipe, random = self.players, self.recipe, self.random(number)
        real, classes = self.batch(number)
        real = alter(real, random, recipe.flip, recipe.crop, recipe.rotate)
        z = players.draw(len(real), random).to(self.device, non_blocking=True)
        with self._autocast:
            fake = players.generate(players.generator, z, classes)
        by_generator, by_discriminator = players.optimizers
        self._set_rates(number)
        players.discriminator.requires_grad_(True)
        with self._autocast:
            scores = [
                players.judge(differentiable(images, random, recipe.augment), classes).float()
                for images in (real, fake.detach().float())
            ]
            loss_d = players.discriminator_loss(*scores)
        by_discriminator.zero_grad(set_to_none=True)
        loss_d.backward()
        by_discriminator.step()
        players.discriminator.requires_grad_(False)
        with self._autocast:
            loss_g = players.generator_loss(
                players.judge(differentiable(fake.float(), random, recipe.augment), classes).float()
            )
        by_generator.zero_grad(set_to_none=True)
        loss_g.backward()
        by_generator.step()
        players.average(number)
        return torch.stack([loss_d.detach(), loss_g.detach()])
