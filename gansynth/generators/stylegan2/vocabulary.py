"""The names that snapshots mention, and what each of them means here.

The list is complete for snapshots of stylegan2-ada-pytorch, of stylegan3's repository, and of TensorFlow's
StyleGAN2 and StyleGAN2-ADA. Python source in a snapshot (`module_src`, `build_module_src`) is text like any other and
is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gansynth.errors import quoted
from gansynth.generators.stylegan2 import numerics, storages
from gansynth.generators.stylegan2.cursor import Budget, Source
from gansynth.generators.stylegan2.machine import Buildable, Symbol, Value, Vocabulary, text_set
from gansynth.generators.stylegan2.refusals import Unsafe

_RECORD_KEYS = {"type", "version", "module_src", "class_name", "state"}
_RECORD_VERSION = 6


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A module of a PyTorch snapshot: the name of its class, and its attributes, which nothing has checked yet."""

    class_name: str
    state: dict[str, Value]


class Network(Buildable):
    """A network of a TensorFlow snapshot, with its attributes, which nothing has checked yet."""

    def __init__(self) -> None:
        self.state: dict[str, Value] | None = None

    def build(self, state: Value) -> None:
        """Take the attributes, once."""
        if self.state is not None or type(state) is not dict:
            raise Unsafe("a Network with a state that networks do not have")
        self.state = state


class EasyDict(dict[str, Value], Buildable):
    """A dict with attributes, of which it has none in a pickle."""

    def build(self, state: Value) -> None:
        """Take no state."""
        if type(state) is not dict or state:
            raise Unsafe("an EasyDict with a state")


def of_snapshots(source: Source, budget: Budget) -> Vocabulary:
    """The vocabulary for one file.

    Args:
        source: the file, from which storages and scalars are read.
        budget: what the file may still cost.
    """
    scalar = partial(numerics.scalar, source)
    calls: dict[tuple[str, str], Callable[[tuple[Value, ...]], Value]] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): partial(_record, budget),
        ("torch._utils", "_rebuild_parameter"): storages.rebuild_parameter,
        ("torch._utils", "_rebuild_tensor_v2"): storages.rebuild_tensor,
        ("torch.storage", "_load_from_bytes"): storages.loader(source, budget),
        ("collections", "OrderedDict"): _ordered_dict,
        ("builtins", "set"): partial(_set, budget),
        ("__builtin__", "set"): partial(_set, budget),
        ("numpy", "dtype"): numerics.dtype,
        ("numpy.core.multiarray", "scalar"): scalar,
        ("numpy._core.multiarray", "scalar"): scalar,
        ("numpy.core.multiarray", "_reconstruct"): numerics.reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): numerics.reconstruct,
        ("numpy.core.numeric", "_frombuffer"): numerics.from_buffer,
        ("numpy._core.numeric", "_frombuffer"): numerics.from_buffer,
    }
    makes = {("dnnlib.util", "EasyDict"): EasyDict, ("dnnlib.tflib.network", "Network"): Network}
    return Vocabulary(
        calls={Symbol(*name): handler for name, handler in calls.items()},
        makes={Symbol(*name): handler for name, handler in makes.items()},
        inert=frozenset({numerics.NDARRAY}),
    )


def _record(budget: Budget, arguments: tuple[Value, ...]) -> Record:
    if len(arguments) != 1 or type(arguments[0]) is not dict or arguments[0].keys() != _RECORD_KEYS:
        raise Unsafe("a module with other contents than modules have")
    content = arguments[0]
    if content["type"] != "class" or type(content["version"]) is not int or content["version"] != _RECORD_VERSION:
        raise Unsafe("a module of another kind or version")
    texts, state = (content["class_name"], content["module_src"]), content["state"]
    if not all(type(text) is str for text in texts) or type(state) is not dict:
        raise Unsafe("a module with contents of other types than modules have")
    budget.spend(len(state))
    for key, value in state.items():
        if "hooks" in key and value is not None and value is not False and not _is_empty(value):
            raise Unsafe(f"a module with {quoted(key)}")
    return Record(content["class_name"], state)


def _is_empty(value: Value) -> bool:
    return type(value) in (dict, list, set, tuple) and not value


def _ordered_dict(arguments: tuple[Value, ...]) -> dict[str, Value]:
    if arguments:
        raise Unsafe("an OrderedDict with arguments")
    return {}


def _set(budget: Budget, arguments: tuple[Value, ...]) -> set[str]:
    if len(arguments) != 1:
        raise Unsafe("a set with other arguments than a list")
    return text_set(arguments[0], budget)
