"""Figures of the bench as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator

from gansynth.bench.measure import Report, Speed
from gansynth.bench.tune import Trial
from gansynth.progress import counted


def lines(report: Report) -> Iterator[str]:
    """The report as text."""
    chosen, env = report.settings, report.environment
    machine = f"{env['device']}, {counted(chosen['cores'], 'core')}, torch {env['torch']}"
    yield f"{report.generator} ({report.weights} weights) on {machine}"
    settings = [chosen["precision"], f"batch {chosen['batch_size']}", counted(chosen["threads"], "torch thread")]
    yield ", ".join([*settings, "compiled"] if chosen["compile"] else settings)
    start = report.start_up
    yield f"start-up: load {start['load']:.1f} s, first batch {start['first_batch']:.1f} s"
    yield ""
    yield f"{'generator alone':28}{'images/s':>12}{'GFLOP/image':>13}{'GFLOP/s':>11}{'of peak':>9}"
    if report.reference:
        yield _speed("library, float32" if chosen["precision"] != "float32" else "library", report.reference)
    yield _speed("gansynth", report.network)
    peak = "fastest matrix product"
    yield f"{peak:28}{'':12}{'':13}{report.matrix_product_flops / 1e9:>11,.0f}{'100.0 %':>9}"
    if report.network_ratio is not None:
        apart = report.largest_difference
        difference = "" if apart is None else f"; largest difference {apart:.1e} in [-1, 1]"
        yield f"{report.network_ratio:.2f} times the library{difference}"
    if found := report.precision_difference:
        yield (
            f"to float32: mean {found.mean:.3f}, largest {found.largest} grey levels; Frechet distance {found.frechet:.1e} "
            f"on {found.features} ({found.images:,} images)"
        )
    yield ""
    yield f"{'recipe to committed shards':28}{'images/s':>12}"
    yield f"{'plain loop':28}{report.plain_loop_images_per_second:>12,.2f}"
    yield f"{'gansynth':28}{report.images_per_second:>12,.2f}"
    yield f"{report.end_to_end_ratio:.2f} times the plain loop; {report.beyond_generator:+.1%} beyond the generator's own time"
    yield ""
    yield f"{'stage':28}{'images/s':>12}{'busy':>9}"
    for stage in report.stages:
        rate = "-" if stage.images_per_second is None else f"{stage.images_per_second:,.1f}"
        yield f"{stage.name:28}{rate:>12}{stage.utilisation:>9.1%}"


def _speed(name: str, speed: Speed) -> str:
    return (
        f"{name:28}{speed.images_per_second:>12,.2f}{speed.flops_per_image / 1e9:>13,.2f}"
        f"{speed.flops_per_second / 1e9:>11,.0f}{speed.utilisation:>9.1%}"
    )


def trial_line(trial: Trial) -> str:
    """One line for a trial of `tune`."""
    rate = f"{trial.images_per_second:,.2f} images/s" if trial.images_per_second else "does not fit into memory"
    workers = f"{counted(trial.workers, 'worker')} of {counted(trial.threads, 'thread')}"
    return f"{workers:28}batch {trial.batch_size:<6}{rate:>24}"
