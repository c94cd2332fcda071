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
from gansynth.transfer import to_device

if TYPE_CHECKING:
    from pytorch_pretrained_biggan import BigGAN


_AGREES = 0.02  # on average, 2.5 grey levels; bfloat16 is at a tenth of that


def load(info: GeneratorInfo, path: Path, device: str, precision: str, compile: bool = False) -> BigGANGenerator:
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
    return BigGANGenerator(model, replace(info, weights_sha256=identity), device, precision, compile)


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
        compile: render with torch.compile; each batch size is compiled when it is first seen.
    """

    def __init__(self, model: BigGAN, info: GeneratorInfo, device: str, precision: str, compile: bool = False) -> None:
        super().__init__(info)
        self.device = torch.device(device)
        self._network = convert(model)
        if self.device.type != "cpu" or precision != "float32":
            self._move(precision)
        if compile:
            self._network.compile(fullgraph=True, dynamic=False, options=_compiler_options())

    def _move(self, precision: str) -> None:
        """Change device and precision; raises WeightsError if that changes images visibly."""
        batch = (
            torch.randn(2, self.z_dim, generator=torch.Generator().manual_seed(0)) / 2,
            torch.arange(2) % self.num_classes,
            torch.ones(2),
        )
        exact = self.forward(*batch)
        self._network.set_precision(getattr(torch, precision)).to(self.device)
        moved = self.forward(*(tensor.to(self.device) for tensor in batch)).cpu()
        difference = (moved - exact).abs().mean().item()
        if not difference <= _AGREES:
            raise WeightsError(
                f"in {precision} on {self.device} images differ from float32 by {difference:.2g} on average (in [-1, 1]), "
                f"or are not finite; set `precision: float32`"
            )

    @torch.inference_mode()
    def sample(
        self,
        z: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        images = self.forward(*(to_device(tensor, self.device) for tensor in (z, classes, truncation)))
        if self.device.type == "cpu":
            _require_finite(images)
        else:  # to look would be to wait; what is black is rejected as constant
            finite = torch.isfinite(images).flatten(1).all(dim=1)
            images = torch.where(finite[:, None, None, None], images, -1.0)
        return ((images + 1) * 128).clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    @torch.inference_mode()
    def forward(self, z: torch.Tensor, classes: torch.Tensor, truncation: torch.Tensor) -> torch.Tensor:
        """Images before they become bytes: float32 [n, 3, h, w] in [-1, 1]; arguments as `sample`, on the device."""
        try:
            return torch.as_tensor(self._network(z, classes, truncation))
        except RuntimeError as error:
            if not _is_compilers(error):
                raise
            reason = " ".join(str(error).splitlines()[:2])
            raise RenderError(f"torch.compile failed ({reason}); set `compile: false`, or mend its tools") from error


def _compiler_options() -> dict[str, str | bool | int]:
    """No kernel chosen by timing, so that bytes repeat."""
    import torch._inductor.config as inductor

    options: dict[str, str | bool | int] = dict.fromkeys(
        ("max_autotune", "max_autotune_pointwise", "max_autotune_gemm"), False
    )
    return {**options, "deterministic": True} if hasattr(inductor, "deterministic") else options


def _is_compilers(error: RuntimeError) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # importing it takes a second

    return isinstance(error, TorchDynamoException)


def _require_finite(images: torch.Tensor) -> None:
    if not torch.isfinite(images).all():
        raise RenderError(
            "the network's output is not finite, so its weights or its batch-norm statistics are unusable; "
            "check the weights"
        )
