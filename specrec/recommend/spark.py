"""Recommending in Spark: the one module of this package that imports it.

Whole tables are joined and grouped here. What is decided of a track, or said of a pair, is decided by the functions
of the other modules, on batches of rows, as it is in a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.config import Config
from specrec.recommend.agreement import COMPARED, compare_batches
from specrec.recommend.choose import OWNER, choose_batches
from specrec.recommend.config import RecommendConfig
from specrec.recommend.explain import Explainer, explain_batch
from specrec.recommend.profiles import Source
from specrec.recommend.traits import IN_EXTRA, columns_for, traits_of
from specrec.settings import System
from specrec.warehouse.schemas import RECOMMENDATIONS

Batches = Iterator[pa.RecordBatch]

_NAMES = "track_id string, allowed boolean, artists array<string>, albums array<struct<album:string,artist:string>>"
_CHOSEN = "system string, track_id string, rank int, recommended_track_id string, score double, affinity double"
_COMPARED = "track_id string, jaccard double, rank_biased_overlap double, in_both int"
_WRITTEN_LATER = ("config_hash", "run_id", "computed_at")
_EXPLAINED = T.StructType(
    [T.StructField(f.name, f.dataType) for f in RECOMMENDATIONS.fields if f.name not in _WRITTEN_LATER]
)


def traits(tracks: DataFrame, config: RecommendConfig) -> DataFrame:
    """Return what decides whether, and beside which others, a track is recommended, one row a track.

    ``track_id, allowed, artists, albums``, as :func:`~specrec.recommend.traits.traits_of` returns them, with a code
    for each name: numbers are narrower, and are compared faster.

    Parameters
    ----------
    tracks : DataFrame
        The table.
    """

    def of_batches(batches: Batches) -> Batches:
        for batch in batches:
            yield traits_of(batch, config)

    columns = [
        F.col("extra")[IN_EXTRA[name]].alias(name) if name in IN_EXTRA else name for name in columns_for(config)
    ]
    named = tracks.select("track_id", *columns).mapInArrow(of_batches, _NAMES)
    return named.select(
        "track_id",
        "allowed",
        F.transform("artists", _code).alias("artists"),
        F.transform("albums", lambda name: F.xxhash64(name["album"], name["artist"])).alias("albums"),
    )


def _code(name: Column) -> Column:
    return F.xxhash64(name)


def groups(duplicates: DataFrame) -> DataFrame:
    """Return ``track_id`` and ``duplicate``, a code of its group, of the tracks that have duplicates."""
    return duplicates.select("track_id", F.xxhash64("group_id").alias("duplicate"))


def nearness(neighbours: DataFrame, duplicates: DataFrame) -> DataFrame:
    """Return ``space, track_id, mean, square``: how near the nearest of each track are.

    The means are of the cosines and of their squares. A track's own copies are left out: they are near to any
    track, and make no hub of it.

    Parameters
    ----------
    neighbours : DataFrame
        ``space, track_id, neighbour_id, cosine``.
    duplicates : DataFrame
        The table.
    """
    # sums of decimals, unlike those of doubles, do not depend on the order of the rows
    cosine = F.col("cosine").cast("decimal(18,15)")
    mean, square = F.avg(cosine).cast("double"), F.avg((cosine * cosine).cast("decimal(18,15)")).cast("double")
    group = groups(duplicates)
    of_listed = group.select(F.col("track_id").alias("neighbour_id"), F.col("duplicate").alias("of_neighbour"))
    apart = neighbours.select(*OWNER, "neighbour_id", "cosine")
    apart = apart.join(group, "track_id", "left").join(of_listed, "neighbour_id", "left")
    apart = apart.where(~F.coalesce(F.col("duplicate") == F.col("of_neighbour"), F.lit(False)))
    return apart.groupBy(*OWNER).agg(mean.alias("mean"), square.alias("square"))


def choose_lists(
    neighbours: DataFrame, near: DataFrame, tracks: DataFrame, duplicates: DataFrame, config: RecommendConfig
) -> DataFrame:
    """Return the lists: ``system, track_id, rank, recommended_track_id, score, affinity``.

    A list ranks by :func:`~specrec.recommend.hubs.affinity`, then by the cosine, then by the id. It holds no
    duplicate of its track, one of each group of duplicates, and no more of an artist and of an album than the
    settings allow. What the neighbours cannot fill stays short.

    Neighbours meet what is known of them as narrow columns (numbers alone, beside the ids), are gathered to one row
    a track, and lists are chosen for some thousand tracks at once.

    Parameters
    ----------
    neighbours : DataFrame
        ``space, track_id, rank, neighbour_id, cosine`` of the systems that are wanted.
    near : DataFrame
        The :func:`nearness` of all tracks in them.
    tracks, duplicates : DataFrame
        The tables.
    """
    group = groups(duplicates)
    known = traits(tracks, config).where("allowed").drop("allowed").join(group, "track_id", "left")
    known = known.withColumnRenamed("track_id", "neighbour_id")
    of_neighbour = near.withColumnRenamed("track_id", "neighbour_id")
    candidate = F.struct("rank", "neighbour_id", "cosine", "mean", "square", "duplicate", "artists", "albums")
    candidates = (
        neighbours.select(*OWNER, "rank", "neighbour_id", "cosine")
        .join(of_neighbour, ["space", "neighbour_id"], "left")
        .join(known, "neighbour_id")
        .groupBy(*OWNER)
        .agg(F.array_sort(F.collect_list(candidate)).alias("candidates"))
    )
    own = candidates.join(near, OWNER).join(tracks.select("track_id"), "track_id", "left_semi")
    own = own.join(group, "track_id", "left")
    own = own.select(*OWNER, "mean", "square", "duplicate", "candidates")
    return own.mapInArrow(choose_batches(config), _CHOSEN)


def profiles(tables: Mapping[str, DataFrame], profile: Sequence[Source]) -> DataFrame:
    """Return what explanations need of a track, one row a track.

    Parameters
    ----------
    tables : dict of DataFrame
        By name: ``audio_features``, ``embeddings`` and ``tracks``.
    profile : sequence of Source
        As :func:`~specrec.recommend.profiles.profile_of` returns it.
    """
    found: DataFrame | None = None
    for of in profile:
        rows = tables[of.table] if of.space is None else tables[of.table].where(F.col("space") == of.space)
        picked = rows.select("track_id", *(F.col(column).alias(name) for name, column in of.columns.items()))
        found = picked if found is None else found.join(picked, "track_id", "inner" if of.required else "left")
    assert found is not None
    return found


def explain_lists(chosen: DataFrame, profile: DataFrame, config: Config, explainer: Explainer) -> DataFrame:
    """Return lists with explanations: the columns of ``recommendations``, without those of the run.

    Parameters
    ----------
    chosen : DataFrame
        ``system, track_id, rank, recommended_track_id, score, affinity``.
    profile : DataFrame
        As :func:`profiles` returns it.
    """
    of_track = profile.select(*(F.col(name).alias(f"a_{name}") for name in profile.columns))
    of_recommended = profile.drop("parts")  # a score is split by the parts of one side alone
    of_recommended = of_recommended.select(*(F.col(name).alias(f"b_{name}") for name in of_recommended.columns))
    pairs = chosen.join(of_recommended, chosen.recommended_track_id == of_recommended.b_track_id).join(
        of_track, chosen.track_id == of_track.a_track_id
    )
    explained = pairs.mapInArrow(_explain(explainer, config), _EXPLAINED)
    # in the order that services read: a track's list lies in one place of one file
    return explained.sortWithinPartitions("system", "track_id", "rank")


def _explain(explainer: Explainer, config: Config) -> Callable[[Batches], Batches]:
    def explain(batches: Batches) -> Batches:
        for batch in batches:
            for system in sorted(batch.column("system").unique().to_pylist()):
                rows = batch.filter(pc.equal(batch.column("system"), system))
                yield explain_batch(rows, system, explainer, config)

    return explain


def compare_lists(recommendations: DataFrame) -> DataFrame:
    """Compare the lists of two systems: ``track_id, jaccard, rank_biased_overlap, in_both``.

    Parameters
    ----------
    recommendations : DataFrame
        ``system, track_id, rank, recommended_track_id``.
    """

    def ranked(system: System) -> Column:
        # within a track, the hash of an id serves as well as the id, and is a number
        entry = F.struct("rank", F.xxhash64("recommended_track_id").alias("id"))
        entries = F.array_sort(F.collect_list(F.when(F.col("system") == system, entry)))
        return F.transform(entries, lambda entry: entry["id"]).alias(system)

    lists = recommendations.where(F.col("system").isin(*COMPARED)).groupBy("track_id")
    return lists.agg(*map(ranked, COMPARED)).mapInArrow(compare_batches, _COMPARED)
