"""A module of a PyTorch snapshot: its attributes, tensors and children, each checked when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

from gansynth.errors import quoted
from gansynth.generators.stylegan2.config import Shape
from gansynth.generators.stylegan2.machine import Value
from gansynth.generators.stylegan2.refusals import Damaged, Unsupported
from gansynth.generators.stylegan2.tensors import Tensor
from gansynth.generators.stylegan2.vocabulary import Record


class Node:
    """A module with its name within the generator.

    Args:
        record: as the snapshot has it.
        name: for messages and the names of tensors, such as synthesis.b4; empty for the generator.

    Raises:
        Damaged: it does not have what every module has.
    """

    def __init__(self, record: Value, name: str) -> None:
        if type(record) is not Record:
            raise Damaged(f"{name or 'G_ema'} is no module")
        self.name = name
        self.class_name = record.class_name
        self._state = record.state
        self.children = self._mapping("_modules")
        self.tensors = {key: self._tensor(key, value) for key, value in self._stored() if value is not None}

    def __getitem__(self, child: str) -> Node:
        if child not in self.children:
            raise Damaged(f"{self._shown()} has no module {child}")
        return Node(self.children[child], self._below(child))

    def expect(self, children: Iterable[str]) -> None:
        """Raise Damaged unless these are the module's children."""
        if unknown := sorted(self.children.keys() - set(children)):
            raise Damaged(f"{self._shown()} has the unexpected module {quoted(unknown[0])}")

    def has(self, key: str) -> bool:
        """Whether there is an attribute."""
        return key in self._state

    def text(self, key: str) -> str:
        """An attribute that is text."""
        return cast(str, self._attribute(key, (str,)))

    def flag(self, key: str) -> bool:
        """An attribute that is True or False."""
        return cast(bool, self._attribute(key, (bool,)))

    def size(self, key: str) -> int:
        """An attribute that is a whole number."""
        return cast(int, self._attribute(key, (int,)))

    def number(self, key: str) -> float:
        """An attribute that is a finite number."""
        value = self._attribute(key, (int, float))
        if not -1e9 < value < 1e9:
            raise Damaged(f"`{key}` of {self._shown()} is no usable number")
        return float(value)

    def number_or_none(self, key: str) -> float | None:
        """An attribute that is a finite number or None."""
        return None if self.has(key) and self._state[key] is None else self.number(key)

    def shape(self, key: str, dimensions: int) -> Shape:
        """The shape of one of the module's own tensors."""
        if key not in self.tensors or len(self.tensors[key].shape) != dimensions:
            raise Damaged(f"{self._shown()} has no {key} of {dimensions} dimensions")
        return self.tensors[key].shape

    def demand_number(self, key: str, expected: float) -> None:
        """Raise Unsupported unless an attribute has this value, but for rounding."""
        if not math.isclose(self.number(key), expected, rel_tol=1e-5):
            raise Unsupported(f"a generator whose {self._below(key)} is {self.number(key):g} instead of {expected:g}")

    def demand_text(self, key: str, expected: str) -> None:
        """Raise Unsupported unless an attribute has this value."""
        if (seen := self.text(key)) != expected:
            raise Unsupported(f"a generator whose {self._below(key)} is {quoted(seen)} instead of {expected}")

    def _attribute(self, key: str, types: tuple[type, ...]) -> Value:
        if key not in self._state:
            raise Damaged(f"{self._shown()} has no `{key}`")
        if type(self._state[key]) not in types:
            raise Damaged(f"`{key}` of {self._shown()} is a {type(self._state[key]).__name__}")
        return self._state[key]

    def _stored(self) -> list[tuple[str, Value]]:
        parameters, buffers = self._mapping("_parameters"), self._mapping("_buffers")
        if both := sorted(parameters.keys() & buffers.keys()):
            raise Damaged(f"{self._shown()} has {quoted(both[0])} twice")
        return [*parameters.items(), *buffers.items()]

    def _tensor(self, key: str, value: Value) -> Tensor:
        if type(value) is not Tensor:
            raise Damaged(f"{quoted(key)} of {self._shown()} is no tensor")
        return value

    def _mapping(self, key: str) -> dict[str, Value]:
        return cast(dict[str, Value], self._attribute(key, (dict,)))

    def _below(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _shown(self) -> str:
        return self.name or "the generator"
