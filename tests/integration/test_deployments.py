"""The flows on a Prefect server of their own, with a work pool and a worker: as they run where nobody watches."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
DEMO = "deploy/recipes/demo.yaml"


def wait_for(what: Callable[[], object], seconds: float, why: str) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.2)


@dataclass
class Cluster:
    """A server, and programs that know it."""

    folder: Path
    port: int
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}/api"
        return {**os.environ, "PREFECT_HOME": str(self.folder / "home"), "PREFECT_API_URL": url, "OMP_NUM_THREADS": "1"}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        # A program that is started from a shell in the background would ignore Ctrl-C for ever.
        reset = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        with (self.folder / "log").open("ab") as log:
            program = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=reset,
            )
        self.programs.append(program)
        return program

    def start_server(self) -> subprocess.Popen[bytes]:
        server = self.start(_tool("prefect"), "server", "start", "--port", str(self.port))
        wait_for(self.is_up, 120, "the server does not come up")
        return server

    def is_up(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=2):
            return True
        return False

    def call(self, *command: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        for program in reversed(self.programs):
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                program.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)

    def processes(self, name: str = "") -> set[int]:
        """Running programs that know this server and have a text in their command line."""
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                knows = f"PREFECT_API_URL=http://127.0.0.1:{self.port}/api".encode() in (path / "environ").read_bytes()
                if knows and name.encode() in (path / "cmdline").read_bytes().replace(b"\0", b" "):
                    found.add(int(path.name))
        return found


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(folder, port)
    try:
        cluster.start_server()
        cluster.call(_tool("prefect"), "work-pool", "create", "gansynth", "--type", "process")
        text = (ROOT / "deploy/prefect.yaml").read_text()
        (folder / "prefect.yaml").write_text(text.replace("./runs/classifier", str(folder / "classifier")))
        cluster.call(_tool("prefect"), "--no-prompt", "deploy", "--all", "--prefect-file", str(folder / "prefect.yaml"))
        cluster.start(_tool("prefect"), "worker", "start", "--pool", "gansynth")
        yield cluster
    finally:
        cluster.stop()


def synthesize(output: Path, *options: str) -> tuple[str, ...]:
    """A command that makes a smaller demo dataset, of 13 shards."""
    keys = ("--set", "seeds=0-59", "--set", "samples_per_shard=150", "--device", "cpu")
    return (sys.executable, "-m", "flows.synthesize", DEMO, *keys, "--output", str(output), "--workers", "2", *options)


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.tar"), *folder.glob("*/*.parquet")]):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def workers(folder: Path) -> set[str]:
    return {json.loads(path.read_text())["worker"] for path in folder.glob("*/*_stats.json")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bytes that every runner has to make."""
    folder = tmp_path_factory.mktemp("alone") / "data"
    program = "import sys; from gansynth.cli import main; main(sys.argv[1:])"
    options = synthesize(folder)[3:-2]  # without the number of workers
    subprocess.run([sys.executable, "-c", program, "generate", *options], cwd=ROOT, check=True, timeout=300)
    return digest(folder)


@pytest.mark.parametrize("runner", ["process", "ray", "deployment"])
def test_every_runner_makes_the_same_bytes(cluster: Cluster, expected: str, tmp_path: Path, runner: str) -> None:
    cluster.call(*synthesize(tmp_path / "data", "--runner", runner))
    assert digest(tmp_path / "data") == expected
    if runner != "deployment":
        assert len(workers(tmp_path / "data")) == 2, "the generator was not kept from task to task"


def test_a_dataset_that_is_ready_triggers_a_training(cluster: Cluster, tmp_path: Path) -> None:
    classifier = cluster.folder / "classifier/classifier.pt"
    classifier.unlink(missing_ok=True)
    cluster.call(*synthesize(tmp_path / "data"))
    wait_for(classifier.is_file, 180, "no classifier was trained")


VICTIMS = {"process": "spawn_main", "ray": "ray::", "deployment": "prefect.flow_engine"}


@pytest.mark.parametrize("runner", VICTIMS)
def test_a_killed_worker_costs_nothing_and_leaves_nobody(
    cluster: Cluster, expected: str, tmp_path: Path, runner: str
) -> None:
    before = cluster.processes()
    run = cluster.start(*synthesize(tmp_path / "data", "--runner", runner))
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    victims = {int(name.rpartition(":")[2]) for name in workers(tmp_path / "data")} & cluster.processes()
    victims = victims or cluster.processes(VICTIMS[runner]) - before
    if runner == "deployment":
        wait_for(lambda: cluster.processes(VICTIMS[runner]) - before, 100, "no flow run is at work")
        victims = cluster.processes(VICTIMS[runner]) - before
    os.kill(victims.pop(), signal.SIGKILL)
    assert run.wait(400) == 0
    assert digest(tmp_path / "data") == expected
    wait_for(lambda: cluster.processes() <= before | cluster.processes("ray"), 30, "somebody was left behind")
    wait_for(lambda: not cluster.processes("ray") - before, 30, "Ray was left behind")


@pytest.mark.parametrize("runner", ["process", "ray"])
def test_a_killed_parent_leaves_nobody_and_running_again_completes(
    cluster: Cluster, expected: str, tmp_path: Path, runner: str
) -> None:
    before = cluster.processes()
    run = cluster.start(*synthesize(tmp_path / "data", "--runner", runner))
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    run.kill()
    wait_for(lambda: cluster.processes() <= before, 15, "somebody was left behind")
    cluster.call(*synthesize(tmp_path / "data", "--runner", runner))
    assert digest(tmp_path / "data") == expected


def test_a_server_that_is_away_for_a_while_costs_nothing(cluster: Cluster, expected: str, tmp_path: Path) -> None:
    run = cluster.start(*synthesize(tmp_path / "data"))
    wait_for(lambda: workers(tmp_path / "data"), 200, "no shard came")
    server = cluster.programs[0]
    os.killpg(server.pid, signal.SIGKILL)
    away = time.monotonic() + 20
    wait_for(lambda: time.monotonic() > away, 30, "time stands still")
    cluster.programs[0] = cluster.start_server()
    run.wait(300)
    if run.returncode != 0:
        cluster.call(*synthesize(tmp_path / "data"))
    assert digest(tmp_path / "data") == expected
