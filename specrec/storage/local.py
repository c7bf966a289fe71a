"""Files on disk."""

from __future__ import annotations

import errno
import fcntl
import os
import posixpath
import stat
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from specrec.errors import StorageError, TrackError
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
    is_below,
    is_text,
    require_size,
)

#: What the system calls a path that leads to nothing: it names no file, and nobody needs to look again.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class LocalStore(Store):
    """Files on a disk that every executor sees.

    Links within a root are followed. What a link out of it leads to is refused, as the catalogue's rows and the
    folders may be written by others than those who own the machine.

    Parameters
    ----------
    root : Location or None
        The folder that no link may lead out of; None: links lead anywhere.
    follow_links_out : bool
        Whether links out of the root are followed all the same.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store, place = LocalStore(), f"{folder}/lock"
    ...     store.create(place, b"mine"), store.create(place, b"theirs"), store.read(place)
    (True, False, b'mine')
    """

    def __init__(self, root: Location | None = None, follow_links_out: bool = False) -> None:
        self._confined = root is not None and not follow_links_out
        self._root = root or Location("/")

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self._root)

    def _real(self, uri: str) -> str:
        """Return where a path leads, links resolved.

        Raises
        ------
        TrackError
            ``forbidden_path`` if that is not below the root.
        """
        real = os.path.realpath(uri)
        if self._confined and not is_below(real, self._real_root):
            raise TrackError(
                "forbidden_path",
                f"a link leads out of {self._root}: copy what it leads to, or set storage.follow_links_out",
            )
        return real

    def _seen_from_root(self, real: str) -> Location:
        """Return a path without links as the root's own name has it, if it lies below the root."""
        if not is_below(real, self._real_root):
            return Location(real)
        below = real.removeprefix(self._real_root).lstrip("/")
        return Location(posixpath.join(self._root, below)) if below else self._root

    def _open(self, uri: Location) -> BinaryIO:
        if not self._confined:
            return open(uri, "rb", opener=_open_without_waiting)
        # what was resolved is opened, and not what may have taken its place since
        return open(self._real(uri), "rb", opener=_open_no_link)

    def fetch(self, uri: Location, into: BinaryIO, max_bytes: int) -> int:
        """See :class:`Store`."""
        try:
            with self._open(uri) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise TrackError("not_found", "not a regular file")
                require_size(status.st_size, max_bytes)
                copied = copy(iter(lambda: file.read(CHUNK_BYTES), b""), into, max_bytes)
                if copied != status.st_size:
                    raise TrackError("storage_error", "cannot be read: it changed while it was read")
                return copied
        except IsADirectoryError:
            raise TrackError("not_found", "a folder, not a file") from None
        except OSError as error:
            if error.errno in _ABSENT:
                raise TrackError("not_found", "no such file on the store") from None
            if error.errno == errno.ENXIO:  # a socket
                raise TrackError("not_found", "not a regular file") from None
            raise TrackError("storage_error", f"cannot be read: {error.strerror or error}") from None

    def open(self, uri: Location, size: int) -> BinaryIO:
        """See :class:`Store`."""
        return self._open(uri)

    def size(self, uri: Location) -> int:
        """See :class:`Store`."""
        try:
            found = os.stat(uri)
        except OSError as error:
            raise StorageError(f"cannot read {uri}: {error.strerror or error}") from None
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"cannot read {uri}: it is no file")
        return found.st_size

    def entries(self, folder: Location) -> Iterator[Entry]:
        """See :class:`Store`.

        A fingerprint is the size, and the times in nanoseconds of the last change of the content, which programs
        can set, and of the last change at all, which they cannot.
        """
        try:
            self._real(folder)
            with os.scandir(folder) as found:
                for entry in found:
                    if (seen := self._entry(entry)) is not None:
                        yield seen
        except TrackError as error:
            yield Unusable(folder, error.code, error.message, may_hold_files=True)
        except OSError as error:
            if error.errno not in _ABSENT:
                message = f"cannot be listed: {error.strerror or error}; let specrec read the folder"
                yield Unusable(folder, "unreadable_folder", message, may_hold_files=True)

    def _entry(self, entry: os.DirEntry[str]) -> Entry | None:
        """Return what an entry of a folder is; None if it is gone by now."""
        uri = Location(as_text(entry.path))
        try:
            return self._usable(entry, Location(entry.path))
        except TrackError as error:
            return Unusable(uri, error.code, error.message, may_hold_files=_is_folder(entry))
        except OSError as error:
            if error.errno not in _ABSENT:
                message = f"cannot be looked at: {error.strerror or error}"
                return Unusable(uri, "storage_error", message, may_hold_files=True)
            message = "a link that leads nowhere: mend or delete it"
            return Unusable(uri, "not_found", message, may_hold_files=True) if entry.is_symlink() else None

    def _usable(self, entry: os.DirEntry[str], uri: Location) -> Entry:
        if not is_text(entry.name):
            raise TrackError("unreadable_name", "its name is not UTF-8: rename it")
        real = self._real(uri) if entry.is_symlink() else None
        if entry.is_dir():
            return StoredFolder(uri, self._seen_from_root(real) if real else None)
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            raise TrackError("not_found", "not a regular file: move it away")
        return StoredFile(uri, f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}", status.st_size)

    def folders(self, folder: Location) -> Iterator[Location]:
        """See :class:`Store`."""
        try:
            with os.scandir(folder) as found:
                yield from (Location(entry.path) for entry in found if entry.is_dir(follow_symlinks=False))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise StorageError(f"cannot list {as_text(folder)}: {error.strerror or error}") from None

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
        try:
            Path(uri).unlink(missing_ok=True)
            Path(f"{uri}.guard").unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot delete {uri}: {error.strerror or error}") from None

    def exists(self, uri: Location) -> bool:
        """See :class:`Store`."""
        return os.path.exists(uri)

    def check(self, folder: Location) -> None:
        """See :class:`Store`."""
        if not is_text(folder):
            raise StorageError(f"the name of the folder {as_text(folder)} is not UTF-8: rename it")
        if not os.path.isdir(folder):
            raise StorageError(f"there is no folder {folder}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file, but do not wait for the other end of a FIFO, which may never come."""
    return os.open(path, flags | os.O_NONBLOCK)


def _open_no_link(path: str, flags: int) -> int:
    return _open_without_waiting(path, flags | os.O_NOFOLLOW)


def _write_beside(uri: Location, data: bytes) -> str:
    handle, temporary = tempfile.mkstemp(prefix=f"{Path(uri).name}.", dir=Path(uri).parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return temporary


def _parse(text: str) -> Location:
    return Location(os.path.abspath(os.path.expanduser(text)))


DISK = Scheme(
    prefix="/",
    aliases=("file:///",),
    example="a path on disk",
    parse=_parse,
    spark_prefix="file:/",
    open=lambda config, root: LocalStore(root, config.follow_links_out),
    is_tree=True,
)
