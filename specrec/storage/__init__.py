"""Files on disk and in object storage: listing, fetching, and the atomic creation that a lock needs.

A URI is an absolute path on disk or ``s3://bucket/key``. Everything here works without Spark, and in several
threads at once.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import posixpath
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from specrec.errors import StorageError, TrackError
from specrec.storage.config import StorageConfig

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_S3_SCHEMES = ("s3://", "s3a://", "s3n://")

_CHUNK_BYTES = 1 << 20

#: Answers of an S3 server, by status or code, that may be another one a moment later.
_PASSING = frozenset({408, 429, 500, 502, 503, 504, "RequestTimeout", "SlowDown"})

#: Seconds: the second try begins at a random moment within the first, a later one within twice the time.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 20.0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing: where it lies, what tells that it changed, and its size in bytes."""

    uri: str
    fingerprint: str
    size: int


class Store(Protocol):
    """What specrec needs of a store."""

    def fetch(self, uri: str, into: BinaryIO, max_bytes: int) -> int:
        """Copy a file, of which only a chunk is ever in memory, and return its size.

        Parameters
        ----------
        uri : the file.
        into : what is written over from its start; whatever it held is gone, and its position is its end.
        max_bytes : the largest size that is fetched; of a larger file, no more than that.

        Raises
        ------
        TrackError
            ``not_found``; ``too_large``; ``storage_error`` if the store failed, or `into` cannot be written.
        """

    def read(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the bytes of a small file. Raises TrackError as :meth:`fetch` does."""
        into = io.BytesIO()
        self.fetch(uri, into, sys.maxsize if max_bytes is None else max_bytes)
        return into.getvalue()

    def open(self, uri: str, size: int) -> BinaryIO:
        """Open a file for reading here and there, without fetching it whole."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Yield the files directly in a folder; nothing if there is no such folder."""

    def folders(self, folder: str) -> Iterator[str]:
        """Yield the folders directly in a folder."""

    def create(self, uri: str, data: bytes) -> bool:
        """Write a new file; False, and nothing written, if there already is one."""

    def replace(self, uri: str, old: bytes, data: bytes) -> bool:
        """Write a file in place of just these old bytes; False, and nothing written, if it holds others."""

    def delete(self, uri: str) -> None:
        """Delete a file, if there is one."""

    def check(self, folder: str) -> None:
        """Raise StorageError, in one line, if the folder cannot be reached."""


def is_s3(uri: str) -> bool:
    """Tell whether a URI is in object storage."""
    return uri.startswith(_S3_SCHEMES)


def normalise(uri: str) -> str:
    """Return a folder or file as an absolute path or an ``s3://`` URI, without a trailing slash.

    Raises
    ------
    StorageError
        If its scheme is neither a path, ``file://`` nor ``s3://``.
    """
    if is_s3(uri):
        return "s3://" + uri.split("://", 1)[1].rstrip("/")
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    if "://" in uri:
        raise StorageError(f"cannot read {uri}: use a path on disk or s3://bucket/prefix")
    return os.path.abspath(os.path.expanduser(uri))


def for_delta_rs(root: str, config: StorageConfig) -> dict[str, str]:
    """Return the options with which delta-rs reaches a folder or prefix; credentials: from the environment."""
    if not is_s3(root):
        return {}
    options = {
        "AWS_REGION": config.region,
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not config.path_style).lower(),
    }
    if config.endpoint_url:
        options["AWS_ENDPOINT_URL"] = config.endpoint_url
        options["AWS_ALLOW_HTTP"] = str(config.endpoint_url.startswith("http://")).lower()
    return options


def for_spark(uri: str) -> str:
    """Return the URI as Spark's file systems name it (``s3a://…``, ``file:/…``)."""
    uri = normalise(uri)
    return "s3a://" + uri.removeprefix("s3://") if is_s3(uri) else f"file:{uri}"


def join(folder: str, *names: str) -> str:
    """Join a normalised folder and names below it."""
    return posixpath.join(folder, *names)


def parent(uri: str) -> str:
    """Return the folder that a file lies in."""
    return uri.rpartition("/")[0] or "/"


def open_store(uri: str, config: StorageConfig) -> Store:
    """Return the store that a normalised URI belongs to."""
    return S3Store(config) if is_s3(uri) else LocalStore()


