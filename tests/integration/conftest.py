"""Prefect for tests: one server for flows called here, one home for flows started as programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import flows  # noqa: F401 - sets what Prefect reads when it is imported


@pytest.fixture(scope="session", autouse=True)
def _prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for all flows that are started as programs: a fresh one takes ten seconds to migrate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        yield


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
