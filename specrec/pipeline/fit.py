"""Fit: scaler and PCA become versioned ``artefacts``, which every night reuses; statistics follow the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding import artefacts as A
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding.artefacts import Artefact, pack, unpack
from specrec.embedding.sample import sample_tracks
from specrec.embedding.spaces import describe, unpack_descriptions
from specrec.embedding.statistics import ATTRIBUTES, COLUMNS, fit_statistics, measure
from specrec.errors import SpecrecError
from specrec.pipeline.run import Run, versions
from specrec.warehouse.tables import Warehouse

#: Stands for any tag, even none.
_ANY = ""


def fit(run: Run, requested: bool = False) -> None:
    """Fit what has no artefact yet for this configuration; all of it when requested, or when the catalogue drifted.

    Parameters
    ----------
    requested : fit anew whatever the state.
    """
    config = run.config
    with run.stage("fit") as report:
        current = load_artefacts(run)
        features = run.warehouse.read("audio_features").where(F.col("audio_hash") == config.audio_hash)
        layout = feature_space.layout_of(config.audio.n_mfcc)
        sample = _by_track(sample_tracks(features, config.fit.sample_tracks, config.fit.seed))
        if sample.empty:
            raise SpecrecError("no track was analysed with this configuration: run the stage extract first")
        matrix = feature_space.stack(sample, layout)
        report.rows_in = len(sample)
        reasons = {name: "first" for name in A.OF_VECTORS if name not in current}
        if requested:
            reasons = dict.fromkeys(A.OF_VECTORS, "requested")
        elif A.SCALER in current:
            drift = feature_space.drift(matrix, layout, current[A.SCALER].arrays)
            report.details["drift"] = round(drift, 4)
            if drift > config.fit.max_drift:
                reasons = dict.fromkeys(A.OF_VECTORS, f"drift {drift:.2f}")
        kept = {
            name: artefact for name, artefact in current.items() if name in A.OF_VECTORS and name not in reasons
        }
        report.details |= {name: f"version {artefact.version}" for name, artefact in sorted(kept.items())}
        if not reasons:
            report.unchanged()
            return
        fitted_on = hash_of(sample["track_id"], sample["content_hash"])
        fitted = {}
        if A.SCALER in reasons:
            fitted[A.SCALER] = feature_space.fit_scaler(matrix, layout), len(sample)
        if A.PCA in reasons:
            few = sample_tracks(features.select("track_id"), config.fit.sample_spectrograms, config.fit.seed)
            spectrograms = run.warehouse.read("mel_spectrograms").where(F.col("audio_hash") == config.audio_hash)
            described = _described(spectrograms.join(few, "track_id", "left_semi"))
            descriptions = unpack_descriptions(described, config.audio.n_mels)
            pca = spectrogram_space.fit_pca(descriptions, config.embedding.pca_components)
            fitted[A.PCA] = pca, len(described)
        published = publish(run, fitted, reasons, fitted_on)
        report.rows_out = len(published)
        report.details |= {name: f"version {version} ({reasons[name]})" for name, version in published.items()}


def catalogue_statistics(run: Run) -> Artefact:
    """Return what is usual in the catalogue as it stands: a new version, if that changed."""
    config, read = run.config, run.warehouse.read
    features = read("audio_features").where(F.col("audio_hash") == config.audio_hash)
    levels = read("embeddings").where(F.col("space") == "spectrogram").select("track_id", "levels")
    chosen = sample_tracks(features.select("track_id"), config.fit.sample_tracks, config.fit.seed)
    sample = _by_track(
        features.select("track_id", "content_hash", *COLUMNS)
        .join(chosen, "track_id", "left_semi")
        .join(levels, "track_id")
        .join(read("tracks").select("track_id", *ATTRIBUTES), "track_id", "left")
    )
    if sample.empty:
        raise SpecrecError("no track has vectors with this configuration: run the stage embed first")
    of_regions = np.stack(sample["levels"].to_list()).astype(np.float64)
    attributes = {name: np.asarray(pd.to_numeric(sample[name]), np.float64) for name in ATTRIBUTES}
    arrays = fit_statistics(measure(sample), of_regions, attributes, _shares_of_tags(run, chosen))
    last = load_artefacts(run).get(A.STATISTICS)
    if last is None or not _are_equal(last.arrays, arrays):
        reason = "first" if last is None else "the catalogue changed"
        fitted_on = hash_of(sample["track_id"], sample["content_hash"])
        publish(run, {A.STATISTICS: (arrays, len(sample))}, {A.STATISTICS: reason}, fitted_on)
    return need_artefact(run, A.STATISTICS)


def _shares_of_tags(run: Run, chosen: DataFrame) -> dict[tuple[str, str], float]:
    """Return, by model and tag, the share of those tracks of a sample that the model heard which have the tag."""
    models = run.config.embedding.models
    if not models:
        return {}
    heard = run.warehouse.read("embeddings").where(F.col("space").isin(*models) & F.col("tags").isNotNull())
    every = F.explode(F.concat(F.array(F.lit(_ANY)), F.col("tags.name"))).alias("tag")
    rows = heard.join(chosen, "track_id", "left_semi").select("space", every).groupBy("space", "tag").count()
    counts = {(row.space, row.tag): row["count"] for row in rows.collect()}  # some dozen a model
    return {(space, tag): n / counts[space, _ANY] for (space, tag), n in counts.items() if tag != _ANY}


def _are_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def publish(
    run: Run,
    fitted: Mapping[str, tuple[dict[str, Any], int]],
    reasons: Mapping[str, str],
    fitted_on: str,
) -> dict[str, int]:
    """Write the next version of artefacts, and return these versions.

    Parameters
    ----------
    fitted : of each, its arrays and on how many tracks it was fitted.
    reasons : why each was fitted.
    fitted_on : hash of what it was fitted on.
    """
    rows = [
        {
            "name": name,
            "version": _last_version(run.warehouse, name) + 1,
            "config_hash": run.config.artefact_hash(name),
            "payload": pack(arrays),
            "fitted_tracks": count,
            "fitted_on": fitted_on,
            "reason": reasons[name],
            "versions": versions(),
            "run_id": run.run_id,
            "created_at": datetime.now(UTC),
        }
        for name, (arrays, count) in fitted.items()
    ]
    run.warehouse.append_few("artefacts", rows)
    run.artefacts = {}
    return {str(row["name"]): int(str(row["version"])) for row in rows}


def hash_of(*columns: Iterable[str]) -> str:
    """Return a short name of the rows that an artefact is fitted on."""
    return hashlib.sha256("\n".join(map(" ".join, zip(*columns, strict=True))).encode()).hexdigest()


def load_artefacts(run: Run) -> dict[str, Artefact]:
    """Return the newest version of each artefact that belongs to this configuration; read once a run."""
    if run.artefacts:
        return run.artefacts
    table = run.warehouse.read("artefacts")
    wanted = F.lit(False)
    for name in (*A.NAMES, A.MAP, *map(A.cells_of, run.config.systems)):
        wanted |= (F.col("name") == name) & (F.col("config_hash") == run.config.artefact_hash(name))
    newest = (
        table.where(wanted)
        .groupBy("name")
        .agg(F.max_by(F.struct("name", "version", "payload", "fitted_tracks"), "version").alias("row"))
        .select("row.*")
    )
    run.artefacts = {
        row["name"]: Artefact(row["name"], row.version, unpack(bytes(row.payload)), row.fitted_tracks)
        for row in newest.collect()  # one row an artefact
    }
    return run.artefacts


def need_artefact(run: Run, name: str) -> Artefact:
    """Return the artefact in use.

    Raises
    ------
    SpecrecError
        If there is none yet for this configuration.
    """
    found = load_artefacts(run).get(name)
    if found is None:
        raise SpecrecError(f"there is no {name} for this configuration: run the stage fit first")
    return found


def _described(spectrograms: DataFrame) -> pd.DataFrame:
    return _by_track(describe(spectrograms))


def _by_track(frame: DataFrame) -> pd.DataFrame:
    collected: pd.DataFrame = frame.toPandas()
    return collected.sort_values("track_id", ignore_index=True)


def _last_version(warehouse: Warehouse, name: str) -> int:
    row = warehouse.read("artefacts").where(F.col("name") == name).agg(F.max("version")).first()
    return (row[0] or 0) if row else 0
