"""ShardPlan + Generator + Store -> Receipt: the only place that knows the order of the stages.

    main thread     latents -> generator -> uint8 pixels on their way to the host, batch after batch, shard after shard
    encode threads  pixels -> bytes of a file, with its provenance, and their sha256
    writer thread   bytes -> tar; rows -> manifest; tar, manifest, receipt -> store

The queue between them is short, so memory stays flat, and the generator goes on with the next shard while the writer
commits the last.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gansynth import encode
from gansynth.commit import Commit, Encoded, Site
from gansynth.generators.protocol import Generator, StyleGenerator
from gansynth.plan import Plan, Rows, ShardPlan
from gansynth.receipt import Receipt
from gansynth.sampling import draw_latents, sample_rows, style_rows
from gansynth.stopping import Stop
from gansynth.store import Store
from gansynth.transfer import Arrival, Conveyor

if TYPE_CHECKING:
    import torch

_Piece = tuple[list[Encoded], float]  # images of a part of a batch, and the seconds that encoding them took
_Batch = tuple[Arrival, list[Future[_Piece]]]
_BATCHES_IN_FLIGHT = 3


@dataclass(frozen=True)
class Failure:
    """A shard that could not be made; nothing of it was committed."""

    shard: ShardPlan
    error: Exception


@dataclass
class _Work:
    """A shard in the making, handed from thread to thread."""

    shard: ShardPlan
    started: float
    rows: Rows = field(default_factory=lambda: Rows(np.empty(0, int), np.empty(0, int), np.empty(0, int)))
    z: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    error: Exception | None = None
    dropped: bool = False


class Renderer:
    """Makes and commits shards.

    Args:
        plan: what the shards hold.
        generator: renders; its weights are those of the plan.
        store: receives.
        site: for receipts.
        encode_threads: number of threads that compress images.
        rows_of: gives the rows of a shard; the plan's if left out.
        stop: looked at between shards and between batches.
        before_manifest: called with a split's name once a tar of it is in place and before its manifest is.
        on_rows: called with the number of rows that were just written.
    """

    def __init__(
        self,
        plan: Plan,
        generator: Generator,
        store: Store,
        site: Site,
        encode_threads: int = 1,
        stop: Stop | None = None,
        rows_of: Callable[[ShardPlan], Rows] | None = None,
        before_manifest: Callable[[str], None] = lambda split: None,
        on_rows: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._plan, self._recipe = plan, plan.recipe
        self._generator, self._store, self._site = generator, store, site
        self._styled = generator if isinstance(generator, StyleGenerator) else None
        self._threads = encode_threads
        self._rows_of = rows_of or plan.rows
        self._stop = stop or Stop()
        self._before_manifest, self._on_rows = before_manifest, on_rows
        self._encode, self._sample_id = encode.file_encoder(self._recipe), self._recipe.sample_ids()
        self._conveyor = Conveyor(site.device)

    def render(self, shards: Iterable[ShardPlan]) -> Iterator[Receipt | Failure]:
        """Make shards one after another; yields each one's outcome, in order.

        An exception fails its shard and no other. Once a stop is requested no further shard is started, and the one
        at hand is dropped when the time of grace is over; dropped shards have no outcome.
        """
        batches: queue.Queue[tuple[_Work, _Batch | None] | None] = queue.Queue(maxsize=_BATCHES_IN_FLIGHT)
        outcomes: queue.SimpleQueue[Receipt | Failure] = queue.SimpleQueue()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="encode") as pool:
            writer = threading.Thread(target=self._write, args=(batches, outcomes), name="write", daemon=True)
            writer.start()
            try:
                for shard in shards:
                    if self._stop.requested:
                        break
                    self._produce(shard, pool, batches)
                    yield from _drain(outcomes)
            finally:
                batches.put(None)
                writer.join()
            yield from _drain(outcomes)

    # Main thread

    def _produce(self, shard: ShardPlan, pool: ThreadPoolExecutor, batches: queue.Queue[Any]) -> None:
        """Render all batches of a shard; errors are kept for the writer to report."""
        work = _Work(shard, time.perf_counter())
        try:
            work.rows = rows = self._rows_of(shard)
            work.z = draw_latents(self._recipe, rows)
            work.seconds["latents"] = time.perf_counter() - work.started
            for first in range(0, len(rows), self._recipe.batch_size):
                if self._stop.expired:
                    work.dropped = True
                if work.dropped or work.error:
                    break
                arrival = self._render_batch(work, first)
                batches.put((work, (arrival, self._submit(pool, arrival, work.rows, first))))
        except Exception as error:
            work.error = error
        except BaseException:
            work.dropped = True
            raise
        finally:
            batches.put((work, None))

    def _render_batch(self, work: _Work, first: int) -> Arrival:
        def render() -> tuple[torch.Tensor, torch.Tensor | None]:
            images = sample_rows(self._generator, self._recipe, work.rows, work.z, first)
            if self._styled is None:
                return images, None
            return images, style_rows(self._styled, self._recipe, work.rows, work.z, first)

        return self._conveyor.send(render)

    def _submit(self, pool: ThreadPoolExecutor, arrival: Arrival, rows: Rows, first: int) -> list[Future[_Piece]]:
        # Several pieces a thread, so that a slow image does not hold up the batch; few enough to cost nothing.
        size = max(1, len(arrival) // (2 * self._threads))
        pieces = (slice(start, start + size) for start in range(0, len(arrival), size))
        return [pool.submit(self._encode_all, arrival, piece, rows, first) for piece in pieces]

    # Encode threads

    def _encode_all(self, arrival: Arrival, piece: slice, rows: Rows, first: int) -> _Piece:
        """Encode a piece of the batch that begins with the row `first`."""
        images = arrival.pixels()[piece]
        started = time.perf_counter()
        names = self._sample_ids(rows, range(first + piece.start, first + piece.start + len(images)))
        encoded = [self._encode_one(image, name) for image, name in zip(images, names, strict=True)]
        return encoded, time.perf_counter() - started

    def _sample_ids(self, rows: Rows, indices: Iterable[int]) -> Iterator[str]:
        classes: list[int | None] = [label.index for label in self._recipe.classes] or [None]
        for index in indices:
            truncation = self._recipe.truncations[int(rows.truncations[index])]
            class_index, seed = classes[int(rows.classes[index])], int(rows.seeds[index])
            yield self._sample_id(class_index, truncation, seed, **rows.origin(index))

    def _encode_one(self, image: npt.NDArray[np.uint8], sample_id: str) -> Encoded:
        if _is_constant(image):
            return Encoded(sample_id, b"", "", "constant image")
        data = self._encode(image, sample_id)
        return Encoded(sample_id, data, hashlib.sha256(data).hexdigest(), None)

    # Writer thread

    def _write(self, batches: queue.Queue[Any], outcomes: queue.SimpleQueue[Receipt | Failure]) -> None:
        commit: Commit | None = None
        while (item := batches.get()) is not None:
            work, batch = item
            try:
                if work.error is None and not work.dropped:
                    commit = commit or Commit(self._plan, work.shard, work.rows, work.z, self._store, self._site)
                    if batch is None:
                        outcomes.put(commit.publish(self._before_manifest, work.started, work.seconds))
                    else:
                        self._add(commit, *batch)
            except Exception as error:
                work.error = error
            if batch is None:
                if commit is not None:
                    with suppress(OSError):  # on a full disk closing fails again; this thread must live on
                        commit.close()
                if work.error is not None:
                    outcomes.put(Failure(work.shard, work.error))
                commit = None

    def _add(self, commit: Commit, arrival: Arrival, pieces: list[Future[_Piece]]) -> None:
        commit.add_styles(arrival.styles())
        for piece in pieces:
            images, seconds = piece.result()
            commit.seconds["encode"] += seconds
            self._on_rows(commit.add(images))
        generator, transfer = arrival.wait()
        commit.seconds["generator"] += generator
        commit.seconds["transfer"] += transfer


def _is_constant(image: npt.NDArray[np.uint8]) -> bool:
    """Whether all pixels have one colour, which no working generator gives."""
    if (image[0, 0] != image[image.shape[0] // 2, image.shape[1] // 3]).any():  # nearly always enough to tell
        return False
    return bool((image == image[0, 0]).all())


def _drain(outcomes: queue.SimpleQueue[Receipt | Failure]) -> Iterator[Receipt | Failure]:
    while True:
        try:
            yield outcomes.get_nowait()
        except queue.Empty:
            return
