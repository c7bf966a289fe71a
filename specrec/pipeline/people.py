"""People: ``preferences`` become ``user_recommendations``: what each person is recommended, and why.

A person's lists are made anew when what is known of the person changed, when what is fitted to all listeners was
fitted anew, or when a track of a list may not be recommended any more. Nobody else's are touched.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.arrays import Float64Array
from specrec.config import Config
from specrec.embedding.config import HYBRID
from specrec.listeners.blocks import Model
from specrec.listeners.config import NOBODY
from specrec.listeners.spark import (
    block_of_person,
    chosen_tracks,
    found_tracks,
    lists_with_reasons,
    packed_people,
    states_of_people,
    with_sound,
)
from specrec.pipeline.blend import (
    Vectors,
    allowed_tracks,
    components_alone,
    known_to,
    model_of,
    need_blend,
    packed_candidates,
    vectors_of_content,
)
from specrec.pipeline.factors import Fitted, as_it_stands, listeners_artefact
from specrec.pipeline.hashes import people_hash
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run
from specrec.settings import System
from specrec.warehouse.schemas import GONE, NEW

_TABLE = "user_recommendations"
#: What tells a row of ``user_recommendations`` from all others, whatever its rank.
_ROW = ("system", "user_id", "track_id")


def recommend_to_people(run: Run) -> None:
    """Make the lists of people that are missing or out of date, and delete those of people who are gone."""
    with run.stage("people") as report, Kept() as kept:
        fitted = run.artefacts.find(listeners_artefact(run.config))
        if fitted is None:  # nobody did anything yet
            report.unchanged()
            return
        blend, vectors = need_blend(run, fitted, report), vectors_of_content(run)
        standing = run.warehouse.read(_TABLE)
        made_with = [fitted.made_with, blend.made_with, str(people_hash(run.config)), *vectors.made_with]
        wanted, people = kept.count(_people(run, made_with))
        due, count = kept.count(_due(wanted, standing, allowed_tracks(run)))
        gone, left = kept.count(standing.select("user_id").distinct().join(wanted, "user_id", "left_anti"))
        report.rows_in = people
        report.count("people_due", count)
        report.count("removed", left)
        if not count and not left:
            report.unchanged()
            return
        systems = systems_of(run.config, blend.arrays["weights"])
        model = model_of(run.config, fitted.arrays["gram"], systems, vectors.dimensions)
        lists = _lists(run, kept, due, count, fitted=as_it_stands(run, fitted), vectors=vectors, model=model)
        lists = lists.join(due, "user_id").withColumns(run.stamp())
        if count == people:
            run.warehouse.replace(_TABLE, lists)
            report.rows_out = run.warehouse.read(_TABLE).count()
            return
        touched = due.select("user_id").unionByName(gone)
        before = standing.join(touched, "user_id", "left_semi").select(*_ROW)
        new = kept.keep(lists.withColumn("change", F.lit(NEW)))
        fallen = before.join(new.select(*_ROW), list(_ROW), "left_anti").withColumn("change", F.lit(GONE))
        changes, report.rows_out = kept.count(new.unionByName(fallen, allowMissingColumns=True))
        of = run.config.maintain
        run.warehouse.change(_TABLE, changes, _ROW, (), {}, group_rows=of.rows_a_group, file_bytes=of.file_bytes)


def _people(run: Run, made_with: list[str]) -> DataFrame:
    """Return ``user_id, input_hash`` of all who are to have lists, and of nobody in particular."""
    nobody = run.warehouse.spark.createDataFrame([(NOBODY,)], "user_id string")
    nobody = nobody.select("user_id", F.sha2(F.lit("\n".join(made_with)), 256).alias("input_hash"))
    preferences = run.warehouse.read("preferences").select("user_id", "track_id", "preference", "confidence")
    return states_of_people(preferences, made_with).unionByName(nobody)


def _due(wanted: DataFrame, standing: DataFrame, allowed: DataFrame) -> DataFrame:
    """Return those whose lists are missing or out of date, or hold a track that may not be recommended."""
    up_to_date = standing.select("user_id", "input_hash").distinct()
    stale = wanted.join(up_to_date, ["user_id", "input_hash"], "left_anti")
    lost = standing.select("user_id", "track_id").join(allowed.select("track_id"), "track_id", "left_anti")
    lost = wanted.join(lost.select("user_id").distinct(), "user_id", "left_semi")
    return stale.unionByName(lost).distinct()


def systems_of(config: Config, weights: Float64Array) -> dict[System, Float64Array]:
    """Return the weights of each system's components, by level: of ``hybrid`` all, of another its own alone.

    Parameters
    ----------
    weights : float64, shape (levels, components)
        Those of ``hybrid``.
    """
    every = {HYBRID: weights} | components_alone(len(weights))
    return {name: every[name] for name in config.listeners.systems}


def _lists(
    run: Run, kept: Kept, people: DataFrame, count: int, *, fitted: Fitted, vectors: Vectors, model: Model
) -> DataFrame:
    """Return the lists of some people, with reasons.

    Parameters
    ----------
    people : DataFrame
        ``user_id``.
    count : int
        How many they are.
    """
    read, config, recommend = run.warehouse.read, run.config.listeners, run.config.recommend
    preferences = known_to(run, read("preferences"), people, count, fitted=fitted, vectors=vectors)
    preferences = kept.keep(preferences)
    tracks = kept.keep(packed_candidates(run, fitted, vectors, model))
    found = found_tracks(kept.keep(packed_people(preferences, model)), tracks, model, config)
    most = {"artists": recommend.max_per_artist, "albums": recommend.max_per_album}
    chosen = chosen_tracks(found, count, config, most)
    chosen = chosen.select("system", "user_id", "track_id", "code", "components", "level", "together")
    told = fitted.tracks.select("track_id", "als", "listeners", "liked")
    chosen = chosen.join(told, "track_id", "left").join(vectors.rows, "track_id", "left")
    told = lists_with_reasons(preferences, chosen.withColumn("block", block_of_person(count)), model)
    return with_sound(told, read("recommendations").where(F.col("system") == config.space))
