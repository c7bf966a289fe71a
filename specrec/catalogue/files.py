"""What the store holds: files are listed and their tags are read, frame by frame. No Spark."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterator

import pandas as pd

from specrec.catalogue.tags import read_tags
from specrec.storage import Location, Store, StoredFile, open_store
from specrec.storage.config import StorageConfig

Frames = Iterator[pd.DataFrame]

#: The columns of a file that was listed, in the words of SQL.
FILE_SCHEMA = "audio_uri string, audio_fingerprint string, audio_bytes long"
#: Attributes of a track that a file's tags tell.
TAG_COLUMNS = ("artists", "album_name", "track_name", "duration_ms", "track_genre")
_LISTING_ROWS = 10_000


def is_hidden(folder: Location) -> bool:
    """Tell folders that hold nobody's music: hidden ones, trash, and what file systems keep for themselves.

    Examples
    --------
    >>> is_hidden("/music/.Trash-1000"), is_hidden("/music/Abba")
    (True, False)
    """
    name = posixpath.basename(folder)
    return name.startswith(".") or name in ("lost+found", "@eaDir", "__MACOSX")


def listing(storage: StorageConfig, deep: bool) -> Callable[[Frames], Frames]:
    """Return what lists the files of folders.

    Parameters
    ----------
    storage : StorageConfig
        How the store is reached.
    deep : bool
        Whether to list the folders below them too, but for those that are hidden.

    Returns
    -------
    callable
        Takes frames with the column ``folder``, and yields frames of the columns of :data:`FILE_SCHEMA`.
    """

    def walk(store: Store, folder: Location) -> Iterator[StoredFile]:
        yield from store.list(folder)
        if deep:
            for below in store.folders(folder):
                if not is_hidden(below):
                    yield from walk(store, below)

    def list_folders(batches: Frames) -> Frames:
        for batch in batches:
            rows: list[StoredFile] = []
            for folder in batch["folder"]:
                for file in walk(open_store(folder, storage), folder):
                    rows.append(file)
                    if len(rows) == _LISTING_ROWS:
                        yield _frame(rows)
                        rows = []
            if rows:  # Arrow takes no empty frame of untyped columns
                yield _frame(rows)

    return list_folders


def _frame(rows: list[StoredFile]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "audio_uri": [row.uri for row in rows],
            "audio_fingerprint": [row.fingerprint for row in rows],
            "audio_bytes": pd.Series([row.size for row in rows], dtype="int64"),
        }
    )


def tag_reading(storage: StorageConfig) -> Callable[[Frames], Frames]:
    """Return what reads the tags of files.

    A file that is gone, or that may not be read, has none: extraction will say so of its track.

    Returns
    -------
    callable
        Takes frames of ``audio_uri, audio_bytes``, and yields frames of ``audio_uri`` and :data:`TAG_COLUMNS`.
    """

    def read(batches: Frames) -> Frames:
        for batch in batches:
            tags = []
            for uri, size in zip(batch["audio_uri"], batch["audio_bytes"], strict=True):
                try:
                    with open_store(uri, storage).open(uri, size) as file:
                        tags.append(read_tags(file, posixpath.basename(uri)))
                except (FileNotFoundError, PermissionError):
                    tags.append(read_tags(io.BytesIO(), posixpath.basename(uri)))
            columns = {name: [tag.get(name) for tag in tags] for name in TAG_COLUMNS}
            frame = pd.DataFrame({"audio_uri": batch["audio_uri"].tolist(), **columns})
            frame["duration_ms"] = frame["duration_ms"].astype("Int64")
            yield frame

    return read
