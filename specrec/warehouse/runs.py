"""Which runs there were, as the table ``runs`` says."""

from __future__ import annotations

from datetime import timedelta

from specrec.errors import SpecrecError
from specrec.settings import nearest_name
from specrec.warehouse.reader import Reader


def ended_at(reader: Reader, run_id: str) -> int:
    """Return when a run ended, in milliseconds since 1970.

    Raises
    ------
    SpecrecError
        If there is no such run.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from tempfile import TemporaryDirectory
    >>> import pyarrow as pa
    >>> from deltalake import write_deltalake
    >>> from specrec.storage.config import StorageConfig
    >>> row = {"run_id": "tonight", "started_at": datetime(1970, 1, 1, 0, 1, tzinfo=UTC), "seconds": 1.5}
    >>> with TemporaryDirectory() as folder:
    ...     write_deltalake(f"{folder}/runs", pa.Table.from_pylist([row]))
    ...     ended_at(Reader(folder, StorageConfig()), "tonight")
    61500
    """
    rows = reader.rows("runs", columns=["run_id", "started_at", "seconds"])
    names = sorted({row["run_id"] for row in rows})
    if run_id not in names:
        raise SpecrecError(f"there is no run {run_id!r}{nearest_name(run_id, names)}: `specrec runs` prints them")
    of_run = (row for row in rows if row["run_id"] == run_id)
    return int(max(row["started_at"] + timedelta(seconds=row["seconds"] or 0) for row in of_run).timestamp() * 1000)


def failed_stages(reader: Reader, run_id: str) -> list[str]:
    """Return the stages in which a run ended before it had done what it was to do."""
    rows = reader.rows("runs", [("run_id", "=", run_id), ("status", "=", "failed")], ["stage"])
    return sorted(row["stage"] for row in rows)
