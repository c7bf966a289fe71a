"""Rows of a table are changed in one commit: the table, its files and its change feed are as they should be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.recommend.spark import PAIR
from specrec.storage.config import StorageConfig
from specrec.warehouse.config import MaintainConfig
from specrec.warehouse.schemas import GONE, MOVED, NEW, TABLES
from specrec.warehouse.tables import Warehouse

MOVES = ("rank", "affinity", "run_id")
TOLD = ("rank", "score", "affinity", "explanation", "run_id")
FEED = "_change_type"

Key = tuple[str, str, str]
Rows = dict[Key, dict[str, Any]]


@pytest.fixture
def warehouse(spark: SparkSession, tmp_path: Path) -> Warehouse:
    run, files = "20260101T000000Z-abcdef", MaintainConfig(rows_a_group=100)
    found = Warehouse(lambda: spark, str(tmp_path / "warehouse"), StorageConfig(), run, files)
    found.create_missing()
    return found


def of_lists(warehouse: Warehouse, rows: Rows, kinds: dict[Key, str] | None = None) -> DataFrame:
    """The table's rows; with kinds, changes of them."""
    given = [(*key, *(row[name] for name in TOLD), (kinds or {}).get(key)) for key, row in rows.items()]
    types = "rank int, score double, affinity double, explanation string, run_id string, change string"
    frame = warehouse.spark.createDataFrame(given, f"{', '.join(f'{name} string' for name in PAIR)}, {types}")
    others = {
        "reasons": F.expr(
            "cast(array() as array<struct<family string, feature string, contribution double, "
            "track_value double, recommended_value double, statement string>>)"
        ),
        "track_seconds": F.lit(1.5),
        "recommended_seconds": F.lit(None).cast("double"),
        "statistics_version": F.lit(1),
        "explanation_id": F.lit("e"),
        "config_hash": F.lit("c"),
        "computed_at": F.lit(datetime(2026, 1, 1, tzinfo=UTC)),
    }
    frame = frame.withColumns(others)
    return frame if kinds is not None else frame.drop("change")


def there(warehouse: Warehouse) -> Rows:
    found = warehouse.read("recommendations").select(*PAIR, *TOLD).collect()
    rows = {tuple(row[name] for name in PAIR): {name: row[name] for name in TOLD} for row in found}
    assert len(rows) == len(found)
    return rows  # type: ignore[return-value]


def files_of(warehouse: Warehouse, system: str) -> set[str]:
    return {uri for uri in warehouse.table("recommendations").file_uris() if f"system={system}" in uri}


def written_by(warehouse: Warehouse, system: str) -> str:
    """Spark numbers the files that it writes."""
    (spark,) = {("/part-0" in uri and "-c000" in uri) or ".c000." in uri for uri in files_of(warehouse, system)}
    return "Delta" if spark else "Arrow"


def first_lists() -> Rows:
    return {
        (system, f"t{track:03}", f"r{rank}"): {
            "rank": rank,
            "score": 1 - rank / 10,
            "affinity": float(rank),
            "explanation": "first",
            "run_id": "1",
        }
        for system in ("features", "hybrid", "spectrogram")
        for track in range(60)
        for rank in range(1, 5)
    }


def write_first(warehouse: Warehouse) -> Rows:
    rows = first_lists()
    written = of_lists(warehouse, rows).repartitionByRange(2, "track_id").sortWithinPartitions("track_id", "rank")
    states = dict.fromkeys(("features", "hybrid", "spectrogram"), "1")
    warehouse.replace_parts("recommendations", "system", written, states)
    return rows


def followed(before: Rows, told: list[dict[str, Any]]) -> Rows:
    """What a follower of the feed holds who held these rows; what it is told to forget must be just these."""
    rows = dict(before)
    for row in sorted(told, key=lambda row: row[FEED] in {"insert", "update_postimage"}):
        key = tuple(row[name] for name in PAIR)
        values = {name: row[name] for name in TOLD}
        if row[FEED] in {"insert", "update_postimage"}:
            rows[key] = values
        else:
            assert rows.pop(key) == values == before[key]
    return rows


