"""The command `balance`: a recipe that fills up the classes of real images."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gansynth.balance import recipe_for
from gansynth.errors import InputError, OutputError
from gansynth.generators import describe
from gansynth.mirror import local_path
from gansynth.progress import counted
from gansynth.recipe import Recipe
from gansynth.recipe_file import written
from gansynth.redaction import without_secrets
from gansynth.training.sources import open_source


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(balance)


def balance(
    *,
    real: str,
    to: str,
    generator: str,
    truncation: float = 1.0,
    first_seed: int = 0,
    name: str = "balance",
    write: Annotated[Path | None, Parameter(name=["--write", "-o"])] = None,
) -> int:
    """Write a recipe that makes as many images of each class as the real ones lack. Makes no image.

    For example:

        gansynth balance --real photos --to max --generator runs/photos -o balance.yaml

    Args:
        real: real images: a folder with a sub-folder for each class, a zip of such, WebDataset shards, IDX or npz; or a URL.
        to: how many images of each class real and synthetic ones are to make together: max (as many as the largest class
            has), or a number.
        generator: makes them; it has to know the classes by the same names.
        truncation: of all of them.
        first_seed: where seeds begin.
        name: of the recipe.
        write: the file to write; prints the recipe if left out.
    """
    if write is not None and write.exists():
        raise OutputError(f"--write: {write} exists already; choose another name, or delete it")
    source = open_source(local_path(real))
    found = Counter(item.label for item in source.items())
    counts = {class_name: found[label] for label, class_name in enumerate(source.classes)}
    content = recipe_for(generator, describe(generator), counts, to, truncation, first_seed, name)
    if content is None:
        print("no class lacks any image, so there is nothing to make", file=sys.stderr)
        return 0
    Recipe.parse(content)
    images = counted(sum(counts.values()), "image")
    text = f"# Fills up the classes of {without_secrets(real)!r} ({images}); written by gansynth balance.\n"
    text += written(content)
    if write is None:
        print(text, end="")
        return 0
    try:
        write.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--write: {write} cannot be written ({error.strerror}); choose another place") from None
    made = sum(
        len(seeds) * len(part["classes"])
        for part, seeds in zip(content["seeds"], Recipe.parse(content).parts, strict=True)
    )
    print(
        f"{write}: {counted(made, 'image')} in {counted(len(content['classes']), 'class', 'classes')}; go on with `gansynth plan {write}`"
    )
    return 0
