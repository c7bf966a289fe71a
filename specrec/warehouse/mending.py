"""Mending tables that are damaged: what is broken is set aside, within the table's folder, and nothing is deleted.

A folder whose name begins with an underscore is none of a table's data: neither readers nor ``VACUUM`` look into
it. While a log is taken away and another begun, a file beside its copy says so: who mends the table after that was
ended half-way puts the log back first.
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

#: Before the run's name, in that of the folder of what it set aside; and what says that it had not ended.
_ASIDE, _UNFINISHED = "_set_aside_", "_unfinished"


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
    ...     for place in mender.cut_commits():
    ...         mender.set_aside(place)
    ...     mender.cut_commits(), sorted(found.rpartition("/")[2] for found in store.folders(table))
    ([], ['_delta_log', '_set_aside_tonight'])
    """

    def __init__(self, store: Store, table: Location, run_id: str) -> None:
        self._store = store
        self._table = table
        self._log = join(table, "_delta_log")
        #: Where what is set aside lies.
        self.aside = join(table, f"{_ASIDE}{run_id}")

    def set_log_aside(self) -> int:
        """Set the whole log aside, so that the table is none any more; return how many files it had.

        All is copied before anything is deleted, and checkpoints are deleted before commits, and these from the
        first on: what is left if that ends half-way is no log of an older state. When what takes its place is
        whole, :meth:`finish` says so.
        """
        files = [file.uri for file in self._store.list(self._log)]
        for file in files:
            self._copy(file)
        self._store.create(join(self.aside, _UNFINISHED), b"")
        for file in sorted(files, key=lambda uri: (uri.endswith(".json"), uri)):
            self._store.delete(file)
        return len(files)

    def finish(self) -> None:
        """Say that what takes the place of the log which was set aside is whole."""
        self._store.delete(join(self.aside, _UNFINISHED))

    def put_logs_back(self) -> int:
        """Put back the logs that were set aside by whom something ended half-way; return how many.

        Not so where somebody wrote to the table meanwhile: then what it is now counts.
        """
        count = 0
        for folder in sorted(self._store.folders(self._table)):
            mark = join(folder, _UNFINISHED)
            if not folder.startswith(join(self._table, _ASIDE)) or not self._store.exists(mark):
                continue
            copies = {
                file.uri.rpartition("/")[2]: file.uri for file in self._store.list(join(folder, "_delta_log"))
            }
            there = {file.uri.rpartition("/")[2]: file.uri for file in self._store.list(self._log)}
            others = {
                name: place
                for name, place in there.items()
                if name not in copies or self._read(place) != self._read(copies[name])
            }
            if all(self._adds_nothing(place) for place in others.values()):
                for place in others.values():
                    self._store.delete(place)
                for name in sorted(copies, reverse=True):  # the first commit last: without it there is no table
                    self._store.create(join(self._log, name), self._read(copies[name]))
                count += 1
            self._store.delete(mark)
        return count

    def _adds_nothing(self, place: Location) -> bool:
        """Tell whether a file of a log is a commit that created the table, or changed what is said of it."""
        if not place.endswith(".json"):
            return False
        return b'"add"' not in (content := self._read(place)) and b'"remove"' not in content

    def cut_commits(self) -> list[Location]:
        """Return the newest commits as long as they are no whole ones, the newest first.

        A machine that loses power, or a disk that is full, may leave half of the commit that was being written.
        """
        names = sorted(
            (file.uri for file in self._store.list(self._log) if file.uri.endswith(".json")), reverse=True
        )
        cut = []
        for place in names:
            try:
                read_commit(0, self._read(place))
                break
            except ValueError:
                cut.append(place)
        return cut

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
        self.set_aside(join(self._table, unquote(path)))

    def _is_whole(self, place: Location, size: int) -> bool:
        try:
            with self._store.open(place, size) as file:
                parquet = pq.ParquetFile(file, page_checksum_verification=True)
                for batch in parquet.iter_batches(1024):
                    batch.validate(full=True)
        except FAILURES:
            return False
        except TrackError as error:
            if error.code != "not_found":  # of a store that fails for a while no file is damaged
                raise StorageError(f"cannot read {place}: {error.message}") from None
            return False
        return True

    def set_aside(self, place: Location) -> None:
        """Set a file of the table aside, if there is one."""
        if self._store.exists(place):
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
