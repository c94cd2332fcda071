"""gansynth: batch dataset synthesis from pretrained GANs.

>>> recipe = gansynth.Recipe.load("deploy/recipes/demo.yaml")            # doctest: +SKIP
>>> gansynth.plan(recipe).samples                                        # doctest: +SKIP
>>> gansynth.generate(recipe)                                            # doctest: +SKIP
>>> generator = gansynth.load_generator("fashion-32", device="cpu", precision="float32")  # doctest: +SKIP
"""

from gansynth.api import Summary, generate, plan
from gansynth.dataset import Dataset
from gansynth.errors import GansynthError
from gansynth.generators import load_generator
from gansynth.recipe import Recipe

__all__ = ["Dataset", "GansynthError", "Recipe", "Summary", "generate", "load_generator", "plan"]
