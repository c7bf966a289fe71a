"""Commits of others in our tables, told by the log alone and undone through delta-rs: no Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from pyspark.errors import PySparkException

from specrec.config import load
from specrec.errors import SpecrecError
from specrec.pipeline.run import open_run
from specrec.storage.config import StorageConfig
from specrec.warehouse.history import Commit, Mark, read_commit, read_mark, version_after
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

STAGES = ("fit",)  # makes `artefacts`, which delta-rs writes
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def artefact(version: int) -> dict[str, Any]:
    made = {"name": "map", "version": version, "config_hash": "c", "payload": b"x", "fitted_tracks": 3}
    return made | {"reason": "first", "run_id": "r", "created_at": NOW}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(None, str(tmp_path), StorageConfig())  # type: ignore[arg-type]
    made.create_missing()
    for version in (1, 2):
        made.append_few("artefacts", [artefact(version)])
    return made


@pytest.fixture
def table(warehouse: Warehouse, tmp_path: Path) -> Callable[[], DeltaTable]:
    return lambda: DeltaTable(tmp_path / "artefacts")


def versions(table: DeltaTable) -> list[int]:
    return sorted(table.to_pyarrow_table()["version"].to_pylist())


WORDS = CommitProperties(custom_metadata={"userMetadata": '{"map": "of another"}'})

CHANGES: dict[str, Callable[[DeltaTable], Any]] = {
    "RESTORE": lambda table: table.restore(1),
    "UPDATE": lambda table: table.update({"reason": "'mine'"}, predicate="version = 2"),
    "DELETE": lambda table: table.delete("version = 2"),
    "WRITE": lambda table: deltalake.write_deltalake(
        table, table.to_pyarrow_table(), mode="append", commit_properties=WORDS
    ),
}

HARMLESS: dict[str, Callable[[DeltaTable], Any]] = {
    "OPTIMIZE": lambda table: table.optimize.compact(commit_properties=WORDS),
    "VACUUM": lambda table: table.vacuum(dry_run=False),
    "a property": lambda table: table.alter.set_table_properties({"delta.logRetentionDuration": "interval 9 days"}),
    "a constraint": lambda table: table.alter.add_constraint({"positive": "version > 0"}),
    "a column": lambda table: table.alter.add_columns([deltalake.Field("note", "string")]),
    "a checkpoint": lambda table: table.create_checkpoint(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("after", [None, *HARMLESS])
def test_a_change_of_data_is_undone_whatever_came_after_it(
    warehouse: Warehouse, table: Callable[[], DeltaTable], change: str, after: str | None
) -> None:
    before = table().to_pyarrow_table().to_pylist()
    CHANGES[change](table())
    if after:
        HARMLESS[after](table())
    (undone,) = warehouse.undo_foreign_changes(STAGES)
    assert (undone.table, [commit.operation for commit in undone.commits]) == ("artefacts", [change])
    found = table().to_pyarrow_table()
    rows = [{name: row[name] for name in row if name != "note"} for row in found.to_pylist()]
    assert sorted(rows, key=str) == sorted(before, key=str)
    assert warehouse.undo_foreign_changes(STAGES) == []


@pytest.mark.parametrize("change", HARMLESS)
def test_what_changes_no_row_is_left_alone_and_rows_are_added_after_it(
    warehouse: Warehouse, table: Callable[[], DeltaTable], change: str
) -> None:
    HARMLESS[change](table())
    version = table().version()
    assert warehouse.undo_foreign_changes(STAGES) == []
    assert table().version() == version
    warehouse.append_few("artefacts", [artefact(3)])
    assert versions(table()) == [1, 2, 3]
    assert warehouse.undo_foreign_changes(STAGES) == []


def test_other_stages_tables_and_records_are_left_alone(
    warehouse: Warehouse, table: Callable[[], DeltaTable], tmp_path: Path
) -> None:
    CHANGES["DELETE"](table())
    warehouse.append_few("evaluation", [])
    DeltaTable(tmp_path / "runs").delete()
    assert warehouse.undo_foreign_changes(["ingest", "embed"]) == []
    assert versions(table()) == [1]


def test_a_table_that_no_commit_marks_is_trusted(tmp_path: Path) -> None:
    warehouse = Warehouse(None, str(tmp_path), StorageConfig())  # type: ignore[arg-type]
    warehouse.create_missing(["artefacts"])
    schema = pa.schema(deltalake.Schema.from_json(TABLES["artefacts"].schema.json()).to_arrow())
    deltalake.write_deltalake(tmp_path / "artefacts", pa.Table.from_pylist([artefact(1)], schema), mode="append")
    DeltaTable(tmp_path / "artefacts").update({"reason": "'mine'"})
    assert warehouse.undo_foreign_changes(STAGES) == []


def test_what_cannot_be_put_back_is_told_with_the_way_out(
    warehouse: Warehouse, table: Callable[[], DeltaTable], tmp_path: Path
) -> None:
    CHANGES["UPDATE"](table())
    table().vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(
        SpecrecError, match=r"somebody changed the table .*artefacts \(UPDATE of version 3\)"
    ) as told:
        warehouse.undo_foreign_changes(STAGES)
    assert f"`specrec repair artefacts --warehouse {tmp_path}`" in str(told.value)
    assert "\n" not in str(told.value)


def test_what_spark_cannot_put_back_is_told_as_well(
    table: Callable[[], DeltaTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_spark() -> Any:
        raise PySparkException(
            "An error occurred.\n: java.io.FileNotFoundException: part-1.parquet\n\tat a.b(C.java)"
        )

    CHANGES["UPDATE"](table())
    monkeypatch.setattr("specrec.warehouse.tables._by_spark", lambda _: True)  # as of a table that is clustered
    with pytest.raises(SpecrecError, match=r"put back to version 2: java.io.FileNotFoundException: part-1") as told:
        Warehouse(no_spark, str(tmp_path), StorageConfig()).undo_foreign_changes(STAGES)
    assert "`specrec repair artefacts" in str(told.value)
    assert "\n" not in str(told.value)


def failed(code: str) -> dict[str, Any]:
    seen = {"attempts": 1, "first_seen": NOW, "last_seen": NOW, "run_id": "r"}
    return {"track_id": "a", "audio_uri": "/a", "stage": "extract", "code": code, "message": "m"} | seen


@pytest.mark.parametrize("stages", [["ingest"], ["extract"], ["neighbours"], ["recommend"]])
def test_a_record_that_nights_go_by_is_put_back_for_those_that_do(
    warehouse: Warehouse, tmp_path: Path, stages: list[str]
) -> None:
    place = tmp_path / "quarantine"
    for code in ("silent", "empty"):
        warehouse.append_few("quarantine", [failed(code)])
    DeltaTable(place).restore(1)
    undone = warehouse.undo_foreign_changes(stages)
    assert [change.table for change in undone] == ([] if stages == ["recommend"] else ["quarantine"])
    codes = sorted(DeltaTable(place).to_pyarrow_table()["code"].to_pylist())
    assert codes == (["silent"] if stages == ["recommend"] else ["empty", "silent"])


def test_rows_that_are_deleted_from_quarantine_are_to_be_tried_again(warehouse: Warehouse, tmp_path: Path) -> None:
    warehouse.append_few("quarantine", [failed("silent")])
    DeltaTable(tmp_path / "quarantine").delete()
    assert warehouse.undo_foreign_changes(["extract"]) == []


def test_an_undoing_that_fails_is_told_in_runs_with_what_was_done_before(
    warehouse: Warehouse, table: Callable[[], DeltaTable], tmp_path: Path
) -> None:
    for code in ("silent", "empty"):
        warehouse.append_few("quarantine", [failed(code)])
    DeltaTable(tmp_path / "quarantine").restore(1)
    CHANGES["UPDATE"](table())
    table().vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    config = load(None, [f"warehouse={tmp_path}"], needs_catalogue=False)
    with open_run(config, shown=False) as run, pytest.raises(SpecrecError):
        run.undo_foreign_changes(["extract", "fit"])
    (row,) = Reader(str(tmp_path), StorageConfig()).rows("runs", [("stage", "=", "undo")])
    assert row["status"] == "failed"
    assert "artefacts" in row["message"]
    assert row["details"]["quarantine"].startswith("RESTORE")


def _without(name: str, column: str, place: Path) -> None:
    """Create a table as an older release had it."""
    schema = deltalake.Schema.from_json(TABLES[name].schema.json())
    older = deltalake.Schema([field for field in schema.fields if field.name != column])
    DeltaTable.create(place, older)


def test_columns_are_added_once_though_the_answer_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without("runs", "message", tmp_path / "runs")
    add, tries = deltalake.table.TableAlterer.add_columns, []

    def lost(self: Any, fields: Any) -> None:
        add(self, fields)
        tries.append(fields)
        raise OSError("Generic S3 error: the connection was reset")

    def twice(place: str, storage: StorageConfig, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError:
            return work()

    monkeypatch.setattr(deltalake.table.TableAlterer, "add_columns", lost)
    monkeypatch.setattr("specrec.warehouse.tables.patiently", twice)
    Warehouse(None, str(tmp_path), StorageConfig()).create_missing(["runs"])  # type: ignore[arg-type]
    names = [field.name for field in DeltaTable(tmp_path / "runs").schema().fields]
    assert sorted(names) == sorted(TABLES["runs"].schema.fieldNames())
    assert len(tries) == 1


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.integers() | st.text(), lambda of: st.dictionaries(st.text(), of) | st.lists(of)
        ).map(json.dumps),
    )
)
def test_words_of_anybody_else_are_no_mark_and_no_error(words: str) -> None:
    assert read_mark(words) is None
    info = {"commitInfo": {"operation": "MERGE", "userMetadata": words}}
    assert read_commit(1, json.dumps(info).encode()).mark is None


@given(st.dictionaries(st.text(), st.text()), st.text())
def test_a_mark_is_read_as_it_was_written(states: dict[str, str], name: str) -> None:
    assert read_mark(Mark(states, id=name).written("1.0")) == Mark(states, id=name)


def test_states_are_those_of_the_last_commit_of_ours_unless_somebody_wrote_since(tmp_path: Path) -> None:
    warehouse = Warehouse(None, str(tmp_path), StorageConfig())  # type: ignore[arg-type]
    warehouse.create_missing(["agreement"])

    def write(words: str | None) -> None:
        told = None if words is None else CommitProperties(custom_metadata={"userMetadata": words})
        schema = pa.schema(deltalake.Schema.from_json(TABLES["agreement"].schema.json()).to_arrow())
        row = {
            "track_id": "a",
            "jaccard": 1.0,
            "rank_biased_overlap": 1.0,
            "in_both": 1,
            "run_id": "r",
            "computed_at": NOW,
        }
        rows = pa.Table.from_pylist([row], schema)
        deltalake.write_deltalake(tmp_path / "agreement", rows, mode="overwrite", commit_properties=told)

    assert warehouse.states("agreement") == {}
    write('{"agreement": "of:before"}')  # as older releases did
    assert warehouse.states("agreement") == {"agreement": "of:before"}
    write(Mark({"agreement": "now"}).written("1.0"))
    assert warehouse.states("agreement") == {"agreement": "now"}
    DeltaTable(tmp_path / "agreement").optimize.compact()
    assert warehouse.states("agreement") == {"agreement": "now"}
    write("job 17")
    assert warehouse.states("agreement") == {}
    warehouse.undo_foreign_changes(["recommend"])
    assert warehouse.states("agreement") == {"agreement": "now"}


def test_a_log_that_no_longer_says_what_a_table_was_made_of_is_told(tmp_path: Path) -> None:
    warehouse = Warehouse(None, str(tmp_path), StorageConfig(), "tonight")  # type: ignore[arg-type]
    warehouse.create_missing(["artefacts"])
    for version in (1, 2):
        warehouse.append_few("artefacts", [artefact(version)])
    assert warehouse.states("artefacts") == {}
    assert warehouse.last_run("artefacts") == "tonight"
    assert warehouse.take_notes() == {}
    CHANGES["UPDATE"](DeltaTable(tmp_path / "artefacts"))
    DeltaTable(tmp_path / "artefacts").create_checkpoint()
    for version in (0, 1, 2):
        (tmp_path / "artefacts" / "_delta_log" / f"{version:020}.json").unlink()
    assert warehouse.states("artefacts") == {}
    assert warehouse.last_run("artefacts") == ""
    told = warehouse.take_notes()
    assert told == {"artefacts_history": "none of its last 1 commits says what it was made of"}
    assert warehouse.take_notes() == {}
    assert warehouse.undo_foreign_changes(STAGES) == []
    assert "whether somebody else changed it is not known" in warehouse.take_notes()["artefacts_history"]


@pytest.mark.parametrize("states", [("of:before", "of:now"), ("of:now",)])
def test_a_table_that_was_quiet_for_long_is_still_known_after_it_was_cleaned(
    tmp_path: Path, states: tuple[str, ...]
) -> None:
    place, first, later = tmp_path / "agreement", "20260101T000000Z-a", "20260201T000000Z-b"
    Warehouse(None, str(tmp_path), StorageConfig(), first).create_missing(["agreement"])  # type: ignore[arg-type]
    schema = pa.schema(DeltaTable(place).schema().to_arrow())
    row = {"track_id": "a", "jaccard": 1.0, "rank_biased_overlap": 1.0, "in_both": 1, "run_id": "r"}
    for state in states:  # the second leaves a file that can be deleted
        deltalake.write_deltalake(
            place,
            pa.Table.from_pylist([row | {"computed_at": NOW}], schema),
            mode="overwrite",
            commit_properties=CommitProperties(
                custom_metadata={"userMetadata": Mark({"agreement": state}, run=first).written("1.0")}
            ),
        )
    changed = DeltaTable(place).version()
    month = DeltaTable(place)
    month.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 days"})
    warehouse = Warehouse(None, str(tmp_path), StorageConfig(), later)  # type: ignore[arg-type]
    assert warehouse.clean("agreement", 0) == len(states) - 1
    for version in range(changed + 2):  # what Delta's retention of the log takes in time
        (place / "_delta_log" / f"{version:020}.json").unlink()
    assert warehouse.states("agreement") == {"agreement": "of:now"}
    assert warehouse.take_notes() == {}
    after = warehouse.version_after("agreement", first, 0)
    assert after is not None
    assert after > changed
    assert warehouse.is_as_at("agreement", after)
    assert versions_of_tracks(place) == ["a"]


def versions_of_tracks(place: Path) -> list[str]:
    return [str(track) for track in DeltaTable(place).to_pyarrow_table()["track_id"].to_pylist()]


def test_tables_are_told_how_long_to_keep_files_unless_somebody_said_otherwise(tmp_path: Path) -> None:
    name = "delta.deletedFileRetentionDuration"
    warehouse = Warehouse(None, str(tmp_path), StorageConfig())  # type: ignore[arg-type]
    warehouse.create_missing(["artefacts"])
    table = DeltaTable(tmp_path / "artefacts")
    assert table.metadata().configuration[name] == "interval 30 days"
    table.alter.set_table_properties({name: "interval 60 days"})
    warehouse.create_missing(["artefacts"])
    assert DeltaTable(tmp_path / "artefacts").metadata().configuration[name] == "interval 60 days"


def test_the_version_after_a_run_is_told_by_marks_and_for_older_releases_by_the_clock(tmp_path: Path) -> None:
    for run in ("20260101T000000Z-a", "20260103T000000Z-b"):
        warehouse = Warehouse(None, str(tmp_path), StorageConfig(), run)  # type: ignore[arg-type]
        warehouse.create_missing(["artefacts"])
        warehouse.append_few("artefacts", [artefact(1)])
        DeltaTable(tmp_path / "artefacts").optimize.compact()
    after = {
        day: warehouse.version_after("artefacts", f"202601{day}T000000Z-c", 0) for day in ("00", "01", "02", "03")
    }
    assert after == {"00": 0, "01": 1, "02": 1, "03": 2}
    former = Commit(4, "WRITE", True, Mark({"features": "a:b"}, is_whole=False), written_at=1_000)
    assert version_after([former], "20250101T000000Z-a", 1_000) == 4
    assert version_after([former], "20250101T000000Z-a", 999) is None


def test_properties_are_set_at_creation_in_older_tables_and_again_where_somebody_switched_them_off(
    tmp_path: Path,
) -> None:
    def feed() -> str | None:
        return DeltaTable(tmp_path / "recommendations").metadata().configuration.get("delta.enableChangeDataFeed")

    schema = deltalake.Schema.from_json(TABLES["recommendations"].schema.json())
    DeltaTable.create(tmp_path / "recommendations", schema, partition_by=["system"])
    warehouse = Warehouse(None, str(tmp_path), StorageConfig())  # type: ignore[arg-type]
    assert feed() is None
    warehouse.create_missing()
    assert feed() == "true"
    assert warehouse.take_notes() == {}
    DeltaTable(tmp_path / "recommendations").alter.set_table_properties({"delta.enableChangeDataFeed": "false"})
    warehouse.create_missing()
    assert feed() == "true"
    assert "switched delta.enableChangeDataFeed off" in warehouse.take_notes()["recommendations_history"]
    version = DeltaTable(tmp_path / "recommendations").version()
    warehouse.create_missing()
    assert DeltaTable(tmp_path / "recommendations").version() == version
