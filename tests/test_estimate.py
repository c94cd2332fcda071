"""What plans say of time comes from measured figures, those of this machine before those that are shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import gansynth
from gansynth.estimate import Cost, cost_of, images_per_second, save_cost, shipped_costs
from gansynth.generators import weights
from gansynth.resolve import ResolvedRecipe

MINE = Cost("fashion-32", "float32", "cpu", "my laptop, 1 thread", 7200.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / "cache"))


def recipe(generator: str = "fashion-32") -> ResolvedRecipe:
    return gansynth.plan(gansynth.Recipe(name="a", generator=generator, classes=[0], seeds="0-9")).recipe


@pytest.mark.parametrize("name", [*weights.KNOWN])
def test_every_known_generator_has_a_shipped_figure_for_a_cpu(name: str) -> None:
    assert (images_per_second(recipe(name), "cpu") or 0) > 0.01


def test_the_shipped_table_says_where_it_was_measured() -> None:
    costs = shipped_costs()
    assert len({cost.about for cost in costs}) == len(costs)
    assert all(cost.device and cost.kind in ("cpu", "cuda") for cost in costs)


def test_what_was_measured_here_goes_before_what_is_shipped() -> None:
    assert cost_of(recipe(), "cpu") != MINE
    save_cost(replace(MINE, images_per_hour=1.0))
    save_cost(replace(MINE, precision="bfloat16"))
    save_cost(MINE)
    assert cost_of(recipe(), "cpu") == MINE
    assert images_per_second(recipe(), "cpu") == 2.0


def test_what_was_never_measured_is_not_guessed() -> None:
    assert images_per_second(replace(recipe(), precision="float16"), "cpu") is None
    assert images_per_second(recipe("fake"), "cpu") is None


@pytest.mark.parametrize("content", ["", "{", "3", '[{"generator": "fashion-32"}]', '["a"]'])
def test_a_damaged_table_of_this_machine_is_as_good_as_none(content: str) -> None:
    expected = images_per_second(recipe(), "cpu")
    path = save_cost(MINE)
    path.write_text(content)
    assert images_per_second(recipe(), "cpu") == expected
