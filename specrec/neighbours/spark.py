"""The search in Spark: every track meets the tracks of the cells that it probes. Nothing gathers the catalogue.

The search itself is three shuffles; what a task does between two of them is in :mod:`specrec.neighbours.search`.
Few tracks are sent to all tasks instead: see :mod:`specrec.neighbours.scan`. An update needs to know, beside that,
which lists stand and which must be found anew, and how what was found joins what stands.
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
from specrec.neighbours.scan import SCANNED, Wanted, comparing_with_all, picked, picking
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


def sets_of_copies(embeddings: DataFrame) -> DataFrame:
    """Return ``space, input_hash, original`` of the vectors that several tracks have, their files being equal.

    An ``input_hash`` names what a vector was made from, so tracks of one space that have it in common are equal.
    The original is the least of them.

    Parameters
    ----------
    embeddings : DataFrame
        ``space, track_id, input_hash``.
    """
    sets = embeddings.groupBy("space", "input_hash").agg(
        F.min("track_id").alias("original"), F.max("track_id").alias("greatest")
    )
    return sets.where(F.col("original") < F.col("greatest")).drop("greatest")


def copies(embeddings: DataFrame, sets: DataFrame) -> DataFrame:
    """Return ``space, track_id, input_hash, original`` of the tracks that are copies of a lesser track.

    Copies are not searched, and are in no list: the original stands for them all. So a recording with many equal
    files has a list full of others, and is in the list of another only once.

    Parameters
    ----------
    embeddings : DataFrame
        ``space, track_id, input_hash``.
    sets : DataFrame
        What :func:`sets_of_copies` returned.
    """
    known = embeddings.select(*_KEY, "input_hash").join(sets, ["space", "input_hash"])
    return known.where(F.col("track_id") != F.col("original")).select(*_KEY, "input_hash", "original")


def lists_and_vectors(neighbours: DataFrame, embeddings: DataFrame, top_n: int) -> DataFrame:
    """Return ``space, track_id, old_hash, input_hash, floor``: the tracks there are, beside those with lists.

    ``old_hash`` names the vector that a track's list is of, null if it has none; ``input_hash`` the one that it
    has, null if it is gone; ``floor`` is the cosine of the list's last neighbour, null if the list is not full.

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
    return before.join(now, _KEY, "full_outer").select(*_KEY, "old_hash", "input_hash", "floor")


def all_stale(embeddings: DataFrame) -> DataFrame:
    """Return the rows with ``state`` and ``floor``: every track is searched, as if none of its space had a list."""
    return embeddings.withColumns({"state": F.lit(STALE), "floor": F.lit(math.inf)})


def new_originals(compared: DataFrame, copied: DataFrame) -> DataFrame:
    """Return the tracks of ``compared`` that are searched, with ``is_new``: whether no list can know them yet.

    Copies are not among them. New is a track without a list of its vector, and one that was a copy until the
    original went.

    Parameters
    ----------
    compared : DataFrame
        What :func:`lists_and_vectors` returned.
    copied : DataFrame
        What :func:`copies` returned, of the same spaces.
    """
    is_old = F.coalesce(F.col("old_hash") == F.col("input_hash"), F.lit(False))
    left = compared.where(F.col("old_hash").isNotNull() & ~is_old)
    left = left.groupBy("space", F.col("old_hash").alias("input_hash")).agg(F.min("track_id").alias("left"))
    tracks = compared.where("input_hash is not null").join(copied.select(*_KEY), _KEY, "left_anti")
    was_copy = F.coalesce(F.col("left") < F.col("track_id"), F.lit(False))
    return tracks.join(left, ["space", "input_hash"], "left").select(
        *_KEY, "old_hash", "input_hash", "floor", (~is_old | was_copy).alias("is_new")
    )


