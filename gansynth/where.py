"""Conditions on manifest rows, such as "truncation <= 0.6 and class_name in ('Bag', 'Coat')", for Parquet to filter by."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gansynth.errors import InputError, quoted

_ADVICE = "write it in Python's syntax, for example \"truncation <= 0.6 and class_name in ('Bag', 'Coat')\""
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}


@dataclass(frozen=True)
class Condition:
    """What rows have to fulfil.

    Args:
        expression: for pyarrow.
        columns: names of the columns in it.
    """

    expression: pc.Expression
    columns: frozenset[str]


def fitting(text: str | None, schema: pa.Schema) -> Condition:
    """The condition of samples that were not rejected and, if there is a text, fulfil it too; see `parse`."""
    ok = Condition(pc.field("status") == "ok", frozenset({"status"}))
    if text is None:
        return ok
    wanted = parse(text, schema)
    return Condition(ok.expression & wanted.expression, ok.columns | wanted.columns)


def parse(text: str, schema: pa.Schema) -> Condition:
    """A condition as an expression of pyarrow. The text is read, never run.

    Args:
        text: comparisons of columns with numbers, texts, `None` and tuples of them, by == != < <= > >= in, not in, is and
            is not, joined by and, or, not and parentheses. Where a value is missing, only `is None` holds: any
            other comparison is neither true nor false, and nor is its opposite, as in SQL.
        schema: of the manifests.

    Raises:
        InputError: no such expression, an unknown column, or a value of another type than the column's.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        return Condition(_Reader(text, schema).of(tree.body), names)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refused(text, "is no condition") from None


class _Reader:
    def __init__(self, text: str, schema: pa.Schema) -> None:
        self._text, self._schema = text, schema

    def of(self, node: ast.expr) -> pc.Expression:
        if isinstance(node, ast.BoolOp):
            first, *others = (self.of(value) for value in node.values)
            for other in others:
                first = first & other if isinstance(node.op, ast.And) else first | other
            return first
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.of(node.operand)
        if isinstance(node, ast.Compare):
            return self._chain(node)
        raise _refused(self._text, f"has {quoted(ast.unparse(node))} where a comparison is expected")

    def _chain(self, node: ast.Compare) -> pc.Expression:
        sides = [node.left, *node.comparators]
        links = [self._compare(a, op, b) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)]
        chained = links[0]
        for link in links[1:]:
            chained = chained & link
        return chained

    def _compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> pc.Expression:
        kind = type(operator)
        if not isinstance(left, ast.Name) and isinstance(right, ast.Name) and kind in _MIRRORED:
            left, right, kind = right, left, _MIRRORED[kind]
        if not isinstance(left, ast.Name):
            raise _refused(self._text, f"compares {quoted(ast.unparse(left))}, which is no column")
        column = self._column(left.id)
        if kind in (ast.Is, ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise _refused(self._text, "has `is` with something else than None; use ==")
            found = pc.field(left.id).is_null()
            return found if kind is ast.Is else ~found
        if kind in (ast.In, ast.NotIn):
            # Arrow's own answer for a missing value is no, whose opposite would hold.
            unknown = pc.field(left.id).is_null() & pc.scalar(pa.scalar(None, pa.bool_()))
            found = pc.field(left.id).isin(self._values(right, column)) | unknown
            return found if kind is ast.In else ~found
        return _COMPARISONS[kind](pc.field(left.id), self._value(right, column))

    def _column(self, name: str) -> pa.Field:
        if name not in self._schema.names:
            raise _refused(self._text, f"names the column {quoted(name)}, which manifests do not have", self._columns())
        column = self._schema.field(name)
        if pa.types.is_fixed_size_list(column.type):
            raise _refused(self._text, f"compares {name}, which is a vector", self._columns())
        return column

    def _columns(self) -> str:
        return f"columns are {', '.join(f.name for f in self._schema if not pa.types.is_fixed_size_list(f.type))}"

    def _values(self, node: ast.expr, column: pa.Field) -> pa.Array:
        if not isinstance(node, ast.Tuple | ast.List | ast.Set):
            raise _refused(self._text, "has `in` without a list in parentheses")
        values = [self._value(item, column) for item in node.elts]
        return pa.array([v for value in values for v in _as_stored(value, column.type)], column.type)

    def _value(self, node: ast.expr, column: pa.Field) -> Any:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError):
            raise _refused(
                self._text, f"compares with {quoted(ast.unparse(node))}, which is no number or text"
            ) from None
        textual = pa.types.is_string(column.type)
        fits = isinstance(value, str) if textual else isinstance(value, int | float) and not isinstance(value, bool)
        if not fits:
            wanted = "texts" if textual else "numbers"
            raise _refused(
                self._text, f"compares {column.name} with {quoted(repr(value))}, but its values are {wanted}"
            )
        return value if textual else _comparable(value, pa.types.is_floating(column.type))


def _comparable(value: float, floating: bool) -> float:
    """A number that Arrow can compare a column with: whole ones beyond what that holds become floats, infinite ones if need be."""
    if isinstance(value, float) or (not floating and -(2**63) <= value < 2**63):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _as_stored(value: Any, kind: pa.DataType) -> tuple[Any, ...]:
    """The values of a column that equal a value: none if the column cannot hold it, two for zero where it has a sign."""
    if pa.types.is_integer(kind):
        limit = 2 ** (kind.bit_width - 1)
        return (int(value),) if -limit <= value < limit and int(value) == value else ()
    if pa.types.is_floating(kind):
        return (0.0, -0.0) if value == 0 else (float(value),)
    return (value,)


def _refused(text: str, fault: str, advice: str = _ADVICE) -> InputError:
    return InputError(f"where: saw {quoted(text)}, which {fault}; {advice}")
