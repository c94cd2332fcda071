"""Datasets whose image files say what they are, and older ones, whose files do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

import gansynth
from gansynth import encode, provenance
from gansynth.show import stored_image

from . import agrees, all_but_receipts, command, rows, shards, write_recipe

_LARGE: dict[str, Any] = {
    "generator": "fake",
    "generator_options": {"resolution": 128, "num_classes": 3},
    "classes": "all",
    "seeds": "0-9",
    "splits": {"train": 1.0},
    "samples_per_shard": 25,
}


def _images(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    opened = gansynth.Dataset.open(str(folder))
    return [(row, stored_image(opened, row) or b"") for row in rows(folder)]


def _key(folder: Path) -> object:
    """What recipe.yaml says."""
    return YAML(typ="safe").load(folder / "recipe.yaml").get("provenance")


@pytest.mark.parametrize("image", [{"format": "jpg"}, {"format": "png"}, {"format": "webp"}], ids=str)
def test_images_from_128_pixels_on_say_which_sample_they_are(
    image: dict[str, Any], make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(**_LARGE, image=image)
    for row, data in _images(folder):
        assert agrees(row, data, row["label"])
        assert provenance.read(data) == row["sample_id"]
        assert provenance.says_synthetic(data)
    assert _key(folder) is True
    metadata = pq.read_schema(folder / "train/000000.parquet").metadata
    assert json.loads(metadata[b"gansynth.render"])["provenance"] is True
    assert command("verify", folder) == 0
    assert command("show", folder, "train-000001-000007", "--device", "cpu") == 0
    assert "identical: the re-made image has the same bytes" in capsys.readouterr().out


def test_smaller_images_do_not_unless_the_recipe_says_so(make: Callable[..., Path]) -> None:
    small, told = make("small", seeds="0-9"), make("told", seeds="0-9", provenance=True)
    assert [provenance.says_synthetic(data) for _, data in _images(small)] == [False] * 60
    assert [provenance.read(data) for _, data in _images(told)] == [row["sample_id"] for row in rows(told)]
    assert (_key(small), _key(told)) == (None, True)


def test_marking_changes_neither_pixels_nor_sample_ids(make: Callable[..., Path]) -> None:
    with_xmp, without = (_images(make(str(key), **_LARGE, provenance=key)) for key in (True, False))
    for (row, data), (other_row, other) in zip(with_xmp, without, strict=True):
        assert row["sample_id"] == other_row["sample_id"]
        assert row["image_bytes"] == other_row["image_bytes"] + len(data) - len(other)
        assert 0 < len(data) - len(other) < 600
        assert (encode.decode(data) == encode.decode(other)).all()


def test_a_dataset_without_the_key_goes_on_without_it(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its recipe.yaml is what earlier versions wrote, whatever the resolution."""
    whole = make("whole", **_LARGE, provenance=False)
    assert _key(whole) is None
    recipe = gansynth.Recipe.load(whole / "recipe.yaml", {"output": str(tmp_path / "part")})
    gansynth.generate(recipe, device="cpu", shards=lambda plan: [plan.shard(1)])
    assert b"provenance" not in (tmp_path / "part/recipe.yaml").read_bytes()

    written = write_recipe(tmp_path / "recipe.yaml", **_LARGE, output=str(tmp_path / "part"))
    assert command("generate", written, "--set", "provenance=true", "--device", "cpu") == 2
    assert "provenance is False in the dataset, but True in the recipe" in capsys.readouterr().err
    assert command("generate", written, "--device", "cpu") == 0  # a recipe that leaves the key out follows the dataset
    assert all_but_receipts(tmp_path / "part") == all_but_receipts(whole)
    assert command("verify", tmp_path / "part") == 0
    assert command("show", tmp_path / "part", "train-000000-000003", "--device", "cpu") == 0


def test_the_record_of_a_marked_dataset_makes_the_same_bytes_elsewhere(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make(seeds="0-9", provenance=True)
    assert command("generate", folder / "recipe.yaml", "--output", tmp_path / "copy", "--device", "cpu") == 0
    assert shards(tmp_path / "copy") == shards(folder)
    (folder / "recipe.yaml").write_bytes((folder / "recipe.yaml").read_bytes().replace(b"provenance: true\n", b""))
    assert command("status", folder) == 2  # its fingerprint tells
