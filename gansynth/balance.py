"""How many synthetic images each class needs beside the real ones, as parts of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gansynth.errors import InputError, LabelError
from gansynth.info import GeneratorInfo


def gaps(counts: Mapping[str, int], to: str) -> dict[str, int]:
    """How many images each class lacks; without those that lack none.

    Args:
        counts: number of real images by class name.
        to: "max" for as many as the largest class has, or a number.

    Raises:
        InputError: it is neither.
    """
    if to != "max" and not (to.isdecimal() and to.isascii() and 0 < int(to) < 2**32):
        raise InputError(f"--to: saw {to!r}; it is max, or a whole number of images a class such as 1000")
    wanted = max(counts.values()) if to == "max" else int(to)
    return {name: wanted - count for name, count in counts.items() if count < wanted}


def parts(missing: Mapping[str, int], first_seed: int = 0) -> list[dict[str, Any]]:
    """Seeds that give each class as many images as it lacks, at one truncation.

    Classes share seeds as far as they can, so that shards mix them: a part has the classes that lack more than the parts before
    have given.

    Args:
        missing: number of images by class, each above 0.
        first_seed: where seeds begin.

    Returns:
        a list that a recipe takes as `seeds`.

    Raises:
        InputError: seeds would reach 2^32.
    """
    if first_seed + max(missing.values()) > 2**32:
        raise InputError("--first-seed: seeds end below 2^32; begin with a smaller one")
    found, given = [], 0
    for level in sorted(set(missing.values())):
        first, last = first_seed + given, first_seed + level - 1
        text = f"{first}-{last}" if last > first else f"{first}"
        found.append({"seeds": text, "classes": [name for name, count in missing.items() if count >= level]})
        given = level
    return found


def recipe_for(
    generator: str,
    info: GeneratorInfo,
    counts: Mapping[str, int],
    to: str,
    truncation: float,
    first_seed: int,
    name: str,
) -> dict[str, Any] | None:
    """The recipe of a dataset that fills up every class of real images; None if none lacks any.

    Args:
        generator, info: makes the images; its classes are found by the names of the real ones.
        counts: number of real images by class name, in the order of their labels, which the dataset takes over.
        to, first_seed: see `gaps` and `parts`.
        truncation: of all images.
        name: of the recipe.

    Raises:
        InputError, LabelError: the images have no classes, or the generator lacks one of them.
    """
    if not counts:
        raise InputError("--real: holds images without classes; put them into a sub-folder for each class")
    if missing := gaps(counts, to):
        for wanted in missing:
            try:
                info.labels.find(wanted)
            except LabelError as error:
                raise LabelError(f"{error}; or rename the folder of real images after the generator's class") from None
        info.check_truncation(truncation)
        numbers = {name: label for label, name in enumerate(counts)}
        return {
            "name": name,
            "generator": generator,
            "classes": list(missing),
            "labels": {name: numbers[name] for name in missing},
            "truncation": [truncation],
            "seeds": parts(missing, first_seed),
            "output": f"./datasets/{name}",
        }
    return None
