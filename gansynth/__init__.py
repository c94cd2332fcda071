"""gansynth: batch dataset synthesis from pretrained GANs.

>>> recipe = gansynth.Recipe.load("deploy/recipes/demo.yaml")            # doctest: +SKIP
>>> gansynth.plan(recipe).samples                                        # doctest: +SKIP
>>> gansynth.generate(recipe)                                            # doctest: +SKIP
>>> generator = gansynth.load_generator("fashion-32", device="cpu", precision="float32")  # doctest: +SKIP
>>> dataset = gansynth.open_dataset("datasets/demo", where="truncation <= 0.6")           # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansynth.api import Summary, generate, plan
from gansynth.dataset import Dataset
from gansynth.errors import GansynthError
from gansynth.generators import load_generator
from gansynth.recipe import Recipe

if TYPE_CHECKING:
    from gansynth.loaders import open_dataset

__all__ = ["Dataset", "GansynthError", "Recipe", "Summary", "generate", "load_generator", "open_dataset", "plan"]


def __getattr__(name: str) -> Any:
    if name == "open_dataset":  # it needs torch, whose import takes longer than most commands
        from gansynth.loaders import open_dataset

        return open_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
