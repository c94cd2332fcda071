"""Keeping Prefect's embedded server out of the way of Ctrl-C."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import Any
from unittest.mock import patch

from flows.settings import is_embedded


def detach_server() -> None:
    """Start the embedded server, if it is one that will be used, in a session of its own.

    Ctrl-C reaches every process of the terminal's foreground group. A server among them would end before the flow has
    stopped its workers and reported its state, and the flow would fail with a refused connection instead.
    """
    if not is_embedded():
        return
    # Not at the top: it takes a second and a half, and worker processes import the flow's modules too.
    from prefect.server.api.server import SubprocessASGIServer

    original = getattr(SubprocessASGIServer, "_run_uvicorn_command", None)
    if original is None:  # another Prefect than this was written for; only the message after Ctrl-C suffers
        return

    def run(self: SubprocessASGIServer) -> subprocess.Popen[Any]:
        with patch.object(subprocess, "Popen", partial(subprocess.Popen, start_new_session=True)):
            process: subprocess.Popen[Any] = original(self)
        return process

    patch.object(SubprocessASGIServer, "_run_uvicorn_command", run).start()
