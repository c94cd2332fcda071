"""Who works where, on this machine and on a Ray cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from flows import runners
from flows.parameters import Run
from gansynth.environment import cores
from gansynth.errors import InputError, StoreError
from gansynth.stopping import Stop


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


@pytest.mark.parametrize("fails", [True, False])
def test_workers_are_told_to_stop_where_the_flow_fails(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    told: list[str] = []
    child = SimpleNamespace(terminate=lambda: told.append("SIGTERM"))
    monkeypatch.setattr(runners.multiprocessing, "active_children", lambda: [child])
    monkeypatch.setattr(runners, "ProcessPoolTaskRunner", lambda **options: nullcontext())
    with pytest.raises(StoreError) if fails else nullcontext(), runners._processes(("cpu",), Stop()):
        if fails:
            raise StoreError("no answer")
    assert told == (["SIGTERM"] if fails else []), "a pool waits for what its workers have begun"


@pytest.mark.parametrize(("address", "asked", "keeps"), [(None, "local", ("cuda:0",)), ("auto", "auto", ())])
def test_ray_on_this_machine_shares_its_gpus_with_other_runs(
    cluster: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    asked: str,
    keeps: tuple[str, ...],
) -> None:
    kept: list[tuple[str, ...]] = []
    opened: list[str] = []

    def runner(address: str, init_kwargs: dict[str, Any]) -> Any:
        opened.append(address)
        return nullcontext()

    cluster(CPU=16)
    monkeypatch.setitem(sys.modules, "prefect_ray", SimpleNamespace(RayTaskRunner=runner))
    monkeypatch.setattr(runners, "kept", lambda devices, stop: nullcontext(kept.append(devices)))
    with runners._ray(Run(runner="ray", ray_address=address), ("cuda:0",), Stop()) as pool:
        assert pool.cores == (cores() if address is None else 16)
    assert (opened, kept) == ([asked], [keeps])
