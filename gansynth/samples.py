"""samples.jpg at a dataset's root: a small contact sheet of stored images, which the card shows.

It is made of the first samples of some classes and truncations, at most 100, read by ranges from few shards, so that a
dataset of any size takes the same time. The same shards give the same bytes in the same environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from gansynth import encode, manifest, provenance
from gansynth.drawing import Image, Sheet
from gansynth.errors import StoreDamaged
from gansynth.resolve import ResolvedRecipe
from gansynth.store import Store

FILE = "samples.jpg"
_ROWS, _COLUMNS = 10, 10
_LARGEST_GROUPS = 5  # truncations beside each other, so that each has two images or more
_CELL = 96  # pixels; a hundred photographs of that size take about 300 kB
_QUALITY = 85
_SHARDS_READ = 20  # enough to meet every class and truncation that is shown, in most datasets
_READERS = 8  # images are read in parallel: on object stores each takes a round trip
_COLUMNS_READ = (
    *("key", "split", "shard", "class_index", "truncation", "status"),
    *("image_offset", "image_bytes", "image_sha256"),
)
Cell = tuple[int | None, float]  # class index and truncation
T = TypeVar("T")


def draw(store: Store, recipe: ResolvedRecipe, numbers: Mapping[str, set[int]]) -> bytes | None:
    """The picture, a JPEG file; None if no image is found to be shown.

    Args:
        store, recipe: of the dataset.
        numbers: of the shards that exist, by split.

    Raises:
        StoreError: a manifest or an image cannot be read, or is not as it was written.
    """
    grid, span = _grid(recipe)
    stems = [f"{split}/{number:06d}" for split in recipe.splits for number in sorted(numbers.get(split, ()))]
    found = _first_rows(store, stems[:_SHARDS_READ], [cell for row in grid for cell in row], span)
    rows = [row for cell_rows in found.values() for row in cell_rows]
    if not rows:
        return None
    with ThreadPoolExecutor(_READERS) as pool:
        images = dict(
            zip([row["key"] for row in rows], pool.map(lambda row: _thumbnail(store, row), rows), strict=True)
        )
    shown: list[list[Image | None]] = [
        [images[found[cell][i]["key"]] if i < len(found[cell]) else None for cell in row for i in range(span)]
        for row in grid
    ]
    names, groups = _names(recipe, grid)
    sheet = Sheet(names, groups, [""] * (span * len(groups)), shown, min(recipe.info.resolution, _CELL))
    picture = sheet.jpg(_QUALITY)
    return provenance.embed(picture, "jpg", None) if recipe.provenance else picture


def caption(recipe: ResolvedRecipe) -> str:
    """What the picture shows, a sentence."""
    shown = len(_truncations(recipe))
    truncations = (
        "truncation" if shown == len(recipe.truncations) else f"{shown} of {len(recipe.truncations)} truncations"
    )
    if len(recipe.classes) < 2:
        return f"Samples by {truncations}."
    classes = "class" if len(recipe.classes) <= _ROWS else f"class ({_ROWS} of {len(recipe.classes):,})"
    return f"Samples by {classes} and {truncations}."


def _truncations(recipe: ResolvedRecipe) -> list[float]:
    return _spread(recipe.truncations, _LARGEST_GROUPS if len(recipe.classes) > 1 else _ROWS)


def _grid(recipe: ResolvedRecipe) -> tuple[list[list[Cell]], int]:
    """Cells by row and column, and how many images each has: classes by truncations, or truncations alone."""
    truncations = _truncations(recipe)
    if len(recipe.classes) > 1:
        indices: list[int | None] = [label.index for label in _spread(recipe.classes, _ROWS)]
        return [[(index, t) for t in truncations] for index in indices], _COLUMNS // len(truncations)
    only = recipe.classes[0].index if recipe.classes else None
    return [[(only, t)] for t in truncations], _COLUMNS


def _names(recipe: ResolvedRecipe, grid: list[list[Cell]]) -> tuple[list[str], list[str]]:
    """Names of rows and of groups of columns."""
    if len(recipe.classes) > 1:
        names = {label.index: label.name for label in recipe.classes}
        return [names[row[0][0] or 0] for row in grid], [f"truncation {t:g}" for _, t in grid[0]]
    return [f"truncation {row[0][1]:g}" for row in grid], [recipe.classes[0].name if recipe.classes else ""]


def _spread(values: Sequence[T], count: int) -> list[T]:
    """At most so many of the values, from the first to the last in even steps."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def _first_rows(
    store: Store, stems: Sequence[str], cells: Sequence[Cell], count: int
) -> dict[Cell, list[dict[str, Any]]]:
    """The first `count` rows of each cell that have an image, in the order of the shards."""
    found: dict[Cell, list[dict[str, Any]]] = {cell: [] for cell in cells}
    for stem in stems:
        for row in manifest.read(store, f"{stem}.parquet", _COLUMNS_READ).to_pylist():
            rows = found.get((row["class_index"], row["truncation"]))
            if rows is not None and len(rows) < count and row["status"] == "ok":
                rows.append(row)
        if all(len(rows) == count for rows in found.values()):
            break
    return found


def _thumbnail(store: Store, row: Mapping[str, Any]) -> Image:
    """A stored image, shrunk if it is large, uint8 [h, w, 3]."""
    import PIL.Image

    data = store.read(f"{row['split']}/{row['shard']:06d}.tar", row["image_offset"], row["image_bytes"])
    if hashlib.sha256(data).hexdigest() != row["image_sha256"]:
        raise StoreDamaged(f"{row['key']}: its stored image holds other bytes than were written; run `gansynth repair`")
    image = encode.decode(data)
    if len(image) <= _CELL:
        return image
    return np.asarray(PIL.Image.fromarray(image).resize((_CELL, _CELL), PIL.Image.Resampling.LANCZOS))
