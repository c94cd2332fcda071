"""BigGAN-deep on the `BigGAN` class of pytorch-pretrained-biggan, with a truncation of its own for every sample.

Where images differ from that library's: its batch norm looks up the statistics of a truncation with the interpolation
weights reversed, and float error sends 0.14, 0.28, 0.56, 0.58 and 0.94 to a neighbouring row. Here every truncation
takes its own row, and values between two rows (such as 0.25 or 0.33) interpolate towards the nearer one. All other
multiples of 0.02 give the library's images. It also loads state dicts loosely and leaves the model in training mode,
in which spectral norm goes on iterating and images change from call to call; here neither is so.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import remove_spectral_norm

from gansynth.errors import RenderError, WeightsError
from gansynth.generators import weights
from gansynth.generators.biggan_folder import read_config
from gansynth.generators.protocol import Described
from gansynth.info import GeneratorInfo

if TYPE_CHECKING:
    from pytorch_pretrained_biggan import BigGAN

_ON_GRID = 1e-3  # in rows; float32 truncations miss their row by less than 1e-5


def load(info: GeneratorInfo, path: Path, device: str, precision: str) -> BigGANGenerator:
    """Load the weights that `biggan_folder.describe` described.

    Raises:
        WeightsError: missing or damaged weights, or weights of another network.
    """
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig

    folder = path if path.is_dir() else path.parent
    file = weights.weights_file(path)
    config = read_config(folder)
    tensors = weights.read_tensors(file)
    model = BigGAN(BigGANConfig.from_dict(config))
    _require_fit(model.state_dict(), tensors, file)
    model.load_state_dict(tensors, strict=True)
    identity = weights.identity(tensors, config)
    if info.weights_sha256 not in (None, identity):
        raise WeightsError(
            f"{file}: holds other weights than `{info.name}` stands for; fetch it again, or use its path"
        )
    return BigGANGenerator(model, replace(info, weights_sha256=identity), device, precision)


def _require_fit(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], file: Path) -> None:
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    reshaped = sorted(k for k in expected.keys() & found.keys() if expected[k].shape != found[k].shape)
    faults = []
    for what, names in (("lacks", missing), ("has the unexpected", unexpected)):
        if names:
            faults.append(f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}")
    if reshaped:
        key = reshaped[0]
        faults.append(f"has {key} of shape {list(found[key].shape)} where {list(expected[key].shape)} is needed")
    if faults:
        raise WeightsError(
            f"{file}: does not fit its config.json: it {'; it '.join(faults)}; pair each file with its own config"
        )


@dataclass(frozen=True)
class _StatisticsRows:
    """Which rows of the batch-norm statistics each sample takes: lower + weight (upper - lower), each [n]."""

    lower: torch.Tensor
    upper: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, truncation: torch.Tensor, count: int) -> _StatisticsRows:
        """Rows for truncations in (0, 1], float32 [n], when row i of `count` belongs to truncation i / (count - 1)."""
        position = truncation.double() * (count - 1)
        nearest = position.round()
        position = torch.where((position - nearest).abs() < _ON_GRID, nearest, position)
        lower = position.floor().clamp(0, count - 1)
        upper = (lower + 1).clamp(max=count - 1)
        return cls(lower.long(), upper.long(), (position - lower).float()[:, None])

    def take(self, statistics: torch.Tensor) -> torch.Tensor:
        """float32 [n, channels] from statistics [rows, channels]."""
        return torch.lerp(statistics[self.lower], statistics[self.upper], self.weight)


class _TruncationBatchNorm(nn.Module):
    """The library's BigGANBatchNorm in evaluation mode, with statistics chosen per sample and as one multiply-add."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.running_means, self.running_vars = original.running_means, original.running_vars
        self.eps, self.conditional = original.eps, original.conditional
        if self.conditional:
            self.scale, self.offset = original.scale, original.offset
        else:
            self.weight, self.bias = original.weight, original.bias

    def forward(self, x: torch.Tensor, rows: _StatisticsRows, condition: torch.Tensor | None = None) -> torch.Tensor:
        mean, variance = rows.take(self.running_means), rows.take(self.running_vars)
        weight = 1 + self.scale(condition) if self.conditional else self.weight
        bias = self.offset(condition) if self.conditional else self.bias
        scale = weight / torch.sqrt(variance + self.eps)
        shift = bias - mean * scale
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])


class BigGANGenerator(Described):
    """A BigGAN-deep ready to render; the contract is `protocol.Generator`.

    Args:
        model: the library's model; taken over and changed.
        info: facts, with weights_sha256.
        device: a torch device.
        precision: float32, or bfloat16 or float16 for convolutions and matrix products.
    """

    def __init__(self, model: BigGAN, info: GeneratorInfo, device: str, precision: str) -> None:
        super().__init__(info)
        self.device = torch.device(device)
        self._dtype = getattr(torch, precision)
        self._count = model.config.n_stats
        self._model = _prepare(model).to(self.device)

    @torch.inference_mode()
    def sample(
        self,
        z: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        images = self.forward(z.to(self.device), classes.to(self.device), truncation.to(self.device))
        if not torch.isfinite(images).all():
            raise RenderError(
                "the network's output is not finite, so its weights or its batch-norm statistics are unusable; "
                "check the weights"
            )
        return ((images + 1) * 128).clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    @torch.inference_mode()
    def forward(self, z: torch.Tensor, classes: torch.Tensor, truncation: torch.Tensor) -> torch.Tensor:
        """Images before they become bytes: float32 [n, 3, h, w] in [-1, 1]; arguments as `sample`, on the device."""
        condition = torch.cat([z, self._model.embeddings.weight.T[classes]], dim=1)
        with self._autocast():
            images = self._model.generator(condition, _StatisticsRows.of(truncation, self._count))
        return torch.as_tensor(images).float()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


def _prepare(model: Any) -> Any:
    """Evaluation mode, spectral norm folded into the weights, batch norms that take a truncation per sample."""
    from pytorch_pretrained_biggan.model import BigGANBatchNorm

    model = model.eval().requires_grad_(False)
    for module in list(model.modules()):
        if hasattr(module, "weight_u"):
            # In evaluation mode this divides by u'Wv with the stored u and v, as the library does in every forward.
            remove_spectral_norm(module)
        for name, child in list(module.named_children()):
            if isinstance(child, BigGANBatchNorm):
                setattr(module, name, _TruncationBatchNorm(child))
    return model.eval().requires_grad_(False)
