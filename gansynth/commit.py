"""Encoded images -> tar, manifest and receipt, published in this order. The receipt makes the shard exist."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gansynth import manifest
from gansynth.environment import peak_memory
from gansynth.plan import Plan, Rows, ShardPlan
from gansynth.receipt import SUFFIX, FileRecord, Receipt
from gansynth.shard import TarWriter
from gansynth.store import Store


@dataclass(frozen=True)
class Encoded:
    """One image as bytes of a file, or the reason why it was rejected."""

    sample_id: str
    data: bytes
    sha256: str
    reason: str | None


@dataclass(frozen=True)
class Site:
    """Where rendering takes place, for receipts.

    Args:
        device: torch device.
        worker: host and process.
        environment: see `gansynth.environment`.
    """

    device: str
    worker: str
    environment: Mapping[str, str]


class Commit:
    """A shard on its way into the store.

    Args:
        plan, shard, rows, z: what it holds.
        store: receives it.
        site: for the receipt.
    """

    def __init__(
        self, plan: Plan, shard: ShardPlan, rows: Rows, z: npt.NDArray[np.float32], store: Store, site: Site
    ) -> None:
        self._recipe, self._shard, self._planned, self._z = plan.recipe, shard, rows, z
        self._store, self._site = store, site
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._stack = ExitStack()
        self._path = self._stack.enter_context(store.scratch(shard.stem.replace("/", "-") + ".tar"))
        self._file = self._stack.enter_context(self._path.open("wb"))
        self._tar = TarWriter(self._file)
        self._rows: list[dict[str, Any]] = []
        self._styles: list[npt.NDArray[np.float32]] = []
        self._classes: Counter[str] = Counter()
        self._truncations: Counter[str] = Counter()

    def close(self) -> None:
        """Remove what was not published."""
        self._stack.close()

    def add_styles(self, w: npt.NDArray[np.float32] | None) -> None:
        """Keep the styles of the next rows, float32 [n, w_dim], for families that have them."""
        if w is not None:
            self._styles.append(w)

    def add(self, images: list[Encoded]) -> int:
        """Write the next rows; returns how many."""
        started = time.perf_counter()
        for image in images:
            row = self._row(len(self._rows), image)
            if image.reason is None:
                row["image_offset"] = self._add_members(row, image.data)
                self._classes[str(row["class_index"] if row["class_index"] is not None else "")] += 1
                self._truncations[repr(row["truncation"])] += 1
            self._rows.append(row)
        self.seconds["tar"] += time.perf_counter() - started
        return len(images)

    def _row(self, index: int, image: Encoded) -> dict[str, Any]:
        recipe, shard, rows = self._recipe, self._shard, self._planned
        position = int(rows.classes[index])
        label = recipe.classes[position] if recipe.classes else None
        ok = image.reason is None
        return {
            "key": shard.key(index),
            "sample_id": image.sample_id,
            "split": shard.split,
            "shard": shard.number,
            "row": index,
            "part": shard.part,
            "seed": int(rows.seeds[index]),
            "class_index": label.index if label else None,
            "class_name": label.name if label else None,
            "wnid": label.wnid if label else None,
            "label": recipe.targets[position],
            "truncation": recipe.truncations[int(rows.truncations[index])],
            "width": recipe.info.resolution,
            "height": recipe.info.resolution,
            "format": recipe.image["format"],
            "image_bytes": len(image.data) if ok else None,
            "image_sha256": image.sha256 if ok else None,
            "status": "ok" if ok else "rejected",
            "reason": image.reason,
            **rows.origin(index),
        }

    def _add_members(self, row: dict[str, Any], data: bytes) -> int:
        """The four members of a sample; returns the offset of the image."""
        key = row["key"]
        about = {name: row[name] for name in ("sample_id", "seed", "truncation", "class_index", "class_name")}
        members = (
            (f"{key}.{row['format']}", data),
            (f"{key}.cls", str(row["label"]).encode()),
            (f"{key}.txt", (row["class_name"] or self._recipe.name).encode()),
            (f"{key}.json", json.dumps(about).encode()),
        )
        return self._tar.add(members)[0]

    def publish(self, before_manifest: Callable[[str], None], started: float, seconds: Mapping[str, float]) -> Receipt:
        """Tar, then manifest, then receipt. Only with the receipt does the shard exist.

        Args:
            before_manifest: called with the split once the tar is in place.
            started: time.perf_counter() at which work on the shard began.
            seconds: time that the stages before this one took.
        """
        shard = self._shard
        tar = FileRecord(sha256=self._tar.finish(), bytes=self._tar.size)
        self._file.close()
        clock = time.perf_counter()
        w = np.concatenate(self._styles) if self._styles else None
        derivation = self._recipe.derivation
        table = manifest.encode(self._rows, self._z, self._metadata(), w, derivation.kind if derivation else None)
        self.seconds["manifest"] = time.perf_counter() - clock
        clock = time.perf_counter()
        self._store.publish_file(self._path, f"{shard.stem}.tar")
        before_manifest(shard.split)
        self._store.publish(f"{shard.stem}.parquet", table)
        self.seconds["commit"] = time.perf_counter() - clock
        record = FileRecord(bytes=len(table), sha256=hashlib.sha256(table).hexdigest())
        receipt = self._receipt(tar, record, started, seconds)
        self._store.publish(f"{shard.stem}{SUFFIX}", receipt.encode())
        return receipt

    def _metadata(self) -> dict[str, str]:
        recipe = self._recipe
        return {
            "gansynth.format_version": str(manifest.FORMAT_VERSION),
            "gansynth.weights_sha256": recipe.info.weights_sha256 or "",
            "gansynth.licence": recipe.info.licence,
            "gansynth.render": json.dumps(
                {
                    "family": recipe.info.family,
                    "generator_options": recipe.info.options,
                    "latent": recipe.latent,
                    "precision": recipe.precision,
                    "batch_size": recipe.batch_size,
                    "threads": recipe.threads,
                    "compile": recipe.compile,
                    "image": recipe.image,
                    **({"provenance": True} if recipe.provenance else {}),
                },
                sort_keys=True,
            ),
        }

    def _receipt(self, tar: FileRecord, table: FileRecord, started: float, seconds: Mapping[str, float]) -> Receipt:
        shard, wall = self._shard, time.perf_counter() - started
        stages = {**seconds, **self.seconds}
        samples = sum(self._truncations.values())
        return Receipt(
            split=shard.split,
            shard=shard.number,
            part=shard.part,
            rows=shard.size,
            samples=samples,
            rejected=shard.size - samples,
            tar=tar,
            manifest=table,
            licence=self._recipe.info.licence,
            classes=dict(sorted(self._classes.items())),
            truncations=dict(sorted(self._truncations.items())),
            seconds={"wall": round(wall, 4), **{k: round(v, 4) for k, v in stages.items()}},
            images_per_second=round(shard.size / wall, 2),
            peak_memory=peak_memory(self._site.device),
            worker=self._site.worker,
            environment=dict(self._site.environment),
        )
