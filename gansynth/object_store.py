"""Publishing to object stores: every file is one put, which readers see as a whole or not at all.

S3 and what speaks its language get more than other drivers: parts of a sensible size, the put's own checksum in place of
another look, and proof that a file can be created exclusively. Requests that fail for a moment are repeated by the driver
(botocore: five attempts with growing pauses, or AWS_MAX_ATTEMPTS).
"""

from __future__ import annotations

import errno
import hashlib
import math
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gansynth.errors import OutputError
from gansynth.local_files import SCRATCH

# A part is sent again as a whole when it fails; four of them are in memory at a time. Smaller files go in one request.
PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE, _MOST_PARTS = 4, 10_000
_ABANDONED_AFTER = timedelta(days=1)
_MARK = "gansynth-writer"  # in an object's metadata: who created it


class Objects:
    """Writes files below a prefix with any driver of fsspec.

    Args:
        filesystem: the driver.
        root: bucket and prefix.
    """

    reading: Mapping[str, Any] = {}
    "Options of the driver's `cat_file`."

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs, self._root = filesystem, root

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A local folder for a file in the making."""
        folder = Path(tempfile.mkdtemp(prefix="gansynth-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put_file(self, source: Path, target: str) -> bool:
        """Put a local file; whether the store's answer shows that it holds these very bytes."""
        self._fs.put_file(str(source), target)
        return False

    def put(self, data: bytes, target: str) -> bool:
        """The same for bytes."""
        self._fs.pipe_file(target, data)
        return False

    def create(self, data: bytes, target: str) -> bool:
        """Put bytes only if there is no such object; whether they were."""
        try:
            self._fs.pipe_file(target, data, mode="create")
        except FileExistsError:
            return False
        return True

    def clear(self) -> None:
        """Remove what is left of uploads that never ended, as far as the store keeps such things."""


class S3Objects(Objects):
    """The same with s3fs."""

    reading: Mapping[str, Any] = {"max_concurrency": 1}  # else s3fs asks for the size first, for every receipt

    def __init__(self, filesystem: Any, root: str) -> None:
        super().__init__(filesystem, root)
        self._exclusive = False
        _expect_nothing(filesystem)

    def put_file(self, source: Path, target: str) -> bool:
        size = source.stat().st_size
        if size < 2 * PART_BYTES:
            return self.put(source.read_bytes(), target)
        part = max(PART_BYTES, math.ceil(size / _MOST_PARTS))
        self._fs.put_file(str(source), target, chunksize=part, max_concurrency=_PARTS_AT_ONCE)
        return False

    def put(self, data: bytes, target: str) -> bool:
        answer = self._fs.pipe_file(target, data, chunksize=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
        # Not every store has the MD5 for an ETag, and none has it for parts: another value says nothing.
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return isinstance(answer, dict) and str(answer.get("ETag", "")).strip('"') == digest

    def create(self, data: bytes, target: str) -> bool:
        self._require_exclusive()
        return self._create(data, target)

    def _create(self, data: bytes, target: str) -> bool:
        mark = uuid.uuid4().hex
        try:
            self._fs.pipe_file(target, data, mode="create", Metadata={_MARK: mark})
        except OSError as error:
            if not _is_taken(error):
                raise
            # If an answer is lost, the driver's next attempt meets the object that the first one has made.
            try:
                return str(self._fs.metadata(target, refresh=True).get(_MARK)) == mark
            except FileNotFoundError:  # given up just now
                return False
        return True

    def _require_exclusive(self) -> None:
        """Raise OutputError unless the store refuses to create what is there: some ignore If-None-Match."""
        if self._exclusive:
            return
        probe = f"{self._root}/{SCRATCH}/probe-{uuid.uuid4().hex}"
        try:
            self._exclusive = self._create(b"", probe) and not self._create(b"", probe)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
        finally:
            with suppress(OSError):
                self._fs.rm_file(probe)
        if not self._exclusive:
            raise OutputError(
                f"output s3://{self._root}: its server cannot create files exclusively (conditional writes, If-None-Match), so "
                f"two runs could spoil each other's work; use a server that can, or a local folder"
            )

    def clear(self) -> None:
        """Abort uploads that were begun more than a day ago: their writers were killed, and their parts cost money."""
        bucket, prefix, _ = self._fs.split_path(self._root)
        found = self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "")
        for upload in found.get("Uploads", []):
            if upload["Initiated"] < datetime.now(UTC) - _ABANDONED_AFTER:
                self._fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])


def objects(filesystem: Any, root: str) -> Objects:
    """The writer for a driver."""
    protocols = filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,)
    return S3Objects(filesystem, root) if "s3" in protocols else Objects(filesystem, root)


def _expect_nothing(filesystem: Any) -> None:
    """Let uploads send their data at once, without waiting for the server's `100 Continue`.

    aiohttp (3.14) waits for it without a limit, so a server that hung there would hang its client for ever.
    """
    from botocore.handlers import add_expect_header

    filesystem.s3.meta.events.unregister("before-call.s3", add_expect_header)


def no_such_bucket(error: BaseException) -> bool:
    """Whether a driver's FileNotFoundError is about the bucket, not about a file in it."""
    return bool(_answer(error).get("Error", {}).get("Code") == "NoSuchBucket")


def _is_taken(error: BaseException) -> bool:
    # s3fs knows the refusal only from servers that name the failed condition.
    status = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return isinstance(error, FileExistsError) or status == 412


def _answer(error: BaseException) -> dict[str, Any]:
    """The server's answer from which s3fs made an error, empty if there is none."""
    answer = getattr(error.__cause__, "response", None)
    return answer if isinstance(answer, dict) else {}
