"""From a loose image file back to its sample: by the sample_id that it states, else by its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from gansynth import manifest, provenance
from gansynth.dataset import Dataset
from gansynth.errors import InputError
from gansynth.where import Condition

_LARGEST = 2**30  # bytes; no image of a dataset comes near it
_READERS = 8  # manifests are read in parallel: on object stores each takes some round trips
_COLUMNS = (
    "key",
    "sample_id",
    "split",
    "seed",
    "class_index",
    "class_name",
    "wnid",
    "label",
    "truncation",
    "image_sha256",
)


@dataclass(frozen=True)
class Claim:
    """What an image file says of itself.

    Args:
        sha256: of its bytes.
        sample_id: as its XMP states it, or None.
        synthetic: whether its XMP states that a trained model made it.
    """

    sha256: str
    sample_id: str | None
    synthetic: bool


@dataclass(frozen=True)
class Match:
    """A sample that an image file is of.

    Args:
        dataset: that holds it.
        row: of the manifest, without latents.
        identical: whether the file's bytes are those that the manifest describes. If not, the file was altered, or
            another run rendered the same sample, and that it is this sample is only what the file says.
    """

    dataset: Dataset
    row: dict[str, Any]
    identical: bool


def read_claim(path: Path) -> Claim:
    """What an image file says of itself. Raises InputError if there is no such file, or if it is no image."""
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(
                f"image {path}: has more than {_LARGEST:,} bytes, so it is no single image; pass one image"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"image {path}: there is no such file; check the path") from None
    except OSError as error:
        raise InputError(f"image {path}: cannot be read ({error.strerror}); pass an image file") from None
    claim = Claim(hashlib.sha256(data).hexdigest(), provenance.read(data), provenance.says_synthetic(data))
    if not claim.synthetic and not provenance.is_image(data):
        raise InputError(f"image {path}: is not an image that can be read; pass a file such as sample.jpg")
    return claim


def find(claim: Claim, dataset: Dataset, on_manifest: Callable[[], None] = lambda: None) -> list[Match]:
    """The samples of a dataset that a file is of: usually one or none.

    Files without XMP that have the same bytes, as those of a collapsed generator may, match every sample that has them.

    Args:
        claim: what the file says.
        dataset: where to look. Only some columns of its manifests are read.
        on_manifest: called after each manifest.

    Raises:
        StoreError: a manifest cannot be read, is missing or damaged.
    """
    wanted = pc.field("image_sha256") == claim.sha256
    if claim.sample_id:
        wanted = wanted | (pc.field("sample_id") == claim.sample_id)
    keep = Condition(wanted & (pc.field("status") == "ok"), frozenset({"image_sha256", "sample_id", "status"}))

    def search(stem: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = manifest.read(dataset.store, f"{stem}.parquet", _COLUMNS, keep).to_pylist()
        return rows

    stems = [f"{split}/{number:06d}" for split, numbers in dataset.done().items() for number in sorted(numbers)]
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for rows in pool.map(search, stems):
            found += rows
            on_manifest()
    named = [row for row in found if row["sample_id"] == claim.sample_id]
    return [Match(dataset, row, row["image_sha256"] == claim.sha256) for row in named or found]
