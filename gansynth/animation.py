"""Frames of an animation as files: a GIF, or numbered PNG images for a video encoder."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import PIL.Image

from gansynth.drawing import Image
from gansynth.errors import InputError

FRAME = "frame-%06d.png"
MIN_FPS, MAX_FPS = 0.1, 50.0  # viewers show a GIF no faster


def gif(frames: Iterator[Image], fps: float) -> bytes:
    """A GIF that repeats without end.

    Args:
        frames: uint8 [h, w, 3] each; they are in memory together, at one byte a pixel.
        fps: frames a second, 0.1 to 50; the format counts in hundredths of a second, so that frames may last one of
            them more or less than others.
    """
    palette = PIL.Image.Palette.ADAPTIVE
    first, *others = (PIL.Image.fromarray(frame).convert("P", palette=palette) for frame in frames)
    ends = [round(100 * number / fps) for number in range(len(others) + 2)]
    durations = [10 * (end - start) for start, end in pairwise(ends)]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return buffer.getvalue()


def save_gif(frames: Iterator[Image], path: Path, fps: float) -> None:
    """Write such a GIF; it appears as a whole or not at all.

    Args:
        frames, fps: see `gif`.
        path: of the file; what is there is replaced.

    Raises:
        InputError: it cannot be written there.
    """
    data = gif(frames, fps)
    try:
        with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            made = Path(folder) / path.name
            made.write_bytes(data)
            made.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def save_frames(frames: Iterator[Image], folder: Path) -> None:
    """Write frame-000000.png, frame-000001.png, ... into a new folder; it appears as a whole or not at all.

    Args:
        frames: uint8 [h, w, 3] each; one at a time is in memory.
        folder: to be made.

    Raises:
        InputError: it exists, or cannot be made.
    """
    if folder.exists():
        raise InputError(f"--to {folder}: exists already; choose another folder, or remove it")
    try:
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            for number, frame in enumerate(frames):
                PIL.Image.fromarray(frame).save(made / (FRAME % number))
            made.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"--to {path}: cannot be written ({error.strerror or error}); choose another place")
