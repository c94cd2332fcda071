"""Datasets back into training: filtered, shuffled, dealt to ranks and workers, resumable, mixed with real images.

Imports neither Prefect nor the BigGAN library.
"""

from gansynth.loaders.dataset import SynthesizedDataset, open_dataset
from gansynth.loaders.mix import mix
from gansynth.loaders.mixture import MixedDataset

__all__ = ["MixedDataset", "SynthesizedDataset", "mix", "open_dataset"]
