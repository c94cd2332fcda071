"""BigGAN-deep in a form for inference: the library's images from less arithmetic and fewer passes over memory.

Exact but for rounding (Brock et al., 2019, appendix B, describe the network):

- Spectral norm is divided out of the weights once.
- One matrix product gives the scales and shifts of every conditional batch norm. The statistics of each sample's
  truncation and the bias of the convolution before are folded into them, so a batch norm is one multiply-add.
- Nearest-neighbour upsampling and the 3 x 3 convolution after it are one transposed convolution: 16 products an input
  pixel instead of 36.
- Residuals are summed inside the matrix product of each block's last 1 x 1 convolution.
- Of the last convolution's channels only red, green and blue are computed.
- On a CPU, layers with many pixels take the batch in slices whose tensors fit the caches and whose memory is reused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import remove_spectral_norm

from gansynth.errors import WeightsError
from gansynth.generators.biggan_norms import Affine, BatchNorms, input_major

_SLICE = 2**21  # elements of the largest tensor of a slice; of 2^20 to 2^24 the fastest for 128 and 256 pixels
_FEW_PIXELS = 256  # for so few, reordering the weights would cost a convolution more than its arithmetic
_AGREES = 1e-3  # in [-1, 1], an eighth of a grey level; rounding alone stays under 1e-5


def convert(model: Any) -> InferenceForm:
    """The inference form of a library model, checked against it.

    Args:
        model: a `pytorch_pretrained_biggan.BigGAN` on the CPU; taken over and changed.

    Raises:
        WeightsError: the two disagree on sample images.
    """
    model = model.eval().requires_grad_(False)
    row = _exact_row(model.config.n_stats)
    latents = torch.randn(2, model.config.z_dim, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    classes = torch.tensor([0, model.config.num_classes - 1])
    one_hot = F.one_hot(classes, model.config.num_classes).float()
    with torch.inference_mode():
        expected = model(latents, one_hot, row)
        form = InferenceForm(model).eval()
        difference = (form(latents, classes, torch.full([2], row)) - expected).abs().max().item()
    if not math.isfinite(difference):
        raise WeightsError("the weights give images that are not finite; fetch or restore the file")
    if difference > _AGREES:
        raise WeightsError(
            f"the weights give images that differ by up to {difference:.2g} (in [-1, 1]) between the library's network "
            "and the form of it that renders faster; please report these weights"
        )
    return form


def _exact_row(count: int) -> float:
    """A truncation near 0.5 that the library looks up in exactly one row of its statistics."""
    step = 1.0 / (count - 1)
    candidates = [t for t in (row / (count - 1) for row in range(1, count)) if math.modf(t / step)[0] == 0]
    return min(candidates, key=lambda truncation: abs(truncation - 0.5))


class InferenceForm(nn.Module):
    """See the module's docstring. Made by `convert`; all of it is in float32 until `set_precision`.

    Args:
        model: a `pytorch_pretrained_biggan.BigGAN` in evaluation mode; its spectral norms are removed.
    """

    classes: torch.Tensor
    stem: torch.Tensor
    stem_bias: torch.Tensor
    to_rgb: torch.Tensor
    rgb_bias: torch.Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._dtype = torch.float32
        for module in model.modules():
            if hasattr(module, "weight_u"):
                # In evaluation mode this divides by u'Wv with the stored u and v, as the library does in every forward.
                remove_spectral_norm(module)
        generator = model.generator
        self.register_buffer("classes", input_major(model.embeddings.weight))
        self.register_buffer("stem", input_major(generator.gen_z.weight))
        self.register_buffer("stem_bias", generator.gen_z.bias.detach().clone())
        layers: list[nn.Module] = []
        norms: list[tuple[Any, torch.Tensor]] = []  # each batch norm, and what its input lacks: biases left out so far
        missing = torch.zeros(16 * model.config.channel_width)
        for layer in generator.layers:
            if hasattr(layer, "gamma"):
                layers.append(_Attention(layer, missing))
                missing = torch.zeros_like(missing)
            else:
                layers.append(_Block(layer))
                before = (missing, layer.conv_0.bias, layer.conv_1.bias, layer.conv_2.bias)
                norms += zip((layer.bn_0, layer.bn_1, layer.bn_2, layer.bn_3), before, strict=True)
                missing = missing[: layer.conv_3.out_channels] + layer.conv_3.bias
        norms.append((generator.bn, missing))
        self.layers = nn.ModuleList(layers)
        self.norms = BatchNorms(norms)
        self.register_buffer("to_rgb", _channels_last(generator.conv_to_rgb.weight[:3]))
        self.register_buffer("rgb_bias", generator.conv_to_rgb.bias[:3].detach().clone())

    def set_precision(self, dtype: torch.dtype) -> InferenceForm:
        """Convolutions, attention and the tensors between them in `dtype`.

        Conditions, batch norms and the last convolution stay in float32.
        """
        self._dtype = dtype
        self.layers.to(dtype)
        return self

    def forward(self, z: torch.Tensor, classes: torch.Tensor, truncation: torch.Tensor) -> torch.Tensor:
        """Images, float32 [n, 3, h, w] in [-1, 1].

        Args:
            z: float32 [n, z_dim].
            classes: int64 [n].
            truncation: float32 [n] in (0, 1], each sample's own.
        """
        condition = torch.cat([z, self.classes[classes]], dim=1)
        x = torch.addmm(self.stem_bias, condition, self.stem).view(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        return self._run(x.to(self._dtype), self.norms(condition, truncation), 0)

    def _run(self, x: torch.Tensor, affines: Sequence[Affine], first: int) -> torch.Tensor:
        """Layers from `first` on; on a CPU in slices of the batch where a layer's tensors would be large."""
        for number in range(first, len(self.layers)):
            layer = cast(_Block | _Attention, self.layers[number])
            size = max(1, _SLICE // layer.largest(x.shape[2] * x.shape[3]))
            if x.device.type == "cpu" and size < len(x):
                parts = zip(torch.split(x, size), *(_split(affine, size) for affine in affines), strict=True)
                return torch.cat([self._run(part, rest, number) for part, *rest in parts])
            if isinstance(layer, _Block):
                x, affines = layer(x, affines[:4]), affines[4:]
            else:
                x = layer(x)
        h = _affine_relu(x.float(), affines[0], in_place=True)
        return F.conv2d(h, self.to_rgb, self.rgb_bias, padding=1).tanh_()


class _Block(nn.Module):
    """A residual block without its batch norms' statistics and its biases, which are in the affines."""

    conv_0: torch.Tensor
    conv_1: torch.Tensor
    conv_2: torch.Tensor
    conv_3: torch.Tensor

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.upsample = block.up_sample
        weight_1 = block.conv_1.weight.detach()
        self.register_buffer("conv_0", _channels_last(block.conv_0.weight))
        self.register_buffer("conv_1", _channels_last(_after_upsampling(weight_1) if self.upsample else weight_1))
        self.register_buffer("conv_2", _channels_last(block.conv_2.weight))
        self.register_buffer("conv_3", _matrix(block.conv_3))

    def largest(self, pixels: int) -> int:
        """Elements of the largest tensor that one sample with so many input pixels needs."""
        middle, width = self.conv_3.shape
        return pixels * max(self.conv_0.shape[1], max(middle, width) * (4 if self.upsample else 1))

    def forward(self, x: torch.Tensor, affines: Sequence[Affine]) -> torch.Tensor:
        h = _conv_1x1(_affine_relu(x, affines[0]), self.conv_0)
        h = _affine_relu(h, affines[1], in_place=True)
        if self.upsample:
            h = F.conv_transpose2d(h, self.conv_1, stride=2, padding=1)
        else:
            h = F.conv2d(h, self.conv_1, padding=1)
        h = F.conv2d(_affine_relu(h, affines[2], in_place=True), self.conv_2, padding=1)
        h = _affine_relu(h, affines[3], in_place=True)

        skip = x.permute(0, 2, 3, 1)[..., : self.conv_3.shape[1]]
        if self.upsample:
            n, height, width, channels = skip.shape
            skip = skip[:, :, None, :, None].expand(n, height, 2, width, 2, channels)
        return _add_product(skip, h, self.conv_3)


class _Attention(nn.Module):
    """Self-attention over all pixels, keys and values pooled to a quarter of them (Zhang et al., 2019).

    Args:
        attention: the library's layer.
        missing: biases, [channels], that the input lacks; they are added here.
    """

    missing: torch.Tensor
    queries: torch.Tensor
    keys_values: torch.Tensor
    out: torch.Tensor

    def __init__(self, attention: Any, missing: torch.Tensor) -> None:
        super().__init__()
        keys, values = _matrix(attention.snconv1x1_phi), _matrix(attention.snconv1x1_g)
        self.key_width = keys.shape[1]
        self.register_buffer("missing", missing[:, None, None])
        self.register_buffer("queries", _matrix(attention.snconv1x1_theta))
        self.register_buffer("keys_values", torch.cat([keys, values], dim=1))
        self.register_buffer("out", attention.gamma.detach() * _matrix(attention.snconv1x1_o_conv))

    def largest(self, pixels: int) -> int:
        """Elements of the largest tensor that one sample with so many input pixels needs."""
        return pixels * max(len(self.queries), pixels // 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, channels, height, width = x.shape
        x = x + self.missing
        pixels = x.permute(0, 2, 3, 1).reshape(n, 1, height * width, channels)
        pooled = (pixels @ self.keys_values).view(n, height, width, -1).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(pooled, 2).permute(0, 2, 3, 1).reshape(n, 1, height * width // 4, -1)
        keys, values = pooled[..., : self.key_width], pooled[..., self.key_width :]
        attended = F.scaled_dot_product_attention(pixels @ self.queries, keys, values, scale=1.0)
        attended = attended.view(n, height, width, -1).permute(0, 3, 1, 2)
        return _add_product(x.permute(0, 2, 3, 1), attended, self.out)


def _affine_relu(x: torch.Tensor, affine: Affine, in_place: bool = False) -> torch.Tensor:
    """relu(x scale + shift), computed in float32, in x's dtype."""
    scale, shift = affine
    if x.dtype != torch.float32:
        return torch.addcmul(shift, x.float(), scale).relu_().to(x.dtype)
    reuse = in_place and x.device.type == "cpu" and not torch.compiler.is_compiling()  # which plans memory itself
    return torch.addcmul(shift, x, scale, out=x if reuse else None).relu_()


def _conv_1x1(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """1 x 1 convolution; weight [out, in, 1, 1]."""
    n, _, height, width = x.shape
    if n * height * width > _FEW_PIXELS:
        return F.conv2d(x, weight)
    return F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0]).permute(0, 3, 1, 2)


def _add_product(x: torch.Tensor, h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x plus the 1 x 1 convolution of h.

    Args:
        x: [n, h, w, channels], or [n, h / 2, 2, w / 2, 2, channels]; overwritten where it is contiguous.
        h: [n, middle, h, w].
        weight: [middle, channels].
    """
    n, middle, height, width = h.shape
    summed = x.reshape(-1, weight.shape[1]).addmm_(h.permute(0, 2, 3, 1).reshape(-1, middle), weight)
    return summed.view(n, height, width, -1).permute(0, 3, 1, 2)


def _after_upsampling(weight: torch.Tensor) -> torch.Tensor:
    """Weights [in, out, 4, 4] of the transposed convolution, stride 2 and padding 1, that equals nearest-neighbour
    upsampling by 2 and a convolution with `weight`, [out, in, 3, 3], padding 1."""
    # Upsampling is a transposed convolution with a 2 x 2 block of ones; the two kernels convolve into one.
    padded = [F.pad(weight, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)]
    return torch.stack(padded).sum(dim=0).flip(2, 3).transpose(0, 1)


def _matrix(convolution: Any) -> torch.Tensor:
    """Weights of a 1 x 1 convolution as a matrix [in, out]."""
    return torch.as_tensor(convolution.weight.detach()[:, :, 0, 0].T.contiguous())


def _channels_last(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().clone(memory_format=torch.channels_last)


def _split(affine: Affine, size: int) -> list[Affine]:
    return list(zip(*(torch.split(tensor, size) for tensor in affine), strict=True))
