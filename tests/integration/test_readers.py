"""Datasets load unmodified in the libraries that train on them, and every sample agrees with its manifest row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.dataset
import pytest
import webdataset
import wids
import yaml
from conftest import SMALL
from ruamel.yaml import YAML

import gansynth

from . import agrees, make_patchy, members, rows

_FEW = {"seeds": "0-19"}
_FORMATS = [
    {"format": "jpg", "quality": 90},
    {"format": "png"},
    {"format": "webp"},
    {"format": "webp", "lossless": True},
]


@pytest.fixture(scope="module", params=_FORMATS, ids=lambda image: "-".join(map(str, image.values())))
def formatted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of each image format, with XMP in its images."""
    folder = tmp_path_factory.mktemp("formatted") / "dataset"
    changes = {**_FEW, "image": request.param, "provenance": True, "output": str(folder)}
    gansynth.generate(gansynth.Recipe(**{**SMALL, **changes}), device="cpu")
    return folder


def _tars(folder: Path, split: str) -> list[str]:
    return [str(path) for path in sorted(folder.glob(f"{split}/*.tar"))]


def _require_every_sample(folder: Path, split: str, samples: list[tuple[str, bytes, int]]) -> None:
    """That (key, image, label) of each sample, in any order, are what the manifest says of it."""
    expected = {row["key"]: row for row in rows(folder, split) if row["status"] == "ok"}
    assert sorted(key for key, _, _ in samples) == sorted(expected)
    assert [key for key, image, label in samples if not agrees(expected[key], image, label)] == []


def _with_webdataset(folder: Path, split: str) -> list[tuple[str, bytes, int]]:
    stream = webdataset.WebDataset(_tars(folder, split), shardshuffle=False)
    return [
        (sample["__key__"], sample.get("jpg") or sample.get("png") or sample["webp"], int(sample["cls"]))
        for sample in stream
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("generator", {"Sneaker": 7, "Ankle boot": 9, "Bag": 8}),
        ("dense", {"Sneaker": 0, "Ankle boot": 1, "Bag": 2}),
        ({"Bag": 5, 9: 0, "sneaker": 5}, {"Sneaker": 5, "Ankle boot": 0, "Bag": 5}),
    ],
    ids=["generator", "dense", "mapping"],
)
def test_webdataset_reads_labels(labels: Any, expected: dict[str, int], make: Callable[..., Path]) -> None:
    folder = make(**_FEW, labels=labels)
    for split in ("train", "val"):
        _require_every_sample(folder, split, _with_webdataset(folder, split))
    assert {(row["class_name"], row["label"]) for row in rows(folder)} == set(expected.items())


def test_webdataset_reads_every_image_format(formatted: Path) -> None:
    for split in ("train", "val"):
        _require_every_sample(formatted, split, _with_webdataset(formatted, split))
    decoded = webdataset.WebDataset(_tars(formatted, "train"), shardshuffle=False).decode("rgb8")
    for pixels, label, caption, about in decoded.to_tuple("jpg;png;webp", "cls", "txt", "json"):
        assert (pixels.shape, pixels.dtype) == ((32, 32, 3), "uint8")
        assert (about["class_index"], about["class_name"]) == (label, caption)


def test_webdataset_reads_an_unconditional_dataset(make: Callable[..., Path]) -> None:
    folder = make(**_FEW, generator="fake", generator_options={"num_classes": 0}, classes=None)
    _require_every_sample(folder, "train", _with_webdataset(folder, "train"))
    for sample in webdataset.WebDataset(_tars(folder, "train"), shardshuffle=False):
        assert (sample["cls"], sample["txt"]) == (b"0", b"small")
        assert json.loads(sample["json"])["class_index"] is None
    assert {(row["class_index"], row["class_name"], row["wnid"], row["label"]) for row in rows(folder)} == {
        (None, None, None, 0)
    }


def test_webdataset_reads_no_rejected_sample(tmp_path: Path) -> None:
    folder = make_patchy(tmp_path)
    _require_every_sample(folder, "train", _with_webdataset(folder, "train"))
    rejected = [row for row in rows(folder) if row["status"] == "rejected"]
    assert {row["seed"] for row in rejected} == set(range(0, 20, 3))
    assert {(row["reason"], row["image_offset"], row["image_sha256"]) for row in rejected} == {
        ("constant image", None, None)
    }


