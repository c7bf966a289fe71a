"""People: ``preferences`` become ``user_recommendations``: what each person is recommended, and why.

A person's lists are made anew when what is known of the person changed, when what is fitted to all listeners was
fitted anew, or when a track changed that is in a list or that the person knows: it may not be recommended any more,
or has another title, artist or file. Nobody else's are touched. What lists were told of each track is remembered in
``told_tracks``, and who knows all that there is in ``people_without_list``; both after the lists, so that the night
after one that died makes them again.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.arrays import Float64Array
from specrec.config import Config
from specrec.embedding.config import HYBRID
from specrec.events.spark import differing
from specrec.listeners.config import NOBODY
from specrec.listeners.spark import (
    block_of_person,
    lists_with_reasons,
    short_lists,
    states_of_people,
    titles_of,
    with_sound,
    words_of_tracks,
)
from specrec.pipeline.blend import (
    Vectors,
    components_alone,
    known_to,
    model_of,
    need_blend,
    vectors_of_content,
)
from specrec.pipeline.factors import as_it_stands, listeners_artefact
from specrec.pipeline.hashes import people_hash
from specrec.pipeline.kept import Kept
from specrec.pipeline.people_lists import chosen_lists
from specrec.pipeline.run import Run, StageReport
from specrec.recommend.spark import choices, stated
from specrec.settings import System
from specrec.warehouse.artefacts import Artefact
from specrec.warehouse.schemas import GONE, NEW

_TABLE, _TRACKS, _WITHOUT = "user_recommendations", "told_tracks", "people_without_list"
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
        standing, without = run.warehouse.read(_TABLE), run.warehouse.read(_WITHOUT)
        made_with = [fitted.made_with, blend.made_with, str(people_hash(run.config)), *vectors.made_with]
        wanted, people = kept.count(_people(run, made_with))
        tracks, changed = kept.count(_changed_tracks(run))
        due, count = kept.count(_due(run, wanted, tracks if changed else None))
        before = standing.select("user_id").unionByName(without.select("user_id")).distinct()
        gone, left = kept.count(before.join(wanted, "user_id", "left_anti"))
        report.rows_in = people
        report.count("people_due", count)
        report.count("people_removed", left)
        report.count("tracks_changed", changed)
        if not count and not left and not changed:
            report.unchanged()
            return
        if count or left:
            lists = run.warehouse.read(_TABLE).limit(0)
            if count:
                lists = _lists(run, kept, due, count, fitted=fitted, blend=blend, vectors=vectors)
            if count == people:
                run.warehouse.replace(_TABLE, lists)
                report.rows_out = run.warehouse.read(_TABLE).count()
            else:
                report.rows_out = _change(run, kept, lists, due.select("user_id").unionByName(gone))
            _tell_who_lacks_what(run, report, kept, wanted)
        if changed:
            run.warehouse.change(_TRACKS, tracks.withColumns(_run_id(run)), ("track_id",), (), {})


def _change(run: Run, kept: Kept, lists: DataFrame, people: DataFrame) -> int:
    """Put lists in the place of all that some people have, and return how many rows changed."""
    before = run.warehouse.read(_TABLE).join(people, "user_id", "left_semi").select(*_ROW)
    new = kept.keep(lists.withColumn("change", F.lit(NEW)))
    fallen = before.join(new.select(*_ROW), list(_ROW), "left_anti").withColumn("change", F.lit(GONE))
    changes, count = kept.count(new.unionByName(fallen, allowMissingColumns=True))
    run.warehouse.change(_TABLE, changes, _ROW, (), {})
    return count


def _tell_who_lacks_what(run: Run, report: StageReport, kept: Kept, wanted: DataFrame) -> None:
    """Count the lists of tonight that are not full, and remember who has none at all.

    Parameters
    ----------
    wanted : DataFrame
        ``user_id, input_hash`` of all who are to have lists.
    """
    lists = run.warehouse.read(_TABLE)
    short = short_lists(lists.where(F.col("run_id") == run.run_id), run.config.listeners.top_n)
    for row in short.groupBy("system").count().collect():  # one row a system
        report.count("lists_not_full", row["count"], row.system)
    none = wanted.join(lists.select("user_id").distinct(), "user_id", "left_anti")
    none, count = kept.count(none.withColumns(_run_id(run)))
    report.count("people_without_list", count)
    if count or not run.warehouse.read(_WITHOUT).isEmpty():
        run.warehouse.replace(_WITHOUT, none)


def _run_id(run: Run) -> dict[str, Column]:
    return {"run_id": F.lit(run.run_id)}


def _people(run: Run, made_with: list[str]) -> DataFrame:
    """Return ``user_id, input_hash`` of all who are to have lists, and of nobody in particular."""
    nobody = run.warehouse.spark.createDataFrame([(NOBODY,)], "user_id string")
    nobody = nobody.select("user_id", F.sha2(F.lit("\n".join(made_with)), 256).alias("input_hash"))
    preferences = run.warehouse.read("preferences").select("user_id", "track_id", "preference", "confidence")
    return states_of_people(preferences, made_with).unionByName(nobody)


def _changed_tracks(run: Run) -> DataFrame:
    """Return ``change, track_id, words`` of tracks of which lists would be told something else by now."""
    read, config = run.warehouse.read, run.config
    tracks, vectors = read("tracks"), read("embeddings").where(F.col("space") == config.listeners.space)
    choice = choices(tracks, read("duplicates"), config.recommend)
    now = words_of_tracks(choice, stated(tracks), titles_of(tracks), vectors.select("track_id", "input_hash"))
    return differing(read(_TRACKS), now, ["track_id"], ["words"])


def _due(run: Run, wanted: DataFrame, tracks: DataFrame | None) -> DataFrame:
    """Return those of `wanted` whose lists are missing or out of date.

    Parameters
    ----------
    wanted : DataFrame
        ``user_id, input_hash``.
    tracks : DataFrame or None
        ``track_id`` of those that changed; None: none did. If any did, who knew all that there was may not now.
    """
    read, key = run.warehouse.read, ["user_id", "input_hash"]
    standing = read(_TABLE)
    up_to_date = standing.select(*key)
    if tracks is None:
        return wanted.join(up_to_date.unionByName(read(_WITHOUT).select(*key)).distinct(), key, "left_anti")
    stale = wanted.join(up_to_date.distinct(), key, "left_anti")
    pairs = standing.select("user_id", "track_id").unionByName(read("preferences").select("user_id", "track_id"))
    theirs = pairs.join(tracks.select("track_id"), "track_id", "left_semi").select("user_id").distinct()
    return stale.unionByName(wanted.join(theirs, "user_id", "left_semi")).distinct()


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
    run: Run, kept: Kept, people: DataFrame, count: int, *, fitted: Artefact, blend: Artefact, vectors: Vectors
) -> DataFrame:
    """Return the rows of ``user_recommendations`` of some people.

    Parameters
    ----------
    people : DataFrame
        ``user_id, input_hash``.
    count : int
        How many they are.
    """
    read, config = run.warehouse.read, run.config
    of_all = as_it_stands(run, fitted)
    model = model_of(config, of_all.gram, systems_of(config, blend.arrays["weights"]), vectors.dimensions)
    preferences = kept.keep(known_to(run, read("preferences"), people, count, fitted=of_all, vectors=vectors))
    chosen = chosen_lists(run, kept, preferences, count, fitted=of_all, vectors=vectors, model=model)
    of_pairs = ("components", "level", "together", "near_liked", "near")
    chosen = chosen.select("system", "user_id", "track_id", "code", *of_pairs)
    told = of_all.tracks.select("track_id", "als", "listeners", "liked")
    chosen = chosen.join(told, "track_id", "left").join(vectors.rows, "track_id", "left")
    lists = lists_with_reasons(preferences, chosen.withColumn("block", block_of_person(count)), model)
    lists = with_sound(lists, read("recommendations").where(F.col("system") == config.listeners.space))
    return lists.join(people, "user_id").withColumns(run.stamp())
