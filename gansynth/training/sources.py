"""Labelled images in folders, zips, WebDataset shards, IDX and npz files, one after the other and not yet decoded."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from gansynth.errors import InputError, quoted
from gansynth.training.arrays import IDX_IMAGES, idx, npz
from gansynth.training.items import SUFFIXES, Item, Source, is_image
from gansynth.training.trees import archive, folder, walk

_TRAINING = "train"
_UNREADABLE = (OSError, zipfile.BadZipFile, tarfile.TarError, ValueError, TypeError, EOFError, struct.error, zlib.error)


def open_source(path: Path, class_names: Sequence[str] | None = None) -> Source:
    """Find out what a path holds.

    Args:
        class_names: names in place of the source's own, in the order of its classes.
        path: class sub-folders or a flat folder of images, a zip of either; a tar or a folder of tars (WebDataset; a dataset
            of gansynth's too, of which the split train is taken); a folder with files of the MNIST family, of which the
            training images are taken, or one file of images; an npz file.

    Raises:
        InputError: nothing there, nothing of these, or classes that cannot be told for certain.
    """
    if not path.exists():
        raise InputError(f"data: there is no {path}; give a folder, zip, tar, IDX or npz file of images")
    try:
        source = _open(path)
    except _UNREADABLE as error:
        raise InputError(f"data: {path} cannot be read ({error}); restore or copy it again") from None
    if class_names is None:
        _require_text(source.classes, path)
        return source
    if len(class_names) != len(source.classes) or len(set(class_names)) != len(class_names):
        raise InputError(
            f"class_names: saw {len(class_names)} names ({len(set(class_names))} different ones), but {path} has "
            f"{len(source.classes)} classes; give a name for each, or leave the key out"
        )
    return replace(source, classes=tuple(class_names))


def _require_text(classes: Sequence[str], path: Path) -> None:
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"data: {path} has the class {quoted(name)}, whose name is no valid Unicode and cannot be written down; rename it, "
                f"or give class_names"
            ) from None


def state_of(path: Path) -> str:
    """A digest of names, sizes and times of the files at a path; as long as it stays the same nobody has changed them."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else walk(path)[0]:
        found = file.stat() if file.exists() else os.lstat(file)  # a link to nothing
        name = os.fsencode(file.relative_to(path) if file != path else file.name)
        digest.update(name + f"\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _open(path: Path) -> Source:
    if path.is_file():
        if path.suffix == ".npz":
            return npz(path)
        if path.suffix == ".tar":
            return _shards([path])
        if IDX_IMAGES in path.name:
            return idx(path.parent, path.name.partition(IDX_IMAGES)[0])
        if zipfile.is_zipfile(path):
            return archive(path)
        raise InputError(f"data: {path} is no zip, tar, IDX or npz file; give one of these, or a folder of images")
    if any((path / f"{_TRAINING}{IDX_IMAGES}{suffix}").is_file() for suffix in ("", ".gz")):
        return idx(path, _TRAINING)
    tars = sorted(path.glob("*.tar")) or sorted((path / "train").glob("*.tar"))
    if not tars:
        return folder(path)
    if inner := [file for file in walk(path)[0] if file.parent != path and is_image(file.name)]:
        seen = quoted(inner[0].relative_to(path).as_posix())
        raise InputError(
            f"data: {path} holds tar files ({quoted(tars[0].name)}) and images in sub-folders ({seen}), and only "
            f"one of both can be meant; move the tar files out, or give a folder that holds nothing else"
        )
    return _shards(tars)


def _shards(tars: Sequence[Path]) -> Source:
    """WebDataset tars: an image, and its class as an integer in `.cls`, as class_name in `.json`, or both."""
    import webdataset

    def samples() -> Iterator[dict[str, Any]]:
        yield from webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False, empty_check=False)

    found, folders = list[tuple[int | None, str]](), set[str]()
    for sample in samples():
        found.append(_class_of(sample))
        if _image_of(sample) is not None:
            folders.add(str(PurePosixPath(sample["__key__"]).parent))
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
    if not classes and len(folders) > 1:
        raise InputError(
            f"data: {tars[0]} holds images in {len(folders)} folders ({', '.join(map(quoted, sorted(folders)[:3]))}), and no sample "
            f"with a class (.cls, or class_name in .json); if the folders are classes, unpack it or make it a zip"
        )

    def items() -> Iterator[Item]:
        for sample, label in zip(samples(), labels, strict=True):
            unlabelled = bool(classes) and label is None
            yield Item(sample["__key__"], label or 0, partial(_present, _image_of(sample), unlabelled))

    return Source("WebDataset shards", classes, len(found), items)


def _image_of(sample: Mapping[str, Any]) -> bytes | None:
    return next((value for key, value in sample.items() if f".{key.lower()}" in SUFFIXES), None)


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
