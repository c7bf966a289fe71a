"""Factors: ``preferences`` become what listeners tell of tracks: ``track_listeners`` and ``also_liked``.

These, and the ``crowd`` that people are compared with, are fitted to all listeners together, and kept from night to
night: new events change what is known of a person, and the lists of that person alone. They are fitted anew, and
with them all lists of people, once enough evidence came or went.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.arrays import Float64Array
from specrec.config import Config
from specrec.embedding.config import LISTENERS
from specrec.listeners.config import OF_TRACKS
from specrec.listeners.spark import (
    checkpoints,
    counted_tracks,
    fit_popularity_to,
    gram_of,
    liked_together,
    likes_of_crowd,
    share_changed,
    summaries_of_tracks,
    train_factors,
    with_popularity,
)
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run
from specrec.warehouse.artefacts import Artefact, ArtefactId, NewArtefact

#: The folder, beside the tables, that what is fitted is written to on its way.
_SCRATCH = "_scratch"


@dataclass(frozen=True)
class Fitted:
    """What is fitted to some preferences.

    Attributes
    ----------
    tracks, together, crowd : DataFrame
        The columns of ``track_listeners``, ``also_liked`` and ``crowd``, but for those of the version and the run.
    gram : float64, shape (factors, factors)
        The sum of the outer products of all tracks' factors.
    unheard : dict of float
        What components are of a track that nobody knows.
    """

    tracks: DataFrame
    together: DataFrame
    crowd: DataFrame
    gram: Float64Array
    unheard: dict[str, float]


def fit(run: Run, preferences: DataFrame, kept: Kept) -> Fitted:
    """Fit all that is told of tracks by their listeners.

    Parameters
    ----------
    preferences : DataFrame
        ``user_id, track_id, preference, confidence``.
    kept : Kept
        Keeps what was fitted.
    """
    config, warehouse = run.config.listeners, run.warehouse
    narrow = kept.keep(preferences.select("user_id", "track_id", "preference", "confidence"))
    with checkpoints(warehouse.spark, warehouse.path(_SCRATCH)):
        factors, _ = kept.count(train_factors(narrow, config, run.config.fit.seed, kept.keep))
    counted = kept.keep(counted_tracks(summaries_of_tracks(narrow), warehouse.read("tracks")))
    popularity = fit_popularity_to(counted)
    tracks = kept.keep(with_popularity(counted, popularity).join(factors, "track_id", "left"))
    return Fitted(
        tracks,
        kept.keep(liked_together(narrow, config)),
        kept.keep(likes_of_crowd(narrow, config, run.config.fit.seed)),
        gram_of(factors, config.factors),
        dict(zip(OF_TRACKS, popularity.unheard.tolist(), strict=True)),
    )


def fit_factors(run: Run) -> None:
    """Fit what listeners tell of tracks, if that is due."""
    with run.stage("factors") as report, Kept() as kept:
        preferences = run.warehouse.read("preferences")
        report.rows_in = preferences.count()
        of = listeners_artefact(run.config)
        current = run.artefacts.find(of)
        reason = _why_fit(run, current, preferences)
        if reason is None or (current is None and not report.rows_in):
            report.unchanged()
            if current is not None:
                report.count("artefact_version", current.version, of.name)
            return
        fitted = fit(run, preferences, kept)
        version = run.artefacts.last_version(of.name) + 1
        stamp = {"version": F.lit(version), "run_id": F.lit(run.run_id)}
        tables = {"also_liked": fitted.together, "crowd": fitted.crowd, "track_listeners": fitted.tracks}
        for name, rows in tables.items():
            run.warehouse.replace(name, rows.withColumns(stamp), str(version))
        # last: until it is there, the tables are those of no version, and are made again
        report.rows_out = run.warehouse.read("track_listeners").count()
        unheard = np.array([fitted.unheard[name] for name in OF_TRACKS])
        arrays = {"gram": fitted.gram, "unheard": unheard}
        run.publish([NewArtefact(of, arrays, report.rows_out, None, reason)])
        report.count("artefact_version", version, of.name, told=f"version {version} ({reason})")


def listeners_artefact(config: Config) -> ArtefactId:
    """Return the artefact that names what is fitted to all listeners."""
    return ArtefactId(LISTENERS, config.listeners.fit_hash)


def _why_fit(run: Run, current: Artefact | None, preferences: DataFrame) -> str | None:
    """Return why all is to be fitted anew; None if what there is will do."""
    if current is None:
        return "first"
    if run.refit:
        return "requested"
    versions = {run.warehouse.states(name).get(name) for name in ("also_liked", "crowd", "track_listeners")}
    if versions != {str(current.version)}:
        return "what was fitted is not there any more"
    moved = share_changed(run.warehouse.read("track_listeners"), summaries_of_tracks(preferences))
    return f"evidence changed by {moved:.0%}" if moved > run.config.listeners.refit_share else None


def as_it_stands(run: Run, current: Artefact) -> Fitted:
    """Return what was fitted, as the tables and its artefact have it."""
    read, arrays = run.warehouse.read, current.arrays
    unheard = dict(zip(OF_TRACKS, arrays["unheard"].tolist(), strict=True))
    return Fitted(read("track_listeners"), read("also_liked"), read("crowd"), arrays["gram"], unheard)
