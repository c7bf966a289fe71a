"""Ingest: the catalogue becomes ``tracks``, each with the fingerprint of its audio."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from specrec.catalogue.sources import audio_root, find_source
from specrec.catalogue.spark import (
    Source,
    audio_files,
    bytes_in,
    changes_of_tracks,
    conform,
    count_rows,
    counted,
    differences,
    fingerprints,
    folder_catalogue,
    one_row_a_track,
    places_that_fail,
    read_table,
    rows_that_fail,
    unread_places,
    with_audio_uri,
    with_files,
    with_known_files,
)
from specrec.config import Config
from specrec.errors import CatalogueError, ConfigError
from specrec.logs import get_logger
from specrec.pipeline.chosen import among, chosen_tracks, with_others
from specrec.pipeline.kept import Kept
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.storage import open_store


def check_sources(config: Config) -> None:
    """Raise, in one line, if the catalogue or its audio cannot be reached. Nothing is written."""
    if not config.catalogue.path:
        raise ConfigError("the configuration lacks 'catalogue.path': what shall be read?")
    root = audio_root(config.catalogue)
    open_store(root, config.storage).check(root)
    find_source(config.catalogue, config.storage)


def check_catalogue(spark: SparkSession, config: Config) -> None:
    """Raise, in one line, if the catalogue cannot be read or lacks a column. Nothing is written."""
    kind = find_source(config.catalogue, config.storage)
    if kind != "folder":
        conform(_read(spark, config, kind).rows)


def _read(spark: SparkSession, config: Config, kind: str) -> Source:
    return read_table(spark, config.catalogue.path, kind, config.storage, **config.catalogue.written)


def ingest(run: Run) -> None:
    """Bring ``tracks`` up to date with the catalogue: new, changed and deleted tracks.

    Raises
    ------
    CatalogueError
        If the catalogue cannot be read, lacks a column, is empty, or lost more than
        ``catalogue.max_removed_share`` of its tracks or of their audio; nothing was deleted then.
    """
    with run.stage("ingest") as report, ExitStack() as stack:

        def keep(frame: DataFrame) -> DataFrame:
            """Have a frame computed only once, such as a folder that is listed and its tags that are read."""
            stack.callback(frame.unpersist)
            return frame.persist(StorageLevel.MEMORY_AND_DISK)

        config, storage, spark = run.config.catalogue, run.config.storage, run.warehouse.spark
        root, known, only = audio_root(config), run.warehouse.read("tracks"), chosen_tracks(run)
        kind = find_source(config, storage)
        if kind == "folder":
            listed = keep(audio_files(spark, root, storage))
            files, has_faults = _usable(listed, known)
            rows = keep(folder_catalogue(files, known, root, storage))
            placed = among(one_row_a_track(rows), only)
        else:
            source = _read(spark, run.config, kind)
            rows = keep(conform(source.rows))
            left_out = ", ".join(
                f"{name} ({of})" for name, of in {**source.left_out, **bytes_in(source.rows)}.items()
            )
            if left_out:
                report.details["columns_left_out"] = left_out
            named = among(one_row_a_track(rows.where("track_id is not null")), only)
            placed = keep(with_audio_uri(named, root))
            listed = keep(fingerprints(placed, root, storage))
            files, has_faults = _usable(listed, known)
        tracks = keep(with_files(placed, files, has_faults))
        failing = rows_that_fail(rows, tracks, root)
        if has_faults:
            places = listed if kind == "folder" else unread_places(listed, tracks)
            failing = failing.unionByName(places_that_fail(places, root))
        failing, tracks = among(failing, only), with_others(tracks, known, only)
        counts = count_rows(rows)
        report.rows_in, report.rows_failed = counts.rows, counts.rows - counts.named
        report.count_each("unread_values", counts.unread)
        if counts.unread:
            told = report.details["unread_values"]
            get_logger().bind(run_id=run.run_id, stage="ingest").warning("not_all_is_readable", values=told)
        changes = _report_changes(run, tracks, report)
        if only is None:
            report.count("repeated_rows", counts.named - (report.rows_out or 0))
        else:
            report.count("chosen_tracks", only.count())
        # what lies beside the files of a catalogue is nobody's concern
        if kind == "folder":
            report.count_each("left_out", counted(listed, "left_out"))
        _quarantine(run, failing, report, only)
        if changes.added or changes.changed or changes.removed:
            _write(run, tracks, is_first=not changes.before)
        else:
            report.unchanged()


def _write(run: Run, tracks: DataFrame, *, is_first: bool) -> None:
    warehouse = run.warehouse
    stamped = tracks.withColumns({"run_id": F.lit(run.run_id), "updated_at": F.lit(datetime.now(UTC))})
    if is_first:  # in the order in which later nights change them
        warehouse.append("tracks", stamped.repartitionByRange("track_id").sortWithinPartitions("track_id"))
        return
    with Kept() as kept:
        changes, _ = kept.count(changes_of_tracks(warehouse.read("tracks"), stamped))
        warehouse.change("tracks", changes, ("track_id",), (), {})


def _usable(listed: DataFrame, known: DataFrame) -> tuple[DataFrame, bool]:
    """Return the files to go on with, and whether the listing met anything that cannot be used.

    In most nights it met nothing, and then there is nothing to join with what was known before.
    """
    has_faults = not listed.where("code is not null").isEmpty()
    return (with_known_files(listed, known) if has_faults else listed), has_faults


def _report_changes(run: Run, tracks: DataFrame, report: StageReport) -> Row:
    """Report how the tracks differ from last night's; return the counts of :func:`differences`.

    Raises
    ------
    CatalogueError
        If there are none, or too many are gone.
    """
    counts = differences(run.warehouse.read("tracks"), tracks).first()
    assert counts is not None
    report.rows_out = counts.now
    for name in ("added", "changed", "removed", "lost_audio"):
        report.count(name, counts[name])
    if not counts.now:
        raise CatalogueError(f"the catalogue {run.config.catalogue.path} holds no track")
    limits = run.config.catalogue
    for what, lost, of in (
        ("tracks", counts.removed, counts.before),
        ("audio files", counts.lost_audio, counts.had_audio),
    ):
        is_few = lost <= limits.always_removable and lost * 2 <= of
        if lost > limits.max_removed_share * of and not is_few:
            raise CatalogueError(
                f"{lost} of {of} {what} are gone since the last run, more than catalogue.max_removed_share="
                f"{limits.max_removed_share:g} allows; nothing was deleted. If they are meant to be gone, run once "
                "with --set catalogue.max_removed_share=1"
            )
    return counts


def _quarantine(run: Run, failing: DataFrame, report: StageReport, only: DataFrame | None) -> None:
    """Note what cannot be used, row, file or folder, in place of last night's, and report how much that is."""
    same = ["track_id", "code", "audio_uri"]
    old = among(run.warehouse.read("quarantine").where("stage = 'ingest'").select(*same, "stage"), only)
    compared = failing.join(old, same, "full_outer")
    is_new, is_gone = F.col("stage").isNull(), F.col("message").isNull()
    by_code = compared.groupBy("code").agg(
        F.count_if(is_new).alias("new"), F.count_if(is_gone).alias("gone"), F.count_if(~is_gone).alias("now")
    )
    counts = by_code.sort("code").collect()  # one row a code
    new = compared.where(is_new).drop("stage")
    if any(row.gone for row in counts):
        run.warehouse.delete("quarantine", compared.where(is_gone).select("track_id", "stage"))
    if any(row.new for row in counts):
        quarantine(run, new.withColumn("stage", F.lit("ingest")))
    by_code_now = {row.code: row.now for row in counts if row.now}
    report.count_each("quarantined", by_code_now)
    if by_code_now:
        told = report.details["quarantined"]
        get_logger().bind(run_id=run.run_id, stage="ingest").warning("not_all_is_usable", quarantined=told)
    report.rows_failed = sum(row.now for row in counts)
