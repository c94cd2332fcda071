"""Snapshots of TensorFlow's StyleGAN2 and StyleGAN2-ADA, brought to the names and layouts of PyTorch's.

Such a pickle is a tuple (G, D, Gs) of networks; Gs, the average of G, is the third. A network has components and
variables, whose names are paths such as synthesis/8x8/Conv0_up/weight. What a snapshot does not say about itself has
TensorFlow's defaults.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

import numpy as np

from gansynth.errors import quoted
from gansynth.generators.stylegan2.config import Architecture, Config, Shape, expected_shapes
from gansynth.generators.stylegan2.cursor import Source
from gansynth.generators.stylegan2.legacy_names import layer_of, origin
from gansynth.generators.stylegan2.machine import Value
from gansynth.generators.stylegan2.numerics import Array
from gansynth.generators.stylegan2.refusals import Damaged, Unsupported
from gansynth.generators.stylegan2.tensors import FloatArray, Tensor
from gansynth.generators.stylegan2.vocabulary import Network

Variable = Tensor | float
_MAX_VARIABLES = 2000
_DEFAULT_TAPS: list[float] = [1, 3, 3, 1]
# Keyword arguments with one value that is rendered here; others say nothing that variables do not show.
_ONLY = {"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "normalize_latents": True}


@dataclass(frozen=True)
class Legacy:
    """A generator of TensorFlow, still in the file.

    Args:
        config: what it looks like.
        variables: by their full names.
        taps: of the resampling filter.
    """

    config: Config
    variables: dict[str, Variable]
    taps: list[float]

    def read(self, source: Source) -> dict[str, FloatArray]:
        """Its tensors by PyTorch's names: float32, of the shapes of `expected_shapes`.

        Raises:
            Damaged: a variable is missing, superfluous, of another shape or not of finite numbers.
        """
        left = dict(self.variables)
        tensors = {
            name: self._tensor(name, shape, left, source) for name, shape in expected_shapes(self.config).items()
        }
        left.pop("lod", None)
        noises = [] if self.config.use_noise else [name for name in left if name.startswith("synthesis/noise")]
        if unknown := sorted(left.keys() - set(noises)):
            raise Damaged(f"it has the unexpected variable {quoted(unknown[0])}")
        return tensors

    def _tensor(self, name: str, shape: Shape, left: dict[str, Variable], source: Source) -> FloatArray:
        if name.endswith("resample_filter"):
            return _filter(_DEFAULT_TAPS if "conv1" in name else self.taps)
        variable, convert, shape_there = origin(name, shape)
        if variable not in left:
            raise Damaged(f"it lacks the variable {variable}")
        value = left.pop(variable)
        shape_here = value.shape if isinstance(value, Tensor) else ()
        if shape_here != shape_there:
            raise Damaged(f"its variable {variable} is of shape {list(shape_here)}, not {list(shape_there)}")
        data = value.read(source, variable) if isinstance(value, Tensor) else _scalar(value, variable)
        return np.ascontiguousarray(convert(data)).reshape(shape)


def read_networks(networks: tuple[Value, ...]) -> Legacy:
    """The generator of a tuple (G, D, Gs), with everything but its shapes checked.

    Raises:
        Unsupported: StyleGAN1, or a StyleGAN2 with parts that are not rendered here.
        Damaged: its parts do not fit together.
        WeightsError: a configuration out of bounds.
    """
    state = _state(networks[2])
    version = state.get("version")
    if type(version) is not int or version < 4:
        raise Unsupported("a StyleGAN1 or older network of TensorFlow")
    components = state.get("components")
    if type(components) is not dict or components.keys() != {"synthesis", "mapping"}:
        raise Unsupported("a network of TensorFlow that is no StyleGAN2 generator")
    parts = {"": state, **{f"{name}/": _state(network) for name, network in components.items()}}
    variables: dict[str, Variable] = {}
    for prefix, part in parts.items():
        if part is not state and part.get("components"):
            raise Damaged(f"its component {prefix} has components")
        found = _variables(prefix, part)
        if both := sorted(variables.keys() & found.keys()):
            raise Damaged(f"it has the variable {quoted(both[0])} twice")
        variables |= found
    # A component is called with its network's arguments; it states them too, or only where they differ.
    synthesis, mapping = ({**_keywords(state), **_keywords(parts[name])} for name in ("synthesis/", "mapping/"))
    return _legacy(variables, synthesis, mapping)


def _legacy(variables: dict[str, Variable], synthesis: dict[str, Value], mapping: dict[str, Value]) -> Legacy:
    for key, only in _ONLY.items():
        keywords = synthesis if key == "nonlinearity" else mapping
        if key in keywords and keywords[key] is not only and not _equal_text(keywords[key], only):
            raise Unsupported(f"a generator of TensorFlow with another `{key}` than {only}")
    if any("ToRGB_lod" in name for name in variables):
        raise Unsupported("a generator of TensorFlow with the architecture of StyleGAN1 (ToRGB_lod)")
    resolution = max((int(m[1]) for name in variables if (m := _SIDE.match(name))), default=0)
    sides = [1 << i for i in range(2, min(resolution, 4096).bit_length())]
    w_dim = _shape(variables, "dlatent_avg", 1)[0]
    embed = _shape(variables, "mapping/LabelEmbed/weight", 2) if "mapping/LabelEmbed/weight" in variables else (0, 0)
    if not embed[0] and mapping.get("label_size") not in (None, 0):
        raise Unsupported("a conditional StyleGAN2 of TensorFlow that has no LabelEmbed")
    first = _shape(variables, "mapping/Dense0/weight", 2)
    clamp = _number(synthesis, "conv_clamp", None)
    taps = _taps(synthesis.get("resample_kernel"))
    config = Config(
        z_dim=first[0] - embed[1],
        w_dim=w_dim,
        c_dim=embed[0],
        resolution=resolution,
        img_channels=_shape(variables, f"synthesis/{resolution}x{resolution}/ToRGB/weight", 4)[3],
        mapping_layers=sum(re.fullmatch(r"mapping/Dense\d+/weight", name) is not None for name in variables),
        mapping_width=first[1],
        embed_width=embed[1],
        lr_multiplier=_number(mapping, "mapping_lrmul", 0.01) or 0.0,
        channels=tuple(_shape(variables, f"synthesis/{layer_of(side, 'conv1')}/weight", 4)[3] for side in sides),
        architecture=_architecture(variables, sides, synthesis),
        use_noise="synthesis/4x4/Conv/noise_strength" in variables,
        conv_clamp=(clamp,) * len(sides),
        filter_size=len(taps),
        conv1_filter_size=len(_DEFAULT_TAPS),
    )
    return Legacy(config, variables, taps)


_SIDE = re.compile(r"synthesis/(\d{1,4})x\1/")


def _scalar(value: float, variable: str) -> FloatArray:
    with np.errstate(over="ignore"):
        data = np.array(value, np.float32)
    if not np.isfinite(data) or float(data) != value:
        raise Damaged(f"its variable {variable} is no float32")
    return data


def _filter(taps: list[float]) -> FloatArray:
    square = np.outer(np.array(taps, np.float32), np.array(taps, np.float32))
    return cast(FloatArray, square / square.sum())


def _architecture(variables: dict[str, Variable], sides: list[int], keywords: dict[str, Value]) -> Architecture:
    """Told from the layers that there are; raises Damaged if the snapshot calls it otherwise."""
    images = sum(f"synthesis/{side}x{side}/ToRGB/weight" in variables for side in sides)
    stated = keywords.get("architecture")
    found: Architecture = "skip" if images == len(sides) else "orig"
    if any(f"synthesis/{side}x{side}/Skip/weight" in variables for side in sides):
        found = "resnet"
    if stated is not None and not _equal_text(stated, found) and len(sides) > 1:
        raise Damaged(f"its layers are those of the architecture {found}, but it states another")
    return found


def _state(network: Value) -> dict[str, Value]:
    if type(network) is not Network or network.state is None:
        raise Damaged("one of its networks is none")
    return network.state


def _keywords(part: dict[str, Value]) -> dict[str, Value]:
    keywords = part.get("static_kwargs", {})
    if not isinstance(keywords, dict):
        raise Damaged("the arguments of one of its networks are no dict")
    return keywords


def _variables(prefix: str, part: dict[str, Value]) -> dict[str, Variable]:
    listed = part.get("variables")
    if type(listed) is not list or len(listed) > _MAX_VARIABLES:
        raise Damaged("the variables of one of its networks are no list")
    variables: dict[str, Variable] = {}
    for pair in listed:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str or prefix + pair[0] in variables:
            raise Damaged("one of its variables is no pair of a name and a value, or there twice")
        value = pair[1].tensor if type(pair[1]) is Array else pair[1]
        if not isinstance(value, Tensor | float):
            raise Damaged(f"its variable {quoted(pair[0])} is neither a number nor an array")
        variables[prefix + pair[0]] = value
    return variables


def _shape(variables: dict[str, Variable], name: str, dimensions: int) -> Shape:
    value = variables.get(name)
    if not isinstance(value, Tensor) or len(value.shape) != dimensions:
        raise Damaged(f"it lacks the variable {name} of {dimensions} dimensions")
    return value.shape


def _taps(value: Value) -> list[float]:
    if value is None:
        return list(_DEFAULT_TAPS)
    if type(value) is not list or not 2 <= len(value) <= 7 or not all(type(tap) in (int, float) for tap in value):
        raise Unsupported("a generator of TensorFlow with an unusual `resample_kernel`")
    if not all(-1e6 < tap < 1e6 for tap in value) or not 1e-6 < sum(value) < 1e6:
        raise Unsupported("a generator of TensorFlow with an unusual `resample_kernel`")
    return value


def _number(keywords: dict[str, Value], key: str, default: float | None) -> float | None:
    value = keywords.get(key, default)
    if value is not None and (type(value) not in (int, float) or not 0 < value < 1e9):
        raise Damaged(f"its argument `{key}` is no positive number")
    return None if value is None else float(value)


def _equal_text(value: Value, expected: object) -> bool:
    return type(value) is str and value == expected
