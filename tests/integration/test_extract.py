"""The stage `extract`: what it reads of the tables, and what it takes up where a run died."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable
from nights import MEASURED, Night, read_csv, write_csv
from pyspark.sql import SparkSession

TABLES = ("tracks", "audio_features", "mel_spectrograms", "quarantine")
BROKEN = "broken"


@pytest.fixture
def music(rendered: Path, tmp_path: Path) -> Path:
    """A folder with six clips and a file that is none, and their catalogue."""
    folder = tmp_path / "music"
    (folder / "audio").mkdir(parents=True)
    rows = read_csv(rendered / "catalogue.csv")[:6]
    for row in rows:
        shutil.copy(rendered / row["audio"], folder / row["audio"])
    (folder / "audio" / "broken.wav").write_bytes(b"This is no audio.")
    write_csv(folder / "catalogue.csv", [*rows, {"track_id": BROKEN, "audio": "audio/broken.wav"}])
    return folder


def _night(music: Path, warehouse: Path, commit_every: int) -> Night:
    return Night(f"{music}/catalogue.csv", str(warehouse), (f"extract.commit_every={commit_every}",))


def _scans(spark: SparkSession, since: int) -> tuple[Counter[str], int]:
    """How often the queries that Spark ran after a certain one read each table, and the last one's number.

    Spark keeps the last thousand queries of a session, which may be fewer than it ran.
    """
    executions = spark._jsparkSession.sharedState().statusStore().executionsList()  # type: ignore[attr-defined]
    found: Counter[str] = Counter()
    last = since
    for at in range(executions.size()):
        execution = executions.apply(at)
        number = execution.executionId()
        last = max(last, number)
        if number > since:
            plan = execution.physicalPlanDescription().partition("== Physical Plan ==")[2]
            for place in re.findall(r"Location: \w+\s*\[file:(\S+?)[,\]]", plan):
                found[place.rpartition("/")[2]] += 1
    return found, last


def test_how_often_tables_are_read_does_not_grow_with_the_portions(
    spark: SparkSession, music: Path, tmp_path: Path
) -> None:
    scans, portions = [], []
    for commit_every in (7, 1):
        night = _night(music, tmp_path / f"every-{commit_every}", commit_every)
        _, before = _scans(spark, -1)
        night.run(stages=MEASURED)
        found, _ = _scans(spark, before)
        scans.append({table: found[table] for table in TABLES})
        portions.append(len({row["portion"] for row in night.reader.rows("to_extract")}))
    assert portions[0] == 1
    assert portions[1] >= 3
    assert scans[0] == scans[1]
    assert all(scans[0].values()), "the queries' plans name no tables"


def test_what_a_run_left_between_two_commits_is_taken_up(music: Path, tmp_path: Path) -> None:
    night = _night(music, tmp_path / "warehouse", 3)
    night.run(stages=MEASURED)
    before = {table: night.rows(table) for table in TABLES}
    tracks = sorted(row["track_id"] for row in before["audio_features"])
    named = {row["track_id"]: row["audio_uri"] for row in before["tracks"]}

    def delete(table: str, *track_ids: str) -> None:
        listed = ", ".join(f"'{track_id}'" for track_id in track_ids)
        DeltaTable(f"{night.warehouse}/{table}").delete(f"track_id in ({listed})")

    # a run died after it had written the spectrograms of two files, and before it quarantined a third; one more is
    # new to all tables, and one that was analysed is no music any more
    delete("audio_features", *tracks[:2], tracks[2])
    delete("mel_spectrograms", tracks[2])
    delete("quarantine", BROKEN)
    Path(named[tracks[3]]).write_bytes(b"This is none any more.")
    run_id = night.run("extract.max_failed_share=0.5", stages=MEASURED)

    extract = night.stage(run_id, "extract")
    assert (extract["rows_in"], extract["rows_out"], extract["rows_failed"]) == (5, 3, 2)
    assert extract["details"]["failed_share"] == f"{2 / 7:.4g}"
    for table in ("audio_features", "mel_spectrograms"):
        assert night.rows(table) == [row for row in before[table] if row["track_id"] != tracks[3]]
    failed = {row["track_id"]: row for row in night.rows("quarantine")}
    assert failed.keys() == {BROKEN, tracks[3]}
    assert [failed[BROKEN]] == before["quarantine"]

    # the file is mended
    shutil.copy(named[tracks[4]], named[tracks[3]])
    run_id = night.run(stages=MEASURED)
    assert night.stage(run_id, "extract")["rows_out"] == 1
    assert [row["track_id"] for row in night.rows("audio_features")] == tracks
    assert [row["track_id"] for row in night.rows("mel_spectrograms")] == tracks
    assert [row["track_id"] for row in night.rows("quarantine")] == [BROKEN]
