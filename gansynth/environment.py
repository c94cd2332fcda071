"""What pixels depend on beside the recipe: device and library versions. Recorded in recipe.yaml and receipts."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gansynth.errors import InputError, quoted
from gansynth.identity import RENDER_VERSION

_PACKAGES = ("torch", "numpy", "scipy", "pillow", "imagecodecs", "pyarrow", "pytorch-pretrained-biggan")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def environment(device: str) -> dict[str, str]:
    """Everything that may change a bit of the output, by name.

    Args:
        device: a torch device such as cpu or cuda:0.
    """
    return {
        "device": device_model(device),
        **{package: version(package) for package in _PACKAGES},
        **(_cuda() if device.startswith("cuda") else {}),
        "render_version": str(RENDER_VERSION),
    }


def _cuda() -> dict[str, str]:
    """What kernels on a GPU come from beside torch; TF32 is switched off while rendering (see `sampling.reproducible`)."""
    import torch

    found = {"cuda": torch.version.cuda or "none", "cudnn": str(torch.backends.cudnn.version()), "tf32": "off"}
    with suppress(PackageNotFoundError):  # only torch.compile needs it
        found["triton"] = version("triton")
    return found


def device_model(device: str) -> str:
    """Name of the processor or GPU, with the instruction set that torch uses on a CPU."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()} ({torch.backends.cpu.get_cpu_capability()})"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def peak_memory(device: str) -> dict[str, int]:
    """Largest memory this process has held so far, in bytes: host, and GPU if it uses one."""
    import torch

    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.device(device).type == "cuda":
        peak["device_bytes"] = torch.cuda.max_memory_allocated(device)
    return peak


def visible_devices(wanted: str) -> list[str]:
    """Torch device names for `auto`, `cpu`, `cuda` or `cuda:N`: all GPUs if there are any for auto and cuda."""
    if wanted in ("auto", "cuda"):
        import torch

        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        return gpus or ["cpu"] if wanted == "auto" else gpus
    return [wanted]


def device_kind(wanted: str) -> str:
    """cpu or cuda, for `auto`, `cpu`, `cuda` or `cuda:N`, whether or not this machine has it; auto counts as cpu here.

    Raises InputError for anything else.
    """
    if not _DEVICE.fullmatch(wanted):
        raise InputError(f"device: saw {quoted(wanted)}, which is no device; use auto, cpu or cuda:N")
    return "cuda" if wanted.startswith("cuda") else "cpu"


def choose_device(wanted: str = "auto") -> str:
    """One torch device of this machine for `auto`, `cpu`, `cuda` or `cuda:N`. Raises InputError if there is none."""
    import torch

    device_kind(wanted)
    devices, gpus = visible_devices(wanted), torch.cuda.device_count()
    if not devices or (devices[0].startswith("cuda:") and int(devices[0].removeprefix("cuda:")) >= gpus):
        raise InputError(f"device: saw {wanted}, but this machine has {gpus} usable GPUs; use auto, cpu or cuda:N")
    return devices[0]


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """Where downloads are kept: $GANSYNTH_CACHE, else gansynth in the user's cache folder."""
    if named := os.environ.get("GANSYNTH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gansynth"
