"""Small sets of images for tests, as their users keep them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

CLASSES = ("blue", "red")


def picture(label: int, number: int, side: int = 12) -> np.ndarray:
    """A reddish or bluish square of noise, uint8 [side, side, 3]."""
    image = np.random.default_rng([label, number]).integers(0, 90, (side, side, 3), np.uint8)
    image[:, :, 0 if label else 2] += 150
    return image


def encoded(image: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def folder(place: Path, count: int = 10, side: int = 12, flat: bool = False) -> Path:
    """Class folders red and blue with `count` images each; all in one folder if flat."""
    for label, name in enumerate(CLASSES):
        own = place if flat else place / name
        own.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (own / f"{name}-{number:02d}.png").write_bytes(encoded(picture(label, number, side)))
    return place


def zipped(place: Path, **how: int) -> Path:
    """A zip of `folder`, with a folder that all of them share."""
    path = place / "images.zip"
    source = folder(place / "unpacked", **how)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.write(file, f"images/{file.relative_to(source)}")
    return path


def shards(place: Path, count: int = 10) -> Path:
    """Two tars as webdataset has them."""
    place.mkdir()
    for part in range(2):
        with tarfile.open(place / f"{part:06d}.tar", "w") as archive:
            for number in range(part, 2 * count, 2):
                label = number // count
                members = {"png": encoded(picture(label, number % count)), "cls": str(label).encode()}
                members["json"] = f'{{"class_name": "{CLASSES[label]}"}}'.encode()
                for suffix, data in members.items():
                    entry = tarfile.TarInfo(f"{number:04d}.{suffix}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    return place


def idx(place: Path, count: int = 10, packed: bool = True) -> Path:
    """Grey images as the MNIST family has them."""
    place.mkdir()
    images = np.concatenate([[picture(c, n)[:, :, 0] for n in range(count)] for c in range(2)])
    labels = np.repeat(np.arange(2, dtype=np.uint8), count)
    for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        header = struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape)
        data = header + values.tobytes()
        (place / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return place


def npz(place: Path, count: int = 10) -> Path:
    """Arrays as numpy keeps them."""
    path = place / "images.npz"
    images = np.concatenate([[picture(c, n) for n in range(count)] for c in range(2)])
    np.savez(path, images=images, labels=np.repeat([0, 1], count))
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda place: folder(place / "f"),
    "zip": zipped,
    "shards": lambda place: shards(place / "s"),
    "idx": lambda place: idx(place / "i"),
    "npz": npz,
}
