"""numpy's types, scalars and arrays in pickles, as inert stand-ins. Only plain numbers of fixed size."""

from __future__ import annotations

import math
import struct

from gansynth.generators.stylegan2.cursor import Source, Span
from gansynth.generators.stylegan2.machine import Buildable, Symbol, Value
from gansynth.generators.stylegan2.refusals import Unsafe
from gansynth.generators.stylegan2.tensors import Kind, Tensor, contiguous, view

NDARRAY = Symbol("numpy", "ndarray")
# Of each kind of numbers: how Python's struct reads one.
_FORMS = {
    "b1": "<?",
    "i1": "<b",
    "i2": "<h",
    "i4": "<i",
    "i8": "<q",
    "u1": "<B",
    "u2": "<H",
    "u4": "<I",
    "u8": "<Q",
    "f2": "<e",
    "f4": "<f",
    "f8": "<d",
}


class DType(Buildable):
    """numpy.dtype, which the pickle first names and then tells the byte order of."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.built = False

    def build(self, state: Value) -> None:
        """Take numpy's state: version 3, the byte order, and nothing that plain numbers do not have."""
        order = "|" if self.kind.itemsize == 1 else "<"
        if self.built or not _same(state, (3, order, None, None, None, -1, -1, 0)):
            raise Unsafe("a numpy.dtype that is not of plain little-endian numbers")
        self.built = True


class Array(Buildable):
    """numpy.ndarray, which the pickle first makes empty and then gives its content."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None

    def build(self, state: Value) -> None:
        """Take numpy's state: version 1, shape, type, order and bytes."""
        if self.tensor is not None or type(state) is not tuple or len(state) != 5 or not _same(state[:1], (1,)):
            raise Unsafe("a numpy.ndarray with a state that arrays do not have")
        _, shape, dtype, column_major, payload = state
        self.fill(payload, dtype, shape, column_major)

    def fill(self, payload: Value, dtype: Value, shape: Value, column_major: Value) -> None:
        """Take the content; raises Unsafe if it is none."""
        kind = _kind(dtype)
        if type(shape) is not tuple or len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
            raise Unsafe("a numpy.ndarray whose shape is none")
        if type(column_major) is not bool or type(payload) is not Span:
            raise Unsafe("a numpy.ndarray that does not consist of bytes")
        if math.prod(shape) * kind.itemsize != payload.length:
            raise Unsafe(f"a numpy.ndarray whose shape does not fit its {payload.length} bytes")
        self.tensor = view(payload, kind, 0, shape, contiguous(shape, column_major))


def dtype(arguments: tuple[Value, ...]) -> DType:
    """The handler of numpy.dtype. Raises Unsafe for anything but plain numbers."""
    if len(arguments) != 3 or type(arguments[0]) is not str or arguments[0] not in _FORMS:
        raise Unsafe("a numpy.dtype of something other than plain numbers")
    if arguments[1] is not False or arguments[2] is not True:
        raise Unsafe("a numpy.dtype with arguments that no snapshot has")
    return DType(Kind(arguments[0]))


def reconstruct(arguments: tuple[Value, ...]) -> Array:
    """The handler of numpy's _reconstruct, which makes an empty array. Raises Unsafe for any other arguments."""
    if (
        len(arguments) != 3
        or arguments[0] != NDARRAY
        or not _same(arguments[1], (0,))
        or type(arguments[2]) is not Span
    ):
        raise Unsafe("numpy's _reconstruct of something other than an array")
    return Array()


def from_buffer(arguments: tuple[Value, ...]) -> Array:
    """The handler of numpy's _frombuffer, by which protocol 5 makes an array. Raises Unsafe for any other arguments."""
    if len(arguments) != 4 or type(arguments[3]) is not str or arguments[3] not in ("C", "F"):
        raise Unsafe("numpy's _frombuffer with arguments that no snapshot has")
    payload, dtype, shape, order = arguments
    array = Array()
    array.fill(payload, dtype, shape, order == "F")
    return array


def scalar(source: Source, arguments: tuple[Value, ...]) -> bool | int | float:
    """The handler of numpy's scalar: the number as Python has it. Raises Unsafe if it is none."""
    if len(arguments) != 2 or type(arguments[1]) is not Span:
        raise Unsafe("a numpy scalar that does not consist of bytes")
    kind, payload = _kind(arguments[0]), arguments[1]
    if payload.length != kind.itemsize:
        raise Unsafe(f"a numpy scalar of {payload.length} bytes")
    number: bool | int | float = struct.unpack(_FORMS[kind.code], source.read(payload))[0]
    return number


def _kind(value: Value) -> Kind:
    if type(value) is not DType or not value.built:
        raise Unsafe("numbers of an unknown numpy.dtype")
    return value.kind


def _same(value: Value, expected: tuple[object, ...]) -> bool:
    """Equal in value and type, in tuples of plain values. Deeper values are never compared."""
    return (
        type(value) is tuple
        and len(value) == len(expected)
        and all(type(a) is type(b) and a == b for a, b in zip(value, expected, strict=True))
    )
