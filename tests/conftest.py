"""Fixtures that many tests share."""

from __future__ import annotations

import os

# The suite runs in as many processes as there are cores, and one thread each is then the fastest: torch's own threads
# would wait for each other in a busy loop. It has to be said before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

import gansynth

if TYPE_CHECKING:
    from s3_server import Server

hypothesis.settings.register_profile("gansynth", deadline=None)  # nothing fails for being slow
hypothesis.settings.load_profile("gansynth")

SMALL: dict[str, Any] = {
    "name": "small",
    "generator": "fashion-32",
    "classes": ["sneaker", 9, "Bag"],
    "truncation": [0.4, 1.0],
    "seeds": "0-39",
    "splits": {"train": 0.8, "val": 0.2},
    "samples_per_shard": 50,
    "batch_size": 16,
}
# A BigGAN-deep with every kind of layer.
TINY: dict[str, Any] = {
    "attention_layer_position": 1,
    "channel_width": 8,
    "class_embed_dim": 8,
    "eps": 1e-4,
    "layers": [[True, 16, 8], [False, 8, 4], [True, 4, 2], [False, 2, 1]],
    "n_stats": 51,
    "num_classes": 3,
    "output_dim": 16,
    "z_dim": 8,
}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No test reads or writes the user's cache of weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANSYNTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Make a dataset of the small recipe with some keys changed; returns its folder."""

    def _make(folder: str = "dataset", **changes: Any) -> Path:
        gansynth.generate(gansynth.Recipe(**{**SMALL, "output": str(tmp_path / folder), **changes}), device="cpu")
        return tmp_path / folder

    return _make


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete dataset of the small recipe: 5 train shards and 1 or 2 of val. Not to be changed."""
    folder = tmp_path_factory.mktemp("shared") / "dataset"
    gansynth.generate(gansynth.Recipe(**SMALL, output=str(folder)), device="cpu")
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """An S3 server for all tests of this process."""
    from s3_server import Server

    server = Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, as a user's environment names it. In this process requests are repeated without a pause."""
    import s3fs
    from s3_server import KEY, SECRET

    s3_server.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("botocore.retryhandler.delay_exponential", lambda **_: 0.0)
    s3fs.S3FileSystem.clear_instance_cache()  # which would remember another test's environment
    yield s3_server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(s3: Server) -> str:
    """The name of an empty bucket."""
    return s3.new_bucket()
