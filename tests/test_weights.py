"""Reading weights: what is missing, damaged or of another network is an error in one line, and no file runs code."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_pretrained_biggan import BigGAN
from safetensors.torch import save_file

import gansynth
from gansynth.environment import cache_folder
from gansynth.errors import WeightsError
from gansynth.generators import describe, weights

SHIPPED = Path(weights.__file__).parent / "pretrained" / "fashion-32"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the weights that ship with the package."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "weights"))


def edit_json(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def failure(path: Path) -> str:
    """The message of the error that loading these weights raises."""
    with pytest.raises(WeightsError) as caught:
        gansynth.load_generator(str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# What ships


def test_the_registered_identity_is_that_of_the_shipped_weights() -> None:
    tensors = weights.read_tensors(SHIPPED / "pytorch_model.bin")
    config = json.loads((SHIPPED / "config.json").read_text())
    assert weights.identity(tensors, config) == weights.KNOWN["fashion-32"].weights_sha256


def test_the_registered_facts_are_those_of_the_shipped_weights() -> None:
    known, about = weights.KNOWN["fashion-32"], json.loads((SHIPPED / "gansynth.json").read_text())
    parameters = sum(p.numel() for p in BigGAN.from_pretrained(str(SHIPPED)).parameters())
    assert round(parameters / 1e6, 1) == known.parameters
    assert about["licence"] == known.licence
    assert len(about["labels"]) == known.num_classes


def test_the_shipped_folder_loads_in_the_library_as_it_is() -> None:
    model = BigGAN.from_pretrained(str(SHIPPED))
    stored = weights.read_tensors(SHIPPED / "pytorch_model.bin")
    assert model.state_dict().keys() == stored.keys()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())


def test_a_known_name_does_not_take_other_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.KNOWN, "fashion-32", replace(weights.KNOWN["fashion-32"], weights_sha256="0" * 64))
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin: holds other weights than `fashion-32`"):
        gansynth.load_generator("fashion-32")
    assert gansynth.load_generator(str(folder))  # by path they are what they are


def test_a_file_stands_for_its_folder(folder: Path) -> None:
    by_file, by_folder = (gansynth.load_generator(str(p)) for p in (folder / "pytorch_model.bin", folder))
    assert by_file.weights_sha256 == by_folder.weights_sha256 == weights.KNOWN["fashion-32"].weights_sha256
    assert by_file.labels[7].name == "Sneaker"


def test_labels_and_licence_are_optional(folder: Path) -> None:
    (folder / "gansynth.json").unlink()
    info = describe(str(folder))
    assert info.labels[3].name == "class 3"
    assert info.licence == "unknown"


# Files that are missing


def test_a_folder_without_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert f"{folder}: holds no config.json" in failure(folder)
    assert f"put the config.json of its family into {folder}" in failure(folder / "pytorch_model.bin")


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "pytorch_model.bin").unlink()
    message = failure(folder)
    assert f"{folder}: holds no weights" in message
    assert "model.safetensors or pytorch_model.bin" in message
    with pytest.raises(WeightsError):
        describe(str(folder))


# Files that are damaged


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(folder: Path, share: float) -> None:
    file = folder / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert str(file) in failure(folder)


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_refused(folder: Path, share: float) -> None:
    file = folder / "model.safetensors"
    save_file(weights.read_tensors(folder / "pytorch_model.bin"), file)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert str(file) in failure(folder)


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=300))
def test_no_content_of_a_file_gets_past_the_reader(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("noise")
    for name in weights.WEIGHTS_NAMES:
        (folder / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            weights.read_tensors(folder / name)


def test_a_web_page_in_place_of_weights_is_refused(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_text("<!DOCTYPE html><title>Sign in</title>")
    assert "pytorch_model.bin: cannot be read as weights" in failure(folder)


# Files that would run code


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_plain_pickle_is_not_executed(folder: Path, tmp_path: Path, protocol: int) -> None:
    trap, file = tmp_path / "executed", folder / "pytorch_model.bin"
    file.write_bytes(pickle.dumps({"embeddings.weight": _Trap(trap)}, protocol))
    assert str(file) in failure(folder)
    assert not trap.exists()


def test_a_pickle_within_a_pytorch_file_is_not_executed(folder: Path, tmp_path: Path) -> None:
    trap, file = tmp_path / "executed", folder / "pytorch_model.bin"
    torch.save({"embeddings.weight": _Trap(trap)}, file)
    assert zipfile.is_zipfile(file)
    assert str(file) in failure(folder)
    assert not trap.exists()


def test_the_trap_of_these_tests_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Trap(tmp_path / "executed"))).close()
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"model": {"a": torch.zeros(1)}}, torch.zeros(3)], ids=str)
def test_a_file_of_something_else_is_refused(folder: Path, content: object) -> None:
    torch.save(content, folder / "pytorch_model.bin")
    assert "pytorch_model.bin: holds something other than a state dict of tensors" in failure(folder)


# Weights of another network


def test_a_state_dict_of_another_shape_is_refused(folder: Path) -> None:
    state = weights.read_tensors(folder / "pytorch_model.bin")
    state["embeddings.weight"] = torch.zeros(64, 11)
    torch.save(state, folder / "pytorch_model.bin")
    message = failure(folder)
    assert "embeddings.weight of shape [64, 11] where [64, 10] is needed" in message
    assert str(folder / "pytorch_model.bin") in message


def test_a_state_dict_of_another_network_is_refused(folder: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "pytorch_model.bin")
    message = failure(folder)
    assert "lacks embeddings.weight" in message
    assert "unexpected bias, weight" in message


# Configurations


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"text"', "\x00", '{"z_dim": 64'],
    ids=["empty", "brace", "list", "null", "text", "zero", "cut"],
)
def test_a_configuration_that_is_no_mapping_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert str(folder / "config.json") in failure(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("z_dim"),
        lambda c: c.pop("layers"),
        lambda c: c.update(z_dim="64"),
        lambda c: c.update(z_dim=0),
        lambda c: c.update(num_classes=True),
        lambda c: c.update(num_classes=10.0),
        lambda c: c.update(output_dim=64),
        lambda c: c.update(layers=[]),
        lambda c: c.update(layers="deep"),
        lambda c: c.update(layers=[[True, 16]]),
        lambda c: c["layers"].pop(),
    ],
    ids=[
        "no z_dim",
        "no layers",
        "z_dim text",
        "z_dim 0",
        "num_classes true",
        "num_classes 10.0",
        "output_dim 64",
        "layers empty",
        "layers text",
        "layer of two",
        "one layer less",
    ],
)
def test_a_damaged_configuration_is_refused(folder: Path, change: Change) -> None:
    edit_json(folder / "config.json", change)
    message = failure(folder)
    assert str(folder) in message


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["layers"][0].__setitem__(1, "16"),
        lambda c: c["layers"][0].__setitem__(1, None),
        lambda c: c["layers"][0].__setitem__(1, -16),
        lambda c: c["layers"][0].__setitem__(1, 1.5),
        lambda c: c.update(n_stats=0),
        lambda c: c.update(n_stats=1),
        lambda c: c.update(n_stats="51"),
        lambda c: c.update(eps="small"),
        lambda c: c.update(attention_layer_position="3"),
    ],
    ids=[
        "width text",
        "width null",
        "width negative",
        "width fraction",
        "n_stats 0",
        "n_stats 1",
        "n_stats text",
        "eps text",
        "position text",
    ],
)
def test_a_configuration_that_no_network_can_be_built_from_is_refused(folder: Path, change: Change) -> None:
    edit_json(folder / "config.json", change)
    assert str(folder) in failure(folder)


@pytest.mark.parametrize(
    "labels",
    [["one"], [str(i) for i in range(11)], [], "T-shirt", {"0": "T-shirt"}, list(range(10))],
    ids=["one", "eleven", "none", "text", "mapping", "numbers"],
)
def test_labels_that_do_not_fit_are_refused(folder: Path, labels: object) -> None:
    edit_json(folder / "gansynth.json", lambda c: c.update(labels=labels))
    message = failure(folder)
    assert "gansynth.json must be a list of 10 names" in message
    assert str(folder) in message


def test_a_damaged_description_is_refused(folder: Path) -> None:
    (folder / "gansynth.json").write_text("{")
    assert str(folder / "gansynth.json") in failure(folder)


# Identity


@settings(max_examples=30, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_the_identity_depends_on_nothing_but_content(data: st.DataObject, sizes: list[int]) -> None:
    tensors = {f"layer.{i}": torch.arange(n, dtype=torch.float32) for i, n in enumerate(sizes)}
    names = data.draw(st.permutations(list(tensors)))
    same = {name: tensors[name].clone() for name in names}
    assert weights.identity(same, {"a": 1, "b": 2}) == weights.identity(tensors, {"b": 2, "a": 1})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(a=t["a"] + 1),
        lambda t: t.update(a=t["a"].double()),
        lambda t: t.update(a=t["a"].reshape(3, 2)),
        lambda t: t.update(c=t.pop("a")),
        lambda t: t.pop("b"),
    ],
    ids=["values", "dtype", "shape", "name", "number"],
)
def test_the_identity_changes_with_everything_that_counts(change: Change) -> None:
    tensors: dict[str, Any] = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    changed = copy.copy(tensors)
    change(changed)
    assert weights.identity(changed, {}) != weights.identity(tensors, {})
    assert weights.identity(tensors, {"eps": 1}) != weights.identity(tensors, {})


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("GANSYNTH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "gansynth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gansynth"
