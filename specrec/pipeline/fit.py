"""Fit: scaler and PCA become versioned ``artefacts``, which every night reuses; statistics follow the catalogue."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding.config import SPECTROGRAM
from specrec.embedding.spaces import spaces_of
from specrec.embedding.spaces.features import FeatureSpace
from specrec.embedding.spaces.space import FittedSpace
from specrec.embedding.spark import sample_tracks, summaries
from specrec.embedding.statistics import (
    ATTRIBUTES,
    COLUMNS,
    fit_statistics,
    measure,
    shift,
    statistics_artefact,
)
from specrec.errors import SpecrecError
from specrec.pipeline.run import Run, StageReport
from specrec.warehouse.artefacts import Artefact, NewArtefact, hash_of_rows

#: Stands for any tag, even none.
_ANY = ""


def fit(run: Run) -> None:
    """Fit what has no artefact yet for this configuration; all of it if the run refits or the catalogue drifted."""
    config = run.config
    with run.stage("fit") as report:
        spaces = [space for space in spaces_of(config).values() if isinstance(space, FittedSpace)]
        current = {space.name: run.artefacts.find(space.artefact) for space in spaces}
        measured = next(space for space in spaces if isinstance(space, FeatureSpace))
        sample = _by_track(_sample(run, measured))
        if sample.empty:
            raise SpecrecError("no track was analysed with this configuration: run the stage extract first")
        report.rows_in = len(sample)
        scaler = current[measured.name]
        drift = None if scaler is None else measured.drift(sample, scaler)
        if drift is not None and not run.refit:
            report.count("drift", drift)
        reasons: dict[str, str] = {}
        for space in spaces:
            kept = current[space.name]
            if run.refit:
                reasons[space.name] = "requested"
            elif drift is not None and drift > config.fit.max_drift:
                reasons[space.name] = f"drift {drift:.2f}"
            elif kept is None:
                reasons[space.name] = "first"
            else:
                report.count("artefact_version", kept.version, kept.name)
        if not reasons:
            report.unchanged()
            return
        fitted_on = hash_of_rows(sample["track_id"], sample["content_hash"])
        fitted = []
        for space in spaces:
            if space.name in reasons:
                rows = sample if space is measured else _by_track(summaries(space, _sample(run, space)))
                new = NewArtefact(space.artefact, space.fit(rows), len(rows), fitted_on, reasons[space.name])
                fitted.append(new)
        published = run.publish(fitted)
        report.rows_out = len(published)
        for new in fitted:
            version = published[new.of.name]
            report.count("artefact_version", version, new.of.name, told=f"version {version} ({new.reason})")


def catalogue_statistics(run: Run, report: StageReport) -> Artefact:
    """Return what is usual in the catalogue: a new version, if that moved by more than the configured bound.

    How far it moved is reported, and how far the version in use may be off.
    """
    config, read = run.config, run.warehouse.read
    features = run.analysed("audio_features")
    levels = read("embeddings").where(F.col("space") == SPECTROGRAM).select("track_id", "levels")
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
    of = statistics_artefact(config)
    last = run.artefacts.find(of)
    moved = None if last is None else shift(last.arrays, arrays)
    if moved is not None:
        report.count("statistics_shift", moved)
    if moved is None or moved > config.fit.max_statistics_shift:
        reason = "first" if moved is None else f"shares of tracks moved by {moved:.1f} points"
        fitted_on = hash_of_rows(sample["track_id"], sample["content_hash"])
        run.publish([NewArtefact(of, arrays, len(sample), fitted_on, reason)])
    return run.artefacts.need(of)


def _sample(run: Run, space: FittedSpace) -> DataFrame:
    """Return the rows of a space's source that its artefact is fitted to; bounded by its `sample_size`."""
    config = run.config
    rows = run.analysed(space.source)
    if space.summary_schema is None:
        return sample_tracks(rows, space.sample_size, config.fit.seed)
    # chosen among narrow rows: of what is large not even the files are opened
    few = sample_tracks(run.analysed("audio_features").select("track_id"), space.sample_size, config.fit.seed)
    return rows.join(few, "track_id", "left_semi")


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


def _by_track(frame: DataFrame) -> pd.DataFrame:
    collected: pd.DataFrame = frame.toPandas()
    return collected.sort_values("track_id", ignore_index=True)
