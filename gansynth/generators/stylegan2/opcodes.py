"""Pickles as data: an interpreter of the few instructions that a snapshot needs, which imports and calls nothing.

Calling a symbol runs this package's own handler for that very name; there is no other way to call anything.
Instructions follow the documentation in Python's pickletools, protocols 2 to 5; those that no snapshot has are refused
by name.

Values are None, bool, int, float, str, tuple, list, dict and set as Python has them, `Span` for byte strings, and
whatever handlers return.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable

from gansynth.errors import quoted
from gansynth.generators.stylegan2.cursor import Budget, Cursor
from gansynth.generators.stylegan2.machine import MAX_NAME, Buildable, Machine, Symbol, Value, Vocabulary, short_text
from gansynth.generators.stylegan2.refusals import Damaged, Refusal, Unsafe

_MAX_INT = 16  # bytes
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


def interpret(cursor: Cursor, vocabulary: Vocabulary, budget: Budget) -> Value:
    """The value of one pickle; leaves the cursor behind its STOP instruction.

    Raises:
        Unsafe: an instruction, name or amount that the vocabulary or the limits do not allow.
        Damaged: no pickle, cut short, or instructions that do not fit together.
    """
    if cursor.take(1) != b"\x80" or not 2 <= (protocol := cursor.byte()) <= 5:
        raise Damaged("it does not begin like a pickle of protocol 2 to 5")
    machine = Machine(cursor, vocabulary, budget)
    instructions = _INSTRUCTIONS
    while (code := cursor.byte()) != _STOP:
        budget.spend()
        instruction = instructions.get(code)
        if instruction is None:
            raise _not_allowed(code, cursor.position - 1, protocol)
        instruction(machine)
    return machine.result()


def _not_allowed(code: int, position: int, protocol: int) -> Refusal:
    if name := _NAMES.get(code):
        return Unsafe(f"{name} at position {position}")
    return Damaged(f"byte {code:#04x} at position {position} is no instruction of a pickle of protocol {protocol}")


def _number(form: str) -> Callable[[Machine], None]:
    unpack, size = struct.Struct(form).unpack, struct.calcsize(form)
    return lambda machine: machine.push(unpack(machine.cursor.take(size))[0])


def _constant(value: Value) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value)


def _text(length_bytes: int) -> Callable[[Machine], None]:
    return lambda machine: machine.text(int.from_bytes(machine.cursor.take(length_bytes), "little"))


def _bytes(length_bytes: int) -> Callable[[Machine], None]:
    def instruction(machine: Machine) -> None:
        length = int.from_bytes(machine.cursor.take(length_bytes), "little")
        machine.push(machine.cursor.skip(length))

    return instruction


def _put(index_bytes: int) -> Callable[[Machine], None]:
    return lambda machine: machine.remember(int.from_bytes(machine.cursor.take(index_bytes), "little"))


def _get(index_bytes: int) -> Callable[[Machine], None]:
    return lambda machine: machine.recall(int.from_bytes(machine.cursor.take(index_bytes), "little"))


def _tuple(length: int) -> Callable[[Machine], None]:
    def instruction(machine: Machine) -> None:
        values = [machine.pop() for _ in range(length)]
        machine.push(tuple(reversed(values)))

    return instruction


def _long(machine: Machine) -> None:
    length = machine.cursor.byte()
    if length > _MAX_INT:
        raise Unsafe(f"a number of {length} bytes")
    machine.push(int.from_bytes(machine.cursor.take(length), "little", signed=True))


def _frame(machine: Machine) -> None:
    length = int.from_bytes(machine.cursor.take(8), "little")
    if length > machine.cursor.end - machine.cursor.position:
        raise Damaged(f"it is cut short: a frame of {length} bytes at position {machine.cursor.position} does not end")


def _append(machine: Machine, values: list[Value]) -> None:
    target = machine.top()
    if type(target) is not list:
        raise Unsafe(f"elements added to a {type(target).__name__}")
    target.extend(values)


def _append_one(machine: Machine) -> None:
    value = machine.pop()
    _append(machine, [value])


def _append_many(machine: Machine) -> None:
    values = machine.pop_to_mark()
    _append(machine, values)


def _set_items(machine: Machine, values: list[Value]) -> None:
    target = machine.top()
    if not isinstance(target, dict):
        raise Unsafe(f"items set in a {type(target).__name__}")
    if len(values) % 2:
        raise Damaged(f"a key before position {machine.cursor.position} has no value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if short_text(key) in target:
            raise Unsafe(f"the key {quoted(key)} twice")
        target[key] = value


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _set_many(machine: Machine) -> None:
    values = machine.pop_to_mark()
    _set_items(machine, values)


def _add_items(machine: Machine) -> None:
    values = machine.pop_to_mark()
    target = machine.top()
    if type(target) is not set:
        raise Unsafe(f"elements added to a {type(target).__name__}")
    target.update(short_text(value) for value in values)


def _global(machine: Machine) -> None:
    lines = [machine.cursor.line(MAX_NAME) for _ in range(2)]
    try:
        module, name = (line.decode("ascii") for line in lines)
    except UnicodeDecodeError:
        raise Damaged(f"the name before position {machine.cursor.position} is not ASCII") from None
    machine.name(module, name)


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


def _reduce(machine: Machine) -> None:
    arguments, symbol = machine.pop(), machine.pop()
    if type(symbol) is not Symbol or symbol not in machine.vocabulary.calls:
        raise Unsafe(f"a call of {_shown(symbol)}")
    if type(arguments) is not tuple:
        raise Unsafe(f"a call of {symbol} with a {type(arguments).__name__}")
    machine.push(machine.vocabulary.calls[symbol](arguments))


def _new(machine: Machine) -> None:
    arguments, symbol = machine.pop(), machine.pop()
    if type(symbol) is not Symbol or symbol not in machine.vocabulary.makes:
        raise Unsafe(f"an instance of {_shown(symbol)}")
    if type(arguments) is not tuple or arguments:
        raise Unsafe(f"an instance of {symbol} with arguments")
    machine.push(machine.vocabulary.makes[symbol]())


def _build(machine: Machine) -> None:
    state = machine.pop()
    target = machine.top()
    if not isinstance(target, Buildable):
        raise Unsafe(f"BUILD on {_shown(target)}")
    target.build(state)


def _persistent(machine: Machine) -> None:
    if machine.vocabulary.persistent is None:
        raise Unsafe(f"BINPERSID before position {machine.cursor.position}")
    machine.push(machine.vocabulary.persistent(machine.pop()))


def _shown(value: Value) -> str:
    return str(value) if type(value) is Symbol else f"a {type(value).__name__}"


_STOP = ord(".")
_INSTRUCTIONS: dict[int, Callable[[Machine], None]] = {
    ord(code): instruction
    for code, instruction in {
        "N": _constant(None),
        "\x88": _constant(True),
        "\x89": _constant(False),
        "J": _number("<i"),
        "K": _number("<B"),
        "M": _number("<H"),
        "G": _number(">d"),
        "\x8a": _long,
        "X": _text(4),
        "\x8c": _text(1),
        "\x8d": _text(8),
        "B": _bytes(4),
        "C": _bytes(1),
        "\x8e": _bytes(8),
        "\x96": _bytes(8),
        ")": _constant(()),
        "]": lambda machine: machine.push([]),
        "}": lambda machine: machine.push({}),
        "\x8f": lambda machine: machine.push(set()),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "(": Machine.mark,
        "t": lambda machine: machine.push(tuple(machine.pop_to_mark())),
        "a": _append_one,
        "e": _append_many,
        "s": _set_item,
        "u": _set_many,
        "\x90": _add_items,
        "q": _put(1),
        "r": _put(4),
        "\x94": lambda machine: machine.remember(len(machine.memo)),
        "h": _get(1),
        "j": _get(4),
        "\x95": _frame,
        "c": _global,
        "\x93": _stack_global,
        "R": _reduce,
        "\x81": _new,
        "b": _build,
        "Q": _persistent,
    }.items()
}
