"""What the store holds: files are listed and their tags are read, frame by frame. No Spark."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, cast

import pandas as pd

from specrec.catalogue.tags import AUDIO_ENDINGS, read_tags
from specrec.errors import StorageError, TrackError, first_line
from specrec.storage import (
    Entry,
    Location,
    Store,
    StoredFile,
    StoredFolder,
    Unusable,
    is_below,
    is_text,
    join,
    open_store,
)
from specrec.storage.config import StorageConfig

Frames = Iterator[pd.DataFrame]

#: The columns of what was listed, in the words of SQL. A row is a file with its fingerprint and size; or what was
#: left out on purpose, in `left_out` alone, by its kind; or what could not be used, with a code and a message.
FILE_SCHEMA = (
    "audio_uri string, audio_fingerprint string, audio_bytes long, left_out string, code string, message string"
)
_COLUMNS = tuple(column.split()[0] for column in FILE_SCHEMA.split(", "))

#: Attributes of a track that a file's tags tell.
TAG_COLUMNS = ("artists", "album_name", "track_name", "duration_ms", "track_genre")
_LISTING_ROWS = 10_000
#: After so many files in a row that the store did not give, it is the store that fails, and not a file.
_GIVE_UP_AFTER = 20

#: How much is listed: the files of a folder, whatever they are; its audio files, and what links in it lead to;
#: the same, and all folders below it.
Scope = Literal["files", "top", "tree"]

_HIDDEN, _LISTED_ELSEWHERE = "hidden or system folders", "links to folders that are listed elsewhere"

#: Folders that hold nobody's music, in lower case: bins, snapshots, and what systems keep for themselves.
_SYSTEM_FOLDERS = frozenset(
    {
        "lost+found", "lost.dir", "__macosx", "system volume information", "found.000",
        "$recycle.bin", "recycler", "recycled", "#recycle", "@recycle",
        "#snapshot", "~snapshot", "@recently-snapshot", "@eadir", "@tmp", "#tmp",
        "network trash folder", "temporary items", "thevolumesettingsfolder",
    }
)  # fmt: skip


def is_hidden(folder: str) -> bool:
    """Tell folders that hold nobody's music: hidden ones, bins, and what systems keep for themselves.

    Examples
    --------
    >>> [is_hidden(f"/music/{name}") for name in (".Trash-1000", "$RECYCLE.BIN", "live")]
    [True, True, False]
    """
    name = posixpath.basename(folder)
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS


def is_audio(uri: str) -> bool:
    """Tell whether a folder catalogue takes a file up, by its name.

    Examples
    --------
    >>> [is_audio(f"/music/{name}") for name in ("a.MP3", "a.flac ", "._a.mp3", "a.txt", "mp3")]
    [True, True, False, False, False]
    """
    name = posixpath.basename(uri)
    return _ending(name) in AUDIO_ENDINGS and not name.startswith("._")


def kind_left_out(uri: str) -> str:
    """Return what to call a file that is left out, in a count of such files.

    Examples
    --------
    >>> [kind_left_out(f"/music/{name}") for name in ("a.TXT", "._a.mp3", "README", "a.what is this?")]
    ['.txt', '._ files of macOS', 'without an ending', 'with another ending']
    """
    name = posixpath.basename(uri)
    if name.startswith("._"):
        return "._ files of macOS"
    ending = _ending(name)
    if not ending:
        return "without an ending"
    return f".{ending}" if re.fullmatch(r"[a-z0-9_~-]{1,12}", ending) else "with another ending"


def _ending(name: str) -> str:
    """Return what follows a name's last dot, in lower case, without blanks at either end."""
    _, dot, ending = name.rpartition(".")
    return ending.strip().lower() if dot else ""


def walk(store: Store, folder: Location, root: Location, scope: Scope) -> Iterator[Entry | str]:
    """Yield files and what cannot be used, and why a folder was left out.

    Each folder is listed once: at its own place if that lies in the catalogue and is not hidden, and otherwise
    where the first link of this walk leads to it. So links make no circles.

    Parameters
    ----------
    store : Store
        The store, with `root` as its root.
    folder : Location
        Where to begin.
    root : Location
        The folder of the catalogue.
    scope : str
        How much is listed; see :data:`Scope`.
    """
    linked: set[Location] = set()  # where the folders really lie that a link led to, here or further up
    waiting: list[tuple[Location, Location | None]] = [(folder, None)]
    while waiting:
        here, real = waiting.pop()
        below = []
        for entry in store.entries(here):
            if isinstance(entry, StoredFolder):
                below.append(entry)
            else:
                yield entry
        if scope == "files":
            return
        further: list[tuple[Location, Location | None]] = []
        for one in sorted(below, key=lambda each: each.uri):
            place = one.leads_to or (join(real, posixpath.basename(one.uri)) if real else None)
            if is_hidden(one.uri):
                yield _HIDDEN
            elif place is None:
                if scope == "tree":
                    further.append((one.uri, None))
            elif place in linked or _is_listed(place, root):
                yield _LISTED_ELSEWHERE
            else:
                linked.add(place)
                further.append((one.uri, place))
        waiting += reversed(further)


