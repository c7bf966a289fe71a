"""Object storage that speaks S3.

boto3 is imported only where it is first needed, because what only reads tables starts faster without it.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote_plus

from specrec.errors import StorageError, TrackError
from specrec.storage.config import StorageConfig
from specrec.storage.retries import retrying
from specrec.storage.store import (
    CHUNK_BYTES,
    Entry,
    Location,
    Scheme,
    Store,
    StoredFile,
    StoredFolder,
    Unusable,
    as_text,
    copy,
    is_text,
    require_size,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Answers of an S3 server, by status or code, that may be another one a moment later.
_PASSING = frozenset({408, 429, 500, 502, 503, 504, "RequestTimeout", "SlowDown"})

_FORBIDDEN = 403

_AWS_SDK = "2.35.4"

#: hadoop-aws asks for a bundle of the AWS SDK of 600 MB; these five parts of it are enough.
_PACKAGES = (
    "org.apache.hadoop:hadoop-aws:3.5.0",
    f"software.amazon.awssdk:s3:{_AWS_SDK}",
    f"software.amazon.awssdk:s3-transfer-manager:{_AWS_SDK}",
    f"software.amazon.awssdk:sts:{_AWS_SDK}",
    f"software.amazon.awssdk:apache-client:{_AWS_SDK}",
    f"software.amazon.awssdk:netty-nio-client:{_AWS_SDK}",
)


class _PassingFault(Exception):
    """A try failed for a reason that may be gone at the next."""


class _Refused(Exception):
    """The server does not let us list a folder; others it may."""


class S3Store(Store):
    """Object storage that speaks S3."""

    def __init__(self, config: StorageConfig) -> None:
        self._config = config

    @property
    def _client(self) -> S3Client:
        return _s3_client(self._config)

    def fetch(self, uri: Location, into: BinaryIO, max_bytes: int) -> int:
        """See :class:`Store`. Passing faults are tried again ``storage.max_attempts`` times."""
        try:
            return self._get(uri, into, max_bytes)
        except StorageError as error:
            raise TrackError("storage_error", f"cannot be read: {error}") from None

    def _get(self, uri: Location, into: BinaryIO, max_bytes: int, **part: str) -> int:
        """Copy an object, or a part of it, whole; return its size.

        Raises
        ------
        TrackError
            ``not_found``, ``too_large`` or ``storage_error``, of this object, and it is of no use to try again.
        StorageError
            If it did not come whole in all tries, or by the deadline.
        """
        from tenacity import RetryError  # noqa: PLC0415

        attempts, seconds = self._config.max_attempts, self._config.deadline_seconds
        started = time.monotonic()
        again = retrying(self._config, lambda error: isinstance(error, _PassingFault), seconds=seconds)
        try:
            return again(self._get_once, uri, into, max_bytes, started + seconds, **part)
        except RetryError as error:
            last = error.last_attempt
            raise StorageError(
                f"{last.exception()}; gave up after {last.attempt_number} of {attempts} tries "
                f"in {time.monotonic() - started:.0f} s"
            ) from None

    def _get_once(self, uri: Location, into: BinaryIO, max_bytes: int, deadline: float, **part: Any) -> int:
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
            size = answer.get("ContentLength")  # gateways may leave the length out
            with answer["Body"] as body:
                require_size(size or 0, max_bytes)
                fetched = copy(self._arriving(body, deadline), into, max_bytes)
        except ClientError as error:
            if _status(error) in (404, 416):  # 416: the object is shorter now than when it was listed
                raise TrackError("not_found", "no such object on the store") from None
            if _PASSING & {_status(error), _code(error)}:
                raise _PassingFault(_reason(error)) from None
            raise TrackError("storage_error", f"cannot be read: {_reason(error)}") from None
        except (ConnectionError, HTTPClientError) as error:
            raise _PassingFault(_reason(error)) from None
        except HTTPError as error:
            raise _PassingFault(f"the connection broke: {_reason(error.__cause__ or error)}") from None
        except (BotoCoreError, OSError) as error:  # there are no credentials, or the disk takes no more
            raise TrackError("storage_error", f"cannot be read: {_reason(error)}") from None
        if size is not None and fetched != size:
            raise _PassingFault(f"the answer ended after {fetched} of {size} bytes")
        return fetched

    def _arriving(self, body: Any, deadline: float) -> Iterator[bytes]:
        """Yield what has arrived of an answer, chunk by chunk, until the deadline.

        botocore's own ``read`` waits for a whole chunk: for days, if a byte comes now and then.
        """
        while chunk := body.read1(CHUNK_BYTES):
            if time.monotonic() > deadline:
                raise StorageError(
                    f"not whole within storage.deadline_seconds={self._config.deadline_seconds:g}: too slow"
                )
            yield chunk

    def open(self, uri: Location, size: int) -> BinaryIO:
        """See :class:`Store`."""
        return cast(BinaryIO, io.BufferedReader(_S3File(self._get, uri, size), buffer_size=65_536))

    def size(self, uri: Location) -> int:
        """See :class:`Store`."""
        found = self._first(uri, _bucket_and_key(uri)[1])
        if found is None or found["Key"] != _bucket_and_key(uri)[1]:
            raise StorageError(f"cannot read {uri}: there is no such object")
        return int(found["Size"])

    def entries(self, folder: Location) -> Iterator[Entry]:
        """See :class:`Store`."""
        try:
            for page in self._pages(folder):
                for entry in page.get("Contents", ()):
                    if not entry["Key"].endswith("/"):  # that stands for the folder itself
                        uri = self._uri(folder, entry["Key"])
                        found = StoredFile(uri, entry["ETag"].strip('"'), entry["Size"])
                        yield found if is_text(uri) else _misnamed(uri, "its key is not UTF-8: rename it")
                for entry in page.get("CommonPrefixes", ()):
                    yield self._folder(self._uri(folder, entry["Prefix"]))
        except _Refused as error:
            message = f"cannot be listed: {error}; let specrec list the prefix"
            yield Unusable(folder, "unreadable_folder", message, may_hold_files=True)

    def _folder(self, prefix: Location) -> Entry:
        uri = Location(prefix.removesuffix("/"))
        if uri.endswith("/"):  # an empty name, as in a//b, would lead back to the folder that is listed
            return _misnamed(prefix, "two slashes in a row in its key: rename it", may_hold_files=True)
        if not is_text(uri):
            return _misnamed(uri, "its key is not UTF-8: rename it", may_hold_files=True)
        return StoredFolder(uri)

    def folders(self, folder: Location) -> Iterator[Location]:
        """See :class:`Store`."""
        try:
            for page in self._pages(folder):
                for entry in page.get("CommonPrefixes", ()):
                    if isinstance(found := self._folder(self._uri(folder, entry["Prefix"])), StoredFolder):
                        yield found.uri
        except _Refused as error:
            raise StorageError(f"cannot list {folder}: {error}") from None

    @staticmethod
    def _uri(folder: Location, key: str) -> Location:
        return Location(f"s3://{_bucket_and_key(folder)[0]}/{key}")

    def _pages(self, folder: Location) -> Iterator[Any]:
        """Yield the answers to a listing, keys decoded.

        Raises
        ------
        _Refused
            If the server does not let us list this folder.
        StorageError
            If it failed otherwise.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(folder)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket,
            Prefix=f"{key}/" if key else "",
            Delimiter="/",
            EncodingType="url",  # botocore would put another letter for each byte that is not UTF-8
        )
        try:
            for page in pages:
                if page.get("EncodingType") == "url":
                    for entry in page.get("Contents", ()):
                        entry["Key"] = unquote_plus(entry["Key"], errors="surrogateescape")
                    for prefix in page.get("CommonPrefixes", ()):
                        prefix["Prefix"] = unquote_plus(prefix["Prefix"], errors="surrogateescape")
                yield page
        except ClientError as error:
            if _status(error) == _FORBIDDEN:
                raise _Refused(_reason(error)) from None
            raise StorageError(f"cannot list {folder}: {_reason(error)}") from None
        except BotoCoreError as error:
            raise StorageError(f"cannot list {folder}: {_reason(error)}") from None

    def create(self, uri: Location, data: bytes) -> bool:
        """See :class:`Store`."""
        return self._put(uri, data, IfNoneMatch="*")

    def _put(self, uri: Location, data: bytes, **condition: str) -> bool:
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

    def replace(self, uri: Location, old: bytes, data: bytes) -> bool:
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

    def delete(self, uri: Location) -> None:
        """See :class:`Store`."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        bucket, key = _bucket_and_key(uri)
        try:
            self._client.delete_object(Bucket=bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise StorageError(f"cannot delete {uri}: {_reason(error)}") from None

    def exists(self, uri: Location) -> bool:
        """See :class:`Store`."""
        key = _bucket_and_key(uri)[1]
        if not key:
            self.check(uri)
            return True
        # asked twice: `a.csv-old` comes between the file `a.csv` and what lies in the folder `a.csv/`
        return self._first_key(uri, key) == key or self._first_key(uri, f"{key}/") is not None

    def check(self, folder: Location) -> None:
        """See :class:`Store`."""
        self._first_key(folder, _bucket_and_key(folder)[1])

    def _first_key(self, uri: Location, prefix: str) -> str | None:
        """Return the first key of a URI's bucket that begins with a prefix; None if there is none."""
        found = self._first(uri, prefix)
        return None if found is None else found["Key"]

    def _first(self, uri: Location, prefix: str) -> Any:
        """Return the first object of a URI's bucket whose key begins with a prefix; None if there is none."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            found = self._client.list_objects_v2(Bucket=_bucket_and_key(uri)[0], Prefix=prefix, MaxKeys=1)
        except (BotoCoreError, ClientError) as error:
            where = f" at {self._config.endpoint_url}" if self._config.endpoint_url else ""
            raise StorageError(f"cannot reach {uri}{where}: {_reason(error)}") from None
        return next(iter(found.get("Contents", ())), None)


class _S3File(io.RawIOBase):
    """An object of known size, read by ranges."""

    def __init__(self, get: Callable[..., int], uri: Location, size: int) -> None:
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
    # when a server falls silent, time must be left for the other tries and the waits between them
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


def _misnamed(uri: Location, message: str, may_hold_files: bool = False) -> Unusable:
    return Unusable(Location(as_text(uri)), "unreadable_name", message, may_hold_files)


def _bucket_and_key(uri: Location) -> tuple[str, str]:
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


def _parse(text: str) -> Location:
    if not text.removeprefix("s3://").strip("/"):
        raise StorageError(f"{text} names no bucket: write s3://bucket/prefix")
    return Location(text.rstrip("/"))


def _for_delta_rs(config: StorageConfig) -> dict[str, str]:
    options = {
        "AWS_REGION": config.region,
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not config.path_style).lower(),
    }
    if config.endpoint_url:
        options["AWS_ENDPOINT_URL"] = config.endpoint_url
        # delta-rs would rather believe the environment's variable of this name than the option above
        options["AWS_ENDPOINT_URL_S3"] = config.endpoint_url
        options["AWS_ALLOW_HTTP"] = str(config.endpoint_url.startswith("http://")).lower()
    return options


def _for_spark(config: StorageConfig) -> dict[str, str]:
    settings = {
        "spark.hadoop.fs.s3a.endpoint.region": config.region,
        "spark.hadoop.fs.s3a.path.style.access": str(config.path_style).lower(),
        "spark.hadoop.fs.s3a.attempts.maximum": str(config.max_attempts),
        "spark.hadoop.fs.s3a.connection.establish.timeout": "5s",
    }
    if config.endpoint_url:
        settings["spark.hadoop.fs.s3a.endpoint"] = config.endpoint_url
        secure = config.endpoint_url.startswith("https://")
        settings["spark.hadoop.fs.s3a.connection.ssl.enabled"] = str(secure).lower()
    return settings


S3 = Scheme(
    prefix="s3://",
    aliases=("s3a://", "s3n://"),
    example="s3://bucket/prefix",
    parse=_parse,
    spark_prefix="s3a://",
    open=lambda config, root: S3Store(config),
    delta_rs=_for_delta_rs,
    spark=_for_spark,
    packages=_PACKAGES,
)
