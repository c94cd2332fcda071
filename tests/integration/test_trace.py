"""A loose image file leads back to its dataset, class, seed and truncation, or it is said why not."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest

import gansynth
from gansynth import provenance
from gansynth.show import stored_image
from gansynth.store import Store

from . import command, make_patchy, rows

Say = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with XMP in its images."""
    return _make(tmp_path_factory.mktemp("marked") / "dataset")


def _make(folder: Path, **changes: Any) -> Path:
    recipe = {"name": "told", "generator": "fake", "generator_options": {"num_classes": 3}, "classes": [0, 2]}
    recipe |= {"truncation": [0.4, 1.0], "seeds": "0-29", "splits": {"train": 0.8, "val": 0.2}, "provenance": True}
    gansynth.generate(
        gansynth.Recipe(**{**recipe, "samples_per_shard": 20, "output": str(folder), **changes}), device="cpu"
    )
    return folder


def _export(folder: Path, row: dict[str, Any], path: Path) -> Path:
    path.write_bytes(stored_image(gansynth.Dataset.open(str(folder)), row) or b"")
    return path


def _saved_again(path: Path, keep_xmp: bool) -> Path:
    with PIL.Image.open(path) as image:
        kept = {"xmp": image.info["xmp"]} if keep_xmp else {"xmp": b""}
        image.resize((40, 40)).save(path, quality=60, **kept)
    return path


def _json(capsys: Say, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = command("trace", *arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_a_file_of_a_dataset_is_found_with_all_that_made_it(marked: Path, tmp_path: Path, capsys: Say) -> None:
    row = rows(marked, "val")[3]
    image = _export(marked, row, tmp_path / "loose.jpg")
    assert command("trace", image, marked) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert lines == {
        "sample_id": row["sample_id"],
        "synthetic": "yes, its XMP says so",
        "key": row["key"],
        "dataset": f"{marked} (told)",
        "generator": "fake",
        "class": f"{row['class_index']} ({row['class_name']})",
        "seed": str(row["seed"]),
        "truncation": str(row["truncation"]),
        "split": "val",
        "file": "as stored: sha256 agrees with the manifest",
    }
    code, said = _json(capsys, image, marked)
    assert (code, said["sha256"], said["sample_id"]) == (0, row["image_sha256"], row["sample_id"])
    (found,) = said["found"]
    assert (found["key"], found["seed"], found["identical"]) == (row["key"], row["seed"], True)


def test_a_file_that_was_altered_is_found_by_what_it_says(marked: Path, tmp_path: Path, capsys: Say) -> None:
    row = rows(marked)[5]
    image = _saved_again(_export(marked, row, tmp_path / "loose.jpg"), keep_xmp=True)
    assert command("trace", image, marked) == 0
    shown = capsys.readouterr().out
    assert row["key"] in shown and "altered since" in shown
    code, said = _json(capsys, image, marked)
    assert (code, [match["identical"] for match in said["found"]]) == (0, [False])


def test_a_file_without_xmp_is_found_by_its_bytes(dataset: Path, marked: Path, tmp_path: Path, capsys: Say) -> None:
    row = rows(dataset)[7]
    image = _export(dataset, row, tmp_path / "loose.jpg")
    code, said = _json(capsys, image, marked, dataset)
    assert (code, said["sample_id"], said["synthetic"]) == (0, None, False)
    assert [(match["dataset"], match["key"]) for match in said["found"]] == [(str(dataset), row["key"])]
    assert said["found"][0]["identical"]


@pytest.mark.parametrize("keep_xmp", [True, False])
def test_a_file_of_no_dataset_named_is_not_found(
    keep_xmp: bool, dataset: Path, marked: Path, tmp_path: Path, capsys: Say
) -> None:
    image = _saved_again(_export(marked, rows(marked)[0], tmp_path / "loose.jpg"), keep_xmp)
    assert command("trace", image, dataset) == 1
    shown = capsys.readouterr().out
    assert f"none of the 5 manifests of {dataset}" in shown
    assert ("the original file" in shown) is not keep_xmp
    assert command("trace", image, dataset, marked) == (0 if keep_xmp else 1)


def test_a_sample_that_several_datasets_hold_is_found_in_all(marked: Path, tmp_path: Path, capsys: Say) -> None:
    other = _make(tmp_path / "other", truncation=[1.0], splits={"train": 1.0}, samples_per_shard=1000)
    row = next(row for row in rows(marked) if row["truncation"] == 1.0)
    code, said = _json(capsys, _export(marked, row, tmp_path / "loose.jpg"), marked, other)
    assert (code, [match["dataset"] for match in said["found"]]) == (0, [str(marked), str(other)])
    assert all(match["identical"] and match["sample_id"] == row["sample_id"] for match in said["found"])


def test_without_a_dataset_it_tells_what_the_file_says(
    marked: Path, dataset: Path, tmp_path: Path, capsys: Say
) -> None:
    row = rows(marked)[0]
    told, silent = _export(marked, row, tmp_path / "a.jpg"), _export(dataset, rows(dataset)[0], tmp_path / "b.jpg")
    assert command("trace", told) == 0
    shown = capsys.readouterr().out
    assert row["sample_id"] in shown and f"gansynth trace {told} OUTPUT" in shown
    assert command("trace", silent) == 1
    shown = capsys.readouterr().out
    assert "none stated" in shown and "by its sha256" in shown


def test_a_file_that_is_cut_off_still_says_its_sample(marked: Path, tmp_path: Path, capsys: Say) -> None:
    row = rows(marked)[0]
    image = _export(marked, row, tmp_path / "loose.jpg")
    image.write_bytes(image.read_bytes()[:800])
    code, said = _json(capsys, image, marked)
    assert (code, said["found"][0]["key"]) == (0, row["key"])


def test_a_rejected_sample_has_no_file_to_be_found(tmp_path: Path) -> None:
    folder = make_patchy(tmp_path / "patchy")
    rejected = next(row for row in rows(folder) if row["status"] == "rejected")
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (32, 32)).save(buffer, "JPEG")
    (tmp_path / "a.jpg").write_bytes(provenance.embed(buffer.getvalue(), "jpg", rejected["sample_id"]))
    assert command("trace", tmp_path / "a.jpg", folder) == 1


def test_a_dataset_without_classes_says_so(tmp_path: Path, capsys: Say) -> None:
    folder = _make(tmp_path / "plain", generator_options={"num_classes": 0}, classes=None)
    assert command("trace", _export(folder, rows(folder)[0], tmp_path / "a.jpg"), folder) == 0
    assert "none, the generator is unconditional" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["missing", "folder", "text", "empty", "no dataset", "second is no dataset"])
