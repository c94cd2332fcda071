"""Where tasks run. One parameter chooses; the rest of a flow does not know.

    process       worker processes on this machine, a device each
    ray           workers of a Ray cluster, a GPU each
    deployment    flow runs of a deployment, on whatever its work pool runs on; see deployments.py

A pool takes tasks, gives futures, and ends what runs on request. Every worker loads the generator once and keeps it.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner
from prefect.tasks import Task

from flows import worker
from flows.gpus import kept
from flows.parameters import Workers
from gansynth.environment import choose_device, cores, visible_devices
from gansynth.errors import InputError, RenderError
from gansynth.stopping import Stop

POOLS = 3  # that may break one after another and leave nothing finished


class PoolLost(RenderError):
    """A pool will take no more tasks, and never tell what became of those that it has."""


class Pool(Protocol):
    """Runs tasks on several workers."""

    def submit(self, task: Task[..., Any], parameters: dict[str, Any]) -> PrefectFuture[Any]:
        """Queue a task."""
        ...

    def end(self, futures: Iterable[PrefectFuture[Any]], force: bool) -> None:
        """Ask the workers to stop at a boundary; with `force`, make them."""
        ...

    def is_broken(self, error: Exception) -> bool:
        """Whether a task's error means that the pool will take no more."""
        ...

    def abandon(self) -> None:
        """Take in that the pool is lost: nobody must wait for its workers."""
        ...

    @property
    def window(self) -> int:
        """Tasks for each worker that are submitted at a time."""
        ...

    @property
    def cores(self) -> int:
        """Of all machines together, which the workers share."""
        ...


def worker_devices(device: str, workers: int | None) -> tuple[str, ...]:
    """One torch device for each worker.

    Args:
        device: auto, cpu, cuda or cuda:N.
        workers: how many; the visible GPUs if left out, else the cores.

    Raises:
        InputError: no such device, or more workers than GPUs.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers: saw {workers}; use 1 or more")
    choose_device(device)
    devices = visible_devices(device)
    if devices == ["cpu"]:
        return ("cpu",) * (workers or cores())
    if workers is not None and workers > len(devices):
        raise InputError(
            f"--workers: saw {workers}, but {device} gives {len(devices)} GPU{'s' if len(devices) > 1 else ''} and each "
            f"worker needs its own; use --workers {len(devices)}, or --device auto for all GPUs"
        )
    return tuple(devices[: workers or len(devices)])


def devices_of(run: Workers) -> tuple[str, ...]:
    """One torch device for each worker of a flow run: those of an existing Ray cluster, else those of this machine.

    Raises:
        InputError: as `worker_devices`; there is no such cluster; it has no GPU for the device cuda; or it has some and this
            machine, which begins the dataset, has none.
    """
    if run.runner == "ray" and run.device.startswith("cuda:"):
        raise InputError(
            f"--device: saw {run.device}, but Ray hands GPUs out by itself; use cuda, with CUDA_VISIBLE_DEVICES where Ray starts"
        )
    if run.runner != "ray" or run.ray_address is None:
        return worker_devices(run.device, run.workers)
    resources = _resources(run.ray_address)
    gpus = int(resources.get("GPU", 0))
    if run.device == "cuda" and not gpus:
        raise InputError(f"--device: saw cuda, but the Ray cluster at {run.ray_address} has no GPU; use auto or cpu")
    if run.device == "cpu" or not gpus:
        return ("cpu",) * (run.workers or int(resources["CPU"]))
    choose_device("cuda")
    return ("cuda:0",) * (run.workers or gpus)


def _resources(address: str) -> dict[str, float]:
    """What a Ray cluster has. Raises InputError if there is none."""
    ray = _imported_ray()
    try:
        with ray.init(address=address, log_to_driver=False, logging_level="ERROR"):
            found: dict[str, float] = ray.cluster_resources()
    except ConnectionError as error:
        raise InputError(
            f"--ray-address: saw {address}, where no Ray cluster answers ({error}); start one with `ray start --head`, or leave it out"
        ) from None
    return found


@contextmanager
def open_pool(run: Workers, devices: tuple[str, ...], stop: Stop) -> Iterator[Pool]:
    """A started pool with one worker for each device.

    Args:
        run: chooses the runner, process or ray.
        devices: see `devices_of`.
        stop: ends waiting for GPUs that another run uses.
    """
    opened = _ray(run, devices, stop) if run.runner == "ray" else _processes(devices, stop)
    with _server_for_children(), opened as pool:
        yield pool


@contextmanager
def _server_for_children() -> Iterator[None]:
    """Let worker processes use this flow run's server; without an address each would start an embedded one."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = str(get_client(sync_client=True).api_url).rstrip("/")
    try:
        yield
    finally:
        if before is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = before


