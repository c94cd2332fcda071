"""BigGAN-deep on the `BigGAN` class of pytorch-pretrained-biggan, with a truncation of its own for every sample.

Where images differ from that library's: its batch norm looks up the statistics of a truncation with the interpolation
weights reversed, and float error sends 0.14, 0.28, 0.56, 0.58 and 0.94 to a neighbouring row. Here every truncation
takes its own row, and values between two rows (such as 0.25 or 0.33) interpolate towards the nearer one. All other
multiples of 0.02 give the library's images. It also loads state dicts loosely and leaves the model in training mode,
in which spectral norm goes on iterating and images change from call to call; here neither is so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gansynth.errors import RenderError, WeightsError
from gansynth.generators import weights
from gansynth.generators.biggan_folder import read_config
from gansynth.generators.biggan_inference import convert
from gansynth.generators.protocol import Described
from gansynth.info import GeneratorInfo

if TYPE_CHECKING:
    from pytorch_pretrained_biggan import BigGAN


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
        self._network = convert(model).set_precision(getattr(torch, precision)).to(self.device)

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
        return torch.as_tensor(self._network(z, classes, truncation))
