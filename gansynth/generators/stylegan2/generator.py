"""StyleGAN2 and StyleGAN2-ADA ready to render; the contract is `protocol.Generator`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gansynth.errors import RenderError
from gansynth.generators.protocol import Described
from gansynth.generators.stylegan2.centers import class_center
from gansynth.generators.stylegan2.config import Config
from gansynth.generators.stylegan2.mapping import MappingNetwork, truncated
from gansynth.generators.stylegan2.synthesis import Synthesis, part
from gansynth.info import GeneratorInfo
from gansynth.transfer import to_device


class StyleGAN2Generator(Described):
    """A StyleGAN2 generator.

    Args:
        info: facts, with weights_sha256; its options are those of `describe`.
        config: the network's shape.
        tensors: float32 arrays named as in a state dict.
        device: a torch device.
        precision: float32, or bfloat16 or float16 for the features of the four highest resolutions.
    """

    def __init__(
        self,
        info: GeneratorInfo,
        config: Config,
        tensors: dict[str, npt.NDArray[np.float32]],
        device: str,
        precision: str,
    ) -> None:
        super().__init__(info)
        self.device = torch.device(device)
        self.w_dim, self.num_ws = config.w_dim, config.num_ws
        silent = info.options["noise_mode"] == "none"
        kept = {name: array for name, array in tensors.items() if not (silent and name.endswith("noise_const"))}
        named = {name: torch.from_numpy(array) for name, array in kept.items()}
        self._mapping = MappingNetwork(part(named, "mapping"), config.mapping_layers, config.lr_multiplier)
        clamps = dict(zip(config.resolutions, config.conv_clamp, strict=True))
        self._synthesis = Synthesis(part(named, "synthesis"), config.architecture, config.resolution, clamps)
        self._synthesis.set_precision(getattr(torch, precision))
        self._mapping.to(self.device)
        self._synthesis.to(self.device)
        self._centers: dict[int, torch.Tensor] = {}

    @torch.inference_mode()
    def styles(self, z: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """w before truncation, float32 [n, w_dim], on the device; arguments as `sample`."""
        return torch.as_tensor(self._mapping(to_device(z, self.device), to_device(classes, self.device)))

    @torch.inference_mode()
    def sample(
        self,
        z: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.sample_styles(self.styles(z, classes), classes, truncation, seeds)

    @torch.inference_mode()
    def sample_styles(
        self,
        w: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        w, psi = to_device(w, self.device), to_device(truncation, self.device)
        if w.dim() == 2:
            w = w[:, None].expand(-1, self.num_ws, -1)
        cutoff: Any = self.info.options["truncation_cutoff"]
        return as_bytes(self.forward(truncated(w, psi, self._center(classes), cutoff), seeds))

    @torch.inference_mode()
    def forward(self, w: torch.Tensor, seeds: torch.Tensor | None = None) -> torch.Tensor:
        """Images before they become bytes, float32 [n, channels, h, w], nominally in [-1, 1].

        Args:
            w: float32 [n, layers, w_dim] on the device, after truncation.
            seeds: int64 [n], of the noise where noise_mode is random.
        """
        images = self._synthesis(w, self._noise(seeds) if self.info.options["noise_mode"] == "random" else None)
        if self.device.type == "cpu":
            if not torch.isfinite(images).all():
                raise RenderError("the network's output is not finite, so its weights are unusable; check the weights")
            return torch.as_tensor(images)
        finite = torch.isfinite(images).flatten(1).all(dim=1)  # see protocol.py
        return torch.where(finite[:, None, None, None], images, -2.0)

    def _noise(self, seeds: torch.Tensor | None) -> list[torch.Tensor]:
        """Random noise of every layer, a stream for each sample."""
        if seeds is None:
            raise RenderError("random noise needs seeds; pass them, or use noise_mode const")
        streams = [torch.Generator().manual_seed(_noise_seed(seed)) for seed in seeds.tolist()]
        sides = self._synthesis.noise_sides()
        layers = [torch.stack([torch.randn(1, side, side, generator=s) for s in streams]) for side in sides]
        return [to_device(layer, self.device) for layer in layers]

    def _center(self, classes: torch.Tensor) -> torch.Tensor:
        """What truncation moves towards: w_avg, or the mean style of each sample's class."""
        if self.info.options["truncation_center"] == "global":
            return self._mapping.w_avg[None]
        return torch.stack([self._class_center(label) for label in classes.tolist()])

    def _class_center(self, label: int) -> torch.Tensor:
        if label not in self._centers:
            center = class_center(self._mapping, self.z_dim, label, self.weights_sha256)
            self._centers[label] = torch.from_numpy(center).to(self.device)
        return self._centers[label]

    @torch.inference_mode()
    def centers(self, classes: Sequence[int]) -> npt.NDArray[np.float32] | None:
        if self.info.options["truncation_center"] == "global":
            return None
        return np.stack([self._class_center(label).cpu().numpy() for label in classes])


def _noise_seed(seed: int) -> int:
    """Of a sample's noise; not the seed itself, of which latents may be drawn by the same kind of stream."""
    digest = hashlib.sha256(f"stylegan2 noise {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """uint8 [n, h, w, 3] from float32 [n, 1 or 3, h, w] in [-1, 1], by the rule of the reference's tools."""
    pixels = (127.5 * images + 128).clamp_(0, 255).to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
