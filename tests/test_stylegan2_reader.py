"""StyleGAN2 snapshots: read exactly, whoever wrote them, and refused in one line without doing anything they ask for."""

from __future__ import annotations

import collections
import json
import math
import os
import pickle
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stylegan2_files
from stylegan2_files import (
    SMALL,
    TINY,
    Call,
    dumps,
    parameter,
    random_tensors,
    snapshot,
    state_of,
    storage,
    stylegan3,
    tensor,
    tensorflow,
    view,
)
from stylegan2_hostile import CASES

from gansynth.errors import WeightsError
from gansynth.generators.stylegan2 import Config, Snapshot, check_shapes, expected_shapes, read
from gansynth.generators.stylegan2.refusals import Damaged, Unsafe, Unsupported

ROOT = Path(__file__).parents[1]
CONFIGS = {
    "skip": SMALL,
    "tiny": TINY,
    "conditional": replace(SMALL, c_dim=4, embed_width=3, mapping_layers=2, lr_multiplier=0.02),
    "resnet": replace(SMALL, architecture="resnet", conv_clamp=(None, None, None), img_channels=1),
    "orig": replace(SMALL, architecture="orig", conv_clamp=(None, 1.5, 2.5), filter_size=3),
    "no noise": replace(SMALL, use_noise=False),
}
Array = np.ndarray[Any, Any]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Snapshot]:
    """Write a tree as a pickle and read it."""

    def _written(tree: Any, protocol: int = 4, framed: bool = False) -> Snapshot:
        path = tmp_path / "snapshot.pkl"
        path.write_bytes(dumps(tree, protocol, framed))
        return read(path)

    return _written


def assert_equal(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == np.float32 and found[name].shape == values.shape, name
        assert found[name].flags.c_contiguous and found[name].flags.writeable, name
        assert found[name].tobytes() == values.tobytes(), name


# Snapshots of PyTorch


@pytest.mark.parametrize("layout", ["ada", "stylegan3"])
@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_snapshot_is_read_exactly(written: Callable[..., Snapshot], name: str, protocol: int, layout: str) -> None:
    config = CONFIGS[name]
    found = written(snapshot(config, layout=layout), protocol, framed=protocol > 3)
    assert found.config == config
    assert found.framework == "pytorch"
    assert_equal(found.tensors, random_tensors(config))


@pytest.mark.parametrize("how", [{"old": True}, {"channels_last": True}, {"code": "f8"}], ids=str)
def test_neither_old_torch_nor_layout_nor_width_changes_a_number(
    written: Callable[..., Snapshot], how: dict[str, Any]
) -> None:
    assert_equal(written(snapshot(**how), 3).tensors, random_tensors(SMALL))


@pytest.mark.parametrize("code", ["f2", "bf2"])
def test_half_precision_is_widened_exactly(written: Callable[..., Snapshot], code: str) -> None:
    def narrowed(values: Array) -> Array:
        if code == "f2":
            return values.astype(np.float16).astype(np.float32)
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)

    expected = {name: narrowed(values) for name, values in random_tensors(SMALL).items()}
    assert_equal(written(snapshot(code=code)).tensors, expected)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_python_torch_and_numpy_write_is_read_as_what_the_tests_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    path = tmp_path / "snapshot.pkl"
    path.write_bytes(pickle.dumps(_as_objects(snapshot(), monkeypatch), protocol))
    found = read(path)
    assert found.config == SMALL
    assert_equal(found.tensors, random_tensors(SMALL))


