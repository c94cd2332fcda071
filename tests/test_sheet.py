"""Contact sheets show the pixels that a dataset holds or will hold, in a picture that opens."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFont
import pyarrow.parquet as pq
import pytest
from conftest import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st

import gansynth
from gansynth import encode, sheet
from gansynth.dataset import Dataset
from gansynth.drawing import Sheet
from gansynth.show import stored_image

FAKE: dict[str, Any] = {"name": "tints", "generator": "fake", "seeds": "0-29", "samples_per_shard": 50}


def resolved(**changes: Any) -> Any:
    return gansynth.plan(gansynth.Recipe(**{**SMALL, **changes})).recipe


def preview(class_count: int, seed_count: int, **changes: Any) -> Sheet:
    recipe = resolved(**changes)
    generator = gansynth.load_generator(recipe.info.name, options=recipe.info.options)
    return sheet.preview(recipe, generator, class_count, seed_count)


def stored_images(folder: Path) -> dict[tuple[str, float, int], np.ndarray[Any, Any]]:
    """Decoded images of a dataset by class, truncation and seed."""
    dataset = Dataset.open(str(folder))
    images = {}
    for path in folder.rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            images[row["class_name"], row["truncation"], row["seed"]] = encode.decode(stored_image(dataset, row) or b"")
    return images


def opened(drawn: Sheet) -> PIL.Image.Image:
    with PIL.Image.open(io.BytesIO(drawn.png())) as image:
        image.load()
        return image


# From a recipe


def test_a_preview_shows_the_pixels_that_the_dataset_holds(dataset: Path) -> None:
    stored = stored_images(dataset)
    drawn = preview(3, 4)
    for name, row in zip(drawn.rows, drawn.images, strict=True):
        cells = [(t, seed) for t in SMALL["truncation"] for seed in range(4)]
        for (truncation, seed), image in zip(cells, row, strict=True):
            assert np.array_equal(image, stored[name, truncation, seed])


def test_a_preview_names_classes_down_and_truncations_and_seeds_across() -> None:
    drawn = preview(2, 2, seeds="7,3,5")
    assert drawn.rows == ["Sneaker", "Ankle boot"]
    assert drawn.groups == ["truncation 0.4", "truncation 1"]
    assert drawn.columns == ["7", "3", "7", "3"]
    assert drawn.cell == 32


def test_a_preview_has_no_more_than_the_recipe() -> None:
    drawn = preview(99, 99, seeds="0,1,2,3", splits={"train": 1.0})
    assert len(drawn.rows) == 3
    assert [len(row) for row in drawn.images] == [8, 8, 8]


def test_a_preview_takes_seeds_of_several_parts() -> None:
    drawn = preview(1, 3, seeds=["5", "9-10"], splits={"train": 1.0}, truncation=0.5)
    assert drawn.groups == ["truncation 0.5"]
    assert drawn.columns == ["5", "9", "10"]


def test_a_preview_of_an_unconditional_generator_has_one_row_with_the_recipes_name() -> None:
    recipe = gansynth.plan(gansynth.Recipe(**FAKE, generator_options={"num_classes": 0})).recipe
    generator = gansynth.load_generator("fake", options=recipe.info.options)
    drawn = sheet.preview(recipe, generator, 5, 3)
    assert drawn.rows == ["tints"]
    assert [image.shape for image in drawn.images[0] if image is not None] == [(64, 64, 3)] * 3


def test_a_preview_tells_how_far_it_is() -> None:
    recipe = resolved(batch_size=5)
    counts: list[int] = []
    sheet.preview(recipe, gansynth.load_generator("fashion-32"), 3, 2, counts.append)
    assert counts == [5, 5, 2]


# From a dataset


def test_a_sheet_of_a_dataset_shows_stored_images_of_the_right_class_and_truncation(dataset: Path) -> None:
    drawn = sheet.stored(Dataset.open(str(dataset)), 3, 3)
    stored = {(name, t): set() for name in drawn.rows for t in SMALL["truncation"]}
    for (name, truncation, _), image in stored_images(dataset).items():
        stored[name, truncation].add(image.tobytes())
    assert drawn.rows == ["Sneaker", "Ankle boot", "Bag"]
    assert drawn.groups == ["truncation 0.4", "truncation 1"]
    assert drawn.columns == [""] * 6  # stored samples are of whatever seeds come first
    for name, row in zip(drawn.rows, drawn.images, strict=True):
        for truncation, image in zip([0.4] * 3 + [1.0] * 3, row, strict=True):
            assert image is not None
            assert image.tobytes() in stored[name, truncation]
        assert len({image.tobytes() for image in row if image is not None}) == 6


def test_a_sheet_of_a_dataset_leaves_cells_without_an_image_empty(tmp_path: Path) -> None:
    recipe = gansynth.Recipe(**{**FAKE, "seeds": "0-1"}, classes=[4], output=str(tmp_path / "out"))
    gansynth.generate(recipe, device="cpu")
    (row,) = sheet.stored(Dataset.open(str(tmp_path / "out")), 10, 5).images
    assert [image is None for image in row] == [False, False, True, True, True]


def test_a_dataset_without_any_shard_gives_an_empty_sheet(tmp_path: Path) -> None:
    recipe = gansynth.Recipe(**FAKE, classes=[4], output=str(tmp_path / "out"))
    gansynth.generate(recipe, device="cpu", shards=lambda planned: [])
    drawn = sheet.stored(Dataset.open(str(tmp_path / "out")), 10, 2)
    assert drawn.images == [[None, None]]
    assert opened(drawn).format == "PNG"


# Drawing


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.text(max_size=30), min_size=1, max_size=4),
    across=st.integers(1, 5),
    cell=st.integers(1, 80),
)
def test_a_sheet_opens_and_has_room_for_every_cell(names: list[str], across: int, cell: int) -> None:
    images = [[np.full((cell, cell, 3), 9, np.uint8)] * across for _ in names]
    drawn = opened(Sheet(names, ["0.5"], [f"{i}" for i in range(across)], images, cell))
    size = next(multiple for multiple in range(cell, 2 * 48 + cell, cell) if multiple >= 48)
    assert across * size < drawn.width < across * (size + 8) + 1200
    assert len(names) * size < drawn.height < len(names) * (size + 8) + 60


def test_names_of_groups_do_not_run_into_each_other() -> None:
    names = ["truncation 0.4", "truncation 0.7", "truncation 1"]
    image = np.zeros((48, 48, 3), np.uint8)
    drawn = opened(Sheet(["a"], names, ["0"] * 3, [[image] * 3], 48))
    font = PIL.ImageFont.load_default(12)
    assert drawn.width >= sum(font.getlength(name) for name in names)


def test_images_are_drawn_pixel_by_pixel_without_blending() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    drawn = np.asarray(opened(Sheet(["a"], ["1"], ["0"], [[image]], 48)))
    windows = np.lib.stride_tricks.sliding_window_view(drawn, (48, 48, 3))[:, :, 0]
    assert (windows == image).all(axis=(2, 3, 4)).sum() == 1


@pytest.mark.parametrize(("cell", "expected"), [(512, 128), (128, 128), (32, 64)])
def test_images_are_shrunk_to_the_largest_size_asked_for_and_no_further(cell: int, expected: int) -> None:
    image = np.zeros((cell, cell, 3), np.uint8)
    with PIL.Image.open(io.BytesIO(Sheet(["a"], ["1"], ["0"], [[image]], cell).png(largest=128))) as drawn:
        black = np.asarray(drawn).reshape(drawn.height, drawn.width, 3).max(axis=2) == 0
    assert (black.sum(axis=1) >= expected).sum() == expected
    assert (black.sum(axis=0) >= expected).sum() == expected


@pytest.mark.parametrize("name", ["Ankle boot", "châtaigne", "犬", "a\nb", ""])
def test_any_class_name_can_be_drawn(name: str) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert opened(Sheet([name], ["0.5"], ["0"], [[image]], 8)).mode == "RGB"
