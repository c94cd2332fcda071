"""Pictures and distances of a generator while it is trained, from latents that stay the same from first to last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gansynth.quality.features import Extractor
from gansynth.quality.frechet import frechet_distance
from gansynth.training import pictures
from gansynth.training.images import Images
from gansynth.training.players import Players
from gansynth.training.recipe import TrainingRecipe

Pixels = npt.NDArray[np.uint8]
Render = Callable[[torch.Tensor, torch.Tensor], Pixels]
_AT_ONCE = 100
_GRID_SEED, _METRIC_SEED = 1, 2


class Gallery:
    """Draws and measures.

    Args:
        recipe, images: what is trained, on what.
        players: being trained; never changed here.
        extractor: what distances are measured on, None for no distances.

    Raises:
        InputError: the extractor cannot take images of this size.
    """

    def __init__(self, recipe: TrainingRecipe, images: Images, players: Players, extractor: Extractor | None) -> None:
        # Unconditional generators have no rows to name.
        self.classes = tuple(images.summary.classes) if recipe.architecture == "biggan" else ()
        self._players, self._images = players, images
        rows = pictures.rows_of_grid(len(self.classes))
        self._grid_classes = torch.from_numpy(np.repeat(rows, pictures.ACROSS))
        self._grid_z = players.draw(len(self._grid_classes), torch.Generator().manual_seed(_GRID_SEED))
        count = min(recipe.metric_images, len(images.labels))
        self._chosen = np.sort(np.random.default_rng(_METRIC_SEED).permutation(len(images.labels))[:count])
        self.metric = extractor.name if extractor else "none"
        self.measure = f"{extractor.identity}, {count} images" if extractor else "none"
        "What figures must share to be compared."
        self._extractor = extractor
        if extractor:
            self._real = extractor.features(np.ascontiguousarray(images.pixels[self._chosen]))

    def render(self, z: torch.Tensor, classes: torch.Tensor) -> Pixels:
        """Images of the generator as it is now, uint8 [n, h, w, 3]."""
        network, players = self._players.still(), self._players
        device = next(network.parameters()).device
        parts = []
        with torch.no_grad():
            for start in range(0, len(z), _AT_ONCE):
                batch = (t[start : start + _AT_ONCE].to(device) for t in (z, classes))
                parts.append(as_bytes(players.generate(network, *batch)))
        return np.concatenate(parts)

    def grid(self, title: str, render: Render | None = None) -> bytes:
        """A PNG of the images of latents that are always the same; ten of each class."""
        images = (render or self.render)(self._grid_z, self._grid_classes)
        return pictures.grid(images, self.classes[: pictures.ACROSS], title)

    def beside(self, render: Render, distance: float | None) -> bytes:
        """A PNG of real and generated images beside each other."""
        generated = render(self._grid_z, self._grid_classes)
        real = self._images.pixels[self._real_like(self._grid_classes.numpy())]
        told = "" if distance is None else f", distance {distance:.3g}"
        return pictures.beside(real, generated, self.classes[: pictures.ACROSS], told)

    def distance(self, render: Render | None = None, truncation: float = 1.0) -> float | None:
        """Frechet distance to the real images, with as many generated ones of the same classes; None if none is asked for.

        Args:
            render: what to measure; the generator as it is now if left out.
            truncation: scale of the latents.
        """
        if self._extractor is None:
            return None
        shuffled = np.random.default_rng(_METRIC_SEED).permutation(self._images.labels[self._chosen])
        z = self._players.draw(len(shuffled), torch.Generator().manual_seed(_METRIC_SEED)) * truncation
        images = (render or self.render)(z, torch.from_numpy(shuffled))
        return frechet_distance(self._real, self._extractor.features(images))

    def _real_like(self, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Real images in the classes of a grid; a class with too few repeats them."""
        if not self.classes:
            return _spread(self._chosen, len(classes))
        found = []
        for label in np.unique(classes):
            own = np.flatnonzero(self._images.labels == label)
            found.append(_spread(own if len(own) else np.zeros(1, np.int64), int((classes == label).sum())))
        return np.concatenate(found)


def _spread(indices: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """`count` of them in equal distances; some twice if there are not enough."""
    return indices[np.linspace(0, len(indices) - 1, count).astype(np.int64)]


def as_bytes(images: torch.Tensor) -> Pixels:
    """uint8 [n, h, w, 3] from float32 [n, 3, h, w] in [-1, 1]."""
    pixels = (images.float() * 127.5 + 128).clamp_(0, 255).to(torch.uint8)
    return np.asarray(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def save_grid(folder: Path, epoch: int, data: bytes) -> None:
    """Keep the grid of an epoch."""
    pictures.save(grid_path(folder, epoch), data)


def grid_path(folder: Path, epoch: int) -> Path:
    """Where the grid of an epoch is kept."""
    return folder / pictures.FOLDER / f"epoch-{epoch:05d}.png"
