"""Files on disk and in object storage: listing, reading, and the atomic creation that a lock needs.

A URI is an absolute path on disk or ``s3://bucket/key``. Everything here works without Spark; executors make
one client a process.
"""

from __future__ import annotations

import fcntl
import io
import os
import posixpath
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from specrec.config import StorageConfig
from specrec.errors import StorageError, TrackError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_S3_SCHEMES = ("s3://", "s3a://", "s3n://")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing: where it lies, what tells that it changed, and its size in bytes."""

    uri: str
    fingerprint: str
    size: int


class Store(Protocol):
    """What specrec needs of a store."""

    def read(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the file's bytes. Raises TrackError: not_found, too_large or storage_error."""

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


def for_spark(uri: str) -> str:
    """Return the URI as Spark's file systems name it (``s3a://…``, ``file:/…``)."""
    uri = normalise(uri)
    return "s3a://" + uri.removeprefix("s3://") if is_s3(uri) else f"file:{uri}"


def join(folder: str, *names: str) -> str:
    """Join a normalised folder and names below it."""
    return posixpath.join(folder, *names)


def parent(uri: str) -> str:
    """Return the folder that a file lies in."""
    return uri.rpartition("/")[0]


def open_store(uri: str, config: StorageConfig) -> Store:
    """Return the store that a normalised URI belongs to."""
    return S3Store(config) if is_s3(uri) else LocalStore()


class LocalStore:
    """Files on a disk that every executor sees."""

    def read(self, uri: str, max_bytes: int | None = None) -> bytes:
        """See :class:`Store`."""
        try:
            with open(uri, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if max_bytes is not None and size > max_bytes:
                    raise TrackError("too_large", _too_large(size, max_bytes))
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise TrackError("not_found", "no such file on the store") from None
        except IsADirectoryError:
            raise TrackError("not_found", "a folder, not a file") from None
        except OSError as error:
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


def _write_beside(uri: str, data: bytes) -> str:
    handle, temporary = tempfile.mkstemp(prefix=f"{Path(uri).name}.", dir=Path(uri).parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return temporary


class S3Store:
    """Object storage that speaks S3."""

    def __init__(self, config: StorageConfig) -> None:
        self._config = config

    @property
    def _client(self) -> S3Client:
        return _s3_client(self._config)

    def read(self, uri: str, max_bytes: int | None = None) -> bytes:
        """See :class:`Store`."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(uri)
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            size = answer["ContentLength"]
            if max_bytes is not None and size > max_bytes:
                answer["Body"].close()
                raise TrackError("too_large", _too_large(size, max_bytes))
            return answer["Body"].read()
        except ClientError as error:
            if _status(error) == 404:
                raise TrackError("not_found", "no such object on the store") from None
            raise TrackError("storage_error", f"cannot be read: {_reason(error)}") from None
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise TrackError("storage_error", f"cannot be read: {_reason(error)}") from None

    def open(self, uri: str, size: int) -> BinaryIO:
        """See :class:`Store`."""
        return cast(BinaryIO, io.BufferedReader(_S3File(self._client, uri, size), buffer_size=65_536))

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

    def __init__(self, client: S3Client, uri: str, size: int) -> None:
        self._client, self._size, self._at = client, size, 0
        self._bucket, self._key = _bucket_and_key(uri)

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
        answer = self._client.get_object(Bucket=self._bucket, Key=self._key, Range=f"bytes={self._at}-{end - 1}")
        data = answer["Body"].read()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@lru_cache(maxsize=4)
def _s3_client(config: StorageConfig) -> S3Client:
    import boto3  # noqa: PLC0415
    from botocore.config import Config as BotoConfig  # noqa: PLC0415

    return boto3.client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=config.region,
        config=BotoConfig(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": config.max_attempts},
            s3={"addressing_style": "path" if config.path_style else "auto"},
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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())


def _too_large(size: int, limit: int) -> str:
    return f"{size / 1e6:.0f} MB; extract.max_file_mb allows {limit / 1e6:.0f}"
