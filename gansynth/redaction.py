"""Keeping credentials out of everything that people read: messages, cards, records, logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

import fsspec.config

# Secrets of AWS often have slashes, which people do not always escape. Elsewhere digits and a slash are a port.
_SLASHED = r"(?:(?<=s3://)[^/\s@]*:|[^/\s@]*:(?!\d+/))[^\s@]*@"
_USER = rf"(?P<user>[^/\s]*@|{_SLASHED})"
_URL = re.compile(rf"(?P<scheme>\w+://){_USER}?(?P<place>[^\s?]*)(?:\?[^\s'\"]*)?")
_OPENING = re.compile(rf"(?P<scheme>\w+://){_USER}")
_CONTAINERS = ("abfs://", "abfss://", "adl://", "az://", "wasb://", "wasbs://")  # Azure's, which name them before an @
_TOKENS = ("http://", "https://")  # whose users alone may be secrets
_SECRET = re.compile(r"key|secret|token|password|username|credential|connection_string|sas", re.IGNORECASE)
_ENVIRONMENT = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SHORTEST = 4  # of a secret that is looked for: shorter ones are parts of words


def without_secrets(text: str) -> str:
    """A text without the credentials in it.

    Those are user, password and signed queries of URLs, and what the environment (AWS_*) and fsspec's configuration hold.
    """
    shown = _URL.sub(lambda url: f"{url['scheme']}{_container(url)}{url['place']}", text)
    for secret in sorted(_configured(), key=len, reverse=True):
        shown = shown.replace(secret, "***")
    return shown


def holds_password(url: str) -> bool:
    """Whether a URL has credentials in front of its host."""
    found = _OPENING.match(url)
    return found is not None and (":" in found["user"] or found["scheme"].lower() in _TOKENS)


def reason(error: Exception, url: str = "") -> str:
    """What storage said of a URL, on one line and without credentials, those in the URL among them."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    for secret in sorted(_inside(url), key=len, reverse=True):
        said = said.replace(secret, "***")
    return without_secrets(" ".join(said.split())) or type(error).__name__


def _container(url: re.Match[str]) -> str:
    """What stands before the @ of a URL, if it is no secret."""
    user = url["user"] or ""
    return user if ":" not in user and url["scheme"].lower() in _CONTAINERS else ""


def _inside(url: str) -> set[str]:
    """User and password of a URL, as written and as meant, and what drivers take for them if there are slashes in them."""
    found = _OPENING.match(url)
    if found is None or _container(found):
        return set()
    user = found["user"].removesuffix("@")
    parts = {user, user.partition("/")[0], *user.split(":"), *re.split("[:/]", user)}
    return {secret for part in parts for secret in (part, unquote(part)) if len(secret) >= _SHORTEST}


def _configured() -> set[str]:
    found = {os.environ.get(name, "") for name in _ENVIRONMENT}
    for options in fsspec.config.conf.values():
        found.update(_values(options))
    return {secret for secret in found if len(secret) >= _SHORTEST}


def _values(options: Mapping[str, object], inside: bool = False) -> Iterator[str]:
    """Texts under keys whose names tell of a secret, at any depth."""
    for key, value in options.items():
        secret = inside or bool(_SECRET.search(str(key)))
        if isinstance(value, Mapping):
            yield from _values(value, secret)
        elif secret and isinstance(value, str):
            yield value
