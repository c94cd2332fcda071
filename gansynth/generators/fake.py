"""A generator without a network, for tests and for measuring the pipeline: seeded 1/f textures.

Their spectrum is that of photographs, so encoders have about as much to do as with real images. The class tints the
texture and the truncation sets its contrast.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gansynth.errors import RecipeError
from gansynth.generators.protocol import Described
from gansynth.identity import sha256_json
from gansynth.info import GeneratorInfo
from gansynth.labels import named_classes

if TYPE_CHECKING:
    import torch

_DEFAULTS = {"resolution": 64, "num_classes": 10, "z_dim": 16}
_LIMITS = {"resolution": (1, 4096), "num_classes": (0, 100_000), "z_dim": (1, 4096)}
_BANK = 16  # textures drawn ahead; a sample is a window into one of them


def describe(options: Mapping[str, Any]) -> GeneratorInfo:
    """Facts of the fake generator.

    Args:
        options: resolution (default 64), num_classes (10; 0 for unconditional) and z_dim (16).

    Raises:
        RecipeError: an option that does not exist or is out of range.
    """
    for key, value in options.items():
        if key not in _DEFAULTS:
            raise RecipeError(f"generator_options: saw `{key}`; the fake generator takes {', '.join(_DEFAULTS)}")
        low, high = _LIMITS[key]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise RecipeError(f"generator_options.{key}: saw {value!r}; it is a whole number from {low} to {high}")
    chosen = {**_DEFAULTS, **options}
    return GeneratorInfo(
        name="fake",
        family="fake",
        z_dim=chosen["z_dim"],
        num_classes=chosen["num_classes"],
        resolution=chosen["resolution"],
        labels=named_classes([f"tint {index}" for index in range(chosen["num_classes"])]),
        options=dict(chosen),
        weights_sha256=sha256_json({"family": "fake", "textures": 1, **chosen}),
        licence="MIT",
        origin="gansynth's own 1/f textures; no network",
    )


class FakeGenerator(Described):
    """See the module's docstring; the contract is `protocol.Generator`."""

    def __init__(self, info: GeneratorInfo) -> None:
        super().__init__(info)
        self._textures = _textures(self.resolution)
        colours = np.array([[_tint(label, c) for c in range(3)] for label in range(max(1, self.num_classes))], np.int16)
        self._tints = np.tile(colours, (1, self.resolution))  # one line of pixels a class

    def sample(
        self,
        z: torch.Tensor,
        classes: torch.Tensor,
        truncation: torch.Tensor,
        seeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        import torch

        latents = np.ascontiguousarray(z.numpy(), dtype=np.float32)
        size = self.resolution
        # Pixels and channels of a line lie in one axis, so that numpy's inner loops are long.
        images = np.empty((len(latents), size, 3 * size), np.uint8)
        canvas = np.empty((size, 3 * size), np.int16)
        for image, latent, label, psi in zip(images, latents, classes.tolist(), truncation.tolist(), strict=True):
            window, y, x = _split(zlib.crc32(latent.tobytes()), size)
            contrast = np.int16(min(255, max(1, round(128 * psi))))
            np.multiply(self._textures[window, y : y + size, 3 * x : 3 * (x + size)], contrast, out=canvas)
            np.right_shift(canvas, 7, out=canvas)
            np.add(canvas, self._tints[label], out=canvas)
            image[:] = np.clip(canvas, 0, 255, out=canvas)
        return torch.from_numpy(images.reshape(-1, size, size, 3))


def _textures(size: int) -> npt.NDArray[np.int16]:
    """int16 [bank, 2 size, 2 size * 3] in [-128, 127], periodic in height and width with period `size`."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    amplitude = 1 / np.maximum(frequency, 1 / size)
    shape = (_BANK, 3, *amplitude.shape)
    spectrum = amplitude * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    waves = np.fft.irfft2(spectrum, s=(size, size)).transpose(0, 2, 3, 1)
    waves -= waves.mean(axis=(1, 2), keepdims=True)
    waves *= 45 / np.maximum(waves.std(axis=(1, 2), keepdims=True), 1e-9)
    return np.tile(np.clip(waves, -128, 127).astype(np.int16), (1, 2, 2, 1)).reshape(_BANK, 2 * size, -1)


def _split(code: int, size: int) -> tuple[int, int, int]:
    """Texture and offset that a 32-bit code stands for."""
    return code % _BANK, code // _BANK % size, code // (_BANK * size) % size


def _tint(label: int, channel: int) -> int:
    return 96 + (label * (37, 59, 83)[channel]) % 64
