"""Prefect's settings for runs without a server of their own, and a remedy for forked children.

Knows nothing of recipes. Must not import Prefect: its settings are read from the environment on import.
"""

from __future__ import annotations

import os
import threading
import tomllib
from pathlib import Path

from gansynth.errors import InputError

_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
_EMBEDDED = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    # A fresh home takes 20 s and more: the database is created.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # The embedded server keeps nothing that anybody could look at later; what matters is printed and in the receipts.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def apply() -> None:
    """Set what the user has not set. Without a server (PREFECT_API_URL) the embedded one is used, quietly."""
    for name, value in (_ALWAYS | (_EMBEDDED if is_embedded() else {})).items():
        os.environ.setdefault(name, value)
    os.register_at_fork(after_in_child=_drop_exit_hooks)


def is_embedded() -> bool:
    """Whether neither the environment nor the active Prefect profile names a server."""
    if os.environ.get("PREFECT_API_URL"):
        return False
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        profiles = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return True
    active = os.environ.get("PREFECT_PROFILE") or profiles.get("active", "")
    return "PREFECT_API_URL" not in profiles.get("profiles", {}).get(active, {})


def require_server() -> None:
    """Raise InputError without a server of its own, which flow runs on other machines need."""
    if is_embedded():
        raise InputError(
            "--runner deployment: no Prefect server is named, and other machines cannot reach the embedded one; set "
            "PREFECT_API_URL, such as http://host:4200/api"
        )


def _drop_exit_hooks() -> None:
    """Prefect before 3.9.1 registers an exit hook that fails in every forked child, such as a DataLoader's workers."""
    hooks = getattr(threading, "_threading_atexits", [])
    hooks[:] = [hook for hook in hooks if not getattr(hook, "func", hook).__module__.startswith("prefect")]