@pytest.mark.parametrize("writer", ["Arrow", "Delta"])
def test_the_table_and_its_feed_say_what_a_hundred_changes_make_of_it(warehouse: Warehouse, writer: str) -> None:
    if writer == "Delta":  # which writes where somebody asks for what we know nothing of
        place = warehouse.path("recommendations")
        constraint = "check (`rank` is null or `rank` > 0)"
        warehouse.spark.sql(f"alter table delta.`{place}` add constraint above {constraint}")
    rows, chance = write_first(warehouse), random.Random(3)
    for night in range(2, 5):
        kinds: dict[Key, str] = {}
        changed: Rows = {}
        for key in chance.sample(sorted(rows), 100):
            if key[0] == "spectrogram":
                continue
            kinds[key] = chance.choice((NEW, MOVED, GONE))
            changed[key] = {
                "rank": night * 10,
                "score": 0.5,
                "affinity": None,
                "explanation": "again",
                "run_id": str(night),
            }
        for number in range(20):
            key = ("hybrid", f"n{night}{number:02}", "r1")
            kinds[key] = NEW
            changed[key] = changed[next(iter(changed))] | {"rank": 1}
        kinds["hybrid", "not there", "r1"] = GONE
        kinds["hybrid", "not there", "r2"] = MOVED
        for name in ("r1", "r2"):
            changed["hybrid", "not there", name] = changed[next(iter(changed))]
        before, version = dict(rows), warehouse.version("recommendations")
        for key, kind in kinds.items():
            if kind == GONE:
                rows.pop(key, None)
            elif kind == NEW:
                rows[key] = changed[key]
            elif key in rows:
                rows[key] = rows[key] | {name: changed[key][name] for name in MOVES}
        others = files_of(warehouse, "spectrogram")
        states = {"features": str(night), "hybrid": str(night)}
        changes = of_lists(warehouse, changed, kinds).repartition(3)
        warehouse.change("recommendations", changes, PAIR, MOVES, states)

        assert there(warehouse) == rows
        assert written_by(warehouse, "hybrid") == writer
        assert warehouse.version("recommendations") == version + 1
        assert warehouse.states("recommendations") == {**states, "spectrogram": "1"}
        assert files_of(warehouse, "spectrogram") == others
        feed = pa.RecordBatchReader.from_stream(warehouse.table("recommendations").load_cdf(version + 1))
        told = feed.read_all().to_pylist()
        assert followed(before, told) == rows
        # nothing is told of rows that stay
        assert {tuple(row[name] for name in PAIR) for row in told} <= kinds.keys()


def test_files_keep_their_order_and_new_rows_are_in_order_too(warehouse: Warehouse) -> None:
    rows = write_first(warehouse)
    keys = [key for key in rows if key[0] != "spectrogram" and key[1] < "t050"][::7]
    new = {
        (system, f"t{track:03}", "r9"): rows[system, "t000", "r1"]
        for system in ("features", "hybrid")
        for track in range(0, 60, 3)
    }
    changed = {key: rows[key] | {"rank": 7} for key in keys} | new
    kinds = dict.fromkeys(keys, MOVED) | dict.fromkeys(new, NEW)
    states = {"features": "2", "hybrid": "2"}
    warehouse.change("recommendations", of_lists(warehouse, changed, kinds), PAIR, MOVES, states)
    for uri in warehouse.table("recommendations").file_uris():
        file = pq.ParquetFile(uri)
        tracks = file.read(columns=["track_id"])["track_id"].to_pylist()
        assert tracks == sorted(tracks)
        if "spectrogram" not in uri:
            assert max(file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)) <= 100


@pytest.fixture
def little_memory(spark: SparkSession) -> Iterator[None]:
    """Have Spark sort no more than fifty rows in memory."""
    assert spark._jvm is not None
    conf, setting = (
        spark._jvm.org.apache.spark.SparkEnv.get().conf(),
        "spark.shuffle.spill.numElementsForceSpillThreshold",
    )
    conf.set(setting, "50")
    yield
    conf.remove(setting)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("way", ["sort_part", "replace_parts"])
