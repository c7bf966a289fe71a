"""Services that follow the lists, roll-back and maintenance: each sees just the table, whatever happens to it."""

from __future__ import annotations

import json
import random
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from faults import FaultyProxy
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from servers import S3Server

from specrec.config import Config, load
from specrec.errors import SpecrecError
from specrec.pipeline.changes import changes_since, rows_since
from specrec.pipeline.maintain import maintain
from specrec.pipeline.repair import repair
from specrec.pipeline.rollback import rollback
from specrec.storage.config import StorageConfig
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import REASON, TABLES
from specrec.warehouse.tables import Warehouse

FOLLOW = Path(__file__).parents[2] / "examples" / "follow.py"
follow_lists = runpy.run_path(str(FOLLOW))["follow"]
SYSTEMS = ("features", "hybrid")
KEY = TABLES["recommendations"].key
NOW = datetime(2026, 1, 2, tzinfo=UTC)

#: Runs the follower, and kills it after so many steps of SQLite's machine, if it takes as many.
KILLED = """
import os, runpy, signal, sqlite3, sys
left, connect = int(sys.argv.pop(1)), sqlite3.connect
def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
def connect_to_die(*arguments, **settings):
    db = connect(*arguments, **settings)
    db.set_progress_handler(step, 20)
    return db
sqlite3.connect = connect_to_die
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""

Lists = dict[tuple[str, str], int]
"""Of each list by (system, track_id), what its rows are made of: a number."""


class Service:
    """A warehouse that nights write lists to, and one that keeps a copy."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.root, self.copy = spark, str(folder / "warehouse"), str(folder / "lists.db")
        self.number, self.chance = 0, random.Random(7)
        self.lists: Lists = {}

    def config(self, *settings: str) -> Config:
        places = (f"warehouse={self.root}", "catalogue.path=nowhere", "log.level=error")
        return load(None, (*places, *settings))

    @property
    def reader(self) -> Reader:
        return Reader(self.root, StorageConfig())

    def night(self, write: Callable[[Warehouse, str], Any], year: int = 2026) -> str:
        """Let a run write, and note in `runs` that there was one."""
        self.number += 1
        run = f"{year}0101T0000{self.number:02}Z-abcdef"
        warehouse = Warehouse(lambda: self.spark, self.root, StorageConfig(), run)
        warehouse.create_missing()
        write(warehouse, run)
        row = {
            "run_id": run,
            "stage": "recommend",
            "status": "done",
            "started_at": datetime.now(UTC),
            "seconds": 0.0,
        }
        warehouse.append_few("runs", [row | {"config_hash": "c"}])
        return run

    def rows(self, lists: Lists, run: str) -> DataFrame:
        """Three rows a list."""
        given = [(*of, rank, float(value)) for of, value in lists.items() for rank in (1, 2, 3)]
        frame = self.spark.createDataFrame(given, "system string, track_id string, rank int, score double")
        reason = [F.lit(None).cast(field.dataType).alias(field.name) for field in REASON.fields[1:]]
        return frame.select(
            "*",
            F.concat(F.lit("n"), F.col("score").cast("string")).alias("recommended_track_id"),
            F.lit(None).cast("double").alias("affinity"),
            F.concat(F.lit("alike: ‘é’ "), F.col("score")).alias("explanation"),
            F.array(F.struct(F.lit("timbre").alias("family"), *reason)).alias("reasons"),
            F.lit(1.5).alias("track_seconds"),
            F.lit(None).cast("double").alias("recommended_seconds"),
            F.lit(1).alias("statistics_version"),
            F.lit("e").alias("explanation_id"),
            F.lit("c").alias("config_hash"),
            F.lit(run).alias("run_id"),
            F.lit(NOW).alias("computed_at"),
        )

    def table(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[name] for name in KEY): row for row in self.reader.rows("recommendations")}

    def follow(self) -> str:
        told: str = follow_lists(f"{self.root}/recommendations", self.copy)
        return told

    def follow_and_die(self, steps: int) -> None:
        command = [sys.executable, "-c", KILLED, str(steps), str(FOLLOW)]
        places = (f"{self.root}/recommendations", self.copy)
        done = subprocess.run([*command, *places], capture_output=True, text=True, check=False)
        assert done.returncode in (0, -9), done.stderr

    def copied(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        db = sqlite3.connect(self.copy)
        db.row_factory = sqlite3.Row
        try:
            rows = [dict(row) for row in db.execute("select * from recommendations")]
        finally:
            db.close()
        return {tuple(row[name] for name in KEY): row for row in rows}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the follower keeps it."""
    kept = dict(row)
    kept["reasons"], kept["computed_at"] = json.dumps(row["reasons"]), str(row["computed_at"])
    return kept


def counted(before: dict[Any, Any], now: dict[Any, Any]) -> dict[str, tuple[int, int]]:
    """How many lists were added and removed, by system, told from the whole table before and now."""
    was, remains = ({key[:2] for key in rows} for rows in (before, now))
    return {
        system: (
            sum(of[0] == system for of in remains - was),
            sum(of[0] == system for of in was - remains),
        )
        for system in SYSTEMS
    }


def some(service: Service, share: float) -> Lists:
    """Other values for some of the lists."""
    return {of: value + 1_000 for of, value in service.lists.items() if service.chance.random() < share}


def test_a_follower_holds_just_the_table_after_ten_nights_killed_at_any_point(  # noqa: PLR0915
    spark: SparkSession, tmp_path: Path
) -> None:
    service = Service(spark, tmp_path)
    chance = service.chance
    first = {(system, f"t{i:03}"): i for system in SYSTEMS for i in range(60)}
    later = {(system, f"u{i:03}"): i for system in SYSTEMS for i in range(5)}

    def put(lists: Lists) -> Callable[[Warehouse, str], None]:
        return lambda warehouse, run: warehouse.upsert("recommendations", service.rows(lists, run))

    def replace(lists: Lists) -> Callable[[Warehouse, str], None]:
        states = dict.fromkeys(SYSTEMS, f"1:2:{service.number}")
        return lambda warehouse, run: warehouse.replace_parts(
            "recommendations", "system", service.rows(lists, run), states
        )

    def synchronise(lists: Lists) -> Callable[[Warehouse, str], None]:
        return lambda warehouse, run: warehouse.update_where_different(
            "recommendations", service.rows(lists, run), f"1:2:{service.number}"
        )

    def remove(tracks: list[str]) -> Callable[[Warehouse, str], None]:
        gone = spark.createDataFrame([(track,) for track in tracks], "track_id string")
        return lambda warehouse, run: warehouse.delete("recommendations", gone)

    def check(run: str | None, before: dict[Any, Any]) -> str:
        """The follower, killed and then not, holds the table; what `changes` says leads there, too."""
        service.follow_and_die(steps=int(10 ** chance.uniform(0, 3)))
        told = service.follow()
        now = service.table()
        assert service.copied() == {key: plain(row) for key, row in now.items()}
        assert "nothing changed" in service.follow()
        if run is not None:
            found = changes_since(service.config(), service.reader, run)
            expected = {system: of for system, of in counted(before, now).items() if system in found or any(of)}
            assert {system: (of.added, of.removed) for system, of in found.items()} == expected
            reached = dict(before)
            for step in rows_since(service.config(), service.reader, run):
                key = tuple(step[name] for name in KEY)
                reached.pop(key, None)
                if step["do"] == "put":
                    reached[key] = {name: step[name] for name in now[key]} if key in now else step
            assert reached == now
        return told

    nights: list[str] = []
    # 1: the first lists; 2: new ones; 3: some changed, some gone, some new, in one merge; 4: gone
    nights.append(service.night(replace(first)))
    check(None, {})
    before = service.table()
    nights.append(service.night(put(later)))
    assert "changes" in check(nights[-2], before)
    before, service.lists = service.table(), first | later
    kept = {of: value for of, value in (service.lists | some(service, 0.1)).items() if chance.random() > 0.05}
    nights.append(service.night(synchronise(kept)))
    assert "changes" in check(nights[-2], before)
    before = service.table()
    nights.append(service.night(remove(["t001", "u002"])))
    assert "changes" in check(nights[-2], before)
    fourth = service.table()
    # 5: a refit; 6: maintenance; 7: some changed
    nights.append(service.night(replace({of: value + 7 for of, value in first.items()})))
    assert "changes" in check(nights[-2], fourth)
    nights.append(service.night(put({("hybrid", "v1"): 1})))
    before = service.table()
    told = maintain(service.config("maintain.keep_days=7"))
    assert any("recommendations: " in line and "sorted" in line for line in told), told
    assert service.table() == before
    assert "version" in check(nights[-1], before)
    service.lists = first
    nights.append(service.night(put(some(service, 0.2))))
    assert "changes" in check(nights[-2], before)
    # 8: back to the fourth, which all see as one commit, with the states of then
    version, before = service.reader.table("recommendations").version(), service.table()
    rollback(service.config(), nights[3])
    assert service.table() == fourth
    assert service.reader.table("recommendations").version() == version + 1
    assert rollback(service.config(), nights[3])[0].startswith("All tables are as they were")
    assert "changes" in check(nights[-1], before)
    # 9: on from there; 10: somebody switches the feed off, a column is added, and the next night sees to it
    nights.append(service.night(synchronise(first), year=2097))
    check(None, {})
    DeltaTable(f"{service.root}/recommendations").alter.set_table_properties(
        {"delta.enableChangeDataFeed": "false"}
    )
    nights.append(service.night(put(later), year=2097))
    assert "rows copied, as the feed cannot tell" in check(None, {})
    with pytest.raises(SpecrecError, match="copy the table anew"):
        changes_since(service.config(), service.reader, nights[-2])
    configuration = service.reader.table("recommendations").metadata().configuration
    assert configuration["delta.enableChangeDataFeed"] == "true"
    # and then the table begins anew
    repair(service.config(), "recommendations")
    for value in range(3):
        nights.append(service.night(replace(dict.fromkeys(first, value)), year=2097))
    assert "rows copied" in check(None, {})


def test_a_roll_back_that_cannot_be_done_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    service = Service(spark, tmp_path)
    lists = {("hybrid", "a"): 1, ("hybrid", "b"): 2}
    nights = [
        service.night(
            lambda warehouse, run, n=n: warehouse.replace(
                "recommendations", service.rows({of: value + n for of, value in lists.items()}, run)
            )
        )
        for n in (0, 1)
    ]
    one = DeltaTable(f"{service.root}/recommendations", version=1).file_uris()[0]
    Path(one.removeprefix("file://")).unlink()
    before = {name: service.reader.table(name).version() for name in TABLES if name != "runs"}
    with pytest.raises(
        SpecrecError, match=r"files that .*recommendations had after the run .* were deleted"
    ) as told:
        rollback(service.config(), nights[0])
    assert "\n" not in str(told.value)
    assert {name: service.reader.table(name).version() for name in before} == before
    with pytest.raises(SpecrecError, match="there is no run 'tonight'"):
        rollback(service.config(), "tonight")
    failed = service.reader.rows("runs", [("run_id", "=", nights[0])])[0] | {
        "status": "failed",
        "stage": "recommend",
    }
    Warehouse(lambda: spark, service.root, StorageConfig()).append_few("runs", [failed])
    with pytest.raises(SpecrecError, match=f"the run {nights[0]} failed in recommend, .*: choose one that did not"):
        rollback(service.config(), nights[0])
    with pytest.raises(SpecrecError, match="files that followers still read would be deleted"):
        maintain(service.config("maintain.keep_days=1"))


def test_one_list_is_in_three_files_at_most_and_little_of_them_is_read(
    spark: SparkSession, tmp_path: Path, s3: S3Server
) -> None:
    service = Service(spark, tmp_path)

    def many(run: str, every: int, n: float) -> DataFrame:
        tracks = spark.range(0, 4_000 // every).select(
            F.format_string("%032x", F.xxhash64(F.col("id") * every)).alias("t")
        )
        one = service.rows({("hybrid", "x"): 1}, run).drop("track_id", "rank", "score")
        ranks = tracks.select(
            F.col("t").alias("track_id"), F.explode(F.sequence(F.lit(1), F.lit(10))).alias("rank")
        )
        return one.limit(1).crossJoin(ranks.withColumn("score", F.rand(3) + n))

    service.night(
        lambda warehouse, run: warehouse.replace_parts(
            "recommendations", "system", many(run, 1, 0), {"hybrid": "1:1:1"}
        )
    )
    for n in range(4):
        service.night(lambda warehouse, run, n=n: warehouse.append("recommendations", many(run, 100, n)))
    last = {("features", "x"): 1}
    service.night(
        lambda warehouse, run: warehouse.replace_parts(
            "recommendations", "system", service.rows(last, run), {"features": "2:2:2"}
        )
    )
    order = [(name, "ascending") for name in ("track_id", "run_id", "rank", "score")]
    before = service.reader.arrow("recommendations").sort_by(order)
    small = ("maintain.rows_a_group=4000",)  # the end of a file, which is read first, grows with their number
    assert any("sorted" in line for line in maintain(service.config(*small)))
    now = service.reader.arrow("recommendations").sort_by(order)
    assert now.to_pylist() == before.to_pylist()
    assert Warehouse(lambda: spark, service.root, StorageConfig()).states("recommendations") == {
        "features": "2:2:2"
    }
    assert not any("sorted" in line for line in maintain(service.config(*small)))

    bucket = s3.create_bucket("lists")
    s3.upload_folder(f"{service.root}/recommendations", bucket, "w/recommendations")
    wanted = before["track_id"][12_345].as_py()
    with FaultyProxy(s3.endpoint_url) as proxy:
        storage = StorageConfig(endpoint_url=proxy.endpoint_url, path_style=True)
        reader = Reader(f"s3://{bucket}/w", storage)
        rows = reader.rows("recommendations", [("system", "=", "hybrid"), ("track_id", "=", wanted)])
        data = {key for key in proxy.requests if key.endswith(".parquet") and "_delta_log" not in key}
        sent = sum(proxy.sent[key] for key in data)
    assert sorted(row["rank"] for row in rows) == sorted(before.filter(F_equal(before, wanted))["rank"].to_pylist())
    assert 1 <= len(data) <= 3
    whole = sum(size for size in _sizes(service))
    assert sent < whole / 3, (sent, whole)


def F_equal(table: Any, wanted: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(table["track_id"], wanted)


def _sizes(service: Service) -> list[int]:
    import pyarrow as pa

    return pa.table(service.reader.table("recommendations").get_add_actions())["size_bytes"].to_pylist()
