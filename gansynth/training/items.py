"""What all sources of training images have in common: items with names and labels, not yet decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# Of images that Pillow alone cannot read, or not on every machine.
_UNREAD = frozenset(
    [
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".j2k",
        ".tga",
        ".psd",
        ".raw",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".rw2",
        ".raf",
        ".pef",
        ".srw",
    ]
)
LARGEST_FILE = 256 << 20  # bytes of one image file


@dataclass(frozen=True)
class Item:
    """One image.

    Args:
        name: where it is, for reports.
        label: index of its class; 0 where there are no classes.
        read: its file's bytes, or its pixels, uint8 [h, w] or [h, w, 3].
    """

    name: str
    label: int
    read: Callable[[], bytes | Pixels]


@dataclass(frozen=True)
class Source:
    """Images of one place.

    Args:
        kind: what it is, for people.
        classes: their names in the order of the labels; empty if there are none.
        count: number of items, as far as it is known before reading.
        items: iterates over them, in the same order every time.
        unread: names of files that are images to all appearance, but are no items, each with the reason.
    """

    kind: str
    classes: tuple[str, ...]
    count: int | None
    items: Callable[[], Iterator[Item]]
    unread: tuple[tuple[str, str], ...] = ()


def is_image(name: str) -> bool:
    """Whether a file of that name is read."""
    return name.lower().endswith(SUFFIXES)


def why_unread(name: str) -> str | None:
    """Why a file that looks like an image is not read; None for any other file."""
    suffix = PurePosixPath(name).suffix.lower()
    return f"{suffix} is not read; convert it to JPEG or PNG" if suffix in _UNREAD else None


def counted_by_ending(names: Iterable[str]) -> str:
    """What files there are, such as "8 .heic, 1 .txt"."""
    counts = Counter(PurePosixPath(name).suffix.lower() or PurePosixPath(name).name for name in names)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(5)) or "no file"


def bounded(file: Any) -> bytes:
    """The content of an open file of sane size, which is closed."""
    with file:
        data: bytes = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"more than {LARGEST_FILE >> 20} MB")
    return data
