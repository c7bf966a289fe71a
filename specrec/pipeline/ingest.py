"""Ingest: the catalogue becomes ``tracks``, each with the fingerprint of its audio."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from specrec.catalogue.sources import audio_root, find_source
from specrec.catalogue.spark import (
    audio_files,
    conform,
    differences,
    folder_catalogue,
    one_row_a_track,
    read_table,
    rows_that_fail,
    with_audio_uri,
    with_files,
)
from specrec.config import Config
from specrec.errors import CatalogueError, ConfigError
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
        conform(read_table(spark, config.catalogue.path, kind))


def ingest(run: Run) -> None:
    """Bring ``tracks`` up to date with the catalogue: new, changed and deleted tracks.

    Raises
    ------
    CatalogueError
        If the catalogue cannot be read, lacks a column, is empty, or lost more than
        ``catalogue.max_removed_share`` of its tracks or of their audio; nothing was deleted then.
    """
    with run.stage("ingest") as report:
        rows = _read(run).persist(StorageLevel.MEMORY_AND_DISK)  # so that a folder's tags are read only once
        named = rows.where("track_id is not null")
        root = audio_root(run.config.catalogue)
        tracks = with_audio_uri(one_row_a_track(named), root)
        tracks = with_files(tracks, run.config.storage).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counts = rows.agg(F.count("*").alias("rows"), F.count("track_id").alias("named")).first()
            assert counts is not None
            report.rows_in, report.rows_failed = counts.rows, counts.rows - counts.named
            changes = _report_changes(run, tracks, report)
            report.details["repeated_rows"] = counts.named - (report.rows_out or 0)
            _quarantine(run, rows, tracks)
            if changes.added or changes.changed or changes.removed:
                stamped = tracks.withColumns({"run_id": F.lit(run.run_id), "updated_at": F.lit(datetime.now(UTC))})
                if changes.before:
                    run.warehouse.synchronise("tracks", stamped, changed="row_hash")
                else:  # an append takes a tenth of what a merge does
                    run.warehouse.append("tracks", stamped)
            else:
                report.unchanged()
        finally:
            tracks.unpersist()
            rows.unpersist()


def _read(run: Run) -> DataFrame:
    config, spark = run.config.catalogue, run.warehouse.spark
    kind = find_source(config, run.config.storage)
    if kind == "folder":
        root = audio_root(config)
        files = audio_files(spark, root, run.config.storage)
        raw = folder_catalogue(files, run.warehouse.read("tracks"), root, run.config.storage)
    else:
        raw = read_table(spark, config.path, kind)
    return conform(raw)


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
    report.details |= {name: counts[name] for name in ("added", "changed", "removed", "lost_audio")}
    if not counts.now:
        raise CatalogueError(f"the catalogue {run.config.catalogue.path} holds no track")
    for what, lost, of in (
        ("tracks", counts.removed, counts.before),
        ("audio files", counts.lost_audio, counts.had_audio),
    ):
        if lost > run.config.catalogue.max_removed_share * of:
            raise CatalogueError(
                f"{lost} of {of} {what} are gone since the last run, more than catalogue.max_removed_share="
                f"{run.config.catalogue.max_removed_share:g} allows; nothing was deleted. If they are meant to be "
                "gone, run once with --set catalogue.max_removed_share=1"
            )
    return counts


def _quarantine(run: Run, rows: DataFrame, tracks: DataFrame) -> None:
    """Note the rows without a track_id and the paths that leave the root, in place of last night's."""
    failing = rows_that_fail(rows, tracks, audio_root(run.config.catalogue))
    same = ["track_id", "code", "audio_uri"]
    old = run.warehouse.read("quarantine").where("stage = 'ingest'").select(*same, "stage")
    compared = failing.join(old, same, "full_outer")
    is_new, is_gone = F.col("stage").isNull(), F.col("message").isNull()
    counts = compared.agg(F.count_if(is_new).alias("new"), F.count_if(is_gone).alias("gone")).first()
    assert counts is not None
    new = compared.where(is_new).drop("stage")
    if counts.gone:
        run.warehouse.delete("quarantine", compared.where(is_gone).select("track_id", "stage"))
    if counts.new:
        quarantine(run, new.withColumn("stage", F.lit("ingest")))
