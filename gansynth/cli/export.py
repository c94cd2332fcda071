"""The command `export`: a dataset as plain files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from gansynth.errors import InputError
from gansynth.progress import Advance, counted, progress


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(export)


def export(
    output: str,
    folder: str,
    /,
    *,
    format: Literal["folder"] = "folder",
    split: Annotated[list[str] | None, Parameter(negative="")] = None,
    where: str | None = None,
) -> int:
    """Write a dataset's images as plain files, FOLDER/SPLIT/CLASS/KEY.jpg, for tools that know only those.

    The files have the bytes that they have in the dataset. For example:

        gansynth export datasets/demo demo-files --where "truncation <= 0.6"

    Args:
        output: a dataset's folder or URL.
        folder: where the files go; must not exist, or be empty.
        format: folder, a sub-folder for each class.
        split: train, val or test; all of them if left out. May be repeated.
        where: which samples, such as "truncation <= 0.6 and class_name != 'Bag'".
    """
    from gansynth.export import export as write
    from gansynth.store import is_url, without_secrets

    if is_url(folder):
        raise InputError(f"{without_secrets(folder)}: is no folder of this machine; give one, and copy it from there")
    with ExitStack() as stack:
        advance: list[Advance] = []
        count = write(
            output,
            Path(folder),
            splits=split or None,
            where=where,
            on_start=lambda total: advance.append(stack.enter_context(progress(total, "images"))),
            on_image=lambda done: advance[0](done),
        )
    print(f"{folder}: {counted(count, 'image')}")
    return 0
