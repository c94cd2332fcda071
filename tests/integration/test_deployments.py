"""The flows on a Prefect server of their own, with every runner: same bytes, whoever is killed, and nobody left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster import PREFECT, ROOT, Cluster, postgresql, wait_for

from gansynth.check import verify
from gansynth.dataset import Dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DEMO = "deploy/recipes/demo.yaml"
ON_READY = "on-ready__automation_1"
RUNNERS = ("process", "ray", "deployment")
LONGER = {"seeds": "0-999"}  # 60 shards, so that there is time to interrupt a run


@contextmanager
def started(folder: Path, variables: dict[str, str]) -> Iterator[Cluster]:
    """A server with the deployments of deploy/prefect.yaml, and a worker. No dataset that is ready triggers anything yet."""
    cluster = Cluster(folder, variables)
    try:
        cluster.start_server()
        text = (ROOT / "deploy/prefect.yaml").read_text()
        file = folder / "prefect.yaml"
        file.write_text(text.replace("./runs/classifier", str(folder / "classifier")))
        cluster.start_worker(str(file))
        cluster.call(PREFECT, "automation", "pause", ON_READY)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("cluster"), {}) as cluster:
        yield cluster


def options(output: Path, **changes: Any) -> list[str]:
    keys = [f"{key}={value}" for key, value in (LONGER | changes).items()]
    return [DEMO, "--device", "cpu", "--output", str(output), *(part for key in keys for part in ("--set", key))]


def synthesize(output: Path, runner: str = "process", **changes: Any) -> list[str]:
    """A command that makes the demo dataset, of more seeds."""
    command = [sys.executable, "-m", "flows.synthesize", *options(output, **changes)]
    return [*command, "--workers", "2", "--runner", runner]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bytes that every runner has to make."""
    folder = tmp_path_factory.mktemp("alone") / "data"
    program = "import sys; from gansynth.cli import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", program, "generate", *options(folder)], cwd=ROOT, check=True, timeout=300)
    return digest(folder)


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.tar"), *folder.glob("*/*.parquet")]):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def workers(folder: Path) -> set[str]:
    """Who has made the shards so far, host:process."""
    return {json.loads(path.read_text())["worker"] for path in folder.glob("*/*_stats.json")}


def logged(cluster: Cluster, text: str) -> list[str]:
    """Lines with a text in the logs of all runs."""
    from prefect.client.orchestration import PrefectClient

    async def read() -> list[str]:
        async with PrefectClient(api=cluster.url) as client:
            lines, offset = [], 0
            while page := await client.read_logs(limit=200, offset=offset):
                lines += [line.message for line in page]
                offset += len(page)
            return [line for line in lines if text in line]

    import anyio

    return anyio.run(read)


def check_bytes_and_loads(cluster: Cluster, expected: str, folder: Path, runner: str) -> None:
    """Make a dataset: it has the right bytes, and each of its workers has loaded the generator once."""
    before = set(logged(cluster, ": loaded fashion-32"))
    cluster.call(*synthesize(folder, runner))
    assert digest(folder) == expected
    made_by = workers(folder)
    loads = wait_for(
        lambda: len(found := set(logged(cluster, ": loaded fashion-32")) - before) >= len(made_by) and found,
        30,
        "the log is incomplete",
    )
    assert sorted(line.partition(": loaded")[0] for line in loads) == sorted(made_by)
    if runner != "deployment":  # there every flow run has workers of its own
        assert len(made_by) == 2


def check_training_by_event(cluster: Cluster, folder: Path) -> None:
    """Make a dataset: it triggers the training of a classifier."""
    classifier = cluster.folder / "classifier/classifier.pt"
    classifier.unlink(missing_ok=True)
    cluster.call(PREFECT, "automation", "resume", ON_READY)
    cluster.call(*synthesize(folder, seeds="0-19"))
    wait_for(classifier.is_file, 180, "no classifier was trained")
    cluster.call(PREFECT, "automation", "pause", ON_READY)


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_makes_the_same_bytes_and_loads_a_generator_once_a_worker(
    cluster: Cluster, expected: str, tmp_path: Path, runner: str
) -> None:
    check_bytes_and_loads(cluster, expected, tmp_path / "data", runner)