class LocalStore(Store):
    """Files on a disk that every executor sees.

    Links are followed, also those that lead out of a catalogue's root: they are made by who owns the disk, and
    not by a catalogue.
    """

    def fetch(self, uri: str, into: BinaryIO, max_bytes: int) -> int:
        """See :class:`Store`."""
        try:
            with open(uri, "rb", opener=_open_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise TrackError("not_found", "not a regular file")
                _require_size(status.st_size, max_bytes)
                copied = _copy(iter(lambda: file.read(_CHUNK_BYTES), b""), into, max_bytes)
                if copied != status.st_size:
                    raise TrackError("storage_error", "cannot be read: it changed while it was read")
                return copied
        except (FileNotFoundError, NotADirectoryError):
            raise TrackError("not_found", "no such file on the store") from None
        except IsADirectoryError:
            raise TrackError("not_found", "a folder, not a file") from None
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket
                raise TrackError("not_found", "not a regular file") from None
            raise TrackError("storage_error", f"cannot be read: {error.strerror or error}") from None

    def open(self, uri: str, size: int) -> BinaryIO:
        """See :class:`Store`."""
        return open(uri, "rb")

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See :class:`Store`."""
        for entry in self._entries(folder):
            try:
                if entry.is_file():
                    status = entry.stat()
                    yield StoredFile(entry.path, f"{status.st_size}-{status.st_mtime_ns}", status.st_size)
            except OSError:  # gone since, or a link that leads nowhere: as if it were not there
                continue

    def folders(self, folder: str) -> Iterator[str]:
        """See :class:`Store`. Links to folders are not followed, lest they lead in a circle."""
        for entry in self._entries(folder):
            if entry.is_dir(follow_symlinks=False):
                yield entry.path

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                yield from entries
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StorageError(f"cannot list {folder}: {error.strerror or error}") from None

    def create(self, uri: str, data: bytes) -> bool:
        """See :class:`Store`."""
        try:
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            # Link a finished file into place: nobody ever reads a half-written lock.
            temporary = _write_beside(uri, data)
            try:
                os.link(temporary, uri)
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
        except OSError as error:
            raise StorageError(f"cannot write {uri}: {error.strerror or error}") from None
        return True

    def replace(self, uri: str, old: bytes, data: bytes) -> bool:
        """See :class:`Store`."""
        try:
            with open(f"{uri}.guard", "w", encoding="utf-8") as guard:
                fcntl.flock(guard, fcntl.LOCK_EX)  # the kernel lets go of it, whatever becomes of this process
                if Path(uri).read_bytes() != old:
                    return False
                os.replace(_write_beside(uri, data), uri)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"cannot write {uri}: {error.strerror or error}") from None
        return True

    def delete(self, uri: str) -> None:
        """See :class:`Store`."""
        Path(uri).unlink(missing_ok=True)
        Path(f"{uri}.guard").unlink(missing_ok=True)

    def check(self, folder: str) -> None:
        """See :class:`Store`."""
        if not os.path.isdir(folder):
            raise StorageError(f"there is no folder {folder}")


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file, but do not wait for the other end of a FIFO, which may never come."""
    return os.open(path, flags | os.O_NONBLOCK)


def _write_beside(uri: str, data: bytes) -> str:
    handle, temporary = tempfile.mkstemp(prefix=f"{Path(uri).name}.", dir=Path(uri).parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return temporary


class _PassingFault(Exception):
    """A try failed for a reason that may be gone at the next."""


class S3Store(Store):
    """Object storage that speaks S3."""

    def __init__(self, config: StorageConfig) -> None:
        self._config = config

    @property
    def _client(self) -> S3Client:
        return _s3_client(self._config)

    def fetch(self, uri: str, into: BinaryIO, max_bytes: int) -> int:
        """See :class:`Store`. Passing faults are tried again ``storage.max_attempts`` times."""
        try:
            return self._get(uri, into, max_bytes)
        except StorageError as error:
            raise TrackError("storage_error", f"cannot be read: {error}") from None

    def _get(self, uri: str, into: BinaryIO, max_bytes: int, **part: str) -> int:
        """Copy an object, or a part of it, whole; return its size.

        Raises
        ------
        TrackError
            ``not_found``, ``too_large`` or ``storage_error``, of this object, and it is of no use to try again.
        StorageError
            If it did not come whole in all tries, or by the deadline.
        """
        # here, as botocore: what reads tables alone starts faster without
        from tenacity import (  # noqa: PLC0415
            RetryError,
            Retrying,
            retry_if_exception_type,
            stop_after_attempt,
            stop_before_delay,
            wait_random_exponential,
        )

        attempts, seconds = self._config.max_attempts, self._config.deadline_seconds
        started = time.monotonic()
        retrying = Retrying(
            retry=retry_if_exception_type(_PassingFault),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT, max=_LONGEST_WAIT),
            stop=stop_after_attempt(attempts) | stop_before_delay(seconds),
        )
        try:
            return retrying(self._get_once, uri, into, max_bytes, started + seconds, **part)
        except RetryError as error:
            last = error.last_attempt
            raise StorageError(
                f"{last.exception()}; gave up after {last.attempt_number} of {attempts} tries "
                f"in {time.monotonic() - started:.0f} s"
            ) from None

    def _get_once(self, uri: str, into: BinaryIO, max_bytes: int, deadline: float, **part: Any) -> int:
        from botocore.exceptions import (  # noqa: PLC0415
            BotoCoreError,
            ClientError,
            ConnectionError,
            HTTPClientError,
        )
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        bucket, key = _bucket_and_key(uri)
        try:
            answer = _s3_client(self._config, own_retries=False).get_object(Bucket=bucket, Key=key, **part)
            size = answer.get("ContentLength")  # a gateway may leave it out
            with answer["Body"] as body:
                _require_size(size or 0, max_bytes)
                fetched = _copy(self._arriving(body, deadline), into, max_bytes)
        except ClientError as error:
            if _status(error) in (404, 416):  # 416: it was longer when it was listed
                raise TrackError("not_found", "no such object on the store") from None
            if _PASSING & {_status(error), _code(error)}:
                raise _PassingFault(_reason(error)) from None
            raise TrackError("storage_error", f"cannot be read: {_reason(error)}") from None
        except (ConnectionError, HTTPClientError) as error:
            raise _PassingFault(_reason(error)) from None
        except HTTPError as error:
            raise _PassingFault(f"the connection broke: {_reason(error.__cause__ or error)}") from None
        except (BotoCoreError, OSError) as error:  # no credentials, or nothing more can be written
            raise TrackError("storage_error", f"cannot be read: {_reason(error)}") from None
        if size is not None and fetched != size:
            raise _PassingFault(f"the answer ended after {fetched} of {size} bytes")
        return fetched

    def _arriving(self, body: Any, deadline: float) -> Iterator[bytes]:
        """Yield what has arrived of an answer, chunk by chunk, until the deadline.

        botocore's own ``read`` waits for a whole chunk: for days, if a byte comes now and then.
        """
        while chunk := body.read1(_CHUNK_BYTES):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"not whole within storage.deadline_seconds={self._config.deadline_seconds:g}: too slow"
                )
            yield chunk

    def open(self, uri: str, size: int) -> BinaryIO:
        """See :class:`Store`."""
        return cast(BinaryIO, io.BufferedReader(_S3File(self._get, uri, size), buffer_size=65_536))

    def list(self, folder: str) -> Iterator[StoredFile]:
        """See :class:`Store`."""
        for page in self._pages(folder):
            for entry in page.get("Contents", ()):
                uri = f"s3://{_bucket_and_key(folder)[0]}/{entry['Key']}"
                yield StoredFile(uri, entry["ETag"].strip('"'), entry["Size"])

    def folders(self, folder: str) -> Iterator[str]:
        """See :class:`Store`."""
        for page in self._pages(folder):
            for entry in page.get("CommonPrefixes", ()):
                # an empty name, as in a//b, would lead back to this very folder
                if not entry["Prefix"].endswith("//"):
                    yield f"s3://{_bucket_and_key(folder)[0]}/{entry['Prefix'].removesuffix('/')}"

    def _pages(self, folder: str) -> Iterator[Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(folder)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=f"{key}/" if key else "", Delimiter="/"
        )
        try:
            yield from pages
        except (BotoCoreError, ClientError) as error:
            raise StorageError(f"cannot list {folder}: {_reason(error)}") from None

    def create(self, uri: str, data: bytes) -> bool:
        """See :class:`Store`."""
        return self._put(uri, data, IfNoneMatch="*")

    def _put(self, uri: str, data: bytes, **condition: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(uri)
        try:
            self._client.put_object(Bucket=bucket, Key=key, Body=data, **condition)  # type: ignore[arg-type]
        except ClientError as error:
            # the condition does not hold, or another writer was first
            if _status(error) in (404, 409, 412) and _code(error) != "NoSuchBucket":
                return False
            raise StorageError(f"cannot write {uri}: {_reason(error)}") from None
        except BotoCoreError as error:
            raise StorageError(f"cannot write {uri}: {_reason(error)}") from None
        return True

    def replace(self, uri: str, old: bytes, data: bytes) -> bool:
        """See :class:`Store`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(uri)
        try:
            found = self._client.get_object(Bucket=bucket, Key=key)
            if found["Body"].read() != old:
                return False
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                return False
            raise StorageError(f"cannot read {uri}: {_reason(error)}") from None
        except BotoCoreError as error:
            raise StorageError(f"cannot read {uri}: {_reason(error)}") from None
        return self._put(uri, data, IfMatch=found["ETag"])

    def delete(self, uri: str) -> None:
        """See :class:`Store`."""
        bucket, key = _bucket_and_key(uri)
        self._client.delete_object(Bucket=bucket, Key=key)

    def check(self, folder: str) -> None:
        """See :class:`Store`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(folder)
        try:
            self._client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        except (BotoCoreError, ClientError) as error:
            where = f" at {self._config.endpoint_url}" if self._config.endpoint_url else ""
            raise StorageError(f"cannot reach {folder}{where}: {_reason(error)}") from None


class _S3File(io.RawIOBase):
    """An object of known size, read by ranges."""

    def __init__(self, get: Callable[..., int], uri: str, size: int) -> None:
        self._get, self._uri, self._size, self._at = get, uri, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        part = io.BytesIO()
        length = self._get(self._uri, part, end - self._at, Range=f"bytes={self._at}-{end - 1}")
        buffer[:length] = part.getvalue()
        self._at += length
        return length


_making_a_client = threading.Lock()


def _s3_client(config: StorageConfig, own_retries: bool = True) -> S3Client:
    """Return this process's client, which threads may share; with botocore's retries, or none."""
    with _making_a_client:  # lru_cache lets two threads make one each
        return _new_s3_client(config, own_retries)


@lru_cache(maxsize=8)
def _new_s3_client(config: StorageConfig, own_retries: bool) -> S3Client:
    import boto3  # noqa: PLC0415
    from botocore.config import Config as BotoConfig  # noqa: PLC0415

    attempts = config.max_attempts if own_retries else 1
    # a server that falls silent leaves time for the other tries, and for the waits between them
    silence = min(60.0, max(1.0, config.deadline_seconds / (config.max_attempts + 1)))
    return boto3.Session().client(  # boto3's default session is not for threads
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        config=BotoConfig(
            connect_timeout=5,
            read_timeout=60.0 if own_retries else silence,
            max_pool_connections=64,
            retries={"mode": "standard", "total_max_attempts": attempts},
            s3={"addressing_style": "path" if config.path_style else "auto"},
            response_checksum_validation="when_required",  # nothing would check it: see _arriving
        ),
    )


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    if not bucket:
        raise StorageError(f"{uri} names no bucket")
    return bucket, key


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _reason(error: BaseException) -> str:
    answer = getattr(error, "response", None)  # the server's own words, where it answered
    said = answer.get("Error", {}) if isinstance(answer, dict) else {}
    text = f"{said['Code']}: {said['Message']}" if {"Code", "Message"} <= said.keys() else str(error)
    return " ".join(text.split()).rstrip(".")


def _require_size(size: int, limit: int) -> None:
    if size > limit:
        raise TrackError("too_large", f"{size / 1e6:.0f} MB; extract.max_file_mb allows {limit / 1e6:.0f}")


def _copy(chunks: Iterator[bytes], into: BinaryIO, max_bytes: int) -> int:
    """Write chunks over whatever `into` held; return their size. Files may turn out longer than they said."""
    into.seek(0)
    into.truncate()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TrackError("too_large", f"more than the {max_bytes / 1e6:.0f} MB that extract.max_file_mb allows")
        _write(chunk, into)
    _write(b"", into)
    return size


def _write(chunk: bytes, into: BinaryIO) -> None:
    """Write a chunk, or with none make sure that all are written."""
    try:
        into.write(chunk) if chunk else into.flush()
    except OSError as error:
        where = tempfile.gettempdir()
        raise TrackError("storage_error", f"cannot be kept in {where}: {error.strerror}") from None
