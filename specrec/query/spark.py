"""Queries by many songs, in Spark: the one module of this package that imports it.

The catalogue's vectors stay where they are: each task compares its part of them with all queries, and only the
nearest of each query leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from specrec.arrays import Float32Array
from specrec.embedding.statistics import ATTRIBUTES
from specrec.query.choose import SAME
from specrec.query.nearest import nearest
from specrec.recommend.config import RecommendConfig
from specrec.recommend.spark import choose_lists, nearness, traits
from specrec.settings import System

Batches = Iterator[pa.RecordBatch]

_NEAREST = "query int, neighbour_id string, cosine double"


def nearest_tracks(vectors: DataFrame, queries: Float32Array, names: Sequence[str], wanted: int) -> DataFrame:
    """Return ``track_id, rank, neighbour_id, cosine``: the nearest tracks of each query.

    Parameters
    ----------
    vectors : DataFrame
        ``track_id, vector`` of the catalogue, in one space.
    queries : float32, shape (queries, dimensions)
        None of them may be zero.
    names : sequence of str
        The ``track_id`` of each query.
    wanted : int
        How many tracks are wanted of each query.
    """
    near = vectors.select("track_id", "vector").mapInArrow(_search(queries, wanted), _NEAREST)
    best = Window.partitionBy("query").orderBy(F.col("cosine").desc(), "neighbour_id")
    near = near.withColumn("rank", F.row_number().over(best)).where(F.col("rank") <= wanted)
    of_query = vectors.sparkSession.createDataFrame(list(enumerate(names)), "query int, track_id string")
    return near.join(F.broadcast(of_query), "query").select("track_id", "rank", "neighbour_id", "cosine")


def _search(queries: Float32Array, wanted: int) -> Callable[[Batches], Batches]:
    def search(batches: Batches) -> Batches:
        found = nearest(queries, batches, wanted)
        columns = {"query": pa.array(found.rows, pa.int32()), "neighbour_id": found.ids, "cosine": found.cosines}
        yield pa.RecordBatch.from_pydict(columns)

    return search


def tracks_themselves(found: DataFrame) -> DataFrame:
    """Return ``track_id, itself, cosine`` of the queries that are songs of the catalogue.

    Parameters
    ----------
    found : DataFrame
        As :func:`nearest_tracks` returns it.
    """
    is_same = (F.col("rank") == 1) & (F.col("cosine") >= SAME)
    return found.where(is_same).select("track_id", F.col("neighbour_id").alias("itself"), "cosine")


def choose_query_lists(
    found: DataFrame,
    tables: Mapping[str, DataFrame],
    system: System,
    config: RecommendConfig,
    wanted: int,
) -> DataFrame:
    """Return the queries' lists: ``system, track_id, rank, recommended_track_id, score, affinity``.

    The list of a song of the catalogue is its track's, after the track itself, which has no affinity.

    Parameters
    ----------
    found : DataFrame
        As :func:`nearest_tracks` returns it, with one more track a query than are looked for in a night.
    tables : dict of DataFrame
        By name: ``neighbours``, ``tracks``, ``duplicates`` and ``list_inputs``.
    wanted : int
        How many tracks were looked for.
    """
    itself = tracks_themselves(found)
    others = found.join(itself.select("track_id", "itself"), "track_id", "left").where(
        F.coalesce(F.col("neighbour_id") != F.col("itself"), F.col("rank") < wanted)
    )
    columns = ["space", "track_id", "rank", "neighbour_id", "cosine"]
    near = others.select(F.col("neighbour_id").alias("track_id")).distinct()
    of_near = tables["neighbours"].where(F.col("space") == system).join(near, "track_id", "left_semi")
    everything = others.withColumn("space", F.lit(system)).select(columns).unionByName(of_near.select(columns))
    # a query is a track of which the catalogue says nothing but, where it is one of them, whose copy it is
    queries = others.select("track_id").distinct()
    tracks = tables["tracks"].join(near, "track_id", "left_semi")
    own_groups = tables["duplicates"].select(F.col("track_id").alias("itself"), "group_id")
    own_groups = itself.join(own_groups, "itself").select("track_id", "group_id")
    duplicates = tables["duplicates"].select("track_id", "group_id").unionByName(own_groups)
    lists = choose_lists(
        everything,
        _kept_or(nearness(everything, duplicates), tables["list_inputs"], itself, system),
        tracks.unionByName(queries, allowMissingColumns=True),
        duplicates,
        config,
    ).join(queries, "track_id", "left_semi")
    heads = tables["tracks"].join(itself.select(F.col("itself").alias("track_id")), "track_id", "left_semi")
    allowed = traits(heads, config).where("allowed").select(F.col("track_id").alias("itself"))
    first = itself.join(allowed, "itself", "left_semi")
    shift: Column = F.when(F.col("itself").isNotNull(), 1).otherwise(0)
    lists = lists.join(first.drop("cosine"), "track_id", "left").withColumn("rank", F.col("rank") + shift)
    first = first.select(
        F.lit(system).alias("system"),
        "track_id",
        F.lit(1).alias("rank"),
        F.col("itself").alias("recommended_track_id"),
        F.col("cosine").alias("score"),
        F.lit(None).cast("double").alias("affinity"),
    )
    return lists.drop("itself").where(F.col("rank") <= config.top_n).unionByName(first)


def _kept_or(near: DataFrame, inputs: DataFrame, itself: DataFrame, system: System) -> DataFrame:
    """Return nearness as the night that made the lists kept it, and as it is where that is not known."""
    kept = inputs.where(F.col("system") == system).select("track_id", F.struct("mean", "std").alias("kept"))
    of_queries = itself.select("track_id", F.col("itself").alias("of")).join(
        kept.withColumnRenamed("track_id", "of"), "of"
    )
    of_either = kept.unionByName(of_queries.select("track_id", "kept"))
    columns = [F.coalesce(f"kept.{name}", name).alias(name) for name in ("mean", "std")]
    return near.join(of_either, "track_id", "left").select("space", "track_id", *columns)


def stated_of_queries(queries: DataFrame, itself: DataFrame, tracks: DataFrame) -> DataFrame:
    """Return ``track_id`` and the catalogue's attributes of queries: what it says of a song, it says of its track.

    Parameters
    ----------
    queries : DataFrame
        Their ``track_id``.
    itself : DataFrame
        As :func:`tracks_themselves` returns it.
    tracks : DataFrame
        The table.
    """
    of_tracks = tracks.select(F.col("track_id").alias("itself"), *ATTRIBUTES)
    own = queries.select("track_id").join(itself.select("track_id", "itself"), "track_id", "left")
    return own.join(of_tracks, "itself", "left").drop("itself")
