"""Pixels -> compressed bytes. Every encoder runs without Python's global lock, so threads use all cores."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gansynth import provenance

if TYPE_CHECKING:
    from gansynth.resolve import ResolvedRecipe

Image = npt.NDArray[np.uint8]
Encoder = Callable[[Image], bytes]


def encoder(options: Mapping[str, Any]) -> Encoder:
    """An encoder for `ImageFormat.options()`: uint8 [h, w, 3] -> bytes of a file.

    JPEG comes from imagecodecs, which gives the bytes of Pillow (both use libjpeg-turbo) but, unlike it, releases the
    global lock. PNG and WebP come from Pillow.
    """
    if options["format"] == "jpg":
        return _jpeg(options["quality"], options["subsampling"].replace(":", ""))
    if options["format"] == "png":
        return _pillow("PNG", compress_level=options["compress_level"])
    return _pillow("WEBP", **{key: value for key, value in options.items() if key != "format"})


def file_encoder(recipe: ResolvedRecipe) -> Callable[[Image, str], bytes]:
    """An encoder for the files of a dataset: uint8 [h, w, 3] and sample_id -> bytes, with XMP if the recipe says so."""
    encode, format_name = encoder(recipe.image), recipe.image["format"]
    if not recipe.provenance:
        return lambda image, sample_id: encode(image)
    return lambda image, sample_id: provenance.embed(encode(image), format_name, sample_id)


def decode(data: bytes, format_name: str = "") -> Image:
    """Pixels of an encoded image, uint8 [h, w, 3].

    Args:
        data: a file's bytes.
        format_name: its format, if it is known; JPEG is then decoded without the global lock.
    """
    if format_name == "jpg":
        import imagecodecs

        return np.asarray(imagecodecs.jpeg8_decode(data, outcolorspace="RGB"))
    import PIL.Image

    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _jpeg(quality: int, subsampling: str) -> Encoder:
    import imagecodecs

    def encode(image: Image) -> bytes:
        return bytes(imagecodecs.jpeg8_encode(image, level=quality, colorspace="RGB", subsampling=subsampling))

    return encode


def _pillow(format_name: str, **options: Any) -> Encoder:
    import PIL.Image

    def encode(image: Image) -> bytes:
        buffer = io.BytesIO()
        PIL.Image.fromarray(image).save(buffer, format_name, **options)
        return buffer.getvalue()

    return encode