def lost_members(compared: DataFrame, originals: DataFrame) -> DataFrame:
    """Return ``space, lost``: tracks that may be in lists and do not belong there as they are.

    They are gone, have another vector, or are copies; or they enter lists anew.

    Parameters
    ----------
    compared : DataFrame
        What :func:`lists_and_vectors` returned.
    originals : DataFrame
        What :func:`new_originals` returned.
    """
    standing = originals.where(~F.col("is_new")).select(*_KEY)
    had_list = compared.where("old_hash is not null").select(*_KEY)
    return had_list.join(standing, _KEY, "left_anti").select("space", F.col("track_id").alias("lost"))


def broken_lists(neighbours: DataFrame, lost: DataFrame) -> DataFrame:
    """Return ``space, track_id`` of the lists that hold a track of :func:`lost_members`."""
    members = neighbours.select(*_KEY, F.col("neighbour_id").alias("lost"))
    return members.join(lost, ["space", "lost"], "left_semi").select(*_KEY).distinct()


def states_of_tracks(originals: DataFrame, broken: DataFrame) -> DataFrame:
    """Return ``space, track_id, state, floor`` of the tracks that are searched.

    A track is NEW if no list can know it; STALE if its list lost a member or is not full; else SETTLED, and then
    ``floor`` is the cosine of its last neighbour.

    Parameters
    ----------
    originals : DataFrame
        What :func:`new_originals` returned.
    broken : DataFrame
        What :func:`broken_lists` returned.
    """
    state = F.when(F.col("is_new"), NEW).when(F.col("broken") | F.col("floor").isNull(), STALE).otherwise(SETTLED)
    return (
        originals.join(broken.withColumn("broken", F.lit(True)), _KEY, "left")
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


def true_neighbours(packed: DataFrame, samples: Mapping[str, Wanted], top_n: int) -> pd.DataFrame:
    """Return the nearest of all tracks: ``space, track_id, neighbour_id, cosine, cell`` (the neighbour's).

    Parameters
    ----------
    packed : DataFrame
        What :func:`pack` returned.
    samples : mapping of Wanted
        By space.
    top_n : int
        How many neighbours a track has.
    """
    found = _compared_with_all(packed, samples, top_n)
    truth: pd.DataFrame = found.select("space", "track_id", "neighbour_id", "cosine", "cell").toPandas()
    return truth  # as large as the samples


def find_few(packed: DataFrame, top_n: int) -> DataFrame:
    """Return what :func:`find` does, of few tracks: they are sent to all others, and compared with every one.

    Parameters
    ----------
    packed : DataFrame
        What :func:`pack` returned, of spaces in which few tracks are searched: these pass through this process.
    top_n : int
        How many neighbours a track has.
    """
    wanted = picked(packed.mapInArrow(picking, from_arrow_schema(PACKED)).toArrow())
    found = _compared_with_all(packed, wanted, top_n)
    return found.withColumn("rank", F.when(~F.col("is_entering"), F.col("rank"))).select(*FOUND.names)


def _compared_with_all(packed: DataFrame, wanted: Mapping[str, Wanted], top_n: int) -> DataFrame:
    """Return :data:`~specrec.neighbours.scan.SCANNED` of all tasks together, and ``rank``."""
    found = packed.mapInArrow(comparing_with_all(dict(wanted), top_n), from_arrow_schema(SCANNED))
    nearest = Window.partitionBy(*_KEY, "is_entering").orderBy(F.desc("cosine"), "neighbour_id")
    return found.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= top_n)


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


def with_copies(lists: DataFrame, copied: DataFrame) -> DataFrame:
    """Return lists, and the same for the copies of the tracks that they are of.

    Parameters
    ----------
    lists : DataFrame
        As :func:`find` returns them.
    copied : DataFrame
        ``space, track_id, original``.
    """
    of_copy = copied.select("space", F.col("track_id").alias("copy"), F.col("original").alias("track_id"))
    columns = [F.col("copy").alias(name) if name == "track_id" else F.col(name) for name in lists.columns]
    return lists.unionByName(lists.join(of_copy, _KEY).select(*columns))


