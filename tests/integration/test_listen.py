"""What people did becomes preferences: night by night as all at once, killed between commits, and forgotten."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from nights import Night
from preferred import NOW, expected, some_events
from pyspark.sql import SparkSession
from servers import S3Server

from specrec.cli import main
from specrec.errors import ConfigError, EventsError
from specrec.events.identity import HASH_KEY, hashed
from specrec.events.rows import COLUMNS
from specrec.pipeline.forget import PERSONAL
from specrec.pipeline.rollback import rollback
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

LISTEN = ("listen",)
TABLES_OF_LISTEN = tuple(name for name, table in TABLES.items() if table.made_by == "listen")
KEY = "a key of the tests, which nobody else has"

Event = dict[str, Any]


class Killed(BaseException):
    """Stands for a process that ends, which nothing catches."""


@contextmanager
def killed_at(commit: int, *, after: bool) -> Iterator[None]:
    """Let the commit of a number to the tables of the stage end the process before it is made, or after."""
    count = 0

    def dying(method: str) -> Any:
        original = getattr(Warehouse, method)

        def commits(self: Warehouse, name: str, *arguments: Any, **settings: Any) -> Any:
            nonlocal count
            count += name in TABLES_OF_LISTEN
            dies = name in TABLES_OF_LISTEN and count == commit
            if dies and not after:
                raise Killed
            found = original(self, name, *arguments, **settings)
            if dies:
                raise Killed
            return found

        return commits

    with pytest.MonkeyPatch.context() as patch:
        for method in ("append", "replace", "change", "append_few"):
            patch.setattr(Warehouse, method, dying(method))
        yield


def write_tracks(warehouse: str, lengths: Mapping[str, int | None]) -> None:
    """Make these the catalogue, as ingest would, without Spark."""
    schema = deltalake.Schema.from_json(TABLES["tracks"].schema.json())
    place = f"{warehouse}/tracks"
    deltalake.DeltaTable.create(place, schema, mode="ignore")
    about = {"has_audio": False, "row_hash": "", "run_id": "given", "updated_at": datetime(2026, 1, 1, tzinfo=UTC)}
    rows = [{"track_id": name, "duration_ms": length, **about} for name, length in lengths.items()]
    deltalake.write_deltalake(place, pa.Table.from_pylist(rows, pa.schema(schema.to_arrow())), mode="overwrite")


def as_csv(events: Sequence[Event]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows([event | {"ts": event["ts"] // 1000} for event in events])  # in milliseconds
    return text.getvalue()


def written(folder: Path, name: str, events: Sequence[Event]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(as_csv(events), encoding="utf-8")


def unlike(events: Sequence[Event]) -> list[Event]:
    """One event of those that say the same, but for the names that the tests give them."""
    return list({tuple(event[name] for name in COLUMNS): event for event in events}.values())


def stored(night: Night) -> list[Event]:
    """All that people did, as the rule takes it: also with tracks that the catalogue has not."""
    lengths = {row["track_id"]: row["duration_ms"] for row in night.reader.rows("tracks")}
    foreign = [row for row in night.reader.rows("refused_events") if row["code"] == "unknown_track"]
    return [
        row
        | {
            "ts": round(row["ts"].timestamp() * 1e6),
            "duration_ms": lengths.get(row["track_id"]),
            "is_foreign": row["track_id"] not in lengths,
        }
        for row in {row["event_id"]: row for row in [*night.reader.rows("events"), *foreign]}.values()
    ]


def preferences(night: Night) -> dict[tuple[str, str], dict[str, Any]]:
    rows = night.reader.rows("preferences")
    found = {(row["user_id"], row["track_id"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def without_runs(rows: Mapping[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {key: {name: of for name, of in row.items() if name != "run_id"} for key, row in rows.items()}


def events_of(night: Night) -> list[Event]:
    rows = [{name: of for name, of in row.items() if name != "run_id"} for row in night.reader.rows("events")]
    return sorted(rows, key=lambda row: row["event_id"])


def of_folder(folder: Path, warehouse: Path, *settings: str) -> Night:
    return Night("unused.csv", str(warehouse), (f"listeners.events={folder}", *settings))


def check(night: Night) -> None:
    """Preferences are what the rule makes of the events that the table has."""
    rules, found = night.config().listeners.rules, preferences(night)
    wanted = expected(stored(night), rules)
    assert found.keys() == wanted.keys()
    for key, (preference, confidence) in wanted.items():
        assert (found[key]["preference"], found[key]["confidence"]) == pytest.approx((preference, confidence))


def test_night_by_night_is_as_all_at_once(tmp_path: Path) -> None:
    draw = random.Random(5)
    settings = ("listeners.max_tracks_a_person=4", "listeners.max_refused_share=1")
    night = of_folder(tmp_path / "events", tmp_path / "w", *settings)
    events = unlike(some_events(3, 240, people=9, tracks=6))
    draw.shuffle(events)  # so that late events come in each night
    lengths = {event["track_id"]: event["duration_ms"] for event in events}
    portions = [events[start::4] for start in range(4)]
    known = {name: length for name, length in lengths.items() if name != "t5"}
    catalogues = [known, known, lengths, {**lengths, "t0": 90_000, "t1": None}]
    del catalogues[3]["t2"]
    ways_to_die = [(1, True), (3, True), (2, False), (4, False)]

    for number, (portion, catalogue) in enumerate(zip(portions, catalogues, strict=True)):
        write_tracks(night.warehouse, catalogue)
        written(tmp_path / "events", f"{number}.csv", portion)
        if number == 1:  # a file is delivered again, and another holds some of its events, and some twice
            written(tmp_path / "events", "0.csv", portions[0])
            written(tmp_path / "events", "again.csv", [*portions[0][:20], *portion[:5], *portion[:5]])
        commit, after = ways_to_die[number]
        with killed_at(commit, after=after), pytest.raises(Killed):
            night.run(stages=LISTEN)
        night.run(stages=LISTEN)
        check(night)
        versions = {name: night.reader.table(name).version() for name in TABLES_OF_LISTEN}
        run_id = night.run(stages=LISTEN)
        assert night.stage(run_id, "listen")["status"] == "unchanged"
        assert {name: night.reader.table(name).version() for name in TABLES_OF_LISTEN} == versions

    rebuilt = of_folder(tmp_path / "events", tmp_path / "rebuilt", *settings)
    write_tracks(rebuilt.warehouse, catalogues[-1])
    rebuilt.run(stages=LISTEN)
    assert without_runs(preferences(rebuilt)) == without_runs(preferences(night))
    gone = [row for row in events_of(night) if row["track_id"] == "t2"]
    assert gone  # what was taken in stays, and says something again when the track is back
    assert [row for row in events_of(night) if row["track_id"] != "t2"] == events_of(rebuilt)
    for of in (night, rebuilt):
        assert {row["code"] for row in of.reader.rows("refused_events")} == {"unknown_track", "repeated_event"}
    write_tracks(night.warehouse, lengths)
    write_tracks(rebuilt.warehouse, lengths)
    for of in (night, rebuilt):
        of.run(stages=LISTEN)
        check(of)
    assert without_runs(preferences(rebuilt)) == without_runs(preferences(night))
    assert events_of(rebuilt) == events_of(night)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Night, Path, list[Event]]:
    """A folder of two files, and a warehouse after a night. Not to be changed."""
    folder = tmp_path_factory.mktemp("heard")
    events = unlike(some_events(8, 120, people=5, tracks=4))
    written(folder / "events", "1.csv", events[:80])
    written(folder / "events", "2.csv", events[80:])
    night = of_folder(folder / "events", folder / "w")
    write_tracks(night.warehouse, {event["track_id"]: event["duration_ms"] for event in events})
    night.run(stages=LISTEN)
    return night, folder / "events", events


def copied(heard: tuple[Night, Path, list[Event]], tmp_path: Path, *settings: str) -> tuple[Night, Path]:
    import shutil

    night, folder, _ = heard
    shutil.copytree(night.warehouse, tmp_path / "w")
    shutil.copytree(folder, tmp_path / "events")
    return of_folder(tmp_path / "events", tmp_path / "w", *settings), tmp_path / "events"


def test_without_events_there_is_no_stage(tmp_path: Path) -> None:
    night = Night("unused.csv", str(tmp_path / "w"))
    write_tracks(night.warehouse, {"t": 1})
    night.run(stages=LISTEN)
    assert not night.reader.rows("runs")


def test_events_of_any_source_make_the_same(
    heard: tuple[Night, Path, list[Event]], tmp_path: Path, s3: S3Server
) -> None:
    first, folder, events = heard
    check(first)
    rows = [{name: event[name] for name in COLUMNS} for event in events]
    table = pa.Table.from_pylist(rows)
    times = table["ts"].cast(pa.timestamp("us"))
    table = table.set_column(table.column_names.index("ts"), "TS", times)
    (tmp_path / "parquet" / "day=1").mkdir(parents=True)
    pq.write_table(table.slice(0, 50), tmp_path / "parquet" / "day=1" / "a.parquet")
    pq.write_table(table.slice(50), tmp_path / "parquet" / "b.parquet")
    s3.create_bucket("people")
    for file in folder.iterdir():
        s3.client().put_object(Bucket="people", Key=f"events/{file.name}", Body=file.read_bytes())
    places = (f"storage.endpoint_url={s3.endpoint_url}", "storage.path_style=true")
    deltalake.write_deltalake(str(tmp_path / "delta"), table.slice(0, 60), partition_by=["kind"])
    lengths = {event["track_id"]: event["duration_ms"] for event in events}
    for number, source in enumerate((tmp_path / "parquet", tmp_path / "delta", "s3://people/events/")):
        night = Night("unused.csv", f"{tmp_path}/{number}", (f"listeners.events={source}", *places))
        write_tracks(night.warehouse, lengths)
        run_id = night.run(stages=LISTEN)
        if number == 1:
            deltalake.write_deltalake(str(source), table.slice(60), mode="append")
            again = night.run(stages=LISTEN)
            assert night.stage(again, "listen")["rows_in"] == len(events) - 60
        assert without_runs(preferences(night)) == without_runs(preferences(first))
        assert events_of(night) == events_of(first)
        assert night.stage(run_id, "listen")["rows_failed"] == 0


def test_only_the_people_with_new_events_are_written(
    heard: tuple[Night, Path, list[Event]], tmp_path: Path
) -> None:
    night, folder = copied(heard, tmp_path)
    before = preferences(night)
    newest = max(event["ts"] for event in heard[2] if event["user_id"] == "u1")
    fresh = dict.fromkeys(COLUMNS) | {"user_id": "u1", "track_id": "t1", "kind": "like", "ts": newest}
    written(folder, "3.csv", [fresh])
    run_id = night.run(stages=LISTEN)
    check(night)
    after = preferences(night)
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed == {("u1", "t1")}
    assert after["u1", "t1"]["run_id"] == run_id
    report = night.stage(run_id, "listen")["details"]
    told = {name: report[name] for name in ("events_new", "people_changed", "preferences_written")}
    assert set(told.values()) == {"1"}

    run_id = night.run("listeners.half_life_days=30", stages=LISTEN)
    others = {key for key, row in preferences(night).items() if row["confidence"] != after[key]["confidence"]}
    assert {user for user, _ in others} == {f"u{number}" for number in range(5)}
    check(Night(night.catalogue, night.warehouse, (*night.settings, "listeners.half_life_days=30")))


def test_what_cannot_be_used_is_kept_by_its_code_until_it_is_right(
    heard: tuple[Night, Path, list[Event]], tmp_path: Path
) -> None:
    night, folder = copied(heard, tmp_path)
    day = {"user_id": "x", "track_id": "t1", "kind": "play", "ts": "2026-05-01T10:00:00Z"}
    wrong = {
        "unknown_track": {"track_id": "none"},
        "unknown_kind": {"kind": "hate"},
        "no_user": {"user_id": ""},
        "no_track": {"track_id": ""},
        "no_time": {"ts": "soon"},
        "future_time": {"ts": "2200-01-01"},
        "no_value": {"kind": "rating"},
    }
    rows = [*(day | changed for changed in wrong.values()), day, day]
    text = "\n".join([",".join(day), *(",".join(row.values()) for row in rows)])
    (folder / "3.csv").write_text(text, encoding="utf-8")
    (folder / "4.csv").write_text("user_id,track_id,kind,ts\nx,t1,play,2026-05-02\nx,t1\n", encoding="utf-8")

    before = {name: night.reader.table(name).version() for name in TABLES_OF_LISTEN}
    with pytest.raises(
        EventsError, match=r"7 of 8 new events of .* cannot be used \(1 no_user, .*1 unknown_track"
    ) as told:
        night.run("listeners.always_refusable=0", stages=LISTEN)
    assert "\n" not in str(told.value)
    assert {name: night.reader.table(name).version() for name in TABLES_OF_LISTEN} == before

    run_id = night.run(stages=LISTEN)
    refused = {row["code"]: row for row in night.reader.rows("refused_events")}
    assert refused.keys() == wrong.keys() | {"repeated_event", "unreadable_file"}
    assert "ts 'soon'" in refused["no_time"]["message"]
    assert refused["unknown_track"]["track_id"] == "none"
    assert "have not the 4 cells of its header" in refused["unreadable_file"]["message"]
    stage = night.stage(run_id, "listen")
    assert (stage["rows_out"], stage["rows_failed"]) == (1, 9)
    assert {row["uri"].rpartition("/")[2] for row in night.reader.rows("event_files")} == {
        "1.csv",
        "2.csv",
        "3.csv",
    }

    # the catalogue learns of the track, and the file is mended; the others of its rows are told as before
    lengths = {event["track_id"]: event["duration_ms"] for event in heard[2]}
    write_tracks(night.warehouse, lengths | {"none": None})
    (folder / "4.csv").write_text("user_id,track_id,kind,ts\nx,t1,play,2026-05-02\n", encoding="utf-8")
    night.run("listeners.always_refusable=0", stages=LISTEN)
    codes = {row["code"] for row in night.reader.rows("refused_events")}
    assert codes == (wrong.keys() | {"repeated_event"}) - {"unknown_track"}
    assert {track for user, track in preferences(night) if user == "x"} == {"none", "t1"}
    check(night)
    # a file that grows is read whole: what was wrong with it then does not stop a night
    (folder / "3.csv").write_text(f"{text}\nx,t2,save,2026-05-03\n", encoding="utf-8")
    run_id = night.run("listeners.always_refusable=0", stages=LISTEN)
    assert night.stage(run_id, "listen")["rows_out"] == 1
    assert {row["code"] for row in night.reader.rows("refused_events")} == codes


def test_events_that_cannot_be_reached_are_told_in_one_line_before_anything_is_written(tmp_path: Path) -> None:
    night = of_folder(tmp_path / "none", tmp_path / "w")
    with pytest.raises(EventsError, match="there are no events at") as told:
        night.run(stages=LISTEN)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "w").exists()


@pytest.fixture
def key(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key in the environment of this process, and in that of the workers, as a session sees to."""
    monkeypatch.setenv(HASH_KEY, KEY)
    monkeypatch.setitem(spark.sparkContext.environment, HASH_KEY, KEY)


