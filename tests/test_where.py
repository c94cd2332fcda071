"""Conditions: what they say of a row is what Python says, and of a missing value what SQL says."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansynth import manifest
from gansynth.where import parse

Row = dict[str, Any]
SCHEMA = manifest.schema(4)
TESTED = {"seed": "number", "class_index": "number", "truncation": "number", "class_name": "text", "parent": "text"}
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([-1.5, -0.0, 0.5, 1.0, 1.5, 2.0, 1e20, -1e300]),
    st.sampled_from([2**31, -(2**31), 2**40, 2**63, -(2**63), 10**20, -(10**20), 10**400]),
)
VALUES = {"number": NUMBERS, "text": st.sampled_from(["", "Bag", "bag", "Coat", "\u20ac"])}


@dataclass(frozen=True)
class Said:
    """A condition, and what it says of a row: True, False, or None where nobody knows."""

    text: str
    of: Callable[[Row], bool | None]


@st.composite
def comparisons(draw: st.DrawFn) -> Said:
    column = draw(st.sampled_from(sorted(TESTED)))
    values = VALUES[TESTED[column]]
    kind = draw(st.sampled_from([*COMPARISONS, "in", "not in", "is None", "is not None"]))
    if kind.startswith("is"):
        return Said(f"{column} {kind}", lambda row: (row[column] is None) == (kind == "is None"))
    if kind.endswith("in"):
        several = tuple(draw(st.lists(values, max_size=3)))
        return known(column, f"{column} {kind} {several!r}", lambda value: (value in several) == (kind == "in"))
    value = draw(values)
    return known(column, f"{column} {kind} {value!r}", lambda seen: COMPARISONS[kind](seen, value))


def known(column: str, text: str, holds: Callable[[Any], bool]) -> Said:
    return Said(text, lambda row: None if row[column] is None else holds(row[column]))


def opposite(said: Said) -> Said:
    def of(row: Row) -> bool | None:
        return None if (found := said.of(row)) is None else not found

    return Said(f"not ({said.text})", of)


def joined(word: str, deciding: bool) -> Callable[[tuple[Said, Said]], Said]:
    """By and, which a False decides whatever the other says, or by or, which a True does."""

    def join(pair: tuple[Said, Said]) -> Said:
        def of(row: Row) -> bool | None:
            found = [said.of(row) for said in pair]
            return deciding if deciding in found else None if None in found else not deciding

        return Said(f"({pair[0].text}) {word} ({pair[1].text})", of)

    return join


CONDITIONS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(opposite),
        st.tuples(inner, inner).map(joined("and", False)),
        st.tuples(inner, inner).map(joined("or", True)),
    ),
    max_leaves=4,
)
ROWS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 3),
        "class_index": st.none() | st.integers(0, 2),
        "truncation": st.sampled_from([-1.5, -0.0, 0.0, 0.5, 1.0, 2.0]),
        "class_name": st.none() | VALUES["text"],
        "parent": st.none() | VALUES["text"],
    }
)


@given(CONDITIONS, st.lists(ROWS, min_size=1, max_size=8))
def test_a_condition_holds_where_it_is_true(condition: Said, rows: list[Row]) -> None:
    schema = pa.schema([SCHEMA.field(name) for name in rows[0]])
    table = pa.Table.from_pylist(rows, schema=schema)
    expected = [row for row in rows if condition.of(row) is True]
    assert table.filter(parse(condition.text, SCHEMA).expression).to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed in (1.5,)", []),
        ("seed in (1.0, 2)", [1, 2]),
        ("seed == 99999999999999999999", []),
        ("seed in (99999999999999999999, 3)", [3]),
        ("seed < 99999999999999999999 and seed > -99999999999999999999", [0, 1, 2, 3]),
        ("parent != 'x'", [3]),
        ("parent not in ('x',)", [3]),
        ("not (parent in ('x',))", [3]),
        ("parent not in ()", [2, 3]),
    ],
)
def test_what_went_wrong_once(text: str, expected: list[int]) -> None:
    table = pa.table({"seed": pa.array([0, 1, 2, 3], pa.int64()), "parent": [None, None, "x", "y"]})
    assert table.filter(parse(text, SCHEMA).expression)["seed"].to_pylist() == expected
