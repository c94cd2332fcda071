"""The receipt of a shard, NNNNNN_stats.json: written last, so a shard exists exactly if its receipt does."""

from __future__ import annotations

import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gansynth.errors import StoreError
from gansynth.identity import sha256_json

SUFFIX = "_stats.json"


class FileRecord(BaseModel):
    """Size in bytes and sha256 of a file as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Receipt(BaseModel):
    """What was committed, and how it was made.

    Args:
        split, shard, part: which shard.
        rows: rows of the manifest; samples: members in the tar; rejected: rows without a member.
        tar, manifest: the two files.
        classes, truncations: samples by class index ("" for unconditional) and by truncation (its repr).
        seconds: wall time, and time by stage (encode: summed over threads).
        images_per_second: rows by wall time.
        peak_memory: largest memory of the process so far, in bytes, host and device.
        worker: host and process that made it.
        environment: device and library versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = 1
    split: str
    shard: int
    part: int
    rows: int
    samples: int
    rejected: int
    tar: FileRecord
    manifest: FileRecord
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
        return (json.dumps({**content, "checksum": sha256_json(content)}, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises StoreError unless the bytes are exactly what `encode` gave."""
        try:
            content: dict[str, Any] = json.loads(data)
            checksum = content.pop("checksum")
            receipt = cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            raise StoreError("the receipt is not readable; run `gansynth repair`") from None
        if checksum != sha256_json(receipt.model_dump(mode="json")):
            raise StoreError("the receipt's content does not match its checksum; run `gansynth repair`")
        return receipt
