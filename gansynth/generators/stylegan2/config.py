"""What a StyleGAN2 generator looks like: config.json of a converted folder, and the shapes that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from gansynth.errors import WeightsError, quoted

FAMILY = "stylegan2"
Architecture = Literal["skip", "orig", "resnet"]
Shape = tuple[int, ...]
MAX_PARAMETERS = 128_000_000  # config F at 1024 pixels has 30 million
# Least and greatest value of each whole number.
_LIMITS = {
    "z_dim": (1, 4096),
    "w_dim": (1, 4096),
    "c_dim": (0, 65536),
    "resolution": (4, 4096),
    "img_channels": (1, 16),
    "mapping_layers": (1, 64),
    "mapping_width": (1, 4096),
    "embed_width": (0, 4096),
    "filter_size": (2, 7),  # from 8 taps on, the filter would be stored as a vector
    "conv1_filter_size": (1, 7),
}
_MAX_CHANNELS = 4096


@dataclass(frozen=True)
class Config:
    """A StyleGAN2 generator without its weights. Contradictions raise WeightsError when it is made.

    Activations are leaky ReLU with slope 0.2 and gain sqrt(2); nothing else is supported.

    Args:
        z_dim, w_dim: lengths of z and w.
        c_dim: number of classes, 0 for unconditional generators.
        resolution: height and width of the images, a power of two from 4 on.
        img_channels: 3 for RGB.
        mapping_layers: dense layers fc0, fc1, ... of the mapping network.
        mapping_width: width between them; with a single layer it means nothing and equals w_dim.
        embed_width: width of the embedded class; 0 exactly if unconditional.
        lr_multiplier: the mapping's weights and biases are multiplied by it.
        channels: of the blocks b4, b8, ... up to the resolution.
        architecture: skip (every block has a ToRGB), orig (the last only) or resnet (as orig, with skip connections).
        use_noise: whether layers add noise.
        conv_clamp: of the blocks: bound of the values behind each convolution, None for no bound.
        filter_size: taps along each side of the resampling filters of blocks, conv0 and skip.
        conv1_filter_size: the same of the filters of conv1, which are stored but unused.
    """

    z_dim: int
    w_dim: int
    c_dim: int
    resolution: int
    img_channels: int
    mapping_layers: int
    mapping_width: int
    embed_width: int
    lr_multiplier: float
    channels: tuple[int, ...]
    architecture: Architecture
    use_noise: bool
    conv_clamp: tuple[float | None, ...]
    filter_size: int = 4
    conv1_filter_size: int = 4

    def __post_init__(self) -> None:
        for key in _LIMITS:
            _check_limits(key, getattr(self, key))
        if self.resolution & (self.resolution - 1):
            raise WeightsError(f"`resolution` is {self.resolution}, not a power of two")
        if bool(self.c_dim) != bool(self.embed_width):
            raise WeightsError(f"`c_dim` is {self.c_dim}, but `embed_width` is {self.embed_width}")
        if self.mapping_layers == 1 and self.mapping_width != self.w_dim:
            raise WeightsError("`mapping_width` differs from `w_dim`, but there is only one layer")
        self._check_blocks()
        self._check_choices()
        # Whole numbers become floats, so that equal configurations are equal as JSON, which identities are made of.
        object.__setattr__(self, "lr_multiplier", float(self.lr_multiplier))
        object.__setattr__(self, "conv_clamp", tuple(None if c is None else float(c) for c in self.conv_clamp))
        if (parameters := sum(map(math.prod, expected_shapes(self).values()))) > MAX_PARAMETERS:
            raise WeightsError(f"it describes {parameters} parameters; more than {MAX_PARAMETERS} are not supported")

    def _check_blocks(self) -> None:
        blocks = len(self.resolutions)
        for key, values in (("channels", self.channels), ("conv_clamp", self.conv_clamp)):
            if type(values) is not tuple or len(values) != blocks:
                raise WeightsError(f"`{key}` does not have one value for each of {blocks} blocks")
        if not all(type(width) is int and 1 <= width <= _MAX_CHANNELS for width in self.channels):
            raise WeightsError(f"`channels` has a value that is no whole number from 1 to {_MAX_CHANNELS}")
        if not all(bound is None or _is_positive(bound) for bound in self.conv_clamp):
            raise WeightsError("`conv_clamp` has a value that is neither null nor a positive number")

    def _check_choices(self) -> None:
        if not _is_positive(self.lr_multiplier):
            raise WeightsError("`lr_multiplier` is no positive number")
        if type(self.use_noise) is not bool:
            raise WeightsError("`use_noise` is neither true nor false")
        if self.architecture not in get_args(Architecture):
            raise WeightsError(f"`architecture` is {_shown(self.architecture)}, not one of skip, orig and resnet")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Of the blocks: 4, 8, ... up to the resolution."""
        return tuple(1 << i for i in range(2, self.resolution.bit_length()))

    @property
    def num_ws(self) -> int:
        """Number of rows of w that the synthesis network takes."""
        return 2 * len(self.resolutions)

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        fixed = ("w_avg", "noise_const", "resample_filter")
        return sum(math.prod(shape) for name, shape in expected_shapes(self).items() if not name.endswith(fixed))

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; values per block are mappings from resolution."""
        content: dict[str, Any] = {"family": FAMILY, **{f.name: getattr(self, f.name) for f in fields(self)}}
        content["channels"] = self._by_resolution(self.channels)
        same = len(set(self.conv_clamp)) == 1
        content["conv_clamp"] = self.conv_clamp[0] if same else self._by_resolution(self.conv_clamp)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Config:
        """The configuration of the content of a config.json.

        Raises:
            WeightsError: it describes no StyleGAN2 generator. The message has no file's name.
        """
        keys = {field.name for field in fields(cls)}
        if content.get("family") != FAMILY:
            raise WeightsError(f"`family` is {_shown(content.get('family'))}, not {FAMILY}")
        if missing := sorted(keys - content.keys()):
            raise WeightsError(f"it has no `{missing[0]}`, so it describes no StyleGAN2 generator")
        if unknown := sorted(content.keys() - keys - {"family"}):
            raise WeightsError(f"it has the unknown key {quoted(unknown[0])}")
        values = {key: content[key] for key in keys}
        _check_limits("resolution", values["resolution"])
        blocks = [str(1 << i) for i in range(2, values["resolution"].bit_length())]
        clamp = values["conv_clamp"]
        values["channels"] = _of_blocks(values["channels"], blocks, "channels")
        values["conv_clamp"] = (
            _of_blocks(clamp, blocks, "conv_clamp") if isinstance(clamp, dict) else (clamp,) * len(blocks)
        )
        return cls(**values)

    def _by_resolution(self, values: tuple[Any, ...]) -> dict[str, Any]:
        return {str(r): value for r, value in zip(self.resolutions, values, strict=True)}


def expected_shapes(config: Config) -> dict[str, Shape]:
    """Name -> shape of every tensor of such a generator, as PyTorch snapshots name them; all float32."""
    shapes: dict[str, Shape] = {"mapping.w_avg": (config.w_dim,)}
    if config.c_dim:
        shapes |= _dense("mapping.embed", config.c_dim, config.embed_width)
    widths = [config.z_dim + config.embed_width, *[config.mapping_width] * (config.mapping_layers - 1), config.w_dim]
    for i in range(config.mapping_layers):
        shapes |= _dense(f"mapping.fc{i}", widths[i], widths[i + 1])
    for index in range(len(config.resolutions)):
        shapes |= _block(config, index)
    return shapes


def check_shapes(shapes: Mapping[str, Shape], config: Config) -> None:
    """Raise WeightsError, without a file's name, unless tensors of these shapes are those of such a generator.

    Args:
        shapes: name -> shape of the tensors that there are.
        config: the generator.
    """
    expected = expected_shapes(config)
    problems = [f"lacks {name}" for name in expected if name not in shapes]
    problems += [f"has {quoted(name)}, which is unexpected" for name in shapes if name not in expected]
    problems += [
        f"has {name} of shape {list(shapes[name])} where {list(shape)} is needed"
        for name, shape in expected.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more such)" if len(problems) > 1 else ""
        raise WeightsError(f"it {problems[0]}{more}")


def _dense(name: str, width_in: int, width_out: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)}


def _block(config: Config, index: int) -> dict[str, Shape]:
    side, out = config.resolutions[index], config.channels[index]
    name, taps = f"synthesis.b{side}", (config.filter_size, config.filter_size)
    shapes: dict[str, Shape] = {f"{name}.resample_filter": taps}
    if index == 0:
        shapes[f"{name}.const"] = (out, 4, 4)
    else:
        before = config.channels[index - 1]
        shapes |= _layer(config, f"{name}.conv0", before, out, side, config.filter_size)
        if config.architecture == "resnet":
            shapes |= {f"{name}.skip.weight": (out, before, 1, 1), f"{name}.skip.resample_filter": taps}
    shapes |= _layer(config, f"{name}.conv1", out, out, side, config.conv1_filter_size)
    if config.architecture == "skip" or side == config.resolution:
        shapes |= {f"{name}.torgb.weight": (config.img_channels, out, 1, 1)}
        shapes |= {f"{name}.torgb.bias": (config.img_channels,), **_dense(f"{name}.torgb.affine", config.w_dim, out)}
    return shapes


def _layer(config: Config, name: str, before: int, out: int, side: int, taps: int) -> dict[str, Shape]:
    noise: dict[str, Shape] = {f"{name}.noise_strength": (), f"{name}.noise_const": (side, side)}
    return {
        f"{name}.weight": (out, before, 3, 3),
        f"{name}.bias": (out,),
        **(noise if config.use_noise else {}),
        f"{name}.resample_filter": (taps, taps),
        **_dense(f"{name}.affine", config.w_dim, before),
    }


def _check_limits(key: str, value: object) -> None:
    least, greatest = _LIMITS[key]
    if type(value) is not int or not least <= value <= greatest:
        raise WeightsError(f"`{key}` is {_shown(value)}, not a whole number from {least} to {greatest}")


def _of_blocks(values: object, blocks: list[str], key: str) -> tuple[Any, ...]:
    if not isinstance(values, dict) or values.keys() != set(blocks):
        raise WeightsError(f"`{key}` does not have one value for each of the blocks {', '.join(blocks)}")
    return tuple(values[block] for block in blocks)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 < value < 1e9


def _shown(value: object) -> str:
    return (
        quoted(value) if isinstance(value, str) else str(value) if type(value) is int else f"a {type(value).__name__}"
    )
