"""The dataset card: README.md at the dataset's root, with the front matter that HF datasets needs.

Without that front matter HF datasets would load the Parquet manifests instead of the images. Before the dataset is
finished the card lists only splits of which a shard exists, since HF datasets refuses a card with an empty split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from gansynth.receipt import Receipt
from gansynth.record import Record

FILE = "README.md"
_TABLE_LIMIT = 50


def unfinished(record: Record, splits: Sequence[str]) -> bytes:
    """The card of a dataset in the making; `splits` are those of which a tar is in place."""
    recipe = record.recipe
    body = f"""# {recipe.name}

**Unfinished.** Shards are still being made, or were interrupted; `gansynth status` tells how far they are, and running
the recipe again goes on from there. Every shard that has a `_stats.json` beside it is complete.
"""
    return (_front_matter(splits) + body).encode()


def listed_splits(card: bytes) -> set[str]:
    """The splits that a card's front matter lists."""
    return set(re.findall(r"^  - split: (\w+)$", card.decode(errors="replace"), re.MULTILINE))


def finished(record: Record, splits: Mapping[str, Sequence[Receipt]]) -> bytes:
    """The card of a complete dataset."""
    recipe, info = record.recipe, record.recipe.info
    receipts = [receipt for shards in splits.values() for receipt in shards]
    samples, rejected = sum(r.samples for r in receipts), sum(r.rejected for r in receipts)
    size = sum(r.tar.bytes + r.manifest.bytes for r in receipts)
    kind = f"{info.num_classes} classes" if info.num_classes else "unconditional"
    image = ", ".join(f"{key} {value}" for key, value in recipe.image.items() if key != "format")
    body = f"""# {recipe.name}

{samples:,} synthetic images of {info.resolution} x {info.resolution} pixels, rendered by gansynth from a pretrained GAN.

| | |
|---|---|
| generator | {PurePath(info.name).name} ({info.family}, {kind}) |
| origin of the weights | {info.origin} |
| licence of the weights | {info.licence} |
| weights sha256 | `{info.weights_sha256}` |
| latents | {recipe.latent}, z of {info.z_dim}, one seed a sample ({recipe.seed_use}) |
| seeds | {"; ".join(str(part) for part in recipe.parts[:8])}{" ..." if len(recipe.parts) > 8 else ""} |
| images | {recipe.image["format"]} ({image}) |
| size | {size / 1e6:,.1f} MB in {len(receipts):,} shards; {rejected:,} rows rejected |
| fingerprint | `{record.fingerprint}` |

## Splits

{_split_table(splits)}

No latent is in two splits: a split is chosen by the seed alone.

{_class_table(record, receipts)}
{_truncation_table(receipts)}
{_terms(info.terms)}## Reading it

Each sample of the tars has four members: the image, `.cls` (the label), `.txt` (a caption) and `.json` (sample_id, seed,
truncation, class). Latent vectors and everything else are in the Parquet file beside each tar.

```python
import webdataset as wds

dataset = wds.WebDataset("train/000000.tar", shardshuffle=False).decode("rgb8").to_tuple("{recipe.image["format"]}", "cls")
```

## Making it again

```
gansynth generate recipe.yaml --output ANOTHER_FOLDER
```

gives the same bytes in the environment that recipe.yaml records.

## Limits

All images are synthetic. They inherit the biases and the faults of the generator and of the data that it was trained on;
labels say what the generator was asked for, not what a person sees.
"""
    return (_front_matter(list(splits)) + body).encode()


def _terms(terms: Sequence[str]) -> str:
    return "\n".join(["## Licence of the weights", "", *(f"- {term}" for term in terms), "", ""]) if terms else ""


def _front_matter(splits: Sequence[str]) -> str:
    if not splits:
        return ""
    files = "".join(f"  - split: {split}\n    path: {split}/*.tar\n" for split in splits)
    return f"---\ntags:\n- synthetic\n- gansynth\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"


def _split_table(splits: Mapping[str, Sequence[Receipt]]) -> str:
    lines = ["| split | shards | images |", "|---|---:|---:|"]
    lines += [f"| {name} | {len(shards):,} | {sum(r.samples for r in shards):,} |" for name, shards in splits.items()]
    return "\n".join(lines)


def _class_table(record: Record, receipts: Sequence[Receipt]) -> str:
    if not record.recipe.classes:
        return ""
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.classes)
    rows = [
        f"| {target} | {label.index} | {label.wnid or ''} | {label.name} | {counts[str(label.index)]:,} |"
        for label, target in zip(record.recipe.classes, record.recipe.targets, strict=True)
    ]
    more = [f"| | | | and {len(rows) - _TABLE_LIMIT} more | |"] if len(rows) > _TABLE_LIMIT else []
    head = ["## Classes", "", "| label | index | wnid | name | images |", "|---:|---:|---|---|---:|"]
    return "\n".join([*head, *rows[:_TABLE_LIMIT], *more, ""])


def _truncation_table(receipts: Sequence[Receipt]) -> str:
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.truncations)
    rows = [f"| {value} | {counts[value]:,} |" for value in sorted(counts, key=float)]
    return "\n".join(["## Truncations", "", "| truncation | images |", "|---:|---:|", *rows, ""])
