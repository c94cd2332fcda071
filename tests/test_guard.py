"""Nobody outlives a flow that was killed: neither those whom the guard has seen nor those whom they start afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import guard

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
# A child that starts another one when it reads a line, and says its number.
CHILD = "echo ready; read line; sleep 1000 & echo $!; wait"


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    command = ["sh", "-c", f"sh -c '{CHILD}'; true"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stdout.readline() == "ready\n"
        yield running
        running.kill()


def looks(
    parent: subprocess.Popen[str], end: Callable[[], None], monkeypatch: pytest.MonkeyPatch, ends_with: bytes
) -> None:
    """Let the guard watch: it looks once, then something happens, then its pipe is closed."""
    looked = False

    def select(*arguments: Any) -> tuple[list[int], list[int], list[int]]:
        nonlocal looked
        if not looked:
            looked = True
            return [], [], []
        end()
        return [0], [], []

    monkeypatch.setattr(guard.select, "select", select)
    monkeypatch.setattr(guard.os, "read", lambda *arguments: ends_with)
    guard.watch(parent.pid)


def test_what_orphans_start_after_the_flow_was_killed_ends_too(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[int] = []

    def killed() -> None:
        assert parent.stdin and parent.stdout
        parent.kill()
        parent.wait()
        parent.stdin.write("\n")
        parent.stdin.flush()
        late.append(int(parent.stdout.readline()))

    looks(parent, killed, monkeypatch, b"")
    assert guard._started(late[0]) is None
    assert parent.stdout and parent.stdout.read() == "", "whoever could write is gone"


def test_a_flow_that_ends_well_keeps_what_it_leaves(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (child,) = guard._descendants(parent.pid)
    looks(parent, lambda: None, monkeypatch, b".")
    assert guard._started(child) is not None
    os.kill(child, 9)
