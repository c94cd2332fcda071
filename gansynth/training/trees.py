"""Images in class folders or all in one folder, on disk or in a zip."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from gansynth.errors import InputError, quoted
from gansynth.training.items import SUFFIXES, Item, Source, bounded, counted_by_ending, is_image, why_unread

_SPLITS = {"train", "training", "val", "valid", "validation", "test"}


def walk(path: Path) -> tuple[list[Path], list[Path]]:
    """All files and all folders below a folder, in order; links are followed, what is hidden is left out."""
    files, inner, seen = list[Path](), list[Path](), set()
    for place, folders, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(place, name)) not in seen
        ]
        inner += [Path(place, name) for name in folders]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files), sorted(inner)


def folder(path: Path) -> Source:
    """Images in a folder of this machine.

    Raises:
        InputError: see `_tree`.
    """
    files, folders = walk(path)
    dangling = [file for file in files if file.is_symlink() and not file.exists()]
    unread = tuple((_relative(file, path), "a link to nothing") for file in dangling if is_image(file.name))
    names = sorted(_relative(file, path) for file in files if file.is_file())
    inner = [_relative(place, path) for place in folders]
    return _tree("folder", names, inner, lambda name: bounded((path / name).open("rb")), str(path), unread)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def archive(path: Path) -> Source:
    """Images in a zip.

    Raises:
        InputError: see `_tree`; or it has entries that lie outside of it.
    """
    opened = zipfile.ZipFile(path)
    entries, folders = {}, []
    for entry in opened.infolist():
        name = entry.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
            raise InputError(
                f"data: {path} has the entry {quoted(entry.filename)}, which lies outside of the archive's own folder; "
                f"no honest tool writes such, so get the archive from its publisher"
            )
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if entry.is_dir():
            folders.append(name.rstrip("/"))
        else:
            entries[name] = entry
    return _tree("zip", sorted(entries), folders, lambda name: bounded(opened.open(entries[name])), str(path))


def _tree(
    kind: str,
    names: Sequence[str],
    folders: Sequence[str],
    read: Callable[[str], bytes],
    place: str,
    unread: tuple[tuple[str, str], ...] = (),
) -> Source:
    """Classes are the folders that hold images, below a folder that all share; images beside class folders have none.

    Raises:
        InputError: no image, images beside class folders, folders without any image among them, or parts of a data set in
            place of classes.
    """
    images = [name for name in names if is_image(name)]
    if not images:
        raise InputError(
            f"data: {place} holds no image ({', '.join(SUFFIXES)}), but {counted_by_ending(names)}; check the path, or convert "
            f"what it holds"
        )
    parents = [PurePosixPath(name).parts[:-1] for name in images]
    shared = 0
    while all(len(p) > shared for p in parents) and len({p[shared] for p in parents}) == 1:
        shared += 1
    classes = sorted({p[shared] for p in parents if len(p) > shared})
    above = {parents[0][:shared]}
    if not classes and shared and kind == "folder":
        above = {parents[0][:depth] for depth in range(shared)}
        classes, shared = [parents[0][0]], 0  # a single class
    if classes:
        _require_images(names, folders, parents, above, place)
    if len(classes) > 1 and _SPLITS.issuperset(name.lower() for name in classes):
        raise InputError(
            f"data: {place} holds {', '.join(classes)}, which are parts of a data set and no classes; give the folder of one part"
        )
    index = {name: number for number, name in enumerate(classes)}
    chosen = [
        (name, index.get(p[shared], 0) if len(p) > shared else None) for name, p in zip(images, parents, strict=True)
    ]
    stray = [name for name, label in chosen if label is None] if classes else []
    if stray:
        raise InputError(
            f"data: {place} holds images in class folders and {quoted(stray[0])} beside them; move it into a class, or out"
        )

    def items() -> Iterator[Item]:
        for name, label in chosen:
            yield Item(name, label or 0, partial(read, name))

    what = "class folders" if classes else "images without classes"
    reasons = ((name, why_unread(name)) for name in names)
    unread += tuple((name, reason) for name, reason in reasons if reason)
    return Source(f"{kind} of {what}", tuple(classes), len(images), items, unread)


def _require_images(
    names: Sequence[str],
    folders: Sequence[str],
    parents: Sequence[tuple[str, ...]],
    above: set[tuple[str, ...]],
    place: str,
) -> None:
    """Raise InputError for a folder beside the classes in which there is no image, since a class would vanish with it.

    Args:
        parents: the folder of each image.
        above: folders that hold the classes.
    """
    holding = {parent[: depth + 1] for parent in parents for depth in range(len(parent))}
    found = {PurePosixPath(name).parts for name in folders} | {PurePosixPath(name).parts[:-1] for name in names}
    bare = {parts[:depth] for parts in found for depth in range(1, len(parts) + 1)} - holding
    beside = sorted(parts for parts in bare if parts[:-1] in above)
    if not beside:
        return
    name = "/".join(beside[0])
    raise InputError(
        f"data: {place} holds the folder {quoted(name)} among its classes, and in it no image that can be read, but "
        f"{counted_by_ending(file for file in names if file.startswith(f'{name}/'))}; convert these to JPEG or PNG, or remove the folder"
    )
