"""What people say of weights: gansynth.json beside them, and X.labels.txt beside a file X."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gansynth.errors import WeightsError, quoted
from gansynth.generators import weights
from gansynth.labels import LabelSet, named_classes

FILE = "gansynth.json"


def read(folder: Path) -> dict[str, Any]:
    """gansynth.json of a folder of weights; empty if there is none. All its keys are optional.

    `labels`: a list of class names; `licence`, `origin`: texts; `terms`: a list of sentences on the licence.
    """
    path = folder / FILE
    return weights.read_json(path) if path.exists() else {}


def facts(about: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """licence, origin and terms as keyword arguments of GeneratorInfo, as far as they are given."""
    terms = about.get("terms", [])
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise WeightsError(f"{folder / FILE}: terms in {FILE} must be a list of sentences; correct it")
    found = {key: str(about[key]) for key in ("licence", "origin") if key in about}
    return {**found, "terms": tuple(terms)}


def labels(about: Mapping[str, Any], count: int, folder: Path) -> LabelSet | None:
    """The classes that gansynth.json names, or None if it names none."""
    names = about.get("labels")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{folder / FILE}: labels in {FILE} must be a list of {count} names; correct it")
    return named_classes(names)


def labels_file(weights_file: Path) -> Path:
    """Where the class names of a single file of weights are looked for."""
    return weights_file.with_suffix(".labels.txt")


def read_labels_file(path: Path, count: int) -> Sequence[str]:
    """Class names, one a line, in the order of the classes.

    Raises:
        WeightsError: unreadable, another number of names than classes, or an empty one.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as text ({error}); give a file of one class name a line") from None
    if "" in names:
        raise WeightsError(f"{path}: line {names.index('') + 1} is empty; give one class name a line")
    if len(names) != count:
        last = f", the last {quoted(names[-1])}" if names else ""
        raise WeightsError(
            f"{path}: saw {len(names)} names{last}, but the network has {count} classes; give one a line"
        )
    return names
