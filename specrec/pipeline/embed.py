"""Embed: features and mel spectrograms become ``embeddings``, where they or what they are made with changed."""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.embedding.artefacts import PCA, SCALER
from specrec.embedding.spaces import embed_features, embed_spectrograms, input_hash, join_spaces
from specrec.pipeline.fit import need_artefact
from specrec.pipeline.run import Run


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

        stale = {
            "features": _stale(run, "features", input_hash(config, "features", scaler)),
            "spectrogram": _stale(run, "spectrogram", input_hash(config, "spectrogram", pca)),
        }
        todo = features.join(stale["features"], "track_id", "left_semi")
        mels = _current(run, "mel_spectrograms").join(stale["spectrogram"], "track_id", "left_semi")
        written = _write(
            run,
            _in_space(embed_features(todo, config, scaler), "features", stale, scaler.version).unionByName(
                _in_space(embed_spectrograms(mels, config, pca), "spectrogram", stale, pca.version)
            ),
        )
        stale["hybrid"] = _stale(run, "hybrid", input_hash(config, "hybrid", scaler, pca))
        by_features, by_spectrogram = (
            _vectors(run, space).join(stale["hybrid"], "track_id", "left_semi")
            for space in ("features", "spectrogram")
        )
        joined = join_spaces(by_features, by_spectrogram, config)
        written += _write(run, _in_space(joined, "hybrid", stale, None))
        report.rows_out = written
        if not written and not report.details["removed"]:
            report.unchanged()


def _stale(run: Run, space: str, current: Column) -> DataFrame:
    """Return ``track_id, input_hash`` of the tracks whose vector in a space is missing or out of date."""
    wanted = _current(run, "audio_features").select("track_id", current.alias("input_hash"))
    done = run.warehouse.read("embeddings").where(F.col("space") == space).select("track_id", "input_hash")
    return wanted.join(done, ["track_id", "input_hash"], "left_anti")


def _current(run: Run, table: str) -> DataFrame:
    """Return what was extracted with this configuration; other rows are on their way out."""
    return run.warehouse.read(table).where(F.col("audio_hash") == run.config.audio_hash)


def _vectors(run: Run, space: str) -> DataFrame:
    return run.warehouse.read("embeddings").where(F.col("space") == space).select("track_id", "vector")


def _in_space(vectors: DataFrame, space: str, stale: dict[str, DataFrame], version: int | None) -> DataFrame:
    named = {"space": F.lit(space), "artefact_version": F.lit(version).cast("int")}
    return vectors.join(stale[space], "track_id").withColumns(named)


def _write(run: Run, rows: DataFrame) -> int:
    rows = rows.withColumns(run.stamp()).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        count = rows.count()
        if count:
            run.warehouse.upsert("embeddings", rows)
        return count
    finally:
        rows.unpersist()
