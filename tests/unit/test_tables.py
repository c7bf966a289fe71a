"""What Warehouse does by delta-rs alone."""

from __future__ import annotations

from datetime import UTC, datetime

import deltalake

from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse


def test_rows_are_added_to_a_table_whose_columns_an_older_release_commented_otherwise(tmp_path):
    older = TABLES["runs"].schema.json().replace("wall-clock time", "how long it took")
    deltalake.DeltaTable.create(tmp_path / "runs", deltalake.Schema.from_json(older))
    row = {"run_id": "r", "stage": "fit", "status": "done", "started_at": datetime.now(UTC), "config_hash": "h"}
    Warehouse(None, str(tmp_path), StorageConfig()).append_few("runs", [row | {"details": {"a": "b"}}])  # type: ignore[arg-type]
    (found,) = deltalake.DeltaTable(tmp_path / "runs").to_pyarrow_table().to_pylist(maps_as_pydicts="lossy")
    assert (found["run_id"], found["details"]) == ("r", {"a": "b"})
