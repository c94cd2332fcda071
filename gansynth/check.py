"""Does a dataset hold what its receipts say, and are its shards all there? And making good what is not."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any

from gansynth import card, manifest, samples
from gansynth.dataset import Dataset, missing, read_receipt
from gansynth.errors import GansynthError, StoreDamaged, StoreMissing
from gansynth.lineage import rows_of
from gansynth.plan import Rows, ShardPlan
from gansynth.receipt import SUFFIX, FileRecord, Receipt

RowsOf = Callable[[ShardPlan], Rows]
_CHUNK = 16 * 2**20
_SHARD_FILE = re.compile(r"(\d{6,})(?:\.tar|\.parquet|_stats\.json)\Z")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong.

    Args:
        path: the file, or the stem of the shard.
        what: what is wrong with it.
        shard: the shard to make again; None for index files and files that belong to no shard.
        mendable: whether `repair` and `finalize` can put it right.
    """

    path: str
    what: str
    shard: ShardPlan | None = None
    mendable: bool = True


def verify(
    dataset: Dataset, on_shard: Callable[[], None] = lambda: None, parts: Container[int] | None = None
) -> Iterator[Problem]:
    """Read every byte of a dataset and compare it with the receipts; yields what is damaged or missing.

    Args:
        dataset: the dataset.
        on_shard: called after each shard.
        parts: which parts to look at; if given, index files and card are left out.

    Raises:
        StoreError: storage cannot be read, which tells nothing about the dataset.
    """
    done = dataset.done()
    damaged = False
    rows = _rows_if_known(dataset)
    yield from _strays(dataset)
    for shard in missing(dataset.plan, done):
        if parts is None or shard.part in parts:
            yield Problem(shard.stem, "is missing", shard)
    for split, numbers in done.items():
        for number in sorted(numbers):
            if parts is not None and dataset.plan.find(split, number).part not in parts:
                continue
            found = list(_shard_problems(dataset, split, number, rows))
            damaged = damaged or bool(found)
            yield from found
            on_shard()
    if dataset.is_complete and not damaged and parts is None:
        yield from _catalogue_problems(dataset)


def _strays(dataset: Dataset) -> Iterator[Problem]:
    """Files named like those of shards that the plan does not have: readers of the folder would take them in."""
    for split in dataset.record.recipe.splits:
        count = dataset.plan.shards_of(split)
        for name in sorted(dataset.store.list(split)):
            match = _SHARD_FILE.match(name)
            if match and int(match[1]) >= count:
                yield Problem(f"{split}/{name}", "belongs to no shard of the recipe; delete it", mendable=False)


def _rows_if_known(dataset: Dataset) -> RowsOf | None:
    """What gives the rows that shards should have; None for samples derived from a dataset that is not at hand."""
    try:
        return rows_of(dataset)
    except GansynthError:
        return None


def _shard_problems(dataset: Dataset, split: str, number: int, rows: RowsOf | None) -> Iterator[Problem]:
    stem = f"{split}/{number:06d}"
    shard = dataset.plan.find(split, number)
    try:
        receipt = read_receipt(dataset.store, split, number)
    except (StoreDamaged, StoreMissing) as error:
        yield Problem(f"{stem}{SUFFIX}", str(error).partition(";")[0], shard)
        return
    for suffix, record in ((".tar", receipt.tar), (".parquet", receipt.manifest)):
        if fault := _file_fault(dataset, stem + suffix, record):
            yield Problem(stem + suffix, fault, shard)
            return
    if fault := _manifest_fault(dataset, shard, receipt, rows):
        yield Problem(f"{stem}.parquet", fault, shard)


def _file_fault(dataset: Dataset, path: str, record: FileRecord) -> str | None:
    try:
        size = dataset.store.size(path)
        if size != record.bytes:
            return f"has {size:,} bytes, but {record.bytes:,} were written"
        digest = hashlib.sha256()
        for offset in range(0, size, _CHUNK):
            digest.update(dataset.store.read(path, offset, min(_CHUNK, size - offset)))
    except StoreMissing as error:
        return str(error).partition(": ")[2].partition(";")[0]
    return None if digest.hexdigest() == record.sha256 else "holds other bytes than were written (sha256 differs)"


def _manifest_fault(dataset: Dataset, shard: ShardPlan, receipt: Receipt, rows: RowsOf | None) -> str | None:
    """Whether the manifest holds the planned samples, and whether the receipt counts them rightly."""
    columns = ["seed", "class_index", "truncation", "parent", "status"]
    table = manifest.decode(dataset.store.read(f"{shard.stem}.parquet"), columns)
    for column, values in (_planned(dataset, rows(shard)) if rows else {}).items():
        if table[column].to_pylist() != values:
            return f"its column {column} is not what the recipe plans"
    status = Counter(table["status"].to_pylist())
    counted = (receipt.rows, receipt.samples, receipt.rejected)
    return (
        None if counted == (shard.size, status["ok"], status["rejected"]) else "its rows are not those of the receipt"
    )


def _planned(dataset: Dataset, rows: Rows) -> dict[str, list[Any]]:
    """What manifest columns should hold."""
    recipe = dataset.record.recipe
    return {
        "seed": rows.seeds.tolist(),
        "class_index": [recipe.classes[i].index if recipe.classes else None for i in rows.classes.tolist()],
        "truncation": [recipe.truncations[i] for i in rows.truncations.tolist()],
        "parent": list(rows.origins.parents) if rows.origins else [None] * len(rows),
    }


def _catalogue_problems(dataset: Dataset) -> Iterator[Problem]:
    expected = dataset.catalogue()
    written = dataset.store.find(card.FILE) or b""
    if card.is_unsealed(written, dataset.record, [s for s, numbers in dataset.done().items() if numbers]):
        del expected[card.FILE]  # an earlier version's, which showed no picture and cannot be compared with ours
        expected.pop(samples.FILE, None)
    elif (seal := card.seal_of(written)) and seal == card.seal_of(expected[card.FILE]):
        del expected[card.FILE]  # right, in whatever words
    for path, content in expected.items():
        found = dataset.store.find(path)
        if found is None:
            yield Problem(path, "is missing; run `gansynth finalize`")
        elif found != content:
            yield Problem(path, "does not fit the receipts; run `gansynth finalize`")


def discard(dataset: Dataset, problem: Problem) -> None:
    """Take a damaged shard out of the dataset, so that it counts as missing. The receipt goes first."""
    if problem.shard is not None:
        dataset.store.delete(f"{problem.shard.stem}{SUFFIX}")
