"""Embed: features and mel spectrograms become ``embeddings``, where they or what they are made with changed."""

from __future__ import annotations

from functools import reduce

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.embedding.artefacts import PCA, SCALER
from specrec.embedding.spaces import embed_features, embed_spectrograms, input_hash, join_spaces
from specrec.pipeline.fit import need_artefact
from specrec.pipeline.run import Run

#: Spectrograms of more runs than these are looked for in the whole table.
_MOST_RUNS = 50


def embed(run: Run) -> None:
    """Compute the vectors that are missing or out of date, and delete those of tracks that are gone."""
    config, warehouse = run.config, run.warehouse
    with run.stage("embed") as report:
        scaler, pca = need_artefact(run, SCALER), need_artefact(run, PCA)
        features = _current(run, "audio_features")
        report.rows_in = features.count()
        gone = warehouse.read("embeddings").select("track_id").join(features, "track_id", "left_anti").distinct()
        report.details["removed"] = gone.count()
        if report.details["removed"]:
            warehouse.delete("embeddings", gone)

        hashes = {
            "features": input_hash(config, "features", scaler),
            "spectrogram": input_hash(config, "spectrogram", pca),
            "hybrid": input_hash(config, "hybrid", scaler, pca),
        }
        stale = _stale(run, hashes).persist(StorageLevel.DISK_ONLY)
        try:
            counts = {row.space: row["count"] for row in stale.groupBy("space").count().collect()}
            of = {space: stale.where(F.col("space") == space).drop("space") for space in hashes}
            vectors = []
            if counts.get("features"):
                todo = features.join(of["features"].select("track_id"), "track_id")
                vectors.append(_in_space("features", embed_features(todo, config, scaler), of, scaler.version))
            if counts.get("spectrogram"):
                todo = _spectrograms(run, of["spectrogram"])
                vectors.append(_in_space("spectrogram", embed_spectrograms(todo, config, pca), of, pca.version))
            if vectors:
                _write(run, reduce(DataFrame.unionByName, vectors))
            if counts.get("hybrid"):
                by_features, by_spectrogram = (
                    _vectors(run, space).join(of["hybrid"].select("track_id"), "track_id")
                    for space in ("features", "spectrogram")
                )
                joined = join_spaces(by_features, by_spectrogram, config)
                _write(run, _in_space("hybrid", joined, of, None))
        finally:
            stale.unpersist()
        report.rows_out = sum(counts.values())
        report.details |= counts
        if not counts and not report.details["removed"]:
            report.unchanged()


def _stale(run: Run, hashes: dict[str, Column]) -> DataFrame:
    """Return ``space, track_id, input_hash, run_id`` of the vectors that are missing or out of date.

    ``run_id`` is that of the extraction.
    """
    features = _current(run, "audio_features")
    wanted = features.select(
        "track_id",
        "run_id",
        F.explode(
            F.array(
                *(F.struct(F.lit(space).alias("space"), of.alias("input_hash")) for space, of in hashes.items())
            )
        ).alias("wanted"),
    ).select("wanted.*", "track_id", "run_id")
    done = run.warehouse.read("embeddings").select("space", "track_id", "input_hash")
    return wanted.join(done, done.columns, "left_anti")


def _spectrograms(run: Run, stale: DataFrame) -> DataFrame:
    """Return the mel spectrograms of some tracks, without reading the whole catalogue's where few are new."""
    mels = _current(run, "mel_spectrograms")
    runs = [row.run_id for row in stale.select("run_id").distinct().limit(_MOST_RUNS + 1).collect()]
    if len(runs) <= _MOST_RUNS:  # files of other runs are not opened: Delta knows the run_ids in each
        mels = mels.where(F.col("run_id").isin(runs))
    return mels.join(stale.select("track_id"), "track_id")


def _current(run: Run, table: str) -> DataFrame:
    """Return what was extracted with this configuration; other rows are on their way out."""
    return run.warehouse.read(table).where(F.col("audio_hash") == run.config.audio_hash)


def _vectors(run: Run, space: str) -> DataFrame:
    return run.warehouse.read("embeddings").where(F.col("space") == space).select("track_id", "vector")


def _in_space(space: str, vectors: DataFrame, stale: dict[str, DataFrame], version: int | None) -> DataFrame:
    named = {"space": F.lit(space), "artefact_version": F.lit(version).cast("int")}
    return vectors.join(stale[space].select("track_id", "input_hash"), "track_id").withColumns(named)


def _write(run: Run, rows: DataFrame) -> None:
    rows = rows.withColumns(run.stamp()).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        run.warehouse.upsert("embeddings", rows)
    finally:
        rows.unpersist()
