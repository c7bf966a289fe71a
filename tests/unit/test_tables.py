"""What Warehouse does by delta-rs alone."""

from __future__ import annotations

from datetime import UTC, datetime

import deltalake
import pyarrow as pa

from specrec.storage.config import StorageConfig
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse


def test_rows_are_added_to_a_table_whose_columns_an_older_release_commented_otherwise(tmp_path):
    older = TABLES["runs"].schema.json().replace("wall-clock time", "how long it took")
    deltalake.DeltaTable.create(tmp_path / "runs", deltalake.Schema.from_json(older))
    row = {"run_id": "r", "stage": "fit", "status": "done", "started_at": datetime.now(UTC), "config_hash": "h"}
    Warehouse(None, str(tmp_path), StorageConfig()).append_few("runs", [row | {"details": {"a": "b"}}])  # type: ignore[arg-type]
    (found,) = deltalake.DeltaTable(tmp_path / "runs").to_pyarrow_table().to_pylist(maps_as_pydicts="lossy")
    assert (found["run_id"], found["details"]) == ("r", {"a": "b"})


def test_a_pinned_reader_does_not_see_what_is_written_meanwhile(tmp_path):
    deltalake.write_deltalake(tmp_path / "numbers", pa.table({"n": [1]}))
    reader = Reader(str(tmp_path), StorageConfig())
    pinned = reader.pinned(["numbers"])
    deltalake.write_deltalake(tmp_path / "numbers", pa.table({"n": [2]}), mode="append")
    assert pinned.versions == {"numbers": 0}
    assert [row["n"] for row in pinned.rows("numbers")] == [1]
    assert sorted(row["n"] for row in reader.rows("numbers")) == [1, 2]
