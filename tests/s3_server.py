"""An S3 server on this machine, and what goes wrong between it and its clients: on purpose, the same way every time."""

from __future__ import annotations

import logging
import random
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

KEY, SECRET = "GANSYNTHTESTKEY00001", "hunter2/this+is+never+shown/0123456789ab"
FAULTS = ("500", "503", "lost request", "lost answer", "half an answer")


@dataclass(frozen=True)
class Request:
    """What a client asked for; `key` is the object's, without the bucket."""

    method: str
    bucket: str
    key: str
    query: str


class Server:
    """Moto's server behind a middleman that counts, and breaks what it is told to.

    `faults(request)` names what goes wrong with a request, one of FAULTS or "slow", or None. `watch(request)` is called
    before each one.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._inner = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=MotoRequestHandler)
        self._lock = threading.Lock()
        self._arrived = threading.Condition()
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._buckets = self._count = 0
        self.reset()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        """Forget what was asked, and break nothing."""
        self.requests: list[Request] = []
        self.faults: Callable[[Request], str | None] = lambda request: None
        self.watch: Callable[[Request], object] = lambda request: None
        self.ignores_conditions = False
        self.broken = 0

    def stop(self) -> None:
        with self._arrived:
            self._count += 1
            self._arrived.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # What is stored, without a request

    @property
    def backend(self) -> Any:
        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def new_bucket(self) -> str:
        """The name of a new bucket."""
        self._buckets += 1
        self.backend.create_bucket(f"bucket-{self._buckets}", "us-east-1")
        return f"bucket-{self._buckets}"

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.backend.put_object(bucket, key, data)

    def files(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Key -> bytes, without the prefix."""
        keys = dict(self.backend.buckets[bucket].keys.items())
        return {key[len(prefix) :]: found.value for key, found in sorted(keys.items()) if key.startswith(prefix)}

    def uploads(self, bucket: str) -> list[str]:
        """Keys of uploads in parts that were begun and neither completed nor aborted."""
        return [upload.key_name for upload in self.backend.buckets[bucket].multiparts.values()]

    # Requests

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        request = Request(environ["REQUEST_METHOD"], bucket, key, environ.get("QUERY_STRING", ""))
        with self._lock:
            self.requests.append(request)
            number = self._count = self._count + 1
            fault = self.faults(request)
            self.broken += fault is not None
        with self._arrived:
            self._arrived.notify_all()
        self.watch(request)
        if fault == "lost request":
            _hang_up(environ)
        if fault == "slow":
            with self._arrived:  # until the client has lost patience and asks again
                self._arrived.wait_for(lambda: self._count > number)
            _hang_up(environ)
        if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return _refuse(environ, start, "403 Forbidden", "InvalidAccessKeyId")
        if fault == "500":
            return _refuse(environ, start, "500 Internal Server Error", "InternalError")
        if fault == "503":
            return _refuse(environ, start, "503 Slow Down", "SlowDown")
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        return self._answer(environ, start, fault)

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any], fault: str | None) -> Iterable[bytes]:
        told: list[Any] = []
        with self._lock:  # moto looks for a key and puts it in two steps; a real server does not
            body = b"".join(self._inner(environ, lambda *answer, **_: told.append(answer)))
        if fault == "lost answer":
            _hang_up(environ)
        start(*told[0][:2])
        return _half(body, environ) if fault == "half an answer" else [body]


def _half(body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    _hang_up(environ)


def _hang_up(environ: dict[str, Any]) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


def _refuse(environ: dict[str, Any], start: Callable[..., Any], status: str, code: str) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = f"<Error><Code>{code}</Code><Message>On purpose: {code}</Message></Error>".encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def one_in(count: int, seed: int) -> Callable[[Request], str | None]:
    """Break one request in so many, each time in one of the ways of FAULTS."""
    random_ = random.Random(seed)
    return lambda request: random_.choice(FAULTS) if random_.randrange(count) == 0 else None
