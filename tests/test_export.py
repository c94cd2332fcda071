"""Datasets as plain files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gansynth
from gansynth.cli import run
from gansynth.errors import OutputError
from gansynth.export import export
from gansynth.training.sources import open_source


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clothes") / "data"
    classes = ["Sneaker", "Bag", "T-shirt/top"]
    keys = {"truncation": [0.5, 1.0], "seeds": "0-9", "splits": {"train": 0.8, "val": 0.2}, "samples_per_shard": 20}
    gansynth.generate(
        gansynth.Recipe.parse(
            {"name": "c", "generator": "fashion-32", "classes": classes, "output": str(folder), **keys}
        )
    )
    return folder


def exported(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.jpg")
    }


def expected(dataset: Path, largest: float = 1.0) -> dict[str, str]:
    rows = [row for path in dataset.glob("*/*.parquet") for row in pq.read_table(path).to_pylist()]
    return {
        f"{row['split']}/{row['class_name'].replace('/', '_')}/{row['key']}.jpg": row["image_sha256"]
        for row in rows
        if row["truncation"] <= largest
    }


def test_every_image_becomes_a_file_in_the_folder_of_its_class(
    clothes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(clothes), str(tmp_path / "files")]) == 0
    assert "60 images" in capsys.readouterr().out
    assert exported(tmp_path / "files") == expected(clothes)
    assert open_source(tmp_path / "files" / "train").classes == ("Bag", "Sneaker", "T-shirt_top")


def test_a_part_can_be_exported(clothes: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    arguments = ["--where", "truncation <= 0.6", "--split", "train"]
    assert run(["export", str(clothes), str(tmp_path / "files"), *arguments]) == 0
    wanted = {path: digest for path, digest in expected(clothes, 0.6).items() if path.startswith("train/")}
    assert exported(tmp_path / "files") == wanted


@pytest.mark.parametrize("kind", ["folder", "here", "link"])
def test_a_folder_that_is_there_stays_the_one_it_is(
    kind: str, clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it has to, being a mount point, or where a shell is."""
    folder = tmp_path / "files"
    folder.mkdir()
    before = folder.stat().st_ino
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder if kind == "here" else tmp_path)
    assert run(["export", str(clothes), {"folder": "files", "here": ".", "link": "link"}[kind]]) == 0
    assert folder.stat().st_ino == before
    assert exported(folder) == expected(clothes)
    assert sorted(path.name for path in folder.iterdir()) == ["train", "val"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "link"]


def test_what_cannot_all_be_moved_is_not_moved_at_all(clothes: Path, tmp_path: Path) -> None:
    for blocked in ("train", "val"):
        folder = tmp_path / blocked
        folder.mkdir()

        def block(count: int, place: Path = folder / blocked) -> None:
            place.mkdir()
            (place / "mine.txt").write_text("mine")

        with pytest.raises(OutputError):
            export(str(clothes), folder, on_start=block)
        assert [path.name for path in folder.iterdir()] == [blocked]
        assert [path.name for path in (folder / blocked).iterdir()] == ["mine.txt"]


def test_images_without_classes_lie_in_the_folder_of_their_split(tmp_path: Path) -> None:
    recipe = {"name": "f", "generator": "fake", "generator_options": {"num_classes": 0, "resolution": 16}}
    gansynth.generate(gansynth.Recipe.parse({**recipe, "seeds": "0-3", "output": str(tmp_path / "data")}))
    assert run(["export", str(tmp_path / "data"), str(tmp_path / "files")]) == 0
    assert set(exported(tmp_path / "files")) == {f"train/train-000000-00000{i}.jpg" for i in range(4)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--where", "colour == 1"], "colour"),
        (["--where", "seed > 1000"], "no sample"),
        (["--split", "test"], "split"),
        (["--format", "lmdb"], "format"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(
    clothes: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(clothes), str(tmp_path / "files"), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(clothes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert run(["export", str(clothes), str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_dataset_is_not_exported_by_half(clothes: Path, tmp_path: Path) -> None:
    shutil.copytree(clothes, tmp_path / "data")
    (tmp_path / "data" / "val" / "000000.parquet").write_bytes(b"")
    assert run(["export", str(tmp_path / "data"), str(tmp_path / "files")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_url_is_no_folder_to_export_to(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(clothes), "s3://bucket/files"]) == 2
    assert "is no folder of this machine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
