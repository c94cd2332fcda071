"""Which samples of a dataset others are derived from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth import manifest
from gansynth.dataset import Dataset
from gansynth.errors import OutputError, RecipeError
from gansynth.pairs import Pairs
from gansynth.where import fitting

_READERS = 16
_COLUMNS = ("row", "sample_id", "seed", "class_index", "truncation")
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kept:
    """Samples of one split of a dataset that fit a condition, in their order there.

    Args:
        ids: sample_id of each.
        shards, rows: where its manifest row is, int64 [n].
        seeds: int64 [n].
        classes: index in the generator, int64 [n]; -1 for unconditional ones.
        truncations: float64 [n].
    """

    ids: Sequence[str]
    shards: Ints
    rows: Ints
    seeds: Ints
    classes: Ints
    truncations: npt.NDArray[np.float64]


def open_source(url: str, kind: str) -> Dataset:
    """The dataset that samples start from. Raises RecipeError if there is none, or an unfinished one."""
    try:
        source = Dataset.open(url)
    except OutputError as error:
        raise RecipeError(f"{kind}: from: {error}") from None
    existing, planned = sum(map(len, source.done().values())), len(source.plan)
    if existing < planned:
        raise RecipeError(
            f"{kind}: {source.store.place} is unfinished, {existing} of {planned} shards exist; run its recipe again first"
        )
    return source


def kept_in(source: Dataset, split: str, where: str | None) -> Kept:
    """The samples of a split that fit a condition. Raises InputError if the condition does not fit the manifests."""
    keep = fitting(where, source.manifest_schema)
    numbers = range(source.plan.shards_of(split))
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(
            pool.map(lambda n: manifest.read(source.store, f"{split}/{n:06d}.parquet", _COLUMNS, keep), numbers)
        )

    def column(name: str) -> npt.NDArray[Any]:
        filled = [table[name].fill_null(-1) if name == "class_index" else table[name] for table in tables]
        return np.concatenate([part.to_numpy() for part in filled]) if filled else np.empty(0)

    return Kept(
        ids=[name for table in tables for name in table["sample_id"].to_pylist()],
        shards=np.repeat(np.arange(len(tables)), [len(table) for table in tables]),
        rows=column("row").astype(np.int64),
        seeds=column("seed").astype(np.int64),
        classes=column("class_index").astype(np.int64),
        truncations=column("truncation").astype(np.float64),
    )


def digest_of(kept: Mapping[str, Kept]) -> str:
    """Names kept samples, given by split."""
    digest = hashlib.sha256()
    for split, found in kept.items():
        digest.update(f"{split} {' '.join(found.ids)}\n".encode())
    return digest.hexdigest()


def pairs_of(kept: Kept) -> Pairs:
    """All pairs of kept samples of one class and truncation."""
    return Pairs(list(zip(kept.classes.tolist(), kept.truncations.tolist(), strict=True)))
