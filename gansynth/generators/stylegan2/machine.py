"""The state of a pickle that is being interpreted as data, and the words it may use.

A name in a pickle becomes an inert `Symbol`, and only if the vocabulary lists it. Lists and dicts may be shared, nested
as deeply as the file is long, or contain themselves: whoever reads values must never walk them blindly. Python itself
frees deep nesting without recursion. Keys and elements of sets are short texts, so that hashing and comparing stay cheap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gansynth.errors import quoted
from gansynth.generators.stylegan2.cursor import Budget, Cursor
from gansynth.generators.stylegan2.refusals import Damaged, Unsafe

Value = Any
_MAX_STACK = 20_000  # picklers put 1,000 elements or pairs at a time
_MAX_MARKS = 200  # nesting of what is being built; modules of a snapshot nest to about 20
_MAX_MEMO = 1 << 20
_MAX_TEXT = 1 << 20
_MAX_KEY = 256
MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that the pickle mentions. Stands for nothing."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Buildable(ABC):
    """A stand-in that the BUILD instruction may be used on."""

    @abstractmethod
    def build(self, state: Value) -> None:
        """Take the state; raises a Refusal if it is not the state that such an object has."""


@dataclass(frozen=True)
class Vocabulary:
    """What a pickle may mention and do.

    Args:
        calls: handlers of names that may be called, by name; they get the tuple of arguments.
        makes: handlers of classes that may be instantiated without arguments.
        inert: names that may be mentioned as an argument only.
        persistent: handler of persistent ids; None where there are none.
    """

    calls: Mapping[Symbol, Callable[[tuple[Value, ...]], Value]] = field(default_factory=dict)
    makes: Mapping[Symbol, Callable[[], Value]] = field(default_factory=dict)
    inert: frozenset[Symbol] = frozenset()
    persistent: Callable[[Value], Value] | None = None

    def __contains__(self, symbol: Symbol) -> bool:
        return symbol in self.calls or symbol in self.makes or symbol in self.inert


class Machine:
    """Stack and memo of a pickle that is being interpreted."""

    def __init__(self, cursor: Cursor, vocabulary: Vocabulary, budget: Budget) -> None:
        self.cursor = cursor
        self.vocabulary = vocabulary
        self.budget = budget
        self._stack: list[Value] = []
        self._marks: list[int] = []
        self._floor = 0  # values below the last mark are out of reach
        self.memo: dict[int, Value] = {}

    def push(self, value: Value) -> None:
        self._stack.append(value)
        if len(self._stack) > _MAX_STACK:
            raise Unsafe(f"more than {_MAX_STACK} values at a time")

    def pop(self) -> Value:
        if len(self._stack) <= self._floor:
            raise Damaged(f"an instruction before position {self.cursor.position} lacks its argument")
        return self._stack.pop()

    def top(self) -> Value:
        if len(self._stack) <= self._floor:
            raise Damaged(f"an instruction before position {self.cursor.position} lacks its argument")
        return self._stack[-1]

    def mark(self) -> None:
        if len(self._marks) >= _MAX_MARKS:
            raise Unsafe(f"nesting deeper than {_MAX_MARKS}")
        self._marks.append(self._floor)
        self._floor = len(self._stack)

    def pop_to_mark(self) -> list[Value]:
        if not self._marks:
            raise Damaged(f"an instruction before position {self.cursor.position} lacks its mark")
        values = self._stack[self._floor :]
        del self._stack[self._floor :]
        self._floor = self._marks.pop()
        return values

    def result(self) -> Value:
        """The one value that is left at the end."""
        if self._marks or len(self._stack) != 1:
            raise Damaged(f"{len(self._stack)} values are left at its end instead of one")
        return self._stack[0]

    def remember(self, index: int) -> None:
        if index >= _MAX_MEMO:
            raise Unsafe(f"a memo entry of number {index}")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise Damaged(f"it refers to memo entry {index}, which it does not have")
        self.push(self.memo[index])

    def text(self, length: int) -> None:
        if length > _MAX_TEXT:
            raise Unsafe(f"a text of {length} bytes")
        self.budget.spend_text(length)
        try:
            self.push(self.cursor.take(length).decode("utf-8", "surrogatepass"))  # as picklers write it
        except UnicodeDecodeError:
            raise Damaged(f"the text before position {self.cursor.position} is not UTF-8") from None

    def name(self, module: Value, name: Value) -> None:
        """Push the symbol of a name that the vocabulary has."""
        if type(module) is not str or type(name) is not str:
            raise Unsafe(f"a name that is no text before position {self.cursor.position}")
        symbol = Symbol(module[:MAX_NAME], name[:MAX_NAME])
        if symbol not in self.vocabulary:
            raise Unsafe(f"the name {quoted(str(symbol))}")
        self.push(symbol)


def short_text(value: Value) -> str:
    """The value, if it may be a key of a dict or an element of a set; else raises Unsafe."""
    if type(value) is not str or len(value) > _MAX_KEY:
        seen = f"text of {len(value)} letters" if type(value) is str else type(value).__name__
        raise Unsafe(f"a key of a dict, or an element of a set, that is a {seen}")
    return value


def text_set(values: Value, budget: Budget) -> set[str]:
    """The set of a list of short texts."""
    if type(values) is not list:
        raise Unsafe(f"a set made of a {type(values).__name__}")
    budget.spend(len(values))
    return {short_text(value) for value in values}
