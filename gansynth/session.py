"""Beginning a dataset, and rendering its shards in this process with a generator that is loaded once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from gansynth import card, centers, claims, record
from gansynth.claims import Claims
from gansynth.commit import Site
from gansynth.dataset import Dataset, read_record
from gansynth.derive import adopt
from gansynth.environment import cores, environment
from gansynth.errors import OutputError, RecipeError, StoreError, WeightsError
from gansynth.generators import describe, load_for
from gansynth.generators.protocol import Generator, StyleGenerator
from gansynth.lineage import Lineage, rows_of
from gansynth.plan import Plan, ShardPlan
from gansynth.progress import progress
from gansynth.receipt import SUFFIX, Receipt
from gansynth.recipe import Recipe
from gansynth.record import Record
from gansynth.render import Failure, Renderer
from gansynth.resolve import ResolvedRecipe, resolve
from gansynth.sampling import reproducible
from gansynth.stopping import Stop
from gansynth.store import Store


def resolve_for(recipe: Recipe, device: str, *, allow_code: bool = False) -> tuple[ResolvedRecipe, Record | None]:
    """The recipe as resolved for a device type, going on with the dataset at its output if there is one.

    Loads no weights and writes nothing.

    Returns:
        the resolved recipe, and the record of the dataset that is there already.

    Raises:
        InputError: the recipe does not fit its generator or the dataset.
    """
    store = Store(recipe.output) if recipe.output else None
    found = read_record(store) if store else None
    recipe = adopt(recipe, found.recipe.derivation if found else None)
    info = describe(recipe.generator, recipe.generator_options, allow_code=allow_code)
    resolved = resolve(recipe, info, device.partition(":")[0], found.recipe.record() if found else None)
    if store and found:
        found.require_same(resolved, store.place)
    return resolved, found


@dataclass(frozen=True)
class Begun:
    """A dataset that may be rendered now.

    Args:
        dataset: with recipe.yaml and card in place.
        wanted: the recipe asked for; it may have fewer parts than the dataset.
        generator: loaded on the device; None if other processes are to render.
    """

    dataset: Dataset
    wanted: ResolvedRecipe
    generator: Generator | None

    @property
    def plan(self) -> Plan:
        """The shards asked for: those of the dataset, without parts that the recipe does not name."""
        return Plan(self.dataset.record.recipe.with_parts(self.wanted.parts))


def begin(
    recipe: Recipe, device: str, *, allow_mixed: bool = False, allow_code: bool = False, keep_generator: bool = True
) -> Begun:
    """Check everything that can be checked, then write recipe.yaml and the unfinished card, or go on where they are.

    Args:
        recipe: what to make; its `output` says where.
        device: torch device that will render.
        allow_mixed: go on with a dataset of another environment.
        allow_code: permit `package.module:factory` generators.
        keep_generator: load the weights on the device and keep them; else they are only checked, on the CPU.

    Raises:
        InputError: the request cannot be done; nothing was written.
    """
    if recipe.output is None:
        raise RecipeError("output: the recipe names none; add `output: ./datasets/NAME`, or pass --output")
    resolved, _ = resolve_for(recipe, device, allow_code=allow_code)
    generator = load_for(resolved, device if keep_generator else "cpu", allow_code=allow_code)
    resolved = replace(resolved, info=replace(resolved.info, weights_sha256=generator.weights_sha256))
    if resolved.derivation and Lineage(resolved).weights_sha256 != generator.weights_sha256:
        raise WeightsError(
            f"generator: {resolved.info.name} holds other weights than the samples of {resolved.derivation.source} were made with; "
            f"give the same"
        )
    here = environment(device)
    store = Store(recipe.output)
    dataset = Dataset(store, _record(store, resolved, here, allow_mixed))
    _record_centers(dataset, generator)
    if not store.exists(card.FILE):
        _write_card(dataset)
    return Begun(dataset, resolved, generator if keep_generator else None)


def _record(store: Store, wanted: ResolvedRecipe, here: Mapping[str, str], allow_mixed: bool) -> Record:
    """What recipe.yaml says after writing it, if this is a new dataset, or going on with it as it is.

    It is the first file of a dataset: a run that is killed here leaves a dataset that can be gone on with.
    """
    found = read_record(store)
    foreign = None if found else _foreign_file(store, wanted)
    if foreign:
        found = read_record(store)  # once more: another run may have begun meanwhile, and the files are its own
    if found is None:
        if foreign:
            raise OutputError(
                f"output {store.place}: holds {foreign}, but no {record.FILE}; choose an empty or new folder"
            )
        store.writable()
        begun = Record(wanted, here)
        if store.create(record.FILE, begun.encode()):
            return begun
        found = Dataset.open(store.url).record  # another run began at the same moment
    found.require_same(wanted, store.place)
    extended = found.admit(here, store.place, allow_mixed).extended(wanted)
    store.writable()
    if extended != found:
        store.publish(record.FILE, extended.encode())
        _write_card(Dataset(store, extended))
    return extended


def _record_centers(dataset: Dataset, generator: Generator) -> None:
    classes = dataset.record.recipe.classes
    if not isinstance(generator, StyleGenerator) or dataset.store.exists(centers.FILE):
        return
    if generator.centers([label.index for label in classes[:1]]) is None:
        return
    with progress(len(classes), "class centres") as advance:
        found = []
        for label in classes:
            if (center := generator.centers([label.index])) is not None:
                found.append(center)
            advance(1)
    dataset.store.publish(centers.FILE, centers.encode(classes, np.concatenate(found)))


def _write_card(dataset: Dataset) -> None:
    splits = [split for split, numbers in dataset.done().items() if numbers]
    dataset.store.publish(card.FILE, card.unfinished(dataset.record, splits))


def _foreign_file(store: Store, recipe: ResolvedRecipe) -> str | None:
    """A file that a new dataset must not be mixed with, if there is any."""
    files = [f"{split}/{name}" for split in recipe.splits for name in store.list(split)]
    files += [card.FILE] if store.exists(card.FILE) else []
    return files[0] if files else None


class Session:
    """Renders shards of a dataset on one device, with its generator loaded once.

    Args:
        dataset: begun already.
        device: torch device.
        allow_mixed: render although the environment is not the dataset's; shards are claimed from the first one on.
        allow_code: permit `package.module:factory` generators.
        generator: already loaded; else it is loaded from where the dataset's recipe says.
        generator_path: weights to use instead of that place; they must be the same weights.
        encode_threads: threads that compress images; all cores if left out.

    Raises:
        OutputError: another environment.
        WeightsError: weights that are missing, or not those of the dataset.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: str,
        *,
        allow_mixed: bool = False,
        allow_code: bool = False,
        generator: Generator | None = None,
        generator_path: str | None = None,
        encode_threads: int | None = None,
    ) -> None:
        here = environment(device)
        admitted = dataset.record.admit(here, dataset.store.place, allow_mixed)
        recipe = admitted.recipe
        if generator_path:
            recipe = replace(recipe, info=replace(recipe.info, name=generator_path))
        self._generator = generator or load_for(recipe, device, allow_code=allow_code)
        if self._generator.weights_sha256 != recipe.info.weights_sha256:
            raise WeightsError(
                f"generator: {recipe.info.name} holds other weights than the dataset was made with; pass the right ones "
                f"with --generator"
            )
        if admitted != dataset.record:
            # Loading took its time, in which another run may have let the dataset grow.
            admitted = Dataset.open(dataset.store.url).record.admit(here, dataset.store.place, allow_mixed)
            dataset.store.publish(record.FILE, admitted.encode())
        self.dataset = Dataset(dataset.store, admitted)
        self._rows_of = rows_of(self.dataset)
        self._site = Site(device, f"{socket.gethostname()}:{os.getpid()}", here)
        self._threads = encode_threads or cores()
        self._claims = Claims(dataset.store, self._site.worker)
        self._mixed = allow_mixed or bool(admitted.others)
        self._recorded = b""
        self.held: list[ShardPlan] = []
        self._take_over = False

    def render(
        self,
        shards: Iterable[ShardPlan],
        stop: Stop | None = None,
        on_rows: Callable[[int], None] = lambda count: None,
        take_over: bool = False,
    ) -> Iterator[Receipt | Failure]:
        """Make these shards; yields each one's outcome. See `Renderer.render`.

        Shards that other writers hold have no outcome, and are in `held` afterwards; nor have those that others made meanwhile.

        Args:
            take_over: make them all the same, but for those that writers of other environments may hold.
        """
        self.held = []
        self._take_over = take_over
        renderer = Renderer(
            self.dataset.plan,
            self._generator,
            self.dataset.store,
            self._site,
            encode_threads=self._threads,
            stop=stop,
            rows_of=self._rows_of,
            before_manifest=self.dataset.announce,
            on_rows=lambda count: self._progress(count, on_rows),
        )
        with reproducible(self.dataset.record.recipe.threads):
            try:
                # Closed before claims are given up: until then its writer thread is at work.
                with closing(cast(Any, renderer.render(self._claimed(shards)))) as outcomes:
                    for outcome in outcomes:
                        self._claims.release(_shard_of(outcome, self.dataset))
                        yield outcome
            finally:
                self._claims.release_all()

    def _progress(self, count: int, on_rows: Callable[[int], None]) -> None:
        # To a writer of the same environment who took a shard over, it is left; the bytes are the same.
        with nullcontext() if self._mixed else suppress(StoreError):
            self._claims.renew()
        on_rows(count)

    @property
    def worker(self) -> str:
        """Host and process, as receipts name them."""
        return self._site.worker

    @property
    def is_strict(self) -> bool:
        """Whether claims of others must be respected: another environment renders, or may."""
        return self._mixed

    def _claimed(self, shards: Iterable[ShardPlan]) -> Iterator[ShardPlan]:
        """Without the shards that another writer holds or has made meanwhile."""
        for shard in shards:
            strict = self._may_be_mixed()
            if not strict and self._take_over:
                yield shard
            elif not (self._claims.take(shard) if strict else self._claims.hint(shard)):
                self.held.append(shard)
            elif self.dataset.store.exists(f"{shard.stem}{SUFFIX}"):
                self._claims.release(shard)
            else:
                yield shard

    def _may_be_mixed(self) -> bool:
        """Whether another environment may render too: writers of one cannot disagree, see claims.py.

        One may join while this session is at work, so recipe.yaml is looked at before every shard.
        """
        if not self._mixed:
            with suppress(StoreError):  # cannot tell now; the shard at hand will tell if storage is gone
                data = self.dataset.store.read(record.FILE)
                if data != self._recorded:
                    self._mixed = bool(Record.decode(data, self.dataset.store.place).others)
                    self._recorded = data
        return self._mixed


def finish(dataset: Dataset) -> bool:
    """Finalize a dataset and clear claims on it, if it is complete; whether something was written."""
    dataset = Dataset.open(dataset.store.url)  # another run may have let it grow
    written = dataset.finalize()
    if dataset.is_complete:
        claims.clear(dataset.store, dataset.done())
    return written


def _shard_of(outcome: Receipt | Failure, dataset: Dataset) -> ShardPlan:
    return outcome.shard if isinstance(outcome, Failure) else dataset.plan.find(outcome.split, outcome.shard)
