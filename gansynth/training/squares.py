"""An image file of any kind -> a square of a fixed size in RGB, or the reason why it cannot be used."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from gansynth.environment import cores
from gansynth.training.items import Item, Pixels

SMALLEST = 8  # pixels along the shorter side
MAX_PIXELS = 100_000_000


def decoded(items: Iterable[Item], resolution: int) -> Iterator[tuple[Item, Pixels | str]]:
    """Each item with its square, or the reason why there is none; in order, some ahead in threads."""
    with ThreadPoolExecutor(cores()) as pool:
        ahead: list[tuple[Item, Any]] = []
        for item in items:
            ahead.append((item, pool.submit(as_square, item, resolution)))
            if len(ahead) == 64:
                first, future = ahead.pop(0)
                yield first, future.result()
        for item, future in ahead:
            yield item, future.result()


def as_square(item: Item, resolution: int) -> Pixels | str:
    """An item's central square, uint8 [resolution, resolution, 3], or the reason why there is none."""
    try:
        found = item.read()
        if isinstance(found, bytes):
            return _from_file(found, resolution)
        return _resized(PIL.Image.fromarray(found), resolution)
    except PIL.UnidentifiedImageError:
        return "no image, or damaged from its first bytes on"
    except PIL.Image.DecompressionBombError:
        return f"more than the {MAX_PIXELS:,} pixels allowed"
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file does to a decoder
        return " ".join(f"{error}".split())[:160] or type(error).__name__


def _from_file(data: bytes, resolution: int) -> Pixels:
    if not data:
        raise ValueError("an empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders' remarks on files that they read all the same
        with PIL.Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed")
            sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
            upright = PIL.ImageOps.exif_transpose(image)
            return _resized(_of_8_bits(upright) if sixteen else upright, resolution)


def _of_8_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """An image of 16 bits with 8, where Pillow would clip it to white."""
    return PIL.Image.fromarray((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8))


def _resized(image: PIL.Image.Image, resolution: int) -> Pixels:
    """The central square in RGB, averaged down or interpolated up to the resolution; what is transparent becomes white."""
    if min(image.size) < SMALLEST:
        raise ValueError(f"{image.width} x {image.height} pixels, less than {SMALLEST} along a side")
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{'whole numbers of 32 bits' if image.mode == 'I' else 'decimal numbers'} as pixels, of unknown range"
        )
    if image.has_transparency_data:
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    if side != resolution:
        square = square.resize((resolution, resolution), PIL.Image.Resampling.LANCZOS)
    return np.asarray(square)
