"""The generator of a PyTorch snapshot: its configuration and tensors, from the records of its modules.

Both repositories store what each module was made with as plain attributes, resolved and without defaults. They are
read there, and whatever the formulas of StyleGAN2 leave no choice about is compared with them. Only the children
that such a generator has are visited, by name: records that are shared or nested without end cost nothing.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

from gansynth.errors import quoted
from gansynth.generators.stylegan2.config import Architecture, Config, check_shapes
from gansynth.generators.stylegan2.machine import Value
from gansynth.generators.stylegan2.modules import Node
from gansynth.generators.stylegan2.refusals import Damaged, Unsupported
from gansynth.generators.stylegan2.tensors import Tensor

T = TypeVar("T")
_MAX_BLOCKS = 11
_SQRT2 = math.sqrt(2)


def read_generator(record: Value) -> tuple[Config, dict[str, Tensor]]:
    """The configuration and the tensors, still in the file, of the record of a generator.

    Args:
        record: what the snapshot has as `G_ema`.

    Raises:
        Unsupported: StyleGAN3, or a StyleGAN2 with parts that are not rendered here.
        Damaged: its parts do not fit together.
        WeightsError: a configuration out of bounds, or tensors that do not fit it.
    """
    generator = Node(record, "")
    synthesis = generator["synthesis"]
    if "input" in synthesis.children:
        raise Unsupported("a StyleGAN3 generator")
    if generator.class_name != "Generator" or "b4" not in synthesis.children:
        raise Unsupported(f"a network of class {quoted(generator.class_name)} that is no StyleGAN2 generator")
    config = _config(generator, synthesis)
    tensors = _tensors(generator)
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, config)
    return config, tensors


def _config(generator: Node, synthesis: Node) -> Config:
    generator.expect(["synthesis", "mapping"])
    mapping, resolution = generator["mapping"], generator.size("img_resolution")
    blocks = _blocks(synthesis, resolution)
    layers = [layer for block in blocks for key, layer in _parts(block) if key != "skip"]
    convolutions = [layer for layer in layers if layer.name.endswith(("conv0", "conv1"))]
    for layer in layers:
        _check_layer(layer)
    last = blocks[-1]
    config = Config(
        z_dim=generator.size("z_dim"),
        w_dim=generator.size("w_dim"),
        c_dim=generator.size("c_dim"),
        resolution=resolution,
        img_channels=generator.size("img_channels"),
        **_mapping(mapping),
        channels=tuple(block["conv1"].shape("weight", 4)[0] for block in blocks),
        architecture=cast(Architecture, _agreed("architecture", [block.text("architecture") for block in blocks])),
        use_noise=_agreed("use_noise", [layer.flag("use_noise") for layer in convolutions]),
        conv_clamp=tuple(map(_clamp, blocks)),
        filter_size=last.shape("resample_filter", 2)[0],
        conv1_filter_size=last["conv1"].shape("resample_filter", 2)[0],
    )
    for node in (generator, synthesis, mapping):
        _agreed("num_ws", [node.size("num_ws"), config.num_ws])
    return config


def _mapping(mapping: Node) -> dict[str, Value]:
    """What the mapping network contributes to the configuration."""
    count = mapping.size("num_layers")
    if not 1 <= count <= 64:
        raise Damaged(f"the mapping network has {count} layers")
    names = [f"fc{i}" for i in range(count)]
    embedded = "embed" in mapping.children
    mapping.expect([*names, "embed"])
    multipliers = [mapping[name].number("bias_gain") for name in names]
    if embedded:
        _check_dense(mapping["embed"], "linear", 1.0)
    for name in names:
        _check_dense(mapping[name], "lrelu", multipliers[0])
    return {
        "mapping_layers": count,
        "mapping_width": mapping["fc0"].shape("weight", 2)[0],
        "embed_width": mapping["embed"].shape("weight", 2)[0] if embedded else 0,
        "lr_multiplier": _agreed("bias_gain", multipliers),
    }


def _blocks(synthesis: Node, resolution: int) -> list[Node]:
    names = [f"b{4 << i}" for i in range(_MAX_BLOCKS) if 4 << i <= resolution]
    synthesis.expect(names)
    if not names:
        raise Damaged(f"`img_resolution` is {resolution}")
    return [synthesis[name] for name in names]


def _parts(block: Node) -> list[tuple[str, Node]]:
    block.expect(["conv0", "conv1", "torgb", "skip"])
    return [(key, block[key]) for key in block.children]


def _check_layer(layer: Node) -> None:
    """Convolutions and ToRGB have the activations, factors and padding that StyleGAN2 gives them."""
    layer.expect(["affine"])
    _check_dense(layer["affine"], "linear", 1.0)
    shape = layer.shape("weight", 4)
    if layer.name.endswith("torgb"):
        layer.demand_number("weight_gain", 1 / math.sqrt(max(math.prod(shape[1:]), 1)))
        return
    layer.demand_text("activation", "lrelu")
    layer.demand_number("up", 2 if layer.name.endswith("conv0") else 1)
    if layer.has("act_gain"):
        layer.demand_number("act_gain", _SQRT2)
    if layer.has("padding"):
        layer.demand_number("padding", 1)


def _check_dense(layer: Node, activation: str, multiplier: float) -> None:
    layer.expect([])
    layer.demand_text("activation", activation)
    layer.demand_number("bias_gain", multiplier)
    layer.demand_number("weight_gain", multiplier / math.sqrt(max(layer.shape("weight", 2)[1], 1)))


def _clamp(block: Node) -> float | None:
    layers = [layer for key, layer in _parts(block) if key != "skip"]
    if "skip" in block.children:
        block["skip"].expect([])
        if block["skip"].has("activation"):
            block["skip"].demand_text("activation", "linear")
        if block["skip"].has("conv_clamp") and block["skip"].number_or_none("conv_clamp") is not None:
            raise Unsupported(f"a generator whose {block.name}.skip clamps its values")
    return _agreed("conv_clamp", [layer.number_or_none("conv_clamp") for layer in layers])


def _agreed(key: str, values: list[T]) -> T:
    if any(value != values[0] for value in values):
        raise Unsupported(f"a generator whose `{key}` is not the same everywhere")
    return values[0]


def _tensors(generator: Node) -> dict[str, Tensor]:
    """Every tensor by its full name. Two levels below the blocks were found to have no further children."""
    found: dict[str, Tensor] = {}
    level = [generator]
    while level:
        for node in level:
            found |= {f"{node.name}.{key}".lstrip("."): tensor for key, tensor in node.tensors.items()}
        level = [node[child] for node in level for child in node.children]
    return found
