"""What specrec needs of a store, and what a scheme is: one kind of place where files and tables lie."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NewType, Protocol

from specrec.errors import TrackError
from specrec.storage.config import StorageConfig

#: Where a file, a folder or a table lies, as :func:`specrec.storage.locate` parsed it: an absolute path on disk, or
#: a URI such as ``s3://bucket/key``, without a slash at its end. It is parsed where it enters, and never again.
Location = NewType("Location", str)

_SURROGATE = re.compile("[\ud800-\udfff]")

#: Bytes that are in memory at once while a file is copied.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing: where it lies, what tells that it changed, and its size in bytes."""

    uri: Location
    fingerprint: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredFolder:
    """One folder of a listing: where it lies, and, of a link to a folder, where that folder really lies.

    The latter begins with the store's root, as it was given, if it lies below it.
    """

    uri: Location
    leads_to: Location | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """What a listing met and cannot give: a code of :data:`specrec.errors.TRACK_ERROR_CODES`, and why.

    Attributes
    ----------
    uri : Location
        Where it lies; bytes of its name that are no text are written out, as :func:`as_text` does.
    code, message : str
        The code, and one line that says what happened and what to do.
    may_hold_files : bool
        Whether it is a folder, or may be one; otherwise it is one file.
    """

    uri: Location
    code: str
    message: str
    may_hold_files: bool = False


#: What a listing can meet.
Entry = StoredFile | StoredFolder | Unusable


class Store(Protocol):
    """What specrec needs of a store."""

    def fetch(self, uri: Location, into: BinaryIO, max_bytes: int) -> int:
        """Copy a file, of which only a chunk is ever in memory, and return its size.

        Parameters
        ----------
        uri : Location
            The file.
        into : binary file
            What is written over from its start; whatever it held is gone, and its position is its end.
        max_bytes : int
            The largest size that is fetched; of a larger file, no more than that.

        Raises
        ------
        TrackError
            ``not_found``; ``too_large``; ``forbidden_path`` if a link leads out of the store's root;
            ``storage_error`` if the store failed, or `into` cannot be written.
        """

    def read(self, uri: Location, max_bytes: int | None = None) -> bytes:
        """Return the bytes of a small file. Raises TrackError as :meth:`fetch` does."""
        into = io.BytesIO()
        self.fetch(uri, into, sys.maxsize if max_bytes is None else max_bytes)
        return into.getvalue()

    def open(self, uri: Location, size: int) -> BinaryIO:
        """Open a file for reading here and there, without fetching it whole.

        Raises
        ------
        OSError
            If it cannot be opened.
        TrackError
            ``forbidden_path``, as :meth:`fetch` does.
        """

    def size(self, uri: Location) -> int:
        """Return the size of a file in bytes. Raises StorageError if there is none."""

    def entries(self, folder: Location) -> Iterator[Entry]:
        """Yield all that lies directly in a folder; nothing if there is no such folder.

        What cannot be used is among it and ends nothing: a name that is no text, a file of which the store says
        nothing, a link that leads out of the store's root, or, as the last entry, the folder itself.

        Raises
        ------
        StorageError
            If the store as a whole cannot be reached.
        """

    def list(self, folder: Location) -> Iterator[StoredFile]:
        """Yield the files directly in a folder; nothing if there is no such folder."""
        return (entry for entry in self.entries(folder) if isinstance(entry, StoredFile))

    def folders(self, folder: Location) -> Iterator[Location]:
        """Yield the folders directly in a folder, but for links to folders. Raises StorageError if it cannot."""

    def create(self, uri: Location, data: bytes) -> bool:
        """Write a new file; False, and nothing written, if there already is one."""

    def replace(self, uri: Location, old: bytes, data: bytes) -> bool:
        """Write a file in place of just these old bytes; False, and nothing written, if it holds others."""

    def delete(self, uri: Location) -> None:
        """Delete a file, if there is one. Raises StorageError if it cannot be deleted."""

    def exists(self, uri: Location) -> bool:
        """Tell whether there is such a file or folder. Raises StorageError if the store cannot be reached."""

    def check(self, folder: Location) -> None:
        """Raise StorageError, in one line, if the folder cannot be reached."""


def _nothing(config: StorageConfig) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Scheme:
    """One kind of place: how its locations are written, and how each of our readers reaches them.

    A new kind is one module that makes such an object, and one line in :data:`specrec.storage.locations.SCHEMES`.

    Parameters
    ----------
    prefix : str
        What every location of the kind begins with.
    aliases : tuple of str
        Other beginnings that mean the same.
    example : str
        How a person writes such a location.
    parse : callable
        Turns text that begins with `prefix` into a location.
    spark_prefix : str
        What Spark's file systems say in place of `prefix`.
    open : callable
        Returns the store, given how it is reached and the folder that nothing leads out of; None: there is none.
    delta_rs : callable
        Returns the options with which delta-rs reaches the store.
    spark : callable
        Returns the ``spark.*`` settings with which Spark reaches it.
    packages : tuple of str
        Maven coordinates of what Spark needs for that.
    is_tree : bool
        Whether ``a//b`` and ``a/./b`` are the file ``a/b``, as on a disk; in object storage they are three keys.
    """

    prefix: str
    aliases: tuple[str, ...]
    example: str
    parse: Callable[[str], Location]
    spark_prefix: str
    open: Callable[[StorageConfig, Location | None], Store]
    delta_rs: Callable[[StorageConfig], dict[str, str]] = _nothing
    spark: Callable[[StorageConfig], dict[str, str]] = _nothing
    packages: tuple[str, ...] = ()
    is_tree: bool = False


def is_text(name: str) -> bool:
    r"""Tell whether a name can be written as UTF-8. One that Python read from other bytes holds lone surrogates.

    Examples
    --------
    >>> is_text("café"), is_text(b"caf\xe9".decode("utf-8", "surrogateescape"))
    (True, False)
    """
    return not _SURROGATE.search(name)


def as_text(name: str) -> str:
    r"""Return a name with what is no text written out: bytes as ``\xe9``, lone surrogates as ``\ud800``.

    Examples
    --------
    >>> print(as_text(b"caf\xe9".decode("utf-8", "surrogateescape")))
    caf\xe9
    """

    def written(found: re.Match[str]) -> str:
        number = ord(found[0])
        return f"\\x{number & 0xFF:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"

    return _SURROGATE.sub(written, name)


def is_below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder, or lies below it; both as they are written.

    Examples
    --------
    >>> is_below("/music/a", "/music"), is_below("/musical", "/music"), is_below("/music", "/music")
    (True, False, True)
    """
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def require_size(size: int, limit: int) -> None:
    """Raise TrackError ``too_large`` if a file is larger than the limit, both in bytes."""
    if size > limit:
        raise TrackError("too_large", f"{size / 1e6:.0f} MB; extract.max_file_mb allows {limit / 1e6:.0f}")


def copy(chunks: Iterator[bytes], into: BinaryIO, max_bytes: int) -> int:
    """Write chunks over whatever `into` held; return their size. Files may turn out longer than they said.

    Examples
    --------
    >>> into = io.BytesIO()
    >>> copy(iter([b"one ", b"two"]), into, max_bytes=100), into.getvalue()
    (7, b'one two')
    """
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