class _Processes:
    window = 2  # the next one is there when a worker has finished

    def __init__(self, runner: TaskRunner[Any]) -> None:
        self._runner, self.cores = runner, cores()

    def submit(self, task: Task[..., Any], parameters: dict[str, Any]) -> PrefectFuture[Any]:
        future: PrefectFuture[Any] = self._runner.submit(task, parameters)
        return future

    def end(self, futures: Iterable[PrefectFuture[Any]], force: bool) -> None:
        for child in multiprocessing.active_children():
            if force:
                child.kill()
            else:
                child.terminate()  # SIGTERM: a request, see worker.py

    def is_broken(self, error: Exception) -> bool:
        return isinstance(error, BrokenProcessPool)  # a worker that is killed takes its pool along

    def abandon(self) -> None:
        self.end((), force=True)  # the runner would wait for ever for workers to which SIGTERM is but a request


@contextmanager
def _processes(devices: tuple[str, ...], stop: Stop) -> Iterator[_Processes]:
    with (
        kept(devices, stop),
        tempfile.TemporaryDirectory(prefix="gansynth-devices-") as locks,
        ProcessPoolTaskRunner(
            max_workers=len(devices), initializer=worker.start, initargs=(os.getpid(), devices, locks)
        ) as runner,
    ):
        pool = _Processes(runner)
        try:
            yield pool
        except BaseException:
            pool.end((), force=False)  # the runner waits for them
            raise


class _Ray:
    window = 1  # Ray runs whatever fits into the cluster

    def __init__(self, runner: TaskRunner[Any], gpu: bool, cores: int) -> None:
        self._runner, self.cores = runner, cores
        # max_calls=0: a worker process is kept from task to task, and with it the generator. Ray itself repeats the tasks
        # of a worker that is lost.
        self._options = {"num_gpus": 1 if gpu else 0, "num_cpus": 1, "max_calls": 0}

    def submit(self, task: Task[..., Any], parameters: dict[str, Any]) -> PrefectFuture[Any]:
        from prefect_ray.context import remote_options

        with remote_options(**self._options):
            future: PrefectFuture[Any] = self._runner.submit(task, parameters)
        return future

    def end(self, futures: Iterable[PrefectFuture[Any]], force: bool) -> None:
        import ray

        for future in futures:
            with suppress(Exception):  # ended meanwhile
                ray.cancel(future.wrapped_future, force=force)  # type: ignore[attr-defined]  # of PrefectRayFuture

    def is_broken(self, error: Exception) -> bool:
        return False

    def abandon(self) -> None: ...


def _imported_ray() -> Any:
    try:
        import prefect_ray  # noqa: F401 - only to see whether it is there
        import ray
    except ImportError as error:
        raise InputError(
            "--runner ray: needs prefect-ray, which is not installed; run pip install -e '.[ray]'"
        ) from error
    return ray


@contextmanager
def _ray(run: Workers, devices: tuple[str, ...], stop: Stop) -> Iterator[_Ray]:
    ray = _imported_ray()
    from prefect_ray import RayTaskRunner

    gpu, own = devices[0].startswith("cuda"), run.ray_address is None
    # Ray gives each worker its own GPU, which is then the only one that it sees.
    variables = {"GANSYNTH_WORKER_DEVICE": "cuda:0" if gpu else "cpu"}
    options: dict[str, Any] = {"runtime_env": {"env_vars": variables}}
    if own:
        options |= {"num_cpus": len(devices), "num_gpus": len(devices) if gpu else 0, "include_dashboard": False}
        options |= {"log_to_driver": False, "logging_level": "ERROR"}
    # local: whatever cluster this machine has or RAY_ADDRESS names is not asked for.
    runner = RayTaskRunner(address=run.ray_address or "local", init_kwargs=options)
    with kept(devices if own else (), stop), runner:  # a cluster keeps account of its GPUs by itself
        yield _Ray(runner, gpu, cores() if own else int(ray.cluster_resources()["CPU"]))
