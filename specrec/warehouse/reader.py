"""Reading the result tables without Spark, by delta-rs, the way a service would."""

from __future__ import annotations

from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from specrec.config import StorageConfig
from specrec.errors import SpecrecError, first_line
from specrec.storage import for_delta_rs, normalise


class Reader:
    """The tables under one root, read-only.

    Parameters
    ----------
    root : folder or ``s3://`` prefix of the tables.
    storage : how the store is reached; credentials come from the environment.
    """

    def __init__(self, root: str, storage: StorageConfig) -> None:
        self._root = normalise(root)
        self._options = for_delta_rs(root, storage)

    def table(self, name: str) -> DeltaTable:
        """Open a table.

        Raises
        ------
        SpecrecError
            If there is none, or the store cannot be reached.
        """
        path = f"{self._root}/{name}"
        try:
            return DeltaTable(path, storage_options=self._options)
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
        filters : conditions that all hold, such as ``("track_id", "=", "…")``.
        columns : all if None.
        """
        table = self.table(name).to_pyarrow_table(filters=filters or None, columns=columns)
        rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
        return rows
