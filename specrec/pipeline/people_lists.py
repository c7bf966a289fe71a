"""People's lists: which tracks come into them, for a night's lists and for those that are evaluated."""

from __future__ import annotations

from pyspark.sql import DataFrame

from specrec.listeners.blocks import Model
from specrec.listeners.spark import (
    block_of_person,
    chosen_tracks,
    crowd_of,
    found_tracks,
    packed_people,
    short_lists,
)
from specrec.pipeline.blend import Vectors, packed_candidates
from specrec.pipeline.factors import Fitted
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run

#: For people whose lists limits leave short, so many times more tracks are looked at.
_DEEPER = 16


def chosen_lists(
    run: Run,
    kept: Kept,
    preferences: DataFrame,
    count: int,
    *,
    fitted: Fitted,
    vectors: Vectors,
    model: Model,
    familiar_too: bool = True,
    barred: DataFrame | None = None,
) -> DataFrame:
    """Return the tracks of some people's lists, and of which parts their scores are.

    Of each person so many of the best tracks are looked at that limits rarely leave a list short. Where they do, as
    where one artist made all that is near to what a person likes, many more are, for these people alone.

    Parameters
    ----------
    preferences : DataFrame
        What :func:`~specrec.pipeline.blend.known_to` returned.
    count : int
        Of how many people they are.
    familiar_too : bool
        Whether tracks that a person knows have their share of the list, ``listeners.familiar_share``.
    barred : DataFrame or None
        ``user_id, track_id``: what else a person's list must not hold; None: nothing.
    """
    config, recommend = run.config.listeners, run.config.recommend
    if not familiar_too:
        config = config.model_copy(update={"familiar_share": 0.0})
    tracks, crowd = kept.keep(packed_candidates(run, fitted, vectors, model)), crowd_of(fitted.crowd, config)
    most = {"artists": recommend.max_per_artist, "albums": recommend.max_per_album}

    def best_of(known: DataFrame, people: int, times: int = 1) -> DataFrame:
        packed = kept.keep(packed_people(known, model, crowd))
        found = found_tracks(packed, tracks, model, config, times=times)
        if barred is not None:
            found = found.join(barred, ["user_id", "track_id"], "left_anti").select(*found.columns)
        found = kept.keep(found) if config.variety else found  # which is then read twice
        return kept.keep(chosen_tracks(found, people, config, most, vectors.rows))

    chosen = best_of(preferences, count)
    if run.warehouse.read("tracks").count() <= config.candidates:  # all were looked at
        return chosen
    short, few = kept.count(short_lists(chosen, config.top_n).select("user_id").distinct())
    if not few:
        return chosen
    blocks = few * _DEEPER  # smaller ones, as of each person there is more
    theirs = preferences.join(short, "user_id", "left_semi").withColumn("block", block_of_person(blocks))
    deeper = best_of(kept.keep(theirs), blocks, _DEEPER)
    return chosen.join(short, "user_id", "left_anti").unionByName(deeper)
