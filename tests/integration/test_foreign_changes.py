"""What others do to our tables between two nights: undone, left alone, or refused before anything is written."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import CommitProperties, DeltaTable, Schema
from nights import RESULTS, Night
from pyspark.sql import SparkSession

from specrec.cli import main
from specrec.errors import SpecrecError
from specrec.pipeline.account import ACCOUNT
from specrec.pipeline.stages import OF_LISTENERS, STAGES
from specrec.storage.config import StorageConfig
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

NAMES_OF_COLUMNS = "'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5'"
NOTE = deltalake.Field("note", "string")


def table(night: Night, name: str) -> DeltaTable:
    return DeltaTable(Path(night.warehouse) / name)


def results(night: Night) -> dict[str, list[dict[str, Any]]]:
    return {name: night.rows(name) for name in RESULTS}


def undone(night: Night, run_id: str) -> dict[str, str]:
    """What `runs` says a night undid, by table."""
    rows = [row for row in night.reader.rows("runs") if (row["run_id"], row["stage"]) == (run_id, "undo")]
    return dict(rows[0]["details"]) if rows else {}


def test_whatever_was_changed_by_hand_is_as_it_was_after_the_next_night(second_night: Night) -> None:
    night, before = second_night, results(second_night)
    first = min(row["track_id"] for row in before["tracks"])
    # states that were true once, and are no more
    table(night, "recommendations").restore(0)
    table(night, "neighbours").delete("rank = 3")
    twin = {"track_id": first, "group_id": "a", "matched_track_id": "a", "same_bytes": True, "run_id": "mine"}
    schema = pa.schema(table(night, "duplicates").schema().to_arrow())
    deltalake.write_deltalake(table(night, "duplicates"), pa.Table.from_pylist([twin], schema), mode="append")
    table(night, "agreement").delete()
    # rows whose hashes look right
    table(night, "embeddings").update(
        {"levels": "NULL", "artefact_version": "9"}, predicate=f"track_id = '{first}'"
    )
    table(night, "audio_features").update({"tempo": "tempo + 1"}, predicate=f"track_id = '{first}'")
    table(night, "map").update({"cluster": "77"})
    table(night, "tracks").restore(0)
    table(night, "artefacts").delete("name = 'map'")
    # rows that are looked for, and made anew
    table(night, "mel_spectrograms").delete(f"track_id = '{first}'")
    # what changes no row: columns, properties with words of somebody's own, files that are put together
    for name in TABLES:
        table(night, name).alter.add_columns([NOTE])
    words = CommitProperties(custom_metadata={"userMetadata": '{"job": "a night of another"}'})
    table(night, "map").alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 60 days"}, commit_properties=words
    )
    table(night, "neighbours").optimize.compact(commit_properties=words)

    run_id = night.run()

    found = {
        name: [{key: row[key] for key in row if key != "note"} for row in rows]
        for name, rows in results(night).items()
    }
    assert found == before
    told = undone(night, run_id)
    assert set(told) == set(TABLES) & {
        "recommendations", "neighbours", "duplicates", "agreement", "embeddings", "audio_features", "map", "tracks",
        "artefacts",
    }  # fmt: skip
    assert told["recommendations"].startswith("RESTORE (version 2) undone")
    assert night.stage(run_id, "extract")["details"]["decoded"] == "1"

    versions = night.versions()
    again = night.run()
    assert undone(night, again) == {}
    assert night.versions() == versions


def test_what_is_added_to_a_table_is_kept_and_new_rows_do_without(second_night: Night, spark: SparkSession) -> None:
    night = second_night
    for name in ("tracks", "audio_features", "quarantine", "runs"):
        table(night, name).alter.add_columns([NOTE])
    for name, column in (("runs", "stage"), ("audio_features", "track_id")):
        spark.sql(f"ALTER TABLE delta.`{night.warehouse}/{name}` CLUSTER BY ({column})")
    lines = Path(night.catalogue).read_text(encoding="utf-8").splitlines(keepends=True)
    gone = lines.pop().partition(",")[0]
    Path(night.catalogue).write_text("".join(lines).replace("demo-0001,", "another,"), encoding="utf-8")

    run_id = night.run("spark.conf={}", stages=("ingest", "extract"))

    kept = {row["track_id"] for row in night.rows("tracks")}
    assert "another" in kept
    assert gone not in kept
    assert {row["track_id"] for row in night.rows("audio_features")} == kept
    assert {row["note"] for name in ("tracks", "audio_features", "runs") for row in night.rows(name)} == {None}
    assert night.stage(run_id, "ingest")["status"] == "done"


def test_a_clustered_table_of_an_older_release_gets_its_columns_and_loses_lost_files(
    spark: SparkSession, tmp_path: Path
) -> None:
    """What delta-rs does of other tables, Spark does of these."""
    declared = Schema.from_json(TABLES["runs"].schema.json()).fields
    DeltaTable.create(tmp_path / "runs", Schema([field for field in declared if field.name != "message"]))
    spark.sql(f"ALTER TABLE delta.`{tmp_path}/runs` CLUSTER BY (stage)")
    warehouse = Warehouse(lambda: spark, f"{tmp_path}", StorageConfig())
    warehouse.create_missing(["runs"])
    added = {field.name: field for field in DeltaTable(tmp_path / "runs").schema().fields}
    assert added.keys() == {field.name for field in declared}
    comment = TABLES["runs"].schema["message"].metadata["comment"]
    assert (added["message"].nullable, added["message"].metadata["comment"]) == (True, comment)
    row = {"stage": "fit", "status": "done", "started_at": datetime(2026, 1, 2, tzinfo=UTC), "config_hash": "h"}
    for number in (1, 2, 3):
        warehouse.append_few("runs", [row | {"run_id": f"run {number}", "message": "it's"}])
    actions = pa.table(DeltaTable(tmp_path / "runs").get_add_actions(flatten=True)).to_pylist()
    (lost,) = (of["path"] for of in actions if of["min.run_id"] == "run 2")
    (tmp_path / "runs" / lost).unlink()
    warehouse.forget_lost_files("runs")
    left = Reader(f"{tmp_path}", StorageConfig()).rows("runs")
    assert sorted((of["run_id"], of["message"]) for of in left) == [("run 1", "it's"), ("run 3", "it's")]


@pytest.mark.parametrize(
    "refusal",
    [
        ("recommendations", "'delta.enableDeletionVectors' = true", "deletionVectors switched on"),
        ("tracks", "'delta.appendOnly' = true", "delta.appendOnly forbids to replace a row"),
        ("runs", f"'delta.columnMapping.mode' = 'name', {NAMES_OF_COLUMNS}", "columnMapping switched on"),
    ],
    ids=lambda refusal: refusal[0],
)
def test_what_a_night_cannot_go_on_with_is_told_before_anything_is_written(
    first_night: Night, spark: SparkSession, tmp_path: Path, refusal: tuple[str, str, str]
) -> None:
    name, properties, told = refusal
    night = Night(first_night.catalogue, f"{tmp_path}/warehouse")
    shutil.copytree(first_night.warehouse, night.warehouse)
    spark.sql(f"ALTER TABLE delta.`{night.warehouse}/{name}` SET TBLPROPERTIES ({properties})")
    before = sorted(Path(night.warehouse).rglob("*"))
    with pytest.raises(SpecrecError, match=told) as refused:
        night.run()
    assert f"`specrec repair {name} --warehouse {night.warehouse}`" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(Path(night.warehouse).rglob("*")) == before


def specrec(night: Night, *arguments: str) -> str:
    settings = [text for setting in night.settings for text in ("--set", setting)]
    result = CliRunner().invoke(main, [*arguments, "--warehouse", night.warehouse, *settings])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_damage_is_told_with_its_table_and_is_gone_after_repair_and_a_night(
    second_night: Night, spark: SparkSession
) -> None:
    night, before = second_night, results(second_night)
    (data, *_) = sorted((Path(night.warehouse) / "mel_spectrograms").glob("*.parquet"))
    content = bytearray(data.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 64):
        content[at] ^= 0xFF
    data.write_bytes(content)
    (Path(night.warehouse) / "mel_spectrograms" / f".{data.name}.crc").unlink(missing_ok=True)  # Hadoop's own
    table(night, "embeddings").delete("space = 'spectrogram'")
    with pytest.raises(SpecrecError, match=r"the table \S*/mel_spectrograms cannot be read: ") as told:
        night.run(stages=["embed"])
    assert f"`specrec repair mel_spectrograms --warehouse {night.warehouse}`" in str(told.value)
    assert "\n" not in str(told.value)

    lost = next((Path(night.warehouse) / "recommendations" / "system=hybrid").glob("*.parquet"))
    lost.unlink()
    spark.sql(
        f"ALTER TABLE delta.`{night.warehouse}/runs` SET TBLPROPERTIES ('delta.enableDeletionVectors' = true)"
    )
    spark.sql(f"DELETE FROM delta.`{night.warehouse}/runs` WHERE stage = 'map'")
    assert "runs was written anew" in specrec(night, "repair", "runs")
    assert {row["stage"] for row in night.reader.rows("runs")} == {*STAGES, ACCOUNT, "repair"} - {
        "map",
        *OF_LISTENERS,
    }
    for name in ("mel_spectrograms", "recommendations"):
        assert f"{name} is empty now" in specrec(night, "repair", name)
    words = "spark.databricks.delta.commitInfo.userMetadata"
    spark.conf.set(words, "a job of somebody's own")
    try:
        night.run()
        assert results(night) == before
        versions, run_id = night.versions(), night.run()
        assert spark.conf.get(words) == "a job of somebody's own"
    finally:
        spark.conf.unset(words)
    assert night.versions() == versions
    assert {row["status"] for row in night.reader.rows("runs") if row["run_id"] == run_id} == {"unchanged"}