def test_hugging_face_datasets_reads_both_splits(formatted: Path, tmp_path: Path) -> None:
    column = rows(formatted)[0]["format"]
    loaded = datasets.load_dataset(str(formatted), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "val"}
    for split, samples in loaded.items():
        assert set(samples.column_names) == {column, "cls", "txt", "json", "__key__", "__url__"}
        assert samples[0][column].size == (32, 32)
        raw = samples.cast_column(column, datasets.Image(decode=False))
        _require_every_sample(formatted, split, [(s["__key__"], s[column]["bytes"], s["cls"]) for s in raw])
        assert all(s["json"]["class_name"] == s["txt"] for s in raw)


def test_hugging_face_datasets_reads_a_single_shard_and_no_classes(make: Callable[..., Path], tmp_path: Path) -> None:
    """One shard beside its sizes.json is where guessing the format from file names would go wrong."""
    changes = {"generator": "fake", "generator_options": {"num_classes": 0}, "classes": None, "splits": {"train": 1.0}}
    folder = make(**_FEW, **changes)
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train"}
    raw = loaded["train"].cast_column("jpg", datasets.Image(decode=False))
    _require_every_sample(folder, "train", [(s["__key__"], s["jpg"]["bytes"], s["cls"]) for s in raw])


@pytest.mark.parametrize("split", ["train", "val"])
def test_wids_reads_by_index(split: str, dataset: Path, tmp_path: Path) -> None:
    samples = wids.ShardListDataset(
        str(dataset / f"{split}.index.json"), cache_dir=str(tmp_path), keep=True, transformations=[]
    )
    raw = [samples[index] for index in range(len(samples))]
    _require_every_sample(dataset, split, [(s["__key__"], s[".jpg"].read(), int(s[".cls"].read())) for s in raw])
    decoded = wids.ShardListDataset(str(dataset / f"{split}.index.json"), cache_dir=str(tmp_path / "d"), keep=True)
    assert decoded[len(decoded) - 1][".jpg"].size == (32, 32)


def test_wids_sizes_are_those_of_the_files(dataset: Path) -> None:
    for split in ("train", "val"):
        index = json.loads((dataset / f"{split}.index.json").read_text())
        assert (index["__kind__"], index["wids_version"]) == ("wids-shard-index-v1", 1)
        for shard in index["shardlist"]:
            assert shard["filesize"] == (dataset / shard["url"]).stat().st_size


@pytest.mark.parametrize("split", ["train", "val"])
def test_open_clip_finds_the_number_of_samples(split: str, dataset: Path) -> None:
    """As `get_dataset_size` of open_clip does it: sizes.json beside the shards, looked up by each shard's file name."""
    tars = _tars(dataset, split)
    sizes = json.loads((Path(tars[0]).parent / "sizes.json").read_text())
    assert sum(int(sizes[Path(tar).name]) for tar in tars) == len(rows(dataset, split))
    for tar in tars:
        assert sizes[Path(tar).name] == _samples_in(Path(tar))
        captions = [data for name, data in members(Path(tar)).items() if name.endswith(".txt")]
        assert all(captions)  # open_clip drops samples without a caption


def _samples_in(tar: Path) -> int:
    return sum(name.endswith(".cls") for name in members(tar))


def test_timm_finds_its_info(dataset: Path) -> None:
    _require_timm_contract(dataset)


def test_index_files_do_not_count_rejected_samples(tmp_path: Path) -> None:
    folder = make_patchy(tmp_path)
    _require_timm_contract(folder)
    for split in ("train", "val"):
        index = json.loads((folder / f"{split}.index.json").read_text())["shardlist"]
        sizes = json.loads((folder / split / "sizes.json").read_text())
        assert [shard["nsamples"] for shard in index] == [_samples_in(folder / shard["url"]) for shard in index]
        assert sizes == {Path(shard["url"]).name: shard["nsamples"] for shard in index}


