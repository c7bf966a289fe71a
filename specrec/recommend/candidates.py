"""Candidates in Spark: which of a track's neighbours become its list.

Neighbours meet what is known of them as narrow columns (numbers alone, beside the ids), are gathered to one row a
track, and lists are chosen for some thousand tracks at once.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.recommend.choose import SPACE as _SPACE
from specrec.recommend.choose import choose_batches
from specrec.recommend.config import RecommendConfig
from specrec.recommend.traits import MARKETS

_CHOSEN = "system string, track_id string, rank int, recommended_track_id string, score double, affinity double"


def traits(tracks: DataFrame, duplicates: DataFrame, config: RecommendConfig) -> DataFrame:
    """Return what decides whether, and beside which others, a track is recommended, one row a track.

    ``track_id``; ``allowed``: whether it may be recommended at all; ``artists`` and ``albums``: codes of those that
    count against a limit, each once; ``duplicate``: a code of its group of duplicates, or null. What no setting
    asks for is empty, so that its change rewrites no list. What a catalogue does not say speaks against no track.

    Parameters
    ----------
    tracks, duplicates : the tables.
    """
    seconds = F.col("duration_ms") / 1_000
    excluded = [
        seconds < config.min_duration_seconds if config.min_duration_seconds else None,
        seconds > config.max_duration_seconds if config.max_duration_seconds else None,
        F.col("explicit") if not config.explicit else None,
        ~_available(config.market) if config.market else None,
    ]
    allowed = F.lit(True)
    for condition in excluded:
        if condition is not None:
            allowed &= ~F.coalesce(condition, F.lit(False))
    names = F.transform(F.split(F.coalesce("artists", F.lit("")), ";"), _clean)
    artists = F.array_distinct(F.filter(names, lambda name: name != ""))
    album = _clean(F.col("album_name"))
    # two artists may each have an album named "Greatest Hits"
    by_artist = F.transform(
        F.when(F.size(artists) > 0, artists).otherwise(F.array(F.lit(""))), lambda name: F.xxhash64(album, name)
    )
    none = F.array().cast("array<bigint>")
    groups = duplicates.select("track_id", F.xxhash64("group_id").alias("duplicate"))
    return tracks.select(
        "track_id",
        allowed.alias("allowed"),
        (F.transform(artists, _code) if config.max_per_artist else none).alias("artists"),
        (F.when(album != "", by_artist).otherwise(none) if config.max_per_album else none).alias("albums"),
    ).join(groups, "track_id", "left")


def choose_lists(neighbours: DataFrame, traits: DataFrame, config: RecommendConfig) -> DataFrame:
    """Return the lists: ``system, track_id, rank, recommended_track_id, score, affinity``.

    A list ranks by :func:`~specrec.recommend.hubs.affinity`, then by the cosine, then by the id. It holds no
    duplicate of its track, one of each group of duplicates, and no more of an artist and of an album than the
    settings allow. What the neighbours cannot fill stays short.

    Parameters
    ----------
    neighbours : ``space, track_id, rank, neighbour_id, cosine`` of the systems that are wanted.
    traits : of :func:`traits`.
    """
    # sums of decimals, unlike those of doubles, do not depend on the order of the rows
    cosine = F.col("cosine").cast("decimal(18,15)")
    mean, square = F.avg(cosine).cast("double"), F.avg((cosine * cosine).cast("decimal(18,15)")).cast("double")
    group = traits.select("track_id", "duplicate").where("duplicate is not null")
    of_listed = group.select(F.col("track_id").alias("neighbour_id"), F.col("duplicate").alias("of_neighbour"))
    apart = neighbours.select(*_SPACE, "neighbour_id", "cosine")
    apart = apart.join(group, "track_id", "left").join(of_listed, "neighbour_id", "left")
    # its own copies are near to any track, and make no hub of it
    apart = apart.where(~F.coalesce(F.col("duplicate") == F.col("of_neighbour"), F.lit(False)))
    near = apart.groupBy(*_SPACE).agg(
        mean.alias("mean"), F.sqrt(F.greatest(square - mean * mean, F.lit(0.0))).alias("std")
    )
    known = traits.where("allowed").drop("allowed").withColumnRenamed("track_id", "neighbour_id")
    of_neighbour = near.withColumnRenamed("track_id", "neighbour_id")
    # nothing says how near the nearest are of a track that found none but its copies, except that this one is
    usual = [F.coalesce("mean", "cosine").alias("mean"), F.coalesce("std", F.lit(0.0)).alias("std")]
    candidate = F.struct("rank", "neighbour_id", "cosine", *usual, "duplicate", "artists", "albums")
    candidates = (
        neighbours.select(*_SPACE, "rank", "neighbour_id", "cosine")
        .join(of_neighbour, ["space", "neighbour_id"], "left")
        .join(known, "neighbour_id")
        .groupBy(*_SPACE)
        .agg(F.array_sort(F.collect_list(candidate)).alias("candidates"))
    )
    own = candidates.join(near, _SPACE).join(traits.select("track_id", "duplicate"), "track_id")
    return own.select(*_SPACE, "mean", "std", "duplicate", "candidates").mapInArrow(choose_batches(config), _CHOSEN)


def _available(market: str) -> Column:
    """Return whether a track is available in a country; one whose catalogue names no country is everywhere."""
    listed = F.btrim(F.coalesce(*(F.col("extra")[name] for name in MARKETS)))
    return (listed == "") | F.upper(listed).rlike(rf"\b{market}\b")  # "[]" names none


def _clean(name: Column) -> Column:
    return F.btrim(F.regexp_replace(F.lower(name), r"\s+", " "))


def _code(name: Column) -> Column:
    return F.xxhash64(name)
