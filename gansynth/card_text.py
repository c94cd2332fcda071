"""The sections of the dataset card, in Markdown. Facts come from recipe.yaml and the receipts, nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from gansynth import samples
from gansynth.labels import ClassLabel
from gansynth.progress import counted, size
from gansynth.provenance import SOURCE_TYPE
from gansynth.receipt import Receipt
from gansynth.record import Record
from gansynth.resolve import ResolvedRecipe

_TABLE_LIMIT = 50
Splits = Mapping[str, Sequence[Receipt]]


def sections(record: Record, splits: Splits, picture: bool) -> str:
    """The body of the card of a complete dataset.

    Args:
        record: its recipe.yaml.
        splits: receipts of each split.
        picture: whether there is a picture of samples.
    """
    receipts = [receipt for shards in splits.values() for receipt in shards]
    parts = (
        _introduction(record, receipts, picture),
        _contents(record, splits, receipts),
        _reading(record.recipe, splits),
        _use(),
        _limits(record.recipe, receipts),
        _provenance(record.recipe),
        _licence(record),
        _making(record),
    )
    return "\n".join(parts)


def _introduction(record: Record, receipts: Sequence[Receipt], picture: bool) -> str:
    recipe, info = record.recipe, record.recipe.info
    count = sum(r.samples for r in receipts)
    of_classes = f" of {counted(len(recipe.classes), 'class', 'classes')}" if recipe.classes else ""
    lines = [
        f"# {recipe.name}",
        "",
        f"{counted(count, 'synthetic image')}{of_classes}, {info.resolution} x {info.resolution} pixels, rendered by the "
        f"pretrained generator {_generator(recipe)} with gansynth. No camera took any of them.",
        "",
    ]
    if picture:
        lines += [
            f"![Samples of the dataset]({samples.FILE})",
            "",
            f"{samples.caption(recipe)} They are the first of the dataset, not picked.",
            "",
        ]
    return "\n".join(lines)


def _contents(record: Record, splits: Splits, receipts: Sequence[Receipt]) -> str:
    stored = size(sum(r.tar.bytes + r.manifest.bytes for r in receipts))
    table = [f"| {name} | {len(shards):,} | {sum(r.samples for r in shards):,} |" for name, shards in splits.items()]
    lines = [
        "## What is in it",
        "",
        "| split | shards | images |",
        "|---|---:|---:|",
        *table,
        "",
        f"{stored} in all. A split is chosen by the seed alone, so no latent is in two splits.",
        "",
        *_classes(record.recipe, receipts),
        *_truncations(record.recipe, receipts),
    ]
    return "\n".join(lines)


def _classes(recipe: ResolvedRecipe, receipts: Sequence[Receipt]) -> list[str]:
    if not recipe.classes:
        return []
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.classes)
    rows = [
        f"| {target} | {label.index} | {_class(label)} | {counts[str(label.index)]:,} |"
        for label, target in zip(recipe.classes, recipe.targets, strict=True)
    ]
    more = [f"| | | and {len(rows) - _TABLE_LIMIT:,} more | |"] if len(rows) > _TABLE_LIMIT else []
    return ["| label | index | class | images |", "|---:|---:|---|---:|", *rows[:_TABLE_LIMIT], *more, ""]


def _class(label: ClassLabel) -> str:
    return _cell(f"{label.name} ({label.wnid})" if label.wnid else label.name)


def _truncations(recipe: ResolvedRecipe, receipts: Sequence[Receipt]) -> list[str]:
    if recipe.info.truncation_rule == "one":
        return []
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.truncations)
    rows = [f"| {value} | {counts[value]:,} |" for value in sorted(counts, key=float)]
    said = (
        "Truncation near 0 makes images more typical and more alike; away from 0 they vary more, and fail more often."
    )
    return [said, "", "| truncation | images |", "|---:|---:|", *rows, ""]


def _reading(recipe: ResolvedRecipe, splits: Splits) -> str:
    split = "train" if "train" in splits else next(iter(splits), "train")
    return f"""## Reading it

Each sample of the tars has four members: the image, `.cls` (the label), `.txt` (a caption) and `.json` (sample_id, seed,
truncation, class). Latent vectors and everything else are in the Parquet file beside each tar.

```python
import webdataset as wds

dataset = wds.WebDataset("{split}/000000.tar", shardshuffle=False).decode("rgb8").to_tuple("{recipe.image["format"]}", "cls")
```
"""


def _use() -> str:
    return """## Intended use

Adding to real training images, pretraining, trying out a training pipeline, studying the generator. **Not for
evaluation:** a score on these images, those of val and test included, says how well a model knows the generator; measure
on real images that it has not seen. Wherever the images are shown or passed on, say that they are synthetic.
"""


def _limits(recipe: ResolvedRecipe, receipts: Sequence[Receipt]) -> str:
    rejected = sum(r.rejected for r in receipts)
    labels = (
        "- Labels say what the generator was asked for. An image may show something else.\n" if recipe.classes else ""
    )
    left_out = f"{rejected:,} were rejected, with reasons in the manifests" if rejected else "none was rejected"
    return f"""## Limits

