"""Weights: which there are by name, where they lie, and reading them without running anybody's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansynth.environment import cache_folder
from gansynth.errors import WeightsError
from gansynth.identity import canonical_json

if TYPE_CHECKING:
    import torch

CONFIG_NAME = "config.json"
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
_EMBEDDED = Path(__file__).parent / "pretrained"
_SOURCE = "https://s3.amazonaws.com/models.huggingface.co/biggan"
_BIGGAN_ORIGIN = "DeepMind's BigGAN-deep (TF Hub), converted to PyTorch by Hugging Face for pytorch-pretrained-biggan"
_BIGGAN_LICENCE = "Apache-2.0 (TF Hub modules of DeepMind); trained on ImageNet, whose images are for research use"


@dataclass(frozen=True)
class KnownModel:
    """Weights that a recipe may name.

    Args:
        family: its generator family.
        resolution, num_classes, z_dim: as in the family's configuration.
        parameters: number of parameters, in millions.
        licence, origin: shown in `models info`, receipts and dataset cards.
        config: the family's configuration; None for embedded models, which carry theirs.
        files: file name in the cache folder -> URL; empty for embedded models.
        sizes, sha256: of those files where known. Hashes with a single source warn when they differ, not fail.
        weights_sha256: identity of the weights (`identity`), where known without the file.
    """

    family: str
    resolution: int
    num_classes: int
    z_dim: int
    parameters: float
    licence: str
    origin: str
    config: Mapping[str, Any] | None = None
    files: Mapping[str, str] | None = None
    sizes: Mapping[str, int] | None = None
    sha256: Mapping[str, str] | None = None
    weights_sha256: str | None = None


def _biggan_deep(resolution: int, layers: list[tuple[bool, int, int]], parameters: float) -> KnownModel:
    name = f"biggan-deep-{resolution}"
    config = {
        "attention_layer_position": 8,
        "channel_width": 128,
        "class_embed_dim": 128,
        "eps": 1e-4,
        "layers": [list(layer) for layer in layers],
        "n_stats": 51,
        "num_classes": 1000,
        "output_dim": resolution,
        "z_dim": 128,
    }
    files = {"config.json": f"{_SOURCE}/{name}-config.json", "pytorch_model.bin": f"{_SOURCE}/{name}-pytorch_model.bin"}
    return KnownModel("biggan", resolution, 1000, 128, parameters, _BIGGAN_LICENCE, _BIGGAN_ORIGIN, config, files)


# Blocks of BigGAN-deep as (upsample, width in, width out), in multiples of the channel width (Brock et al., 2019,
# appendix B, tables 7 to 9).
_STEM = [(False, 16, 16), (True, 16, 16), (False, 16, 16), (True, 16, 8), (False, 8, 8)]
_HEAD_128 = [(True, 8, 4), (False, 4, 4), (True, 4, 2), (False, 2, 2), (True, 2, 1)]
_HEAD_256 = [(True, 8, 8), (False, 8, 8), (True, 8, 4), (False, 4, 4), (True, 4, 2), (False, 2, 2), (True, 2, 1)]

KNOWN: dict[str, KnownModel] = {
    "fashion-32": KnownModel(
        family="biggan",
        resolution=32,
        num_classes=10,
        z_dim=64,
        parameters=1.0,
        licence="MIT",
        origin="gansynth (trained on Fashion-MNIST)",
        weights_sha256="72cdc2389e94298decdd180d37766178b5a9eea4936837f100bd583cfe8610ef",
    ),
    "biggan-deep-128": _biggan_deep(128, _STEM + _HEAD_128, 50.4),
    "biggan-deep-256": _biggan_deep(256, _STEM + _HEAD_256, 55.9),
    "biggan-deep-512": _biggan_deep(512, [*_STEM, *_HEAD_256, (False, 1, 1), (True, 1, 1)], 56.2),
}


def locate(name: str) -> Path | None:
    """Folder of a known model's files, or None if they have not been pulled. Never touches the network."""
    if KNOWN[name].files is None:
        return _EMBEDDED / name
    folder = cache_folder() / name
    return folder if all((folder / file).is_file() for file in KNOWN[name].files or ()) else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON mapping from a file; raises WeightsError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file; a folder of weights needs a {path.name}") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON ({error}); restore the file") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: saw a {type(content).__name__}, not a JSON object; restore the file")
    return content


def weights_file(path: Path) -> Path:
    """The file with the tensors: the path itself, or the one in that folder. Raises WeightsError if there is none."""
    if path.is_file() and path.name != CONFIG_NAME:
        return path
    path = path.parent if path.is_file() else path
    for name in WEIGHTS_NAMES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"{path}: holds no weights; it needs {' or '.join(WEIGHTS_NAMES)}")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file or a PyTorch file, on the CPU. Runs no code from the file.

    Raises:
        WeightsError: truncated, damaged, or holding anything but tensors.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever their parsers stumble over
        raise _unreadable(path, error) from None
    if not isinstance(content, dict) or not all(isinstance(t, torch.Tensor) for t in content.values()):
        raise WeightsError(f"{path}: holds something other than a state dict of tensors; save `model.state_dict()`")
    return content


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of such a file, their values left where they are as far as the format allows.

    Raises:
        WeightsError: as `read_tensors`.
    """
    if path.suffix != ".safetensors":
        return {name: tuple(tensor.shape) for name, tensor in read_tensors(path).items()}
    try:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:120]
    return WeightsError(f"{path}: cannot be read as weights ({reason}); fetch or copy the file again")


def identity(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> str:
    """sha256 over sorted tensor names, dtypes, shapes and bytes, and the configuration: a file and its conversion agree."""
    import torch

    digest = hashlib.sha256(canonical_json(dict(config)).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        header = f"\n{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n"
        digest.update(header.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
