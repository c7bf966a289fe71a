"""Mending tables that are damaged: what is broken is set aside, within the table's folder, and nothing is deleted.

A folder whose name begins with an underscore is none of a table's data: neither readers nor ``VACUUM`` look into
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from specrec.errors import StorageError, TrackError
from specrec.storage import Location, Store, join, parent
from specrec.warehouse.history import read_commit
from specrec.warehouse.opening import FAILURES


class Mender:
    """One table that is mended.

    Parameters
    ----------
    store : Store
        Where it lies.
    table : Location
        Its folder.
    run_id : str
        Names the folder of what is set aside.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from specrec.storage import locate, open_store
    >>> from specrec.storage.config import StorageConfig
    >>> with TemporaryDirectory() as folder:
    ...     table, store = locate(folder), open_store(locate(folder), StorageConfig())
    ...     mender = Mender(store, table, "tonight")
    ...     _ = store.create(join(table, "_delta_log", "00000000000000000000.json"), b'{"commitInfo": {"opera')
    ...     mender.set_cut_commits_aside(), sorted(found.rpartition("/")[2] for found in store.folders(table))
    (1, ['_delta_log', '_set_aside_tonight'])
    """

    def __init__(self, store: Store, table: Location, run_id: str) -> None:
        self._store = store
        self._table = table
        self._log = join(table, "_delta_log")
        #: Where what is set aside lies.
        self.aside = join(table, f"_set_aside_{run_id}")

    def set_log_aside(self) -> int:
        """Set the whole log aside, so that the table is none any more; return how many files it had.

        All is copied before anything is deleted. Put back in its place, the log makes the table what it was.
        """
        files = [file.uri for file in self._store.list(self._log)]
        for file in files:
            self._copy(file)
        for file in files:
            self._store.delete(file)
        return len(files)

    def set_cut_commits_aside(self) -> int:
        """Set aside the newest commits as long as they are no whole ones; return how many.

        A machine that loses power, or a disk that is full, may leave half of the commit that was being written.
        """
        names = sorted(
            (file.uri for file in self._store.list(self._log) if file.uri.endswith(".json")), reverse=True
        )
        count = 0
        for place in names:
            try:
                read_commit(0, self._read(place))
                return count
            except ValueError:
                self._set_aside(place)
                count += 1
        return count

    def damaged_files(self, table: DeltaTable) -> Iterator[str]:
        """Yield which of a table's files are lost, or cannot be read to the end, by their paths in its log."""
        paths = sorted(pa.table(table.get_add_actions(flatten=True))["path"].to_pylist())
        places = {path: join(self._table, unquote(path)) for path in paths}
        folders = {parent(place) for place in places.values()}
        sizes = {file.uri: file.size for folder in folders for file in self._store.list(folder)}
        for path, place in places.items():
            if place not in sizes or not self._is_whole(place, sizes[place]):
                yield path

    def set_file_aside(self, path: str) -> None:
        """Set a file of the table's data aside, if there is one; its log must then be told that it is gone."""
        place = join(self._table, unquote(path))
        if self._store.exists(place):
            self._set_aside(place)

    def _is_whole(self, place: Location, size: int) -> bool:
        try:
            with self._store.open(place, size) as file:
                parquet = pq.ParquetFile(file, page_checksum_verification=True)
                for batch in parquet.iter_batches(1024):
                    batch.validate(full=True)
        except FAILURES:
            return False
        return True

    def _set_aside(self, place: Location) -> None:
        self._copy(place)
        self._store.delete(place)

    def _copy(self, place: Location) -> None:
        copy, content = join(self.aside, place.removeprefix(f"{self._table}/")), self._read(place)
        if not self._store.create(copy, content) and self._read(copy) != content:
            raise StorageError(f"{copy} is there already and is no copy of {place}: nothing was deleted")

    def _read(self, place: Location) -> bytes:
        try:
            return self._store.read(place)
        except TrackError as error:
            raise StorageError(f"cannot read {place}: {error.message}") from None
