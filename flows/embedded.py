"""Keeping Prefect's embedded server out of the way of Ctrl-C."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import Any

from prefect.server.api.server import SubprocessASGIServer


def detach_server() -> None:
    """Start the embedded server in a session of its own.

    Ctrl-C reaches every process of the terminal's foreground group. A server among them would end before the flow has
    stopped its workers and reported its state, and the flow would fail with a refused connection instead.
    """
    original = getattr(SubprocessASGIServer, "_run_uvicorn_command", None)
    if original is None:  # another Prefect than this was written for; only the message after Ctrl-C suffers
        return

    def run(self: SubprocessASGIServer) -> subprocess.Popen[Any]:
        popen = subprocess.Popen
        subprocess.Popen = partial(popen, start_new_session=True)
        try:
            return original(self)
        finally:
            subprocess.Popen = popen

    SubprocessASGIServer._run_uvicorn_command = run
