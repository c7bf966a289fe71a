"""Prediction: how factors of tracks are told from their sound and their artists.

It is fitted to the tracks that have factors, from the vectors of sound that are in ``embeddings``, and kept until
either is made anew. Until then new tracks get predicted factors, and no other vector changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial, reduce

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding.listeners import fit_artists, fit_prediction, for_artists, for_prediction
from specrec.embedding.spaces.listeners import ListenersSpace
from specrec.embedding.spaces.space import Maker
from specrec.embedding.spark import known_of_listeners, sum_of_products
from specrec.errors import SpecrecError
from specrec.pipeline.factors import listeners_artefact
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run
from specrec.settings import System
from specrec.warehouse.artefacts import Artefact, NewArtefact, hash_of_rows


def prediction_in_use(run: Run, space: ListenersSpace, makers: Mapping[str, Maker]) -> Artefact | None:
    """Return how factors are predicted; None where nobody likes anything that is heard, and there are no factors.

    Where that is to be fitted anew, it has the version that it will have, and no arrays yet: see
    :func:`fit_to_factors`.

    Parameters
    ----------
    makers : mapping of Artefact or Model
        What vectors of sound are made with, by name.

    Raises
    ------
    SpecrecError
        If listeners were last looked at with other settings.
    """
    of = listeners_artefact(run.config)
    factors = run.artefacts.find(of)
    if factors is None and run.artefacts.last_version(of.name) and not run.warehouse.read("preferences").isEmpty():
        raise SpecrecError(
            "listeners were last looked at with other settings: run the stages listen and factors, too"
        )
    if factors is None or not factors.arrays["gram"].any():
        return None
    fitted_on = _made_with(factors, space, makers)
    found = run.artefacts.find(space.artefact)
    if found is not None and found.fitted_on == fitted_on:
        return found
    if _heard_factors(run).isEmpty():
        return None
    name = space.artefact.name
    return Artefact(name, run.artefacts.last_version(name) + 1, {}, 0, fitted_on)


def _made_with(factors: Artefact, space: ListenersSpace, makers: Mapping[str, Maker]) -> str:
    """Return in short what factors and vectors of sound were made with."""
    names = dict.fromkeys(name for part in space.made_from for name in space.makers_of(part))
    return hash_of_rows([factors.made_with, *(makers[name].made_with for name in names)])


def fit_to_factors(run: Run, space: ListenersSpace, due: Artefact) -> Artefact:
    """Fit how factors are predicted, and publish it; return it as it is in use from now on.

    Parameters
    ----------
    due : Artefact
        What :func:`prediction_in_use` returned, without arrays.
    """
    with Kept() as kept:
        factors = kept.keep(_factors(run))
        rows, count = kept.count(of_tracks(run, space, _heard_factors(run), factors))
        dimensions = [_dimensions(rows, name) for name in space.made_from]
        size = _dimensions(rows, "als")
        tracks = partial(space.tracks, factors=size, dimensions=dimensions)
        artists = fit_artists(sum_of_products(rows, lambda frame: for_artists(tracks(frame)), 2 + 2 * size))
        width = 1 + sum(dimensions) + 2 * size
        products = sum_of_products(rows, lambda frame: for_prediction(tracks(frame), artists), width)
    arrays = fit_prediction(products, artists) | {"dimensions": np.array(dimensions)}
    run.publish([NewArtefact(space.artefact, arrays, count, due.fitted_on, "factors or sound were made anew")])
    return run.artefacts.need(space.artefact)


def of_tracks(run: Run, space: ListenersSpace, tracks: DataFrame, factors: DataFrame | None = None) -> DataFrame:
    """Return what the space takes of some tracks: their factors, those of their artists, and vectors of sound.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id``.
    factors : DataFrame or None
        ``track_id, als`` of all tracks that have factors; None: as the table has them.
    """
    read = run.warehouse.read
    factors = _factors(run) if factors is None else factors
    vectors = read("embeddings").select("space", "track_id", "vector")

    def of(part: System) -> DataFrame:
        return vectors.where(F.col("space") == part).select("track_id", F.col("vector").alias(part))

    known = known_of_listeners(tracks.select("track_id"), factors, read("tracks").select("track_id", "artists"))
    parts: Collection[DataFrame] = [of(part) for part in space.made_from]
    return reduce(lambda rows, part: rows.join(part, "track_id", "left"), parts, known)


def _factors(run: Run) -> DataFrame:
    rows = run.warehouse.read("track_listeners").select("track_id", "als")
    return rows.where(F.exists("als", lambda value: value != 0))


def _heard_factors(run: Run) -> DataFrame:
    """Return the factors of the tracks whose audio was analysed."""
    return _factors(run).join(run.analysed("audio_features").select("track_id"), "track_id", "left_semi")


def _dimensions(rows: DataFrame, column: str) -> int:
    """Return how long the lists of a column are; 0 if there is none."""
    first = rows.where(F.col(column).isNotNull()).select(F.size(column).alias("size")).first()
    return 0 if first is None else int(first.size)
