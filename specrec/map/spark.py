"""The map in Spark: which tracks are to be placed, and where they lie."""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.map.tracks import SCHEMA, placing


def key_of_vector() -> Column:
    """Return what tells whether a track has the vector that the map was fitted on, from ``embeddings``."""
    return F.xxhash64("track_id", "input_hash")


def drawn_and_due(embeddings: DataFrame, drawn: DataFrame, made_with: str) -> DataFrame:
    """Return the tracks that are due on the map beside those that are drawn on it.

    Parameters
    ----------
    embeddings : DataFrame
        ``track_id, input_hash, vector_key`` of the space that is drawn.
    drawn : DataFrame
        The table ``map``.
    made_with : str
        Names the map, by its version, that tracks are placed on.

    Returns
    -------
    DataFrame
        ``track_id, vector_key``, ``input_hash`` (null: the track is gone), ``old_hash`` (null: the track is new)
        and ``is_stale``: whether it is to be placed, as it is new or has another vector or map.
    """
    wanted = F.sha2(F.concat_ws("\n", "input_hash", F.lit(made_with)), 256)
    now = embeddings.select("track_id", "vector_key", wanted.alias("input_hash"))
    old = drawn.select("track_id", F.col("input_hash").alias("old_hash"))
    is_stale = F.col("input_hash").isNotNull() & ~F.col("input_hash").eqNullSafe(F.col("old_hash"))
    return now.join(old, "track_id", "full_outer").withColumn("is_stale", is_stale)


def place_tracks(embeddings: DataFrame, arrays: dict[str, Any], neighbours: int) -> DataFrame:
    """Return where tracks lie on a map; the columns are :data:`~specrec.map.tracks.SCHEMA`.

    Parameters
    ----------
    embeddings : DataFrame
        ``track_id, vector`` of the space that the map was fitted to, ``vector_key`` as of :func:`key_of_vector`,
        and ``input_hash``, which is passed on.
    arrays : dict
        Those of the map's artefact.
    neighbours : int
        By how many tracks of the map a new one is placed: ``map.neighbours``.
    """
    return embeddings.mapInPandas(placing(arrays, neighbours), SCHEMA)
