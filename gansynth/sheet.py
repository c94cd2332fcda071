"""Contact sheets: classes down, truncations and seeds across."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gansynth import encode, manifest
from gansynth.dataset import Dataset
from gansynth.drawing import Image, Sheet
from gansynth.generators.protocol import Generator
from gansynth.lineage import Lineage
from gansynth.plan import Rows
from gansynth.resolve import ResolvedRecipe
from gansynth.sampling import draw_latents, reproducible, sample_rows
from gansynth.show import find_row, stored_image

_SHARDS_READ = 20  # enough to meet every class and truncation of most recipes


def preview(
    recipe: ResolvedRecipe,
    generator: Generator,
    classes: int,
    seeds: int,
    on_images: Callable[[int], None] = lambda count: None,
) -> Sheet:
    """A sheet of the recipe's first classes and seeds, rendered now, with the pixels that the dataset would hold.

    Of derived samples it shows one parent, or pair, of each class, and what is derived from it.

    Args:
        recipe, generator: what to render, with what.
        classes, seeds: how many of them at most.
        on_images: called with the number of images after each batch.
    """
    if recipe.derivation:
        return _families(recipe, generator, classes, seeds, on_images)
    class_count = min(classes, max(1, len(recipe.classes)))
    chosen = [seed for _, seed in zip(range(seeds), (seed for part in recipe.parts for seed in part), strict=False)]
    grid = np.indices((class_count, len(recipe.truncations), len(chosen))).reshape(3, -1)
    rows = Rows(seeds=np.array(chosen, np.int64)[grid[2]], classes=grid[0], truncations=grid[1])
    images = _rendered(recipe, generator, rows, on_images)
    across = len(recipe.truncations) * len(chosen)
    return Sheet(
        rows=_class_names(recipe, class_count),
        groups=_groups(recipe),
        columns=[f"{seed}" for seed in chosen] * len(recipe.truncations),
        images=[images[i : i + across] for i in range(0, len(images), across)],
        cell=recipe.info.resolution,
    )


def _families(
    recipe: ResolvedRecipe, generator: Generator, classes: int, samples: int, on_images: Callable[[int], None]
) -> Sheet:
    """A row for each class: a stored sample and its variations, or two with what lies between them."""
    lineage, derivation = Lineage(recipe), recipe.derivation
    heading = f"sigma {derivation.sigma:g}" if derivation and derivation.sigma else "in between"
    names = {position: label.name for position, label in enumerate(recipe.classes)}
    rows, images, columns = [], [], [""]
    for family in lineage.families(classes, samples):
        first, *others = (_decoded(lineage.source, key) for key in family.parents)
        images.append([first, *_rendered(recipe, generator, family.rows, on_images), *others])
        rows.append(names.get(int(family.rows.classes[0]), recipe.name))
        columns = ["parent", *(f"{number + 1}" for number in family.numbers), *("parent" for _ in others)]
    return Sheet(rows, [heading], columns, images, recipe.info.resolution)


def _decoded(dataset: Dataset, key: str) -> Image | None:
    data = stored_image(dataset, find_row(dataset, key))
    return encode.decode(data) if data else None


def _rendered(
    recipe: ResolvedRecipe, generator: Generator, rows: Rows, on_images: Callable[[int], None]
) -> list[Image]:
    """Images of the rows, encoded and decoded, uint8 [h, w, 3] each."""
    z, encoder = draw_latents(recipe, rows), encode.encoder(recipe.image)
    images: list[Image] = []
    with reproducible(recipe.threads):
        for first in range(0, len(rows), recipe.batch_size):
            batch = sample_rows(generator, recipe, rows, z, first).cpu().numpy()
            images += [encode.decode(encoder(image)) for image in batch]
            on_images(len(batch))
    return images


def stored(dataset: Dataset, classes: int, samples: int) -> Sheet:
    """A sheet of images that a dataset holds: for each of its first classes, some samples of each truncation."""
    recipe = dataset.record.recipe
    class_count = min(classes, max(1, len(recipe.classes)))
    wanted: list[int | None] = [c.index for c in recipe.classes[:class_count]] or [None]
    cells: dict[tuple[int | None, float], list[Image]] = {(c, t): [] for c in wanted for t in recipe.truncations}
    for table in _manifests(dataset):
        for row in table:
            cell = cells.get((row["class_index"], row["truncation"]))
            if cell is not None and len(cell) < samples and (data := stored_image(dataset, row)):
                cell.append(encode.decode(data))
        if all(len(cell) == samples for cell in cells.values()):
            break
    images = [[image for t in recipe.truncations for image in _padded(cells[c, t], samples)] for c in wanted]
    return Sheet(
        rows=_class_names(recipe, class_count),
        groups=_groups(recipe),
        columns=[""] * (samples * len(recipe.truncations)),
        images=images,
        cell=recipe.info.resolution,
    )


def _manifests(dataset: Dataset) -> Iterator[list[dict[str, Any]]]:
    columns = ["split", "shard", "class_index", "truncation", "status", "image_offset", "image_bytes"]
    stems = [f"{split}/{n:06d}" for split, numbers in dataset.done().items() for n in sorted(numbers)]
    for stem in stems[:_SHARDS_READ]:
        yield manifest.decode(dataset.store.read(f"{stem}.parquet"), columns).to_pylist()


def _padded(images: list[Image], count: int) -> list[Image | None]:
    return [*images, *[None] * (count - len(images))]


def _class_names(recipe: ResolvedRecipe, count: int) -> list[str]:
    return [label.name for label in recipe.classes[:count]] or [recipe.name]


def _groups(recipe: ResolvedRecipe) -> list[str]:
    return [f"truncation {value:g}" for value in recipe.truncations]
