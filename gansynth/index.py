"""The index files that other libraries look for, made from receipts alone.

_info.json                 timm's `wds/` reader
SPLIT.index.json           wids (format wids-shard-index-v1)
SPLIT/sizes.json           open_clip
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from gansynth.errors import StoreDamaged
from gansynth.receipt import Receipt


def index_files(name: str, splits: Mapping[str, Sequence[Receipt]]) -> dict[str, bytes]:
    """Path within the dataset -> content.

    Args:
        name: of the dataset.
        splits: receipts of each split, by shard number.
    """
    files = {"_info.json": _json({"splits": {split: _timm(split, shards) for split, shards in splits.items()}})}
    for split, shards in splits.items():
        files[f"{split}.index.json"] = _json(
            {
                "__kind__": "wids-shard-index-v1",
                "wids_version": 1,
                "name": f"{name}-{split}",
                "shardlist": [
                    {"url": f"{split}/{r.shard:06d}.tar", "nsamples": r.samples, "filesize": r.tar.bytes}
                    for r in shards
                ],
            }
        )
        files[f"{split}/sizes.json"] = _json({f"{r.shard:06d}.tar": r.samples for r in shards})
    return files


def shards_listed(data: bytes, place: str) -> list[dict[str, int]]:
    """What a SPLIT.index.json says of each shard: nsamples, and filesize in bytes.

    Args:
        data: content of the file.
        place: where it lies, for messages.

    Raises:
        StoreDamaged: it is no such file.
    """
    try:
        found = json.loads(data)["shardlist"]
        return [{key: int(entry[key]) for key in ("nsamples", "filesize")} for entry in found]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        raise StoreDamaged(f"{place}: is damaged, it does not list shards; run `gansynth finalize`") from None


def _timm(split: str, shards: Sequence[Receipt]) -> dict[str, object]:
    return {
        "name": split,
        "num_samples": sum(r.samples for r in shards),
        "filenames": [f"{split}/{r.shard:06d}.tar" for r in shards],
        "shard_lengths": [r.samples for r in shards],
    }


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
