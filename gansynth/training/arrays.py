"""Images in arrays: files of the MNIST family (IDX), and npz files."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth.errors import InputError
from gansynth.training.items import Item, Pixels, Source

IDX_IMAGES, _IDX_LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"


def idx(folder: Path, part: str) -> Source:
    """Images and labels of a part such as train, packed by gzip or not."""
    images = _read_idx(folder, part + IDX_IMAGES, 3)
    labels = _read_idx(folder, part + _IDX_LABELS, 1)
    return _arrays("IDX files", images, labels, str(folder))


def _read_idx(folder: Path, name: str, dimensions: int) -> Pixels:
    plain, packed = folder / name, folder / f"{name}.gz"
    data = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
    magic = struct.unpack_from(">I", data)[0]
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if magic != 0x0800 + dimensions or values.size != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{name} is damaged")
    return values.reshape(shape)


def npz(path: Path) -> Source:
    """Images under x, images or x_train, labels under y, labels or y_train; arrays of no other names are looked at."""
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError("it is one array, not an npz file")
    with loaded as arrays:
        images, labels = (
            next((arrays[name] for name in names if name in arrays), None)
            for names in (("images", "x", "x_train", "arr_0"), ("labels", "y", "y_train", "arr_1"))
        )
    if (
        images is None
        or images.dtype != np.uint8
        or images.ndim not in (3, 4)
        or images.shape[3:] not in ((), (1,), (3,))
    ):
        raise ValueError(
            "it needs an array `images`, uint8 [n, h, w] or [n, h, w, 3], and may have `labels`, integers [n]"
        )
    return _arrays("npz file", images.squeeze(3) if images.shape[3:] == (1,) else images, labels, str(path))


def _arrays(kind: str, images: Pixels, labels: npt.NDArray[Any] | None, place: str) -> Source:
    if labels is not None and (labels.shape != (len(images),) or labels.dtype.kind not in "iu"):
        raise InputError(
            f"data: {place} has {len(images)} images, but labels of shape {labels.shape}; give one integer each"
        )
    values, codes = (None, None) if labels is None else np.unique(labels, return_inverse=True)

    def items() -> Iterator[Item]:
        for number, image in enumerate(images):
            yield Item(f"{number}", 0 if codes is None else int(codes[number]), partial(np.asarray, image))

    names = () if values is None else tuple(f"class {value}" for value in values)
    return Source(kind, names, len(images), items)
