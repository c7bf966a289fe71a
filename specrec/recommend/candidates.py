"""Candidates in Spark: which of a track's neighbours become its list.

Neighbours meet what is known of them as narrow columns (numbers alone, beside the ids), are gathered to one row a
track, and lists are chosen for some thousand tracks at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.config import RecommendConfig
from specrec.recommend.choose import IntArray, Limit, choose
from specrec.recommend.hubs import Nearness, affinity

Batches = Iterator[pa.RecordBatch]

#: Columns of a catalogue, beside Spotify's, that say in which countries a track is available.
_MARKETS = ("available_markets", "markets")
_SPACE = ["space", "track_id"]
_NO_GROUP = 0
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
    return own.select(*_SPACE, "mean", "std", "duplicate", "candidates").mapInArrow(_choose(config), _CHOSEN)


def _available(market: str) -> Column:
    """Return whether a track is available in a country; one whose catalogue names no country is everywhere."""
    listed = F.btrim(F.coalesce(*(F.col("extra")[name] for name in _MARKETS)))
    return (listed == "") | F.upper(listed).rlike(rf"\b{market}\b")  # "[]" names none


def _clean(name: Column) -> Column:
    return F.btrim(F.regexp_replace(F.lower(name), r"\s+", " "))


def _code(name: Column) -> Column:
    return F.xxhash64(name)


def _choose(config: RecommendConfig) -> Callable[[Batches], Batches]:
    def choose_batches(batches: Batches) -> Batches:
        for batch in batches:
            lists = batch.column("candidates")
            track = _holders(lists)
            candidates = pa.RecordBatch.from_struct_array(lists.flatten())
            score = candidates.column("cosine").to_numpy()
            own = Nearness(*(values[track] for values in _nearness(batch)))
            affinities = affinity(config.hubs, score, own, _nearness(candidates))
            group = pc.fill_null(batch.column("duplicate"), _NO_GROUP).to_numpy()[track]
            is_other = (group == _NO_GROUP) | (
                group != pc.fill_null(candidates.column("duplicate"), _NO_GROUP).to_numpy()
            )
            rank = choose(track, affinities, is_other, config.top_n, _limits(candidates, config))
            order = np.lexsort((rank, track))
            kept = order[rank[order] > 0]
            of_track = batch.select(_SPACE).take(pa.array(track[kept]))
            columns = {
                "system": of_track.column("space"),
                "track_id": of_track.column("track_id"),
                "rank": pa.array(rank[kept], pa.int32()),
                "recommended_track_id": candidates.column("neighbour_id").take(pa.array(kept)),
                "score": pa.array(score[kept]),
                "affinity": pa.array(affinities[kept]),
            }
            yield pa.RecordBatch.from_pydict(columns)

    return choose_batches


def _nearness(rows: pa.RecordBatch) -> Nearness:
    return Nearness(rows.column("mean").to_numpy(), rows.column("std").to_numpy())


def _limits(candidates: pa.RecordBatch, config: RecommendConfig) -> list[Limit]:
    grouped = np.flatnonzero(candidates.column("duplicate").is_valid())
    limits = [Limit(grouped, candidates.column("duplicate").drop_null().to_numpy(), 1)]
    for column, most in (("artists", config.max_per_artist), ("albums", config.max_per_album)):
        if most:
            names = candidates.column(column)
            limits.append(Limit(_holders(names), names.flatten().to_numpy(), most))
    return limits


def _holders(lists: pa.ListArray) -> IntArray:
    """Return the list that each item is in, shape (items,)."""
    return np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
