"""Evaluation in Spark: what is counted over the whole catalogue, and what is collected of a sample of it.

Everything that is returned to this process is bounded: a histogram, a row a system, or what is known of the tracks
of a sample.
"""

from __future__ import annotations

from functools import reduce

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from specrec.embedding.spark import lot, sample_tracks
from specrec.events.rules import FEEDBACK_KINDS
from specrec.warehouse.explained import told_by_name


def collected(rows: DataFrame) -> pd.DataFrame:
    """Return rows in this process."""
    frame: pd.DataFrame = rows.toPandas()
    return frame


# --- what is known of tracks --------------------------------------------------------------------------------


def what_is_known(tracks: DataFrame, song_column: str) -> DataFrame:
    """Return what the catalogue says: the facts of :class:`~specrec.evaluate.ranking.Facts`, and ``popularity``.

    Parameters
    ----------
    tracks : DataFrame
        The table ``tracks``.
    song_column : str
        Column of the catalogue that names the song a clip is of.
    """
    named = (
        F.col(f"`{song_column}`").cast("string") if song_column in tracks.columns else F.col("extra")[song_column]
    )
    columns = ("track_id", "artists", "album_name", "track_genre", "popularity")
    return tracks.select(*columns, F.nullif(named, F.lit("")).alias("song"))


def share_of_likes(feedback: DataFrame) -> DataFrame:
    """Return ``track_id, liked``: the share of likes among the likes and dislikes of each track that has any.

    Parameters
    ----------
    feedback : DataFrame
        ``track_id, liked, disliked``: numbers of people, as text or numbers; a track may have several rows.
    """
    sums = feedback.groupBy("track_id").agg(
        *(F.sum(F.col(name).try_cast("double")).alias(name) for name in ("liked", "disliked"))
    )
    share = F.col("liked") / (F.col("liked") + F.col("disliked"))
    return sums.where("liked + disliked > 0").select("track_id", share.alias("liked"))


def draw_samples(known: DataFrame, liked: DataFrame | None, size: int, seed: int) -> pd.DataFrame:
    """Return ``track_id, asked``: a sample of the tracks that each question can be asked of.

    Parameters
    ----------
    known : DataFrame
        What :func:`what_is_known` returned.
    liked : DataFrame or None
        What :func:`share_of_likes` returned, if there is feedback.
    size, seed : int
        How many tracks a question is asked of, at most, and what chooses them.
    """
    siblings = known.where("song is not null").groupBy("song").count().where("count > 1").select("song")
    able = {
        "any": known,
        "genre": known.where("track_genre is not null"),
        "song": known.join(siblings, "song", "left_semi"),
    }
    if liked is not None:
        able["listeners"] = known.join(liked, "track_id", "left_semi")
    drawn = [
        sample_tracks(rows.select("track_id"), size, seed, "evaluation").withColumn("asked", F.lit(question))
        for question, rows in able.items()
    ]
    return collected(reduce(DataFrame.unionByName, drawn))


def facts_of(known: DataFrame, liked: DataFrame | None, few: DataFrame) -> pd.DataFrame:
    """Return what :class:`~specrec.evaluate.ranking.Facts` is made of, of a few tracks, with ``liked``."""
    told = known.join(few, "track_id", "left_semi").drop("popularity")
    if liked is None:
        return collected(told.withColumn("liked", F.lit(None).cast("double")))
    return collected(told.join(liked, "track_id", "left"))


def most_popular(known: DataFrame, count: int) -> pd.Series:
    """Return the track_ids that the catalogue says to be the most popular, the most popular first."""
    popular = known.where("popularity is not null").orderBy(F.desc("popularity"), "track_id").limit(count)
    return collected(popular.select("track_id"))["track_id"]


def sizes_of_genres(known: DataFrame, groups: DataFrame | None) -> dict[int, int]:
    """Return how many genres have how many recordings, by the number of recordings.

    What is collected grows with the different sizes, and not with the genres: files have tags of any text.

    Parameters
    ----------
    known : DataFrame
        ``track_id, track_genre``.
    groups : DataFrame or None
        As :func:`in_recordings` takes it.
    """
    named = known.where("track_genre is not null").select("track_id", "track_genre")
    recording = F.col("track_id")
    if groups is not None:
        named = named.join(groups.select("track_id", "group_id"), "track_id", "left")
        recording = F.coalesce("group_id", "track_id")
    sizes = named.groupBy("track_genre").agg(F.countDistinct(recording).alias("size"))
    counts = sizes.groupBy("size").agg(F.count("*").alias("genres")).orderBy("size")
    return {row["size"]: row["genres"] for row in counts.collect()}


