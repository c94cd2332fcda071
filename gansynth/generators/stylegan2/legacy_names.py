"""Where each tensor of PyTorch's StyleGAN2 comes from in TensorFlow's, and how its layout differs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from gansynth.generators.stylegan2.config import Shape
from gansynth.generators.stylegan2.tensors import FloatArray

_LAYERS = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}


def origin(name: str, shape: Shape) -> tuple[str, Callable[[FloatArray], FloatArray], Shape]:
    """Of a tensor of PyTorch's: the variable that it comes from, the conversion, and the shape that the variable has."""
    network, *path, kind = name.split(".")
    if name == "mapping.w_avg":
        return "dlatent_avg", _same, shape
    if network == "mapping":
        layer = "LabelEmbed" if path[0] == "embed" else f"Dense{path[0][2:]}"
        return f"mapping/{layer}/{kind}", np.transpose, shape[::-1]
    side = int(path[0][1:])
    if kind == "const":
        return "synthesis/4x4/Const/const", partial(np.squeeze, axis=0), (1, *shape)
    variable = f"synthesis/{layer_of(side, path[1])}"
    if kind == "noise_const":
        index = 0 if side == 4 else 2 * side.bit_length() - (7 if path[1] == "conv0" else 6)
        return f"synthesis/noise{index}", partial(np.squeeze, axis=(0, 1)), (1, 1, *shape)
    if path[-1] == "affine":
        return (
            (f"{variable}/mod_weight", np.transpose, shape[::-1])
            if kind == "weight"
            else (f"{variable}/mod_bias", _plus_one, shape)
        )
    if kind == "weight":
        # TensorFlow's upsampling convolutions correlate where PyTorch's transposed ones convolve.
        convert = _flipped_kernel if path[1] in ("conv0", "skip") else _kernel
        return f"{variable}/weight", convert, (*shape[2:], shape[1], shape[0])
    return f"{variable}/{kind}", _same, shape


def layer_of(side: int, layer: str) -> str:
    """The variables of a layer of a block, such as 8x8/Conv0_up."""
    return f"{side}x{side}/{'Conv' if side == 4 and layer == 'conv1' else _LAYERS[layer]}"


def _same(data: FloatArray) -> FloatArray:
    return data


def _plus_one(data: FloatArray) -> FloatArray:
    return data + np.float32(1)


def _kernel(data: FloatArray) -> FloatArray:
    return data.transpose(3, 2, 0, 1)


def _flipped_kernel(data: FloatArray) -> FloatArray:
    return data[::-1, ::-1].transpose(3, 2, 0, 1)
