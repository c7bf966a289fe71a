"""Ingest: the catalogue becomes ``tracks``, each with the fingerprint of its audio."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.catalogue.files import audio_files, fingerprints, folder_catalogue
from specrec.catalogue.sources import (
    audio_root,
    conform,
    one_row_a_track,
    read_table,
    source_format,
    with_audio_uri,
)
from specrec.config import Config
from specrec.errors import CatalogueError
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.storage import Location, open_store
from specrec.warehouse.schemas import TRACKS

_NOT_HASHED = ("row_hash", "run_id", "updated_at")


def check_sources(config: Config) -> None:
    """Raise, in one line, if the catalogue or its audio cannot be reached. Nothing is written."""
    root = audio_root(config.catalogue)
    open_store(root, config.storage).check(root)
    _kind_of_path(config)


def check_catalogue(spark: SparkSession, config: Config) -> None:
    """Raise, in one line, if the catalogue cannot be read or lacks a column. Nothing is written."""
    kind = _kind_of_path(config)
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
        rows = _read(run).persist(StorageLevel.MEMORY_AND_DISK)  # a folder's tags are read but once
        named = rows.where("track_id is not null")
        root = audio_root(run.config.catalogue)
        tracks = _with_audio(one_row_a_track(named), root, run.config).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counts = rows.agg(F.count("*").alias("rows"), F.count("track_id").alias("named")).first()
            assert counts is not None
            report.rows_in, report.rows_failed = counts.rows, counts.rows - counts.named
            changed = _compare(run, tracks, report)
            report.details["repeated_rows"] = counts.named - (report.rows_out or 0)
            _quarantine(run, rows, tracks)
            if changed:
                stamped = tracks.withColumns({"run_id": F.lit(run.run_id), "updated_at": F.lit(datetime.now(UTC))})
                run.warehouse.synchronise("tracks", stamped, changed="row_hash")
            else:
                report.unchanged()
        finally:
            tracks.unpersist()
            rows.unpersist()


def _read(run: Run) -> DataFrame:
    config, spark = run.config.catalogue, run.warehouse.spark
    kind = _kind_of_path(run.config)
    if kind == "folder":
        root = audio_root(config)
        files = audio_files(spark, root, run.config.storage)
        raw = folder_catalogue(files, run.warehouse.read("tracks"), root, run.config.storage)
    else:
        raw = read_table(spark, config.path, kind)
    return conform(raw)


def _kind_of_path(config: Config) -> str:
    """Return the catalogue's kind, having looked at the path where its name does not tell."""
    path = config.catalogue.path
    store = open_store(path, config.storage)
    kind = source_format(config.catalogue, is_folder_of_audio=False)
    guessed = kind == "delta" and config.catalogue.format == "auto"
    if guessed and not any(folder.endswith("/_delta_log") for folder in store.folders(path)):
        kind = "folder"
    if kind == "folder":
        store.check(path)
    elif not store.exists(path):
        raise CatalogueError(f"there is no catalogue {path}: set catalogue.path")
    return kind


def _with_audio(tracks: DataFrame, root: Location, config: Config) -> DataFrame:
    tracks = with_audio_uri(tracks, root)
    files = fingerprints(tracks, config.storage)
    tracks = tracks.join(files, "audio_uri", "left").withColumn("has_audio", F.col("audio_fingerprint").isNotNull())
    hashed = [name for name in TRACKS.fieldNames() if name not in _NOT_HASHED]
    # a map has no order of its own, and must not have one in the hash
    plain = [F.map_entries(name).alias(name) if name == "extra" else F.col(name) for name in hashed]
    plain = [
        F.array_sort(column).alias("extra") if name == "extra" else column
        for name, column in zip(hashed, plain, strict=True)
    ]
    return tracks.withColumn("row_hash", F.sha2(F.to_json(F.struct(*plain)), 256))


def _compare(run: Run, tracks: DataFrame, report: StageReport) -> bool:
    """Report how the tracks differ from last night's; return whether they do at all.

    Raises
    ------
    CatalogueError
        If there are none, or too many are gone.
    """
    before = run.warehouse.read("tracks").select(
        "track_id", F.col("row_hash").alias("old_hash"), F.col("has_audio").alias("had_audio")
    )
    now = tracks.select("track_id", "row_hash", "has_audio")
    added = F.col("old_hash").isNull()
    removed = F.col("row_hash").isNull()
    lost_audio = F.col("had_audio") & ~F.coalesce(F.col("has_audio"), F.lit(False))
    counts = (
        before.join(now, "track_id", "full_outer")
        .agg(
            F.count_if(added).alias("added"),
            F.count_if(removed).alias("removed"),
            F.count_if(F.col("row_hash") != F.col("old_hash")).alias("changed"),
            F.count_if(lost_audio).alias("lost_audio"),
            F.count_if(F.col("had_audio")).alias("had_audio"),
            F.count_if(~added).alias("before"),
            F.count_if(~removed).alias("now"),
        )
        .first()
    )
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
    return bool(counts.added or counts.changed or counts.removed)


def _quarantine(run: Run, rows: DataFrame, tracks: DataFrame) -> None:
    """Note the rows without a track_id and the paths that leave the root, in place of last night's."""
    nameless = rows.where("track_id is null").select(
        F.concat(F.lit("row "), F.sha2(F.to_json(F.struct(*(c for c in rows.columns if c != "extra"))), 256)).alias(
            "track_id"
        ),
        F.coalesce("audio", F.lit("")).alias("audio_uri"),  # never null: rows are told apart by it
        F.lit("missing_track_id").alias("code"),
        F.lit("the catalogue's row has no track_id: give it one").alias("message"),
    )
    root = audio_root(run.config.catalogue)
    outside = tracks.where("audio is not null and audio_uri is null").select(
        "track_id",
        F.col("audio").alias("audio_uri"),
        F.lit("forbidden_path").alias("code"),
        F.lit(f"only files under {root} are read: move the file or correct the catalogue").alias("message"),
    )
    same = ["track_id", "code", "audio_uri"]
    old = run.warehouse.read("quarantine").where("stage = 'ingest'").select(*same, "stage")
    compared = nameless.dropDuplicates(["track_id"]).unionByName(outside).join(old, same, "full_outer")
    is_new, is_gone = F.col("stage").isNull(), F.col("message").isNull()
    counts = compared.agg(F.count_if(is_new).alias("new"), F.count_if(is_gone).alias("gone")).first()
    assert counts is not None
    new = compared.where(is_new).drop("stage")
    if counts.gone:
        run.warehouse.delete("quarantine", compared.where(is_gone).select("track_id", "stage"))
    if counts.new:
        quarantine(run, new.withColumn("stage", F.lit("ingest")))
