"""Rows of a plan -> pixels: one batch at a time, padded to the recipe's batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from gansynth import latents
from gansynth.errors import RenderError
from gansynth.generators.protocol import Generator, StyleGenerator
from gansynth.plan import Rows
from gansynth.resolve import ResolvedRecipe

if TYPE_CHECKING:
    import torch


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Settings under which the same batch gives the same bits: no kernel chosen by timing, no TF32, fixed threads.

    Args:
        threads: torch threads for work on the CPU; their number changes bits.
    """
    import torch

    backends, before = torch.backends, torch.get_num_threads()
    flags = (backends.cudnn.benchmark, backends.cudnn.deterministic)
    tf32 = (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)
    torch.set_num_threads(threads)
    backends.cudnn.benchmark, backends.cudnn.deterministic = False, True
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = False, False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        backends.cudnn.benchmark, backends.cudnn.deterministic = flags
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = tf32


def draw_latents(recipe: ResolvedRecipe, rows: Rows) -> npt.NDArray[np.float32]:
    """Latents of the rows, float32 [n, z_dim]."""
    if rows.origins:
        return rows.origins.z
    truncations = np.array(recipe.truncations, np.float64)[rows.truncations]
    return latents.draw(recipe.latent, rows.seeds.tolist(), recipe.info.z_dim, truncations)


def sample_rows(
    generator: Generator, recipe: ResolvedRecipe, rows: Rows, z: npt.NDArray[np.float32], first: int
) -> torch.Tensor:
    """Render one batch of consecutive rows, padded to the recipe's batch size, since that size decides bits.

    Args:
        generator, recipe, rows, z: what to render, with what.
        first: first row of the batch.

    Returns:
        uint8 [n, h, w, 3] on the generator's device, n <= batch_size. On a GPU the work is queued, not done.

    Raises:
        RenderError: the generator fails, or memory does not suffice.
    """
    import torch

    size = recipe.batch_size
    index = _batch_index(recipe, rows, first)
    derived_in_w = rows.origins is not None and rows.origins.w is not None
    arguments = (
        _styles(generator, recipe, rows, index) if derived_in_w else torch.from_numpy(z[index]),
        _class_indices(recipe, rows, index),
        torch.from_numpy(np.array(recipe.truncations, np.float32)[rows.truncations[index]]),
        torch.from_numpy(rows.seeds[index]),
    )

    def sample(count: int) -> torch.Tensor:
        render = cast(StyleGenerator, generator).sample_styles if derived_in_w else generator.sample
        return render(*(values[:count] for values in arguments))

    try:
        images = sample(size)
    except torch.OutOfMemoryError:
        images = None
    if images is None:  # no longer handling the error, which would keep its tensors alive
        raise RenderError(_too_large(sample, size))
    shape = (size, recipe.info.resolution, recipe.info.resolution, 3)
    if tuple(images.shape) != shape or images.dtype != torch.uint8:
        raise RenderError(
            f"the generator gave {images.dtype} {list(images.shape)}, where uint8 {list(shape)} is agreed; mend the generator"
        )
    return images[: len(rows) - first]


def style_rows(
    generator: StyleGenerator, recipe: ResolvedRecipe, rows: Rows, z: npt.NDArray[np.float32], first: int
) -> torch.Tensor:
    """Styles of the batch that `sample_rows` renders, before truncation; arguments as there.

    Returns:
        float32 [n, w_dim] on the generator's device.
    """
    import torch

    index = _batch_index(recipe, rows, first)
    if rows.origins is not None and rows.origins.w is not None:
        return _styles(generator, recipe, rows, index)[: len(rows) - first]
    return generator.styles(torch.from_numpy(z[index]), _class_indices(recipe, rows, index))[: len(rows) - first]


def _styles(generator: Generator, recipe: ResolvedRecipe, rows: Rows, index: npt.NDArray[np.int64]) -> torch.Tensor:
    """Styles of rows that are derived in w: on the straight line towards those of other latents."""
    import torch

    origins = rows.origins
    assert origins is not None and origins.w is not None
    w = torch.from_numpy(origins.w[index])
    if origins.noise is None:
        return w
    classes = _class_indices(recipe, rows, index)
    towards = cast(StyleGenerator, generator).styles(torch.from_numpy(origins.noise[index]), classes)
    return torch.lerp(w.to(towards.device), towards, origins.sigma)


def _batch_index(recipe: ResolvedRecipe, rows: Rows, first: int) -> npt.NDArray[np.int64]:
    """Which rows a batch is made of; the last row fills it up."""
    return np.minimum(np.arange(first, first + recipe.batch_size), len(rows) - 1)


def _class_indices(recipe: ResolvedRecipe, rows: Rows, index: npt.NDArray[np.int64]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.array([c.index for c in recipe.classes] or [0], np.int64)[rows.classes[index]])


def _too_large(sample: Callable[[int], Any], size: int) -> str:
    """Message for a batch that does not fit, naming one that does."""
    import torch

    fits = size // 2
    while fits:
        try:
            torch.cuda.empty_cache()
            sample(fits)
            return f"a batch of {size} does not fit into the device's memory; set batch_size: {fits}, which does"
        except torch.OutOfMemoryError:
            fits //= 2
    return f"a batch of {size} does not fit into the device's memory, nor does a single image; use a larger device"
