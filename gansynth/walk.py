"""Walks through a generator's latent space from seed to seed, and grids of mixed styles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from gansynth import latents
from gansynth.drawing import Image, Sheet
from gansynth.errors import InputError
from gansynth.generators.protocol import Generator, StyleGenerator
from gansynth.latents import lerp, slerp
from gansynth.resolve import ResolvedRecipe
from gansynth.sampling import reproducible

if TYPE_CHECKING:
    import torch

Space = Literal["z", "w"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Walk:
    """Which way to go.

    Args:
        seeds: stations, two at least.
        steps: frames from one station to the next, the first of the two included.
        space: z (on the sphere) or w (straight, StyleGAN only).
        loop: go back to the first station in the end, so that an animation has no seam.
    """

    seeds: tuple[int, ...]
    steps: int
    space: Space = "z"
    loop: bool = False

    def __post_init__(self) -> None:
        if len(self.seeds) < 2:
            raise InputError(f"--seeds: saw {len(self.seeds)}, but a walk goes from one to another; give two or more")
        if self.steps < 1:
            raise InputError(f"--steps: saw {self.steps}; it is a whole number from 1")

    @property
    def legs(self) -> list[tuple[int, int]]:
        """Pairs of stations, as positions in `seeds`."""
        count = len(self.seeds)
        return [(i, (i + 1) % count) for i in range(count if self.loop else count - 1)]

    def __len__(self) -> int:
        """Number of frames; the last station of a walk that is no loop is one too."""
        return len(self.legs) * self.steps + (not self.loop)

    def points(self, stations: Floats) -> Floats:
        """The point of every frame, float32 [frames, d].

        Args:
            stations: float32 [seeds, d].
        """
        between = slerp if self.space == "z" else lerp
        way = [between(stations[a], stations[b], i / self.steps) for a, b in self.legs for i in range(self.steps)]
        return np.stack(way if self.loop else [*way, stations[-1]])

    def strip(self, recipe: ResolvedRecipe, frames: Sequence[Image]) -> Sheet:
        """A row of images for each leg, from station to station; `frames` are those of this walk, in order."""
        rows = [
            [frames[(leg * self.steps + i) % len(frames)] for i in range(self.steps + 1)]
            for leg in range(len(self.legs))
        ]
        return Sheet(
            rows=[f"seed {self.seeds[a]} to {self.seeds[b]}" for a, b in self.legs],
            groups=[f"{'slerp in z' if self.space == 'z' else 'lerp in w'}, {_subject(recipe)}"],
            columns=[f"{i / self.steps:.2f}" for i in range(self.steps + 1)],
            images=rows,
            cell=frames[0].shape[0],
        )


def frames(recipe: ResolvedRecipe, generator: Generator, walk: Walk) -> Iterator[Image]:
    """The images of a walk, uint8 [h, w, 3] each; those of its stations are the ones that a dataset would hold.

    Args:
        recipe: the first of its classes and truncations are taken, and its settings.
        generator: loaded for the recipe.
        walk: where to go. Random noise, where there is any, is that of the first seed throughout.

    Raises:
        InputError: a walk in w, but the generator has no styles.
    """
    artist = _Artist(recipe, generator)
    if walk.space == "z":
        points = walk.points(artist.latents(walk.seeds))
        yield from artist.render(generator.sample, points, walk.seeds[0])
    else:
        styled = _styled(recipe, generator, "--space w")
        points = walk.points(artist.styles(styled, walk.seeds))
        yield from artist.render(styled.sample_styles, points, walk.seeds[0])


def mixed(
    recipe: ResolvedRecipe, generator: Generator, coarse: Sequence[int], fine: Sequence[int], layer: int | None = None
) -> Sheet:
    """A grid of style mixing (Karras et al., 2019, section 3.1): coarse styles by row, fine ones by column.

    Args:
        recipe, generator: as in `frames`.
        coarse: seeds whose styles the first layers take.
        fine: seeds whose styles all layers from `layer` on take.
        layer: number of layers that count as coarse; half of them if left out.

    Raises:
        InputError: the generator has no styles, or not so many layers.
    """
    styled = _styled(recipe, generator, "--mix")
    layer = styled.num_ws // 2 if layer is None else layer
    if not 0 < layer < styled.num_ws:
        raise InputError(
            f"--layer: saw {layer}; {recipe.info.name} has {styled.num_ws} layers, so it is from 1 to {styled.num_ws - 1}"
        )
    artist = _Artist(recipe, generator)
    w = artist.styles(styled, [*coarse, *fine])
    layers = np.repeat(w[:, None], styled.num_ws, axis=1)
    rows, columns = layers[: len(coarse)], layers[len(coarse) :]
    grid = (np.concatenate([row[:layer], column[layer:]]) for row in rows for column in columns)
    images = list(artist.render(styled.sample_styles, chain(layers, grid), coarse[0]))
    sources, crossed = images[: len(layers)], images[len(layers) :]
    across = len(fine)
    return Sheet(
        rows=["fine from", *(f"coarse from {seed}" for seed in coarse)],
        groups=[f"layers 0 to {layer - 1} by row, {layer} to {styled.num_ws - 1} by column, {_subject(recipe)}"],
        columns=["", *(f"{seed}" for seed in fine)],
        images=[
            [None, *sources[len(coarse) :]],
            *([sources[i], *crossed[i * across : (i + 1) * across]] for i in range(len(coarse))),
        ],
        cell=recipe.info.resolution,
    )


class _Artist:
    """Renders vectors in the recipe's class, truncation and batch size."""

    def __init__(self, recipe: ResolvedRecipe, generator: Generator) -> None:
        self._recipe, self._generator = recipe, generator
        self._class = recipe.classes[0].index if recipe.classes else 0

    def latents(self, seeds: Sequence[int]) -> Floats:
        """float32 [n, z_dim]."""
        truncations = np.full(len(seeds), self._recipe.truncations[0], np.float64)
        return latents.draw(self._recipe.latent, seeds, self._recipe.info.z_dim, truncations)

    def styles(self, styled: StyleGenerator, seeds: Sequence[int]) -> Floats:
        """float32 [n, w_dim], before truncation."""
        import torch

        z = torch.from_numpy(self.latents(seeds))
        with reproducible(self._recipe.threads):
            return np.asarray(styled.styles(z, torch.full([len(seeds)], self._class)).cpu().numpy())

    def render(self, sample: Callable[..., torch.Tensor], vectors: Iterable[Floats], seed: int) -> Iterator[Image]:
        """Images of the vectors, padded to whole batches as in a dataset."""
        import torch

        size = self._recipe.batch_size
        arguments = (
            torch.full([size], self._class),
            torch.full([size], self._recipe.truncations[0]),
            torch.full([size], seed),
        )
        remaining = iter(vectors)
        while batch := list(islice(remaining, size)):
            full = np.stack([*batch, *[batch[-1]] * (size - len(batch))])
            with reproducible(self._recipe.threads):
                images = sample(torch.from_numpy(full), *arguments)
            yield from images[: len(batch)].cpu().numpy()


def _subject(recipe: ResolvedRecipe) -> str:
    names = [label.name for label in recipe.classes[:1]]
    return ", ".join([*names, f"truncation {recipe.truncations[0]:g}"])


def _styled(recipe: ResolvedRecipe, generator: Generator, option: str) -> StyleGenerator:
    if not isinstance(generator, StyleGenerator):
        raise InputError(
            f"{option}: {recipe.info.name} ({recipe.info.family}) has no styles w; only StyleGAN has, so use z"
        )
    return generator