- The images inherit the biases of the generator and of the data that it was trained on: what was rare there is rarer
  here, or missing, and stereotypes come back.
- Near-copies of training images are possible, the more so if the generator was trained on few, with whatever is private
  or protected in them. Nobody has looked for them.
{labels}- Faults of the generator (broken shapes, textures, text) are in the data. Of the rendered images {left_out}.
- More images of one generator add less and less: they hold no more than it has learned.
"""


def _provenance(recipe: ResolvedRecipe) -> str:
    if recipe.provenance:
        kind = SOURCE_TYPE.rpartition("/")[2]
        marks = (
            f"Each image file says in its XMP that a trained model made it (the IPTC's digital source type `{kind}`), and "
            f"which sample it is. Programs that save an image again may drop that."
        )
        way = "by that sample_id, else by its bytes"
    else:
        marks = "The image files carry no mark that they are synthetic."
        way = "as long as its bytes are as stored here"
    return f"""## Telling where an image comes from

{marks} In the dataset's folder, this finds class, seed and truncation of a loose file, {way}:

```
gansynth trace IMAGE .
```
"""


def _licence(record: Record) -> str:
    info = record.recipe.info
    terms = "\n".join(f"- {term}" for term in info.terms)
    return f"""## Licence

Licence of the weights: **{info.licence}**. Origin: {info.origin}. Whether that licence, or rights in the images that the
generator was trained on, bind what you do with these images is yours to check; gansynth adds no terms.
{f"{chr(10)}{terms}{chr(10)}" if terms else ""}"""


def _making(record: Record) -> str:
    recipe, info = record.recipe, record.recipe.info
    kind = f"{counted(info.num_classes, 'class', 'classes')}" if info.num_classes else "unconditional"
    image = ", ".join(f"{key} {value}" for key, value in recipe.image.items() if key != "format")
    device = "cuda:0" if "cuda" in record.environment else "cpu"
    options = f" --device {device}" + (" --allow-code" if info.family == "custom" else "")
    return f"""## How it was made, and making it again

| | |
|---|---|
| generator | {_generator(recipe)} ({info.family}, {kind}) |
| weights sha256 | `{info.weights_sha256}` |
{_latents(recipe)}
| rendering | {recipe.precision}, batches of {recipe.batch_size} |
| images | {recipe.image["format"]} ({image}) |
| fingerprint | `{record.fingerprint}` |

In the dataset's folder, this renders every shard again, with the same bytes in the environment that recipe.yaml records
(device and versions of libraries), and with differences in some bits elsewhere:

```
gansynth generate recipe.yaml --output ../again{options}
```

`gansynth show . KEY{options}` makes a single sample again and compares it; `gansynth verify .` tells whether every file is as it
was written. Weights that lie elsewhere than they did are given with `--set generator=PATH`, or `--generator PATH` for
`show`{_other_dataset(recipe)}.
"""


def _latents(recipe: ResolvedRecipe) -> str:
    """Rows of a table: where the latents come from."""
    kind, derivation = f"{recipe.latent}, z of {recipe.info.z_dim}", recipe.derivation
    if derivation is None:
        seeds = "; ".join(str(part) for part in recipe.parts[:8]) + (" ..." if len(recipe.parts) > 8 else "")
        return f"| latents | {kind}, one seed a sample ({recipe.seed_use}) |\n| seeds | {seeds} |"
    groups = sum(derivation.groups.values())
    if derivation.kind == "vary":
        how = (
            f"{counted(derivation.each, 'neighbour')} of each parent, sigma {derivation.sigma:g} in {derivation.space}"
        )
    else:
        how = f"{counted(derivation.each, 'step')} from one parent to another of its class, in {derivation.space}"
    source = PurePath(derivation.source).name
    parents = f"{counted(groups, 'sample' if derivation.kind == 'vary' else 'pair')} of the dataset {source}"
    condition = f" with `{derivation.where}`" if derivation.where else ""
    return f"| latents | {kind}; {how} |\n| parents | {_cell(parents + condition)} |"


def _other_dataset(recipe: ResolvedRecipe) -> str:
    if recipe.derivation is None:
        return ""
    return f"; so is the dataset that this one starts from, with `--set {recipe.derivation.kind}.from=PATH`"


def _generator(recipe: ResolvedRecipe) -> str:
    """Its name; of a path only the file, since the folder says nothing to others."""
    return _cell(PurePath(recipe.info.name).name)


def _cell(text: str) -> str:
    """A text that may hold anything, fit for a table."""
    return " ".join(text.replace("|", "\\|").split())
