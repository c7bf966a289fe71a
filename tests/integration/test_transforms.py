"""What the topics' doors to Spark make of frames, each on a few rows whose answer is plain."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from specrec.audio.spark import SURVEYED, survey
from specrec.catalogue.spark import differences, rows_that_fail
from specrec.evaluate.spark import count_lengths, count_surplus, count_times, in_recordings
from specrec.map.spark import drawn_and_due
from specrec.neighbours.search import NEW, SETTLED, STALE
from specrec.neighbours.spark import join_lists, lists_and_vectors, states_of_tracks
from specrec.storage import locate


@pytest.fixture
def rows(spark: SparkSession) -> Any:
    """Return a frame of the columns and the rows that are given, with a space where several stand in a row."""

    def make(schema: str, *given: tuple[Any, ...]) -> DataFrame:
        return spark.createDataFrame(list(given), schema)

    return make


def _by_track(frame: DataFrame) -> dict[str, Any]:
    return {row["track_id"]: row for row in frame.collect()}


NEIGHBOURS = "space string, track_id string, rank int, neighbour_id string, cosine double, input_hash string"


def test_a_track_is_new_stale_or_settled_by_its_list_and_its_vector(rows: Any) -> None:
    lists = {  # of two neighbours each: of what the list is, and its members
        "same": ("h1", ["also same", "changed"]),
        "also same": ("h2", ["same", "short"]),
        "changed": ("old", ["same", "also same"]),
        "short": ("h4", ["same"]),
        "gone": ("h5", ["same", "also same"]),
        "alone": ("h6", ["same", "gone"]),
    }
    neighbours = rows(
        NEIGHBOURS,
        *(
            ("a", track, rank, member, 1.0 - 0.1 * rank, made_of)
            for track, (made_of, members) in lists.items()
            for rank, member in enumerate(members, 1)
        ),
    )
    now = {"same": "h1", "also same": "h2", "changed": "h3", "short": "h4", "alone": "h6", "fresh": "h7"}
    embeddings = rows(
        "space string, track_id string, input_hash string", *(("a", track, of) for track, of in now.items())
    )
    compared = lists_and_vectors(neighbours, embeddings, top_n=2)
    found = _by_track(states_of_tracks(compared, neighbours))
    assert {track: (row["state"], row["floor"]) for track, row in found.items()} == {
        "same": (STALE, math.inf),  # a member has another vector
        "also same": (SETTLED, 0.8),
        "changed": (NEW, math.inf),
        "short": (STALE, math.inf),  # its list is not full
        "alone": (STALE, math.inf),  # a member is gone
        "fresh": (NEW, math.inf),
    }


def test_what_stands_is_joined_with_what_was_found_and_with_what_enters(rows: Any) -> None:
    found_schema = (
        "space string, track_id string, rank int, neighbour_id string, cosine double, euclidean double, "
        "input_hash string"
    )
    found = rows(
        found_schema,
        ("a", "new", 1, "x", 0.9, 0.1, "n"),
        ("a", "entered", None, "new", 0.75, 0.5, "e"),
        ("a", "entered", None, "also new", 0.8, 0.4, "e"),
    )
    old = rows(
        found_schema,
        ("a", "entered", 1, "x", 0.8, 0.4, "e"),
        ("a", "entered", 2, "y", 0.7, 0.6, "e"),
        ("a", "left alone", 1, "x", 0.5, 1.0, "l"),
        ("a", "stale", 1, "x", 0.5, 1.0, "s"),
    )
    states = rows(
        "space string, track_id string, state int, floor double",
        ("a", "entered", SETTLED, 0.7),
        ("a", "left alone", SETTLED, 0.5),
        ("a", "stale", STALE, math.inf),
        ("a", "new", NEW, math.inf),
    )
    lists = join_lists(found, old, states, top_n=2).collect()
    assert sorted((row["track_id"], row["rank"], row["neighbour_id"]) for row in lists) == [
        ("entered", 1, "also new"),  # as near as x, and before it by name
        ("entered", 2, "x"),
        ("left alone", 1, "x"),
        ("new", 1, "x"),
    ]


def test_the_map_knows_what_is_due_gone_and_out_of_date(rows: Any) -> None:
    embeddings = rows(
        "track_id string, input_hash string, vector_key long",
        ("kept", "h", 1),
        ("changed", "h2", 2),
        ("new", "h", 3),
    )  # fmt: skip
    first = drawn_and_due(embeddings, rows("track_id string, input_hash string"), "map 1")
    drawn = {row["track_id"]: row["input_hash"] for row in first.collect()}
    assert all(row["is_stale"] for row in first.collect())
    on_map = rows("track_id string, input_hash string", ("kept", drawn["kept"]), ("changed", "h"), ("gone", "h"))
    found = _by_track(drawn_and_due(embeddings, on_map, "map 1"))
    assert {track for track, row in found.items() if row["is_stale"]} == {"changed", "new"}
    assert {track for track, row in found.items() if row["input_hash"] is None} == {"gone"}
    assert {track for track, row in found.items() if row["old_hash"] is None} == {"new"}
    other = _by_track(drawn_and_due(embeddings, on_map, "map 2"))
    assert {track for track, row in other.items() if row["is_stale"]} == {"kept", "changed", "new"}


def test_differences_of_two_catalogues_are_counted(rows: Any) -> None:
    schema = "track_id string, row_hash string, has_audio boolean"
    before = rows(schema, ("kept", "1", True), ("changed", "2", True), ("gone", "3", True), ("mute", "4", False))
    now = rows(schema, ("kept", "1", True), ("changed", "9", False), ("mute", "4", False), ("new", "5", True))
    (found,) = differences(before, now).collect()
    assert found.asDict() == {
        "added": 1, "removed": 1, "changed": 1, "lost_audio": 2, "had_audio": 3, "before": 4, "now": 4,
    }  # fmt: skip


def test_rows_without_a_name_and_paths_that_leave_the_root_fail(rows: Any) -> None:
    schema = "track_id string, artists string, extra map<string,string>, audio string"
    given = rows(
        schema, (None, "A", {"a": "b"}, "x.mp3"), (None, "A", {}, "x.mp3"), ("t", "A", None, "/etc/passwd")
    )
    tracks = rows("track_id string, audio string, audio_uri string", ("t", "/etc/passwd", None), ("u", None, None))
    found = rows_that_fail(given, tracks, locate("/music")).collect()
    assert sorted((row["code"], row["audio_uri"]) for row in found) == [
        ("forbidden_path", "/etc/passwd"),
        ("missing_track_id", "x.mp3"),  # once, though the row is there twice: its extra columns do not count
    ]
    assert "only files under /music are read" in {row["code"]: row["message"] for row in found}["forbidden_path"]


def test_a_survey_says_of_each_track_what_the_tables_hold(rows: Any) -> None:
    tracks = rows(
        "track_id string, audio_uri string, has_audio boolean",
        ("done", "d", True), ("lost", "l", False), ("told", "t", False), ("moved", "m2", False),
        ("mute", None, False),
    )  # fmt: skip
    of_track = "track_id string"
    features = rows(of_track, ("done",), ("lost",), ("gone",))
    spectrograms = rows(of_track, ("done",), ("gone",), ("half",))
    failed = rows(
        "track_id string, stage string, code string, audio_uri string",
        ("told", "extract", "not_found", "t"), ("moved", "extract", "not_found", "m1"),
        ("mute", "extract", "silent", "s"), ("done", "ingest", "forbidden_path", "d"),
    )  # fmt: skip
    found = _by_track(survey(tracks, features, spectrograms, failed))
    assert {what: {track for track, row in found.items() if row[what]} for what in SURVEYED} == {
        "named": {"done", "lost", "told", "moved"},
        "failing": {"told", "moved", "mute"},
        "with_features": {"done", "lost", "gone"},
        "removed": {"lost", "gone"},
        "orphaned": {"gone", "half"},
        "forgiven": {"mute"},
        "missing": {"lost", "moved"},
    }


def test_lists_are_counted_by_recordings(rows: Any) -> None:
    recommended = rows(
        "system string, track_id string, recommended_track_id string",
        ("s", "a1", "b"), ("s", "a1", "a2"), ("s", "b", "a1"), ("s", "b", "a2"), ("s", "b", "c"),
    )  # fmt: skip
    groups = rows("group_id string, track_id string", ("b", "a1"), ("b", "a2"))  # a group may be called as a track
    assert count_surplus(groups, rows("track_id string", ("a1",), ("a2",), ("b",), ("c",))) == 1
    of_recordings = in_recordings(recommended, groups)
    times = count_times(of_recordings)
    assert sorted(zip(times["times"], times["count"], strict=True)) == [(1, 2), (3, 1)]
    lengths = count_lengths(of_recordings)
    assert sorted(zip(lengths["length"], lengths["duplicates"], lengths["count"], strict=True)) == [
        (2, 1, 1),  # a1 lists its own recording
        (3, 1, 1),  # b lists one recording twice
    ]
    plain = count_times(in_recordings(recommended, None))
    assert sorted(zip(plain["times"], plain["count"], strict=True)) == [(1, 3), (2, 1)]