def test_rows_keep_their_order_in_files_although_they_do_not_fit_into_memory(
    warehouse: Warehouse, way: str
) -> None:
    rows = of_lists(warehouse, first_lists())
    states = dict.fromkeys(("features", "hybrid", "spectrogram"), "1")
    if way == "replace_parts":
        order = ("system", "track_id", "rank")
        in_order = rows.repartitionByRange(2, *order).sortWithinPartitions(*order)
        warehouse.replace_parts("recommendations", "system", in_order, states)
    else:
        warehouse.replace_parts("recommendations", "system", rows.orderBy(F.xxhash64(*PAIR)), states)
        for system in states:
            warehouse.sort_part("recommendations", system, 1)
    found = 0
    for uri in warehouse.table("recommendations").file_uris():
        of_file = pq.ParquetFile(uri).read(columns=["track_id", "rank"]).to_pylist()
        places = [(row["track_id"], row["rank"]) for row in of_file]
        assert places == sorted(places)
        found += len(places)
    assert found == rows.count()


def test_a_column_that_somebody_added_is_kept_where_rows_stay(warehouse: Warehouse) -> None:
    write_first(warehouse)
    spark, place = warehouse.spark, warehouse.path("recommendations")
    spark.sql(f"alter table delta.`{place}` add columns (shelf string)")
    spark.sql(f"update delta.`{place}` set shelf = 'S' where system = 'hybrid'")
    moved, gone, new, told = (("hybrid", "t001", name) for name in ("r1", "r2", "r8", "r3"))
    row = there(warehouse)[moved]
    changed = {moved: row | {"rank": 8}, gone: row, new: row | {"rank": 2}, told: row | {"score": 0.2}}
    kinds = {moved: MOVED, gone: GONE, new: NEW, told: NEW}
    warehouse.change("recommendations", of_lists(warehouse, changed, kinds), PAIR, MOVES, {"hybrid": "2"})
    found = warehouse.read("recommendations").where("system = 'hybrid' and track_id = 't001'").collect()
    assert {row.recommended_track_id: row.shelf for row in found} == {"r1": "S", "r3": "S", "r4": "S", "r8": None}


def test_a_table_without_a_feed_and_without_parts(warehouse: Warehouse) -> None:
    def agreement(values: dict[str, float], kinds: dict[str, str]) -> DataFrame:
        given = [(track, value, kinds.get(track)) for track, value in values.items()]
        rows = warehouse.spark.createDataFrame(given, "track_id string, jaccard double, change string")
        others = {"rank_biased_overlap": F.lit(0.5), "in_both": F.lit(1), "run_id": F.lit("1")}
        return rows.withColumns(others | {"computed_at": F.lit(datetime(2026, 1, 1, tzinfo=UTC))})

    warehouse.replace("agreement", agreement({"a": 0.1, "b": 0.2, "c": 0.3}, {}).drop("change"), "1")
    changes = agreement({"b": 0.9, "c": 0.0, "d": 0.4}, {"b": NEW, "c": GONE, "d": NEW})
    warehouse.change("agreement", changes, ["track_id"], (), {"agreement": "2"})
    found = warehouse.read("agreement").collect()
    assert sorted((row.track_id, row.jaccard) for row in found) == [("a", 0.1), ("b", 0.9), ("d", 0.4)]
    assert warehouse.states("agreement") == {"agreement": "2"}


