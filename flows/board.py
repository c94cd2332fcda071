"""What a flow run shows: the bar in the terminal, and artifacts in Prefect's UI. Truth comes from the receipts."""

from __future__ import annotations

import base64
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from gansynth import sheet
from gansynth.api import describe_error
from gansynth.dataset import Dataset
from gansynth.plan import Plan
from gansynth.progress import duration, size

_TABLE_ROWS = 1000
_WORKERS_SHOWN = 16
_SECONDS_BETWEEN_UPDATES = 2.0
_LARGEST_PICTURE = 128  # pixels of an image in the contact sheet: Prefect keeps the sheet in its database


@dataclass
class Totals:
    """Sums over shards: `seconds` are those of workers at work."""

    shards: int = 0
    images: int = 0
    rejected: int = 0
    bytes: int = 0
    seconds: float = 0.0
    wall: float = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Add a shard."""
        self.shards += 1
        self.images += row["images"]
        self.rejected += row["rejected"]
        self.bytes += row["bytes"]
        self.wall += row["seconds"]

    @property
    def rate(self) -> float:
        """Images per second of the shards' own time."""
        return self.images / max(self.wall, 1e-9)


class Board:
    """Collects what blocks report, and shows how far the dataset is.

    Args:
        dataset: in the making.
        plan: the shards asked for.
        advance: called with numbers of images that have come since the last call.
    """

    def __init__(self, dataset: Dataset, plan: Plan, advance: Callable[[int], None]) -> None:
        self._dataset, self._plan, self._advance = dataset, plan, advance
        self.made = Totals()
        self.failed: list[dict[str, str]] = []
        self.held: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._workers: defaultdict[str, Totals] = defaultdict(Totals)
        self._started = time.monotonic()
        self._images = self._found = images_done(plan, dataset.done())
        self._told: set[str] = set()
        self._artifact: UUID | None = None
        with self._spared("progress"):
            about = f"Images of {dataset.record.recipe.name}"
            made = create_progress_artifact(progress=self._percent(), key="progress", description=about)
            self._artifact = cast(UUID, made)  # typed for async callers too
        self._next_update = 0.0

    @contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        """What is shown must not cost what is made: errors are logged, those of one kind once."""
        try:
            yield
        except Exception as error:
            if what not in self._told:
                get_run_logger().warning("%s cannot be shown: %s", what, describe_error(error))
            self._told.add(what)

    def collect(self, report: dict[str, Any]) -> None:
        """Take in what a task returned."""
        for row in report["made"]:
            self.made.add(row)
            self._workers[row["worker"]].add(row)
        self.made.seconds += report["seconds"]
        self._rows += report["made"][: _TABLE_ROWS - len(self._rows)]
        self.failed += report["failed"][: _TABLE_ROWS - len(self.failed)]
        self.held |= set(report["held"])

    def refresh(self) -> None:
        """List the receipts and show the count, but not so often that listing costs much."""
        started = time.monotonic()
        if started < self._next_update:
            return
        with self._spared("progress"):
            images = images_done(self._plan, self._dataset.done())
            self._advance(images - self._images)
            changed, self._images = images != self._images, images
            if changed and self._artifact:
                update_progress_artifact(self._artifact, progress=self._percent(), description=self._progress())
        self._next_update = time.monotonic() + max(_SECONDS_BETWEEN_UPDATES, 20 * (time.monotonic() - started))

    def finish(self, seconds: float, workers: int, pictures: bool = True) -> None:
        """Leave the last progress, the table of shards, a contact sheet if pictures are wanted, and a summary."""
        self._next_update = 0.0
        self.refresh()
        if self._rows:
            rows = sorted(self._rows, key=lambda row: row["shard"])
            with self._spared("table of shards"):
                create_table_artifact(rows, key="shards", description=f"{self.made.shards:,} shards made in this run")
        if pictures:
            with self._spared("contact sheet"):
                png = sheet.stored(self._dataset, classes=10, samples=3).png(_LARGEST_PICTURE)
                picture = f"data:image/png;base64,{base64.b64encode(png).decode()}"
                create_image_artifact(picture, key="contact-sheet", description="Stored images")
        with self._spared("summary"):
            create_markdown_artifact(self._summary(seconds, workers), key="summary")

    def _percent(self) -> float:
        return 100 * self._images / max(1, self._plan.samples)

    def _progress(self) -> str:
        """How far, how fast, and how long it will still take."""
        seconds = time.monotonic() - self._started
        rate = (self._images - self._found) / max(seconds, 1e-9)
        text = f"{self._images:,} of {self._plan.samples:,} images of {self._dataset.record.recipe.name}"
        if rate:
            left = (self._plan.samples - self._images) / rate
            text += f"; {rate:,.1f} images/s, {duration(left)} left"
        each = [f"{name} {totals.rate:,.1f}" for name, totals in sorted(self._workers.items())]
        return text + (f"; images/s by worker: {', '.join(each[:_WORKERS_SHOWN])}" if each else "")

    def _summary(self, seconds: float, workers: int) -> str:
        made = self.made
        lines = [
            f"# {self._dataset.record.recipe.name}",
            "",
            f"`{self._dataset.store.place}`",
            "",
            f"- {self._images:,} of {self._plan.samples:,} images are there",
            f"- {made.shards:,} shards with {made.images:,} images made in this run, {made.rejected:,} rejected",
            f"- {duration(seconds)} on {workers} workers, {made.images / max(seconds, 1e-9):,.1f} images/s",
            f"- cost: {made.seconds:,.0f} worker-seconds (GPU-seconds, if the workers have GPUs), {size(made.bytes)} written",
        ]
        if self._workers:
            lines += ["", "| worker | shards | images | images/s |", "|---|---:|---:|---:|"]
            for name, totals in sorted(self._workers.items())[:_TABLE_ROWS]:
                lines.append(f"| {name} | {totals.shards:,} | {totals.images:,} | {totals.rate:,.1f} |")
        if self.failed:
            lines += ["", "## Failed", "", *(f"- {f['shard']}: {f['error']}" for f in self.failed)]
        return "\n".join(lines) + "\n"


def images_done(plan: Plan, done: dict[str, set[int]]) -> int:
    """Number of planned rows in the shards that exist."""
    full = plan.recipe.samples_per_shard
    ordered = {split: sorted(numbers) for split, numbers in done.items()}
    total = 0
    for section in plan.sections:
        last = section.first_number + section.shards - 1
        numbers = ordered.get(section.split, [])
        count = bisect_right(numbers, last) - bisect_left(numbers, section.first_number)
        short = section.shards * full - section.samples
        total += count * full - (short if last in done.get(section.split, ()) else 0)
    return total
