"""Alterations of images on their way to the discriminator, by random numbers that the caller hands in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F


def alter(images: torch.Tensor, random: torch.Generator, flip: bool, crop: float, rotate: float) -> torch.Tensor:
    """Real images, altered as a photographer might have: the generator learns these alterations too.

    Args:
        images: float32 [n, 3, h, w].
        random: on the CPU.
        flip: mirror half of them.
        crop: zoom in by up to this share of the side, anywhere.
        rotate: by up to so many degrees to either side.
    """
    count = len(images)
    if not (flip or crop or rotate):
        return images
    mirrored = torch.where(torch.rand(count, generator=random) < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    scale = 1 - crop * torch.rand(count, generator=random)
    shift = (2 * torch.rand(count, 2, generator=random) - 1) * (1 - scale)[:, None]
    angle = math.radians(rotate) * (2 * torch.rand(count, generator=random) - 1)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack(
        [torch.stack([cos * mirrored, -sin, shift[:, 0]], 1), torch.stack([sin * mirrored, cos, shift[:, 1]], 1)], 1
    )
    if not (crop or rotate):  # exact, and much cheaper than resampling
        return torch.where((mirrored < 0).to(images.device)[:, None, None, None], images.flip(3), images)
    grid = F.affine_grid(rows.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def differentiable(images: torch.Tensor, random: torch.Generator, policy: Sequence[str]) -> torch.Tensor:
    """Real and generated images, altered alike before they are judged (DiffAugment, Zhao et al., 2020, arXiv:2006.10738).

    The discriminator never sees an unaltered image, so it cannot learn a small set of them by heart; the generator does not
    learn the alterations.

    Args:
        images: float32 [n, 3, h, w] in [-1, 1].
        random: on the CPU.
        policy: out of color, translation (by up to an eighth of the side) and cutout (a square of half the side).
    """
    for name in policy:
        images = {"color": _color, "translation": _translation, "cutout": _cutout}[name](images, random)
    return images


def _color(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, generator=random).to(images.device)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.as_tensor(mean + (images - mean) * (0.5 + contrast))


def _translation(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    side = images.shape[2]
    reach = max(1, side // 8)
    moves = torch.randint(-reach, reach + 1, (2, len(images)), generator=random)
    padded = F.pad(images, [reach] * 4)
    positions = torch.arange(side)
    rows = (positions[None] + reach + moves[0][:, None]).to(images.device)
    columns = (positions[None] + reach + moves[1][:, None]).to(images.device)
    number = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    side = images.shape[2]
    half = side // 2
    corner = torch.randint(-(half // 2), side - half // 2, (2, len(images)), generator=random)
    positions = torch.arange(side)[None]
    inside = [(positions >= start[:, None]) & (positions < start[:, None] + half) for start in corner]
    hole = (inside[0][:, :, None] & inside[1][:, None, :]).to(images.device)
    return torch.as_tensor(images * ~hole[:, None])
