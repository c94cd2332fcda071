"""Storages of tensors: the byte strings that torch.save wrote before it wrote zip files, and views of them.

Such a stream is five pickles of protocol 2 (a magic number, a version, facts of the machine, a persistent id that
describes the storage, a list of its key), the number of elements in 8 bytes, and the elements. torch's own function
for it would unpickle whatever it finds; here every pickle is interpreted as data, and the elements stay in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from gansynth.generators.stylegan2.cursor import Budget, Cursor, Source, Span
from gansynth.generators.stylegan2.machine import Symbol, Value, Vocabulary
from gansynth.generators.stylegan2.opcodes import interpret
from gansynth.generators.stylegan2.refusals import Damaged, Unsafe
from gansynth.generators.stylegan2.tensors import Kind, Tensor, view

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_KINDS = {
    Symbol("torch", f"{name}Storage"): Kind(code)
    for name, code in {
        "Float": "f4",
        "Half": "f2",
        "Double": "f8",
        "BFloat16": "bf2",
        "Long": "i8",
        "Int": "i4",
        "Short": "i2",
        "Char": "i1",
        "Byte": "u1",
        "Bool": "b1",
    }.items()
}
_NOTHING = Vocabulary()


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers of one kind in the file."""

    payload: Span
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Described:
    """A storage as its persistent id describes it."""

    kind: Kind
    key: str
    numel: int


def parse(source: Source, budget: Budget, arguments: tuple[Value, ...]) -> Storage:
    """The storage of a byte string; the handler of torch.storage._load_from_bytes.

    Args:
        source: the file.
        budget: what the file may still cost.
        arguments: one `Span`, the whole stream.

    Raises:
        Unsafe: an instruction or name that a storage does not have.
        Damaged: no such stream, or one that contradicts itself.
    """
    if len(arguments) != 1 or type(arguments[0]) is not Span:
        raise Unsafe("a storage that is no byte string")
    cursor = Cursor(source, arguments[0])
    if interpret(cursor, _NOTHING, budget) != _MAGIC or interpret(cursor, _NOTHING, budget) != _VERSION:
        raise Damaged("a storage of another format")
    _check_machine(interpret(cursor, _NOTHING, budget))
    described = interpret(cursor, Vocabulary(inert=frozenset(_KINDS), persistent=_describe), budget)
    keys = interpret(cursor, _NOTHING, budget)
    if type(described) is not _Described or type(keys) is not list or keys != [described.key]:
        raise Damaged("a storage that does not describe itself")
    numel = int.from_bytes(cursor.take(8), "little")
    payload = cursor.skip(cursor.end - cursor.position)
    if numel != described.numel or numel * described.kind.itemsize != payload.length:
        raise Damaged(f"a storage of {described.numel} numbers has {payload.length} bytes")
    return Storage(payload, described.kind)


def rebuild_tensor(arguments: tuple[Value, ...]) -> Tensor:
    """A view of a storage; the handler of torch._utils._rebuild_tensor_v2. Raises Unsafe if it is not one."""
    if len(arguments) != 6 or type(arguments[0]) is not Storage:
        raise Unsafe("a tensor that is no view of a storage")
    storage, offset, shape, strides, requires_grad, hooks = arguments
    _check_extras(requires_grad, hooks)
    return view(storage.payload, storage.kind, offset, shape, strides)


def rebuild_parameter(arguments: tuple[Value, ...]) -> Tensor:
    """The tensor of a parameter; the handler of torch._utils._rebuild_parameter. Raises Unsafe if it is not one."""
    if len(arguments) != 3 or type(arguments[0]) is not Tensor:
        raise Unsafe("a parameter that is no tensor")
    _check_extras(*arguments[1:])
    return arguments[0]


def loader(source: Source, budget: Budget) -> partial[Storage]:
    """`parse` for the storages of one file."""
    return partial(parse, source, budget)


def _check_extras(requires_grad: Value, hooks: Value) -> None:
    if type(requires_grad) is not bool or type(hooks) is not dict or hooks:
        raise Unsafe("a tensor with hooks")


def _check_machine(facts: Value) -> None:
    if type(facts) is not dict or facts.keys() != {"protocol_version", "little_endian", "type_sizes"}:
        raise Damaged("a storage of another format")
    if facts["protocol_version"] != _VERSION or facts["little_endian"] is not True:
        raise Damaged("a storage of a big-endian machine or of another format")


def _describe(value: Value) -> _Described:
    if type(value) is not tuple or len(value) != 6 or value[0] != "storage":
        raise Unsafe("a persistent id of something other than a storage")
    _, symbol, key, location, numel, view_metadata = value
    if type(symbol) is not Symbol or symbol not in _KINDS:
        raise Unsafe("a storage of no known kind of numbers")
    if type(key) is not str or type(location) is not str or type(numel) is not int or view_metadata is not None:
        raise Unsafe("a persistent id with contents that no storage has")
    return _Described(_KINDS[symbol], key, numel)