class _Reduced:
    """Something that Python's pickler writes as a call."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def _as_objects(value: Any, patch: pytest.MonkeyPatch) -> Any:
    """A tree with parameters of torch, numbers of numpy, and stand-ins under the names of what is not installed."""
    if isinstance(value, dict):
        return {key: _as_objects(item, patch) for key, item in value.items()}
    if not isinstance(value, Call):
        return value
    name, arguments = value.function.name, value.arguments
    if name == "_rebuild_tensor_v2":
        import torch

        (blob,), _, shape, *_ = arguments[0].arguments, *arguments[1:]
        return torch.frombuffer(bytearray(blob[-4 * math.prod(shape) :]), dtype=torch.float32).reshape(shape)
    if name == "_rebuild_parameter":
        import torch

        return torch.nn.Parameter(_as_objects(arguments[0], patch), requires_grad=False)
    if name == "scalar":
        return np.float64(struct.unpack("<d", arguments[1])[0])
    if name == "OrderedDict":
        return collections.OrderedDict()
    function = _stand_in(value, patch)
    if value.new:
        return function(_as_objects(value.items, patch))
    return _Reduced(function, tuple(_as_objects(argument, patch) for argument in arguments))


def _stand_in(call: Call, patch: pytest.MonkeyPatch) -> type:
    module, name = call.function.module, call.function.name
    for part in (module.partition(".")[0], module):
        if part not in sys.modules:
            patch.setitem(sys.modules, part, types.ModuleType(part))
    if not hasattr(sys.modules[module], name):
        setattr(sys.modules[module], name, type(name, (dict,), {"__module__": module}))
    found: type = getattr(sys.modules[module], name)
    return found


def test_only_the_averaged_generator_is_needed(written: Callable[..., Snapshot]) -> None:
    tree = snapshot()
    assert_equal(written({"G_ema": tree["G_ema"]}).tensors, random_tensors(SMALL))


def test_a_tensor_may_lie_anywhere_in_its_storage(written: Callable[..., Snapshot]) -> None:
    tree, values = snapshot(), np.arange(40, dtype=np.float32)
    mapping = state_of(tree["G_ema"], "mapping", "fc1")
    mapping["_parameters"]["weight"] = parameter(view(storage(np.arange(60)), (7, 7), (1, 7), 5))
    mapping["_parameters"]["bias"] = parameter(view(storage(values), (7,), (1,), 33))
    found = written(tree).tensors
    assert np.array_equal(found["mapping.fc1.weight"], np.arange(5, 54, dtype=np.float32).reshape(7, 7).T)
    assert np.array_equal(found["mapping.fc1.bias"], values[33:])


def test_nothing_but_the_generator_leaves_the_reader(written: Callable[..., Snapshot]) -> None:
    found = written(snapshot())
    assert "somebody" not in repr(found) and "import os" not in repr(found)


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "snapshot.pkl").write_bytes(dumps(snapshot()))
    code = (
        "import sys; from pathlib import Path; from gansynth.generators.stylegan2 import read\n"
        "read(Path(sys.argv[1])); assert 'torch' not in sys.modules and 'pickle' not in vars(read).keys()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "snapshot.pkl")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


# Snapshots of TensorFlow


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name", ["skip", "tiny", "conditional", "resnet"])
def test_a_snapshot_of_tensorflow_gets_the_names_and_layouts_of_pytorch(
    written: Callable[..., Snapshot], name: str, version: int
) -> None:
    config = replace(CONFIGS[name], lr_multiplier=0.01)
    found = written(tensorflow(config, version=version))
    assert found.config == config
    assert found.framework == "tensorflow"
    expected = random_tensors(config)
    for key in expected:
        if key.endswith("affine.bias"):
            expected[key] = expected[key] + np.float32(1)
    assert_equal(found.tensors, expected)


def test_arrays_of_protocol_5_are_read_too(written: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = written(tensorflow())
    monkeypatch.setattr(stylegan2_files, "array", stylegan2_files.buffer)
    assert_equal(written(tensorflow(), protocol=5).tensors, expected.tensors)


def test_a_filter_of_tensorflow_is_made_of_its_taps(written: Callable[..., Snapshot]) -> None:
    tree = tensorflow()
    tree[2].state["components"]["synthesis"].state["static_kwargs"]["resample_kernel"] = [1, 2, 1]
    found = written(tree)
    assert (found.config.filter_size, found.config.conv1_filter_size) == (3, 4)
    expected = np.outer([1, 2, 1], [1, 2, 1]) / 16
    assert np.array_equal(found.tensors["synthesis.b8.conv0.resample_filter"], expected)
    assert np.array_equal(found.tensors["synthesis.b8.resample_filter"], expected)
    assert found.tensors["synthesis.b8.conv1.resample_filter"].shape == (4, 4)


def test_arguments_that_only_the_whole_network_states_hold_for_its_components(written: Callable[..., Snapshot]) -> None:
    tree = tensorflow()
    for component in tree[2].state["components"].values():
        component.state["static_kwargs"] = {}
    tree[2].state["static_kwargs"] = {"conv_clamp": 8, "mapping_lrmul": 0.5, "nonlinearity": "lrelu"}
    found = written(tree).config
    assert found.conv_clamp == (8.0, 8.0, 8.0) and found.lr_multiplier == 0.5


# Files that are refused


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each hostile file, read in one process under watch: name -> outcome, seconds, events, ..."""
    folder, elsewhere = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("elsewhere")
    for name, (_, content) in CASES.items():
        (folder / f"{name}.pkl").write_bytes(content() if callable(content) else content)
    command = [sys.executable, str(ROOT / "tests/stylegan2_guard.py"), *map(str, sorted(folder.iterdir()))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert list(elsewhere.iterdir()) == [] and len(list(folder.iterdir())) == len(CASES)
    return {found["file"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_or_damaged_file_is_refused_and_nothing_else_happens(
    refusals: dict[str, dict[str, Any]], name: str
) -> None:
    found = refusals[name]
    assert found["events"] == []
    assert found["outcome"] == CASES[name][0], found["message"]
    assert found["cause"] is None, "refused by accident"
    assert found["seconds"] < 2
    assert f"{name}.pkl: " in found["message"] and "\n" not in found["message"]
    assert len(found["message"].partition(".pkl: ")[2]) < 320


def test_the_attacks_of_these_tests_work(tmp_path: Path) -> None:
    import stylegan2_hostile

    content = CASES["builtins_open"][1]
    assert isinstance(content, bytes)
    code = f"import pickle; pickle.loads({content!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / stylegan2_hostile.TRAP).exists()
    assert b"system" in pickle.dumps(os.system)


def test_the_watch_of_these_tests_sees_what_happens(tmp_path: Path) -> None:
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); import stylegan2_guard as g; from pathlib import Path\n"
        "guard = g.Guard()\n"
        "def read(path): os.system('true'); open('made', 'w').close(); bytearray(2 << 30)\n"
        "g.read = read; print(guard.watch(Path('x')))"
    )
    command = [sys.executable, "-c", code, str(ROOT / "tests")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "os.system" in done.stdout and "made" in done.stdout and "escaped MemoryError" in done.stdout


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 25))
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    data = dumps(snapshot(), framed=True)
    path = tmp_path / "cut.pkl"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(Damaged, match=r"cut\.pkl: is damaged or no StyleGAN2 snapshot"):
        read(path)