# --- lists --------------------------------------------------------------------------------------------------


def in_recordings(recommendations: DataFrame, groups: DataFrame | None) -> DataFrame:
    """Return ``system, track_id, own, recording``: whose list it is and what is recommended, as recordings.

    Tracks of a group of duplicates are one recording; any other track is one by itself.

    Parameters
    ----------
    recommendations : DataFrame
        The table ``recommendations``.
    groups : DataFrame or None
        ``group_id, track_id`` of the table ``duplicates``; None if it names no group.
    """
    lists = recommendations.select("system", "track_id", "recommended_track_id")
    own, recording = F.col("track_id"), F.col("recommended_track_id")
    if groups is not None:
        of_own = groups.select("track_id", F.col("group_id").alias("own_group"))
        of_listed = groups.select(F.col("track_id").alias("recommended_track_id"), "group_id")
        lists = lists.join(of_own, "track_id", "left").join(of_listed, "recommended_track_id", "left")
        # prefixes tell them apart, since a group has the name of one of its tracks
        own, recording = (
            F.coalesce(F.concat(F.lit("group "), group), F.concat(F.lit("track "), track))
            for group, track in (("own_group", "track_id"), ("group_id", "recommended_track_id"))
        )
    return lists.select("system", "track_id", own.alias("own"), recording.alias("recording"))


def count_surplus(groups: DataFrame, known: DataFrame) -> int:
    """Return how many more tracks there are than recordings."""
    members = groups.join(known.select("track_id"), "track_id", "left_semi")
    (row,) = members.agg(F.count("*").alias("tracks"), F.countDistinct("group_id").alias("groups")).collect()
    surplus: int = row.tracks - row.groups
    return surplus


def count_times(lists: DataFrame) -> pd.DataFrame:
    """Return ``system, times, count``: how many recordings are recommended how many times, from once up.

    Parameters
    ----------
    lists : DataFrame
        What :func:`in_recordings` returned.
    """
    times = lists.groupBy("system", "recording").agg(F.count("*").alias("times"))
    return collected(times.groupBy("system", "times").count())


def count_lengths(lists: DataFrame) -> pd.DataFrame:
    """Return ``system, length, duplicates, count``: how many lists are how long, with how many needless members.

    A member is needless if it is the track's own recording, or one that is in the list already.

    Parameters
    ----------
    lists : DataFrame
        What :func:`in_recordings` returned.
    """
    others = F.collect_set(F.when(F.col("recording") != F.col("own"), F.col("recording")))
    of_list = lists.groupBy("system", "track_id").agg(
        F.count("*").alias("length"), (F.count("*") - F.size(others)).alias("duplicates")
    )
    return collected(of_list.groupBy("system", "length", "duplicates").count())


# --- explanations -------------------------------------------------------------------------------------------


def count_sentences(recommendations: DataFrame) -> DataFrame:
    """Return, by system, how its sentences differ, and how far the parts are from the score.

    The columns are ``system, rows, distinct, commonest`` (the sentence), ``most`` (its rows) and ``error``.

    Parameters
    ----------
    recommendations : DataFrame
        The table ``recommendations``.
    """
    parts = F.aggregate(
        "reasons", F.lit(0.0), lambda total, reason: total + F.coalesce(reason["contribution"], F.lit(0.0))
    )
    return (
        recommendations.select("system", "explanation", F.abs(parts - F.col("score")).alias("error"))
        .groupBy("system", "explanation")
        .agg(F.count("*").alias("rows"), F.max("error").alias("error"))
        .groupBy("system")
        .agg(
            F.sum("rows").alias("rows"),
            F.count("*").alias("distinct"),
            F.max_by("explanation", F.struct("rows", "explanation")).alias("commonest"),
            F.max("rows").alias("most"),
            F.max("error").alias("error"),
        )
    )


# --- what people say of explanations --------------------------------------------------------------------------


