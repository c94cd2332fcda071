"""What is known of a generator before its weights are loaded: enough to validate a recipe and to plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gansynth.errors import RecipeError
from gansynth.labels import LabelSet

Latent = Literal["truncated_normal", "normal", "numpy_normal"]
TruncationRule = Literal["unit", "psi", "one"]

_LARGEST_PSI = 1000.0  # far beyond every use, and safe in half precision
_TRUNCATION_RULES = {
    "unit": "takes values above 0 and up to 1",
    "psi": f"takes numbers from -{_LARGEST_PSI:g} to {_LARGEST_PSI:g} (psi)",
    "one": "has no truncation and takes 1.0 alone",
}


@dataclass(frozen=True)
class GeneratorInfo:
    """Facts about a generator.

    Args:
        name: as written in the recipe; an absolute path for a folder or file.
        family: biggan, fake, ...
        z_dim: length of the latent vector z.
        num_classes: 0 for unconditional generators.
        resolution: height and width of the images in pixels.
        labels: the classes; empty for unconditional generators.
        latents: distributions that z may come from, the family's default first.
        truncation_rule: which truncations exist: "unit" (0, 1], "psi" numbers of magnitude up to 1000, "one" 1.0 alone.
        options: generator_options with every default filled in.
        weights_sha256: identity of the weights; None when only loading them can tell.
        licence, origin: of the weights, for receipts and the dataset card.
        terms: further facts about that licence that a user should know, a sentence each.
        w_dim: length of the style w, for StyleGAN; 0 for families that have none.
    """

    name: str
    family: str
    z_dim: int
    num_classes: int
    resolution: int
    labels: LabelSet
    latents: tuple[Latent, ...] = ("truncated_normal", "normal")
    truncation_rule: TruncationRule = "unit"
    options: dict[str, object] = field(default_factory=dict)
    weights_sha256: str | None = None
    licence: str = "unknown"
    origin: str = "unknown"
    terms: tuple[str, ...] = ()
    w_dim: int = 0

    def check_truncation(self, value: float) -> None:
        """Raise RecipeError if this generator has no such truncation."""
        allowed = {"unit": 0 < value <= 1, "psi": abs(value) <= _LARGEST_PSI, "one": value == 1.0}[self.truncation_rule]
        if not allowed:
            rule = _TRUNCATION_RULES[self.truncation_rule]
            raise RecipeError(f"truncation: saw {value:g}, but the generator {self.name} {rule}; change it")
