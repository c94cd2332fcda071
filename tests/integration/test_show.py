"""Any sample can be made again from its manifest row alone, and `show` says whether it is still the same."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SMALL

import gansynth

from . import command, make_patchy, rows

_KEY = "train-000001-000007"


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A dataset that may be altered."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def test_random_samples_are_identical_when_made_again(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for row in random.Random(0).sample(rows(dataset), 20):
        assert command("show", dataset, row["key"], "--device", "cpu") == 0
        shown = capsys.readouterr().out
        assert "identical: the re-made image has the same bytes" in shown
        assert [value for value in _facts(row) if value not in shown] == []


def _facts(row: dict[str, Any]) -> list[str]:
    names = ("key", "sample_id", "class_name", "truncation", "seed", "status")
    return [str(row[name]) for name in names]


@pytest.mark.parametrize("image", [{"format": "png"}, {"format": "webp"}], ids=lambda image: image["format"])
def test_samples_of_every_format_are_identical_when_made_again(
    image: dict[str, Any], make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(seeds="0-19", image=image)
    for row in random.Random(0).sample(rows(folder), 3):
        assert command("show", folder, row["key"], "--device", "cpu") == 0
        assert "identical" in capsys.readouterr().out


def test_samples_of_normal_latents_are_identical_when_made_again(
    make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(seeds="0-19", latent="normal")
    for row in random.Random(0).sample(rows(folder), 3):
        assert command("show", folder, row["key"], "--device", "cpu") == 0
        assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize("row", [0, 5, 15, 16, 29])
def test_a_sample_is_made_again_at_its_place_in_the_batch(
    row: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"generator": f"{__package__}:placed", "classes": [7, 9, 8], "seeds": "0-19", "image": {"format": "png"}}
    recipe = gansynth.Recipe(**{**SMALL, **changes, "output": str(tmp_path)})
    gansynth.generate(recipe, device="cpu", allow_code=True)
    key = f"train-000000-{row:06d}"
    assert command("show", tmp_path, key, "--allow-code", "--device", "cpu") == 0
    assert "identical" in capsys.readouterr().out


def test_the_re_made_image_is_the_stored_one(tmp_path: Path, make: Callable[..., Path]) -> None:
    folder = make(seeds="0-19", image={"format": "png"})
    picture = tmp_path / "sample.png"
    row = rows(folder, "val")[3]
    assert command("show", folder, row["key"], "--to", picture, "--device", "cpu") == 0
    tar = folder / f"val/{row['shard']:06d}.tar"
    stored = tar.read_bytes()[row["image_offset"] :][: row["image_bytes"]]
    (tmp_path / "stored.png").write_bytes(stored)
    with PIL.Image.open(picture) as mine, PIL.Image.open(tmp_path / "stored.png") as theirs:
        assert np.array_equal(np.asarray(mine), np.asarray(theirs))


def test_a_sample_whose_latent_was_altered_is_reported_as_different(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "train/000001.parquet"
    table = pq.read_table(path)
    latents = [[-x for x in z] if row == 7 else z for row, z in enumerate(table["z"].to_pylist())]
    column = table.schema.get_field_index("z")
    pq.write_table(table.set_column(column, table.schema.field("z"), pa.array(latents, table["z"].type)), path)

    assert command("show", copy, _KEY, "--device", "cpu") == 1
    shown = capsys.readouterr().out
    assert "differs by at most" in shown
    assert "in the dataset's own environment" in shown
    assert command("show", copy, _KEY.replace("7", "8"), "--device", "cpu") == 0
    assert command("verify", copy) == 1


def test_a_sample_with_another_image_is_reported_as_different(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = _row(copy)
    smaller = next(r for r in rows(copy, "train") if r["shard"] == 1 and r["image_bytes"] < row["image_bytes"])
    tar = bytearray((copy / "train/000001.tar").read_bytes())
    start, other, length = row["image_offset"], smaller["image_offset"], smaller["image_bytes"]
    tar[start : start + length] = tar[other : other + length]
    (copy / "train/000001.tar").write_bytes(tar)
    assert command("show", copy, _KEY, "--device", "cpu") == 1
    assert "differs by at most" in capsys.readouterr().out


def test_a_sample_whose_image_cannot_be_decoded_is_told_in_one_line(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = _row(copy)
    tar = bytearray((copy / "train/000001.tar").read_bytes())
    tar[row["image_offset"] : row["image_offset"] + row["image_bytes"]] = bytes(row["image_bytes"])
    (copy / "train/000001.tar").write_bytes(tar)
    assert command("show", copy, _KEY, "--device", "cpu") == 1
    captured = capsys.readouterr()
    assert "differs" in captured.out or captured.err.count("\n") == 1


def _row(folder: Path) -> dict[str, Any]:
    return next(row for row in rows(folder) if row["key"] == _KEY)


def test_a_rejected_sample_is_said_to_be_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_patchy(tmp_path)
    rejected, kept = ([row for row in rows(folder) if row["status"] == status] for status in ("rejected", "ok"))
    assert command("show", folder, rejected[0]["key"], "--allow-code", "--device", "cpu") == 0
    shown = capsys.readouterr().out
    assert "rejected, so no image is stored to compare with" in shown
    assert "constant image" in shown
    assert command("show", folder, kept[0]["key"], "--allow-code", "--device", "cpu") == 0
    assert "identical" in capsys.readouterr().out


def test_a_dataset_made_by_code_is_not_shown_without_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_patchy(tmp_path)
    assert command("show", folder, "train-000000-000000", "--device", "cpu") == 2
    assert "--allow-code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("seven", "keys look like"),
        ("test-000000-000000", "only the splits train, val"),
        ("train-000400-000000", "does not exist"),
        ("train-000000-000050", "rows 0 to 49"),
    ],
)
def test_a_key_of_no_sample_is_refused(key: str, said: str, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", dataset, key, "--device", "cpu") == 2
    assert said in capsys.readouterr().err


def test_other_weights_are_refused(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", dataset, _KEY, "--generator", "fake", "--device", "cpu") == 2
    assert "other weights" in capsys.readouterr().err


def test_weights_that_moved_are_taken_from_where_they_are(
    make: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundled = Path(gansynth.__file__).parent / "generators/pretrained/fashion-32"
    shutil.copytree(bundled, tmp_path / "weights")
    folder = make(seeds="0-19", generator=str(tmp_path / "weights"))
    (tmp_path / "weights").rename(tmp_path / "elsewhere")
    assert command("show", folder, "train-000000-000003", "--device", "cpu") == 2
    assert "weights" in capsys.readouterr().err
    moved = ("--generator", tmp_path / "elsewhere", "--device", "cpu")
    assert command("show", folder, "train-000000-000003", *moved) == 0
    assert "identical" in capsys.readouterr().out
    (folder / "train/000000_stats.json").unlink()
    assert command("repair", folder, *moved) == 0
