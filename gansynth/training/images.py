"""Images of a source -> one array of equal squares, decoded once; what cannot be used is reported."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gansynth.errors import InputError, OutputError, quoted
from gansynth.training.items import Pixels, Source
from gansynth.training.pictures import save
from gansynth.training.squares import decoded

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
    skipped = [_left_out(name, reason) for name, reason in source.unread]
    lost: dict[int, Skipped] = {}  # the first of each class
    digest = hashlib.sha256()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SUMMARY).unlink(missing_ok=True)
    with (folder / _PIXELS).open("wb") as file:
        for item, square in decoded(source.items(), resolution):
            on_image(1)
            if isinstance(square, str):
                skipped.append(_left_out(item.name, square))
                lost.setdefault(item.label, skipped[-1])
                continue
            data = square.tobytes()
            file.write(data)
            digest.update(data)
            labels.append(item.label)
        file.flush()
        os.fsync(file.fileno())
    _require_enough(labels, skipped, max_skipped)
    digest.update(np.array(labels, np.int64).tobytes())
    _require_all_classes(source, labels, lost)
    counts = Counter(labels)
    classes = {name: counts[number] for number, name in enumerate(source.classes)}
    summary = Summary(source.kind, len(labels), resolution, classes, skipped, digest.hexdigest())
    buffer = io.BytesIO()
    np.save(buffer, np.array(labels, np.int64))
    save(folder / _LABELS, buffer.getvalue())
    content: dict[str, Any] = {"key": key, **asdict(summary)}  # written last: with it the array is whole
    save(folder / _SUMMARY, (json.dumps(content, indent=1) + "\n").encode())
    return _load(folder, content)


def _left_out(name: str, reason: str) -> Skipped:
    """With what can be written down of texts that are no valid Unicode."""
    return Skipped(*(text.encode(errors="replace").decode() for text in (name, reason)))


def _require_all_classes(source: Source, labels: list[int], lost: Mapping[int, Skipped]) -> None:
    for number in sorted(lost.keys() - set(labels)):
        raise InputError(
            f"data: no image of the class {quoted(source.classes[number])} can be used ({lost[number].name}: {lost[number].reason}); "
            f"replace its images, or remove the class"
        )


def read_all(source: Source, resolution: int) -> tuple[Pixels, np.ndarray[Any, np.dtype[np.int64]]]:
    """All images of a source in memory, uint8 [n, h, w, 3], and their labels, int64 [n]; for small ones.

    Raises:
        InputError: an image cannot be used.
    """
    found = list(decoded(source.items(), resolution))
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
