"""Fetching the weights of known models: resumable, checked, and never under their final name until complete."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import httpx

from gansynth.environment import cache_folder
from gansynth.errors import DownloadError, InputError
from gansynth.generators import weights

_CHUNK = 2**20
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
Progress = Callable[[str, int, int | None], None]


def pull(
    name: str,
    base_url: str | None = None,
    on_bytes: Progress = lambda file, done, total: None,
    warn: Callable[[str], object] = warnings.warn,
) -> Path:
    """Fetch a known model into the cache folder; returns the folder with its config.json and weights.

    Files that are there already are not fetched again. An interrupted download goes on where it stopped.

    Args:
        name: a name of `gansynth models list`.
        base_url: mirror to fetch from instead, which holds the files under their names in the cache.
        on_bytes: called with file name, bytes so far and bytes in all (None if unknown).
        warn: called with a message if a file's sha256 is not the one that a single source gives.

    Raises:
        InputError: no such model.
        DownloadError: the server cannot be reached, refuses, or sends a file of the wrong size.
    """
    known = weights.KNOWN.get(name)
    if known is None:
        raise InputError(f"models: there is no {name!r}; known are {', '.join(weights.KNOWN)}")
    if known.files is None:
        return weights.locate(name) or Path()
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Weights last: a folder with weights has its configuration.
        for file, url in known.files.items():
            if not (folder / file).is_file():
                source = f"{base_url.rstrip('/')}/{file}" if base_url else url
                part = _fetch(source, folder / f"{file}.part", on_bytes)
                _check(part, file, known, warn)
                part.replace(folder / file)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be written ({error}); make room, or set GANSYNTH_CACHE") from None
    return folder


def _fetch(url: str, part: Path, on_bytes: Progress) -> Path:
    """Download to `part`, going on with what is there."""
    tag_file = part.with_suffix(".etag")
    tag = tag_file.read_text() if tag_file.exists() else ""
    start = part.stat().st_size if part.exists() and tag else 0
    # If-Range: a file that changed on the server since is sent whole, not appended to the old one's beginning.
    headers = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=_TIMEOUT) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity", **headers}) as response,
        ):
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink()
                raise DownloadError(
                    f"{url}: the partial download does not fit the server's file; run the command again"
                )
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            done = start if resumed else 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else None
            tag_file.write_text(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
            with part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_bytes(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    on_bytes(part.stem, done, total)
    except httpx.HTTPStatusError as error:
        raise DownloadError(
            f"{url}: the server answered {error.response.status_code}; try another source with --url, or copy the files "
            f"to {part.parent}"
        ) from None
    except httpx.InvalidURL as error:
        raise DownloadError(f"{url}: is no address ({error}); give --url as http://HOST/FOLDER") from None
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise DownloadError(f"{url}: the download broke off ({reason}); run the command again to go on") from None
    if total is not None and done != total:
        raise DownloadError(f"{url}: {done:,} of {total:,} bytes came; run the command again to go on")
    tag_file.unlink(missing_ok=True)
    return part


def _check(part: Path, name: str, known: weights.KnownModel, warn: Callable[[str], object]) -> None:
    """Compare size and sha256 with what is known of the file; a file of the wrong size is removed."""
    found, size = part.stat().st_size, (known.sizes or {}).get(name)
    if size is not None and found != size:
        part.unlink()
        raise DownloadError(f"{name}: {found:,} bytes came, but it should have {size:,}; they were removed, try again")
    expected = (known.sha256 or {}).get(name)
    if expected is not None:
        with part.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != expected:
            warn(f"{name}: its sha256 is {digest}, but one source says {expected}; compare with another copy")
