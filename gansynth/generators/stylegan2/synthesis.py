"""The synthesis network of StyleGAN2 for inference (Karras et al., 2020, arXiv:1912.04958 and arXiv:2006.06676).

Exact but for rounding:

- Constant factors are in weights, biases and noise from the start: the gain of each activation (leaky ReLU is
  homogeneous), equalised learning rates, the filter's gain of four when upsampling.
- With few pixels, styles scale the features and demodulation scales the results, so that a batch shares one convolution.
  With many pixels on a CPU, each sample has weights of its own instead, which saves two passes over large tensors, and is
  rendered in horizontal strips whose tensors fit the caches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

_SLOPE = 0.2
_EPSILON = 1e-8
_TINY = 1e-30  # keeps channels of zeros from becoming NaN
_LARGE = 128 * 128  # pixels from which samples are rendered one by one on a CPU
_HALF_BLOCKS = 4  # of the highest resolutions, as the reference trains them
_STRIP = 2**21  # elements of the largest tensor of a strip
Tensors = Mapping[str, torch.Tensor]


class Upsample(nn.Module):
    """Zeros between the samples, then a filter: side h becomes 2 h.

    Args:
        taps: the filter, float32 [n, n], with sum 1.
    """

    kernel: torch.Tensor

    def __init__(self, taps: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("kernel", 4 * taps[None, None])
        self._offset = len(taps) - 1 - (len(taps) + 1) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels, 2 h, 2 w] from [n, channels, h, w]."""
        n, channels, height, width = x.shape
        full = F.conv_transpose2d(x.reshape(n * channels, 1, height, width), self.kernel.to(x.dtype), stride=2)
        rows, columns = (slice(self._offset, self._offset + 2 * side) for side in (height, width))
        return full[:, :, rows, columns].reshape(n, channels, 2 * height, 2 * width)


