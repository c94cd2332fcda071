"""Images in rows and columns with their names, drawn as one picture. Knows nothing of where the images come from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import PIL.Image

_GAP, _TEXT, _SMALLEST = 4, 14, 48
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sheet:
    """Images by row and column; None where there is none.

    Args:
        rows: name of each row (class).
        groups: name of each group of columns (truncation).
        columns: name of each column (seed); empty where it has none.
        images: uint8 [h, w, 3] each.
        cell: height and width of an image in pixels.
    """

    rows: Sequence[str]
    groups: Sequence[str]
    columns: Sequence[str]
    images: Sequence[Sequence[Image | None]]
    cell: int

    def png(self, largest: int | None = None) -> bytes:
        """The sheet drawn with its labels, a PNG file.

        Args:
            largest: height and width in pixels that images are shrunk to if they are larger.
        """
        return _saved(self._drawn(largest), "PNG", optimize=True)

    def jpg(self, quality: int) -> bytes:
        """The sheet drawn with its labels, a JPEG file, which is a tenth of the PNG's size."""
        return _saved(self._drawn(None), "JPEG", quality=quality, optimize=True)

    def _drawn(self, largest: int | None) -> PIL.Image.Image:
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont

        font = PIL.ImageFont.load_default(_TEXT - 2)
        size = drawn_size(self.cell)
        size = min(size, largest or size)
        smooth = PIL.Image.Resampling.LANCZOS if size < self.cell else PIL.Image.Resampling.NEAREST
        span = len(self.columns) // len(self.groups)
        step = max(size, -(-int(max(font.getlength(name) for name in self.groups)) // span)) + _GAP
        margin = 12 + int(max(font.getlength(name) for name in self.rows))
        width = margin + len(self.columns) * step
        head = _TEXT * (2 if any(self.columns) else 1) + _GAP
        height = head + len(self.rows) * (size + _GAP)
        canvas = PIL.Image.new("RGB", (width, height), "white")
        draw = PIL.ImageDraw.Draw(canvas)
        for group, name in enumerate(self.groups):
            column = group * span
            draw.text((margin + column * step, 1), name, "black", font)
        for column, name in enumerate(self.columns):
            draw.text((margin + column * step, _TEXT + 1), name, "black", font)
        for row, name in enumerate(self.rows):
            top = head + row * (size + _GAP)
            draw.text((4, top + size // 2 - _TEXT // 2), name, "black", font)
            for column, image in enumerate(self.images[row]):
                if image is not None:
                    tile = PIL.Image.fromarray(image).resize((size, size), smooth)
                    canvas.paste(tile, (margin + column * step, top))
        return canvas


def _saved(canvas: PIL.Image.Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    canvas.save(buffer, format_name, **options)
    return buffer.getvalue()


def drawn_size(cell: int) -> int:
    """Height and width in pixels at which a sheet shows images of a size: small ones in whole multiples."""
    return cell * -(-_SMALLEST // cell)
