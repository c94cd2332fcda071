"""Images of a source -> one array of equal squares, decoded once; what cannot be used is reported."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from gansynth.environment import cores
from gansynth.errors import InputError, OutputError
from gansynth.training.pictures import save
from gansynth.training.sources import Item, Pixels, Source

SMALLEST = 8  # pixels along the shorter side
MAX_PIXELS = 100_000_000
_PIXELS, _LABELS, _SUMMARY = "pixels.bin", "labels.npy", "summary.json"


@dataclass(frozen=True)
class Skipped:
    """An image that is not trained on."""

    name: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """What a run is trained on.

    Args:
        kind: of the source.
        images: number of images used.
        resolution: their height and width.
        classes: name -> number of images; empty if there are no classes.
        skipped: what was left out.
        sha256: of the pixels and labels.
    """

    kind: str
    images: int
    resolution: int
    classes: dict[str, int]
    skipped: list[Skipped]
    sha256: str


@dataclass(frozen=True)
class Images:
    """The images, ready to train on.

    Args:
        pixels: uint8 [n, h, w, 3], a file that is mapped into memory.
        labels: int64 [n].
        summary: about them.
    """

    pixels: Pixels
    labels: np.ndarray[Any, np.dtype[np.int64]]
    summary: Summary


def prepare(
    source: Source,
    resolution: int,
    folder: Path,
    max_skipped: float = 0.05,
    on_image: Callable[[int], None] = lambda count: None,
    state: str = "",
) -> Images:
    """Decode, crop to the central square and resize every image; once for a folder, as long as the data stay the same.

    Args:
        source: where they are.
        resolution: height and width of the result.
        folder: for the array; made if need be.
        max_skipped: share of images that may be unusable.
        on_image: called with the number of images that were just done.
        state: of the data, see `sources.state_of`.

    Raises:
        InputError: more are unusable, or none is left.
        OutputError: the array cannot be written.
    """
    key = hashlib.sha256(json.dumps([state, resolution, source.classes]).encode()).hexdigest()
    try:
        if state and (kept := _kept(folder, key)) is not None:
            return kept
        return _prepared(source, resolution, folder, max_skipped, on_image, key)
    except OSError as error:
        raise OutputError(
            f"output {folder}: images cannot be kept there ({error.strerror or error}); make room, or choose another place"
        ) from None


def _prepared(
    source: Source, resolution: int, folder: Path, max_skipped: float, on_image: Callable[[int], None], key: str
) -> Images:
    labels: list[int] = []
    skipped: list[Skipped] = []
    digest = hashlib.sha256()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SUMMARY).unlink(missing_ok=True)
    with (folder / _PIXELS).open("wb") as file:
        for item, square in _decoded(source.items(), resolution):
            on_image(1)
            if isinstance(square, str):
                skipped.append(Skipped(item.name, square))
                continue
            data = square.tobytes()
            file.write(data)
            digest.update(data)
            labels.append(item.label)
        file.flush()
        os.fsync(file.fileno())
    _require_enough(labels, skipped, max_skipped)
    digest.update(np.array(labels, np.int64).tobytes())
    counts = Counter(labels)
    classes = {name: counts[number] for number, name in enumerate(source.classes)}
    summary = Summary(source.kind, len(labels), resolution, classes, skipped, digest.hexdigest())
    buffer = io.BytesIO()
    np.save(buffer, np.array(labels, np.int64))
    save(folder / _LABELS, buffer.getvalue())
    content: dict[str, Any] = {"key": key, **asdict(summary)}  # written last: with it the array is whole
    save(folder / _SUMMARY, (json.dumps(content, indent=1) + "\n").encode())
    return _load(folder, content)


def read_all(source: Source, resolution: int) -> tuple[Pixels, np.ndarray[Any, np.dtype[np.int64]]]:
    """All images of a source in memory, uint8 [n, h, w, 3], and their labels, int64 [n]; for small ones.

    Raises:
        InputError: an image cannot be used.
    """
    found = list(_decoded(source.items(), resolution))
    for item, square in found:
        if isinstance(square, str):
            raise InputError(f"data: {item.name} cannot be used ({square}); remove or replace it")
    labels = np.array([item.label for item, _ in found], np.int64)
    return np.stack([square for _, square in found if not isinstance(square, str)]), labels


def _kept(folder: Path, key: str) -> Images | None:
    """The images that are kept in a folder; None if they are others, or not what was written, as after a power cut."""
    try:
        content = json.loads((folder / _SUMMARY).read_text())
        if content["key"] != key:
            return None
        images = _load(folder, content)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    digest = hashlib.sha256(images.pixels.data)
    digest.update(images.labels.tobytes())
    return images if digest.hexdigest() == images.summary.sha256 else None


def _load(folder: Path, content: dict[str, Any]) -> Images:
    about = {name: value for name, value in content.items() if name != "key"}
    summary = Summary(**{**about, "skipped": [Skipped(**item) for item in about["skipped"]]})
    shape = (summary.images, summary.resolution, summary.resolution, 3)
    pixels = np.memmap(folder / _PIXELS, np.uint8, mode="r", shape=shape)
    return Images(pixels, np.load(folder / _LABELS, allow_pickle=False), summary)


def _require_enough(labels: list[int], skipped: list[Skipped], max_skipped: float) -> None:
    total = len(labels) + len(skipped)
    shown = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    if len(skipped) > max_skipped * total:
        raise InputError(
            f"data: {len(skipped)} of {total} images cannot be used ({shown}{more}); remove or replace them, or raise max_skipped "
            f"above {max_skipped:g}"
        )
    if len(labels) < 2:
        raise InputError(f"data: saw {len(labels)} usable images; training needs two at the very least")


def _decoded(items: Iterable[Item], resolution: int) -> Iterator[tuple[Item, Pixels | str]]:
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
            return _resized(PIL.ImageOps.exif_transpose(image), resolution)


def _resized(image: PIL.Image.Image, resolution: int) -> Pixels:
    """The central square in RGB, averaged down or interpolated up to the resolution; what is transparent becomes white."""
    if min(image.size) < SMALLEST:
        raise ValueError(f"{image.width} x {image.height} pixels, less than {SMALLEST} along a side")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to white
        image = PIL.Image.fromarray((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    if side != resolution:
        square = square.resize((resolution, resolution), PIL.Image.Resampling.LANCZOS)
    return np.asarray(square)
