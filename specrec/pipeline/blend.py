"""Blend: what each component of a score counts, learned on what some people did and the components did not know.

Some people are set aside. What is fitted to the others scores tracks for them by a part of what is known of them,
and the weights are those by which the tracks that they like besides come first: for people of whom nothing is
known, little and much, apart. The weights are kept as long as what was fitted to all listeners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from specrec.arrays import Float64Array
from specrec.config import Config
from specrec.embedding.spaces import spaces_of
from specrec.embedding.spark import lot
from specrec.listeners.blend import learn_weights_that_help, unlearned_weights
from specrec.listeners.blocks import Model
from specrec.listeners.config import COMPONENTS, OF_TRACKS
from specrec.listeners.spark import (
    candidates,
    crowd_of,
    found_tracks,
    known_preferences,
    packed_people,
    packed_tracks,
    titles_of,
)
from specrec.pipeline.factors import Fitted, fit
from specrec.pipeline.hashes import blend_hash
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run, StageReport
from specrec.recommend.spark import groups, traits
from specrec.settings import System
from specrec.warehouse.artefacts import Artefact, ArtefactId, NewArtefact

#: For what people are drawn, and what is hidden of them.
_PURPOSE = "blend"
#: The artefact that the weights are.
BLEND = "listeners_blend"
#: Of each component so many of the best tracks are what is chosen among.
_CANDIDATES = 20
#: No more than this share of all people is set aside, and of fewer than so many nothing is learned.
_MOST_SET_ASIDE, _FEWEST = 0.25, 10
#: The levels: nothing, little and much is known of a person.
_LEVELS = 3


@dataclass(frozen=True)
class Vectors:
    """What content is judged by.

    Attributes
    ----------
    rows : DataFrame
        ``track_id, content``.
    dimensions : int
    made_with : list of str
        The artefacts that the vectors are made with.
    """

    rows: DataFrame
    dimensions: int
    made_with: list[str]


def vectors_of_content(run: Run) -> Vectors:
    """Return the vectors of ``listeners.space``."""
    space = spaces_of(run.config)[run.config.listeners.space]
    rows = run.warehouse.read("embeddings").where(F.col("space") == space.name)
    rows = rows.select("track_id", F.col("vector").alias("content"))
    first = rows.select(F.size("content").alias("dimensions")).first()
    known = [of.artefact for of in spaces_of(run.config).values() if of.artefact is not None]
    found = [run.artefacts.find(of) for of in known if of.name in space.makers]
    return Vectors(rows, 0 if first is None else first.dimensions, [of.made_with for of in found if of is not None])


def allowed_tracks(run: Run) -> DataFrame:
    """Return the tracks that may be recommended: ``track_id, artists, albums, duplicate``."""
    read = run.warehouse.read
    known = traits(read("tracks"), run.config.recommend).where("allowed").drop("allowed")
    return known.join(groups(read("duplicates")), "track_id", "left")


def known_to(
    run: Run, preferences: DataFrame, people: DataFrame, count: int, *, fitted: Fitted, vectors: Vectors
) -> DataFrame:
    """Return the preferences of some people; see :func:`~specrec.listeners.spark.known_preferences`."""
    read = run.warehouse.read
    return known_preferences(
        preferences,
        people,
        count,
        tracks=fitted.tracks,
        vectors=vectors.rows,
        titles=titles_of(read("tracks")),
        duplicates=groups(read("duplicates")),
    )


def packed_candidates(run: Run, fitted: Fitted, vectors: Vectors, model: Model) -> DataFrame:
    """Return the tracks that may be recommended, packed; see :func:`~specrec.listeners.spark.candidates`."""
    tracks = candidates(
        allowed_tracks(run),
        tracks=fitted.tracks,
        together=fitted.together,
        vectors=vectors.rows,
        unheard=fitted.unheard,
        new_below=run.config.listeners.new_below,
    )
    return packed_tracks(tracks, model, run.warehouse.read("tracks").count())


def model_of(config: Config, gram: Float64Array, systems: Mapping[System, Float64Array], dimensions: int) -> Model:
    """Return what scoring needs of what was fitted; see :class:`~specrec.listeners.blocks.Model`."""
    listeners = config.listeners
    levels = np.array([1, listeners.few_preferences], np.int64)
    return Model(gram, listeners.als_alpha, listeners.als_regularisation, systems, levels, dimensions)


def components_alone(levels: int) -> dict[System, Float64Array]:
    """Return the weights of the systems that are one component each, float64, shape (levels, components)."""
    return {
        name: np.tile(weights, (levels, 1))
        for name, weights in zip(COMPONENTS, np.eye(len(COMPONENTS)), strict=True)
    }


def need_blend(run: Run, fitted: Artefact, report: StageReport) -> Artefact:
    """Return the weights that belong to what was fitted to all listeners, learned now if there are none."""
    of = ArtefactId(BLEND, blend_hash(run.config))
    found = run.artefacts.find(of)
    if found is None or int(found.arrays["fitted"][0]) != fitted.version:
        with Kept() as kept:
            weights, people = _learned(_what_was_liked(run, run.warehouse.read("preferences"), kept))
        arrays = {"weights": weights, "fitted": np.array([fitted.version])}
        run.publish([NewArtefact(of, arrays, people, None, f"listeners {fitted.version}")])
        found = run.artefacts.need(of)
    report.count("artefact_version", found.version, BLEND)
    for level, weights in zip(("nothing", "little", "much"), found.arrays["weights"], strict=True):
        for name, weight in zip(COMPONENTS, weights, strict=True):
            report.record("weight", float(weight), f"{name}/{level}")
    return found


def learned_weights(run: Run, preferences: DataFrame, kept: Kept) -> Float64Array:
    """Return what each component counts, learned on some preferences alone, shape (levels, components).

    Parameters
    ----------
    preferences : DataFrame
        ``user_id, track_id, preference, confidence``.
    kept : Kept
        Keeps what is computed on the way.
    """
    return _learned(_what_was_liked(run, preferences, kept))[0]


def _learned(rows: pd.DataFrame) -> tuple[Float64Array, int]:
    """Return the weights, and of how many people they were learned; none if these are too few."""
    people = rows.loc[rows["is_liked"], "person"].nunique()
    if people < _FEWEST:
        return unlearned_weights(_LEVELS), 0
    components = np.stack(rows["components"].to_list())
    owner = pd.factorize(rows["user_id"])[0].astype(np.int64)
    is_liked, level = rows["is_liked"].to_numpy(), rows["level"].to_numpy(np.int64)
    of_all, person = np.isin(COMPONENTS, OF_TRACKS), pd.factorize(rows["person"])[0].astype(np.int64)
    return learn_weights_that_help(
        components, is_liked, owner, level, _LEVELS, of_all=of_all, person=person
    ), people


def _what_was_liked(run: Run, preferences: DataFrame, kept: Kept) -> pd.DataFrame:
    """Return ``person, user_id, level, code, components, is_liked`` of tracks for those who were set aside."""
    config = run.config
    listeners, seed = config.listeners, config.fit.seed
    preferences = preferences.select("user_id", "track_id", "preference", "confidence")
    people = preferences.select("user_id").distinct()
    most = min(listeners.blend_sample, int(_MOST_SET_ASIDE * people.count()))
    if most < _FEWEST:
        return pd.DataFrame({"person": [], "is_liked": []}).astype({"is_liked": bool})
    aside = kept.keep(people.orderBy(lot(seed, _PURPOSE, "user_id"), "user_id").limit(most))
    fitted = fit(run, preferences.join(aside, "user_id", "left_anti"), kept)
    mine = preferences.join(aside, "user_id", "left_semi")
    half = mine.withColumn("is_hidden", F.pmod(lot(seed, _PURPOSE, "user_id", "track_id"), F.lit(2)) == 0)
    hidden = half.where(F.col("is_hidden") & (F.col("preference") > 0)).select("user_id", "track_id")
    shown, count = shown_at_levels(half.where(~F.col("is_hidden")), aside, most, listeners.few_preferences, seed)
    vectors = vectors_of_content(run)
    everybody = kept.keep(shown.select("user_id").distinct())
    known = shown.where("track_id is not null").drop("person")
    known = known_to(run, known, everybody, count, fitted=fitted, vectors=vectors)
    model = model_of(config, fitted.gram, components_alone(_LEVELS), vectors.dimensions)
    tracks = kept.keep(packed_candidates(run, fitted, vectors, model))
    few = listeners.model_copy(update={"top_n": _CANDIDATES, "new_share": 0.0, "familiar_share": 0.0})
    people = kept.keep(packed_people(known, model, crowd_of(fitted.crowd, listeners)))
    found = found_tracks(people, tracks, model, few)
    named = shown.select("user_id", "person").distinct()
    liked = hidden.select(F.col("user_id").alias("person"), "track_id", F.lit(True).alias("is_liked"))
    best = Window.partitionBy("system", "user_id").orderBy(F.col("score").desc(), "code")
    found = found.withColumn("place", F.row_number().over(best)).where(F.col("place") <= _CANDIDATES)
    rows = found.select("user_id", "track_id", "code", "components", "level").dropDuplicates(
        ["user_id", "track_id"]
    )
    # what the person is known to have heard is no candidate, also where it is not shown
    heard = half.where(~F.col("is_hidden")).select(F.col("user_id").alias("person"), "track_id")
    rows = rows.join(named, "user_id").join(heard, ["person", "track_id"], "left_anti")
    rows = rows.join(liked, ["person", "track_id"], "left").fillna(False, ["is_liked"])
    collected: pd.DataFrame = rows.drop("track_id").toPandas()  # bounded: listeners.blend_sample
    return collected.sort_values(["user_id", "code"], ignore_index=True)


def shown_at_levels(half: DataFrame, people: DataFrame, count: int, few: int, seed: int) -> tuple[DataFrame, int]:
    """Return what is shown of each person, who stands for three: one of whom nothing is known, little, and much.

    Returns
    -------
    rows : DataFrame
        ``user_id`` of each of the three, ``person``, and the columns of `half`; nulls where nothing is shown.
    people : int
        How many they are.
    """
    place = Window.partitionBy("user_id").orderBy(lot(seed, _PURPOSE, "user_id", "track_id"), "track_id")
    ordered = half.drop("is_hidden").withColumn("place", F.row_number().over(place))
    level = F.explode(F.array(*map(F.lit, range(_LEVELS)))).alias("shown")
    each = people.select(F.col("user_id").alias("person"), level)
    shown = each.join(ordered.withColumnRenamed("user_id", "person"), "person", "left")
    is_shown = (F.col("shown") == _LEVELS - 1) | ((F.col("shown") == 1) & (F.col("place") < few))
    tracks = [F.when(is_shown, F.col(name)).alias(name) for name in ("track_id", "preference", "confidence")]
    user = F.concat_ws("/", F.col("shown").cast("string"), "person").alias("user_id")
    return shown.select(user, "person", *tracks).distinct(), _LEVELS * count
