"""Datasets back into training: filtered, shuffled, dealt to ranks and workers, resumable, mixed with real images.

Imports neither Prefect nor the BigGAN library.
"""

from gansynth.loaders.dataset import SynthesizedDataset, open_dataset
from gansynth.loaders.mix import MixedDataset, mix

__all__ = ["MixedDataset", "SynthesizedDataset", "mix", "open_dataset"]
