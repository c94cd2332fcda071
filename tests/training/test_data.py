"""Images to train on: every form that users keep them in, and what is done about those that cannot be used."""

from __future__ import annotations

import gc
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import images_on_disk
import numpy as np
import PIL.Image
import pytest
from images_on_disk import FORMS, encoded, picture

import gansynth
from gansynth.errors import InputError
from gansynth.recipe import Recipe
from gansynth.training.images import Summary, prepare, read_all
from gansynth.training.sources import open_source, state_of


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images_and_labels(form: str, tmp_path: Path) -> None:
    source = open_source(FORMS[form](tmp_path))
    images, labels = read_all(source, 12)
    expected = [picture(label, number) for label in range(2) for number in range(10)]
    if form == "idx":
        expected = [np.repeat(image[:, :, :1], 3, axis=2) for image in expected]
    assert len(source.classes) == 2
    assert Counter(labels.tolist()) == {0: 10, 1: 10}
    wanted = {(i // 10, image.tobytes()) for i, image in enumerate(expected)}
    assert {(int(label), image.tobytes()) for label, image in zip(labels, images, strict=True)} == wanted


@pytest.mark.parametrize("form", ["folder", "zip", "shards"])
def test_classes_have_the_names_that_they_have_there(form: str, tmp_path: Path) -> None:
    assert open_source(FORMS[form](tmp_path)).classes == images_on_disk.CLASSES


def test_names_can_be_given_to_numbers(tmp_path: Path) -> None:
    path = images_on_disk.idx(tmp_path / "i", packed=False)
    assert open_source(path, ["Bag", "Coat"]).classes == ("Bag", "Coat")
    assert open_source(path / "train-images-idx3-ubyte").classes == ("class 0", "class 1")
    for names in (["Bag"], ["Bag", "Bag"]):
        with pytest.raises(InputError, match="class_names"):
            open_source(path, names)


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    source = open_source(images_on_disk.folder(tmp_path / "f", flat=True))
    assert source.classes == ()
    assert source.count == 20


def test_a_dataset_of_gansynth_is_data_too(tmp_path: Path) -> None:
    recipe = Recipe(name="d", generator="fashion-32", classes=["Bag", "Coat"], seeds="0-9", output=str(tmp_path / "d"))
    gansynth.generate(recipe, device="cpu")
    source = open_source(tmp_path / "d")
    images, labels = read_all(source, 32)
    assert (source.classes, images.shape) == (("Coat", "Bag"), (20, 32, 32, 3))
    assert Counter(labels.tolist()) == {0: 10, 1: 10}


def test_images_become_central_squares(tmp_path: Path) -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = 200
    (tmp_path / "a.png").write_bytes(encoded(wide))
    (tmp_path / "b.jpg").write_bytes(encoded(wide[:, :, 0], "JPEG"))
    images, _ = read_all(open_source(tmp_path), 16)
    assert images.shape == (2, 16, 16, 3)
    assert (np.abs(images.astype(int) - 200) < 6).all()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds nothing."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9))]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


DAMAGED = {
    "empty.png": b"",
    "half.jpg": encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), "JPEG")[:900],
    "text.png": b"not an image at all",
    "huge.png": png_header(30_000, 30_000),
    "dot.png": encoded(np.zeros((1, 1, 3), np.uint8)),
}
REASONS = {"empty": "empty", "half": "truncated", "text": "no image", "huge": "pixels allowed", "dot": "1 x 1"}


