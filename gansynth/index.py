"""The index files that other libraries look for, made from receipts alone.

_info.json                 timm's `wds/` reader
SPLIT.index.json           wids (format wids-shard-index-v1)
SPLIT/sizes.json           open_clip
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

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


def _timm(split: str, shards: Sequence[Receipt]) -> dict[str, object]:
    return {
        "name": split,
        "num_samples": sum(r.samples for r in shards),
        "filenames": [f"{split}/{r.shard:06d}.tar" for r in shards],
        "shard_lengths": [r.samples for r in shards],
    }


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
