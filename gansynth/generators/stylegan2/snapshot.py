"""Reading a StyleGAN2 snapshot: from a file nobody has vouched for to a configuration and arrays."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from gansynth.errors import WeightsError
from gansynth.generators.stylegan2.config import Config
from gansynth.generators.stylegan2.cursor import Budget, Cursor, Source, Span
from gansynth.generators.stylegan2.legacy_tf import read_networks
from gansynth.generators.stylegan2.machine import Value
from gansynth.generators.stylegan2.opcodes import interpret
from gansynth.generators.stylegan2.records import read_generator
from gansynth.generators.stylegan2.refusals import Damaged, Refusal, Unsafe, Unsupported
from gansynth.generators.stylegan2.tensors import FloatArray
from gansynth.generators.stylegan2.vocabulary import Network, of_snapshots

MAX_FILE = 8 << 30  # bytes; a snapshot of 1024 pixels has about 360 MB
_MISTAKES = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, struct.error)
Framework = Literal["pytorch", "tensorflow"]
T = TypeVar("T")


@dataclass(frozen=True)
class Description:
    """What a snapshot tells without its tensors being read.

    Args:
        config: what its generator looks like.
        framework: that wrote the file.
        contents: what the file holds beside each other, by name; only the generator in it is ever used.
    """

    config: Config
    framework: Framework
    contents: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """The averaged generator of a snapshot (G_ema, or Gs of TensorFlow), as arrays.

    Args:
        config: what it looks like.
        tensors: name -> float32 array, contiguous and finite; names and shapes are those of `expected_shapes`.
        framework: that wrote the file.
    """

    config: Config
    tensors: dict[str, FloatArray]
    framework: Framework


def read(path: Path) -> Snapshot:
    """The generator of a snapshot pickle. Imports, runs and writes nothing that the file asks for.

    Reads pickles of stylegan2-ada-pytorch, of StyleGAN2 in stylegan3's repository, and of TensorFlow's StyleGAN2 and
    StyleGAN2-ADA. Everything else in them (the discriminator, source texts, paths of training data) is dropped.

    Raises:
        Unsafe: instructions, names or amounts that no snapshot has.
        Unsupported: a snapshot of another network.
        Damaged: cut short, altered, or no snapshot.
        WeightsError: no such file, or one that cannot be read. The three above are kinds of it.
    """
    return _guarded(path, _snapshot)


def describe_snapshot(path: Path) -> Description:
    """As `read`, but leaves the tensors in the file."""
    return _guarded(path, _description)


def _guarded(path: Path, act: Callable[[Value, Source], T]) -> T:
    """Read a file; whatever goes wrong becomes one kind of error that names it."""
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: there is no such file; name a StyleGAN2 snapshot (.pkl)")
        with path.open("rb") as file:
            return _read(Source(file, path.stat().st_size), act)
    except Unsafe as refusal:
        raise Unsafe(
            f"{path}: contains instructions that no StyleGAN2 snapshot has: {refusal}; nothing was executed; "
            "do not open it with other tools, and get the file from its publisher"
        ) from None
    except Unsupported as refusal:
        raise Unsupported(
            f"{path}: holds {refusal}, which is not supported; use a snapshot of StyleGAN2 or StyleGAN2-ADA"
        ) from None
    except Refusal as refusal:
        raise _damaged(path, refusal) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
    except MemoryError:
        raise WeightsError(f"{path}: needs more memory than there is; read it on a larger machine") from None
    except _MISTAKES as error:
        # No file is known to get here. The cause stays for whoever looks into it; the file is refused all the same.
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: Exception) -> Damaged:
    shown = str(reason) or type(reason).__name__
    return Damaged(f"{path}: is damaged or no StyleGAN2 snapshot: {shown}; fetch or copy the file again")


def _read(source: Source, act: Callable[[Value, Source], T]) -> T:
    if source.size > MAX_FILE:
        raise Damaged(f"it has {source.size} bytes, more than {MAX_FILE} bytes")
    _check_format(source)
    budget = Budget()
    cursor = Cursor(source, Span(0, source.size))
    content = interpret(cursor, of_snapshots(source, budget), budget)
    if cursor.position != cursor.end:
        raise Unsafe(f"{cursor.end - cursor.position} bytes behind its end")
    try:
        return act(content, source)
    except Refusal:
        raise
    except WeightsError as error:  # of a configuration, which knows of no file
        raise Damaged(str(error)) from None


def _check_format(source: Source) -> None:
    start = source.read(Span(0, min(source.size, 4)))
    if start.startswith(b"PK\x03\x04"):
        raise Unsupported("a zip archive, as torch.save writes it, instead of a snapshot")
    if not start:
        raise Damaged("it is empty")


def _snapshot(content: Value, source: Source) -> Snapshot:
    description, tensors = _generator(content)
    return Snapshot(description.config, tensors(source), description.framework)


def _description(content: Value, source: Source) -> Description:
    return _generator(content)[0]


def _generator(content: Value) -> tuple[Description, Callable[[Source], dict[str, FloatArray]]]:
    """The generator in what the pickle contains: a dict of PyTorch modules or a tuple of TensorFlow networks."""
    if type(content) is tuple and len(content) == 3 and all(type(network) is Network for network in content):
        legacy = read_networks(content)
        return Description(legacy.config, "tensorflow", ("G", "D", "Gs (used)")), legacy.read
    if not isinstance(content, dict):
        raise Damaged(f"it holds a {type(content).__name__}, neither a dict nor three networks")
    if content.get("G_ema") is None:
        raise Damaged("it has no G_ema, the averaged generator")
    config, tensors = read_generator(content["G_ema"])
    contents = tuple(_named(key, value) for key, value in content.items())
    return Description(config, "pytorch", contents), lambda source: {
        n: tensor.read(source, n) for n, tensor in tensors.items()
    }


def _named(key: Value, value: Value) -> str:
    """How `contents` names a part. Only known keys are shown: any other text in the file is somebody's."""
    known = {"G": "G", "D": "D", "G_ema": "G_ema (used)", "augment_pipe": "augment_pipe"}
    known["training_set_kwargs"] = "training_set_kwargs (not kept)"
    name = known.get(key, "an unknown part") if isinstance(key, str) else "an unknown part"
    return f"{name}: none" if value is None else name
