"""A recipe with a sweep -> one recipe for each variant, and the table of what came of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from gansynth.errors import RecipeError
from gansynth.training import pictures
from gansynth.training.recipe import Sweep, TrainingRecipe

MOST = 1000
TABLE = "README.md"
_LARGEST = 2**53
_BESIDE = 2  # pictures in a row
# Keys that a variant cannot differ in: what the runs share, or what tells them apart.
_FIXED = frozenset({"name", "output", "data", "sweep", "metric", "metric_images"})


def variants(recipe: TrainingRecipe) -> list[tuple[dict[str, Any], TrainingRecipe]]:
    """The values that each variant changes, and its recipe; every variant is validated.

    Outputs are folders 00, 01, ... in the recipe's own.

    Raises:
        RecipeError: a key that does not exist or cannot vary, values that it cannot have, or too many variants.
    """
    sweep = recipe.sweep
    if sweep is None:
        raise RecipeError(
            "sweep: the recipe has none; write for example sweep: {keys: {learning_rate: [0.0001, 0.0002]}}"
        )
    for key, values in sweep.keys.items():
        if key in _FIXED or key not in TrainingRecipe.model_fields:
            raise RecipeError(
                f"sweep: saw the key {key!r}, which cannot vary; use a key of the recipe such as learning_rate"
            )
        if not values:
            raise RecipeError(f"sweep: {key} has no values; give a list")
    chosen = _grid(sweep) if sweep.random is None else _drawn(sweep, recipe.seed)
    base = {key: value for key, value in recipe.content().items() if key not in ("sweep", "output")}
    digits = max(2, len(str(len(chosen) - 1)))
    made = []
    for number, changed in enumerate(chosen):
        place = f"{recipe.folder}/{number:0{digits}d}"
        told = ", ".join(f"{key} {_shown(value)}" for key, value in changed.items())
        variant = TrainingRecipe.parse({**base, **changed, "output": place}, source=f"sweep, {told}: ")
        made.append((changed, variant))
    return made


def _grid(sweep: Sweep) -> list[dict[str, Any]]:
    if (count := math.prod(map(len, sweep.keys.values()))) > MOST:
        raise RecipeError(f"sweep: its grid has {count:,} points, more than {MOST:,}; take fewer values, or `random`")
    return [dict(zip(sweep.keys, values, strict=True)) for values in product(*sweep.keys.values())]


def _drawn(sweep: Sweep, seed: int) -> list[dict[str, Any]]:
    """Combinations drawn evenly between the ends; by orders of magnitude where both ends are above 0."""
    random = np.random.default_rng([seed, 1])
    return [
        {key: _between(key, values, random.random()) for key, values in sweep.keys.items()}
        for _ in range(sweep.random or 0)
    ]


def _between(key: str, values: Sequence[Any], share: float) -> float | int:
    if len(values) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise RecipeError(
            f"sweep: {key} is {list(values)}, but `random` draws between two numbers; give two, or leave random out"
        )
    if max(map(abs, values)) > _LARGEST:
        raise RecipeError(f"sweep: {key} is {list(values)}, beyond any value of a key; give smaller numbers")
    low, high = sorted(values)
    drawn = low * (high / low) ** share if low > 0 else low + (high - low) * share
    return round(drawn) if all(isinstance(value, int) for value in values) else float(f"{drawn:.4g}")


def table(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A Markdown table of variants, the best first; those without a distance last."""
    keys = list(rows[0]["values"])
    lines = [f"| run | {' | '.join(keys)} | Frechet distance ({metric}) | |", f"|---|{'---|' * len(keys)}---|---|"]
    for row in ranked(rows):
        values = " | ".join(_shown(row["values"][key]) for key in keys)
        distance = "" if row.get("distance") is None else f"{row['distance']:.4g}"
        lines.append(f"| {Path(row['folder']).name} | {values} | {distance} | {row.get('error', '')} |")
    return "\n".join(lines) + "\n"


def ranked(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The best first."""
    return sorted(rows, key=lambda row: math.inf if row.get("distance") is None else row["distance"])


def page(recipe: TrainingRecipe, rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """README.md of a sweep: the table, and the pictures of its runs beside each other, the best first."""
    lines = [f"# {recipe.name}: {len(rows)} variants", "", table(rows, metric)]
    finished = [row for row in ranked(rows) if not row.get("error")]
    for start in range(0, len(finished), _BESIDE):
        beside = finished[start : start + _BESIDE]
        names = [Path(row["folder"]).name for row in beside]
        values = [", ".join(f"{key} {_shown(value)}" for key, value in row["values"].items()) for row in beside]
        lines += [
            _cells(f"{name}: {value}" for name, value in zip(names, values, strict=True)),
            "|---" * len(beside) + "|",
            _cells(f"![{name}]({name}/{pictures.FOLDER}/{pictures.BESIDE})" for name in names),
            "",
        ]
    return "\n".join(lines)


def _cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
