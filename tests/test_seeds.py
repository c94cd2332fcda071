"""Seed texts: what they mean, how they are written back, and which ones are refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gansynth.errors import RecipeError
from gansynth.seeds import SEED_LIMIT, parse_seeds, require_distinct


@st.composite
def seed_texts(draw: st.DrawFn, most: int = 8) -> str:
    """Distinct seeds and ranges in any order, some of them neighbours."""
    start = draw(st.sampled_from([0, 1, 1000, SEED_LIMIT - 400]))
    items = []
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20)), min_size=1, max_size=most)):
        start += gap
        items.append(str(start) if length == 1 else f"{start}-{start + length - 1}")
        start += length
    comma = draw(st.sampled_from([",", ", ", " ,"]))
    return comma.join(draw(st.permutations(items)))


def listed(text: str) -> list[int]:
    """What a text means, read the plain way."""
    numbers = ([int(n) for n in item.split("-")] for item in text.split(","))
    return [seed for pair in numbers for seed in range(pair[0], pair[-1] + 1)]


@given(seed_texts())
def test_a_text_means_its_seeds_in_the_order_written(text: str) -> None:
    seeds = parse_seeds(text)
    assert list(seeds) == listed(text)
    assert len(seeds) == len(listed(text))


@given(seed_texts())
def test_written_and_read_back_they_are_the_same_seeds(text: str) -> None:
    seeds = parse_seeds(text)
    assert parse_seeds(str(seeds)) == seeds
    assert str(parse_seeds(str(seeds))) == str(seeds)


@given(seed_texts())
def test_the_text_is_as_short_as_can_be(text: str) -> None:
    ranges = [listed(item) for item in str(parse_seeds(text)).split(",")]
    assert all(after[0] != before[-1] + 1 for before, after in itertools.pairwise(ranges))
    assert all("-" in item or len(listed(item)) == 1 for item in str(parse_seeds(text)).split(","))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("0-4,5-9", "0-9"), ("1,2,3", "1-3"), ("7-7", "7"), (" 0 - 4 , 9 ", "0-4,9"), ("5,0-4", "5,0-4"), ("007", "7")],
)
def test_neighbours_are_joined(text: str, canonical: str) -> None:
    assert str(parse_seeds(text)) == canonical


@given(seed_texts(), st.data())
def test_at_gives_what_listing_gives(text: str, data: st.DataObject) -> None:
    seeds = parse_seeds(text)
    positions = data.draw(st.lists(st.integers(0, len(seeds) - 1)))
    expected = [listed(text)[position] for position in positions]
    assert seeds.at(np.array(positions, dtype=np.int64)).tolist() == expected


def test_all_seeds_there_are_take_no_memory_to_speak_of() -> None:
    seeds = parse_seeds(f"0-{SEED_LIMIT - 1}")
    assert len(seeds) == 2**32
    assert seeds.at(np.array([0, 2**31, 2**32 - 1])).tolist() == [0, 2**31, 2**32 - 1]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("5-1", '"5-1"'),
        ("-3", '"-3"'),
        ("1,,2", '""'),
        ("", '""'),
        ("abc", '"abc"'),
        ("1.5", '"1.5"'),
        ("0-4-9", '"0-4-9"'),
        ("0x10", '"0x10"'),
        ("٣", '"٣"'),
        ("4294967296", "4294967296"),
        ("0-4294967296", "4294967296"),
        ("3,3", "seed 3"),
        ("0-9,4", "seed 4"),
        ("7,0-9", "seed 7"),
    ],
)
def test_a_bad_text_is_refused_and_shown(text: str, seen: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_seeds(text)
    assert seen in str(error.value)
    assert str(error.value).startswith("seeds: ")


def test_a_seed_in_two_parts_is_refused_and_named() -> None:
    with pytest.raises(RecipeError, match="seed 9 occurs twice"):
        require_distinct([parse_seeds("5-9"), parse_seeds("0-4,9-12")])


def test_parts_that_only_touch_are_distinct() -> None:
    require_distinct([parse_seeds("0-4"), parse_seeds("5-9"), parse_seeds("20")])


@given(st.text(alphabet="0123456789-, \n٣x", max_size=12) | st.text(max_size=12))
@example("9" * 5000)  # Python refuses to convert as many digits
@example("1\n2")
def test_any_text_is_seeds_or_one_line_of_complaint(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except RecipeError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert 0 < len(seeds) <= SEED_LIMIT
