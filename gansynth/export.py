"""A dataset as plain files in class sub-folders, for tools that know nothing else."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gansynth.dataset import Dataset
from gansynth.errors import InputError, OutputError
from gansynth.loaders.catalogue import Catalogue, look_up
from gansynth.loaders.read import Samples

_UNSAFE = re.compile(r"[^\w .,()+-]")


def export(
    url: str,
    folder: Path,
    *,
    splits: list[str] | None = None,
    where: str | None = None,
    on_start: Callable[[int], None] = lambda count: None,
    on_image: Callable[[int], None] = lambda count: None,
) -> int:
    """Write images to FOLDER/SPLIT/CLASS/KEY.jpg, with the bytes that they have in the dataset; all of them or nothing.

    Args:
        url: folder or URL of a dataset.
        folder: must not exist, or be empty.
        splits: which of them; all that have samples if left out.
        where: which samples, see `where.parse`.
        on_start: called with the number of images.
        on_image: called with the number of images that were just written.

    Returns:
        the number of images.

    Raises:
        InputError: no such dataset, an unfinished one, or no sample that fits.
        OutputError: the folder holds something, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: holds something already; choose a new or empty folder")
    catalogues = _catalogues(url, splits, where)
    on_start(sum(map(len, catalogues.values())))
    with _all_or_nothing(folder) as partial:
        for split, catalogue in catalogues.items():
            for path, data in _files(catalogue):
                target = partial / split / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                on_image(1)
    return sum(map(len, catalogues.values()))


def _catalogues(url: str, splits: list[str] | None, where: str | None) -> dict[str, Catalogue]:
    if splits is not None:
        return {split: look_up([url], split, where, unfinished=False) for split in splits}
    found: dict[str, Catalogue] = {}
    for split in (every := list(Dataset.open(url).record.recipe.splits)):
        try:
            found[split] = look_up([url], split, where, unfinished=False)
        except InputError:  # nothing fits in this split; one that fits in none is told below
            if split == every[-1] and not found:
                raise
    return found


def _files(catalogue: Catalogue) -> Iterator[tuple[Path, bytes]]:
    """Place within the split, and content."""
    names = _folder_names(catalogue.class_names)
    samples = Samples(catalogue, (), open_shards=1)
    try:
        for number, shard in enumerate(catalogue.shards):
            for row in range(shard.count):
                data, values = samples.read(number, row)
                yield Path(names.get(values["label"], "")) / f"{values['key']}.{values['format']}", data
    finally:
        samples.close()


def _folder_names(class_names: dict[int, str]) -> dict[int, str]:
    """Label -> name of a folder: what no file system minds, and different for each."""
    names = {label: _UNSAFE.sub("_", name).strip(" .") or "_" for label, name in class_names.items()}
    lowered = [name.lower() for name in names.values()]
    return {label: f"{name} ({label})" if lowered.count(name.lower()) > 1 else name for label, name in names.items()}


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """A folder for the files in the making, which are in the wanted one at the end.

    A new folder takes its place by a rename. One that exists may be a mount point, a link or where a shell is, so it stays, and
    each split is moved into it as a whole; a kill at that moment leaves the other splits in the hidden folder beside it.
    """
    inside = folder.is_dir()
    partial = (folder if inside else folder.absolute().parent) / f".export-{uuid.uuid4().hex}"
    try:
        partial.mkdir(parents=True)
        yield partial
        if inside:
            _move_content(partial, folder)
        else:
            partial.rename(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); make room, or choose another place"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_content(source: Path, target: Path) -> None:
    """Rename what is in a folder into another of the same file system: all of it, or nothing if that fails."""
    names = [path.name for path in source.iterdir()]
    try:
        for name in names:
            (source / name).rename(target / name)
    except BaseException:  # Ctrl-C among them
        for name in names:
            if not (source / name).exists():
                (target / name).rename(source / name)
        raise