def _require_timm_contract(folder: Path) -> None:
    splits = json.loads((folder / "_info.json").read_text())["splits"]
    assert set(splits) == {"train", "val"}
    for split, info in splits.items():
        assert set(info) == {"name", "num_samples", "filenames", "shard_lengths"}
        assert info["name"] == split
        assert [str(folder / name) for name in info["filenames"]] == _tars(folder, split)
        assert info["shard_lengths"] == [_samples_in(folder / name) for name in info["filenames"]]
        assert info["num_samples"] == sum(info["shard_lengths"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_timm_reads_every_sample(split: str, dataset: Path) -> None:
    readers = pytest.importorskip("timm.data.readers.reader_wds", exc_type=ImportError)
    reader = readers.ReaderWds(str(dataset), split=split, is_training=False)
    seen = [(image.size, int(label)) for image, label in reader]
    assert Counter(seen) == Counter(((row["width"], row["height"]), row["label"]) for row in rows(dataset, split))


def test_plain_parquet_tools_query_the_manifests(dataset: Path) -> None:
    for split in ("train", "val"):
        paths = sorted(map(str, dataset.glob(f"{split}/*.parquet")))
        table = pyarrow.dataset.dataset(paths).to_table(columns=["label", "key", "z"])
        counts = table.group_by("label").aggregate([("key", "count")]).to_pydict()
        labels = Counter(label for _, _, label in _with_webdataset(dataset, split))
        assert dict(zip(counts["label"], counts["key_count"], strict=True)) == labels
        assert table.schema.field("z").type == pa.list_(pa.float32(), 64)


def test_hugging_face_datasets_reads_the_manifests_when_asked_to(dataset: Path, tmp_path: Path) -> None:
    files = {split: str(dataset / split / "*.parquet") for split in ("train", "val")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))
    assert {row["key"] for split in loaded.values() for row in split} == {row["key"] for row in rows(dataset)}


def test_a_range_read_at_the_offset_in_the_manifest_gives_the_image(formatted: Path) -> None:
    for row in rows(formatted):
        with (formatted / row["split"] / f"{row['shard']:06d}.tar").open("rb") as tar:
            tar.seek(row["image_offset"])
            assert agrees(row, tar.read(row["image_bytes"]), row["label"])


def test_keys_say_where_a_sample_is(dataset: Path) -> None:
    for row in rows(dataset):
        assert row["key"] == f"{row['split']}-{row['shard']:06d}-{row['row']:06d}"
    for tar in dataset.glob("*/*.tar"):
        assert all(name.startswith(f"{tar.parent.name}-{tar.stem}-") for name in members(tar))


def test_members_of_a_sample_are_adjacent_and_complete(dataset: Path) -> None:
    for tar in dataset.glob("*/*.tar"):
        names = [name.partition(".") for name in members(tar)]
        keys = [f"{tar.parent.name}-{tar.stem}-{row:06d}" for row in range(len(names) // 4)]
        assert [key for key, _, _ in names] == [key for key in keys for _ in range(4)]
        assert [kind for _, _, kind in names] == ["jpg", "cls", "txt", "json"] * len(keys)


def test_no_latent_is_in_two_splits(dataset: Path) -> None:
    train, val = ({str(row["z"]) for row in rows(dataset, split)} for split in ("train", "val"))
    assert train
    assert val
    assert not train & val


def test_the_card_says_what_the_manifests_hold(dataset: Path) -> None:
    _, front, body = (dataset / "README.md").read_text().split("---\n", 2)
    configs = YAML(typ="safe").load(front)["configs"]
    assert [(entry["split"], entry["path"]) for entry in configs[0]["data_files"]] == [
        ("train", "train/*.tar"),
        ("val", "val/*.tar"),
    ]
    kept = rows(dataset)
    classes = Counter((row["label"], row["class_index"], row["class_name"]) for row in kept)
    lines = set(body.splitlines())
    assert len(classes) == 3
    assert {f"| {label} | {index} | {name} | {count} |" for (label, index, name), count in classes.items()} <= lines
    truncations = Counter(row["truncation"] for row in kept)
    assert {f"| {value!r} | {count} |" for value, count in truncations.items()} <= lines
    splits = Counter(row["split"] for row in kept)
    assert {f"| train | 4 | {splits['train']} |", f"| val | 1 | {splits['val']} |"} <= lines


def test_recipe_yaml_means_the_same_to_readers_of_old_and_new_yaml(dataset: Path) -> None:
    """PyYAML reads YAML 1.1, where 4:4:4 is a number to the base of 60."""
    text = (dataset / "recipe.yaml").read_text()
    assert yaml.safe_load(text) == YAML(typ="safe", pure=True).load(text)


def test_the_example_in_the_card_works(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (dataset / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    monkeypatch.chdir(dataset)
    exec(code, names)
    first, row = next(iter(names["dataset"])), rows(dataset, "train")[0]
    assert (first[0].shape, first[1]) == ((row["height"], row["width"], 3), row["label"])


def test_image_digests_are_those_of_the_members(dataset: Path) -> None:
    found = {
        name.partition(".")[0]: hashlib.sha256(data).hexdigest()
        for tar in dataset.glob("*/*.tar")
        for name, data in members(tar).items()
        if name.endswith(".jpg")
    }
    assert found == {row["key"]: row["image_sha256"] for row in rows(dataset)}