def touched_lists(found: DataFrame, states: DataFrame, compared: DataFrame, copied: DataFrame) -> DataFrame:
    """Return ``space, track_id`` of the lists that may differ from those that stand, or have to go.

    Those of tracks that were searched, of tracks into whose lists others may enter, of all copies of these, of
    copies that have no list of their vector yet, and of tracks that are gone.

    Parameters
    ----------
    found : DataFrame
        What :func:`find` returned.
    states : DataFrame
        What :func:`states_of_tracks` returned.
    compared : DataFrame
        What :func:`lists_and_vectors` returned.
    copied : DataFrame
        What :func:`copies` returned.
    """
    searched = states.where(F.col("state") != SETTLED).select(*_KEY)
    searched = searched.unionByName(found.where("rank is null").select(*_KEY)).distinct()
    gone = compared.where("input_hash is null").select(*_KEY)
    of_original = copied.select("space", F.col("original").alias("track_id"), F.col("track_id").alias("copy"))
    of_original = of_original.join(searched, _KEY, "left_semi").select("space", F.col("copy").alias("track_id"))
    without = copied.join(compared.where("old_hash = input_hash").select(*_KEY), _KEY, "left_anti").select(*_KEY)
    return searched.unionByName(gone).unionByName(of_original.unionByName(without).distinct())


def renewed_lists(
    found: DataFrame, old: DataFrame, touched: DataFrame, *, states: DataFrame, copied: DataFrame, top_n: int
) -> DataFrame:
    """Return the lists of touched tracks as they are to be: found, or as they stand with what entered them.

    Parameters
    ----------
    found : DataFrame
        What :func:`find` returned.
    old : DataFrame
        The rows of ``neighbours`` of the spaces that are updated.
    touched : DataFrame
        What :func:`touched_lists` returned.
    states : DataFrame
        What :func:`states_of_tracks` returned.
    copied : DataFrame
        Those of :func:`copies` that are touched.
    top_n : int
        Length of a full list.
    """
    fresh, entering = found.where("rank is not null"), found.where("rank is null")
    settled = states.where(F.col("state") == SETTLED).select(*_KEY)
    originals = copied.select("space", F.col("original").alias("track_id"))
    wanted = touched.join(copied.select(*_KEY), _KEY, "left_anti").unionByName(originals).distinct()
    wanted = wanted.join(settled, _KEY, "left_semi")
    contested = old.select(*found.columns).join(wanted, _KEY, "left_semi").unionByName(entering)
    nearest = Window.partitionBy(*_KEY).orderBy(F.desc("cosine"), "neighbour_id")
    merged = contested.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= top_n)
    return with_copies(fresh.unionByName(merged), copied).join(touched, _KEY, "left_semi")


def unchanged_lists(renewed: DataFrame, old: DataFrame) -> DataFrame:
    """Return ``space, track_id`` of the lists that came out as they stand, row for row.

    Parameters
    ----------
    renewed : DataFrame
        Lists as they are to be.
    old : DataFrame
        The rows of ``neighbours`` that they are to replace.
    """
    row = F.xxhash64("rank", "neighbour_id", "cosine", "euclidean", "input_hash")
    both = renewed.select(*_KEY, row.alias("row"), F.lit(True).alias("is_new")).unionByName(
        old.select(*_KEY, row.alias("row"), F.lit(False).alias("is_new"))
    )
    sides = {
        side: (F.count_if(of), F.bit_xor(F.when(of, F.col("row"))))
        for side, of in (("new", F.col("is_new")), ("old", ~F.col("is_new")))
    }
    lists = both.groupBy(*_KEY).agg(
        *(F.struct(*(value.alias(f"_{n}") for n, value in enumerate(of))).alias(name) for name, of in sides.items())
    )
    return lists.where(F.col("new") == F.col("old")).select(*_KEY)


def lists_of(lists: DataFrame, tracks: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Return ``space, track_id, cosine`` of the lists of some tracks of each space."""
    conditions: Sequence[Column] = [
        (F.col("space") == space) & F.col("track_id").isin(list(ids)) for space, ids in tracks.items()
    ]
    rows = lists.where(reduce(Column.__or__, conditions)).select("space", "track_id", "cosine")
    collected: pd.DataFrame = rows.toPandas()  # as large as the samples
    return collected
