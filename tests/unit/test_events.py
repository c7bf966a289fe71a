"""Events are read as people write them, and become preferences by one rule, whoever computes whom beside whom."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preferred import DAY, NOW, expected, some_events

from specrec.errors import CatalogueError, ConfigError, EventsError
from specrec.events.identity import HASH_KEY, hashed, require_key, scheme, stored_ids
from specrec.events.preferences import INPUT, preferences
from specrec.events.rows import AHEAD_MICROSECONDS, COLUMNS, SCHEMA, as_times, codes, conform, read_tables
from specrec.events.rules import EVENT_CODES, KINDS, Rules
from specrec.events.sources import find_files
from specrec.listeners.config import ListenersConfig
from specrec.storage import Location
from specrec.storage.config import StorageConfig

URI = Location("/events/1.csv")
RULES = ListenersConfig().rules


# --- the rule --------------------------------------------------------------------------------------------------


def made(events: list[dict[str, Any]], rules: Rules = RULES) -> list[dict[str, Any]]:
    return preferences(pa.Table.from_pylist(events, INPUT), rules).to_pylist()


def key_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["user_id"], row["track_id"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "changed",
    [{}, {"half_life_days": 1, "max_plays_a_day": 1}, {"max_confidence": 3, "max_tracks_a_person": 3},
     {"skip_share": 0.5, "full_share": 0.5, "rating_scale": (0, 10), "unknown_play_weight": 2}],
    ids=str,
)  # fmt: skip
def test_preferences_are_what_the_rule_says(seed: int, changed: dict[str, Any]) -> None:
    rules = ListenersConfig(**changed).rules
    events = some_events(seed, 300)
    rows = made(events, rules)
    found = {key_of(row): (row["preference"], row["confidence"]) for row in rows}
    wanted = expected(events, rules)
    assert found.keys() == wanted.keys()
    for key, (preference, confidence) in wanted.items():
        assert found[key] == pytest.approx((preference, confidence), abs=1e-12), key
    for row in rows:
        theirs = [event for event in events if key_of(event) == key_of(row)]
        assert row["last_seen"].timestamp() * 1e6 == max(event["ts"] for event in theirs)
        for kind in KINDS:
            assert row[f"{kind}s"] == sum(event["kind"] == kind for event in theirs)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False), blocks=st.integers(1, 5))
def test_nobody_else_and_no_order_changes_a_bit_of_a_persons_preferences(
    seed: int, order: random.Random, blocks: int
) -> None:
    events = some_events(seed, 120)
    together = sorted(made(events), key=key_of)
    order.shuffle(events)
    apart = [
        row
        for block in range(blocks)
        for row in made([event for event in events if int(event["user_id"][1:]) % blocks == block])
    ]
    assert sorted(apart, key=key_of) == together


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_preferences_are_within_their_bounds_and_more_praise_never_lowers_one(seed: int) -> None:
    events = some_events(seed, 40)
    before = {key_of(row): row for row in made(events)}
    assert all(-1 <= row["preference"] <= 1 and 0 < row["confidence"] <= 20 for row in before.values())
    one = events[0]
    newest = max(event["ts"] for event in events if event["user_id"] == one["user_id"])
    praise = one | {"event_id": "~", "kind": "save", "value": None, "ts": newest, "listened_ms": None}
    after = {key_of(row): row for row in made([*events, praise])}
    key = key_of(one)
    assert after[key]["preference"] >= before.get(key, {"preference": -1})["preference"] - 1e-12


def test_a_person_who_was_away_likes_the_same_as_before() -> None:
    events = [event for event in some_events(1, 60) if event["user_id"] == "u1"]
    long_ago = [event | {"ts": event["ts"] - 730 * DAY} for event in events]
    without_times = [
        [
            {name: round(of, 9) if isinstance(of, float) else of for name, of in row.items() if name != "last_seen"}
            for row in made(rows)
        ]
        for rows in (events, long_ago)
    ]
    assert without_times[0] == without_times[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_track_that_is_not_in_the_catalogue_ends_the_play_before_it(seed: int) -> None:
    events = [event | {"is_foreign": event["track_id"] == "t2"} for event in some_events(seed, 200)]
    wanted = expected(events, RULES)
    assert {key_of(row) for row in made(events)} == wanted.keys()
    for row in made(events):
        assert (row["preference"], row["confidence"]) == pytest.approx(wanted[key_of(row)], abs=1e-12)
    play = dict.fromkeys(COLUMNS) | {"user_id": "ann", "kind": "play", "duration_ms": 200_000, "ts": NOW}
    first = play | {"event_id": "1", "track_id": "a"}
    second = play | {"event_id": "2", "track_id": "gone", "ts": NOW + 20_000_000, "is_foreign": True}
    (skipped,), (unknown,) = made([first, second]), made([first])
    assert skipped["preference"] == -1  # a tenth of it was heard
    assert unknown["preference"] == 1


def test_no_events_make_no_preferences() -> None:
    assert made([]) == []
    gone = some_events(0, 1)[0] | {"kind": "rating", "value": 9.0}  # on a scale of before
    assert made([gone]) == []


# --- reading --------------------------------------------------------------------------------------------------


def read(content: bytes, kind: str = "csv", constants: str = "{}") -> list[dict[str, Any]]:
    tables = [conform(raw, URI) for raw in read_tables(io.BytesIO(content), URI, kind, constants)]
    rows = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    assert rows.schema.equals(SCHEMA)
    found = rows.set_column(rows.num_columns - 1, "code", codes(rows, RULES, NOW))
    return found.to_pylist()


def test_a_csv_as_people_write_it() -> None:
    text = (
        "\ufeffUser_ID; track_id ;kind;ts;value;listened_ms;session_id;device\r\n"
        " ann ;t1;Rating;2026-01-02T03:04:05Z;4.5;;;phone\r\n"
        "7;t2;PLAY;1767319445;;15000.0; s1 ;\r\n"
        "7;t2;skip;1767319445123;x;-;;\r\n"
    )
    for content in (text.encode(), gzip.compress(text.encode()), text.encode("utf-16")):
        ann, play, skip = read(content)
        at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert (ann["user_id"], ann["kind"], ann["value"], ann["ts"]) == ("ann", "rating", 4.5, at)
        assert (ann["listened_ms"], ann["session_id"], ann["code"], ann["said"]) == (None, None, None, None)
        told = [play[name] for name in ("user_id", "kind", "listened_ms", "session_id")]
        assert told == ["7", "play", 15_000, "s1"]
        assert play["ts"] == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
        assert skip["ts"] == play["ts"] + timedelta(milliseconds=123)
        assert skip["said"] == "value 'x', listened_ms '-'"
        assert skip["code"] is None  # what a skip needs is there


COLUMNS_OF_ANY_TYPE = {
    "whole numbers stored as doubles": ("user_id", pa.array([7.0, 2.5]), ["7", "2.5"]),
    "large numbers": ("user_id", pa.array([2**62 + 1, 7]), [str(2**62 + 1), "7"]),
    "a choice of few": ("kind", pa.array(["Play", "like"]).dictionary_encode(), ["play", "like"]),
    "bytes": ("track_id", pa.array([b"a", "ä".encode()]), ["a", "ä"]),
    "decimals": ("value", pa.array([Decimal("4.50"), None]), [4.5, None]),
    "numbers as text": ("value", pa.array(["4", "nan"]), [4.0, None]),
    "nothing at all": ("value", pa.nulls(2), [None, None]),
    "large text": ("track_id", pa.array(["a", " "], pa.large_string()), ["a", None]),
}


@pytest.mark.parametrize("name", COLUMNS_OF_ANY_TYPE)
def test_a_parquet_with_columns_of_any_type(name: str) -> None:
    column, values, wanted = COLUMNS_OF_ANY_TYPE[name]
    plain = {"user_id": ["u", "v"], "track_id": ["t", "t"], "kind": ["play", "play"], "ts": [1.7e9, 1.7e9]}
    file = io.BytesIO()
    pq.write_table(pa.table(plain | {"cover": pa.array([b"\xff", b"\xfe"])} | {column: values}), file)
    assert [row[column] for row in read(file.getvalue(), "parquet")] == wanted


AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
TIMES = {
    "seconds": pa.array([AT.timestamp()]),
    "milliseconds": pa.array([int(AT.timestamp() * 1e3)]),
    "microseconds": pa.array([int(AT.timestamp() * 1e6)]),
    "nanoseconds": pa.array([int(AT.timestamp() * 1e3) * 10**6]),
    "seconds as text": pa.array([f" {AT.timestamp()}"]),
    "ISO": pa.array(["2026-01-02T03:04:05.678Z"]),
    "ISO without a zone": pa.array(["2026-01-02 03:04:05.678"]),
    "ISO of another zone": pa.array(["2026-01-02T05:34:05.678+02:30"]),
    "a timestamp": pa.array([AT.replace(tzinfo=None)], pa.timestamp("ns")),
    "a timestamp of a zone": pa.array([AT], pa.timestamp("ms", tz="Europe/Berlin")),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_as_people_write_them(name: str) -> None:
    assert as_times(TIMES[name]).to_pylist() == [AT]


@pytest.mark.parametrize("text", ["", "0", "soon", "20260102", "1e30", "-5", "2026-13-01", "nan"])
def test_what_is_no_time(text: str) -> None:
    assert as_times(pa.array([text])).to_pylist() == [None]


def test_each_row_that_cannot_be_used_has_its_code() -> None:
    good = {"user_id": "u", "track_id": "t", "kind": "play", "ts": "2026-01-02", "value": "", "listened_ms": ""}
    tomorrow = datetime.fromtimestamp((NOW + AHEAD_MICROSECONDS) / 1e6, UTC)
    wrong = [
        ("no_user", {"user_id": " "}),
        ("no_track", {"track_id": ""}),
        ("unknown_kind", {"kind": "hate"}),
        ("unknown_kind", {"kind": ""}),
        ("no_time", {"ts": "yesterday"}),
        ("future_time", {"ts": (tomorrow + timedelta(seconds=1)).isoformat()}),
        ("no_value", {"kind": "rating", "value": "good"}),
        ("value_out_of_range", {"kind": "rating", "value": "5.01"}),
        ("value_out_of_range", {"listened_ms": "-1"}),
        ("no_user", {"user_id": "", "kind": "hate"}),  # the first that is wrong
        (None, {"ts": tomorrow.isoformat()}),
        (None, {"kind": "rating", "value": "1"}),
    ]
    rows = [good | changed for _, changed in wrong]
    lines = [",".join(good), *(",".join(row.values()) for row in rows)]
    found = read("\n".join(lines).encode())
    assert [row["code"] for row in found] == [code for code, _ in wrong]
    assert {row["code"] for row in found} - {None} <= EVENT_CODES.keys()
    assert [row["said"] for row in found if row["code"] == "no_time"] == ["ts 'yesterday'"]


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"user_id,track_id,kind\n", EventsError, "lacks the column 'ts'; it has user_id, track_id, kind"),
        (b"user_id,track_id,kind,ts,KIND\n", EventsError, "has the column 'kind' twice"),
        (b"user_id,track_id,kind,ts\n1,2,3\n", CatalogueError, "have not the 4 cells of its header"),
        (b"", CatalogueError, "is empty"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(content: bytes, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told) as refused:
        read(content)
    assert "\n" not in str(refused.value)


def test_what_the_place_of_a_file_tells_is_a_column() -> None:
    (row,) = read(b"user_id,track_id,ts\nu,t,2026-01-02\n", constants=json.dumps({"kind": "save"}))
    assert (row["kind"], row["code"]) == ("save", None)


# --- where events are -----------------------------------------------------------------------------------------


def found_files(place: Path, kind: str = "auto") -> list[tuple[str, str, dict[str, str]]]:
    files = find_files(Location(str(place)), kind, StorageConfig())
    return [
        (file.uri.removeprefix(f"{place}").lstrip("/"), file.kind, json.loads(file.constants)) for file in files
    ]


def test_the_files_of_a_folder_a_file_and_a_delta_table(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    for name in ("2.csv", "1.csv.gz", "kind=play/date=2026-01-02/p.parquet", "_SUCCESS", ".hidden/x.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    assert found_files(folder) == [
        ("1.csv.gz", "csv", {}),
        ("2.csv", "csv", {}),
        ("kind=play/date=2026-01-02/p.parquet", "parquet", {"kind": "play", "date": "2026-01-02"}),
    ]
    assert found_files(folder / "2.csv") == [("", "csv", {})]

    table = tmp_path / "delta"
    for number in range(2):
        rows = pa.table({"user_id": ["u", "v"], "kind": ["play", "a b"], "ts": [number, number]})
        deltalake.write_deltalake(table, rows, mode="append", partition_by=["kind"])
    before = found_files(table)
    assert [(kind, told) for _, kind, told in before] == [("parquet", {"kind": "a b"})] * 2 + [
        ("parquet", {"kind": "play"})
    ] * 2
    assert all((table / name).exists() for name, _, _ in before)
    deltalake.write_deltalake(table, rows, mode="append")
    after = found_files(table)
    assert len(after) == len(before) + 2
    assert all(file in after for file in before)


def test_places_that_cannot_be_read_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for place, kind, told in (
        (tmp_path / "none", "auto", "there are no events at"),
        (tmp_path, "auto", "its ending does not tell"),
        (tmp_path, "delta", "there is no Delta table of events at"),
    ):
        with pytest.raises(EventsError, match=told) as refused:
            found_files(place, kind)
        assert "\n" not in str(refused.value)
    assert found_files(tmp_path, "csv") == [("notes.txt", "csv", {})]


# --- who people are -------------------------------------------------------------------------------------------


def test_people_are_hashed_by_the_key_of_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HASH_KEY, raising=False)
    assert scheme(hash_users=False) == "clear"
    assert stored_ids([" ann ", ""], "clear") == ["ann"]
    for key in (None, "short"):
        if key:
            monkeypatch.setenv(HASH_KEY, key)
        with pytest.raises(ConfigError, match=f"the environment variable {HASH_KEY}") as refused:
            scheme(hash_users=True)
        assert "short" not in str(refused.value)
    monkeypatch.setenv(HASH_KEY, "one key of many characters")
    one = scheme(hash_users=True)
    assert stored_ids(["ann"], one) == [hashed("ann", b"one key of many characters")]
    assert "key" not in one
    monkeypatch.setenv(HASH_KEY, "another key of many characters")
    assert scheme(hash_users=True) != one
    with pytest.raises(ConfigError, match="is not the one that the people in the tables are hashed with"):
        require_key(one)


def test_a_hash_is_rfc_2104s() -> None:
    # test case 2 of RFC 4231
    assert hashed("what do ya want for nothing?", b"Jefe") == "5bdcc146bf60754e6a042426089575c7"
    assert len(COLUMNS) == 7
    assert math.isclose(sum(RULES.weights.values()), 17)
