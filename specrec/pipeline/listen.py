"""Listen: what people did becomes ``events``, and what that says of tracks ``preferences``.

Only files that are new or changed are read. What is in ``events`` stays there, whatever becomes of the files. All
preferences of the people who have new events are made anew from all of their events, so that late events, in
whatever order they come, make the same preferences as if all had come at once; nobody else's are looked at.

A night that dies is made good by the next. ``event_files`` is written last: until then, the files count as unread,
and what was taken in of them is known by its ids. A commit to ``preferences`` remembers the run that made it, and
of which catalogue: people who have events of later runs, or of tracks that are new, gone or of another length
since, are due. So are those of whom later runs refused an event of a track that is not in the catalogue: whoever
went on to that track ended the play before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from specrec.config import Config
from specrec.errors import ConfigError, EventsError
from specrec.events.identity import CLEAR, HASH_KEY, scheme
from specrec.events.preferences import OUTPUT
from specrec.events.rows import AHEAD_MICROSECONDS
from specrec.events.rules import EVENT_CODES, FORGOTTEN, KNOWN
from specrec.events.sources import EventFile, find_files
from specrec.events.spark import (
    DID,
    classified,
    differing,
    judged,
    preferences_of,
    read_events,
    with_ids,
    with_messages,
)
from specrec.listeners.config import ListenersConfig
from specrec.logs import get_logger
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run, StageReport
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import GONE, NEW, TABLES
from specrec.warehouse.tables import Warehouse

#: The key of a preference, and what it says.
_PAIR = ("user_id", "track_id")
_SAID = tuple(name for name in OUTPUT.names if name not in _PAIR)
#: The key of an event that was refused, and what is said of it.
_REFUSAL = ("uri", "event_id")
_REFUSED = tuple(name for name in TABLES["refused_events"].schema.fieldNames() if name not in (*_REFUSAL, "run_id"))

#: What is no fault of the events: a second copy of a file, or a file that cannot be read tonight.
_NO_FAULT = ("repeated_event", "unreadable_file")


def check_events(config: Config) -> None:
    """Raise, in one line, if the events, or the key to hash people with, cannot be had. Nothing is written."""
    listeners = config.listeners
    if listeners.events is not None:
        scheme(listeners.hash_users)
        find_files(listeners.events, listeners.format, config.storage)


def listen(run: Run) -> None:
    """Take in the events that are new, and bring the preferences of the people who did them up to date.

    Raises
    ------
    EventsError
        If the events cannot be reached, or more of the new ones than ``listeners.max_refused_share`` allows cannot
        be used; nothing was written then.
    """
    with run.stage("listen") as report, Kept() as kept:
        before = _Before.of(run)
        files = before.unread(run)
        report.count("files_read", len(files))
        if not files and before.is_current:
            report.rows_in = 0
            report.unchanged()
            return
        rows = _verdicts(run, files, before, kept)
        _check_share(run, rows, report)
        if report.rows_out:
            taken = rows.where("code is null").withColumn("run_id", F.lit(run.run_id))
            run.warehouse.append("events", taken)
        is_changed = _write_refused(run, rows, files, kept)
        is_changed |= _write_preferences(run, before, report, kept)
        is_changed |= _write_files(run, rows, files, before)
        if not is_changed:
            report.unchanged()


@dataclass(frozen=True)
class _Made:
    """Of what preferences were made, as their newest commit remembers it.

    Attributes
    ----------
    settings : str
        The settings and the table of events.
    tracks : str
        The table of tracks, and its version.
    run_id : str
        The run.
    """

    settings: str = ""
    tracks: str = ""
    run_id: str = ""

    @classmethod
    def read(cls, state: str | None) -> _Made:
        parts = (state or "").split(" ")
        return cls(*parts) if len(parts) == 3 else cls()

    def written(self) -> str:
        return f"{self.settings} {self.tracks} {self.run_id}"


@dataclass(frozen=True)
class _Before:
    """What earlier nights left.

    Attributes
    ----------
    made, now : _Made
        Of what preferences were made, and are to be made.
    stored_as : str
        How people are stored.
    read_into : str
        How people are stored, and the tables that files are read into.
    is_read : bool
        Whether ``event_files`` speaks of these tables: not so if one of them began anew.
    """

    made: _Made
    now: _Made
    stored_as: str
    read_into: str
    is_read: bool

    @classmethod
    def of(cls, run: Run) -> _Before:
        """Return what earlier nights left.

        Raises
        ------
        ConfigError
            If people were stored in another way.
        """
        warehouse, listeners = run.warehouse, run.config.listeners
        ids = {name: str(warehouse.table(name).metadata().id) for name in ("events", "refused_events", "tracks")}
        stored_as, into = scheme(listeners.hash_users), f"{ids['events']} {ids['refused_events']}"
        read_into = f"{into} {stored_as}"
        known = warehouse.states("event_files").get("event_files", "")
        if known.startswith(into) and known != read_into:
            _refuse_other_scheme(known.removeprefix(into).strip(), stored_as)
        made = _Made.read(warehouse.states("preferences").get("preferences"))
        tracks = f"{ids['tracks']}@{warehouse.version('tracks')}"
        now = _Made(f"{listeners.preferences_hash}@{ids['events']}", tracks, run.run_id)
        return cls(made, now, stored_as, read_into, known == read_into)

    @property
    def is_current(self) -> bool:
        """Whether neither settings nor tracks changed."""
        return (self.made.settings, self.made.tracks) == (self.now.settings, self.now.tracks)

    def unread(self, run: Run) -> list[EventFile]:
        """Return the files that are new or changed."""
        config = run.config
        assert config.listeners.events is not None
        files = find_files(config.listeners.events, config.listeners.format, config.storage)
        if not self.is_read:
            return files
        rows = Reader(config.warehouse, config.storage).rows("event_files", columns=["uri", "fingerprint"])
        read = {(row["uri"], row["fingerprint"]) for row in rows}
        return [file for file in files if (file.uri, file.fingerprint) not in read]


def _refuse_other_scheme(before: str, now: str) -> None:
    if CLEAR in (before, now):
        was, is_now = (str(of != CLEAR).lower() for of in (before, now))
        what = f"people were stored with listeners.hash_users={was}, and it is {is_now}: set it back, or"
    else:
        what = f"the key in {HASH_KEY} is not the one that people were stored with: set that one, or"
    raise ConfigError(
        f"{what} let all events be read anew after `specrec repair events` and `specrec repair refused_events`"
    )


def _verdicts(run: Run, files: Sequence[EventFile], before: _Before, kept: Kept) -> DataFrame:
    """Return the events that are new, and those looked at again (``is_retried``), each with its code."""
    warehouse = run.warehouse
    tracks, forgotten = warehouse.read("tracks").select("track_id"), _if_any(warehouse, "forgotten")
    events, readable = _if_any(warehouse, "events"), list(files)
    lost: list[Row] = []
    while True:
        rows = _to_judge(run, readable, files, before)
        if events is not None:
            rows, _ = kept.count(rows)
        there = None if events is None else _at_the_time_of(rows, events)
        verdicts = kept.keep(classified(rows, tracks, there, forgotten))
        broken = verdicts.where("code = 'unreadable_file'").dropDuplicates(["uri"]).collect()  # one a file
        if not broken:
            break
        # a file is read whole or not at all: what it gave before it broke is left out
        lost += broken
        for row in broken:
            get_logger().bind(run_id=run.run_id, stage="listen").warning("file_not_read", uri=row.uri, why=row.said)
        readable = [file for file in readable if file.uri not in {row.uri for row in broken}]
    return verdicts.unionByName(warehouse.spark.createDataFrame(lost, verdicts.schema)) if lost else verdicts


def _to_judge(run: Run, readable: Sequence[EventFile], files: Sequence[EventFile], before: _Before) -> DataFrame:
    """Return the events of files, and those of other files that were refused and may be right by now."""
    listeners, storage, warehouse = run.config.listeners, run.config.storage, run.warehouse
    spark, rules, now = warehouse.spark, listeners.rules, int(datetime.now(UTC).timestamp() * 1_000_000)
    written = {"encoding": listeners.encoding, "delimiter": listeners.delimiter}
    rows = read_events(spark, readable, storage, rules, now=now, stored_as=before.stored_as, **written)
    rows = rows.withColumn("is_retried", F.lit(False))
    refused = _if_any(warehouse, "refused_events")
    if refused is not None:
        code = F.col("code")
        may_be_right = (code == "future_time") & (F.unix_micros("ts") <= now + AHEAD_MICROSECONDS)
        if before.made.settings != before.now.settings:
            may_be_right |= code == "value_out_of_range"
        known = refused.where(code == "unknown_track").join(warehouse.read("tracks"), "track_id", "left_semi")
        again = refused.where(may_be_right).unionByName(known)
        if files:
            again = again.join(_named(run, files), "uri", "left_anti")
        rows = rows.unionByName(judged(again, rules, now).withColumn("is_retried", F.lit(True)))
    return with_ids(rows)


def _named(run: Run, files: Sequence[EventFile]) -> DataFrame:
    return run.warehouse.spark.createDataFrame([(file.uri,) for file in files], "uri string")


def _if_any(warehouse: Warehouse, name: str) -> DataFrame | None:
    rows = warehouse.read(name)
    return None if rows.isEmpty() else rows


def _at_the_time_of(rows: DataFrame, events: DataFrame) -> DataFrame:
    """Return the events of the time that rows are of: files of other times are not opened."""
    span = rows.agg(F.min("ts").alias("first"), F.max("ts").alias("last")).first()
    assert span is not None
    return events.where(F.col("ts").between(F.lit(span["first"]), F.lit(span["last"]))).select("event_id")


def _check_share(run: Run, rows: DataFrame, report: StageReport) -> None:
    """Report what the verdicts are, and raise if too many of the new events cannot be used."""
    listeners = run.config.listeners
    found = rows.groupBy("is_retried", "code").count().collect()  # one row a code
    read = {row.code: row["count"] for row in found if not row.is_retried}
    retried = sum(row["count"] for row in found if row.is_retried and row.code is None)
    unusable = {code: read[code] for code in EVENT_CODES if code in read}
    accepted = read.get(None, 0)
    report.rows_in = sum(read.values())
    report.rows_out, report.rows_failed = accepted + retried, sum(unusable.values())
    report.count("events_new", report.rows_out)
    report.count("events_known", read.get(KNOWN, 0))
    told = unusable | ({FORGOTTEN: read[FORGOTTEN]} if FORGOTTEN in read else {})
    report.count_each("events_refused", told)
    if told:
        said = report.details["events_refused"]
        get_logger().bind(run_id=run.run_id, stage="listen").warning("not_all_is_usable", events_refused=said)
    faulty = {code: count for code, count in unusable.items() if code not in _NO_FAULT}
    refused = sum(faulty.values())
    if _is_too_much(refused, accepted, listeners):
        # files that grew are read whole again: what they had then, was told then
        known = run.warehouse.read("refused_events").select("event_id")
        new = rows.where(~F.col("is_retried") & F.col("code").isin(*faulty)).join(known, "event_id", "left_anti")
        refused = new.count()
    if _is_too_much(refused, accepted, listeners):
        why = ", ".join(f"{count} {code}" for code, count in faulty.items())
        raise EventsError(
            f"{refused} of {refused + accepted} new events of {listeners.events} cannot be used ({why}), more than "
            f"listeners.max_refused_share={listeners.max_refused_share:g} allows; nothing was written. If that is "
            "as it should be, run once with --set listeners.max_refused_share=1"
        )


def _is_too_much(refused: int, accepted: int, listeners: ListenersConfig) -> bool:
    return refused > max(listeners.always_refusable, listeners.max_refused_share * (refused + accepted))


def _write_refused(run: Run, rows: DataFrame, files: Sequence[EventFile], kept: Kept) -> bool:
    """Bring ``refused_events`` up to date with the verdicts; return whether anything changed."""
    table = run.warehouse.read("refused_events")
    is_refused = F.col("code").isin(*EVENT_CODES) & ~(F.col("is_retried") & (F.col("code") == "repeated_event"))
    refused = with_messages(rows.where(is_refused)).dropDuplicates([*_REFUSAL])
    if table.isEmpty() and refused.isEmpty():
        return False
    looked_at = rows.where("is_retried").select(*_REFUSAL)
    before = table.join(looked_at, list(_REFUSAL), "left_semi")
    if files:
        before = before.unionByName(table.join(_named(run, files), "uri", "left_semi"))
    changes = kept.keep(differing(before, refused, _REFUSAL, _REFUSED).withColumn("run_id", F.lit(run.run_id)))
    if changes.isEmpty():
        return False
    run.warehouse.change("refused_events", changes, _REFUSAL, (), {})
    return True


def _write_preferences(run: Run, before: _Before, report: StageReport, kept: Kept) -> bool:
    """Bring ``preferences`` up to date with ``events``; return whether anything changed."""
    warehouse, rules, state = run.warehouse, run.config.listeners.rules, {"preferences": before.now.written()}
    events, tracks = what_people_did(warehouse), warehouse.read("tracks").select("track_id", "duration_ms")
    stamp = {"run_id": F.lit(run.run_id)}
    due = _people_due(run, before, kept)
    if due is None:
        made = preferences_of(events, tracks, rules, events.count()).sortWithinPartitions(*_PAIR)
        warehouse.replace("preferences", made.withColumns(stamp), state["preferences"])
        written = warehouse.read("preferences").agg(
            F.count("*").alias("n"), F.countDistinct("user_id").alias("people")
        )
        counts = written.first()
        assert counts is not None
        report.count("people_changed", counts.people)
        report.count("preferences_written", counts.n)
        return True
    people, count = due
    report.count("people_changed", count)
    if not count and before.is_current:
        return False
    theirs, of_theirs = kept.count(events.join(people, "user_id", "left_semi"))
    now = preferences_of(theirs, tracks, rules, of_theirs)
    old = warehouse.read("preferences").join(people, "user_id", "left_semi")
    changes = kept.keep(differing(old, now, _PAIR, _SAID).withColumns(stamp))
    changed = warehouse.change("preferences", changes, _PAIR, (), state)
    report.count("preferences_written", changed.get(("", NEW), 0))
    report.count("preferences_gone", changed.get(("", GONE), 0))
    return bool(changed)


def what_people_did(warehouse: Warehouse) -> DataFrame:
    """Return what people did, and the run that took it in or refused it: also with tracks of no catalogue yet."""
    foreign = warehouse.read("refused_events").where("code = 'unknown_track'").dropDuplicates(["event_id"])
    return warehouse.read("events").select(*DID, "run_id").unionByName(foreign.select(*DID, "run_id"))


def _people_due(run: Run, before: _Before, kept: Kept) -> tuple[DataFrame, int] | None:
    """Return the people whose preferences are out of date, and how many they are; None: all are."""
    if before.made.settings != before.now.settings:
        return None
    events = what_people_did(run.warehouse)
    is_new = (F.col("run_id") > before.made.run_id) | (F.col("run_id") == run.run_id)
    people = events.where(is_new).select("user_id")
    if before.made.tracks != before.now.tracks:
        changed = _changed_tracks(run, before, kept)
        if changed is None:
            return None
        tracks, count = changed
        if count:
            people = people.unionByName(events.join(tracks, "track_id", "left_semi").select("user_id"))
    return kept.count(people.distinct())


def _changed_tracks(run: Run, before: _Before, kept: Kept) -> tuple[DataFrame, int] | None:
    """Return the tracks that are new, gone, or of another length since preferences were made, and how many.

    None: what the catalogue was then is not known any more.
    """
    table, _, version = before.made.tracks.rpartition("@")
    if table != before.now.tracks.rpartition("@")[0]:
        return None
    now = run.warehouse.read("tracks").select("track_id", F.struct("duration_ms").alias("_now"))
    try:
        then = run.warehouse.read("tracks", int(version)).select("track_id", F.struct("duration_ms").alias("_then"))
        both = then.join(now, "track_id", "full_outer")
        return kept.count(both.where(~F.col("_now").eqNullSafe(F.col("_then"))).select("track_id"))
    except PySparkException:  # files or log entries of that version were cleaned up
        return None


def _write_files(run: Run, rows: DataFrame, files: Sequence[EventFile], before: _Before) -> bool:
    """Note which files were read, last of all; return whether there were any."""
    if not files:
        return False
    per_file = (
        rows.where(~F.col("is_retried"))
        .groupBy("uri")
        .agg(
            F.count("*").alias("rows"),
            F.count_if(F.col("code").isNull()).alias("accepted"),
            F.count_if(F.col("code") == KNOWN).alias("known"),
            F.count_if(F.col("code").isin(*EVENT_CODES)).alias("refused"),
            F.count_if(F.col("code") == "unreadable_file").alias("unreadable"),
        )
    )
    counts = {row.uri: row.asDict() for row in per_file.collect()}  # one row a file
    nothing = dict.fromkeys(("rows", "accepted", "known", "refused", "unreadable"), 0)
    now = datetime.now(UTC)
    read = [
        nothing | counts.get(file.uri, {}) | {
            "uri": file.uri, "fingerprint": file.fingerprint, "run_id": run.run_id, "read_at": now,
        }
        for file in files
    ]  # fmt: skip
    schema = TABLES["event_files"].schema
    noted = [{name: row[name] for name in schema.fieldNames()} for row in read if not row["unreadable"]]
    if not noted:
        return False
    if before.is_read:
        run.warehouse.append_few("event_files", noted, {"event_files": before.read_into})
    else:
        frame = run.warehouse.spark.createDataFrame([tuple(row.values()) for row in noted], schema)
        run.warehouse.replace("event_files", frame, before.read_into)
    return True
