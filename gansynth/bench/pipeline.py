"""From recipe to committed shards: stage by stage, and whether speed and memory hold over many shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gansynth.bench.subject import Subject
from gansynth.commit import Site
from gansynth.environment import cores, environment
from gansynth.plan import Plan
from gansynth.receipt import SUFFIX, Receipt
from gansynth.render import Failure, Renderer
from gansynth.sampling import reproducible
from gansynth.store import Store

STAGES = ("latents", "generator", "transfer", "encode", "tar", "manifest", "commit")


class Pipeline:
    """Renders shard after shard of the subject's recipe into a folder, and removes them.

    Args:
        subject: what renders; the recipe's samples_per_shard is the size of a shard.
        folder: an empty folder.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._plan = Plan(subject.recipe)
        self._store = Store(folder)
        site = Site(subject.device, "bench", environment(subject.device))
        self._renderer = Renderer(self._plan, subject.generator, self._store, site, encode_threads=cores())
        self._next = 0

    def render(self, count: int) -> list[Receipt]:
        """Make the next shards.

        Raises:
            RenderError, StoreError: a shard failed.
        """
        return list(self.stream(count))

    def stream(self, count: int) -> Iterator[Receipt]:
        """Make the next shards; yields each one's receipt and removes its files."""
        shards = [self._plan.shard(number % len(self._plan)) for number in range(self._next, self._next + count)]
        self._next += count
        for shard, outcome in zip(shards, self._renderer.render(shards), strict=True):
            if isinstance(outcome, Failure):
                raise outcome.error
            yield outcome
            for suffix in (".tar", ".parquet", SUFFIX):
                self._store.delete(f"{shard.stem}{suffix}")


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Args:
        name: see STAGES.
        seconds: its threads' time for all images.
        images_per_second: of the stage, had all its threads nothing else to do.
        utilisation: share of the wall time in which its threads were at work; stages overlap.
    """

    name: str
    seconds: float
    images_per_second: float | None
    utilisation: float


def stages(receipts: Iterable[Receipt], wall: float) -> list[Stage]:
    """Stages summed over shards that took `wall` seconds together."""
    seconds: defaultdict[str, float] = defaultdict(float)
    images = 0
    for receipt in receipts:
        images += receipt.rows
        for name, value in receipt.seconds.items():
            seconds[name] += value
    lanes = {"encode": cores()}
    return [
        Stage(
            name,
            round(seconds[name], 4),
            round(images * lanes.get(name, 1) / seconds[name], 1) if seconds[name] > 0 else None,
            round(seconds[name] / lanes.get(name, 1) / wall, 4),
        )
        for name in STAGES
    ]


@contextmanager
def pipeline(subject: Subject) -> Iterator[Pipeline]:
    """A pipeline in a temporary folder, under the settings of a run."""
    with TemporaryDirectory() as folder, reproducible(subject.recipe.threads):
        yield Pipeline(subject, Path(folder))