def some_people(people: DataFrame, size: int, seed: int, purpose: str) -> DataFrame:
    """Return ``user_id`` of so many people at most, drawn by their ids.

    Parameters
    ----------
    people : DataFrame
        ``user_id``, in any number of rows.
    purpose : str
        Samples for unlike purposes are drawn apart.
    """
    return people.select("user_id").distinct().orderBy(lot(seed, purpose, "user_id"), "user_id").limit(size)


def judgements(events: DataFrame, size: int, seed: int) -> DataFrame:
    """Return what a sample of the people who judge explanations say of them.

    The columns are ``kind, lists, system, reason, person, total, count``: the sum of what a person says of the
    explanations of one kind of reason, and how many these are. Of one explanation a person's last word counts.

    Parameters
    ----------
    events : DataFrame
        The table.
    size, seed : int
        How many people, at most, and what chooses them.
    """
    said = events.where(F.col("kind").isin(*FEEDBACK_KINDS))
    last = Window.partitionBy("user_id", "kind", "explanation_id").orderBy(F.desc("ts"), "event_id")
    said = said.withColumn("_place", F.row_number().over(last)).where("_place = 1")
    said = said.join(some_people(said, size, seed, "judgements"), "user_id", "left_semi")
    told = said.select("kind", "value", F.xxhash64("user_id").alias("person"), "explanation_id")
    told = told.withColumns(told_by_name(F.col("explanation_id")))
    return told.groupBy("kind", "lists", "system", "reason", "person").agg(
        F.sum("value").alias("total"), F.count("*").alias("count")
    )


# --- what people are told of their lists -----------------------------------------------------------------------

#: Of each person so many liked tracks, those with the most evidence, tell what is liked together.
_LIKED_TOGETHER = 200


def opinions_of(preferences: DataFrame, tracks: DataFrame, since: str) -> DataFrame:
    """Return ``track_id, listeners, liked, changed`` of tracks that somebody has an opinion of.

    Parameters
    ----------
    preferences : DataFrame
        The table.
    tracks : DataFrame
        ``track_id``.
    since : str
        `changed` is how many people's opinions were written by later runs.
    """
    return (
        preferences.join(tracks, "track_id", "left_semi")
        .groupBy("track_id")
        .agg(
            F.count("*").alias("listeners"),
            F.count_if(F.col("preference") > 0).alias("liked"),
            F.count_if(F.col("run_id") > since).alias("changed"),
        )
    )


def who_like_both(preferences: DataFrame, pairs: DataFrame) -> DataFrame:
    """Return ``known, track_id, both, liked``: how many like both tracks of pairs, and how many the known one.

    Parameters
    ----------
    preferences : DataFrame
        The table. Of each person the 200 strongest likes count, as in ``also_liked``.
    pairs : DataFrame
        ``known, track_id``.
    """
    evidence = F.col("preference") * F.col("confidence")
    strongest = Window.partitionBy("user_id").orderBy(evidence.desc(), "track_id")
    likes = preferences.where("preference > 0").withColumn("place", F.row_number().over(strongest))
    likes = likes.where(F.col("place") <= _LIKED_TOGETHER).select("user_id", "track_id")
    named = pairs.select("track_id").unionByName(pairs.select(F.col("known").alias("track_id"))).distinct()
    likes = likes.join(named, "track_id", "left_semi")
    of_known = likes.withColumnRenamed("track_id", "known")
    both = pairs.join(of_known, "known").join(likes, ["track_id", "user_id"])
    both = both.groupBy("known", "track_id").agg(F.count("*").alias("both"))
    liked = of_known.groupBy("known").agg(F.count("*").alias("liked"))
    return pairs.join(both, ["known", "track_id"], "left").join(liked, "known", "left").fillna(0, ["both", "liked"])