def test_bad_input_is_refused_in_one_line(what: str, marked: Path, tmp_path: Path, capsys: Say) -> None:
    image = _export(marked, rows(marked)[0], tmp_path / "a.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder").mkdir()
    arguments, said = {
        "missing": ([tmp_path / "none.jpg", marked], "there is no such file"),
        "folder": ([tmp_path / "folder", marked], "cannot be read"),
        "text": ([tmp_path / "text.jpg", marked], "is not an image"),
        "empty": ([tmp_path / "empty.jpg"], "is not an image"),
        "no dataset": ([image, tmp_path], "no dataset of gansynth"),
        "second is no dataset": ([image, marked, tmp_path / "none"], "no dataset of gansynth"),
    }[what]
    assert command("trace", *arguments) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_a_damaged_manifest_is_named(marked: Path, tmp_path: Path, capsys: Say) -> None:
    copy = Path(shutil.copytree(marked, tmp_path / "copy"))
    image = _export(marked, rows(marked)[0], tmp_path / "a.jpg")
    (copy / "train/000001.parquet").write_bytes(b"PAR1 nothing")
    assert command("trace", image, copy) == 1
    assert f"{copy}/train/000001.parquet: " in capsys.readouterr().err
    (copy / "train/000001.parquet").unlink()
    assert command("trace", image, copy) == 1
    assert "train/000001.parquet: is missing" in capsys.readouterr().err


def test_latents_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"num_classes": 0, "resolution": 8, "z_dim": 2048}
    changes = {"samples_per_shard": 100, "splits": {"train": 1.0}}
    folder = _make(tmp_path / "wide", **changes, generator_options=options, classes=None, truncation=1.0, seeds="0-99")
    image = _export(folder, rows(folder)[0], tmp_path / "a.jpg")
    opened, counts = Store.opened, []

    @contextmanager
    def counting(self: Store, path: str) -> Iterator[Any]:
        with opened(self, path) as file:
            read = file.read
            yield SimpleNamespace(
                read=lambda *size: counts.append(len(data := read(*size))) or data,
                seek=file.seek,
                tell=file.tell,
                close=file.close,
                closed=False,
            )

    monkeypatch.setattr(Store, "opened", counting)
    assert command("trace", image, folder) == 0
    assert 0 < 4 * sum(counts) < (folder / "train/000000.parquet").stat().st_size


@pytest.mark.parametrize("format_name", ["png", "webp"])
def test_other_formats_are_found_too(format_name: str, tmp_path: Path, capsys: Say) -> None:
    folder = _make(tmp_path / "dataset", image={"format": format_name}, seeds="0-9")
    row = rows(folder)[4]
    image = _export(folder, row, tmp_path / f"loose.{format_name}")
    assert hashlib.sha256(image.read_bytes()).hexdigest() == row["image_sha256"]
    assert command("trace", image, folder) == 0
    assert row["key"] in capsys.readouterr().out


def test_files_with_the_same_bytes_are_all_listed(make: Callable[..., Path], tmp_path: Path, capsys: Say) -> None:
    """As of a collapsed generator."""
    changes = {"generator": f"{__name__}:collapsed", "classes": [0], "truncation": 1.0, "seeds": "0-29"}
    recipe = {"name": "same", "splits": {"train": 1.0}, "output": str(tmp_path / "out"), **changes}
    gansynth.generate(gansynth.Recipe(**recipe), device="cpu", allow_code=True)
    image = _export(tmp_path / "out", rows(tmp_path / "out")[0], tmp_path / "a.jpg")
    assert command("trace", image, tmp_path / "out") == 0
    assert "and 20 more" in capsys.readouterr().out
    assert len(_json(capsys, image, tmp_path / "out")[1]["found"]) == 30


def collapsed(device: str, precision: str) -> Any:
    """Factory of a generator that gives one image, whatever it is asked for."""
    import torch

    from gansynth.generators import fake

    class Collapsed(fake.FakeGenerator):
        def sample(self, z: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
            return torch.arange(32 * 32 * 3).to(torch.uint8).reshape(1, 32, 32, 3).repeat(len(z), 1, 1, 1)

    return Collapsed(fake.describe({"resolution": 32}))
