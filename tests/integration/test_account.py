"""The account of a night: every track is in one class, and one that is lost is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nights import QUICK, Night, read_csv, write_csv
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.cli import main
from specrec.pipeline.account import CLASSES, classes, without_lists
from specrec.recommend.spark import PAIR
from specrec.warehouse.schemas import GONE
from specrec.warehouse.tables import Warehouse


@pytest.fixture
def rows(spark: SparkSession) -> Any:
    def make(schema: str, *given: tuple[Any, ...]) -> DataFrame:
        return spark.createDataFrame(list(given), schema)

    return make


def test_each_track_is_in_the_class_that_comes_first(rows: Any) -> None:
    tracks = rows(
        "track_id string, audio_uri string", *((name, None if name in "ar" else "u") for name in "acefhlmnrx")
    )
    lists = rows(
        "system string, track_id string, rank int",
        ("hybrid", "l", 1),
        ("hybrid", "h", 1),
        ("features", "x", 1),
        ("hybrid", "c", 2),
    )
    failed = rows(
        "track_id string, stage string",
        *(("e", "extract"), ("f", "neighbours/hybrid"), ("f", "ingest"), ("h", "ingest"), ("r", "ingest")),
        *(("x", "neighbours/features"), ("gone", "extract"), ("m", "embed/in_hybrid"), ("n", "embed/another")),
    )
    found = {row.track_id: row["class"] for row in classes(tracks, lists, failed, ["in_hybrid"]).collect()}
    assert found == {
        "a": "without_audio",
        "c": None,  # a second rank without a first is no list
        "e": "in_quarantine",
        "f": "in_quarantine",
        "h": "with_list",
        "l": "with_list",
        "m": "in_quarantine",
        "n": None,
        "r": "refused",
        "x": None,
    }


def test_a_track_whose_neighbours_are_all_kept_out_is_accounted_for_and_others_are_not(rows: Any) -> None:
    def ids(names: str) -> Any:
        return rows("track_id string", *((name,) for name in names))

    neighbours = rows(
        "track_id string, neighbour_id string",
        *(
            ("a", "kept out"),
            ("b", "copy of b"),
            ("b", "kept out"),
            ("c", "fine"),
            ("c", "kept out"),
            ("d", "copy of b"),
        ),
    )
    allowed = ids("abcd").union(rows("track_id string", ("fine",), ("copy of b",)))
    copies = rows("track_id string, duplicate long", ("b", 7), ("copy of b", 7))

    def files(names: str) -> Any:  # of each track, what its vector was made from
        return rows("track_id string, input_hash string", *((name, name.lower()) for name in names))

    classed = without_lists(ids("abcde"), files("abcde"), neighbours, allowed, copies)
    assert {row.track_id: row["class"] for row in classed.collect()} == {
        "a": "all_left_out",
        "b": "all_left_out",
        "c": "unaccounted",
        "d": "unaccounted",
        "e": "unaccounted",
    }
    for compared, of in (("e", "alone"), ("eE", "alone"), ("ex", "unaccounted"), ("x", "unaccounted")):
        (row,) = without_lists(ids("e"), files(compared), neighbours, allowed, copies).collect()
        assert row["class"] == of, compared


def numbers_of(night: Night, run_id: str) -> dict[str, float]:
    rows = night.reader.rows("run_metrics", [("run_id", "=", run_id), ("stage", "=", "account")])
    return {row["metric"]: row["value"] for row in rows}


def test_a_night_tells_a_track_that_lost_its_list(second_night: Night, spark: SparkSession, capsys: Any) -> None:
    catalogue = Path(second_night.catalogue)
    tracks = read_csv(catalogue)
    silent = {**tracks[0], "track_id": "no audio", "audio": ""}
    outside = {**tracks[0], "track_id": "outside", "audio": "../../outside.wav"}
    absent = {**tracks[0], "track_id": "absent", "audio": "absent.wav"}
    write_csv(catalogue, [*tracks, silent, outside, absent])
    found = numbers_of(second_night, second_night.run("extract.max_failed_share=1"))
    assert (found["with_list"], found["without_audio"], found["refused"], found["in_quarantine"]) == (24, 1, 1, 1)
    assert found["catalogue"] == sum(found[name] for name in CLASSES) == 27

    warehouse = Warehouse(lambda: spark, second_night.warehouse, second_night.config().storage)
    of_track = (F.col("system") == "hybrid") & (F.col("track_id") == "demo-0003")
    lost = warehouse.read("recommendations").where(of_track).withColumn("change", F.lit(GONE)).persist()
    states = {"hybrid": warehouse.states("recommendations")["hybrid"]}
    warehouse.change("recommendations", lost, PAIR, (), states)  # a commit of ours, that no night undoes
    lost.unpersist()
    write_csv(catalogue, [{**row, "track_name": "Another name"} for row in read_csv(catalogue)])
    settings = (
        f"catalogue.path={catalogue}",
        f"warehouse={second_night.warehouse}",
        *QUICK,
        *second_night.settings,
    )
    options = [word for setting in (*settings, "extract.max_failed_share=1") for word in ("--set", setting)]
    for _ in range(2):  # it is told again in a night in which nothing changed
        result = CliRunner().invoke(main, ["nightly", *options])
        assert result.exit_code == 3, result.output
        assert "1 of 27 tracks have no list, and nothing says why (demo-0003): make all lists anew" in result.stderr
    (last,) = {max(row["run_id"] for row in second_night.reader.rows("runs"))}
    assert second_night.stage(last, "account")["status"] == "failed"
    assert numbers_of(second_night, last)["unaccounted"] == 1
