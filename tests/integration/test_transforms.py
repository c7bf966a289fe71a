"""What the topics' doors to Spark make of frames, each on a few rows whose answer is plain."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.audio.config import AudioConfig
from specrec.audio.spark import SURVEYED, UNTOLD, files_due, survey
from specrec.catalogue.files import FILE_SCHEMA
from specrec.catalogue.spark import (
    changes_of_tracks,
    counted,
    differences,
    places_that_fail,
    rows_that_fail,
    unread_places,
    with_audio_uri,
    with_files,
    with_known_files,
)
from specrec.embedding.spark import MEASURING, sample_apart, sample_tracks
from specrec.evaluate.spark import count_lengths, count_surplus, count_times, in_recordings
from specrec.listeners.config import ListenersConfig
from specrec.listeners.spark import liked_together, share_changed
from specrec.map.spark import drawn_and_due
from specrec.neighbours.search import NEW, SETTLED, STALE
from specrec.neighbours.spark import (
    broken_lists,
    copies,
    lists_and_vectors,
    lost_members,
    new_originals,
    renewed_lists,
    sets_of_copies,
    states_of_tracks,
    touched_lists,
    unchanged_lists,
)
from specrec.storage import locate
from specrec.warehouse.schemas import GONE, TRACKS
from specrec.warehouse.schemas import NEW as NEW_ROW

#: Columns of ``tracks`` that follow from the others.
ADDED = (
    "audio_uri", "audio_fingerprint", "audio_bytes", "has_audio", "row_hash", "run_id", "updated_at",
)  # fmt: skip


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
        "left": ("h8", ["also same", "same"]),
        "until now a copy": ("h8", ["also same", "same"]),
        "copied": ("h9", ["also same", "same"]),
        "copy of it": ("h9", ["also same", "same"]),
        "has a copy": ("h10", ["also same", "copied"]),
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
    now |= {"until now a copy": "h8", "copied": "h9", "copy of it": "h9", "has a copy": "h10"}
    embeddings = rows(
        "space string, track_id string, input_hash string", *(("a", track, of) for track, of in now.items())
    )
    copied = copies(embeddings, sets_of_copies(embeddings))
    assert {track: row["original"] for track, row in _by_track(copied).items()} == {"copy of it": "copied"}
    compared = lists_and_vectors(neighbours, embeddings, top_n=2)
    originals = new_originals(compared, copied)
    lost = lost_members(compared, originals)
    assert {row["lost"] for row in lost.collect()} == {"changed", "gone", "left", "until now a copy", "copy of it"}
    found = _by_track(states_of_tracks(originals, broken_lists(neighbours, lost)))
    assert {track: (row["state"], row["floor"]) for track, row in found.items()} == {
        "same": (STALE, math.inf),  # a member has another vector
        "also same": (SETTLED, 0.8),
        "changed": (NEW, math.inf),
        "short": (STALE, math.inf),  # its list is not full
        "alone": (STALE, math.inf),  # a member is gone
        "fresh": (NEW, math.inf),
        "until now a copy": (NEW, math.inf),  # no list has it as a member: that was the track that left
        "copied": (SETTLED, 0.8),
        "has a copy": (SETTLED, 0.8),
    }


def test_what_stands_is_joined_with_what_was_found_and_with_what_enters(rows: Any) -> None:
    found_schema = (
        "space string, track_id string, rank int, neighbour_id string, cosine double, euclidean double, "
        "input_hash string"
    )
    found = rows(
        found_schema,
        ("a", "new", 1, "x", 0.9, 0.1, "n"),
        ("a", "stale", 1, "x", 0.5, 1.0, "s"),
        ("a", "entered", None, "new", 0.75, 0.5, "e"),
        ("a", "entered", None, "also new", 0.8, 0.4, "e"),
        ("a", "tried in vain", None, "new", 0.7, 0.6, "t"),
    )
    old = rows(
        found_schema,
        ("a", "entered", 1, "x", 0.8, 0.4, "e"),
        ("a", "entered", 2, "y", 0.7, 0.6, "e"),
        ("a", "copy of entered", 1, "x", 0.8, 0.4, "e"),
        ("a", "copy of entered", 2, "y", 0.7, 0.6, "e"),
        ("a", "left alone", 1, "x", 0.5, 1.0, "l"),
        ("a", "left alone", 2, "y", 0.4, 1.0, "l"),
        ("a", "stale", 1, "x", 0.5, 1.0, "s"),
        ("a", "tried in vain", 1, "a", 0.8, 0.6, "t"),
        ("a", "tried in vain", 2, "b", 0.7, 0.6, "t"),
        ("a", "gone", 1, "a", 0.8, 0.6, "g"),
    )
    states = rows(
        "space string, track_id string, state int, floor double",
        ("a", "entered", SETTLED, 0.7),
        ("a", "left alone", SETTLED, 0.4),
        ("a", "tried in vain", SETTLED, 0.7),
        ("a", "stale", STALE, math.inf),
        ("a", "new", NEW, math.inf),
    )
    copied = rows(
        "space string, track_id string, input_hash string, original string",
        ("a", "copy of entered", "e", "entered"),
        ("a", "new copy", "l", "left alone"),
    )
    vectors = [
        ("entered", "e"),
        ("copy of entered", "e"),
        ("left alone", "l"),
        ("stale", "s"),
        ("tried in vain", "t"),
    ]
    compared = rows(
        "space string, track_id string, old_hash string, input_hash string, floor double",
        *(("a", track, of, of, 0.4) for track, of in vectors),
        ("a", "new", None, "n", None),
        ("a", "new copy", None, "l", None),
        ("a", "gone", "g", None, None),
    )
    touched = touched_lists(found, states, compared, copied)
    of_touched = sorted(row["track_id"] for row in touched.collect())
    assert of_touched == ["copy of entered", "entered", "gone", "new", "new copy", "stale", "tried in vain"]
    renewed = renewed_lists(found, old, touched, states=states, copied=copied, top_n=2)
    unchanged = unchanged_lists(renewed, old.join(touched, ["space", "track_id"], "left_semi"))
    assert sorted(row["track_id"] for row in unchanged.collect()) == ["stale", "tried in vain"]
    differing = renewed.join(unchanged, ["space", "track_id"], "left_anti").collect()
    assert sorted((row["track_id"], row["rank"], row["neighbour_id"]) for row in differing) == [
        ("copy of entered", 1, "also new"),
        ("copy of entered", 2, "x"),
        ("entered", 1, "also new"),  # as near as x, and before it by name
        ("entered", 2, "x"),
        ("new", 1, "x"),
        ("new copy", 1, "x"),
        ("new copy", 2, "y"),
    ]


def test_a_sample_depends_on_its_purpose_and_on_no_partition_and_sorts_nothing_wide(spark: SparkSession) -> None:
    wide = spark.range(2000).select(F.col("id").cast("string").alias("track_id"), F.array("id").alias("vector"))

    def ids(frame: DataFrame) -> set[str]:
        return {row["track_id"] for row in frame.collect()}

    chosen = ids(sample_tracks(wide, 100, 7))
    assert len(chosen) == 100
    assert ids(sample_tracks(wide.repartition(13, "vector"), 100, 7)) == chosen
    assert ids(sample_tracks(wide.where(~F.col("track_id").isin(*sorted(chosen)[:50])), 50, 7)) & chosen
    purposes = [ids(sample_tracks(wide, 100, 7, purpose)) for purpose in ("cells", "evaluation")]
    assert all(len(one & other) < 20 for one, other in ((chosen, purposes[0]), (chosen, purposes[1]), purposes))
    plan = sample_tracks(wide, 100, 7)._jdf.queryExecution().executedPlan().toString()
    assert "TakeOrderedAndProject" in plan  # each partition keeps its lowest
    assert "rangepartitioning" not in plan
    tracks = wide.select("track_id")
    measuring = ids(sample_apart(tracks, 2000, 7, MEASURING))
    others = ids(sample_apart(tracks, 2000, 7, "cells"))
    assert not measuring & others
    assert measuring | others == ids(tracks)
    assert 400 < len(measuring) < 600


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


def test_tracks_that_differ_are_what_changes(rows: Any) -> None:
    before = rows("track_id string, row_hash string", ("kept", "1"), ("changed", "2"), ("gone", "3"))
    now = rows(
        "track_id string, track_name string, row_hash string",
        ("kept", "K", "1"),
        ("changed", "C", "9"),
        ("new", "N", "5"),
    )
    found = {row["track_id"]: row.asDict() for row in changes_of_tracks(before, now).collect()}
    assert {track: (row["change"], row["track_name"]) for track, row in found.items()} == {
        "changed": (NEW_ROW, "C"), "new": (NEW_ROW, "N"), "gone": (GONE, None),
    }  # fmt: skip
    assert changes_of_tracks(before.limit(0), now).count() == 3


def test_rows_without_a_name_and_paths_that_leave_the_root_fail(rows: Any) -> None:
    schema = "track_id string, artists string, extra map<string,string>, audio string"
    given = rows(
        schema, (None, "A", {"a": "b"}, "x.mp3"), (None, "A", {}, "x.mp3"), ("t", "A", None, "/etc/passwd")
    )
    tracks = rows(
        "track_id string, audio string, audio_uri string, code string, message string",
        ("t", "/etc/passwd", None, None, None),
        ("u", None, None, None, None),
        ("v", "locked/y.mp3", None, "unreadable_folder", "cannot be listed"),
    )
    found = rows_that_fail(given, tracks, locate("/music")).collect()
    assert sorted((row["code"], row["audio_uri"]) for row in found) == [
        ("forbidden_path", "/etc/passwd"),
        ("missing_track_id", "x.mp3"),  # once, though the row is there twice: its extra columns do not count
        ("unreadable_folder", "locked/y.mp3"),
    ]
    assert "only files under /music are read" in {row["code"]: row["message"] for row in found}["forbidden_path"]


LISTED = (
    ("/m/ok/a.mp3", "f", 1, None, None, None),
    (None, None, None, ".txt", None, None),
    ("/m/bad", None, None, None, "unreadable_folder", "cannot be listed"),
    ("/m/half/a.mp3", "f", 1, None, None, None),  # the disk failed while this folder was listed
    ("/m/half", None, None, None, "unreadable_folder", "cannot be listed"),
    ("/m/s.mp3", None, None, None, "storage_error", "cannot be looked at"),
    ("/m/out", None, None, None, "forbidden_path", "a link leads out"),
    ("/m/broken.mp3", None, None, None, "not_found", "a link that leads nowhere"),
)


def test_files_of_places_that_cannot_be_read_are_kept_as_they_were_known(rows: Any) -> None:
    names = ("ok/a.mp3", "ok/gone.mp3", "bad/b.mp3", "bad/deep/c\n.mp3", "badly/d.mp3", "half/a.mp3", "half/b.mp3")
    known = rows(
        "track_id string, audio_uri string, audio_fingerprint string, audio_bytes long, has_audio boolean",
        *((name, f"/m/{name}", "old", 2, True) for name in (*names, "s.mp3", "out/e.mp3", "broken.mp3")),
        ("bad/never there.mp3", "/m/bad/never there.mp3", None, None, False),
        ("also b", "/m/bad/b.mp3", "old", 2, True),
        ("mute", None, None, None, False),
    )
    files = with_known_files(rows(FILE_SCHEMA, *LISTED), known).where("audio_fingerprint is not null").collect()
    assert sorted((row.audio_uri, row.audio_fingerprint) for row in files) == [
        ("/m/bad/b.mp3", "old"),
        ("/m/bad/deep/c\n.mp3", "old"),
        ("/m/half/a.mp3", "f"),
        ("/m/half/b.mp3", "old"),
        ("/m/ok/a.mp3", "f"),
        ("/m/s.mp3", "old"),
    ]


def test_what_is_not_read_of_a_catalogue_is_told_though_all_is_known(rows: Any) -> None:
    listed = rows(FILE_SCHEMA, *LISTED, ("/m/notes.txt", None, None, None, "storage_error", "cannot be read"))
    tracks = rows("audio_uri string", ("/m/bad/b.mp3",), ("/m/s.mp3",), ("/m/ok/a.mp3",))
    told = places_that_fail(unread_places(listed, tracks), locate("/m")).collect()
    assert sorted((row.track_id, row.code) for row in told) == [
        ("bad", "unreadable_folder"),
        ("half", "unreadable_folder"),
        ("s.mp3", "storage_error"),
    ]


def test_a_track_is_told_why_its_file_cannot_be_used(rows: Any) -> None:
    names = (
        "ok/a.mp3",
        "ok/b.mp3",
        "bad/b.mp3",
        "bad/deep/c\n.mp3",
        "badly/d.mp3",
        "s.mp3",
        "out/e.mp3",
        "broken.mp3",
    )
    placed = rows("track_id string, audio string", *((name, name) for name in names))
    for field in TRACKS:
        if field.name not in (*placed.columns, *ADDED):
            placed = placed.withColumn(field.name, F.lit(None).cast(field.dataType))
    tracks = with_files(with_audio_uri(placed, locate("/m")), rows(FILE_SCHEMA, *LISTED))
    found = _by_track(tracks)
    assert {name: row["code"] for name, row in found.items() if row["code"]} == {
        "bad/b.mp3": "unreadable_folder",
        "bad/deep/c\n.mp3": "unreadable_folder",
        "s.mp3": "storage_error",
        "out/e.mp3": "forbidden_path",
    }
    for row in found.values():
        assert (row["audio_uri"] is None) == (row["code"] is not None)
        assert row["has_audio"] == (row["track_id"] == "ok/a.mp3")


def test_what_a_folder_leaves_out_is_counted_the_most_frequent_first(rows: Any) -> None:
    kinds = [(f".{number}",) for number in range(12)] + [(".txt",), (".txt",), (None,), (".0",), (".txt",)]
    assert counted(rows("kind string", *kinds), "kind") == {
        ".txt": 3,
        ".0": 2,
        **dict.fromkeys((".1", ".10", ".11", ".2", ".3", ".4"), 1),
        "others": 5,
    }
    assert counted(rows("kind string", (None,)), "kind") == {}


MEASURED = (
    "track_id string, audio_uri string, audio_fingerprint string, content_hash string, audio_hash string, "
    "computed_at timestamp, run_id string"
)
FAILED = (
    "track_id string, audio_uri string, audio_fingerprint string, code string, stage string, audio_hash string, "
    "decoder string, attempts int, last_seen timestamp, run_id string"
)


def test_a_file_is_read_again_if_it_changed_and_not_only_if_its_old_fingerprint_says_less(rows: Any) -> None:
    settings = AudioConfig().settings_hash
    seen, before, later = datetime(2026, 1, 1, tzinfo=UTC), "1700000000000000000", "1800000000000000000"
    of_each = {  # the fingerprint when it was analysed, or failed, and now
        "same": (f"4-1-{later}", f"4-1-{later}"),
        "touched": (f"4-1-{before}", f"4-1-{later}"),
        "other size": (f"4-1-{before}", f"5-1-{before}"),
        "other time": (f"4-1-{before}", f"4-2-{before}"),
        "earlier release": ("4-1", f"4-1-{before}"),
        "earlier release, touched": ("4-1", f"4-1-{later}"),
        "earlier release, other": ("4-1", f"4-2-{before}"),
        "object": ("9b2c", "9b2c"),
        "parts": ("9b2c-2", "9b2c-2"),
        "other object": ("9b2c-2", "9b2c-3"),
    }
    tracks = rows(
        "track_id string, audio_uri string, audio_fingerprint string, has_audio boolean",
        *((f"{kind} {name}", name, now, True) for name, (_, now) in of_each.items() for kind in ("good", "bad")),
        ("new", "new", "4-1-5", True),
    )
    features = rows(
        MEASURED,
        *((f"good {name}", name, old, f"h {name}", str(settings), seen, "r") for name, (old, _) in of_each.items()),
    )
    failed = rows(
        FAILED,
        *(
            (f"bad {name}", name, old, "silent", "extract", str(settings), "d", 1, seen, "r")
            for name, (old, _) in of_each.items()
        ),
    )
    found = files_due(survey(tracks, features, features, failed, audio_hash=settings, decoders="d")).collect()
    assert {row.audio_uri for row in found if not row.is_known} == {"new"}
    again = {track: row.content_hash for row in found for track in row.track_ids}
    assert again == {
        "new": None,
        "good touched": "h touched",
        "good earlier release, touched": "h earlier release, touched",
        **{
            f"{kind} {name}": None
            for kind in ("good", "bad")
            for name in ("other size", "other time", "earlier release, other", "other object")
        },
        "bad touched": None,
        "bad earlier release, touched": None,
    }


def test_a_survey_says_of_each_track_what_the_tables_hold(rows: Any) -> None:
    settings, seen = AudioConfig().settings_hash, datetime(2026, 1, 1, tzinfo=UTC)
    now = str(settings)
    tracks = rows(
        "track_id string, audio_uri string, audio_fingerprint string, has_audio boolean",
        ("done", "d", "e", True), ("lost", "l", None, False), ("told", "t", None, False),
        ("moved", "m2", None, False), ("absent", "a", None, False), ("mute", None, None, False),
        ("half", "h", "e", True), ("other", "o", "e", True), ("broken", "b", "e", True),
        ("lately", "y", "e", True), ("new", "n", "e", True),
    )  # fmt: skip
    given = {"done": "r1", "lost": "r1", "gone": "r3", "other": "r3", "lately": "r3"}
    uris = {"done": "d", "lost": "l", "gone": "g", "other": "o", "lately": "y"}
    features = rows(
        MEASURED,
        *(
            (track, uris[track], "e", "c", now if track != "other" else "x", seen, run)
            for track, run in given.items()
        ),
    )
    spectrograms = rows(
        "track_id string, content_hash string, audio_hash string",
        *((track, "c", now) for track in ("done", "gone", "half", "other", "lately")),
    )  # fmt: skip
    failed = rows(
        FAILED,
        *(
            (track, uri, "e" if code == "silent" else None, code, stage, now, "d", attempts, seen, run)
            for track, uri, code, stage, attempts, run in (
                ("told", "t", "not_found", "extract", 1, "r3"), ("moved", "m1", "not_found", "extract", 1, "r1"),
                ("mute", "s", "silent", "extract", 1, "r3"), ("done", "d", "forbidden_path", "ingest", 1, "r3"),
                ("broken", "b", "silent", "extract", 2, "r3"),
            )
        ),
    )  # fmt: skip
    surveyed = survey(tracks, features, spectrograms, failed, audio_hash=settings, decoders="d", told="r2")
    found = _by_track(surveyed)
    assert {what: {track for track, row in found.items() if row[what]} for what in (*SURVEYED, *UNTOLD)} == {
        "named": set(found) - {"mute", "gone"},
        "failing": {"told", "moved", "mute", "broken"},
        "due": {"half", "other", "new"},
        "known": {"done", "lost", "gone", "half", "other", "lately", "told", "moved", "mute", "broken"},
        "settled": {"done", "lately"},
        "removed": {"lost", "gone"},
        "orphaned": {"gone"},
        "forgiven": {"mute"},
        "missing": {"lost", "moved", "absent"},
        "missing_anew": {"lost", "absent"},
        "measured_untold": {"lately"},
        "failed_untold": {"told", "broken"},
        "failed_anew_untold": {"told"},
    }
    assert {row.audio_uri: row.is_known for row in files_due(surveyed).collect()} == {
        "h": True, "o": True, "n": False,
    }  # fmt: skip


def test_evidence_that_comes_does_not_hide_what_goes(rows: Any) -> None:
    schema = "track_id string, evidence_for long, evidence_against long"
    then = rows(schema, ("a", 60, 0), ("b", 30, 10))
    assert share_changed(then, then) == 0
    assert share_changed(then, rows(schema, ("a", 30, 0), ("b", 60, 10))) == 0.6
    assert share_changed(then, rows(schema, ("a", 0, 60), ("c", 40, 0))) == 2.0
    assert share_changed(then.limit(0), then) == 1
    assert share_changed(then.limit(0), then.limit(0)) == 0


@pytest.mark.parametrize("weighting", ["cosine", "bm25"])
def test_what_is_liked_together_is_the_cosine_of_what_likes_weigh(
    rows: Any, weighting: Literal["cosine", "bm25"]
) -> None:
    likes = {"ann": "abcd", "bob": "abc", "cyd": "ab", "dan": "bcd", "eve": "efgh", "fay": "ea"}
    evidence = {
        (user, track): (number + place) % 3 + 1.0
        for number, (user, tracks) in enumerate(likes.items())
        for place, track in enumerate(tracks)
    }
    given = [(user, track, 0.5, 2 * value) for (user, track), value in evidence.items()]
    preferences = rows("user_id string, track_id string, preference double, confidence double", *given)
    config = ListenersConfig(together_weighting=weighting, together_shrinkage=1)
    found = {(row.track_id, row.other_id): row.similarity for row in liked_together(preferences, config).collect()}

    of_track = {of: {user: value for (user, track), value in evidence.items() if track == of} for of in "abcdefgh"}
    mean = sum(evidence.values()) / 8

    def weight(user: str, track: str) -> float:
        if weighting == "cosine":
            return 1.0
        value, length = evidence[user, track], sum(of_track[track].values())
        return math.log(8 / (1 + len(likes[user]))) * value * 2.2 / (1.2 * (0.25 + 0.75 * length / mean) + value)

    wanted = {}
    for a in "abcdefgh":
        for b in "abcdefgh":
            both = of_track[a].keys() & of_track[b].keys()
            if a != b and len(both) >= 2:
                product = sum(weight(user, a) * weight(user, b) for user in both)
                norms = math.prod(sum(weight(user, of) ** 2 for user in of_track[of]) for of in (a, b))
                wanted[a, b] = product / math.sqrt(norms) * len(both) / (len(both) + 1)
    assert found == pytest.approx(wanted, abs=2e-3 if weighting == "bm25" else 1e-12)


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
