"""The dataset card: README.md at the dataset's root, with the front matter that HF datasets needs.

Without that front matter HF datasets would load the Parquet manifests instead of the images. Before the dataset is
finished the card lists only splits of which a shard exists, since HF datasets refuses a card with an empty split.

A finished card ends with a line for `gansynth verify`, which no reader shows: digests of the shards that it describes, of
the picture and of the card itself. By it a card holds good whatever words this version or another found for it, and so
does the picture, whose bytes depend on the version of Pillow.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gansynth import card_text
from gansynth.identity import sha256_json
from gansynth.receipt import Receipt
from gansynth.record import Record

FILE = "README.md"
_SEAL = re.compile(
    rb'<!-- gansynth: (\{"shards": "[0-9a-f]{64}", "picture": (?:null|"[0-9a-f]{64}"), "card": "[0-9a-f]{64}"\}) -->\n\Z'
)
_UNSEALED = (
    ", rendered by gansynth from a pretrained GAN.\n"  # in every card from before there were seals, and in no other
)


@dataclass(frozen=True)
class Seal:
    """What a finished card vouches for.

    Args:
        shards: digest of the shards that it describes.
        picture: sha256 of the picture of samples; None if there is none.
    """

    shards: str
    picture: str | None


def unfinished(record: Record, splits: Sequence[str]) -> bytes:
    """The card of a dataset in the making; `splits` are those of which a tar is in place."""
    recipe = record.recipe
    body = f"""# {recipe.name}

**Unfinished.** Shards are still being made, or were interrupted; `gansynth status` tells how far they are, and running
the recipe again goes on from there. Every shard that has a `_stats.json` beside it is complete.
"""
    return (_front_matter(splits) + body).encode()


def finished(record: Record, splits: Mapping[str, Sequence[Receipt]], picture: bytes | None) -> bytes:
    """The card of a complete dataset.

    Args:
        record: its recipe.yaml.
        splits: receipts of each split.
        picture: the picture of samples beside the card, if there is one.
    """
    body = (_front_matter(list(splits)) + card_text.sections(record, splits, picture is not None) + "\n").encode()
    seal = {
        "shards": digest(splits),
        "picture": hashlib.sha256(picture).hexdigest() if picture is not None else None,
        "card": hashlib.sha256(body).hexdigest(),
    }
    return body + f"<!-- gansynth: {json.dumps(seal)} -->\n".encode()


def listed_splits(card: bytes) -> set[str]:
    """The splits that a card's front matter lists."""
    return set(re.findall(r"^  - split: (\w+)$", card.decode(errors="replace"), re.MULTILINE))


def digest(splits: Mapping[str, Sequence[Receipt]]) -> str:
    """Names the shards of a dataset by their content, whoever made them when."""
    return sha256_json(
        [[r.split, r.shard, r.tar.sha256, r.manifest.sha256] for shards in splits.values() for r in shards]
    )


def seal_of(card: bytes) -> Seal | None:
    """What a card vouches for; None for an unfinished or damaged one, and for one from before there were seals."""
    match = _SEAL.search(card)
    if match is None:
        return None
    content = json.loads(match[1])
    whole = content["card"] == hashlib.sha256(card[: match.start()]).hexdigest()
    return Seal(content["shards"], content["picture"]) if whole else None


def is_unsealed(card: bytes, record: Record, splits: Sequence[str]) -> bool:
    """Whether a card is a finished one of this dataset from before there were seals and pictures."""
    text = card.decode(errors="replace")
    return _UNSEALED in text and record.fingerprint in text and listed_splits(card) == set(splits)


def _front_matter(splits: Sequence[str]) -> str:
    if not splits:
        return ""
    files = "".join(f"  - split: {split}\n    path: {split}/*.tar\n" for split in splits)
    return f"---\ntags:\n- synthetic\n- gansynth\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
