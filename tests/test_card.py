"""The dataset card and its picture: true, small, the same every time, and no hindrance to verifying what they describe."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from conftest import SMALL

import gansynth
from gansynth import encode, provenance, samples
from gansynth.cli import run
from gansynth.dataset import Dataset
from gansynth.show import stored_image
from gansynth.store import Store

FAKE: dict[str, Any] = {"generator": "fake", "splits": {"train": 1.0}}
MANY_CLASSES = {**FAKE, "generator_options": {"num_classes": 25, "resolution": 16}, "classes": "all"}
UNCONDITIONAL = {**FAKE, "generator_options": {"num_classes": 0}, "classes": None}


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A dataset that may be altered."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def command(*arguments: str | Path) -> int:
    return run([str(argument) for argument in arguments])


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def picture_of(folder: Path) -> PIL.Image.Image:
    with PIL.Image.open(folder / "samples.jpg") as image:
        image.load()
        return image


# The picture


@pytest.mark.parametrize(
    ("changes", "across", "down"),
    [
        ({}, 10, 3),
        ({**MANY_CLASSES, "truncation": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]}, 10, 10),
        ({**MANY_CLASSES, "truncation": 1.0}, 10, 10),
        ({**UNCONDITIONAL, "truncation": [0.5, 1.0]}, 10, 2),
        ({"classes": [7], "truncation": 0.5}, 10, 1),
    ],
    ids=["classes by truncations", "many of both", "many classes", "unconditional", "one class"],
)
def test_the_picture_is_a_small_sheet(
    changes: dict[str, Any], across: int, down: int, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[samples.Sheet] = []
    jpg = samples.Sheet.jpg
    monkeypatch.setattr(samples.Sheet, "jpg", lambda self, quality: drawn.append(self) or jpg(self, quality))
    folder = make(seeds="0-29", **changes)
    (sheet,) = drawn
    assert [len(row) for row in sheet.images] == [across] * down
    assert all(image is not None for row in sheet.images for image in row)
    assert picture_of(folder).format == "JPEG"
    assert (folder / "samples.jpg").stat().st_size < 400_000
    assert "![Samples of the dataset](samples.jpg)" in card_of(folder)
    assert command("verify", folder) == 0


def test_it_shows_stored_images_under_their_class_and_truncation(dataset: Path) -> None:
    opened = Dataset.open(str(dataset))
    shown = np.asarray(picture_of(dataset)).astype(int)
    table = _rows(dataset)
    size, margin = 64, shown.shape[1] - 10 * (64 + 4)
    for line, index in enumerate((7, 9, 8)):
        for group, truncation in enumerate((0.4, 1.0)):
            cell = [row for row in table if (row["class_index"], row["truncation"]) == (index, truncation)]
            for place, row in enumerate(cell[:5]):
                image = encode.decode(stored_image(opened, row) or b"").repeat(2, axis=0).repeat(2, axis=1)
                top, left = 18 + line * (size + 4), margin + (group * 5 + place) * (size + 4)
                assert np.abs(shown[top : top + size, left : left + size] - image).mean() < 8


def _rows(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    paths = [path for split in ("train", "val") for path in sorted(folder.glob(f"{split}/*.parquet"))]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_large_images_are_shrunk_and_the_picture_of_marked_ones_is_marked(make: Callable[..., Path]) -> None:
    options = {"num_classes": 0, "resolution": 256}
    folder = make(**{**UNCONDITIONAL, "generator_options": options}, seeds="0-11", truncation=1.0)
    assert picture_of(folder).width < 10 * 101 + 150
    data = (folder / "samples.jpg").read_bytes()
    assert (provenance.says_synthetic(data), provenance.read(data)) == (True, None)
    assert command("trace", folder / "samples.jpg", folder) == 1  # it is of no single sample


def test_the_same_dataset_has_the_same_picture(make: Callable[..., Path]) -> None:
    first, second = make("first", seeds="0-19"), make("second", seeds="0-19")
    assert (first / "samples.jpg").read_bytes() == (second / "samples.jpg").read_bytes()
    assert card_of(first) == card_of(second)


def test_drawing_reads_no_more_of_a_dataset_of_many_shards(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, opened_file, paths = Store.read, Store.opened, []
    monkeypatch.setattr(Store, "read", lambda self, path, *part: paths.append(path) or read(self, path, *part))
    monkeypatch.setattr(Store, "opened", lambda self, path: paths.append(path) or opened_file(self, path))
    folder = make(samples_per_shard=2, seeds="0-9", truncation=1.0, classes=[7, 8, 9, 1, 2, 3], splits={"train": 1.0})
    opened = Dataset.open(str(folder))
    paths.clear()
    assert samples.draw(opened.store, opened.record.recipe, opened.done())
    assert len(list(folder.glob("train/*.tar"))) == 30
    assert len({path for path in paths if path.endswith(".parquet")}) == 20
    assert len([path for path in paths if path.endswith(".tar")]) == 40


def test_a_dataset_without_an_image_has_no_picture(tmp_path: Path) -> None:
    changes = {"generator": "integration:blank", "classes": [7], "seeds": "0-19", "output": str(tmp_path / "out")}
    gansynth.generate(gansynth.Recipe(**{**SMALL, **changes}), device="cpu", allow_code=True)
    assert not (tmp_path / "out/samples.jpg").exists()
    assert "samples.jpg" not in card_of(tmp_path / "out")
    assert "40 were rejected" in card_of(tmp_path / "out")
    assert command("verify", tmp_path / "out") == 0


def test_a_picture_of_damaged_images_is_not_drawn(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (copy / "samples.jpg").read_bytes()
    (copy / "samples.jpg").unlink()
    whole = (copy / "train/000000.tar").read_bytes()
    (copy / "train/000000.tar").write_bytes(whole[:512] + bytes(len(whole) - 512))
    assert command("finalize", copy) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "gansynth repair" in message
    assert command("repair", copy, "--device", "cpu") == 0
    assert (copy / "samples.jpg").read_bytes() == before


# What the card says


@pytest.mark.parametrize("mark", [True, False])
def test_what_it_tells_to_run_does_what_it_says(
    mark: bool, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(seeds="0-9", provenance=mark)
    monkeypatch.chdir(folder)
    told = [line for line in card_of(folder).splitlines() if line.startswith("gansynth ")]
    told += re.findall(r"`(gansynth (?:show|verify) [^`]*)`", card_of(folder))
    opened, row = Dataset.open(str(folder)), _rows(folder)[0]
    Path("../loose.jpg").write_bytes(stored_image(opened, row) or b"")
    assert {line.split()[1] for line in told} == {"generate", "trace", "show", "verify"}
    for line in told:
        words = shlex.split(line.replace("IMAGE", "../loose.jpg").replace("KEY", row["key"]))
        assert command(*words[1:]) == 0, line
    for path in folder.rglob("*"):
        if path.suffix in (".tar", ".parquet", ".jpg", ".md"):
            assert (folder.parent / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_it_tells_whether_images_are_marked(make: Callable[..., Path]) -> None:
    assert "trainedAlgorithmicMedia" in card_of(make("a", seeds="0-9", provenance=True))
    assert "carry no mark" in card_of(make("b", seeds="0-9"))


@pytest.mark.parametrize("splits", [{"train": 0.5, "val": 0.5}, {"val": 1.0}, {"test": 0.5, "val": 0.5}])
def test_its_code_reads_images(
    splits: dict[str, float], make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(seeds="0-9", splits=splits)
    code = re.search(r"```python\n(.*?)```", card_of(folder), re.DOTALL)
    assert code
    monkeypatch.chdir(folder)
    found: dict[str, Any] = {}
    exec(code[1], found)
    image, label = next(iter(found["dataset"]))
    assert image.shape == (32, 32, 3) and label in (7, 8, 9)


def test_it_says_what_a_user_must_know(dataset: Path) -> None:
    text = " ".join(card_of(dataset).split())
    for said in (
        "synthetic images of 3 classes, 32 x 32 pixels",
        "**MIT**",
        "inherit the biases",
        "Near-copies of training images are possible",
        "Labels say what the generator was asked for",
        "Not for evaluation",
        "say that they are synthetic",
    ):
        assert said in text


def test_that_of_an_unconditional_generator_has_no_classes_or_labels(make: Callable[..., Path]) -> None:
    text = card_of(make(**UNCONDITIONAL, seeds="0-9"))
    assert "| label |" not in text and "Labels say" not in text
    assert "20 synthetic images, 64 x 64 pixels" in text


def test_odd_class_names_do_not_break_its_tables(tmp_path: Path, make: Callable[..., Path]) -> None:
    bundled = Path(gansynth.__file__).parent / "generators/pretrained/fashion-32"
    shutil.copytree(bundled, tmp_path / "weights")
    about = json.loads((tmp_path / "weights/gansynth.json").read_text())
    about["labels"][7] = "either | or\nboth"
    (tmp_path / "weights/gansynth.json").write_text(json.dumps(about))
    folder = make(seeds="0-9", generator=str(tmp_path / "weights"), classes=[7], splits={"train": 1.0})
    assert "| 7 | 7 | either \\| or both | 20 |" in card_of(folder).splitlines()
    assert str(tmp_path) not in card_of(folder)


# Verifying


def seal(body: bytes, old: bytes, picture: bytes) -> bytes:
    """A card as another version would write it of the same shards."""
    content = json.loads(old.rpartition(b"<!-- gansynth: ")[2].removesuffix(b" -->\n"))
    content |= {"picture": hashlib.sha256(picture).hexdigest(), "card": hashlib.sha256(body).hexdigest()}
    return body + f"<!-- gansynth: {json.dumps(content)} -->\n".encode()


def test_a_card_and_a_picture_of_another_version_hold_good(copy: Path) -> None:
    written = (copy / "README.md").read_bytes()
    buffer = io.BytesIO()
    picture_of(copy).save(buffer, "JPEG", quality=50)
    (copy / "samples.jpg").write_bytes(buffer.getvalue())
    assert command("verify", copy) == 1
    body = written.rpartition(b"<!-- gansynth")[0].replace(b"## Limits", b"## Known limits")
    (copy / "README.md").write_bytes(seal(body, written, buffer.getvalue()))
    assert command("verify", copy) == 0
    assert command("finalize", copy) == 0
    assert b"## Limits" in (copy / "README.md").read_bytes()
    assert (copy / "samples.jpg").read_bytes() == buffer.getvalue()  # it need not be drawn again
    assert command("verify", copy) == 0


def test_a_card_of_other_shards_is_found(copy: Path, make: Callable[..., Path]) -> None:
    other = make("other", seeds="50-89")
    for name in ("README.md", "samples.jpg"):
        (copy / name).write_bytes((other / name).read_bytes())
    assert command("verify", copy) == 1


@pytest.mark.parametrize("end", [b"", b"<!-- gansynth: {} -->\n", b"<!-- gansynth: nothing\n"])
def test_a_card_that_lost_its_seal_is_found(end: bytes, copy: Path) -> None:
    path = copy / "README.md"
    path.write_bytes(path.read_bytes().rpartition(b"<!-- gansynth")[0] + end)
    assert command("verify", copy) == 1
    assert command("finalize", copy) == 0
    assert command("verify", copy) == 0


def test_a_dataset_from_before_there_were_pictures_is_whole(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = card_of(copy).split("---\n")[1]
    fingerprint = Dataset.open(str(copy)).record.fingerprint
    old = f"---\n{front}---\n\n# small\n\n240 synthetic images of 32 x 32 pixels, rendered by gansynth from a pretrained GAN.\n"
    (copy / "README.md").write_text(old + f"\n| | |\n|---|---|\n| fingerprint | `{fingerprint}` |\n")
    (copy / "samples.jpg").unlink()
    assert command("verify", copy) == 0
    (copy / "README.md").write_text(old)  # of which dataset, it does not say
    assert command("verify", copy) == 1
    capsys.readouterr()
    assert command("finalize", copy) == 0
    assert "index files and card written" in capsys.readouterr().out
    assert (copy / "samples.jpg").exists()
    assert command("verify", copy) == 0
