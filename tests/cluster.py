"""A Prefect server of its own on this machine, with a work pool and a worker: as flows run where nobody watches."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[1]
PREFECT = str(Path(sys.executable).parent / "prefect")
POOL = "gansynth"
T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float, why: str) -> T:
    """Look again and again until something is so; returns what it is."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.1)
    return found


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def postgresql() -> Iterator[str]:
    """An empty database of Debian's PostgreSQL, for as long as the block runs: its address for SQLAlchemy."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it does not run as root
    port = str(free_port())
    with TemporaryDirectory(prefix="gansynth-postgresql-") as name:
        if user:
            shutil.chown(name, "postgres")
        initdb = [*user, str(programs[-1] / "initdb"), "--auth=trust", "--username=prefect", f"--pgdata={name}/data"]
        subprocess.run(initdb, cwd=name, check=True, stdout=subprocess.DEVNULL)
        server = [*user, str(programs[-1] / "postgres"), "-D", f"{name}/data", "-k", name, "-p", port]
        with subprocess.Popen(server, cwd=name, stderr=subprocess.DEVNULL, start_new_session=True) as running:
            create = [
                str(programs[-1] / "createdb"),
                "--host=127.0.0.1",
                "--username=prefect",
                f"--port={port}",
                "runs",
            ]
            try:
                wait_for(lambda: not subprocess.run(create, stderr=subprocess.DEVNULL).returncode, 30, "no database")
                yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/runs"
            finally:
                os.killpg(running.pid, signal.SIGINT)


@dataclass
class Cluster:
    """A server, and programs that know it.

    Args:
        folder: for its home and its log.
        variables: further ones of the environment.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        # Importing flows has set what suits the embedded server.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        home = {"PREFECT_HOME": str(self.folder / "home"), "PREFECT_API_URL": self.url}
        return {**inherited, **home, "OMP_NUM_THREADS": "1", **self.variables}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own; what it prints goes to the log."""
        # A program that a shell starts in the background would ignore Ctrl-C for ever.
        reset = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with self.log.open("ab") as log:
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

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start_server(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it answers."""
        server = self.start(PREFECT, "server", "start", "--port", str(self.port))
        wait_for(self._is_up, 120, "the server does not come up")
        return server

    def _is_up(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=2):
            return True
        return False

    def start_worker(self, prefect_file: str) -> None:
        """Make the work pool and the deployments of a file, and start a worker that runs what is due."""
        self.call(PREFECT, "work-pool", "create", POOL, "--type", "process")
        self.call(PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", prefect_file)
        self.start(PREFECT, "worker", "start", "--pool", POOL)

    def call(self, *command: str) -> str:
        """Run a program that must succeed; returns what it printed."""
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """End all programs."""
        for program in reversed(self.programs):
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                program.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()

    def processes(self, name: str = "") -> set[int]:
        """Running programs that know this server and have a text in their command line."""
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                knows = f"PREFECT_API_URL={self.url}".encode() in (path / "environ").read_bytes()
                if knows and name.encode() in (path / "cmdline").read_bytes().replace(b"\0", b" "):
                    found.add(int(path.name))
        return found
