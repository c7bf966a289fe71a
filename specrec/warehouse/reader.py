"""Reading the result tables without Spark, by delta-rs, the way a service would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem
from pyarrow.parquet import filters_to_expression

from specrec.errors import SpecrecError
from specrec.storage import Location, for_delta_rs, join, scheme_of, uri_for_delta_rs
from specrec.storage.config import StorageConfig
from specrec.warehouse.opening import FAILURES, cannot_read, open_table, patiently

#: Rows of one batch, and how many batches are read ahead.
_BATCH_ROWS, _AHEAD = 1 << 14, 2

#: Bytes of a file that were altered are no data: where a page has a checksum, as Spark's have, it is compared.
CHECKED = ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)


class _PatientFiles(DeltaStorageHandler):
    """The files of a table, as delta-rs reads them, each read tried again where it fails for a moment."""

    again: Callable[[Callable[[], Any]], Any]

    def open_input_file(self, path: str) -> pa.PythonFile:
        file = self.again(lambda: self._handler.open_input_file(path))
        return pa.PythonFile(_PatientFile(file, self.again), mode="r")


class _PatientFile:
    """A file that is read from where it was, once more, after a read that failed."""

    def __init__(self, file: Any, again: Callable[[Callable[[], Any]], Any]) -> None:
        self._file, self._again = file, again

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, count: int = -1) -> bytes:
        at = self._file.tell()

        def work() -> bytes:
            self._file.seek(at)
            found: bytes = self._file.read(count)
            return found

        found: bytes = self._again(work)
        return found


class Reader:
    """The tables under one root, read-only.

    Parameters
    ----------
    root : Location
        Folder or prefix of the tables.
    storage : StorageConfig
        How the store is reached; credentials come from the environment.
    versions : mapping of str to int or None
        The Delta version at which a table is read, by its name; others are read as they stand.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from deltalake import write_deltalake
    >>> with TemporaryDirectory() as folder:
    ...     write_deltalake(f"{folder}/tracks", pa.table({"track_id": ["a", "b"], "artists": ["Abba", "Can"]}))
    ...     Reader(folder, StorageConfig()).rows("tracks", filters=[("track_id", "=", "b")])
    [{'track_id': 'b', 'artists': 'Can'}]
    """

    def __init__(self, root: Location, storage: StorageConfig, versions: Mapping[str, int] | None = None) -> None:
        self._root = root
        self._storage = storage
        self.versions = dict(versions or {})
        self._options = for_delta_rs(root, storage)
        uri_for_delta_rs(root)  # raises before anything is read

    def pinned(self, names: Iterable[str]) -> Reader:
        """Return a reader that reads these tables, whatever is written meanwhile, at the versions they have now."""
        return Reader(self._root, self._storage, {name: self.table(name).version() for name in names})

    def table(self, name: str) -> DeltaTable:
        """Open a table.

        Raises
        ------
        SpecrecError
            If there is none, or the store cannot be reached.
        """
        try:
            return open_table(self._root, name, self._storage, self.versions.get(name))
        except TableNotFoundError:
            raise SpecrecError(f"there is no table {join(self._root, name)}: run `specrec nightly` first") from None

    def has(self, name: str) -> bool:
        """Tell whether there is a table: a warehouse of an older release may lack one until its next night."""
        try:
            open_table(self._root, name, self._storage)
        except TableNotFoundError:
            return False
        return True

    def dataset(self, name: str) -> ds.FileSystemDataset:
        """Open a table as pyarrow reads it; what is read of its files is tried again where the store fails."""
        return self._dataset(name, self.table(name))

    @contextmanager
    def opened(self, name: str, columns: list[str] | None = None) -> Iterator[ds.FileSystemDataset]:
        """Open a table, as :meth:`dataset` does, for a block that reads it; what fails there is told in one line.

        Raises
        ------
        SpecrecError
            If there is none, it lacks one of the columns, or it cannot be read within the block.
        """
        found = self.table(name)
        with self._reading(name, found, columns):
            yield self._dataset(name, found)

    def _dataset(self, name: str, table: DeltaTable) -> ds.FileSystemDataset:
        if scheme_of(self._root).is_tree:
            return table.to_pyarrow_dataset()
        place = join(self._root, name)
        added = pa.table(table.get_add_actions(flatten=True))
        sizes = dict(zip(added["path"].to_pylist(), added["size_bytes"].to_pylist(), strict=True))
        files = _PatientFiles(uri_for_delta_rs(place), self._options, sizes)
        files.again = partial(patiently, place, self._storage)
        return table.to_pyarrow_dataset(filesystem=PyFileSystem(files))

    def rows(
        self, name: str, filters: list[tuple[str, str, Any]] | None = None, columns: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return rows of a table, as dicts.

        Parameters
        ----------
        filters : list of tuple of str, str and object or None
            Conditions that all hold, such as ``("track_id", "=", "…")``.
        columns : list of str or None
            All if None.
        """
        condition = None if not filters else filters_to_expression(filters)
        found = self._batches(name, columns, condition)
        return [row for batch in found for row in batch.to_pylist(maps_as_pydicts="lossy")]

    def arrow(
        self, name: str, filters: list[tuple[str, str, Any]] | None = None, columns: list[str] | None = None
    ) -> pa.Table:
        """Return rows of a table, as :meth:`rows` does, as an Arrow table."""
        condition = None if not filters else filters_to_expression(filters)
        found = list(self._batches(name, columns, condition))
        if found:
            return pa.Table.from_batches(found)
        nothing = self.dataset(name).schema.empty_table()
        return nothing if columns is None else nothing.select(columns)

    def batches(
        self, name: str, columns: list[str], part: tuple[str, str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Return a table's rows some thousand at a time: memory does not grow with the table.

        Parameters
        ----------
        part : tuple of str or None
            Column and value that rows must have; all rows if None.
        """
        return self._batches(name, columns, None if part is None else pc.field(part[0]) == part[1])

    def _batches(
        self, name: str, columns: list[str] | None, condition: pc.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        found = self.table(name)
        with self._reading(name, found, columns):
            # not to_pyarrow_table, which reads far ahead: a few rows of a large table would take its memory
            batches = self._dataset(name, found).to_batches(
                columns=columns,
                filter=condition,
                batch_size=_BATCH_ROWS,
                batch_readahead=_AHEAD,
                fragment_readahead=1,
                fragment_scan_options=CHECKED,
            )
            for batch in batches:
                if batch.num_rows:
                    yield batch

    @contextmanager
    def _reading(self, name: str, table: DeltaTable, columns: list[str] | None) -> Iterator[None]:
        """Tell in one line what a table lacks, or why it cannot be read."""
        lacking = set(columns or ()) - {field.name for field in table.schema().fields}
        if lacking:
            names = ", ".join(sorted(lacking))
            raise SpecrecError(f"the table {name}, of an older release, lacks {names}: run `specrec nightly`")
        try:
            yield
        except FAILURES as error:
            raise cannot_read(self._root, name, error) from None