def test_people_are_stored_by_a_keyed_hash(
    heard: tuple[Night, Path, list[Event]], tmp_path: Path, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, folder, events = heard
    night = of_folder(folder, tmp_path / "w", "listeners.hash_users=true")
    write_tracks(
        night.warehouse, {event["track_id"]: event["duration_ms"] for event in events if event["track_id"] != "t3"}
    )
    night.run(stages=LISTEN)
    lengths = {event["track_id"]: event["duration_ms"] for event in events}
    write_tracks(night.warehouse, lengths)
    night.run(stages=LISTEN)
    people = {f"u{number}": hashed(f"u{number}", KEY.encode()) for number in range(5)}
    found, clear = preferences(night), preferences(first)
    # events of one moment are added up in the order of their ids, which are other ones
    assert {key: row["preference"] for key, row in found.items()} == pytest.approx(
        {(people[user], track): row["preference"] for (user, track), row in clear.items()}, abs=1e-12
    )
    for name in PERSONAL:
        assert {row["user_id"] for row in night.reader.rows(name)} <= set(people.values())
    for file in Path(night.warehouse).rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()
    with pytest.raises(ConfigError, match=r"people were stored with listeners\.hash_users=true, and it is false"):
        night.run("listeners.hash_users=false", stages=LISTEN)
    # who is to be forgotten is named as the events name them
    deleted = forget(night, "u2")
    assert f"events: {sum(event['user_id'] == 'u2' for event in events)} rows deleted." in deleted
    assert people["u2"] not in {row["user_id"] for row in night.reader.rows("events")}
    monkeypatch.delenv(HASH_KEY)
    with pytest.raises(ConfigError, match=f"the environment variable {HASH_KEY} is not set"):
        night.run(stages=LISTEN)


def forget(night: Night, *arguments: str) -> str:
    settings = [text for setting in night.settings for text in ("--set", setting)]
    result = CliRunner().invoke(main, ["forget", *arguments, "--warehouse", night.warehouse, *settings])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_who_is_forgotten_is_gone_and_stays_away(heard: tuple[Night, Path, list[Event]], tmp_path: Path) -> None:
    night, folder = copied(heard, tmp_path)
    events = heard[2]
    odd = dict.fromkeys(COLUMNS) | {"user_id": "u0", "track_id": "none", "kind": "like", "ts": NOW}
    written(folder, "3.csv", [odd])
    run_id = night.run(stages=LISTEN)
    before = preferences(night)
    assert {row["user_id"] for row in night.reader.rows("refused_events")} == {"u0"}

    (tmp_path / "left.txt").write_text("u0\n\n u1 \n", encoding="utf-8")
    told = forget(night, "--file", str(tmp_path / "left.txt"), "nobody of this name")
    theirs = [event for event in events if event["user_id"] in ("u0", "u1")]
    assert f"events: {len(theirs)} rows deleted." in told
    assert "refused_events: 1 rows deleted." in told
    assert all(f"{name}: " in told for name in PERSONAL)
    after = preferences(night)
    assert after == {key: row for key, row in before.items() if key[0] not in ("u0", "u1")}
    assert len(night.reader.rows("forgotten")) == 3
    assert "u0" not in str(night.reader.rows("forgotten")) + str(night.reader.rows("runs"))

    # nights go on as before; a file that changes does not bring them back, nor does a rollback
    version = night.reader.table("preferences").version()
    assert night.stage(night.run(stages=LISTEN), "listen")["status"] == "unchanged"
    assert night.reader.table("preferences").version() == version
    written(folder, "1.csv", [*events[:80], odd | {"track_id": "t1"}])
    again = night.run(stages=LISTEN)
    assert night.stage(again, "listen")["details"]["events_refused"] == (
        f"{sum(event['user_id'] in ('u0', 'u1') for event in events[:80]) + 1} forgotten"
    )
    assert preferences(night) == after
    rollback(night.config(), run_id)
    assert preferences(night) == after
    for name in PERSONAL:
        assert not {"u0", "u1"} & {row["user_id"] for row in night.reader.rows(name)}


def test_a_table_that_begins_anew_is_made_of_all_files_again(
    heard: tuple[Night, Path, list[Event]], tmp_path: Path
) -> None:
    night, _ = copied(heard, tmp_path)
    before = without_runs(preferences(night)), events_of(night)
    arguments = ["repair", "events", "--warehouse", night.warehouse]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    night.run(stages=LISTEN)
    assert (without_runs(preferences(night)), events_of(night)) == before
    # what somebody else changed is undone
    deltalake.DeltaTable(f"{night.warehouse}/preferences").delete("user_id = 'u1'")
    deltalake.DeltaTable(f"{night.warehouse}/events").delete("user_id = 'u2'")
    night.run(stages=LISTEN)
    assert (without_runs(preferences(night)), events_of(night)) == before
