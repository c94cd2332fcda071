"""Pulling weights from a server on this machine that breaks off, changes its files, lies about sizes or is down."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gansynth.cli import run
from gansynth.errors import DownloadError, InputError
from gansynth.generators import download, weights

CONFIG = b'{"z_dim": 4}'
WEIGHTS = bytes(i * 7 % 251 for i in range(10_000))
CHUNK = 1000


class Server(ThreadingHTTPServer):
    """Serves `files`, with ranges as RFC 9110 has them, and misbehaves on demand."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"config.json": CONFIG, "pytorch_model.bin": WEIGHTS}
        self.validator = "ETag"
        self.break_after: dict[str, list[int]] = {}  # file -> bytes after which the next answers break off
        self.status: int | None = None
        self.extra_length = 0
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []
        self.bytes_sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        server, name, wanted = self.server, self.path.rpartition("/")[2], self.headers.get("Range")
        server.requests.append((name, wanted))
        content = server.files.get(name)
        if content is None or server.status:
            self.send_error(server.status or 404)
            return
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start, status = 0, 200
        if wanted and server.ranges and self.headers.get("If-Range", tag) == tag:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        body = content[start:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + server.extra_length))
        if server.validator:
            self.send_header(server.validator, tag)
        self.end_headers()
        breaks = server.break_after.get(name)
        if breaks:
            body = body[: breaks.pop(0)]
            self.close_connection = True
        if server.extra_length:
            self.close_connection = True
        self.wfile.write(body)
        server.bytes_sent += len(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test whose code looks up any other host."""
    look_up = socket.getaddrinfo

    def guarded(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1"):
            pytest.fail(f"a request to {host!r} would leave this machine")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "_CHUNK", CHUNK)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server that the known model `toy` comes from."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setitem(weights.KNOWN, "toy", toy(running.url))
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANSYNTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "toy"


def toy(url: str) -> weights.KnownModel:
    files = {name: f"{url}/models/{name}" for name in ("config.json", "pytorch_model.bin")}
    return weights.KnownModel("biggan", 8, 2, 4, 0.1, "MIT", "this test", config={}, files=files)


def know(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    monkeypatch.setitem(weights.KNOWN, "toy", replace(weights.KNOWN["toy"], **facts))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def failure() -> str:
    """The message of the error that pulling raises."""
    with pytest.raises(DownloadError) as caught:
        download.pull("toy")
    message = str(caught.value)
    assert "\n" not in message
    return message


# When all goes well


def test_pulled_files_are_those_of_the_server(server: Server, cache: Path) -> None:
    assert weights.locate("toy") is None
    assert download.pull("toy") == cache == weights.locate("toy")
    assert names(cache) == {"config.json", "pytorch_model.bin"}
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS
    assert (cache / "config.json").read_bytes() == CONFIG


def test_the_weights_come_after_their_configuration(server: Server) -> None:
    download.pull("toy")
    assert server.requests == [("config.json", None), ("pytorch_model.bin", None)]


def test_a_second_pull_makes_no_request(server: Server, cache: Path) -> None:
    download.pull("toy")
    server.requests.clear()
    assert download.pull("toy") == cache
    assert server.requests == []


def test_embedded_weights_need_no_request(server: Server) -> None:
    assert (download.pull("fashion-32") / "pytorch_model.bin").is_file()
    assert server.requests == []


def test_progress_counts_up_to_the_whole(server: Server) -> None:
    seen: list[tuple[str, int, int | None]] = []
    download.pull("toy", on_bytes=lambda *facts: seen.append(facts))
    mine = [facts for facts in seen if facts[0] == "pytorch_model.bin"]
    assert [done for _, done, _ in mine] == list(range(CHUNK, len(WEIGHTS) + 1, CHUNK))
    assert {total for _, _, total in mine} == {len(WEIGHTS)}


def test_a_mirror_stands_in_for_the_source(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(weights.KNOWN, "toy", toy("http://the.source.invalid"))
    assert run(["models", "pull", "toy", "--url", f"{server.url}/mirror/"]) == 0
    assert capsys.readouterr().out == f"{cache}\n"
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS


# When the connection breaks


def test_a_download_goes_on_where_it_broke_off(server: Server, cache: Path) -> None:
    server.break_after = {"pytorch_model.bin": [6500]}
    assert "broke off" in failure()
    reached = (cache / "pytorch_model.bin.part").stat().st_size
    assert reached == 6000
    server.bytes_sent = 0
    download.pull("toy")
    assert server.requests[-1] == ("pytorch_model.bin", f"bytes={reached}-")
    assert server.bytes_sent == len(WEIGHTS) - reached
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS
    assert names(cache) == {"config.json", "pytorch_model.bin"}


def test_a_download_goes_on_after_ctrl_c(server: Server, cache: Path) -> None:
    def interrupt(file: str, done: int, total: int | None) -> None:
        if file == "pytorch_model.bin" and done >= 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.pull("toy", on_bytes=interrupt)
    assert names(cache) == {"config.json", "pytorch_model.bin.part", "pytorch_model.bin.etag"}
    download.pull("toy")
    assert server.requests[-1] == ("pytorch_model.bin", "bytes=3000-")
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    breaks=st.lists(st.integers(0, len(WEIGHTS) - 1), max_size=5),
    changes=st.sets(st.integers(0, 4)),
    validator=st.sampled_from(["ETag", "Last-Modified", ""]),
    ranges=st.booleans(),
)
def test_the_file_is_right_however_often_the_connection_breaks_and_the_file_changes(
    server: Server, cache: Path, breaks: list[int], changes: set[int], validator: str, ranges: bool
) -> None:
    for path in cache.glob("*"):
        path.unlink()
    server.files["pytorch_model.bin"], server.validator, server.ranges = WEIGHTS, validator, ranges
    server.break_after = {"pytorch_model.bin": breaks}
    for attempt in range(len(breaks) + 1):
        try:
            download.pull("toy")
            break
        except DownloadError:
            assert not (cache / "pytorch_model.bin").exists()
        if attempt in changes:
            server.files["pytorch_model.bin"] = bytes([attempt]) + WEIGHTS
    assert (cache / "pytorch_model.bin").read_bytes() == server.files["pytorch_model.bin"]


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, cache: Path, validator: str) -> None:
    server.validator, server.break_after = validator, {"pytorch_model.bin": [6500]}
    failure()
    server.files["pytorch_model.bin"] = changed = bytes(reversed(WEIGHTS))
    download.pull("toy")
    assert server.requests[-1][1] == "bytes=6000-"
    assert (cache / "pytorch_model.bin").read_bytes() == changed


def test_a_partial_file_longer_than_the_servers_is_dropped(server: Server, cache: Path) -> None:
    server.break_after = {"pytorch_model.bin": [6500]}
    failure()
    with (cache / "pytorch_model.bin.part").open("ab") as file:
        file.write(WEIGHTS)
    assert "does not fit" in failure()
    download.pull("toy")
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS


def test_nothing_has_its_final_name_before_it_is_complete(server: Server, cache: Path) -> None:
    seen: list[set[str]] = []
    download.pull("toy", on_bytes=lambda file, done, total: seen.append(names(cache)))
    assert len(seen) == 11
    assert all("pytorch_model.bin" not in found for found in seen)
    assert all("pytorch_model.bin.part" in found for found in seen[1:])


# When the server is at fault


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_refusing_server_is_an_error_that_names_the_way_out(server: Server, cache: Path, status: int) -> None:
    server.status = status
    message = failure()
    assert f"the server answered {status}" in message
    assert "--url" in message
    assert "config.json" not in names(cache)


def test_a_server_that_fails_halfway_does_not_cost_what_came_before(server: Server, cache: Path) -> None:
    server.break_after = {"pytorch_model.bin": [6500]}
    failure()
    server.status = 500
    failure()
    server.status = None
    download.pull("toy")
    assert server.requests[-1] == ("pytorch_model.bin", "bytes=6000-")
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS


def test_a_server_that_promises_more_than_it_sends_is_an_error(server: Server, cache: Path) -> None:
    server.extra_length = 5
    failure()
    assert not names(cache) & {"config.json", "pytorch_model.bin"}


def test_a_server_that_is_down_is_an_error_in_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    assert run(["models", "pull", "toy", "--url", url]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"gansynth: {url}/config.json: ")


@pytest.mark.parametrize(
    "url", ["no-url", "ftp://127.0.0.1/x", "http://", "http://127.0.0.1:port", "http://127.0.0.1:99999"]
)
def test_a_mirror_that_is_no_url_is_an_error_in_one_line(
    server: Server, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert run(["models", "pull", "toy", "--url", url]) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1


# What came is checked


def test_a_file_of_the_wrong_size_is_refused_and_removed(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, sizes={"pytorch_model.bin": len(WEIGHTS) + 1})
    assert "10,000 bytes came, but it should have 10,001" in failure()
    assert names(cache) == {"config.json"}


def test_a_file_of_the_right_size_and_hash_is_taken_without_a_word(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    know(monkeypatch, sizes={"pytorch_model.bin": len(WEIGHTS)}, sha256={"pytorch_model.bin": digest})
    download.pull("toy")
    assert (cache / "pytorch_model.bin").exists()


def test_a_hash_that_rests_on_a_single_source_warns_and_does_not_fail(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, sha256={"pytorch_model.bin": "0" * 64})
    with pytest.warns(UserWarning, match=r"pytorch_model\.bin: its sha256 is [0-9a-f]{64}, but one source says 0000"):
        download.pull("toy")
    assert (cache / "pytorch_model.bin").read_bytes() == WEIGHTS


def test_an_unknown_model_is_bad_input(server: Server) -> None:
    with pytest.raises(InputError, match="biggan-deep-256"):
        download.pull("toyy")
    assert server.requests == []


@pytest.mark.parametrize("blocked", ["cache", "cache/toy"])
def test_a_cache_that_cannot_be_written_is_an_error_in_one_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], blocked: str
) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).touch()
    assert run(["models", "pull", "toy"]) in (1, 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