def _is_listed(place: Location, root: Location) -> bool:
    """Tell whether a folder is listed without any link that leads to it."""
    parts = place.removeprefix(root).split("/")
    return is_below(place, root) and is_text(place) and not any(is_hidden(part) for part in parts)


def listing(storage: StorageConfig, root: Location, scope: Scope) -> Callable[[Frames], Frames]:
    """Return what lists the files of folders.

    Parameters
    ----------
    storage : StorageConfig
        How the store is reached.
    root : Location
        The folder of the catalogue, out of which no link may lead.
    scope : str
        How much is listed of each folder; see :data:`Scope`.

    Returns
    -------
    callable
        Takes frames with the column ``folder``, and yields frames of the columns of :data:`FILE_SCHEMA`. It raises
        StorageError if the root itself cannot be listed.
    """

    def list_folders(batches: Frames) -> Frames:
        for batch in batches:
            rows: list[tuple[object, ...]] = []
            for folder in batch["folder"]:
                for entry in walk(open_store(folder, storage, root), folder, root, scope):
                    if isinstance(entry, Unusable) and entry.uri == root:
                        raise StorageError(f"the folder {root}: {entry.message}")
                    rows.append(_row(entry, scope))
                    if len(rows) == _LISTING_ROWS:
                        yield _frame(rows)
                        rows = []
            if rows:  # Arrow takes no empty frame of untyped columns
                yield _frame(rows)

    return list_folders


def _row(entry: Entry | str, scope: Scope) -> tuple[object, ...]:
    if isinstance(entry, str):
        return (None, None, None, entry, None, None)
    wanted = scope == "files" or is_audio(entry.uri)
    if isinstance(entry, StoredFile) and wanted:
        return (entry.uri, entry.fingerprint, entry.size, None, None, None)
    if isinstance(entry, Unusable) and (wanted or entry.may_hold_files):
        return (entry.uri, None, None, None, entry.code, entry.message)
    return (None, None, None, kind_left_out(entry.uri), None, None)


def _frame(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=_COLUMNS, dtype=object)
    return frame.astype({"audio_bytes": "Int64"})


class _FaultsTold:
    """A file whose own faults are those of the store: no reader of tags may take one for a file without tags."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except (OSError, TrackError) as error:
            raise StorageError(f"a file cannot be read: {first_line(error)}") from error


def tag_reading(storage: StorageConfig, root: Location) -> Callable[[Frames], Frames]:
    """Return what reads the tags of files.

    A file that is gone, or that cannot be read, has none, and not even a ``track_name``, which every file that was
    read has: so it is told apart. Extraction will say so of its track.

    Parameters
    ----------
    storage : StorageConfig
        How the store is reached.
    root : Location
        The folder of the catalogue, out of which no link may lead.

    Returns
    -------
    callable
        Takes frames of ``audio_uri, audio_bytes``, and yields frames of ``audio_uri`` and :data:`TAG_COLUMNS`.
    """

    def read(batches: Frames) -> Frames:
        faults = 0  # of the store, one after another
        for batch in batches:
            tags: list[dict[str, str | int]] = []
            for uri, size in zip(batch["audio_uri"], batch["audio_bytes"], strict=True):
                try:
                    with open_store(uri, storage, root).open(uri, size) as file:
                        told = cast(BinaryIO, _FaultsTold(file))
                        tags.append(read_tags(told, posixpath.basename(uri)))
                    faults = 0
                except (OSError, TrackError):  # there is no such file, which the store did say
                    tags.append({})
                    faults = 0
                except StorageError:
                    faults += 1
                    if faults == _GIVE_UP_AFTER:
                        raise
                    tags.append({})
            columns = {name: [tag.get(name) for tag in tags] for name in TAG_COLUMNS}
            frame = pd.DataFrame({"audio_uri": batch["audio_uri"].tolist(), **columns}, dtype=object)
            frame["duration_ms"] = frame["duration_ms"].astype("Int64")
            yield frame

    return read
