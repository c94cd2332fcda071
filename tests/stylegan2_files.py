"""Writes StyleGAN2 snapshots with random weights, instruction by instruction: no code of anybody else's is involved.

A snapshot is first a tree of plain values and the few classes below, which a test may alter, and then bytes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gansynth.generators.stylegan2 import Config, expected_shapes
from gansynth.generators.stylegan2.legacy_names import origin

SMALL = Config(
    z_dim=6,
    w_dim=5,
    c_dim=0,
    resolution=16,
    img_channels=3,
    mapping_layers=3,
    mapping_width=7,
    embed_width=0,
    lr_multiplier=0.01,
    channels=(6, 4, 3),
    architecture="skip",
    use_noise=True,
    conv_clamp=(256.0, 256.0, 256.0),
)
CONFIGS = {
    "skip": SMALL,
    "orig": replace(SMALL, architecture="orig", filter_size=3, conv_clamp=(0.7, 0.7, 0.7)),
    "resnet": replace(SMALL, architecture="resnet", conv_clamp=(1.5, 1.5, 1.5)),
    "grey": replace(SMALL, img_channels=1, use_noise=False, conv_clamp=(None, None, None)),
    "conditional": replace(SMALL, c_dim=4, embed_width=5, mapping_layers=2),
}
TINY = Config(4, 3, 0, 4, 1, 1, 3, 0, 0.01, (2,), "skip", True, (None,))


@dataclass(frozen=True)
class Name:
    """A global, such as collections.OrderedDict."""

    module: str
    name: str


@dataclass
class Call:
    """The result of a call, or of __new__ of a class."""

    function: Name
    arguments: Any = ()
    new: bool = False
    items: dict[str, Any] = field(default_factory=dict)
    state: Any = None  # for BUILD


class Raw(bytes):
    """Instructions to be written as they are; together they leave one value."""


class Writer:
    """Writes one value as a pickle, as Python's own pickler would.

    Args:
        protocol: 2 to 5.
        framed: put the pickle into a frame, which protocols from 4 on have.
    """

    def __init__(self, protocol: int = 4, framed: bool = False) -> None:
        self.protocol = protocol
        self.framed = framed
        self.out = bytearray()
        self._memo: dict[Any, int] = {}
        self._kept: list[Any] = []  # what is memoised by identity must live

    def dumps(self, value: Any) -> bytes:
        self.save(value)
        body = bytes(self.out) + b"."
        if self.framed and self.protocol >= 4:
            body = b"\x95" + struct.pack("<Q", len(body)) + body
        return bytes([0x80, self.protocol]) + body

    def save(self, value: Any) -> None:
        key = (type(value), value) if isinstance(value, str | Name) else id(value)
        if key in self._memo:
            index = self._memo[key]
            self.out += b"h" + bytes([index]) if index < 256 else b"j" + struct.pack("<I", index)
            return
        self._kept.append(value)
        getattr(self, "_" + type(value).__name__)(value, key)

    def _put(self, key: Any) -> None:
        index = self._memo[key] = len(self._memo)
        if self.protocol >= 4:
            self.out += b"\x94"
        else:
            self.out += b"q" + bytes([index]) if index < 256 else b"r" + struct.pack("<I", index)

    def _NoneType(self, value: None, key: Any) -> None:
        self.out += b"N"

    def _bool(self, value: bool, key: Any) -> None:
        self.out += b"\x88" if value else b"\x89"

    def _int(self, value: int, key: Any) -> None:
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        elif -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out += b"\x8a" + bytes([len(data)]) + data

    def _float(self, value: float, key: Any) -> None:
        self.out += b"G" + struct.pack(">d", value)

    def _str(self, value: str, key: Any) -> None:
        data = value.encode("utf-8", "surrogatepass")
        short = self.protocol >= 4 and len(data) < 256
        self.out += (b"\x8c" + bytes([len(data)]) if short else b"X" + struct.pack("<I", len(data))) + data
        self._put(key)

    def _bytes(self, value: bytes, key: Any) -> None:
        self.out += b"C" + bytes([len(value)]) if len(value) < 256 else b"B" + struct.pack("<I", len(value))
        self.out += value
        self._put(key)

    def _Raw(self, value: Raw, key: Any) -> None:
        self.out += value

    def _Name(self, value: Name, key: Any) -> None:
        if self.protocol >= 4:
            self.save(value.module)
            self.save(value.name)
            self.out += b"\x93"
        else:
            self.out += f"c{value.module}\n{value.name}\n".encode()
        self._put(key)

    def _tuple(self, value: tuple[Any, ...], key: Any) -> None:
        if len(value) > 3:
            self.out += b"("
        for item in value:
            self.save(item)
        self.out += {0: b")", 1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(value), b"t")
        if value:
            self._put(key)

    def _list(self, value: list[Any], key: Any) -> None:
        self.out += b"]"
        self._put(key)
        self.out += b"("
        for item in value:
            self.save(item)
        self.out += b"e"

    def _dict(self, value: dict[str, Any], key: Any) -> None:
        self.out += b"}"
        self._put(key)
        self._items(value)

    def _items(self, value: dict[str, Any]) -> None:
        if value:
            self.out += b"("
            for pair in value.items():
                self.save(pair[0])
                self.save(pair[1])
            self.out += b"u"

    def _set(self, value: set[str], key: Any) -> None:
        if self.protocol < 4:
            self.save(Call(Name("builtins", "set"), (sorted(value),)))
            return
        self.out += b"\x8f"
        self._put(key)
        self.out += b"("
        for item in sorted(value):
            self.save(item)
        self.out += b"\x90"

    def _Call(self, value: Call, key: Any) -> None:
        self.save(value.function)
        self.save(value.arguments)
        self.out += b"\x81" if value.new else b"R"
        self._put(key)
        self._items(value.items)
        if value.state is not None:
            self.save(value.state)
            self.out += b"b"


def dumps(value: Any, protocol: int = 4, framed: bool = False) -> bytes:
    """The pickle of a tree."""
    return Writer(protocol, framed).dumps(value)


# PyTorch

_ORDERED = Name("collections", "OrderedDict")
_NAMES = {
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "f8": "DoubleStorage",
    "bf2": "BFloat16Storage",
    "i8": "LongStorage",
}


def stream(data: bytes, numel: int, kind: str = "FloatStorage", **changes: Any) -> bytes:
    """The legacy stream of a storage. Changes: magic, version, facts, persistent, keys (replacing a pickle's value)."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    persistent = ("storage", Name("torch", kind), "123", "cpu", numel, None)
    parts = {
        "magic": 0x1950A86A20F9469CFC6C,
        "version": 1001,
        "facts": facts,
        "persistent": persistent,
        "keys": ["123"],
    }
    parts |= changes
    head = b""
    for key, value in parts.items():
        pickle = dumps(value, 2)
        head += pickle[:-1] + b"Q." if key == "persistent" else pickle
    return head + struct.pack("<q", numel) + data


def storage(values: np.ndarray[Any, Any], code: str = "f4") -> Call:
    """A storage of numbers; bfloat16 ("bf2") takes the upper halves of float32."""
    flat = np.ascontiguousarray(values).reshape(-1)
    data = (flat.view("<u4") >> 16).astype("<u2") if code == "bf2" else flat.astype("<" + code)
    return load(stream(data.tobytes(), flat.size, _NAMES[code]))


def load(blob: Any) -> Call:
    """The call that reads a storage."""
    return Call(Name("torch.storage", "_load_from_bytes"), (blob,))


def tensor(values: np.ndarray[Any, Any], code: str = "f4", channels_last: bool = False) -> Call:
    """A tensor that is dense in memory, in the order of its axes or with the second axis last."""
    shape = values.shape
    if channels_last and values.ndim == 4:
        _n, c, h, w = shape
        return view(storage(values.transpose(0, 2, 3, 1), code), shape, (h * w * c, 1, w * c, c))
    return view(storage(values, code), shape, tuple(math.prod(shape[i + 1 :]) for i in range(len(shape))))


def view(stored: Any, shape: Any, strides: Any, offset: Any = 0) -> Call:
    """A view of a storage."""
    arguments = (stored, offset, shape, strides, False, Call(_ORDERED))
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def parameter(value: Any) -> Call:
    """A parameter of a tensor."""
    return Call(Name("torch._utils", "_rebuild_parameter"), (value, False, Call(_ORDERED)))


def scalar(value: float, code: str = "f8", numpy_core: str = "numpy._core.multiarray") -> Call:
    """A numpy scalar."""
    return Call(Name(numpy_core, "scalar"), (dtype(code), struct.pack({"f8": "<d", "f4": "<f"}[code], value)))


def dtype(code: str, order: str = "<") -> Call:
    """A numpy type."""
    return Call(Name("numpy", "dtype"), (code, False, True), state=(3, order, None, None, None, -1, -1, 0))


def module(class_name: str, tensors: dict[str, Any], children: dict[str, Any], old: bool = False, **more: Any) -> Call:
    """The record of a module. `old` is as Python 3.7 and the torch of its time wrote it."""
    buffers = {"w_avg", "noise_const", "resample_filter"}
    parts = {
        "_parameters": {k: None if v is None else parameter(v) for k, v in tensors.items() if k not in buffers},
        "_buffers": {k: v for k, v in tensors.items() if k in buffers},
        "_modules": children,
    }
    state: dict[str, Any] = {"training": False}
    for key in ("_parameters", "_buffers"):
        state[key] = Call(_ORDERED, items=parts[key]) if old else parts[key]
    state["_non_persistent_buffers_set"] = set()
    hooks = ["_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks"]
    state |= {key: Call(_ORDERED) for key in hooks}
    if not old:
        state |= {"_is_full_backward_hook": None, "_forward_hooks_with_kwargs": Call(_ORDERED)}
    state["_modules"] = Call(_ORDERED, items=children) if old else children
    state |= {**more, "_init_args": (1, 2), "_init_kwargs": {"extra": easy({"a": [1, 3, 3, 1]})}}
    return record(class_name, state)


def record(class_name: Any, state: Any, **changes: Any) -> Call:
    """What the persistence layer stores of an object."""
    content = {"type": "class", "version": 6, "module_src": "import os\n", "class_name": class_name, "state": state}
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), ({**content, **changes},))


