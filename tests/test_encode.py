"""Encoders: Pillow's bytes for JPEG, exact pixels for PNG and lossless WebP."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from gansynth.encode import decode, encoder
from gansynth.recipe import ImageFormat

Image = npt.NDArray[np.uint8]
SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}  # Pillow's numbers


def picture(height: int = 48, width: int = 48) -> Image:
    """A smooth gradient with some noise: neither flat nor hopeless to compress."""
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([3 * x + y, 2 * y, 255 - 2 * x], axis=-1) % 256
    return (smooth // 2 + np.random.default_rng(0).integers(0, 60, smooth.shape)).astype(np.uint8)


PICTURES = [picture(), picture(33, 17), picture(1, 1), picture(128, 128), np.full((16, 16, 3), 255, np.uint8)]


def by_pillow(image: Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, format_name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("quality", [1, 30, 75, 90, 95, 100])
def test_jpeg_has_pillows_own_bytes(quality: int, subsampling: str) -> None:
    encode = encoder({"format": "jpg", "quality": quality, "subsampling": subsampling})
    for image in PICTURES:
        assert encode(image) == by_pillow(image, "JPEG", quality=quality, subsampling=SUBSAMPLING[subsampling])


@pytest.mark.parametrize(
    "options",
    [
        {"format": "png", "compress_level": 0},
        {"format": "png", "compress_level": 6},
        {"format": "png", "compress_level": 9},
        {"format": "webp", "lossless": True},
    ],
    ids=str,
)
def test_what_is_lossless_comes_back_exactly(options: dict[str, Any]) -> None:
    encode = encoder(options)
    for image in PICTURES:
        np.testing.assert_array_equal(decode(encode(image)), image)


@pytest.mark.parametrize(
    ("options", "largest"),
    [
        ({"format": "jpg", "quality": 95, "subsampling": "4:4:4"}, 6),
        ({"format": "jpg", "quality": 95, "subsampling": "4:2:0"}, 12),
        ({"format": "webp", "quality": 95}, 12),
    ],
    ids=str,
)
def test_what_is_lossy_comes_back_nearly(options: dict[str, Any], largest: float) -> None:
    image = picture(128, 128)
    again = decode(encoder(options)(image))
    assert again.shape == image.shape
    assert np.abs(again.astype(float) - image).mean() < largest


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "JPEG"),
        ({"quality": 50}, "JPEG"),
        ({"format": "png"}, "PNG"),
        ({"format": "webp"}, "WEBP"),
        ({"format": "webp", "lossless": True}, "WEBP"),
    ],
    ids=str,
)
def test_every_format_of_a_recipe_gives_a_file_of_that_format(options: dict[str, Any], name: str) -> None:
    data = encoder(ImageFormat(**options).options())(picture(33, 17))
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size, image.mode) == (name, (17, 33), "RGB")


def test_a_lower_quality_takes_fewer_bytes() -> None:
    for format_name in ("jpg", "webp"):
        qualities = [ImageFormat(format=format_name, quality=quality).options() for quality in (20, 60, 95)]
        sizes = [len(encoder(options)(picture(128, 128))) for options in qualities]
        assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("options", [{}, {"format": "png"}, {"format": "webp"}], ids=str)
def test_threads_do_not_change_bytes(options: dict[str, Any]) -> None:
    encode = encoder(ImageFormat(**options).options())
    images = [np.roll(picture(), shift, axis=0) for shift in range(32)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode, images)) == [encode(image) for image in images]


def test_a_row_of_a_batch_and_its_copy_give_the_same_bytes() -> None:
    batch = np.stack([picture(), picture()[:, ::-1]])
    for options in ({}, {"format": "png"}, {"format": "webp"}):
        encode = encoder(ImageFormat(**options).options())
        assert encode(batch[1]) == encode(np.ascontiguousarray(batch[1]))
