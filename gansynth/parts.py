"""A part of a recipe: seeds, of all classes or of some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gansynth.seeds import Seeds


@dataclass(frozen=True)
class Part:
    """Seeds that are planned together; a dataset grows by further parts.

    Args:
        seeds: its seeds.
        classes: positions in the recipe's list of classes; None for all of them.
    """

    seeds: Seeds
    classes: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[int]:
        return iter(self.seeds)

    def __str__(self) -> str:
        if self.classes is None:
            return str(self.seeds)
        return f"{self.seeds} of {len(self.classes)} {'class' if len(self.classes) == 1 else 'classes'}"

    def positions(self, count: int) -> tuple[int, ...]:
        """Positions of its classes among `count` of them."""
        return tuple(range(count)) if self.classes is None else self.classes
