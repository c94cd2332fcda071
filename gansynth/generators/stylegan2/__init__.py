"""StyleGAN2 and StyleGAN2-ADA generators. Snapshots are read as data: no code in them runs, and reading needs no torch."""

from gansynth.generators.stylegan2.config import Config, check_shapes, expected_shapes
from gansynth.generators.stylegan2.snapshot import Snapshot, read

__all__ = ["Config", "Snapshot", "check_shapes", "expected_shapes", "read"]
