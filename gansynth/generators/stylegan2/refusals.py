"""Why a snapshot is not read: three kinds of refusal, all of them `WeightsError`.

Raised inside the reader with what was seen; `snapshot.read` puts the file's name before it and what to do behind it.
"""

from __future__ import annotations

from gansynth.errors import WeightsError


class Refusal(WeightsError):
    """A snapshot that is not read. Only its three kinds are raised."""


class Unsafe(Refusal):
    """Instructions, names or amounts that no StyleGAN2 snapshot has, as in a file made to attack its reader."""


class Unsupported(Refusal):
    """A readable snapshot of a network that gansynth does not render."""


class Damaged(Refusal):
    """Cut short, altered, or no snapshot at all: its parts do not fit together."""
