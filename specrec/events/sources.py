"""Which files an events source consists of: a file, a folder that grows, or a Delta table. No Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from specrec.catalogue.sources import kind_by_ending
from specrec.errors import EventsError, StorageError
from specrec.storage import (
    Location,
    Store,
    StoredFile,
    StoredFolder,
    for_delta_rs,
    join,
    open_store,
    parent,
    uri_for_delta_rs,
)
from specrec.storage.config import StorageConfig
from specrec.warehouse.opening import FAILURES, patiently, reason, unreadable_features

#: What a data file of a Delta table goes by, besides its name: it never changes.
_NEVER_CHANGES = "of a Delta table"


@dataclass(frozen=True)
class EventFile:
    """One file of events.

    Attributes
    ----------
    uri : Location
    fingerprint : str
        Tells that it changed.
    size : int
        In bytes.
    kind : str
        ``csv`` or ``parquet``.
    constants : str
        As JSON, the values of columns that the file's place tells, and not the file: ``kind=play/…``.
    """

    uri: Location
    fingerprint: str
    size: int
    kind: str
    constants: str = "{}"


def find_files(place: Location, kind: str, storage: StorageConfig) -> list[EventFile]:
    """Return the files of an events source, sorted by their names.

    Parameters
    ----------
    place : Location
        A file, a folder of files (in folders of their own, too), or a Delta table.
    kind : str
        ``csv``, ``parquet`` or ``delta``; ``auto``: the ending of each file tells it, and what has a log is a
        Delta table.
    storage : StorageConfig

    Raises
    ------
    EventsError
        If there is nothing, or nothing that can be read.
    StorageError
        If the store cannot be reached.
    """
    store = open_store(place, storage)
    if not store.exists(place):
        raise EventsError(f"there are no events at {place}: set listeners.events")
    if kind == "delta" or (kind == "auto" and store.exists(join(place, "_delta_log"))):
        return _of_delta(place, storage)
    found = list(_below(store, place)) or list(_itself(store, place))
    files = []
    for file in sorted(found, key=lambda of: of.uri):
        own = kind if kind != "auto" else kind_by_ending(file.uri)
        if own not in ("csv", "parquet"):
            raise EventsError(
                f"what {file.uri} is, its ending does not tell: set listeners.format to csv or parquet, or give "
                "events a folder of their own"
            )
        told = json.dumps(_told_by_path(file.uri.removeprefix(place)), sort_keys=True)
        files.append(EventFile(file.uri, file.fingerprint, file.size, own, told))
    return files


def _below(store: Store, place: Location) -> Iterator[StoredFile]:
    """Yield the files in a folder and its folders; what is hidden is left out."""
    folders = [place]
    while folders:
        folder = folders.pop()
        for entry in store.entries(folder):
            if entry.uri != folder and entry.uri.rpartition("/")[2][:1] in ("", ".", "_"):
                continue
            if isinstance(entry, StoredFile):
                yield entry
            elif isinstance(entry, StoredFolder) and entry.leads_to is None:
                folders.append(entry.uri)
            elif isinstance(entry, StoredFolder):
                raise EventsError(f"cannot read the events {entry.uri}: a link to a folder: put its files here")
            else:  # to leave it out would be to lose its events
                raise EventsError(f"cannot read the events {entry.uri}: {entry.message}")


def _itself(store: Store, place: Location) -> Iterator[StoredFile]:
    """Yield the file that a place is; nothing if it is an empty folder."""
    yield from (file for file in store.list(parent(place)) if file.uri == place)


def _told_by_path(path: str) -> dict[str, str]:
    """Return what the folders of a file say, as Spark and Hive name them.

    Examples
    --------
    >>> _told_by_path("/date=2026-01-02/kind=play/part-0.parquet")
    {'date': '2026-01-02', 'kind': 'play'}
    """
    parts = (part.partition("=") for part in path.split("/")[:-1])
    return {name.strip().lower(): unquote(value) for name, equals, value in parts if equals}


def _of_delta(place: Location, storage: StorageConfig) -> list[EventFile]:
    """Return the data files that a Delta table has now: what is appended to it are files more."""
    try:
        uri, options = uri_for_delta_rs(place), for_delta_rs(place, storage)
        table = patiently(place, storage, lambda: DeltaTable(uri, storage_options=options))
        unknown = unreadable_features(table)
        added = pa.table(table.get_add_actions(flatten=False)).to_pylist()
    except TableNotFoundError:
        raise EventsError(f"there is no Delta table of events at {place}: set listeners.format") from None
    except FAILURES as error:
        raise StorageError(f"cannot read the events {place}: {reason(error)}") from None
    if unknown:
        raise EventsError(
            f"the Delta table of events {place} has {' and '.join(unknown)} switched on: write it without"
        )
    files = []
    for file in added:
        values = {
            name.lower(): str(value) for name, value in (file.get("partition") or {}).items() if value is not None
        }
        told = json.dumps(values, sort_keys=True)
        where = join(place, unquote(file["path"]))
        files.append(EventFile(where, _NEVER_CHANGES, int(file["size_bytes"]), "parquet", told))
    return sorted(files, key=lambda of: of.uri)
