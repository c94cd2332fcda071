"""The command `gansynth trace`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from gansynth.dataset import Dataset
from gansynth.progress import counted, progress

if TYPE_CHECKING:
    from gansynth import trace as tracing

_SHOWN = 10  # of many samples with the same bytes


def register(app: App) -> None:
    """Add the command of this module."""
    app.command(trace)


def trace(
    image: Path, /, *outputs: str, json_output: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> int:
    """Tell which sample of which dataset an image file is.

    For example:

        gansynth trace kept/dog.jpg datasets/dogs datasets/demo

    It is looked up by the sample_id in its XMP, else by its sha256. Exit 1 if it is not found, or, where no dataset is
    named, if the file states no sample_id.

    Args:
        image: the file.
        outputs: datasets to look in, folders or URLs; without any, only what the file itself says is told.
        json_output: print JSON.
    """
    from gansynth import trace as tracing

    claim = tracing.read_claim(image)
    datasets = [Dataset.open(output) for output in outputs]
    manifests = sum(len(numbers) for dataset in datasets for numbers in dataset.done().values())
    with progress(manifests, "manifests") as advance:
        found = [match for dataset in datasets for match in tracing.find(claim, dataset, lambda: advance(1))]
    if json_output:
        said = {"image": str(image), "sha256": claim.sha256, "sample_id": claim.sample_id, "synthetic": claim.synthetic}
        print(json.dumps({**said, "found": [_facts(match) for match in found]}, indent=2))
    else:
        _line("sample_id", claim.sample_id or "none stated")
        _line("synthetic", "yes, its XMP says so" if claim.synthetic else "not stated")
        for match in found[:_SHOWN]:
            print()
            _show(match)
        if len(found) > _SHOWN:
            print(f"\nand {len(found) - _SHOWN:,} more; --json lists all")
        if not found:
            print(_advice(image, claim, datasets, manifests))
    return 0 if found or (claim.sample_id and not outputs) else 1


def _facts(match: tracing.Match) -> dict[str, Any]:
    recipe, row = match.dataset.record.recipe, dict(match.row)
    del row["image_sha256"]
    place = {"dataset": match.dataset.store.place, "name": recipe.name, "generator": recipe.info.name}
    return {**place, **row, "identical": match.identical}


def _show(match: tracing.Match) -> None:
    facts = _facts(match)
    names = [str(facts[key]) for key in ("class_name", "wnid") if facts[key] is not None]
    _line("key", facts["key"])
    _line("dataset", f"{facts['dataset']} ({facts['name']})")
    _line("generator", facts["generator"])
    _line("class", f"{facts['class_index']} ({', '.join(names)})" if names else "none, the generator is unconditional")
    for key in ("seed", "truncation", "split"):
        _line(key, facts[key])
    same = "as stored: sha256 agrees with the manifest"
    altered = "altered since, or of another run: sha256 differs from the manifest"
    _line("file", same if match.identical else altered)


def _line(name: str, value: object) -> None:
    print(f"{name:12}{value}")


def _advice(image: Path, claim: tracing.Claim, datasets: list[Dataset], manifests: int) -> str:
    """What to try next for a file that was not found."""
    if not datasets:
        by = "sample_id" if claim.sample_id else "sha256"
        return f"Name the datasets that it may come from, to look it up by its {by}: gansynth trace {image} OUTPUT"
    where = f"{counted(manifests, 'manifest')} of {', '.join(dataset.store.place for dataset in datasets)}"
    if claim.sample_id:
        return f"Not found: the sample_id is in none of the {where}. Name the other datasets that it may come from."
    return (
        f"Not found: the file states no sample_id, and its sha256 is in none of the {where}. If it was saved again, "
        f"resized or cropped, try the original file; else name other datasets."
    )
