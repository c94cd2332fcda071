"""StyleGAN2 and StyleGAN2-ADA generators. Snapshots are read as data: no code in them runs, and reading needs no torch."""

from gansynth.generators.stylegan2.config import Config, check_shapes, expected_shapes
from gansynth.generators.stylegan2.snapshot import Description, Snapshot, describe_snapshot, read

__all__ = ["Config", "Description", "Snapshot", "check_shapes", "describe_snapshot", "expected_shapes", "read"]
