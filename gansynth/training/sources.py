"""Labelled images in folders, zips, WebDataset shards, IDX and npz files, one after the other and not yet decoded."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth.errors import InputError, quoted

Pixels = npt.NDArray[np.uint8]
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LARGEST_FILE = 256 << 20  # bytes of one image file
_IDX_IMAGES, _IDX_LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
_TRAINING = "train"
_SPLITS = {"train", "training", "val", "valid", "validation", "test"}
_UNREADABLE = (OSError, zipfile.BadZipFile, tarfile.TarError, ValueError, TypeError, EOFError, struct.error, zlib.error)


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
    """

    kind: str
    classes: tuple[str, ...]
    count: int | None
    items: Callable[[], Iterator[Item]]


def open_source(path: Path, class_names: Sequence[str] | None = None) -> Source:
    """Find out what a path holds.

    Args:
        class_names: names in place of the source's own, in the order of its classes.
        path: class sub-folders or a flat folder of images, a zip of either; a tar or a folder of tars (WebDataset; a dataset
            of gansynth's too, of which the split train is taken); a folder with files of the MNIST family, of which the
            training images are taken, or one file of images; an npz file.

    Raises:
        InputError: nothing there, or nothing of these.
    """
    if not path.exists():
        raise InputError(f"data: there is no {path}; give a folder, zip, tar, IDX or npz file of images")
    try:
        source = _open(path)
    except _UNREADABLE as error:
        raise InputError(f"data: {path} cannot be read ({error}); restore or copy it again") from None
    if class_names is None:
        return source
    if len(class_names) != len(source.classes) or len(set(class_names)) != len(class_names):
        raise InputError(
            f"class_names: saw {len(class_names)} names ({len(set(class_names))} different ones), but {path} has "
            f"{len(source.classes)} classes; give a name for each, or leave the key out"
        )
    return replace(source, classes=tuple(class_names))


def state_of(path: Path) -> str:
    """A digest of names, sizes and times of the files at a path; as long as it stays the same nobody has changed them."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else _files(path):
        found = file.stat()
        digest.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    """All files below a folder, in order; links are followed, hidden files and folders left out."""
    found, seen = [], set()
    for place, folders, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(place, name)) not in seen
        ]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _open(path: Path) -> Source:
    if path.is_file():
        if path.suffix == ".npz":
            return _npz(path)
        if path.suffix == ".tar":
            return _shards([path])
        if _IDX_IMAGES in path.name:
            return _idx(path.parent, path.name.partition(_IDX_IMAGES)[0])
        if zipfile.is_zipfile(path):
            return _zip(path)
        raise InputError(f"data: {path} is no zip, tar, IDX or npz file; give one of these, or a folder of images")
    if any((path / f"{_TRAINING}{_IDX_IMAGES}{suffix}").is_file() for suffix in ("", ".gz")):
        return _idx(path, _TRAINING)
    tars = sorted(path.glob("*.tar")) or sorted((path / "train").glob("*.tar"))
    return _shards(tars) if tars else _folder(path)


# Folders and zips


def _folder(path: Path) -> Source:
    names = sorted(p.relative_to(path).as_posix() for p in _files(path) if _is_image(p.name) and p.is_file())
    return _tree("folder", names, lambda name: _bounded((path / name).open("rb"), name), str(path))


def _zip(path: Path) -> Source:
    archive = zipfile.ZipFile(path)
    entries = {}
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
            raise InputError(
                f"data: {path} has the entry {quoted(entry.filename)}, which lies outside of the archive's own folder; "
                f"no honest tool writes such, so get the archive from its publisher"
            )
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if not entry.is_dir() and _is_image(name) and not hidden:
            entries[name] = entry
    return _tree("zip", sorted(entries), lambda name: _bounded(archive.open(entries[name]), name), str(path))


def _tree(kind: str, names: list[str], read: Callable[[str], bytes], place: str) -> Source:
    """Classes are the folders that hold images, below a folder that all share; images beside class folders have none."""
    if not names:
        raise InputError(f"data: {place} holds no image ({', '.join(SUFFIXES)}); check the path")
    parents = [PurePosixPath(name).parts[:-1] for name in names]
    shared = 0
    while all(len(p) > shared for p in parents) and len({p[shared] for p in parents}) == 1:
        shared += 1
    folders = sorted({p[shared] for p in parents if len(p) > shared})
    if not folders and shared and kind == "folder":
        folders, shared = [parents[0][0]], 0  # a single class
    if len(folders) > 1 and _SPLITS.issuperset(folder.lower() for folder in folders):
        raise InputError(
            f"data: {place} holds {', '.join(folders)}, which are parts of a data set and no classes; give the folder of one part"
        )
    index = {name: number for number, name in enumerate(folders)}
    chosen = [
        (name, index.get(p[shared], 0) if len(p) > shared else None) for name, p in zip(names, parents, strict=True)
    ]
    stray = [name for name, label in chosen if label is None] if folders else []
    if stray:
        raise InputError(
            f"data: {place} holds images in class folders and {quoted(stray[0])} beside them; move it into a class, or out"
        )

    def items() -> Iterator[Item]:
        for name, label in chosen:
            yield Item(name, label or 0, partial(read, name))

    what = "class folders" if folders else "images without classes"
    return Source(f"{kind} of {what}", tuple(folders), len(names), items)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _bounded(file: Any, name: str) -> bytes:
    with file:
        data: bytes = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"more than {LARGEST_FILE >> 20} MB")
    return data


# Arrays


def _shards(tars: Sequence[Path]) -> Source:
    """WebDataset tars: an image, and its class as an integer in `.cls`, as class_name in `.json`, or both."""
    import webdataset

    def samples() -> Iterator[dict[str, Any]]:
        yield from webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False, empty_check=False)

    found = [_class_of(sample) for sample in samples()]
    numbers = sorted({number for number, _ in found if number is not None})
    if numbers:
        names = dict(reversed([pair for pair in found if pair[0] is not None]))
        classes = tuple(names[number] or f"class {number}" for number in numbers)
        if len(set(classes)) < len(classes):  # several classes of one name, such as ImageNet's two cranes
            classes = tuple(f"{name} ({number})" for number, name in zip(numbers, classes, strict=True))
        labels = [None if number is None else numbers.index(number) for number, _ in found]
    else:
        classes = tuple(sorted({name for _, name in found if name}))
        labels = [classes.index(name) if name else None for _, name in found]

    def items() -> Iterator[Item]:
        for sample, label in zip(samples(), labels, strict=True):
            image = next((value for key, value in sample.items() if f".{key.lower()}" in SUFFIXES), None)
            unlabelled = bool(classes) and label is None
            yield Item(sample["__key__"], label or 0, partial(_present, image, unlabelled))

    return Source("WebDataset shards", classes, len(found), items)


def _class_of(sample: Mapping[str, Any]) -> tuple[int | None, str]:
    """Number and name of a sample's class, None and "" where it does not say."""
    about = json.loads(sample.get("json", "{}"))
    name = about.get("class_name") if isinstance(about, dict) else None
    return (int(sample["cls"]) if "cls" in sample else None), str(name or "")


def _present(image: bytes | None, unlabelled: bool) -> bytes:
    if image is None:
        raise ValueError("no image among its members")
    if unlabelled:
        raise ValueError("no class, unlike other samples")
    return image


def _idx(folder: Path, part: str) -> Source:
    images = _read_idx(folder, part + _IDX_IMAGES, 3)
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


def _npz(path: Path) -> Source:
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