def test_maps_stay_whole(warehouse: Warehouse) -> None:
    def of_tracks(extras: dict[str, dict[str, str | None] | None], run: str) -> DataFrame:
        schema = "track_id string, extra map<string,string>, run_id string"
        rows = warehouse.spark.createDataFrame([(*row, run) for row in extras.items()], schema)
        rest = {
            field.name: F.lit("h" if field.name == "row_hash" else None).cast(field.dataType)
            for field in TABLES["tracks"].schema.fields
            if field.name not in rows.columns
        }
        return rows.withColumns(
            rest | {"has_audio": F.lit(False), "updated_at": F.lit(datetime(2026, 1, 1, tzinfo=UTC))}
        )

    def there() -> dict[str, tuple[dict[str, str | None] | None, str]]:
        found = warehouse.read("tracks").select("track_id", "extra", "run_id").collect()
        return {row["track_id"]: (row["extra"], row["run_id"]) for row in found}

    first = {"a": {"mood": "calm", "label": None}, "c": None, "e": {}, "g": {"x": "y"}}
    warehouse.append("tracks", of_tracks(first, "1").coalesce(1).sortWithinPartitions("track_id"))
    now = {"b": {"mood": "loud"}, "c": {"new": "1"}, "e": {"p": "q", "r": "s"}}
    changes = of_tracks(now, "2").withColumn("change", F.lit(NEW))
    gone = of_tracks({"g": None}, "2").withColumn("change", F.lit(GONE))
    warehouse.change("tracks", changes.unionByName(gone).persist(), ("track_id",), (), {})
    assert there() == {"a": (first["a"], "1"), **{track: (extra, "2") for track, extra in now.items()}}
    (uri,) = warehouse.table("tracks").file_uris()
    assert ".zstd.parquet" in uri
    assert "part-0" not in uri
    assert pq.read_table(uri)["track_id"].to_pylist() == ["a", "b", "c", "e"]


def test_files_keep_their_order_night_after_night(warehouse: Warehouse) -> None:
    """Files of unequal sizes, several of which would be read by one task."""
    rows = write_first(warehouse)
    for night in range(2, 5):
        keys = [key for key in rows if key[0] != "spectrogram"][night :: 9 + night]
        new = {("hybrid", f"t{20 * night:03}", f"n{night}{rank}"): rows[keys[0]] for rank in range(40)}
        changed = {key: rows[key] for key in keys} | new
        kinds = dict.fromkeys(keys, MOVED) | dict.fromkeys(new, NEW)
        states = {"features": str(night), "hybrid": str(night)}
        warehouse.change("recommendations", of_lists(warehouse, changed, kinds), PAIR, MOVES, states)
        rows |= new
    for uri in warehouse.table("recommendations").file_uris():
        tracks = pq.ParquetFile(uri).read(columns=["track_id"])["track_id"].to_pylist()
        assert tracks == sorted(tracks)
    # new rows came among the others: there are no more files than there were, and none says what another does
    files = files_of(warehouse, "hybrid")
    assert len(files) == 2
    tracks = sorted(pq.ParquetFile(uri).read()["track_id"].to_pylist() for uri in files)
    assert tracks[0][-1] <= tracks[1][0]


def test_what_changes_nothing_leaves_files_and_feed_alone(warehouse: Warehouse) -> None:
    rows = write_first(warehouse)
    files = {system: files_of(warehouse, system) for system in ("features", "hybrid", "spectrogram")}
    gone = ("hybrid", "not there", "r1")
    states = {"hybrid": "2", "features": "2"}
    changes = of_lists(warehouse, {gone: rows["hybrid", "t000", "r1"]}, {gone: GONE})
    warehouse.change("recommendations", changes, PAIR, MOVES, states)
    version = warehouse.version("recommendations")
    assert warehouse.states("recommendations") == {**states, "spectrogram": "1"}
    table = warehouse.table("recommendations")
    assert not pa.RecordBatchReader.from_stream(table.load_cdf(version)).read_all().num_rows
    # of the systems that are brought up to date, the files of one in which a row changed are written
    key = ("hybrid", "t000", "r1")
    changes = of_lists(warehouse, {key: rows[key]}, {key: GONE})
    warehouse.change("recommendations", changes, PAIR, MOVES, {"hybrid": "3", "features": "3"})
    for system, before in files.items():
        assert (files_of(warehouse, system) == before) == (system != "hybrid")
    assert len(there(warehouse)) == len(rows) - 1


