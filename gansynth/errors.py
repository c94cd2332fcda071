"""Every error that gansynth raises on purpose.

GansynthError
├── InputError              what was asked for cannot be done; exit code 2
│   ├── RecipeError         the recipe contradicts itself, the generator or the hardware
│   ├── LabelError          an unknown or ambiguous class
│   ├── WeightsError        weights are missing, damaged or of another network
│   └── OutputError         the output cannot be used: unwritable, another recipe, another environment
├── RenderError             the generator gave no usable images; the shard fails
├── TrainingError           training cannot go on, since numbers are no longer finite; the last checkpoint is kept
├── StoreError              storage cannot be reached, read or written; worth a retry; exit code 2
│   ├── StoreMissing        there is no such file; exit code 1
│   └── StoreDamaged        a file holds other bytes than were written; exit code 1
├── DownloadError           weights could not be fetched
└── Interrupted             stopped on request; exit code 130 (Ctrl-C) or 143 (SIGTERM)

A message says what was seen, why that is wrong and what to do about it, in one line.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import json


class GansynthError(Exception):
    """Base of all errors raised on purpose. `exit_code` is the exit code of the command line."""

    exit_code = 1


class InputError(GansynthError):
    """The request is at fault; nothing was written."""

    exit_code = 2


class RecipeError(InputError):
    """The recipe contradicts itself, the generator or the hardware."""


class LabelError(InputError):
    """A class that the generator does not have, or a name that several classes share."""


class WeightsError(InputError):
    """Weights that are missing, damaged, or made for another network."""


class OutputError(InputError):
    """An output that cannot be written, or that belongs to another recipe or environment."""


class RenderError(GansynthError):
    """The generator gave no usable images."""


class TrainingError(GansynthError):
    """Training cannot go on. The last good checkpoint is kept."""


class StoreError(GansynthError):
    """Storage cannot be reached, read or written, which says nothing about what is stored there.

    Args:
        message: for people.
        reason: the part of it that storage gave.
    """

    exit_code = 2

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class StoreMissing(StoreError):
    """A file that should be there is not."""

    exit_code = 1


class StoreDamaged(StoreError):
    """A file that holds other bytes than were written to it."""

    exit_code = 1


class DownloadError(GansynthError):
    """Weights could not be fetched."""


class Interrupted(GansynthError):
    """Stopped on request, at a boundary from which the same command goes on. What was committed stays.

    Args:
        signal_number: the signal that asked for it; the exit code is 128 plus this number.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; run the same command again to go on")
        self.exit_code = 128 + signal_number


def quoted(text: str) -> str:
    """What was seen, fit for a message: in quotes, on one line, not too long."""
    shown = json.dumps(text, ensure_ascii=not text.isprintable())
    return shown if len(shown) <= 60 else shown[:56] + '..."'
