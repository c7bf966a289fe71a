"""Files on disk."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from specrec.errors import StorageError, TrackError
from specrec.storage.store import CHUNK_BYTES, Location, Scheme, Store, StoredFile, copy, require_size


class LocalStore(Store):
    """Files on a disk that every executor sees.

    Links are followed, also those that lead out of a catalogue's root: they are made by who owns the disk, and
    not by a catalogue.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store, place = LocalStore(), f"{folder}/lock"
    ...     store.create(place, b"mine"), store.create(place, b"theirs"), store.read(place)
    (True, False, b'mine')
    """

    def fetch(self, uri: Location, into: BinaryIO, max_bytes: int) -> int:
        """See :class:`Store`."""
        try:
            with open(uri, "rb", opener=_open_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise TrackError("not_found", "not a regular file")
                require_size(status.st_size, max_bytes)
                copied = copy(iter(lambda: file.read(CHUNK_BYTES), b""), into, max_bytes)
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

    def open(self, uri: Location, size: int) -> BinaryIO:
        """See :class:`Store`."""
        return open(uri, "rb")

    def list(self, folder: Location) -> Iterator[StoredFile]:
        """See :class:`Store`."""
        for entry in self._entries(folder):
            try:
                if entry.is_file():
                    status = entry.stat()
                    yield StoredFile(Location(entry.path), f"{status.st_size}-{status.st_mtime_ns}", status.st_size)
            except OSError:  # it is gone by now, or is a link that leads nowhere: as if there were none
                continue

    def folders(self, folder: Location) -> Iterator[Location]:
        """See :class:`Store`. Links to folders are not followed, lest they lead in a circle."""
        for entry in self._entries(folder):
            if entry.is_dir(follow_symlinks=False):
                yield Location(entry.path)

    def _entries(self, folder: Location) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                yield from entries
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StorageError(f"cannot list {folder}: {error.strerror or error}") from None

    def create(self, uri: Location, data: bytes) -> bool:
        """See :class:`Store`."""
        try:
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            # a finished file is linked into place, so that nobody ever reads half of a lock
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

    def replace(self, uri: Location, old: bytes, data: bytes) -> bool:
        """See :class:`Store`."""
        try:
            with open(f"{uri}.guard", "w", encoding="utf-8") as guard:
                fcntl.flock(guard, fcntl.LOCK_EX)  # the kernel frees it, whatever becomes of this process
                if Path(uri).read_bytes() != old:
                    return False
                os.replace(_write_beside(uri, data), uri)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"cannot write {uri}: {error.strerror or error}") from None
        return True

    def delete(self, uri: Location) -> None:
        """See :class:`Store`."""
        Path(uri).unlink(missing_ok=True)
        Path(f"{uri}.guard").unlink(missing_ok=True)

    def exists(self, uri: Location) -> bool:
        """See :class:`Store`."""
        return os.path.exists(uri)

    def check(self, folder: Location) -> None:
        """See :class:`Store`."""
        if not os.path.isdir(folder):
            raise StorageError(f"there is no folder {folder}")


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file, but do not wait for the other end of a FIFO, which may never come."""
    return os.open(path, flags | os.O_NONBLOCK)


def _write_beside(uri: Location, data: bytes) -> str:
    handle, temporary = tempfile.mkstemp(prefix=f"{Path(uri).name}.", dir=Path(uri).parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return temporary


def _parse(text: str) -> Location:
    return Location(os.path.abspath(os.path.expanduser(text.removeprefix("file://"))))


DISK = Scheme(
    prefix="/",
    aliases=("file:///",),
    example="a path on disk",
    parse=_parse,
    spark_prefix="file:/",
    open=lambda config: LocalStore(),
    is_tree=True,
)
