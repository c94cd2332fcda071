"""Re-making one sample from its manifest row, and comparing it with the stored image."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth import encode, manifest
from gansynth.dataset import Dataset
from gansynth.environment import environment
from gansynth.errors import InputError, OutputError, StoreDamaged
from gansynth.generators.protocol import Generator
from gansynth.plan import Origins, Rows
from gansynth.sampling import reproducible, sample_rows

_KEY = re.compile(r"(?P<split>\w+)-(?P<shard>\d{6,})-(?P<row>\d{6,})\Z")
_TOLERANCE = {"lossless": 1, "lossy": 8}


@dataclass(frozen=True)
class Comparison:
    """A sample beside its re-made self.

    Args:
        row: its manifest row.
        image: re-made pixels, uint8 [h, w, 3].
        stored: stored pixels, or None for a rejected sample.
        identical: whether the encoded bytes are the same.
        difference: largest difference in grey levels, of decoded pixels.
        tolerance: difference that another environment may cause (float rounding, amplified by lossy encoding).
        same_environment: whether the environment is one that the dataset was made in.
    """

    row: dict[str, Any]
    image: npt.NDArray[np.uint8]
    stored: npt.NDArray[np.uint8] | None
    identical: bool
    difference: int
    tolerance: int
    same_environment: bool

    @property
    def agrees(self) -> bool:
        """Equal in the recorded environment; within the tolerance elsewhere."""
        return self.identical if self.same_environment else self.difference <= self.tolerance


def find_row(dataset: Dataset, key: str) -> dict[str, Any]:
    """The manifest row of a key such as train-000000-000012. Raises InputError if there is no such sample."""
    match = _KEY.match(key)
    if match is None:
        raise InputError(f"key: saw {key!r}, which is no key; keys look like train-000000-000012 (split, shard, row)")
    split, number, index = match["split"], int(match["shard"]), int(match["row"])
    numbers = dataset.done().get(split)
    if numbers is None:
        raise InputError(
            f"key: saw {key!r}, but the dataset has only the splits {', '.join(dataset.record.recipe.splits)}"
        )
    if number not in numbers:
        raise InputError(
            f"key: saw {key!r}, but shard {split}/{number:06d} does not exist (yet); see `gansynth status`"
        )
    table = manifest.decode(dataset.store.read(f"{split}/{number:06d}.parquet"))
    if index >= table.num_rows:
        raise InputError(f"key: saw {key!r}, but shard {split}/{number:06d} has rows 0 to {table.num_rows - 1}")
    row: dict[str, Any] = table.slice(index, 1).to_pylist()[0]
    return row


def stored_image(dataset: Dataset, row: dict[str, Any]) -> bytes | None:
    """The encoded image of a manifest row, by a range read of its tar; None for a rejected sample."""
    if row["status"] != "ok":
        return None
    return dataset.store.read(f"{row['split']}/{row['shard']:06d}.tar", row["image_offset"], row["image_bytes"])


def remake(dataset: Dataset, row: dict[str, Any], generator: Generator, device: str) -> Comparison:
    """Render a sample again from its stored latent.

    Args:
        dataset, row: which sample.
        generator: loaded with the precision of the dataset.
        device: the device it is on.

    Raises:
        OutputError: the row's class or truncation is not of the dataset's recipe.
    """
    recipe = dataset.record.recipe
    classes: list[int | None] = [label.index for label in recipe.classes] or [None]
    if row["class_index"] not in classes or row["truncation"] not in recipe.truncations:
        raise OutputError(f"{row['key']}: its row does not fit recipe.yaml; run `gansynth verify`")
    # Copies of it fill its batch up to its place there: bits may depend on the place, and the batch is padded anyway.
    copies = row["row"] % recipe.batch_size + 1
    rows = Rows(
        seeds=np.full(copies, row["seed"], np.int64),
        classes=np.full(copies, classes.index(row["class_index"]), np.int64),
        truncations=np.full(copies, recipe.truncations.index(row["truncation"]), np.int64),
    )
    z = np.tile(np.array(row["z"], np.float32), (copies, 1))
    if recipe.derivation and recipe.derivation.space == "w":  # then w is the authority
        w = np.tile(np.array(row["w"], np.float32), (copies, 1))
        rows = replace(rows, origins=Origins([row["parent"]] * copies, {}, z, w))
    with reproducible(recipe.threads):
        image = sample_rows(generator, recipe, rows, z, 0)[-1].cpu().numpy()
    data = encode.file_encoder(recipe)(image, row["sample_id"])
    stored = stored_image(dataset, row)
    try:
        pixels = None if stored is None else encode.decode(stored)
    except OSError as error:
        raise StoreDamaged(
            f"{row['key']}: its stored image cannot be decoded ({error}); run `gansynth repair`"
        ) from None
    difference = 0 if pixels is None else int(np.abs(encode.decode(data).astype(int) - pixels.astype(int)).max())
    lossless = recipe.image["format"] == "png" or recipe.image.get("lossless")
    return Comparison(
        row=row,
        image=image,
        stored=pixels,
        identical=stored is None or stored == data,
        difference=difference,
        tolerance=_TOLERANCE["lossless" if lossless else "lossy"],
        same_environment=environment(device) in (dict(dataset.record.environment), *map(dict, dataset.record.others)),
    )
