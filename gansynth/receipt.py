"""The receipt of a shard, NNNNNN_stats.json: written last, so a shard exists exactly if its receipt does."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from gansynth.errors import StoreDamaged
from gansynth.identity import sha256_json

SUFFIX = "_stats.json"


class FileRecord(BaseModel):
    """Size in bytes and sha256 of a file as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: int
    sha256: str


class Receipt(BaseModel):
    """What was committed, and how it was made.

    Args:
        split, shard, part: which shard.
        rows: rows of the manifest; samples: members in the tar; rejected: rows without a member.
        tar, manifest: the two files.
        licence: of the generator's weights.
        classes, truncations: samples by class index ("" for unconditional) and by truncation (its repr).
        seconds: wall time, and time by stage (encode: summed over threads).
        images_per_second: rows by wall time.
        peak_memory: largest memory of the process so far, in bytes, host and device.
        worker: host and process that made it.
        environment: device and library versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: int = 1
    split: str
    shard: int
    part: int
    rows: int
    samples: int
    rejected: int
    tar: FileRecord
    manifest: FileRecord
    licence: str
    classes: dict[str, int]
    truncations: dict[str, int]
    seconds: dict[str, float]
    images_per_second: float
    peak_memory: dict[str, int]
    worker: str
    environment: dict[str, str]

    def encode(self) -> bytes:
        """JSON with a checksum of its own content."""
        content = self.model_dump(mode="json")
        return _json({**content, "checksum": sha256_json(content)})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises StoreDamaged unless the bytes are as `encode` gave them."""
        try:
            content: dict[str, Any] = json.loads(data)
            intact = _json(content) == data and content.pop("checksum") == sha256_json(content)
            receipt = cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError):
            intact = False
        if not intact:
            raise StoreDamaged("the receipt is damaged; run `gansynth repair`")
        return receipt


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
