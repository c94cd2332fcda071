"""Names made from content: canonical JSON, fingerprints and sample ids. Equal things get equal names everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# Raised when the same request starts to give other pixels: it is part of every sample_id and fingerprint.
RENDER_VERSION = 1


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; equal values give equal texts. Mapping keys become text, as JSON has it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_json(value: Any) -> str:
    """Hex sha256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class SampleIds:
    """Makes sample ids: the first 32 hex digits of the sha256 of what is asked for.

    Two samples of any two datasets have the same id exactly if weights, class, truncation, seed, latent distribution,
    generator options and image format are the same.

    Args:
        constants: what all samples of a recipe share, among weights_sha256, latent, generator_options, image; and how they are
            derived, where they are.
    """

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self._constants = {"version": RENDER_VERSION, **constants}

    def __call__(self, class_index: int | None, truncation: float, seed: int, **origin: Any) -> str:
        request = {**self._constants, "class": class_index, "truncation": repr(truncation), "seed": seed, **origin}
        return sha256_json(request)[:32]
