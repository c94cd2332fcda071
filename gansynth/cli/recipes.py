"""Commands that take a recipe: plan, generate; and sheet, which takes a dataset too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gansynth import api
from gansynth.claims import HELD
from gansynth.cli.options import RecipeOptions, naming
from gansynth.dataset import Dataset, shards_done
from gansynth.environment import choose_device, device_kind
from gansynth.errors import InputError
from gansynth.estimate import bytes_per_sample, cost_of
from gansynth.plan import Plan, ShardPlan
from gansynth.progress import counted, duration, progress, size
from gansynth.record import FILE as RECORD
from gansynth.seeds import parse_seeds
from gansynth.session import resolve_for
from gansynth.stopping import Stop, stop_on_signals
from gansynth.store import Store, without_secrets

DEFAULTS = RecipeOptions()


def register(app: App) -> None:
    """Add the commands of this module."""
    for command in (plan, generate, sheet):
        app.command(command)


def plan(
    recipe: Path,
    /,
    *,
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
    options: RecipeOptions = DEFAULTS,
) -> int:
    """Show what a recipe will make: shards, samples, estimated bytes and time, what exists and what is missing.

    Writes nothing and needs no weights. Example:

        gansynth plan deploy/recipes/demo.yaml

    Args:
        recipe: a recipe file.
        json_output: print JSON.
    """
    wanted = options.load(recipe)
    device_type = device_kind(options.device)
    with naming(recipe):
        resolved, found = resolve_for(wanted, device_type, allow_code=options.allow_code)
    planned = Plan(resolved)
    done = shards_done(Store(str(wanted.output)), resolved.splits) if found else {}
    facts = _facts(planned, done, device_type)
    if json_output:
        print(json.dumps(facts, indent=2))
    else:
        _print_plan(planned, facts, without_secrets(wanted.output or "no output given"))
    return 0


def _facts(planned: Plan, done: dict[str, set[int]], device_type: str) -> dict[str, object]:
    recipe = planned.recipe
    splits = {
        split: {
            "shards": planned.shards_of(split),
            "samples": sum(s.samples for s in planned.sections if s.split == split),
            "done": sum(number < planned.shards_of(split) for number in done.get(split, ())),
        }
        for split in recipe.splits
    }
    finished = sum(split["done"] for split in splits.values())
    cost = cost_of(recipe, device_type)
    share = 1 - finished / max(1, len(planned))
    return {
        "name": recipe.name,
        "generator": recipe.info.name,
        "resolution": recipe.info.resolution,
        "classes": len(recipe.classes),
        "truncations": list(recipe.truncations),
        "parts": [str(part) for part in recipe.parts],
        "splits": splits,
        "shards": len(planned),
        "samples": planned.samples,
        "done": finished,
        "missing": len(planned) - finished,
        "estimated_bytes": round(planned.samples * bytes_per_sample(recipe)),
        "estimated_worker_seconds": cost and round(3600 * planned.samples * share / cost.images_per_hour, 1),
        "images_per_worker_hour": cost and cost.images_per_hour,
        "measured_on": cost and cost.device,
        "batch_size": recipe.batch_size,
        "precision": recipe.precision,
    }


def _print_plan(planned: Plan, facts: dict[str, object], output: str) -> None:
    recipe = planned.recipe
    facts_in_words = (
        recipe.info.name,
        f"{recipe.info.resolution} x {recipe.info.resolution}",
        counted(len(recipe.classes), "class", "classes") if recipe.classes else "unconditional",
        counted(len(recipe.truncations), "truncation"),
        f"{counted(sum(map(len, recipe.parts)), 'seed')} in {counted(len(recipe.parts), 'part')}",
    )
    print(f"{recipe.name}: {', '.join(facts_in_words)}")
    print(f"output: {output}\n")
    print(f"{'split':8}{'shards':>12}{'samples':>16}{'done':>12}")
    splits = facts["splits"]
    assert isinstance(splits, dict)
    for name, split in splits.items():
        print(f"{name:8}{split['shards']:>12,}{split['samples']:>16,}{split['done']:>12,}")
    print(f"{'all':8}{facts['shards']:>12,}{facts['samples']:>16,}{facts['done']:>12,}\n")
    seconds, count = facts["estimated_worker_seconds"], facts["estimated_bytes"]
    assert isinstance(count, int)
    time = (
        f"about {duration(seconds)} on one worker, at {facts['images_per_worker_hour']:,.0f} images an hour as measured on "
        f"{facts['measured_on']}"
        if isinstance(seconds, float)
        else "not known for this generator here; `gansynth bench NAME --save` measures it"
    )
    print(f"size: about {size(count)}\ntime: {time}")


def generate(
    recipe: Path,
    /,
    *,
    shards: str | None = None,
    allow_mixed: Annotated[bool, Parameter(negative="")] = False,
    options: RecipeOptions = DEFAULTS,
) -> int:
    """Make the missing shards of a recipe in this process, without Prefect.

    For debugging and for Slurm arrays, where each task takes its own shards. Example:

        gansynth generate deploy/recipes/demo.yaml --shards 0-3

    Args:
        recipe: a recipe file, or the recipe.yaml of a dataset.
        shards: which shards of the plan, numbered from 0 over all splits: "0-9,12". All if left out.
        allow_mixed: go on with a dataset that was begun with another device or other library versions.
    """
    wanted = options.load(recipe)
    chosen = None if shards is None else _chooser(shards)
    with stop_on_signals(Stop()) as stop, ExitStack() as stack, naming(recipe):
        advance = None

        def start(total: int, done: int) -> None:
            nonlocal advance
            advance = stack.enter_context(progress(total, "images", done))

        summary = api.generate(
            wanted,
            device=options.device,
            shards=chosen,
            allow_mixed=allow_mixed,
            allow_code=options.allow_code,
            stop=stop,
            on_start=start,
            on_rows=lambda count: advance(count) if advance else None,
        )
    return report(summary)


def report(summary: api.Summary) -> int:
    """Print what a run did; returns the exit code."""
    for failure in summary.failures:
        print(f"shard {failure.shard.stem} failed: {api.describe_error(failure.error)}", file=sys.stderr)
    place, count = summary.dataset.store.place, len(summary.receipts)
    rate = f", {summary.samples / summary.seconds:,.1f} images/s" if count else ""
    print(
        f"{counted(count, 'shard')} with {counted(summary.samples, 'image')} made in {duration(summary.seconds)}{rate}"
    )
    state = (
        "complete" if summary.missing == 0 else f"{summary.missing:,} of {len(summary.dataset.plan):,} shards missing"
    )
    print(f"{place}: {state}")
    if summary.missing == 0:
        warn_of_few_images(summary.dataset)
    if summary.held:
        print(f"{counted(len(summary.held), 'shard')} {HELD}; run the same command again for what they leave")
    return 1 if summary.failures else 0


def warn_of_few_images(dataset: Dataset) -> None:
    """Print a warning if most samples of a dataset were rejected: it may be complete and worth nothing."""
    if warning := dataset.few_images():
        print(f"gansynth: warning: {dataset.store.place}: {warning}", file=sys.stderr)


def _chooser(text: str) -> Callable[[Plan], Iterable[ShardPlan]]:
    ordinals = parse_seeds(text, "--shards")

    def choose(planned: Plan) -> Iterable[ShardPlan]:
        for ordinal in ordinals:
            if ordinal >= len(planned):
                raise InputError(
                    f"--shards: saw {ordinal}, but the plan has shards 0 to {len(planned) - 1}; see `gansynth plan`"
                )
        return map(planned.shard, ordinals)

    return choose


def sheet(
    source: str,
    /,
    *,
    to: Path | None = None,
    classes: int = 10,
    samples: int = 4,
    options: RecipeOptions = DEFAULTS,
) -> int:
    """Draw a contact sheet: classes down, truncations and seeds across.

    From a recipe it renders a preview before anything is spent; from a dataset it shows what is stored. Examples:

        gansynth sheet deploy/recipes/demo.yaml
        gansynth sheet datasets/demo --to sheet.png

    Args:
        source: a recipe file, or a dataset's folder or URL.
        to: the PNG file to write; NAME-sheet.png in this folder if left out.
        classes: how many classes at most.
        samples: how many seeds (of a recipe) or samples (of a dataset) for each class and truncation.
    """
    from gansynth import sheet as sheets
    from gansynth.generators import load_for

    if classes < 1 or samples < 1:
        raise InputError(f"saw --classes {classes} and --samples {samples}; both are whole numbers from 1")
    if not Path(source).is_file() and Store(source).exists(RECORD):
        dataset = Dataset.open(source)
        name, drawn = dataset.record.recipe.name, sheets.stored(dataset, classes, samples)
    else:
        device = choose_device(options.device)
        recipe = options.load(Path(source)).model_copy(update={"output": None})
        with naming(source):
            resolved, _ = resolve_for(recipe, device, allow_code=options.allow_code)
        generator = load_for(resolved, device, allow_code=options.allow_code)
        groups = 1 if resolved.derivation else len(resolved.truncations)
        count = min(classes, len(resolved.classes) or 1) * groups * samples
        with progress(count, "images") as advance:
            name, drawn = resolved.name, sheets.preview(resolved, generator, classes, samples, advance)
    target = to or Path(f"{name.replace(' ', '-')}-sheet.png")
    try:
        target.write_bytes(drawn.png())
    except OSError as error:
        raise InputError(f"--to {target}: cannot be written ({error}); choose another place") from None
    print(target)
    return 0