@pytest.mark.parametrize("kinds", [(MOVED, MOVED), (GONE, NEW), ("other",), (None,)])
def test_changes_that_contradict_each_other_are_refused(warehouse: Warehouse, kinds: tuple[str, ...]) -> None:
    rows = write_first(warehouse)
    key = ("hybrid", "t000", "r1")
    one = [of_lists(warehouse, {key: rows[key]}, {key: kind}) for kind in kinds]
    version = warehouse.version("recommendations")
    with pytest.raises(ValueError, match="of each row there must be one"):
        warehouse.change("recommendations", reduce(DataFrame.unionByName, one), PAIR, MOVES, {"hybrid": "2"})
    assert warehouse.version("recommendations") == version


def of_neighbours(warehouse: Warehouse, lists: dict[str, list[str]], run: str) -> DataFrame:
    given = [(track, rank, other) for track, others in lists.items() for rank, other in enumerate(others, 1)]
    rows = warehouse.spark.createDataFrame(given, "track_id string, rank int, neighbour_id string")
    others = {
        "space": F.lit("features"),
        "cosine": F.lit(0.5),
        "euclidean": F.lit(1.0),
        "input_hash": F.lit("i"),
        "config_hash": F.lit("c"),
        "run_id": F.lit(run),
    }
    return rows.withColumns(others)


@pytest.mark.parametrize("foreign", [False, True])
def test_lists_take_the_place_of_others_whole(warehouse: Warehouse, foreign: bool) -> None:
    lists = {f"t{number:02}": ["a", "b", "c"] for number in range(12)}
    rows = of_neighbours(warehouse, lists, "1").repartitionByRange(3, "track_id").sortWithinPartitions("track_id")
    warehouse.replace_parts("neighbours", "space", rows, {"features": "1"})
    if foreign:
        place = warehouse.path("neighbours")
        warehouse.spark.sql(f"alter table delta.`{place}` add columns (shelf string)")
        warehouse.spark.sql(f"update delta.`{place}` set shelf = 'S'")
    gone = [f"t{number:02}" for number in range(5)]  # the first of three files is left with no row
    new = {"t07": ["d"], "t11": ["e", "a", "b", "c"], "t99": ["a"]}
    of_gone = warehouse.spark.createDataFrame(
        [("features", track, GONE) for track in gone], "space string, track_id string, change string"
    )
    changes = of_neighbours(warehouse, new, "2").withColumn("change", F.lit(NEW))
    changes = changes.unionByName(of_gone, allowMissingColumns=True).persist()
    warehouse.change("neighbours", changes, ("space", "track_id"), (), {"features": "2"}, is_list=True)
    wanted = {track: others for track, others in lists.items() if track not in gone} | new
    found = warehouse.read("neighbours").orderBy("track_id", "rank").collect()
    assert [(row.track_id, row.rank, row.neighbour_id) for row in found] == [
        (track, rank, other) for track, others in sorted(wanted.items()) for rank, other in enumerate(others, 1)
    ]
    assert warehouse.states("neighbours") == {"features": "2"}
    moved = changes.where("change = 'gone'").withColumn("change", F.lit(MOVED))
    with pytest.raises(ValueError, match="new, moved or gone"):
        warehouse.change("neighbours", moved, ("space", "track_id"), (), {"features": "3"}, is_list=True)


def test_what_was_changed_can_be_restored_put_together_and_read_by_others(warehouse: Warehouse) -> None:
    rows = write_first(warehouse)
    version = warehouse.version("recommendations")
    key, gone = ("hybrid", "t000", "r1"), ("hybrid", "t059", "r4")
    changed = {key: rows[key] | {"rank": 9}, gone: rows[gone]}
    warehouse.change(
        "recommendations", of_lists(warehouse, changed, {key: MOVED, gone: GONE}), PAIR, MOVES, {"hybrid": "2"}
    )
    table = warehouse.table("recommendations")
    # by the statistics of their files, other readers find rows, and find none that is not there
    found = table.to_pyarrow_table(filters=[("system", "=", "hybrid"), ("track_id", "=", "t000")])
    assert sorted(found["rank"].to_pylist()) == [2, 3, 4, 9]
    assert warehouse.read("recommendations").where("system = 'hybrid' and track_id = 't059'").count() == 3
    warehouse.put_together("recommendations")
    assert len(there(warehouse)) == len(rows) - 1
    warehouse.restore("recommendations", version)
    assert there(warehouse) == rows
