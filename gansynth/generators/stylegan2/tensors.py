"""Tensors that still lie in the file, and reading them.

Until `Tensor.read`, a tensor is a few numbers: where its bytes are, of which kind, shape and strides. What a hostile
file says of tensors that are never read costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gansynth.generators.stylegan2.cursor import Source, Span
from gansynth.generators.stylegan2.machine import Value
from gansynth.generators.stylegan2.refusals import Damaged, Unsafe

FloatArray = npt.NDArray[np.float32]
_MAX_DIMENSIONS = 8
_MAX_BYTES = 192 << 20  # of one tensor, in the file and in memory; the largest of a snapshot of 1024 pixels has 9 MiB
_BFLOAT16 = "bf2"  # numpy has no such kind


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of numbers: b, i, u, f or bf, and how many bytes one has. Little-endian."""

    code: str

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return int(self.code[-1])

    @property
    def is_float(self) -> bool:
        """Whether weights may be of this kind."""
        return "f" in self.code


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of numbers in the file, checked against what there is.

    Args:
        payload: the bytes of the whole storage.
        kind: of its numbers.
        offset: of the first number, in numbers.
        shape, strides: one number each a dimension; strides in numbers.
    """

    payload: Span
    kind: Kind
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, source: Source, name: str) -> FloatArray:
        """Its numbers as float32 [*shape], contiguous and writable, with exactly their values in the file.

        Args:
            source: the file.
            name: for messages.

        Raises:
            Damaged: of a kind or layout that weights do not have, or with numbers that are not finite.
        """
        count = math.prod(self.shape)
        if not self.kind.is_float:
            raise Damaged(f"{name} holds whole numbers where weights are needed")
        if count * max(self.kind.itemsize, 4) > _MAX_BYTES:
            raise Damaged(f"{name} is larger than {_MAX_BYTES >> 20} MiB")
        order = sorted(range(len(self.shape)), key=lambda i: (-self.strides[i], -self.shape[i]))
        permuted = tuple(self.shape[i] for i in order)
        if not _dense(permuted, tuple(self.strides[i] for i in order)):
            raise Damaged(f"{name} has gaps between its numbers")
        data = np.empty(count * self.kind.itemsize, np.uint8)
        source.fill(self.payload.start + self.offset * self.kind.itemsize, data.data)
        values = _floats(data, self.kind, name)
        if not np.isfinite(values).all():
            raise Damaged(f"{name} holds numbers that are not finite")
        back = np.argsort(order) if order else ()
        return np.ascontiguousarray(values.reshape(permuted).transpose(back)).reshape(self.shape)


def view(payload: Span, kind: Kind, offset: Value, shape: Value, strides: Value) -> Tensor:
    """A tensor of what a file says about it.

    Raises:
        Unsafe: a view that leaves its storage, shows numbers twice, or is not described by small whole numbers.
    """
    numel = payload.length // kind.itemsize
    if not (_is_size(offset) and _are_sizes(shape) and _are_sizes(strides) and len(shape) == len(strides)):
        raise Unsafe("a tensor whose shape, strides or offset are no sizes")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if offset > numel or (0 not in shape and last >= numel):
        raise Unsafe(f"a tensor that reaches beyond its {numel} numbers")
    if math.prod(shape) > numel or (0 not in shape and _overlaps(shape, strides)):
        raise Unsafe("a tensor that shows numbers more than once")
    return Tensor(payload, kind, offset, shape, strides)


def contiguous(shape: tuple[int, ...], column_major: bool = False) -> tuple[int, ...]:
    """Strides of a dense tensor whose last (or first) index runs fastest."""
    sizes = shape if column_major else shape[::-1]
    strides = tuple(math.prod(sizes[:i]) for i in range(len(sizes)))
    return strides if column_major else strides[::-1]


def _floats(data: npt.NDArray[np.uint8], kind: Kind, name: str) -> FloatArray:
    """Bytes as float32, bit for bit the same numbers; overwrites nothing."""
    if kind.code == _BFLOAT16:
        wide = data.view("<u2").astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    stored = data.view("<" + kind.code)
    with np.errstate(all="ignore"):
        values = stored.astype(np.float32, copy=False)
        if kind.itemsize > values.itemsize and not np.array_equal(values, stored):
            raise Damaged(f"{name} holds numbers that float32 cannot hold exactly")
    return values


def _dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the numbers lie without gaps, the last index running fastest. Strides of a single index do not matter."""
    pairs = zip(shape, strides, contiguous(shape), strict=True)
    return 0 in shape or all(size == 1 or stride == dense for size, stride, dense in pairs)


def _overlaps(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    reach = 0
    for stride, size in sorted((stride, size) for size, stride in zip(shape, strides, strict=True) if size > 1):
        if stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def _is_size(value: Value) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _are_sizes(values: Value) -> bool:
    return type(values) is tuple and len(values) <= _MAX_DIMENSIONS and all(_is_size(value) for value in values)