def nearest_who_like(
    preferences: DataFrame, crowd: DataFrame, listed: DataFrame, *, nearest: int, least: int, shrinkage: float
) -> DataFrame:
    """Return ``user_id, track_id, liked, among``: how many of the nearest people like a track.

    Parameters
    ----------
    preferences : DataFrame
        The table, of the people in `listed`.
    crowd : DataFrame
        The table: whom people are compared with.
    listed : DataFrame
        ``user_id, track_id``: some people, and the tracks of their lists.
    nearest, least, shrinkage
        ``listeners.nearest``, ``min_together`` and ``together_shrinkage``.
    """
    likes = preferences.where("preference > 0").select("user_id", "track_id")
    theirs = crowd.select(F.col("user_id").alias("other"), "track_id")
    pairs = likes.join(theirs, "track_id").where("user_id <> other").groupBy("user_id", "other")
    both = pairs.agg(F.count("*").alias("both")).where(F.col("both") >= least)
    both = both.join(likes.groupBy("user_id").agg(F.count("*").alias("mine")), "user_id")
    both = both.join(theirs.groupBy("other").agg(F.count("*").alias("others")), "other")
    near = F.col("both") / F.sqrt(F.col("mine") * F.col("others")) * (F.col("both") / (F.col("both") + shrinkage))
    best = Window.partitionBy("user_id").orderBy(near.desc(), "other")
    found = both.withColumn("place", F.row_number().over(best)).where(F.col("place") <= nearest)
    found = found.select("user_id", "other")
    among = found.groupBy("user_id").agg(F.count("*").alias("among"))
    liked = found.join(theirs, "other").join(listed, ["user_id", "track_id"]).groupBy("user_id", "track_id")
    return liked.agg(F.count("*").alias("liked")).join(among, "user_id")


def cosines_of(vectors: DataFrame, pairs: DataFrame) -> DataFrame:
    """Return ``known, track_id, cosine`` of pairs of tracks that have vectors.

    Parameters
    ----------
    vectors : DataFrame
        ``track_id, vector`` of one space.
    pairs : DataFrame
        ``known, track_id``.
    """
    of_known = vectors.select(F.col("track_id").alias("known"), F.col("vector").alias("a"))
    both = pairs.join(of_known, "known").join(vectors.select("track_id", F.col("vector").alias("b")), "track_id")

    def product(a: str, b: str) -> Column:
        terms = F.zip_with(a, b, lambda x, y: x.cast("double") * y)
        return F.aggregate(terms, F.lit(0.0), lambda total, term: total + term)

    cosine = product("a", "b") / F.sqrt(product("a", "a") * product("b", "b"))
    return both.select("known", "track_id", cosine.alias("cosine"))


# --- what people liked that was held out -----------------------------------------------------------------------


def day_to_cut_at(events: DataFrame, share: float) -> str | None:
    """Return the first day (UTC) of the newest events, no more than a share of all; the last day, if that is more.

    None where all events are of one day. What is collected is a number a day.

    Parameters
    ----------
    events : DataFrame
        ``ts``.
    """
    counts = collected(events.groupBy(F.date_format("ts", "yyyy-MM-dd").alias("day")).count())
    counts = counts.sort_values("day", ignore_index=True)
    if len(counts) < 2:
        return None
    newest = counts["count"][::-1].cumsum()[::-1] / counts["count"].sum()
    few = counts["day"][(newest <= share) & (counts.index > 0)]
    return str(few.iloc[0] if len(few) else counts["day"].iloc[-1])


def counted_candidates(allowed: DataFrame, listeners: DataFrame, people: int) -> dict[str, float]:
    """Return ``tracks, listeners, novelty`` of the tracks that may be recommended: how many, and two means.

    Parameters
    ----------
    allowed : DataFrame
        ``track_id``.
    listeners : DataFrame
        ``track_id, listeners``: how many people know it.
    people : int
        How many people there are.
    """
    known = allowed.select("track_id").join(listeners, "track_id", "left").fillna(0, ["listeners"])
    bits = F.log2(F.lit(people + 1) / (F.col("listeners") + 1))
    row = known.agg(
        F.count("*").alias("tracks"),
        F.mean("listeners").alias("listeners"),
        F.mean(F.round(bits, 6)).alias("novelty"),
    ).first()
    assert row is not None
    return {name: value or 0 for name, value in row.asDict().items()}


def first_places(chosen: DataFrame, count: int) -> DataFrame:
    """Return ``system, user_id, track_id, place`` of the first tracks of people's lists.

    Parameters
    ----------
    chosen : DataFrame
        ``system, user_id, track_id, score``, all of each list.
    """
    best = Window.partitionBy("system", "user_id").orderBy(F.desc("score"), "track_id")
    placed = chosen.select("system", "user_id", "track_id", F.row_number().over(best).alias("place"))
    return placed.where(F.col("place") <= count)
