"""Who works where, on this machine and on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import flows  # noqa: F401 - sets what Prefect reads when it is imported
from flows import runners
from flows.parameters import Run
from gansynth.errors import InputError


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that there is a Ray cluster with something, or none."""

    def _cluster(**resources: float) -> None:
        def init(**options: Any) -> Any:
            if not resources:
                raise ConnectionError("could not find any running Ray instance")
            return nullcontext()

        ray = SimpleNamespace(init=init, cluster_resources=lambda: resources)
        monkeypatch.setattr(runners, "_imported_ray", lambda: ray)

    return _cluster


def devices(**options: Any) -> tuple[str, ...]:
    return runners.devices_of(Run(runner="ray", ray_address="auto", **options))


def test_a_cluster_without_gpus_gives_its_cores(cluster: Callable[..., None]) -> None:
    cluster(CPU=6)
    assert devices() == devices(device="cpu") == ("cpu",) * 6
    assert devices(workers=2) == ("cpu", "cpu")


def test_every_gpu_of_a_cluster_has_a_worker(cluster: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(CPU=64, GPU=8)
    monkeypatch.setattr(runners, "choose_device", lambda device: device)  # this machine has one, too
    assert devices() == devices(device="cuda") == ("cuda:0",) * 8
    assert devices(device="cpu") == ("cpu",) * 64


@pytest.mark.parametrize(
    ("resources", "device", "says"),
    [
        ({"CPU": 4.0}, "cuda", "the Ray cluster at auto has no GPU"),
        ({"CPU": 4.0, "GPU": 1.0}, "auto", "this machine has 0 usable GPUs"),
        ({"CPU": 4.0, "GPU": 4.0}, "cuda:1", "Ray hands GPUs out by itself"),
        ({}, "auto", "no Ray cluster answers"),
    ],
)
def test_a_cluster_that_cannot_do_it_is_refused(
    cluster: Callable[..., None], resources: dict[str, float], device: str, says: str
) -> None:
    cluster(**resources)
    with pytest.raises(InputError, match=says):
        devices(device=device)
