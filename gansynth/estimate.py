"""What a recipe will cost, before it is run: bytes and time. Rough, and said to be."""

from __future__ import annotations

from gansynth.resolve import ResolvedRecipe

# Images a second of one CPU core (float32, one thread, auto batch size), measured on an AMD EPYC (AVX512).
_CPU_IMAGES_PER_SECOND = {("biggan", 32): 570.0, ("biggan", 128): 2.4, ("biggan", 256): 0.71, ("biggan", 512): 0.26}
# Bytes a pixel of photographs at the default settings, and of a tar's headers and padding for four members.
_BYTES_PER_PIXEL = {"jpg": 0.55, "png": 1.9, "webp": 0.45}
_TAR_OVERHEAD, _ROW_OVERHEAD = 4100, 250


def bytes_per_sample(recipe: ResolvedRecipe) -> float:
    """Expected bytes of tar and manifest for a sample."""
    pixels = recipe.info.resolution**2
    return (
        600 + _BYTES_PER_PIXEL[recipe.image["format"]] * pixels + _TAR_OVERHEAD + _ROW_OVERHEAD + 4 * recipe.info.z_dim
    )


def images_per_second(recipe: ResolvedRecipe, device_type: str) -> float | None:
    """Measured speed of one worker, or None where nothing was measured."""
    if device_type != "cpu":
        return None
    return _CPU_IMAGES_PER_SECOND.get((recipe.info.family, recipe.info.resolution))