def test_a_dataset_that_is_ready_triggers_a_training(cluster: Cluster, tmp_path: Path) -> None:
    check_training_by_event(cluster, tmp_path / "data")


def test_the_same_on_postgresql(expected: str, tmp_path: Path) -> None:
    with postgresql() as url, started(tmp_path, {"PREFECT_API_DATABASE_CONNECTION_URL": url}) as cluster:
        for runner in ("process", "deployment"):
            check_bytes_and_loads(cluster, expected, tmp_path / runner, runner)
        check_training_by_event(cluster, tmp_path / "data")
        assert not list((tmp_path / "home").glob("*.db")), "SQLite was used"


def victims(cluster: Cluster, folder: Path, runner: str, before: set[int]) -> set[int]:
    """Processes that are at work on a dataset: workers, or flow runs with their workers."""
    if runner == "deployment":
        return cluster.processes("prefect") - before
    return {int(name.rpartition(":")[2]) for name in workers(folder)} & cluster.processes()


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_killed_worker_costs_nothing_and_leaves_nobody(
    cluster: Cluster, expected: str, tmp_path: Path, runner: str
) -> None:
    before = cluster.processes()
    run = cluster.start(*synthesize(tmp_path / "data", runner))
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    found = wait_for(lambda: victims(cluster, tmp_path / "data", runner, before | {run.pid}), 60, "nobody is at work")
    os.kill(max(found), signal.SIGKILL)
    assert run.wait(600) == 0, cluster.log.read_text()[-3000:]
    assert digest(tmp_path / "data") == expected
    wait_for(lambda: cluster.processes() <= before, 5, "somebody was left behind")


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_killed_parent_leaves_nobody_and_running_again_completes(
    cluster: Cluster, expected: str, tmp_path: Path, runner: str
) -> None:
    before = cluster.processes()
    run = cluster.start(*synthesize(tmp_path / "data", runner))
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    run.kill()
    if runner != "deployment":  # there the flow runs at work belong to the pool's worker, and come to their own end
        wait_for(lambda: cluster.processes() <= before, 5, "somebody was left behind")
    cluster.call(*synthesize(tmp_path / "data", runner))
    assert digest(tmp_path / "data") == expected
    wait_for(lambda: cluster.processes() <= before, 60, "somebody was left behind")


def test_a_cancelled_run_stops_within_15_seconds_and_leaves_nobody(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.processes()
    parameters = {"output": str(tmp_path / "data"), "overrides": {"seeds": "0-99999"}, "run": {"workers": 2}}
    given = [part for key, value in parameters.items() for part in ("--param", f"{key}={json.dumps(value)}")]
    told = cluster.call(PREFECT, "deployment", "run", "synthesize/demo", *given)
    run = next(word for word in told.split() if word.count("-") == 4 and len(word.strip("'.")) == 36).strip("'.")
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    cluster.call(PREFECT, "flow-run", "cancel", run)
    asked = time.monotonic()
    wait_for(lambda: cluster.processes() <= before, 15, "somebody is still at work")
    left = asked + 15 - time.monotonic()
    wait_for(
        lambda: "CANCELLED" in cluster.call(PREFECT, "flow-run", "inspect", run).upper(), left + 10, "not cancelled"
    )
    assert not list((tmp_path / "data").glob("*/.*")), "something half-made was left"


def test_a_server_that_is_away_for_20_seconds_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    command = synthesize(tmp_path / "data", seeds="0-2999")  # goes on when the server is back
    run = cluster.start(*command)
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    server = cluster.programs.pop(0)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    away = time.monotonic() + 20
    wait_for(lambda: time.monotonic() > away, 30, "time stands still")
    cluster.start_server()
    if run.wait(300) != 0:
        assert "run the same command again" in cluster.log.read_text()
        cluster.call(*command)
    dataset = Dataset.open(str(tmp_path / "data"))
    assert dataset.is_complete and list(verify(dataset)) == []
