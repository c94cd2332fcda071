"""A dataset that a schedule grows: night k is part k, a range of seeds of its own. Missed nights are caught up.

Which seeds a night has follows from its date alone, so running twice does no harm, and no run has to remember anything.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.parameters import Run, load_recipe
from flows.synthesize import make
from gansynth.dataset import Dataset
from gansynth.errors import RecipeError
from gansynth.recipe import Recipe


@flow(name="nightly", persist_result=False)
def nightly(
    recipe: str | dict[str, Any],
    since: date,
    seeds_per_night: int,
    first_seed: int = 0,
    until: date | None = None,
    overrides: dict[str, Any] | None = None,
    run: Run = Run(),
) -> dict[str, Any]:
    """Append a part for every night that has none yet, and make what is missing of all of them.

    Args:
        recipe: path of a recipe file, or its content, see `load_recipe`; its seeds are replaced.
        since: date (UTC) of the first night. It must stay what it was, like the next two.
        seeds_per_night: number of seeds of a part.
        first_seed: of the first night.
        until: date of the last night; the one that this run was scheduled for if left out.
        overrides: replaces further keys of the recipe.
        run: where and how.

    Returns:
        what `synthesize` returns, and the number of `nights`.

    Raises:
        InputError: the request cannot be done; nothing was written.
        RenderError: some shards failed; the next night makes them.
    """
    nights = parts(since, until or _tonight(), seeds_per_night, first_seed)
    wanted = load_recipe(Recipe, recipe, None, {**(overrides or {}), "seeds": nights})
    made = make(wanted, run)
    there = len(Dataset.open(str(wanted.output)).record.recipe.parts)
    if until is None and there > len(nights):
        get_run_logger().warning(
            "since: %s gives %d nights, but the dataset has %d; unless this run came late, put the date back that it began with, or it "
            "will not grow for %d nights",
            *(since, len(nights), there, there - len(nights)),
        )
    return {**made, "nights": len(nights)}


def parts(since: date, until: date, seeds_per_night: int, first_seed: int = 0) -> list[str]:
    """The seeds of all nights, a text for each. Raises RecipeError if there is none, or if seeds run out."""
    nights = (until - since).days + 1
    if nights < 1:
        raise RecipeError(f"since: saw {since}, but the night to make is {until}; begin on that day or before")
    if seeds_per_night < 1 or first_seed < 0:
        raise RecipeError(
            f"seeds_per_night: saw {seeds_per_night} from {first_seed} on; use whole numbers from 1 and 0"
        )
    begins = range(first_seed, first_seed + nights * seeds_per_night, seeds_per_night)
    return [f"{begin}-{begin + seeds_per_night - 1}" for begin in begins]


def _tonight() -> date:
    """The day that this run was meant for: a run that starts late, or is repeated, keeps it."""
    scheduled: datetime = flow_run.scheduled_start_time or datetime.now(UTC)
    return scheduled.astimezone(UTC).date()
