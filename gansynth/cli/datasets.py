"""Commands that take a dataset: status, verify, repair, finalize, show."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gansynth import api, card, check
from gansynth.claims import clear_expired
from gansynth.cli.recipes import report, warn_of_few_images
from gansynth.dataset import Dataset
from gansynth.environment import choose_device
from gansynth.errors import InputError
from gansynth.progress import counted, progress, size
from gansynth.stopping import Stop, stop_on_signals
from gansynth.store import SCRATCH

Flag = Annotated[bool, Parameter(negative="")]


def register(app: App) -> None:
    """Add the commands of this module."""
    for command in (status, verify, repair, finalize, show):
        app.command(command)


def status(output: str, /, *, json_output: Annotated[bool, Parameter(name="--json", negative="")] = False) -> int:
    """Tell how far a dataset is. Lists, and reads nothing but recipe.yaml.

    For example:

        gansynth status datasets/demo

    Args:
        output: a dataset's folder or URL.
        json_output: print JSON.
    """
    facts = _status(Dataset.open(output))
    if json_output:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"{facts['name']}: {facts['state']}, {facts['done']:,} of {facts['shards']:,} shards, {size(facts['bytes'])}")
    for name, split in facts["splits"].items():
        print(f"  {name:6}{split['done']:>10,} of {split['shards']:,} shards")
    if facts["scratch"]:
        remedy = "running the recipe again goes on" if facts["missing"] else "`gansynth finalize` clears the latter"
        print(f"  {SCRATCH}/ holds files of runs at work or interrupted; {remedy}")
    return 0


def _status(dataset: Dataset) -> dict[str, Any]:
    (done, stored), recipe = dataset.done_with_size(), dataset.record.recipe
    splits = {s: {"shards": dataset.plan.shards_of(s), "done": len(done[s])} for s in recipe.splits}
    count, total = sum(map(len, done.values())), len(dataset.plan)
    written = dataset.store.find(card.FILE)
    finished = count == total and written is not None and b"\n**Unfinished.**" not in written
    return {
        "name": recipe.name,
        "state": "complete" if finished else "to be finalized" if count == total else "unfinished",
        "fingerprint": dataset.record.fingerprint,
        "shards": total,
        "done": count,
        "missing": total - count,
        "planned_samples": dataset.plan.samples,
        "bytes": stored,
        "splits": splits,
        "scratch": bool(dataset.store.below(SCRATCH)),
    }


def verify(output: str, /) -> int:
    """Read every byte of a dataset and compare it with the receipts. Exit 1 if anything is damaged or missing.

    For example:

        gansynth verify datasets/demo

    Args:
        output: a dataset's folder or URL.
    """
    dataset = Dataset.open(output)
    count = sum(map(len, dataset.done().values()))
    with progress(count, "shards") as advance:
        problems = list(check.verify(dataset, lambda: advance(1)))
    for problem in problems:
        print(f"{problem.path}: {problem.what}")
    if problems:
        print(
            f"{dataset.store.place}: {counted(len(problems), 'problem')}; `gansynth repair` makes damaged and missing shards again"
        )
        return 1
    print(f"{dataset.store.place}: {counted(count, 'shard')}, all as they were written")
    warn_of_few_images(dataset)
    return 0


def repair(
    output: str,
    /,
    *,
    device: str = "auto",
    generator: str | None = None,
    allow_mixed: Flag = False,
    allow_code: Flag = False,
) -> int:
    """Verify a dataset, and make its damaged and missing shards again, with the same bytes.

    For example:

        gansynth repair datasets/demo

    Args:
        output: a dataset's folder or URL.
        device: auto, cpu or cuda:N.
        generator: where the weights lie, if no longer where the dataset's recipe says.
        allow_mixed: repair although device or library versions are others than the dataset's; bytes may differ.
        allow_code: permit a generator of the form package.module:factory.
    """
    left = 0

    def tell(problem: check.Problem) -> None:
        nonlocal left
        left += not problem.mendable
        print(f"{problem.path}: {problem.what}")

    with stop_on_signals(Stop()) as stop:
        summary = api.repair(
            Dataset.open(output),
            device=device,
            generator_path=generator,
            allow_mixed=allow_mixed,
            allow_code=allow_code,
            stop=stop,
            on_problem=tell,
        )
    return report(summary) or int(left > 0)


def finalize(output: str, /) -> int:
    """Write a complete dataset's index files and card again, and clear .tmp/. Exit 1 if shards are missing.

    What a run at work is making stays.

    For example:

        gansynth finalize datasets/demo

    Args:
        output: a dataset's folder or URL.
    """
    dataset = Dataset.open(output)
    left = len(dataset.plan) - sum(map(len, dataset.done().values()))
    if left:
        print(
            f"{dataset.store.place}: {left:,} of {len(dataset.plan):,} shards are missing; run its recipe again to make them"
        )
        return 1
    changed = dataset.finalize()
    dataset.store.clear_scratch()
    clear_expired(dataset.store)
    print(
        f"{dataset.store.place}: {'index files and card written' if changed else 'index files and card were right already'}"
    )
    warn_of_few_images(dataset)
    return 0


def show(
    output: str,
    key: str,
    /,
    *,
    device: str = "auto",
    generator: str | None = None,
    to: Path | None = None,
    allow_code: Flag = False,
) -> int:
    """Make one sample again from its stored latent and compare it with the stored image.

    For example:

        gansynth show datasets/demo train-000000-000012 --to sample.png

    Exit 1 if they differ: at all in the environment the dataset was made in, beyond a stated tolerance elsewhere.

    Args:
        output: a dataset's folder or URL.
        key: the sample's WebDataset key.
        device: auto, cpu or cuda:N.
        generator: where the weights lie, if no longer where the dataset's recipe says.
        to: a PNG file for the re-made image.
        allow_code: permit a generator of the form package.module:factory.
    """
    import PIL.Image

    from gansynth import show as shows
    from gansynth.generators import load_for

    dataset = Dataset.open(output)
    row, chosen, recipe = shows.find_row(dataset, key), choose_device(device), dataset.record.recipe
    named = replace(recipe, info=replace(recipe.info, name=generator or recipe.info.name))
    loaded = load_for(named, chosen, allow_code=allow_code)
    if loaded.weights_sha256 != recipe.info.weights_sha256:
        raise InputError(
            "generator: holds other weights than the dataset was made with; pass the right ones with --generator"
        )
    found = shows.remake(dataset, row, loaded, chosen)
    if to is not None:
        buffer = io.BytesIO()
        PIL.Image.fromarray(found.image).save(buffer, "PNG")
        try:
            to.write_bytes(buffer.getvalue())
        except OSError as error:
            raise InputError(f"--to {to}: cannot be written ({error}); choose another place") from None
    for name in (
        "key",
        "sample_id",
        "class_index",
        "class_name",
        "wnid",
        "label",
        "truncation",
        "seed",
        "status",
        "reason",
    ):
        if row[name] is not None:
            print(f"{name:12}{row[name]}")
    print(_verdict(found))
    return 0 if found.agrees else 1


def _verdict(found: Any) -> str:
    if found.stored is None:
        return "rejected, so no image is stored to compare with"
    if found.identical:
        return "identical: the re-made image has the same bytes"
    where = "in the dataset's own environment" if found.same_environment else "in another environment"
    return (
        f"differs by at most {found.difference} grey levels {where}; "
        f"{'within' if found.difference <= found.tolerance else 'beyond'} the tolerance of {found.tolerance}"
    )