def easy(items: dict[str, Any]) -> Call:
    """An EasyDict."""
    return Call(Name("dnnlib.util", "EasyDict"), (), new=True, items=items)


def random_tensors(config: Config, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Random weights of the sizes that training begins with, so that latents matter; the usual resampling filters."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        tensors[name] = np.asarray(random.standard_normal(shape), np.float32)
        if name.startswith("mapping.fc"):
            tensors[name] /= np.float32(config.lr_multiplier)
        if "torgb" in name:
            tensors[name] *= np.float32(0.3)
        if name.endswith("resample_filter"):
            taps = np.float32([math.comb(shape[0] - 1, i) for i in range(shape[0])])
            tensors[name] = np.outer(taps, taps) / np.outer(taps, taps).sum()
    return tensors


@dataclass
class _Modules:
    """Builds the records of a generator."""

    config: Config
    tensors: dict[str, np.ndarray[Any, Any]]
    code: str = "f4"
    old: bool = False
    channels_last: bool = False

    def make(self, class_name: str, name: str, children: dict[str, Any], **attributes: Any) -> Call:
        own = {
            key.rpartition(".")[2]: tensor(value, self.code, self.channels_last)
            for key, value in self.tensors.items()
            if key.rpartition(".")[0] == name
        }
        if class_name == "Conv2dLayer":
            own["bias"] = None
        return module(class_name, own, children, self.old, **attributes)

    def dense(self, name: str, activation: str, multiplier: float) -> Call:
        width = self.tensors[f"{name}.weight"].shape[1]
        gain = scalar(
            multiplier / math.sqrt(width), numpy_core="numpy.core.multiarray" if self.old else "numpy._core.multiarray"
        )
        return self.make("FullyConnectedLayer", name, {}, activation=activation, weight_gain=gain, bias_gain=multiplier)

    def layer(self, name: str, side: int, clamp: float | None) -> Call:
        children = {"affine": self.dense(f"{name}.affine", "linear", 1)}
        if name.endswith("torgb"):
            gain = scalar(1 / math.sqrt(self.tensors[f"{name}.weight"].shape[1]))
            return self.make("ToRGBLayer", name, children, conv_clamp=clamp, weight_gain=gain)
        return self.make(
            "SynthesisLayer",
            name,
            children,
            resolution=side,
            up=2 if name.endswith("conv0") else 1,
            use_noise=self.config.use_noise,
            activation="lrelu",
            conv_clamp=clamp,
            padding=1,
            act_gain=scalar(math.sqrt(2)),
        )

    def block(self, index: int) -> Call:
        side, clamp = self.config.resolutions[index], self.config.conv_clamp[index]
        name = f"synthesis.b{side}"
        layers = [key for key in ("conv0", "conv1", "torgb") if f"{name}.{key}.weight" in self.tensors]
        children = {key: self.layer(f"{name}.{key}", side, clamp) for key in layers}
        if f"{name}.skip.weight" in self.tensors:
            children["skip"] = self.make(
                "Conv2dLayer", f"{name}.skip", {}, activation="linear", up=2, conv_clamp=None, weight_gain=1.0
            )
        return self.make("SynthesisBlock", name, children, architecture=self.config.architecture, resolution=side)


def generator(config: Config, tensors: dict[str, np.ndarray[Any, Any]], **how: Any) -> Call:
    """The record of a generator with these tensors. How: code, old, channels_last."""
    make = _Modules(config, tensors, **how)
    sizes = {"w_dim": config.w_dim, "num_ws": config.num_ws}
    blocks = {f"b{side}": make.block(i) for i, side in enumerate(config.resolutions)}
    layers = {
        f"fc{i}": make.dense(f"mapping.fc{i}", "lrelu", config.lr_multiplier) for i in range(config.mapping_layers)
    }
    if config.c_dim:
        layers = {"embed": make.dense("mapping.embed", "linear", 1), **layers}
    children = {
        "synthesis": make.make("SynthesisNetwork", "synthesis", blocks, **sizes),
        "mapping": make.make("MappingNetwork", "mapping", layers, num_layers=config.mapping_layers, **sizes),
    }
    return make.make(
        "Generator",
        "",
        children,
        z_dim=config.z_dim,
        c_dim=config.c_dim,
        img_resolution=config.resolution,
        img_channels=config.img_channels,
        **sizes,
    )


def snapshot(config: Config = SMALL, seed: int = 0, layout: str = "ada", **how: Any) -> dict[str, Any]:
    """The tree of a snapshot as stylegan2-ada-pytorch ("ada") or stylegan3's repository writes it."""
    trained = {"class_name": "training.dataset.ImageFolderDataset", "path": "/home/somebody/faces", "use_labels": True}
    networks = {"G": generator(config, random_tensors(config, seed + 1)), "D": module("Discriminator", {}, {})}
    networks["G_ema"] = generator(config, random_tensors(config, seed), **how)
    if layout == "ada":
        return {"training_set_kwargs": trained, **networks, "augment_pipe": None}
    return {**networks, "augment_pipe": module("AugmentPipe", {}, {}), "training_set_kwargs": easy(trained)}


def state_of(network: Call, *path: str) -> dict[str, Any]:
    """The attributes of a module of a tree that is not `old`."""
    state: dict[str, Any] = network.arguments[0]["state"]
    for name in path:
        state = state["_modules"][name].arguments[0]["state"]
    return state


def stylegan3(config: Config = SMALL) -> dict[str, Any]:
    """The tree of a snapshot of a StyleGAN3 generator, as far as it matters here."""
    size = array(np.int64([36, 36]), "i8")
    inner = module("SynthesisInput", {"weight": tensor(np.ones((2, 2), np.float32))}, {}, size=size)
    synthesis = module("SynthesisNetwork", {}, {"input": inner, "L0_36_16": module("SynthesisLayer", {}, {})})
    return {"G_ema": module("Generator", {}, {"synthesis": synthesis, "mapping": module("MappingNetwork", {}, {})})}


# TensorFlow


def array(values: np.ndarray[Any, Any], code: str = "f4") -> Call:
    """A numpy array."""
    function = Name("numpy.core.multiarray", "_reconstruct")
    state = (1, values.shape, dtype(code), False, np.ascontiguousarray(values).astype("<" + code).tobytes())
    return Call(function, (Name("numpy", "ndarray"), (0,), b"b"), state=state)


def buffer(values: np.ndarray[Any, Any], code: str = "f4") -> Call:
    """A numpy array as protocol 5 has it."""
    data = np.ascontiguousarray(values).astype("<" + code).tobytes()
    content = Raw(b"\x96" + len(data).to_bytes(8, "little") + data)
    return Call(Name("numpy._core.numeric", "_frombuffer"), (content, dtype(code), values.shape, "C"))


def network(state: Any) -> Call:
    """A network of TensorFlow."""
    return Call(Name("dnnlib.tflib.network", "Network"), (), new=True, state=state)


def tensorflow(config: Config = SMALL, seed: int = 0, version: int = 5) -> tuple[Call, Call, Call]:
    """The tree of a snapshot of TensorFlow with the tensors of `random_tensors`."""
    variables: dict[str, list[Any]] = {"": [("lod", scalar(0.0, "f4"))], "synthesis": [], "mapping": []}
    for name, values in random_tensors(config, seed).items():
        if not name.endswith("resample_filter"):
            variable, value = _as_variable(name, values)
            component, _, rest = variable.rpartition("/") if "/" not in variable else variable.partition("/")
            variables[component].append((rest, scalar(float(value), "f4") if value.ndim == 0 else array(value)))
    keywords = {"resolution": config.resolution, "label_size": config.c_dim, "architecture": config.architecture}
    more = {"conv_clamp": config.conv_clamp[0]} if config.conv_clamp[0] is not None else {}
    parts = {name: _tf_state(name, variables[name], version, {**keywords, **more}) for name in variables}
    parts[""]["components"] = {name: network(parts[name]) for name in ("synthesis", "mapping")}
    tiny = network(_tf_state("G", [], version, {}))
    return tiny, tiny, network(parts[""])


def _tf_state(name: str, variables: list[Any], version: int, keywords: dict[str, Any]) -> dict[str, Any]:
    state = {"version": version, "name": f"G{name}", "static_kwargs": keywords, "components": {}}
    state |= {"build_module_src": "import os\n", "build_func_name": "G_main", "variables": variables}
    return state | ({"input_shapes": [[None, 6]], "output_names": ["images_out"]} if version > 4 else {})


def _as_variable(name: str, values: np.ndarray[Any, Any]) -> tuple[str, np.ndarray[Any, Any]]:
    """The inverse of what reading does, written independently of it but for the names."""
    variable = origin(name, values.shape)[0]
    if name.endswith("affine.bias"):
        return variable, values  # reading adds 1
    if name.endswith(("noise_const",)):
        return variable, values[None, None]
    if name.endswith("b4.const"):
        return variable, values[None]
    if values.ndim == 4:
        kernel = np.moveaxis(values, (0, 1), (3, 2))
        return variable, kernel[::-1, ::-1] if "conv0" in name or "skip" in name else kernel
    return variable, values.T


def written(config: Config, folder: Path, name: str = "network.pkl") -> Path:
    """A snapshot file."""
    path = folder / name
    path.write_bytes(dumps(snapshot(config)))
    return path