class Affine(nn.Module):
    """w -> styles: a linear layer.

    Args:
        weight: float32 [channels, w_dim] as trained, with equalised learning rate 1.
        bias: float32 [channels].
        gain: of the styles.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("weight", (weight.T * (gain / math.sqrt(weight.shape[1]))).contiguous())
        self.register_buffer("bias", bias * gain)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        """float32 [n, channels] from [n, w_dim]."""
        return torch.addmm(self.bias, w, self.weight)


class StyledConvolution(nn.Module):
    """A modulated 3 x 3 convolution with demodulation, noise, bias, leaky ReLU and clamp.

    Args:
        tensors: of the layer, named as in a state dict.
        upsample: double the resolution.
        gain: of the result beside that of the activation.
        clamp: largest magnitude of the result before `gain`; None for any.
    """

    weight: torch.Tensor
    peak: torch.Tensor
    squares: torch.Tensor
    bias: torch.Tensor
    noise: torch.Tensor
    strength: torch.Tensor
    taps: torch.Tensor

    def __init__(self, tensors: Tensors, *, upsample: bool, gain: float, clamp: float | None) -> None:
        super().__init__()
        self.upsample, self.clamp = upsample, None if clamp is None else clamp * gain
        self.affine = Affine(tensors["affine.weight"], tensors["affine.bias"])
        weight, gain = tensors["weight"], math.sqrt(2) * gain
        self.register_buffer("squares", weight.square().sum(dim=(2, 3)).T.contiguous())
        # Kept small for half precision; demodulation makes up for it.
        peak = weight.abs().amax(dim=(1, 2, 3)).clamp_min(_TINY) * math.sqrt(weight[0].numel())
        self.register_buffer(
            "weight", (weight / peak[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        )
        self.register_buffer("peak", gain * peak)
        self.register_buffer("bias", gain * tensors["bias"])
        self.has_noise = "noise_const" in tensors
        if self.has_noise:
            self.register_buffer("strength", gain * tensors["noise_strength"])
            self.register_buffer("noise", self.strength * tensors["noise_const"])
        if upsample:
            taps = 4 * tensors["resample_filter"]
            # The filter is a true convolution; conv2d is a correlation.
            self.register_buffer("taps", taps.flip(0, 1).expand(len(weight), 1, -1, -1).contiguous())

    def styles(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales of the input channels [n, in] and of the output channels [n, out], from w [n, w_dim]."""
        scale = self.affine(w)
        demodulation = (scale.square() @ self.squares + _EPSILON).rsqrt() * self.peak
        largest = scale.abs().amax(dim=1, keepdim=True).clamp_min(_TINY)
        return scale / largest, demodulation * largest

    def noise_of(self, random: torch.Tensor | None) -> torch.Tensor | None:
        """What is added to every channel: [1, 1, h, w], or [n, 1, h, w] where `random` of that shape is given."""
        if not self.has_noise:
            return None
        return self.noise[None, None] if random is None else self.strength * random

    def together(self, x: torch.Tensor, w: torch.Tensor, random: torch.Tensor | None) -> torch.Tensor:
        """The layer for a batch that shares its weights, in x's dtype; for `random` see `noise_of`."""
        scale, demodulation = self.styles(w)
        x = x * scale[:, :, None, None].to(x.dtype)
        y = self._convolve(x, self.weight.to(x.dtype))
        y = y * demodulation[:, :, None, None].to(y.dtype)
        return self._finish(y + self.bias[:, None, None].to(y.dtype), self.noise_of(random))

    def rows(
        self, x: torch.Tensor, weight: torch.Tensor, noise: torch.Tensor | None, first: int, end: int, top: int = 0
    ) -> torch.Tensor:
        """Rows first to end of one sample's result.

        Args:
            x: [1, in, h, w]; the input's rows from `top` on, all that are needed.
            weight: the sample's own, see `own_weight`.
            noise: [1, 1, height, width] of the whole result.
            first, end: rows of the result.
        """
        side = x.shape[3]
        if self.upsample:
            y = self._upsampled_rows(x, weight, first, end).add_(self.bias[:, None, None])
        else:
            low, high = max(0, first - 1), min(side, end + 1)
            x = F.pad(x[:, :, low - top : high - top], (0, 0, low - (first - 1), end + 1 - high))
            y = F.conv2d(x, weight, self.bias, padding=(0, 1))
        return self._finish(y, None if noise is None else noise[:, :, first:end])

    def own_weight(self, w: torch.Tensor) -> torch.Tensor:
        """The weights [out, in, 3, 3] of one sample, from its w [1, w_dim]."""
        scale, demodulation = self.styles(w)
        return self.weight * (demodulation[0, :, None, None, None] * scale[0, :, None, None])

    def _convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if not self.upsample:
            return F.conv2d(x, weight, padding=1)
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        before, after = self._padding()
        return F.conv2d(F.pad(y, (before, after, before, after)), self.taps.to(x.dtype), groups=len(weight))

    def _padding(self) -> tuple[int, int]:
        """Zeros before and after the transposed convolution's result, which the filter takes in."""
        count = self.taps.shape[-1]
        return 1 + (count + 1) // 2 - 2, 1 + (count - 2) // 2 - 1

    def _upsampled_rows(self, x: torch.Tensor, weight: torch.Tensor, first: int, end: int) -> torch.Tensor:
        before, after = self._padding()
        # Rows of the transposed convolution that the filter needs, and the input rows that these need: a row is whole
        # if both input rows that reach it are there, or lie outside of the image.
        low, high = first - before, end + self.taps.shape[-1] - 1 - before
        x_low, x_high = max(0, (low - 1) // 2), min(x.shape[2], (high + 1) // 2)
        y = F.conv_transpose2d(x[:, :, x_low:x_high], weight.transpose(0, 1), stride=2)
        top, bottom = low - 2 * x_low, high - 2 * x_low
        y = F.pad(y[:, :, max(0, top) : bottom], (before, after, max(0, -top), max(0, bottom - y.shape[2])))
        return F.conv2d(y, self.taps, groups=len(weight))

    def _finish(self, y: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        if noise is not None:
            y = y.add_(noise.to(y.dtype))
        y = F.leaky_relu_(y, _SLOPE)
        return y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """A modulated 1 x 1 convolution to image channels, without demodulation.

    Args:
        tensors: of the layer, named as in a state dict.
        clamp: largest magnitude of the result; None for any.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, tensors: Tensors, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.register_buffer("weight", tensors["weight"].contiguous())
        self.register_buffer("bias", tensors["bias"].clone())
        self.affine = Affine(tensors["affine.weight"], tensors["affine.bias"], 1 / math.sqrt(self.weight.shape[1]))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """float32 [n, image channels, h, w] from x [n, in, h, w] and w [n, w_dim]."""
        scale = self.affine(w)
        if len(x) == 1:
            y = F.conv2d(x, (self.weight * scale[0, :, None, None]).to(x.dtype)).float()
        else:
            y = F.conv2d(x * scale[:, :, None, None].to(x.dtype), self.weight.to(x.dtype)).float()
        y = y.add_(self.bias[:, None, None])
        return y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)


class Block(nn.Module):
    """The layers of one resolution.

    Args:
        tensors: of the block, named as in a state dict.
        architecture: skip, orig or resnet.
        clamp: see `StyledConvolution`.
        last: whether this is the highest resolution.
    """

    skip: torch.Tensor

    def __init__(self, tensors: Tensors, architecture: str, clamp: float | None, last: bool) -> None:
        super().__init__()
        residual = architecture == "resnet" and "skip.weight" in tensors
        self.residual = residual
        self.conv0 = None
        if "conv0.weight" in tensors:
            self.conv0 = StyledConvolution(part(tensors, "conv0"), upsample=True, gain=1.0, clamp=clamp)
        self.conv1 = StyledConvolution(
            part(tensors, "conv1"), upsample=False, gain=math.sqrt(0.5) if residual else 1.0, clamp=clamp
        )
        self.torgb = ToRGB(part(tensors, "torgb"), clamp) if last or architecture == "skip" else None
        self.upsample = Upsample(tensors["resample_filter"])
        if residual:
            weight = tensors["skip.weight"]
            self.register_buffer("skip", weight * math.sqrt(0.5 / weight.shape[1]))
            self.skip_upsample = Upsample(tensors["skip.resample_filter"])

    def forward(
        self, x: torch.Tensor, image: torch.Tensor | None, w: torch.Tensor, noises: Sequence[torch.Tensor | None]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Features [n, channels, r, r] and image [n, image channels, r, r] of this resolution, for a batch.

        Args:
            x, image: of the resolution before; image is None where there is none yet.
            w: float32 [n, 3, w_dim], for conv0 (if there is one), conv1 and torgb.
            noises: random noise of conv0 (if there is one) and conv1, or None for the constant one.
        """
        before = x
        if self.conv0 is not None:
            x = self.conv0.together(x, w[:, 0], noises[0])
        x = self.conv1.together(x, w[:, -2], noises[-1])
        if self.residual:
            x = x + self.skip_upsample(F.conv2d(before, self.skip.to(x.dtype)))
        return x, self._add_rgb(image, x, w[:, -1])

    def one_by_one(
        self,
        x: torch.Tensor,
        image: torch.Tensor | None,
        w: torch.Tensor,
        noises: Sequence[torch.Tensor | None],
        last: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `forward` for a single sample, in strips; without features if this is the last block."""
        assert self.conv0 is not None
        side, conv0, conv1 = 2 * x.shape[2], self.conv0, self.conv1
        weights = conv0.own_weight(w[:, 0]), conv1.own_weight(w[:, -2])
        noise = conv0.noise_of(noises[0]), conv1.noise_of(noises[-1])
        image = None if image is None else self.upsample(image)
        kept: list[torch.Tensor] = []
        rows = max(2, _STRIP // (side * len(conv1.weight)))
        for first in range(0, side, rows):
            end = min(first + rows, side)
            low, high = max(0, first - 1), min(side, end + 1)
            y = conv0.rows(x, weights[0], noise[0], low, high)
            y = conv1.rows(y, weights[1], noise[1], first, end, top=low)
            if self.torgb is not None:
                rgb = self.torgb(y, w[:, -1])
                if image is None:
                    image = rgb.new_empty((1, rgb.shape[1], side, side)).zero_()
                image[:, :, first:end] += rgb
            if not last:
                kept.append(y)
        return torch.cat(kept, dim=2) if kept else x, image

    def _add_rgb(self, image: torch.Tensor | None, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor | None:
        if image is not None:
            image = self.upsample(image)
        if self.torgb is None:
            return image
        rgb = self.torgb(x, w)
        return rgb if image is None else image.add_(rgb)


class Synthesis(nn.Module):
    """Styles -> images.

    Args:
        tensors: of the network, named as in a state dict: b4.const, b4.conv1.weight, ...
        architecture: skip, orig or resnet.
        resolution: height and width in pixels.
        clamps: resolution -> largest magnitude of a block's features, or None for any.
    """

    const: torch.Tensor

    def __init__(
        self, tensors: Tensors, architecture: str, resolution: int, clamps: Mapping[int, float | None]
    ) -> None:
        super().__init__()
        self.sides = [2**power for power in range(2, resolution.bit_length())]
        self.register_buffer("const", tensors["b4.const"].clone())
        self.blocks = nn.ModuleList(
            Block(part(tensors, f"b{side}"), architecture, clamps[side], last=side == resolution) for side in self.sides
        )
        self._in_strips = architecture != "resnet"
        self._half = torch.float32

    def set_precision(self, dtype: torch.dtype) -> None:
        """Features of the four highest resolutions from 8 on in `dtype`; styles and images stay float32."""
        self._half = dtype

    def noise_sides(self) -> list[int]:
        """Height and width of each layer's noise, in the order of the layers."""
        return [4, *(side for side in self.sides[1:] for _ in range(2))]

    def forward(self, w: torch.Tensor, noises: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Images, float32 [n, image channels, h, w], nominally in [-1, 1].

        Args:
            w: float32 [n, layers, w_dim].
            noises: random noise of every layer, [n, 1, side, side] each; the constant one if None.
        """
        x = self.const[None].expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        return self._run(0, x, None, w, noises)

    def _run(
        self,
        first: int,
        x: torch.Tensor,
        image: torch.Tensor | None,
        w: torch.Tensor,
        noises: Sequence[torch.Tensor] | None,
    ) -> torch.Tensor:
        for number in range(first, len(self.blocks)):
            block, side = cast(Block, self.blocks[number]), self.sides[number]
            start = max(0, 2 * number - 1)
            styles = w[:, start : start + (2 if number == 0 else 3)]
            mine = [None, None] if noises is None else list(noises[start : start + (1 if number == 0 else 2)])
            if self._in_strips and self._half == torch.float32 and x.device.type == "cpu" and side * side >= _LARGE:
                if len(x) > 1:
                    return self._each(number, x, image, w, noises)
                x, image = block.one_by_one(x, image, styles, mine, last=number == len(self.blocks) - 1)
            else:
                is_half = side >= 8 and len(self.blocks) - number <= _HALF_BLOCKS
                x, image = block(x.to(self._half if is_half else torch.float32), image, styles, mine)
        assert image is not None
        return image

    def _each(
        self,
        number: int,
        x: torch.Tensor,
        image: torch.Tensor | None,
        w: torch.Tensor,
        noises: Sequence[torch.Tensor] | None,
    ) -> torch.Tensor:
        """The blocks from `number` on, one sample after the other."""
        parts = []
        for i in range(len(x)):
            own = None if noises is None else [noise[i : i + 1] for noise in noises]
            parts.append(
                self._run(number, x[i : i + 1], None if image is None else image[i : i + 1], w[i : i + 1], own)
            )
        return torch.cat(parts)


def part(tensors: Tensors, name: str) -> Tensors:
    """The tensors below a name, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
