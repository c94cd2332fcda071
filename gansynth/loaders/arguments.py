"""What callers pass, checked alike everywhere and before anything is read."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Any, get_args

from gansynth.errors import InputError

Place = str | os.PathLike[str]


def one_of(name: str, value: object, choices: Any) -> None:
    """Raise InputError unless a value is among those of a Literal.

    Args:
        name: of the argument.
        value: what was passed.
        choices: the Literal.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise InputError(f"{name}: saw {value!r}; it is one of {', '.join(map(repr, allowed))}")


def whole_number(name: str, value: Any, least: int) -> int:
    """A value as an integer. Raises InputError unless it is one, and not below the least.

    Args:
        name: of the argument.
        value: what was passed; integers of numpy are fine.
        least: the smallest that is allowed.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InputError(f"{name}: saw {value!r}; it is a whole number from {least}")
    return number


def places(name: str, value: Place | Sequence[Place]) -> list[str]:
    """Folders, files or URLs, one or several, as texts. Raises InputError for anything else.

    Args:
        name: of the argument.
        value: what was passed.
    """
    several = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(several, Sequence) or not all(isinstance(place, str | os.PathLike) for place in several):
        raise InputError(f"{name}: saw {value!r}; give the folder or URL of a dataset, or a list of them")
    return [os.fspath(place) for place in several]
