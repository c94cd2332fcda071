"""GPUs of a machine that flow runs share."""

from __future__ import annotations

import logging
import signal
import tempfile
from pathlib import Path

import pytest

from flows import gpus
from gansynth.errors import Interrupted
from gansynth.stopping import Stop


@pytest.fixture(autouse=True)
def _pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gpus, "_name", lambda device: f"GPU-{device}")
    monkeypatch.setattr(gpus, "get_run_logger", logging.getLogger)


def stopped() -> Stop:
    """Ends whoever would have to wait."""
    stop = Stop()
    stop.request(signal.SIGTERM)
    return stop


def test_a_run_waits_for_gpus_that_another_one_uses() -> None:
    with gpus.kept(("cuda:0", "cuda:1"), Stop()):
        with pytest.raises(Interrupted), gpus.kept(("cuda:1", "cuda:2"), stopped()):
            pass
        with gpus.kept(("cuda:2", "cuda:3"), stopped()):  # whoever waits holds none of those that are free
            pass
    with gpus.kept(("cuda:1", "cuda:2"), stopped()):
        pass


def test_processors_are_shared() -> None:
    with gpus.kept(("cpu", "cpu"), Stop()), gpus.kept(("cpu",), stopped()):
        pass
