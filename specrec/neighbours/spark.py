"""The search in Spark: every track meets the tracks of the cells that it probes. Nothing gathers the catalogue.

The search itself is three shuffles; what a task does between two of them is in :mod:`specrec.neighbours.search`. An
update needs to know, beside that, which lists stand and which must be found anew, and how what was found joins what
stands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import reduce

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from specrec.arrays import Vectors
from specrec.neighbours.cells import UNSEARCHABLE, CellLayout
from specrec.neighbours.recall import TRUTH, comparing_with_all
from specrec.neighbours.search import (
    COUNTS,
    FOUND,
    NEW,
    PACKED,
    PIECE,
    SETTLED,
    STALE,
    counting,
    meeting_abroad,
    meeting_at_home,
    merging,
    packing,
    scattering,
)

_KEY = ["space", "track_id"]


def lists_and_vectors(neighbours: DataFrame, embeddings: DataFrame, top_n: int) -> DataFrame:
    """Return ``space, track_id, has_list, is_there, is_old, floor``: the tracks there are, beside those with lists.

    ``is_old`` says that a track's vector is the one that its list is of; ``floor`` is the cosine of the list's last
    neighbour, null if the list is not full.

    Parameters
    ----------
    neighbours, embeddings : DataFrame
        The tables ``neighbours`` and ``embeddings``, of the same spaces.
    top_n : int
        Length of a full list.
    """
    before = (
        neighbours.where(F.col("rank").isin(1, top_n))
        .groupBy(*_KEY)
        .agg(
            F.max("input_hash").alias("old_hash"),
            F.max(F.when(F.col("rank") == top_n, F.col("cosine"))).alias("floor"),
        )
    )
    now = embeddings.select(*_KEY, "input_hash")
    return before.join(now, _KEY, "full_outer").select(
        *_KEY,
        F.col("old_hash").isNotNull().alias("has_list"),
        F.col("input_hash").isNotNull().alias("is_there"),
        F.coalesce(F.col("old_hash") == F.col("input_hash"), F.lit(False)).alias("is_old"),
        "floor",
    )


def all_stale(embeddings: DataFrame) -> DataFrame:
    """Return the rows with ``state`` and ``floor``: every track is searched, as if none of its space had a list."""
    return embeddings.withColumns({"state": F.lit(STALE), "floor": F.lit(math.inf)})


def states_of_tracks(compared: DataFrame, neighbours: DataFrame) -> DataFrame:
    """Return ``space, track_id, state, floor`` of the tracks there are.

    A track is NEW if its list, if it has one, is not of its vector; STALE if its list lost a member or is not full;
    else SETTLED, and then ``floor`` is the cosine of its last neighbour.

    Parameters
    ----------
    compared : DataFrame
        What :func:`lists_and_vectors` returned.
    neighbours : DataFrame
        The table ``neighbours``, of the same spaces.
    """
    lost = compared.where(F.col("has_list") & ~F.col("is_old")).select("space", F.col("track_id").alias("lost"))
    members = neighbours.select(*_KEY, F.col("neighbour_id").alias("lost"))
    broken = members.join(lost, ["space", "lost"], "left_semi").select(*_KEY).distinct()
    state = F.when(~F.col("is_old"), NEW).when(F.col("broken") | F.col("floor").isNull(), STALE).otherwise(SETTLED)
    return (
        compared.where("is_there")
        .join(broken.withColumn("broken", F.lit(True)), _KEY, "left")
        .withColumn("state", state.cast("int"))
        .withColumn("floor", F.when(F.col("state") == SETTLED, F.col("floor")).otherwise(math.inf))
        .select(*_KEY, "state", "floor")
    )


def pack(tracks: DataFrame, centroids: Mapping[str, Vectors]) -> DataFrame:
    """Return tracks packed, some thousand a row, in the order of their cells.

    Parameters
    ----------
    tracks : DataFrame
        ``space, track_id, input_hash, vector, state, floor``; the vectors of a space are of one length.
    centroids : mapping of float32, shape (cells, dimensions)
        By space.

    Raises
    ------
    SpecrecError
        In the task that meets them, if the vectors of a space are of several lengths.
    """
    columns = ("space", "track_id", "input_hash", "vector", "state", "floor")
    return tracks.select(*columns).mapInArrow(packing(dict(centroids)), from_arrow_schema(PACKED))


def count_cells(packed: DataFrame) -> dict[str, dict[int, int]]:
    """Return how many tracks lie in each cell of each space; those with no direction are under UNSEARCHABLE."""
    cells = packed.select("space", "kind", "cells").mapInArrow(counting, from_arrow_schema(COUNTS))
    found: dict[str, dict[int, int]] = {}
    for row in cells.groupBy("space", "cell").agg(F.sum("n").alias("n")).collect():  # bounded: MOST_CELLS a space
        found.setdefault(row.space, {})[row.cell] = row.n
    return found


def unsearchable(packed: DataFrame) -> DataFrame:
    """Return ``space, track_id`` of the tracks whose vector has no direction: it is zero, or not finite."""
    return packed.where(F.col("kind") == UNSEARCHABLE).select("space", F.explode("ids").alias("track_id"))


def true_neighbours(packed: DataFrame, samples: Mapping[str, pd.DataFrame], top_n: int) -> pd.DataFrame:
    """Return the nearest of all tracks: ``space, track_id, neighbour_id, cosine, cell`` (the neighbour's).

    Parameters
    ----------
    packed : DataFrame
        What :func:`pack` returned.
    samples : mapping of DataFrame
        ``track_id, vector`` of some tracks, by space.
    top_n : int
        How many neighbours a track has.
    """
    found = packed.mapInArrow(comparing_with_all(dict(samples), top_n), TRUTH)
    nearest = Window.partitionBy("space", "track_id").orderBy(F.desc("cosine"), "neighbour_id")
    ranked = found.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= top_n).drop("rank")
    truth: pd.DataFrame = ranked.toPandas()  # as large as the sample
    return truth


def find(packed: DataFrame, layouts: Mapping[str, CellLayout], top_n: int) -> DataFrame:
    """Return ``space, track_id, rank, neighbour_id, cosine, euclidean, input_hash``.

    With a rank, the complete list of a track that is new or stale; with none, what may enter a settled track's
    list. Whatever the number of partitions and the order of rows, the result is the same; where every cell is
    probed, it does not depend on the layout either.

    Parameters
    ----------
    packed : DataFrame
        What :func:`pack` returned.
    layouts : mapping of CellLayout
        By space; see :func:`specrec.neighbours.plan.lay_out`.
    top_n : int
        How many neighbours a track has.
    """
    layouts = dict(layouts)
    targets = sum(layout.targets for layout in layouts.values())

    def by_target(rows: DataFrame) -> DataFrame:
        return rows.repartitionById(targets, "target").sortWithinPartitions("target", "kind")

    searchable = packed.where(F.col("kind") == PIECE)
    pieces = searchable.mapInArrow(scattering(layouts), from_arrow_schema(PACKED))
    sent = by_target(pieces).mapInArrow(meeting_at_home(layouts, top_n), from_arrow_schema(PACKED))
    found = by_target(sent).mapInArrow(meeting_abroad(top_n), from_arrow_schema(PACKED))
    return by_target(found).mapInArrow(merging(top_n), from_arrow_schema(FOUND))


def join_lists(found: DataFrame, old: DataFrame, states: DataFrame, top_n: int) -> DataFrame:
    """Return the lists of an update: those found, and those that stand with what entered them.

    Parameters
    ----------
    found : DataFrame
        What :func:`find` returned; persisted, since it is read several times.
    old : DataFrame
        The rows of ``neighbours`` of the spaces that are updated.
    states : DataFrame
        What :func:`states_of_tracks` returned, of the same spaces.
    top_n : int
        Length of a full list.
    """
    fresh, entering = found.where("rank is not null"), found.where("rank is null")
    settled = states.where(F.col("state") == SETTLED).select(*_KEY)
    standing = old.select(*found.columns).join(settled, _KEY, "left_semi")
    entered = entering.select(*_KEY).distinct()
    nearest = Window.partitionBy(*_KEY).orderBy(F.desc("cosine"), "neighbour_id")
    contested = standing.join(entered, _KEY, "left_semi").unionByName(entering)
    merged = contested.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= top_n)
    return fresh.unionByName(merged).unionByName(standing.join(entered, _KEY, "left_anti"))


def lists_of(lists: DataFrame, tracks: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Return ``space, track_id, cosine`` of the lists of some tracks of each space."""
    conditions: Sequence[Column] = [
        (F.col("space") == space) & F.col("track_id").isin(list(ids)) for space, ids in tracks.items()
    ]
    rows = lists.where(reduce(Column.__or__, conditions)).select("space", "track_id", "cosine")
    collected: pd.DataFrame = rows.toPandas()  # as large as the samples
    return collected
