"""Index files for other libraries, when they are damaged."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gansynth.cli import run
from gansynth.errors import StoreDamaged
from gansynth.index import shards_listed
from gansynth.loaders import open_dataset

INDEX = "train.index.json"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["shardlist", "nsamples", "filesize"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=60) | JSON.map(lambda content: json.dumps(content).encode()))
def test_an_index_lists_shards_or_is_damaged(data: bytes) -> None:
    try:
        found = shards_listed(data, "s3://bucket/data/train.index.json")
    except StoreDamaged as error:
        assert str(error).startswith("s3://bucket/data/train.index.json: is damaged") and "finalize" in str(error)
    else:
        assert all(isinstance(number, int) for entry in found for number in entry.values())


def without(key: str) -> Any:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        del content["shardlist"][0][key]
        path.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 100),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("{}"),
        lambda path: path.write_text("[]"),
        without("nsamples"),
        without("filesize"),
    ],
)
def test_a_damaged_index_is_told_and_finalize_mends_it(damage: Any, dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    damage(copy / INDEX)
    with pytest.raises(StoreDamaged, match="run `gansynth finalize`") as caught:
        open_dataset(str(copy))
    assert str(copy / INDEX) in str(caught.value)
    assert run(["finalize", str(copy)]) == 0
    assert (copy / INDEX).read_bytes() == (dataset / INDEX).read_bytes()
    assert len(open_dataset(str(copy))) == len(open_dataset(str(dataset)))