def test_unusable_images_are_left_out_and_listed(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f", count=80)
    for name, data in DAMAGED.items():
        (place / "red" / name).write_bytes(data)
    images = prepare(open_source(place), 16, tmp_path / "work")
    assert images.summary.classes == {"blue": 80, "red": 80}
    assert images.pixels.shape == (160, 16, 16, 3)
    found = {Path(item.name).name: item.reason for item in images.summary.skipped}
    assert found.keys() == DAMAGED.keys()
    for name, reason in REASONS.items():
        assert reason in next(value for key, value in found.items() if key.startswith(name))


def test_too_many_unusable_images_are_refused(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f", count=20)
    for name, data in DAMAGED.items():
        (place / "red" / name).write_bytes(data)
    with pytest.raises(InputError, match=r"5 of 45 images cannot be used .*max_skipped"):
        prepare(open_source(place), 16, tmp_path / "work")
    assert len(prepare(open_source(place), 16, tmp_path / "more", max_skipped=0.2).labels) == 40


def test_images_are_prepared_once_as_long_as_the_data_stay_the_same(tmp_path: Path) -> None:
    place, read = images_on_disk.folder(tmp_path / "f"), list[int]()

    def images(resolution: int = 16, names: list[str] | None = None) -> Summary:
        source = open_source(place, names)
        return prepare(source, resolution, tmp_path / "work", 0, read.append, state_of(place)).summary

    assert images() == images()
    assert len(read) == 20
    assert list(images(names=["b", "r"]).classes) == ["b", "r"]
    assert images(8).resolution == 8
    (place / "red" / "red-00.png").unlink()
    assert images(8).images == 19


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pixels of zeros": lambda work: zeroed(work / "pixels.bin"),
    "pixels cut off": lambda work: (work / "pixels.bin").write_bytes(b"cut"),
    "no pixels": lambda work: (work / "pixels.bin").unlink(),
    "labels of zeros": lambda work: zeroed(work / "labels.npy"),
    "other labels": lambda work: np.save(work / "labels.npy", np.zeros(20, np.int64)),
    "no labels": lambda work: (work / "labels.npy").write_bytes(b""),
    "no summary": lambda work: (work / "summary.json").write_bytes(b""),
    "another summary": lambda work: (work / "summary.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_images_that_a_power_cut_damaged_are_decoded_again(damage: str, tmp_path: Path) -> None:
    source = open_source(images_on_disk.folder(tmp_path / "f"))
    work = tmp_path / "work"
    before = prepare(source, 16, work, state="same")
    expected = before.pixels.copy(), before.labels
    DAMAGES[damage](work)
    after = prepare(source, 16, work, state="same")
    assert (after.pixels == expected[0]).all() and (after.labels == expected[1]).all()
    assert after.summary == before.summary


def test_phones_turn_pictures_by_a_note_in_the_file(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8] = 200
    PIL.Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    images, _ = read_all(open_source(tmp_path), 16)
    assert (images[0] == np.rot90(image, -1)).all()


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 4), np.uint8)
    image[..., 3] = 0
    PIL.Image.fromarray(image).save(tmp_path / "a.png")
    assert (read_all(open_source(tmp_path), 16)[0] == 255).all()


def test_class_folders_may_be_links_and_hidden_ones_are_none(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f")
    (place / "red").rename(tmp_path / "elsewhere")
    (place / "red").symlink_to(tmp_path / "elsewhere")
    (place / "blue" / "up").symlink_to(place)  # a circle
    hidden = place / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "a.png").write_bytes(encoded(picture(0, 0)))
    source = open_source(place)
    assert (source.classes, source.count) == (("blue", "red"), 20)


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    for part in ("train", "val"):
        images_on_disk.folder(tmp_path / "f" / part)
    with pytest.raises(InputError, match=r"holds train, val, which are parts .*; give the folder of one part"):
        open_source(tmp_path / "f")
    assert open_source(tmp_path / "f" / "train").classes == ("blue", "red")


def tar(path: Path, samples: list[dict[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for number, members in enumerate(samples):
            for suffix, data in {"png": encoded(picture(0, number)), **members}.items():
                entry = tarfile.TarInfo(f"{number:04d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return path


def test_classes_of_shards_may_be_names_alone(tmp_path: Path) -> None:
    named = [{"json": json.dumps({"class_name": name}).encode()} for name in ("red", "blue", "red")]
    source = open_source(tar(tmp_path / "a.tar", named))
    assert (source.classes, read_all(source, 12)[1].tolist()) == (("blue", "red"), [1, 0, 1])


def test_classes_of_shards_that_share_a_name_stay_apart(tmp_path: Path) -> None:
    cranes = [{"json": b'{"class_name": "crane"}', "cls": str(number).encode()} for number in (134, 517)]
    source = open_source(tar(tmp_path / "a.tar", cranes))
    assert source.classes == ("crane (134)", "crane (517)")


def test_a_sample_without_a_class_among_others_is_left_out(tmp_path: Path) -> None:
    samples: list[dict[str, bytes]] = [{"cls": b"0"}, {"json": b"[1]"}, {"cls": b"1"}]
    images = prepare(open_source(tar(tmp_path / "a.tar", samples)), 12, tmp_path / "work", 0.5)
    assert [(item.name, item.reason) for item in images.summary.skipped] == [
        ("0001", "no class, unlike other samples"),
    ]
    assert images.labels.tolist() == [0, 1]


def test_a_tar_of_class_folders_is_refused_and_not_taken_for_one_class(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(place, arcname="photos")
    with pytest.raises(InputError, match=r'in 2 folders \("photos/blue", "photos/red"\).* unpack it or make it a zip'):
        open_source(tmp_path / "photos.tar")
    with tarfile.open(tmp_path / "flat.tar", "w") as archive:
        archive.add(place / "red", arcname="photos")
    assert open_source(tmp_path / "flat.tar").count == 10


@pytest.mark.parametrize("place", ["", "train"])
def test_a_tar_beside_class_folders_is_refused(place: str, tmp_path: Path) -> None:
    images_on_disk.folder(tmp_path / "f")
    (tmp_path / "f" / place).mkdir(exist_ok=True)
    tar(tmp_path / "f" / place / "backup.tar", [{}, {}])
    with pytest.raises(
        InputError, match=r'tar files \("backup.tar"\) and images in sub-folders .*move the tar files out'
    ):
        open_source(tmp_path / "f")


def unreadable(place: Path, form: str, content: str) -> Path:
    """Class folders red and blue, and one `green` without an image that can be read."""
    images_on_disk.folder(place)
    (place / "green").mkdir()
    if content:
        (place / "green" / content).write_bytes(b"content")
    if form == "folder":
        return place
    path = place.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(place.rglob("*")):
            archive.write(file, f"images/{file.relative_to(place)}")
    return path


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("content", "said"), [("a.HEIC", "1 .heic"), ("notes.txt", "1 .txt"), ("", "no file")])
def test_a_class_does_not_vanish_because_its_images_cannot_be_read(
    form: str, content: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf'green" among its classes, and in it no image .* {said}; convert'):
        open_source(unreadable(tmp_path / "f", form, content))


def test_a_single_class_beside_which_another_has_no_image_is_refused(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f")
    for path in (place / "red").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(InputError, match=r'"red" among its classes, and in it no image .* 10 \.heic'):
        open_source(place)


def test_a_class_of_damaged_images_alone_is_refused(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f", count=40)
    for path in (place / "red").iterdir():
        path.unlink()
    (place / "red" / "bad.jpg").write_bytes(b"junk")
    with pytest.raises(
        InputError, match=r'no image of the class "red" can be used \(red/bad.jpg: no image, or damaged'
    ):
        prepare(open_source(place), 16, tmp_path / "work")


def test_files_that_look_like_images_and_are_not_read_count_as_left_out(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f")
    (place / "red" / "a.heic").write_bytes(b"heic")
    (place / "red" / "gone.png").symlink_to(tmp_path / "nowhere")
    (place / "red" / "notes.txt").write_text("no image to anybody")
    state_of(place)
    source = open_source(place)
    with pytest.raises(InputError, match="2 of 22 images cannot be used"):
        prepare(source, 16, tmp_path / "work")
    found = prepare(source, 16, tmp_path / "work", max_skipped=0.1).summary
    assert [(item.name, item.reason) for item in found.skipped] == [
        ("red/gone.png", "a link to nothing"),
        ("red/a.heic", ".heic is not read; convert it to JPEG or PNG"),
    ]


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "jfif"])
def test_less_usual_endings_are_read(suffix: str, tmp_path: Path) -> None:
    image = picture(0, 0)[:, :, 0] if suffix == "pgm" else picture(0, 0)
    for number in range(2):
        data = encoded(image, "JPEG" if suffix == "jfif" else "PPM")
        (tmp_path / f"{number}.{suffix}").write_bytes(data)
    assert len(read_all(open_source(tmp_path), 12)[0]) == 2


def test_names_that_are_no_unicode_are_told_before_anything_is_decoded(tmp_path: Path) -> None:
    place = images_on_disk.folder(tmp_path / "f", count=20)
    bad = os.fsdecode(b"b\xe9e")
    (place / "red" / f"{bad}.png").write_bytes(b"junk")
    (skipped,) = prepare(open_source(place), 16, tmp_path / "work").summary.skipped
    assert skipped.name == "red/b?e.png"
    (place / "red").rename(place / bad)
    with pytest.raises(InputError, match=r'the class "b\\udce9e", whose name is no valid Unicode .*rename it'):
        open_source(place)
    assert open_source(place, ["red", "blue"]).classes == ("red", "blue")


def test_pixels_of_unknown_range_are_left_out_with_the_reason(tmp_path: Path) -> None:
    for name, dtype in (("whole", np.int32), ("decimal", np.float32)):
        PIL.Image.fromarray(np.full((16, 16), 200, dtype)).save(tmp_path / f"{name}.tif")
    deep = np.full((8, 8), 200 << 8, ">u2").tobytes()
    (tmp_path / "deep.pgm").write_bytes(b"P5 8 8 65535 " + deep)
    PIL.Image.fromarray(np.full((8, 8), 200 << 8, np.uint16)).save(tmp_path / "deep.png")
    images = prepare(open_source(tmp_path), 8, tmp_path / "work", max_skipped=0.5)
    assert (images.pixels == 200).all() and len(images.pixels) == 2
    reasons = {item.name: item.reason for item in images.summary.skipped}
    assert "decimal numbers" in reasons["decimal.tif"] and "32 bits" in reasons["whole.tif"]


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:\\evil.png", "..\\evil.png"])
def test_an_archive_that_reaches_outside_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/good.png", encoded(picture(0, 0)))
        archive.writestr(zipfile.ZipInfo(name), encoded(picture(0, 1)))
    with pytest.raises(InputError, match="outside"):
        open_source(path)


def broken(place: Path, what: str) -> Path:
    """A path that is no data."""
    path = place / what
    if what == "empty":
        path.mkdir()
    elif what == "stray":
        images_on_disk.folder(path)
        (path / "beside.png").write_bytes(encoded(picture(0, 0)))
    elif what == "text.txt":
        path.write_text("hello")
    elif what == "cut.zip":
        path.write_bytes(images_on_disk.zipped(place).read_bytes()[:-40])
    elif what == "floats.npz":
        np.savez(path, images=np.zeros((3, 8, 8), np.float32))
    elif what == "labels.npz":
        np.savez(path, images=np.zeros((3, 8, 8), np.uint8), labels=np.zeros(2, int))
    elif what == "objects.npz":
        np.savez(path, images=np.array([{}], dtype=object))
    elif what == "idx":
        images_on_disk.idx(path, packed=False)
        file = path / "train-images-idx3-ubyte"
        file.write_bytes(file.read_bytes()[:-5])
    elif what == "one.npz":
        with path.open("wb") as array:
            np.save(array, np.zeros(3))
    elif what == "tiny.npz":
        np.savez(path, images=np.zeros((3, 4, 4), np.uint8))
    elif what == "void":
        path.mkdir()
        (path / "train-images-idx3-ubyte").touch()
    elif what == "short.tar":
        path.write_bytes(b"\0" * 100)
    return path


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves a damaged tar open
@pytest.mark.parametrize(
    "what",
    [
        *("absent", "empty", "stray", "text.txt", "cut.zip", "floats.npz", "labels.npz", "objects.npz"),
        *("one.npz", "tiny.npz", "idx", "void", "short.tar"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data: ") as caught:
        source = open_source(broken(tmp_path, what))
        prepare(source, 16, tmp_path / "work")
    message = str(caught.value)
    del caught
    gc.collect()  # while the warning about the file is ignored
    assert "\n" not in message


def test_an_image_of_a_file_with_alpha_or_a_palette_is_colour(tmp_path: Path) -> None:
    image = PIL.Image.fromarray(picture(1, 0))
    for number, mode in enumerate(("RGBA", "P", "L", "1", "CMYK", "I;16")):
        buffer = io.BytesIO()
        source = (
            image.convert("L").point(lambda v: v * 256, "I").convert("I;16") if mode == "I;16" else image.convert(mode)
        )
        source.save(buffer, "TIFF")
        (tmp_path / f"{number}.tif").write_bytes(buffer.getvalue())
    images, _ = read_all(open_source(tmp_path), 12)
    assert images.shape == (6, 12, 12, 3)
    assert np.abs(images[0].astype(int) - picture(1, 0)).max() == 0
    grey = np.asarray(image.convert("L"))
    assert np.abs(images[5][:, :, 0].astype(int) - grey).max() <= 1
