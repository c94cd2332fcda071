"""One run of the bench: everything about one generator on one device, as plain figures."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gansynth.bench.network import (
    Difference,
    flops,
    largest_difference,
    matrix_product_flops,
    precision_difference,
    seconds_of,
    wait_for,
)
from gansynth.bench.pipeline import Pipeline, Stage, pipeline, stages
from gansynth.bench.plain_loop import plain_loop
from gansynth.bench.subject import Subject, prepared
from gansynth.environment import cores, environment, peak_memory
from gansynth.estimate import Cost
from gansynth.generators import load_generator
from gansynth.progress import counted
from gansynth.sampling import reproducible

_DIFFERENCE_IMAGES = 500


@dataclass(frozen=True)
class Speed:
    """Speed of a network on its own.

    Args:
        images_per_second: median over the rounds.
        flops_per_image: floating-point operations of the matrix products and convolutions that are executed.
        flops_per_second: achieved.
        utilisation: share of the machine's fastest matrix product in the same run and precision.
    """

    images_per_second: float
    flops_per_image: int
    flops_per_second: float
    utilisation: float


@dataclass(frozen=True)
class Report:
    """What `measure` found; all figures of time are medians over rounds in which both sides alternate.

    Args:
        generator, weights, device: what ran where; weights "random" or "its own".
        environment: device model and library versions.
        settings: batch_size, threads, precision and compile as in a recipe; cores of the machine.
        start_up: seconds of loading (folding and its check included) and of the first batch (compiling included).
        matrix_product_flops: FLOP/s of the machine's fastest matrix product in this run, in this precision.
        network, reference: the generator alone, and the library's network in float32; None for generators without one. Both
            run under gansynth's settings: no TF32, no kernels chosen by timing.
        network_ratio: how many times faster than the library's network.
        largest_difference: between their images, in [-1, 1]; None where they are not compared (not float32).
        images_per_second: from recipe to committed shards.
        plain_loop_images_per_second: of the loop in plain_loop.py.
        end_to_end_ratio: of these two.
        beyond_generator: the rest of a run's time as a share of its generator's.
        stages: of the pipeline.
        precision_difference: to float32, where another precision was measured.
    """

    generator: str
    weights: str
    device: str
    environment: dict[str, str]
    settings: dict[str, Any]
    start_up: dict[str, float]
    matrix_product_flops: float
    network: Speed
    reference: Speed | None
    network_ratio: float | None
    largest_difference: float | None
    images_per_second: float
    plain_loop_images_per_second: float
    end_to_end_ratio: float
    beyond_generator: float
    stages: list[Stage]
    precision_difference: Difference | None

    def cost(self) -> Cost:
        """The entry for the table that plans use."""
        kind = self.device.partition(":")[0]
        threads = self.settings["threads"]
        return Cost(
            generator=self.generator,
            precision=self.settings["precision"],
            kind=kind,
            device=self.environment["device"] + (f", {counted(threads, 'thread')}" if kind == "cpu" else ""),
            images_per_hour=round(3600 * self.images_per_second),
        )

    def as_json(self) -> dict[str, Any]:
        """For json.dump."""
        return asdict(self)


def measure(
    name: str,
    device: str,
    *,
    rounds: int = 3,
    seconds: float = 10.0,
    on_step: Callable[[str], None] = lambda text: None,
    **keys: Any,
) -> Report:
    """Measure a generator.

    Args:
        name: as in a recipe.
        device: torch device.
        rounds: of alternating measurements.
        seconds: about how long each of them renders on our side.
        on_step: told what comes next.
        keys: batch_size, threads, precision, compile as in a recipe.

    Raises:
        InputError: no such generator, or it does not take these keys.
    """
    on_step(f"loading {name}")
    with prepared(name, device, samples_per_shard=1_000_000, **keys) as first, reproducible(first.recipe.threads):
        started = time.perf_counter()
        first.generator.sample(*first.batch())
        wait_for(device)
        start_up = {"load": round(first.load_seconds, 2), "first_batch": round(time.perf_counter() - started, 2)}
        batches = max(2, round(seconds / _batch_seconds(first, seconds)))
        subject = first.of_shard_size(batches * first.recipe.batch_size)
        with TemporaryDirectory() as folder, pipeline(subject) as made:
            return _Run(subject, made, Path(folder), batches, start_up).report(rounds, on_step)


class _Run:
    def __init__(
        self, subject: Subject, made: Pipeline, folder: Path, batches: int, start_up: dict[str, float]
    ) -> None:
        self._subject, self._made, self._folder = subject, made, folder
        self._batches, self._start_up = batches, start_up
        self._images = batches * subject.recipe.batch_size

    def report(self, rounds: int, on_step: Callable[[str], None]) -> Report:
        subject, recipe = self._subject, self._subject.recipe
        self._plain_loop("warm-up", recipe.batch_size)
        times: dict[str, list[float]] = {"network": [], "reference": [], "shard": [], "plain": []}
        receipts = []
        peak = float32_peak = 0.0
        for number in range(rounds):
            on_step(f"round {number + 1} of {rounds}, {self._images} images a measurement")
            peak = max(peak, matrix_product_flops(subject.device, recipe.precision))
            float32_peak = max(float32_peak, matrix_product_flops(subject.device, "float32"))
            if subject.reference is not None:
                times["reference"].append(seconds_of(self._reference_batches, subject.device))
            times["network"].append(seconds_of(self._network_batches, subject.device))
            plain = partial(self._plain_loop, f"{number}", self._images)
            times["plain"].append(seconds_of(plain, subject.device))
            times["shard"].append(seconds_of(lambda: receipts.extend(self._made.render(1)), subject.device))
        on_step("arithmetic and differences")
        if recipe.precision != "float32":
            on_step(f"{_DIFFERENCE_IMAGES} images in float32 beside those in {recipe.precision}")
        network, loop, shard = (statistics.median(times[what]) for what in ("network", "plain", "shard"))
        reference = statistics.median(times["reference"]) if times["reference"] else None
        exact = recipe.precision == "float32"
        return Report(
            generator=subject.name,
            weights=subject.weights,
            device=subject.device,
            environment=environment(subject.device),
            settings={
                "batch_size": recipe.batch_size,
                "threads": recipe.threads,
                "precision": recipe.precision,
                "compile": recipe.compile,
                "cores": cores(),
            },
            start_up=self._start_up,
            matrix_product_flops=peak,
            network=self._speed(network, peak, lambda: subject.generator.sample(*subject.batch())),
            reference=self._speed(reference, float32_peak, subject.by_reference) if reference else None,
            network_ratio=_ratio(times["reference"], times["network"]) if reference else None,
            largest_difference=largest_difference(subject) if reference and exact else None,
            images_per_second=round(self._images / shard, 3),
            plain_loop_images_per_second=round(self._images / loop, 3),
            end_to_end_ratio=_ratio(times["plain"], times["shard"]),
            beyond_generator=round(sum(times["shard"]) / sum(r.seconds["generator"] for r in receipts) - 1, 4),
            stages=stages(receipts, sum(times["shard"])),
            precision_difference=None if exact else self._difference(),
        )

    def _network_batches(self) -> None:
        batch = self._subject.batch()
        for _ in range(self._batches):
            self._subject.generator.sample(*batch)

    def _reference_batches(self) -> None:
        for _ in range(self._batches):
            self._subject.by_reference()

    def _plain_loop(self, name: str, count: int) -> None:
        plain_loop(self._subject, self._folder / name, count)
        shutil.rmtree(self._folder / name)

    def _speed(self, seconds: float, peak: float, batch: Callable[[], Any]) -> Speed:
        each = flops(batch) // self._subject.recipe.batch_size
        rate = self._images / seconds
        return Speed(round(rate, 3), each, each * rate, round(each * rate / peak, 4))

    def _difference(self) -> Difference:
        recipe = self._subject.recipe
        exact = load_generator(recipe.info.name, self._subject.device, "float32", recipe.info.options)
        return precision_difference(self._subject, exact, _DIFFERENCE_IMAGES)


def _batch_seconds(subject: Subject, seconds: float) -> float:
    """Roughly what a batch takes from latents to shard in a shard of so many seconds.

    Everything is imported and touched for the first time before.
    """

    def batch_of(batches: int) -> float:
        with pipeline(subject.of_shard_size(batches * subject.recipe.batch_size)) as made:
            return seconds_of(lambda: made.render(1), subject.device) / batches

    batch_of(1)
    each = batch_of(2)
    many = round(seconds / 4 / each)
    return batch_of(many) if many > 2 else each  # a short shard is mostly its commit


def _ratio(slow: list[float], fast: list[float]) -> float:
    """Median over the rounds of how many times longer the first takes."""
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 4)


def endurance(name: str, device: str, shards: int, on_shard: Callable[[float, int], None], **keys: Any) -> None:
    """Render many shards in one go.

    Args:
        name, device, keys: as in `measure`; also samples_per_shard.
        shards: how many.
        on_shard: called after each with its images/s and the peak memory of the process so far, in bytes.
    """
    with prepared(name, device, with_reference=False, **keys) as subject, pipeline(subject) as made:
        last = time.perf_counter()
        for receipt in made.stream(shards):
            now = time.perf_counter()
            on_shard(receipt.rows / (now - last), peak_memory(device)["host_bytes"])
            last = now
