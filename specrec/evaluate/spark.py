"""Evaluation in Spark: what is counted over the whole catalogue, and what is collected of a sample of it.

Everything that is returned to this process is bounded: a histogram, a row a system, or what is known of the tracks
of a sample.
"""

from __future__ import annotations

from functools import reduce

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.embedding.spark import sample_tracks


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


def first_named() -> Column:
    """Return the family or region that an explanation names first; where it names none, the greatest part."""
    told = F.filter("reasons", lambda reason: reason["family"] != "catalogue")
    places = F.transform(
        told, lambda reason: F.struct(F.instr("explanation", reason["statement"]).alias("at"), reason["family"])
    )
    named = F.array_min(F.filter(places, lambda place: place["at"] > 0))
    return F.coalesce(named["family"], F.try_element_at("reasons", F.lit(1))["family"])


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
