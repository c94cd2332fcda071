"""Encoded images -> what a training loop takes."""

from __future__ import annotations

import io
from typing import Any, Literal

import PIL.Image
import torch

from gansynth import encode
from gansynth.errors import StoreDamaged

ImageKind = Literal["tensor", "pil", "bytes"]


def form(image: Any, with_shape: bool) -> str:
    """What has to be alike in images of one batch, for people: the dtype of tensors, and if wanted their shape."""
    if isinstance(image, torch.Tensor):
        dtype = str(image.dtype).removeprefix("torch.")
        return f"{dtype} tensors {list(image.shape)}" if with_shape else f"{dtype} tensors"
    return "PIL images" if isinstance(image, PIL.Image.Image) else f"of {type(image).__name__}"


def to_image(data: bytes, format_name: str, kind: ImageKind, key: str) -> Any:
    """An image as asked for.

    Args:
        data: a file's bytes.
        format_name: jpg, png or webp.
        kind: "tensor" (uint8 [3, h, w], a view of pixels in rows of h x w x 3), "pil" or "bytes".
        key: of the sample, for messages.

    Raises:
        StoreDamaged: the bytes are no image.
    """
    if kind == "bytes":
        return data
    try:
        if kind == "pil":
            return PIL.Image.open(io.BytesIO(data)).convert("RGB")
        pixels = encode.decode(data, format_name)
        return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
    except Exception as error:  # decoders raise what they like
        raise StoreDamaged(f"{key}: its image cannot be decoded ({error}); run `gansynth verify`") from None
