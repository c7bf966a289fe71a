"""Reading the result tables without Spark, by delta-rs, the way a service would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow.parquet import filters_to_expression

from specrec.errors import SpecrecError, first_line
from specrec.storage import Location, for_delta_rs, join
from specrec.storage.config import StorageConfig

#: Rows of one batch, and how many batches are read ahead.
_BATCH_ROWS, _AHEAD = 1 << 14, 2


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
        path = join(self._root, name)
        try:
            return DeltaTable(path, version=self.versions.get(name), storage_options=self._options)
        except TableNotFoundError:
            raise SpecrecError(f"there is no table {path}: run `specrec nightly` first") from None
        except (DeltaError, OSError) as error:
            raise SpecrecError(f"cannot read {path}: {first_line(error)}") from None

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
        nothing = self.table(name).to_pyarrow_dataset().schema.empty_table()
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
            batches = found.to_pyarrow_dataset().to_batches(
                columns=columns,
                filter=condition,
                batch_size=_BATCH_ROWS,
                batch_readahead=_AHEAD,
                fragment_readahead=1,
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
        except (DeltaError, pa.ArrowException, OSError) as error:
            raise SpecrecError(f"cannot read {join(self._root, name)}: {first_line(error)}") from None