def test_the_three_kinds_of_refusal_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    expected = {
        b"\x80\x03cos\nsystem\n.": (Unsafe, 'the name "os.system"; nothing was executed; do not open'),
        dumps(stylegan3()): (Unsupported, "holds a StyleGAN3 generator, which is not supported; use a snapshot"),
        dumps(tensorflow(version=3)): (Unsupported, "holds a StyleGAN1 or older network of TensorFlow"),
        dumps(snapshot())[:-1]: (Damaged, "it is cut short: .* fetch or copy the file again"),
    }
    for content, (kind, message) in expected.items():
        path.write_bytes(content)
        with pytest.raises(kind, match=message):
            read(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing.pkl", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(WeightsError, match="there is no such file"):
            read(path)


def test_a_message_shows_a_name_on_one_line(tmp_path: Path, written: Callable[..., Snapshot]) -> None:
    tree = snapshot()
    state_of(tree["G_ema"], "mapping")["_modules"]["a\n\x1b[31m" + "b" * 100] = 1
    with pytest.raises(Damaged) as caught:
        written(tree)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_random_alterations_find_nothing(tmp_path: Path) -> None:
    trees = {"ada": snapshot(TINY), "small": snapshot(layout="stylegan3"), "tf": tensorflow(TINY), "sg3": stylegan3()}
    for name, tree in trees.items():
        (tmp_path / f"{name}.pkl").write_bytes(dumps(tree, 3 if name == "ada" else 4))
    script = str(ROOT / "tests/fuzz/stylegan2_pickles.py")
    command = [sys.executable, script, "--count", "300", *map(str, sorted(tmp_path.iterdir()))]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "up to 300: " in done.stdout and "; 0 findings; " in done.stdout


# Configurations


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_survives_json(name: str) -> None:
    config = CONFIGS[name]
    content = json.loads(json.dumps(config.to_json()))
    assert content["family"] == "stylegan2"
    assert list(content["channels"]) == [str(side) for side in config.resolutions]
    assert Config.from_json(content) == config


def test_whole_numbers_in_json_make_no_other_configuration() -> None:
    content = {**SMALL.to_json(), "conv_clamp": 256, "lr_multiplier": 1}
    found = Config.from_json(content)
    assert json.dumps(found.to_json()) == json.dumps(replace(SMALL, lr_multiplier=1.0).to_json())


def test_a_bound_that_all_blocks_share_is_one_number() -> None:
    assert SMALL.to_json()["conv_clamp"] == 256.0
    assert TINY.to_json()["conv_clamp"] is None
    assert CONFIGS["orig"].to_json()["conv_clamp"] == {"4": None, "8": 1.5, "16": 2.5}


@pytest.mark.parametrize(
    "change",
    [
        {"family": "biggan"},
        {"family": ...},
        {"z_dim": ...},
        {"z_dim": 0},
        {"z_dim": True},
        {"z_dim": 6.0},
        {"z_dim": "6"},
        {"z_dim": 1 << 40},
        {"w_dim": 1 << 400},
        {"c_dim": 3},
        {"c_dim": -1},
        {"embed_width": 3},
        {"resolution": 24},
        {"resolution": 2},
        {"resolution": 8192},
        {"resolution": 32},
        {"resolution": -16},
        {"resolution": None},
        {"img_channels": 0},
        {"mapping_layers": 0},
        {"mapping_layers": 1},
        {"mapping_width": 10_000},
        {"lr_multiplier": 0},
        {"lr_multiplier": float("nan")},
        {"lr_multiplier": 10**400},
        {"lr_multiplier": "0.01"},
        {"channels": [6, 4, 3]},
        {"channels": {"4": 6, "8": 4}},
        {"channels": {"4": 6, "8": 4, "16": 0}},
        {"channels": {"4": 6, "8": 4, "16": 3.0}},
        {"channels": {"4": 6, "8": 4, "16": 3, "32": 3}},
        {"architecture": "stylegan3"},
        {"architecture": ["skip"]},
        {"use_noise": 1},
        {"conv_clamp": 0},
        {"conv_clamp": "256"},
        {"conv_clamp": [256, 256, 256]},
        {"conv_clamp": {"4": 256.0}},
        {"conv_clamp": float("inf")},
        {"filter_size": 1},
        {"filter_size": 12},
        {"extra": 1},
        {"activation": "relu"},
        {"channels": {"4": 4096, "8": 4096, "16": 4096}},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_configuration_that_describes_no_generator_is_refused(change: dict[str, Any]) -> None:
    content = {key: value for key, value in {**SMALL.to_json(), **change}.items() if value is not ...}
    with pytest.raises(WeightsError) as caught:
        Config.from_json(content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_shapes_of_the_largest_published_configuration() -> None:
    channels = tuple(min(32768 // side, 512) for side in (4, 8, 16, 32, 64, 128, 256, 512, 1024))
    config = Config(512, 512, 0, 1024, 3, 8, 512, 0, 0.01, channels, "skip", True, (256.0,) * 9)
    shapes = expected_shapes(config)
    weights = [s for n, s in shapes.items() if not n.endswith(("noise_const", "resample_filter", "w_avg"))]
    assert round(sum(np.prod(shape, dtype=int) for shape in weights) / 1e6, 2) == 30.37
    assert config.num_ws == 18
    assert shapes["synthesis.b1024.conv0.weight"] == (32, 64, 3, 3)
    assert shapes["synthesis.b1024.conv0.affine.weight"] == (64, 512)


def test_tensors_of_other_shapes_are_refused() -> None:
    shapes = expected_shapes(SMALL)
    check_shapes(shapes, SMALL)
    del shapes["mapping.w_avg"]
    with pytest.raises(WeightsError, match=r"^it lacks mapping\.w_avg$"):
        check_shapes(shapes, SMALL)
    with pytest.raises(WeightsError, match=r'has "extra", which is unexpected'):
        check_shapes({**expected_shapes(SMALL), "extra": ()}, SMALL)
    with pytest.raises(WeightsError, match=r"of shape \[6\] where \[5\] is needed"):
        check_shapes({**expected_shapes(SMALL), "mapping.w_avg": (6,)}, SMALL)


def test_weights_beyond_float32_are_refused(written: Callable[..., Snapshot]) -> None:
    tree = snapshot()
    state_of(tree["G_ema"], "mapping", "fc1")["_parameters"]["bias"] = parameter(tensor(np.full(7, 1e300), "f8"))
    with pytest.raises(Damaged, match="cannot hold exactly"):
        written(tree)
