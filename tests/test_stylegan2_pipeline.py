"""StyleGAN2 snapshots in recipes: options, classes by name, styles and centres kept, licences shown, conversion."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors
import torch
from stylegan2_files import CONFIGS, SMALL, dumps, tensorflow, written

import gansynth
from gansynth.cli import run
from gansynth.errors import GansynthError, RecipeError, WeightsError
from gansynth.generators import describe
from gansynth.generators.stylegan2 import centers

CONDITIONAL = CONFIGS["conditional"]
ANIMALS = ["ant", "bee", "cat", "dog"]
SECRET = "somebody"  # in the path of the training data that `stylegan2_files.snapshot` writes

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GANSYNTH_CACHE", str(folder))
    return folder


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """A conditional snapshot whose classes have names."""
    path = written(CONDITIONAL, tmp_path, "animals.pkl")
    path.with_suffix(".labels.txt").write_text("\n".join(ANIMALS) + "\n")
    return path


@pytest.fixture
def make(animals: Path, tmp_path: Path) -> Make:
    """Makes a small dataset of bees and dogs, and returns its folder."""

    def made(output: str = "out", **keys: Any) -> Path:
        recipe = {"classes": ["bee", "dog"], "truncation": [0.5, 1, -0.3], "seeds": "0-9", **keys}
        folder = tmp_path / output
        gansynth.generate(
            gansynth.Recipe(name="bees", generator=str(animals), output=str(folder), **recipe), device="cpu"
        )
        return folder

    return made


def manifest(folder: Path) -> pa.Table:
    return pq.read_table(folder / "train/000000.parquet")


# Facts


def test_a_snapshot_describes_itself(animals: Path) -> None:
    info = describe(str(animals))
    assert (info.family, info.resolution, info.num_classes) == ("stylegan2", 16, 4)
    assert (info.z_dim, info.w_dim) == (CONDITIONAL.z_dim, CONDITIONAL.w_dim)
    assert info.latents[0] == "numpy_normal"
    assert [label.name for label in info.labels.classes] == ANIMALS


def test_classes_without_names_go_by_their_index(tmp_path: Path) -> None:
    labels = describe(str(written(CONDITIONAL, tmp_path))).labels
    assert labels.find(2).index == labels.find("class 2").index == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ant\nbee\n", "saw 2 names"),
        ("ant\n\ncat\ndog\n", "line 2 is empty"),
        ("", "saw 0 names"),
        (b"\xff\xfe", "as text"),
    ],
)
def test_class_names_that_do_not_fit_are_refused(animals: Path, text: str | bytes, said: str) -> None:
    animals.with_suffix(".labels.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WeightsError, match=rf"animals\.labels\.txt: .*{said}"):
        describe(str(animals))


def test_names_and_suffixes_as_other_systems_write_them(animals: Path) -> None:
    animals.with_suffix(".labels.txt").write_bytes(b"\xef\xbb\xbfant\r\nbee\r\ncat\r\ndog\r\n")
    shouted = animals.rename(animals.with_suffix(".PKL"))
    assert [label.name for label in describe(str(shouted)).labels.classes] == ["ant", "bee", "cat", "dog"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise_mod": "const"}, "noise_mod"),
        ({"noise_mode": "loud"}, "const or none or random"),
        ({"noise_mode": ["const"]}, "noise_mode"),
        ({"truncation_cutoff": 99}, "from 0 to 6"),
        ({"truncation_cutoff": True}, "truncation_cutoff"),
        ({"truncation_center": "class"}, "has no classes"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        describe(str(written(SMALL, tmp_path)), options)


def test_a_network_of_other_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="4 channels"):
        describe(str(written(replace(SMALL, img_channels=4), tmp_path)))


def test_models_info_says_what_is_in_the_file(animals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "info", str(animals), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    network: Any = gansynth.load_generator(str(animals))
    fixed = ("w_avg", "noise_const", "resample_filter")
    assert facts["parameters"] == sum(
        tensor.size for name, tensor in _tensors(animals).items() if not name.endswith(fixed)
    )
    assert facts["architecture"].startswith("StyleGAN2, skip, 2 mapping layers")
    assert "G_ema (used)" in facts["file"]
    assert facts["options"] == network.info.options
    assert run(["models", "info", str(animals)]) == 0
    shown = capsys.readouterr().out
    assert "research or evaluation" in shown
    assert SECRET not in shown
    assert all(len(line) <= 120 for line in shown.splitlines())


def test_models_info_knows_snapshots_of_tensorflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.pkl"
    path.write_bytes(dumps(tensorflow()))
    assert run(["models", "info", str(path)]) == 0
    assert "pickle of tensorflow: G, D, Gs (used)" in capsys.readouterr().out


# Datasets


def test_a_snapshot_is_a_generator_like_any_other(make: Make, animals: Path) -> None:
    table = manifest(make())
    assert table.num_rows == 60
    assert set(table["class_name"].to_pylist()) == {"bee", "dog"}
    for row in table.slice(0, 5).to_pylist():
        z = np.random.RandomState(row["seed"]).randn(1, CONDITIONAL.z_dim)
        assert row["z"] == z[0].astype(np.float32).tolist()


def test_the_manifest_keeps_the_style_before_truncation(make: Make, animals: Path) -> None:
    table = manifest(make(batch_size=7))
    generator: Any = gansynth.load_generator(str(animals))
    z, classes = (torch.tensor(table[name].to_pylist()) for name in ("z", "class_index"))
    w = np.array(table["w"].to_pylist(), np.float32)
    assert w.shape == (60, CONDITIONAL.w_dim)
    assert np.allclose(w, generator.styles(z, classes).numpy(), atol=1e-6)
    psi = torch.tensor(table["truncation"].to_pylist(), dtype=torch.float32)
    again = generator.sample_styles(torch.from_numpy(w), classes, psi)
    assert (again.int() - generator.sample(z, classes, psi).int()).abs().max() <= 1


def test_styles_are_those_of_the_rows_whatever_is_at_work(make: Make) -> None:
    table = manifest(make())
    by_latent: dict[tuple[int, int], set[tuple[float, ...]]] = {}
    for row in table.to_pylist():
        by_latent.setdefault((row["seed"], row["class_index"]), set()).add(tuple(np.round(row["w"], 5)))
    assert len(by_latent) == 20
    assert all(len(styles) == 1 for styles in by_latent.values()), "w depends on the truncation"


def test_a_sample_can_be_made_again(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(generator_options={"noise_mode": "random", "truncation_center": "class"})
    assert run(["show", str(folder), "train-000000-000013", "--device", "cpu"]) == 0
    assert "identical" in capsys.readouterr().out


def test_licences_are_in_receipt_card_and_manifest_and_local_paths_in_none(make: Make) -> None:
    folder = make()
    receipt = json.loads((folder / "train/000000_stats.json").read_text())
    card, metadata = (folder / "README.md").read_text(), manifest(folder).schema.metadata
    for text in (receipt["licence"], card, metadata[b"gansynth.licence"].decode()):
        assert "NVIDIA Source Code License, for non-commercial use" in text
    assert "not settled" in card
    assert "| generator | animals.pkl (" in card
    assert str(folder.parent) not in card
    for path in folder.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_what_is_known_of_faces_is_told_where_the_name_says_that_it_makes_them(tmp_path: Path) -> None:
    for name, known in (("stylegan2-ffhq-256.pkl", True), ("cats.pkl", False)):
        terms = describe(str(written(SMALL, tmp_path, name))).terms
        assert ("FFHQ" in " ".join(terms)) is known


# Centres of classes


def test_a_class_centre_is_the_mean_of_its_styles(animals: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator: Any = gansynth.load_generator(str(animals), options={"truncation_center": "class"})
    found = generator.centers([1, 3])
    z = np.random.RandomState(0).randn(centers.SAMPLES, CONDITIONAL.z_dim).astype(np.float32)
    for center, label in zip(found, (1, 3), strict=True):
        styles = generator.styles(torch.from_numpy(z), torch.full([len(z)], label))
        assert np.allclose(center, styles.double().mean(dim=0).numpy(), atol=1e-5)
    assert gansynth.load_generator(str(animals)).centers([1]) is None


def test_class_centres_are_computed_once_kept_and_recorded(
    make: Make, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_class = {"generator_options": {"truncation_center": "class"}}
    first = make("first", **by_class)
    recorded = pq.read_table(first / "truncation_centers.parquet").to_pylist()
    assert [row["class_name"] for row in recorded] == ["bee", "dog"]
    assert len(list((cache / "centers").iterdir())) == 2
    monkeypatch.setattr(centers, "_mean_style", lambda *arguments: pytest.fail("computed again"))
    second = make("second", **by_class)
    assert _files(first) == _files(second)
    assert not (make("global") / "truncation_centers.parquet").exists()


def test_a_damaged_cache_of_centres_is_made_again(make: Make, cache: Path) -> None:
    by_class = {"generator_options": {"truncation_center": "class"}}
    first = make("first", **by_class)
    for number, path in enumerate(sorted((cache / "centers").iterdir())):
        buffer = io.BytesIO()
        np.save(buffer, np.array([float("nan")] * CONDITIONAL.w_dim, np.float32))
        path.write_bytes(buffer.getvalue() if number else path.read_bytes()[:-3])
    assert _files(first) == _files(make("second", **by_class))


def _files(folder: Path) -> dict[str, bytes]:
    names = ("train/000000.tar", "train/000000.parquet", "truncation_centers.parquet")
    return {name: (folder / name).read_bytes() for name in names}


# Converting


def _tensors(path: Path) -> dict[str, np.ndarray]:
    from gansynth.generators.stylegan2 import read

    return read(path).tensors


def test_a_converted_folder_is_the_same_generator(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "mine"
    assert run(["models", "convert", str(animals), str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    before, after = gansynth.load_generator(str(animals)), gansynth.load_generator(str(folder))
    assert before.weights_sha256 == after.weights_sha256
    z, classes = torch.randn(3, CONDITIONAL.z_dim), torch.arange(3)
    psi = torch.tensor([0.5, 0.7, 1.0])
    assert (before.sample(z, classes, psi) == after.sample(z, classes, psi)).all()
    of_file, of_folder = describe(str(animals)), describe(str(folder))
    assert (of_file.labels, of_file.licence, of_file.terms) == (of_folder.labels, of_folder.licence, of_folder.terms)
    about = json.loads((folder / "gansynth.json").read_text())
    assert about["source_sha256"] == hashlib.sha256(animals.read_bytes()).hexdigest()
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "gansynth.json", "model.safetensors"]
    assert all(SECRET.encode() not in path.read_bytes() for path in folder.iterdir())
    assert run(["models", "info", str(folder)]) == 0
    assert f"model.safetensors: {len(_tensors(animals))} tensors" in capsys.readouterr().out


def test_who_knows_the_licence_and_the_classes_says_so(animals: Path, tmp_path: Path) -> None:
    names, folder = tmp_path / "names.txt", tmp_path / "mine"
    names.write_text("w\nx\ny\nz\n")
    options = ["--licence", "CC0", "--labels", str(names)]
    assert run(["models", "convert", str(animals), str(folder), *options]) == 0
    info = describe(str(folder))
    assert (info.licence, info.terms) == ("CC0", ())
    assert [label.name for label in info.labels.classes] == ["w", "x", "y", "z"]


@pytest.mark.parametrize("what", ["damaged", "absent", "taken", "names", "channels", "full"])
def test_what_cannot_be_converted_leaves_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = written(replace(SMALL, img_channels=4 if what == "channels" else 3), tmp_path), tmp_path / "out"
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "absent":
        path.unlink()
    elif what == "names":
        path.with_suffix(".labels.txt").write_text("a\nb\n")
    elif what == "full":

        def fail(*_: Any) -> None:
            raise safetensors.SafetensorError("I/O error: no space left on device")

        monkeypatch.setattr("safetensors.numpy.save_file", fail)
    elif what == "taken":
        folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run(["models", "convert", str(path), str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_converted_folder_with_other_weights_is_refused(tmp_path: Path) -> None:
    a, b = (tmp_path / name for name in "ab")
    for folder, config in ((a, SMALL), (b, CONFIGS["resnet"])):
        assert run(["models", "convert", str(written(config, tmp_path)), str(folder)]) == 0
    (a / "model.safetensors").write_bytes((b / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"pair each file with its own config\.json"):
        gansynth.load_generator(str(a))


@pytest.mark.parametrize("content", [{"terms": "all"}, {"labels": ["a"]}])
def test_a_broken_gansynth_json_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert run(["models", "convert", str(written(SMALL, tmp_path)), str(folder)]) == 0
    (folder / "gansynth.json").write_text(json.dumps(content))
    with pytest.raises(GansynthError, match=r"mine/gansynth\.json: (terms|labels)"):
        describe(str(folder))
