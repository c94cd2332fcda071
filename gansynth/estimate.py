"""What a recipe will cost, before it is run: bytes and time. Rough, and said to be.

Speed comes from a table that `gansynth bench` measured: costs.json beside this file, and in the cache folder what was
measured on this machine, which goes before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gansynth.environment import cache_folder
from gansynth.errors import InputError
from gansynth.resolve import ResolvedRecipe

_FILE = "costs.json"
# Bytes a pixel of photographs at the default settings, and of a tar's headers and padding for four members.
_BYTES_PER_PIXEL = {"jpg": 0.55, "png": 1.9, "webp": 0.45}
_TAR_OVERHEAD, _ROW_OVERHEAD, _XMP = 4100, 250, 530


@dataclass(frozen=True)
class Cost:
    """Measured speed of one worker, from recipe to committed shards.

    Args:
        generator, precision: what it was measured for; the name as in a recipe, absolute for a path.
        kind: cpu or cuda.
        device: model of the device, with the number of cores on a CPU.
        images_per_hour: of one GPU, or of one CPU worker with its threads.
    """

    generator: str
    precision: str
    kind: str
    device: str
    images_per_hour: float

    @property
    def about(self) -> tuple[str, str, str]:
        """What it is measured for; of two that are alike the later one counts."""
        return self.generator, self.precision, self.kind


def shipped_costs() -> list[Cost]:
    """The table that comes with gansynth."""
    return _read(Path(__file__).with_name(_FILE))


def cost_of(recipe: ResolvedRecipe, kind: str) -> Cost | None:
    """The entry for a recipe's generator on a kind of device, or None where nothing was measured."""
    wanted = (recipe.info.name, recipe.precision, kind)
    costs = {cost.about: cost for cost in [*shipped_costs(), *_read(cache_folder() / _FILE)]}
    return costs.get(wanted)


def images_per_second(recipe: ResolvedRecipe, kind: str) -> float | None:
    """Measured speed of one worker, or None where nothing was measured."""
    cost = cost_of(recipe, kind)
    return cost.images_per_hour / 3600 if cost else None


def save_cost(cost: Cost) -> Path:
    """Keep a figure of this machine for later plans; returns the file. Raises InputError if it cannot be written."""
    path = cache_folder() / _FILE
    kept = [other for other in _read(path) if other.about != cost.about]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(entry) for entry in [*kept, cost]], indent=1) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); set GANSYNTH_CACHE to a folder of yours") from None
    return path


def _read(path: Path) -> list[Cost]:
    """A table; none if there is none, or one that is not as `save_cost` writes it, since plans must not fail for it."""
    try:
        entries: list[Mapping[str, Any]] = json.loads(path.read_text())
        costs = [Cost(**entry) for entry in entries]
        return [cost for cost in costs if cost.images_per_hour > 0]
    except (OSError, ValueError, TypeError):
        return []


def bytes_per_sample(recipe: ResolvedRecipe) -> float:
    """Expected bytes of tar and manifest for a sample."""
    pixels = recipe.info.resolution**2
    image = 600 + _BYTES_PER_PIXEL[recipe.image["format"]] * pixels + (_XMP if recipe.provenance else 0)
    return image + _TAR_OVERHEAD + _ROW_OVERHEAD + 4 * recipe.info.z_dim
