"""Map: the ``embeddings`` of one space become ``map``, two coordinates a track and its cluster.

The map is fitted on a sample of tracks, which is kept as an artefact. A night places the tracks that are new or
changed and moves no other. The map is fitted anew only when too many tracks of a sample that is drawn today were
not in it, which is also so when the whole space was made anew. It is then laid out, turned and numbered so as to
be like the map that was there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding.config import SPECTROGRAM
from specrec.embedding.spark import sample_tracks
from specrec.embedding.statistics import COLUMNS
from specrec.errors import SpecrecError
from specrec.map.fit import ATTRIBUTES, BEFORE, fit_map
from specrec.map.spark import drawn_and_due, key_of_vector, place_tracks
from specrec.pipeline.hashes import map_hash
from specrec.pipeline.kept import FEW, here
from specrec.pipeline.run import Run, StageReport
from specrec.warehouse.artefacts import Artefact, ArtefactId, NewArtefact, hash_of_rows

#: The artefact that the map is fitted to.
MAP = "map"


def make_map(run: Run) -> None:
    """Place the tracks of ``map.space`` that are missing or out of date, and delete those that are gone."""
    config, warehouse = run.config, run.warehouse
    with run.stage("map") as report:
        fitted = run.artefacts.find(_map_artefact(run))
        gone, stale, replaced = F.col("input_hash").isNull(), F.col("is_stale"), F.col("old_hash").isNotNull()
        counts = (
            _drawn_and_due(run, fitted)
            .agg(
                F.count("input_hash").alias("wanted"),
                F.count_if(gone).alias("gone"),
                F.count_if(stale).alias("stale"),
                F.count_if(stale & replaced).alias("replaced"),
            )
            .first()
        )
        assert counts is not None
        report.rows_in = counts.wanted
        report.count("removed", counts.gone)
        if not counts.stale and not counts.gone:
            report.unchanged()
            return
        reason = _why_fit(run, fitted) if counts.stale else None
        if reason:
            fitted = _fit(run, report, reason, with_tsne=counts.wanted <= config.map.tsne_up_to)
        compared = _drawn_and_due(run, fitted)
        if reason or counts.stale == counts.wanted > 0:
            warehouse.replace("map", _placed(run, compared.where(~gone), fitted))
        else:  # deleted, then appended: a run that dies in between leaves tracks missing, which the next run finds
            changed = compared.where(gone | stale)
            if counts.gone + counts.stale <= FEW:
                changed = here(changed)
            if counts.gone or counts.replaced:
                warehouse.delete("map", changed.where(gone | (stale & replaced)).select("track_id"))
            if counts.stale:
                warehouse.append("map", _placed(run, changed.where(stale), fitted))
        report.rows_out = counts.wanted if reason else counts.stale
        if fitted is not None:
            told = f"version {fitted.version}" + (f" ({reason})" if reason else "")
            report.count("artefact_version", fitted.version, MAP, told=told)
            report.count("clusters", len(fitted.arrays["numbers"]))


def _map_artefact(run: Run) -> ArtefactId:
    return ArtefactId(MAP, map_hash(run.config))


def _embeddings(run: Run) -> DataFrame:
    rows = run.warehouse.read("embeddings").where(F.col("space") == run.config.map.space)
    return rows.withColumn("vector_key", key_of_vector())


def _drawn_and_due(run: Run, fitted: Artefact | None) -> DataFrame:
    """Return what :func:`drawn_and_due` says of the tables, where tracks are placed on this map."""
    made_with = f"{MAP} {fitted.version if fitted else None}"
    return drawn_and_due(_embeddings(run), run.warehouse.read("map"), made_with)


def _placed(run: Run, todo: DataFrame, fitted: Artefact | None) -> DataFrame:
    """Return rows of ``map`` for some of the tracks of :func:`_drawn_and_due`."""
    assert fitted is not None, "what is to be placed has a map"
    vectors = _embeddings(run).select("track_id", "vector")
    rows = vectors.join(todo.select("track_id", "vector_key", "input_hash"), "track_id")
    placed = place_tracks(rows, fitted.arrays, run.config.map.neighbours)
    return placed.withColumns({"space": F.lit(run.config.map.space), **run.stamp()})


def _why_fit(run: Run, fitted: Artefact | None) -> str | None:
    """Return why the map is to be fitted anew; None if it serves as it is."""
    if fitted is None or not len(fitted.arrays["vectors"]):
        return "first"
    config = run.config
    tracks = _embeddings(run).select("track_id", "vector_key")
    sample: pd.DataFrame = sample_tracks(tracks, config.map.sample_tracks, config.fit.seed).toPandas()
    new = int((~np.isin(sample["vector_key"], fitted.arrays["keys"])).sum())
    return f"{new} of {len(sample)} tracks changed" if new > config.map.refit_share * len(sample) else None


def _fit(run: Run, report: StageReport, reason: str, with_tsne: bool) -> Artefact:
    """Fit a map to a sample, like the one that there was, and publish it."""
    config = run.config
    sample = _sample(run)
    arrays, silhouette = fit_map(sample, config.map, with_tsne, config.fit.seed)
    of = _map_artefact(run)
    run.publish([NewArtefact(of, arrays, len(arrays["vectors"]), hash_of_rows(sample["track_id"]), reason)])
    report.count("silhouette", silhouette)
    return run.artefacts.need(of)


def _sample(run: Run) -> pd.DataFrame:
    """Return the tracks that a map is fitted on: vectors, measures, and where they were before; by track_id."""
    config, read = run.config, run.warehouse.read
    vectors = _embeddings(run).select("track_id", "vector", "vector_key")
    features = run.analysed("audio_features")
    levels = read("embeddings").where(F.col("space") == SPECTROGRAM).select("track_id", "levels")
    before = read("map").select("track_id", *(F.col(name).alias(f"old_{name}") for name in BEFORE))
    sample = (
        sample_tracks(vectors, config.map.sample_tracks, config.fit.seed)
        .join(features.select("track_id", *COLUMNS), "track_id")
        .join(levels, "track_id", "left")
        .join(read("tracks").select("track_id", *ATTRIBUTES), "track_id", "left")
        .join(before, "track_id", "left")
    )
    collected: pd.DataFrame = sample.toPandas()  # bounded: map.sample_tracks
    if collected.empty:
        raise SpecrecError("no track of the map was analysed with this configuration: run the stage extract first")
    return collected.sort_values("track_id", ignore_index=True)
