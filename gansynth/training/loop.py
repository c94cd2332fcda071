"""The training loop that all architectures share. Every step draws from its own stream, so a run can go on anywhere."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import torch

from gansynth.errors import RecipeError
from gansynth.training.augment import alter, differentiable
from gansynth.training.images import Images
from gansynth.training.players import Players, unchanged
from gansynth.training.recipe import TrainingRecipe

_LONGEST_WARMUP = 1000
_MIX = 0x9E3779B97F4A7C15  # spreads steps over seeds


class Loop:
    """Trains players on images.

    Args:
        recipe, images, players: what to train, on what.
        device: torch device.
        fresh_discriminator: whether it has to learn what the generator, which is trained already, makes.

    Raises:
        RecipeError: the generator would never learn.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        images: Images,
        players: Players,
        device: str,
        fresh_discriminator: bool = False,
    ) -> None:
        self.recipe, self.images, self.players, self.device = recipe, images, players, torch.device(device)
        self.batch_size = min(recipe.batch_size, len(images.labels))
        self.steps_per_epoch = max(1, len(images.labels) // self.batch_size)
        self.steps: int = self.steps_per_epoch * recipe.value("epochs")
        self.fresh_discriminator = fresh_discriminator
        by_rule = min(self.steps_per_epoch, _LONGEST_WARMUP) if fresh_discriminator else 0
        self.warmup = by_rule if recipe.warmup == "auto" else recipe.warmup
        "Steps at the beginning in which the discriminator alone learns."
        if self.warmup >= self.steps:
            raise RecipeError(
                f"warmup: in its first {self.warmup:,} steps the discriminator alone learns, but the run has {self.steps:,}, so that "
                f"the generator would stay as it is; raise epochs, or set warmup to fewer steps"
            )
        half = recipe.precision == "bfloat16" or (recipe.precision == "auto" and self.device.type == "cuda")
        self.precision = "bfloat16" if half else "float32"
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

    def rate(self, number: int, steps: int | None = None) -> float:
        """Share of its learning rate that a step has: 1, then falling in a straight line over the last `decay` of the run.

        Args:
            number: of the step.
            steps: of the whole run, if not those of this one.
        """
        total = steps or self.steps
        falling = self.recipe.decay * total
        return min(1.0, (total - number) / falling) if falling else 1.0

    def agrees_with(self, epochs: int, done: int) -> bool:
        """Whether the first `done` steps of a run of that many epochs had the learning rates that they have in this one."""
        steps = epochs * self.steps_per_epoch
        return steps in (0, self.steps) or not done or self.rate(done - 1, steps) == self.rate(done - 1) == 1

    def _set_rates(self, number: int) -> None:
        rates = (self.recipe.value("learning_rate"), self.recipe.value("discriminator_learning_rate"))
        for optimizer, rate in zip(self.players.optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.rate(number)

    def step(self, number: int) -> torch.Tensor:
        """One step of both players, or of the discriminator alone; their losses, float32 [2], on the device."""
        players, recipe, random = self.players, self.recipe, self.random(number)
        alone = number < self.warmup
        real, classes = self.batch(number)
        real = alter(real, random, recipe.flip, recipe.crop, recipe.rotate)
        z = players.draw(len(real), random).to(self.device, non_blocking=True)
        with self._autocast, unchanged(players.generator) if alone else nullcontext():
            fake = players.generate(players.generator, z, classes)
        self._set_rates(number)
        loss_d, scores = self._teach_discriminator(real, fake.detach().float(), classes, random)
        if alone:
            return torch.stack([loss_d, players.generator_loss(scores)])
        loss_g = self._teach_generator(fake.float(), classes, random)
        players.average(number)
        return torch.stack([loss_d, loss_g])

    def _teach_discriminator(
        self, real: torch.Tensor, fake: torch.Tensor, classes: torch.Tensor, random: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A step of the discriminator; its loss, and what it thought of the generated images."""
        players, optimizer = self.players, self.players.optimizers[1]
        players.discriminator.requires_grad_(True)
        with self._autocast:
            scores = [
                players.judge(differentiable(images, random, self.recipe.augment), classes).float()
                for images in (real, fake)
            ]
            loss = players.discriminator_loss(*scores)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach(), scores[1].detach()

    def _teach_generator(self, fake: torch.Tensor, classes: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """A step of the generator; its loss."""
        players, optimizer = self.players, self.players.optimizers[0]
        players.discriminator.requires_grad_(False)
        with self._autocast:
            scores = players.judge(differentiable(fake, random, self.recipe.augment), classes)
            loss = players.generator_loss(scores.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()
