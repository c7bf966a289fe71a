"""Recommending in Spark: the one module of this package that imports it.

Whole tables are joined and grouped here. What is decided of a track, or said of a pair, is decided by the functions
of the other modules, on batches of rows, as it is in a query.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.config import Config
from specrec.embedding.statistics import ATTRIBUTES
from specrec.recommend.agreement import COMPARED, compare_batches
from specrec.recommend.choose import OWNER, choose_batches
from specrec.recommend.config import RecommendConfig
from specrec.recommend.explain import Explainer, explain_batch
from specrec.recommend.hubs import PARTS_OF_ONE
from specrec.recommend.profiles import Source
from specrec.recommend.traits import IN_EXTRA, columns_for, traits_of
from specrec.settings import System
from specrec.warehouse.schemas import GONE, MOVED, NEW, RECOMMENDATIONS

Batches = Iterator[pa.RecordBatch]

#: What tells a list from all others, and a pair of tracks.
LIST = ["system", "track_id"]
PAIR = [*LIST, "recommended_track_id"]

_NAMES = "track_id string, allowed boolean, artists array<string>, albums array<struct<album:string,artist:string>>"
_CHOSEN = "system string, track_id string, rank int, recommended_track_id string, score double, affinity double"
_COMPARED = "track_id string, jaccard double, rank_biased_overlap double, in_both int"
_WRITTEN_LATER = ("statistics_version", "config_hash", "run_id", "computed_at")
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


def summaries_of_neighbours(neighbours: DataFrame, duplicates: DataFrame) -> DataFrame:
    """Return ``space, track_id, mean, std, candidates``: what matters of each track's neighbours, in one row.

    ``mean`` and ``std``, the mean and the standard deviation of the cosines, say how near the nearest are. A
    track's own copies are left out of these: they are near to any track, and make no hub of it; null, and 0, if
    there are no others. ``candidates`` is a code of all of the rows.

    A track's rows lie together, so that Spark makes one of them before anything is shuffled.

    Parameters
    ----------
    neighbours : DataFrame
        ``space, track_id, rank, neighbour_id, cosine``.
    duplicates : DataFrame
        The table.
    """
    group = groups(duplicates)
    of_listed = group.select(F.col("track_id").alias("neighbour_id"), F.col("duplicate").alias("of_neighbour"))
    rows = neighbours.select(*OWNER, "rank", "neighbour_id", "cosine")
    rows = rows.join(group, "track_id", "left").join(of_listed, "neighbour_id", "left")
    is_copy = F.coalesce(F.col("duplicate") == F.col("of_neighbour"), F.lit(False))
    # sums of whole numbers, unlike those of doubles, do not depend on the order of the rows
    cosine = F.when(~is_copy, F.round(F.col("cosine") * PARTS_OF_ONE).cast("long"))
    count = F.count(cosine)
    mean, square = F.sum(cosine) / count / PARTS_OF_ONE, F.sum(cosine * cosine) / count / PARTS_OF_ONE**2
    gathered = rows.groupBy(*OWNER).agg(
        mean.alias("mean"),
        square.alias("square"),
        F.bit_xor(F.xxhash64("rank", "neighbour_id", "cosine")).alias("candidates"),
    )
    spread = F.sqrt(F.greatest(F.col("square") - F.col("mean") * F.col("mean"), F.lit(0.0)))
    return gathered.select(*OWNER, "mean", spread.alias("std"), "candidates")


def nearness(neighbours: DataFrame, duplicates: DataFrame) -> DataFrame:
    """Return ``space, track_id, mean, std`` of :func:`summaries_of_neighbours`: how near the nearest are."""
    return summaries_of_neighbours(neighbours, duplicates).drop("candidates")


def choices(tracks: DataFrame, duplicates: DataFrame, config: RecommendConfig) -> DataFrame:
    """Return ``track_id, choice``: a code of what decides beside which others a track is recommended."""
    of_tracks = traits(tracks, config).join(groups(duplicates), "track_id", "left")
    # as text: a hash passes over what is null, or an empty array
    deciding = F.to_json(F.struct("allowed", "artists", "albums", "duplicate"))
    return of_tracks.select("track_id", F.xxhash64(deciding).alias("choice"))


def stated(tracks: DataFrame) -> DataFrame:
    """Return ``track_id, stated``: a code of what the catalogue says of a track and explanations repeat."""
    spoken = [F.coalesce(F.col(name).cast("string"), F.lit("")) for name in ATTRIBUTES]
    return tracks.select("track_id", F.xxhash64(*spoken).alias("stated"))


def words(embeddings: DataFrame, tracks: DataFrame, spaces: Mapping[System, Collection[System]]) -> DataFrame:
    """Return ``system, track_id, words``: a code of all that a system's explanations may say of a track.

    What is measured of a track, and its vectors, change with what its vectors are made from.

    Parameters
    ----------
    embeddings, tracks : DataFrame
        The tables.
    spaces : mapping
        By system, the spaces whose vectors its explanations are made of.
    """
    made_of = F.xxhash64("space", "input_hash")
    of_system = [
        F.bit_xor(F.when(F.col("space").isin(*needed), made_of)).alias(system) for system, needed in spaces.items()
    ]
    known = embeddings.select("space", "track_id", "input_hash").groupBy("track_id").agg(*of_system)
    known = known.join(stated(tracks), "track_id", "left")
    told = [
        F.struct(F.lit(system).alias("system"), F.xxhash64(F.col(f"`{system}`"), "stated").alias("words"))
        for system in spaces
    ]
    return known.select("track_id", F.explode(F.array(*told)).alias("told")).select("told.*", "track_id")


def inputs_of_lists(summaries: DataFrame, choice: DataFrame, told: DataFrame) -> DataFrame:
    """Return what lists are made from, one row a list: the columns of ``list_inputs``, without the run's.

    Parameters
    ----------
    summaries, choice, told : DataFrame
        What :func:`summaries_of_neighbours`, :func:`choices` and :func:`words` returned.
    """
    rows = summaries.withColumnRenamed("space", "system").join(choice, "track_id", "left")
    return rows.join(told, LIST, "left")


def compare_inputs(now: DataFrame, before: DataFrame, max_hub_shift: float) -> DataFrame:
    """Return the inputs of now, with what changed in them since the lists were made.

    How near the nearest of a track are stays as it was until it moved by more than the bound: a few new tracks
    would move it a little for many, and with it nearly all lists.

    Parameters
    ----------
    now, before : DataFrame
        ``system, track_id, mean, std, candidates, choice, words``.
    max_hub_shift : float
        As ``recommend.max_hub_shift``.

    Returns
    -------
    DataFrame
        The columns of `now`, and the flags ``is_listed_anew``: the track's own list may change; ``is_judged_anew``:
        so may lists of which it is a candidate; ``is_told_anew``: explanations may change in which it occurs.
    """
    names = ("mean", "std", "candidates", "choice", "words")
    of = F.col

    def was(name: str) -> Column:
        return F.col(f"was_{name}")

    old = before.select(
        *LIST, F.lit(True).alias("was_there"), *(F.col(name).alias(f"was_{name}") for name in names)
    )
    both = now.join(old, LIST, "left")
    moved = F.greatest(F.abs(of("mean") - was("mean")), F.abs(of("std") - was("std")))
    is_moved = (moved > max_hub_shift * was("std")) | (of("mean").isNull() != was("mean").isNull())
    is_new = was("there").isNull()
    is_moved = is_new | F.coalesce(is_moved, F.lit(False))

    def differs(name: str) -> Column:
        return ~of(name).eqNullSafe(was(name))

    flags = {
        "is_listed_anew": is_new | is_moved | differs("candidates") | differs("choice"),
        "is_judged_anew": is_moved | differs("choice"),
        "is_told_anew": ~is_new & differs("words"),
    }
    kept = {name: F.when(is_moved, of(name)).otherwise(was(name)).alias(name) for name in ("mean", "std")}
    columns = [kept.get(name, of(name)) for name in names]
    return both.select(*LIST, *columns, *(flag.alias(name) for name, flag in flags.items()))


def lists_that_may_change(compared: DataFrame, neighbours: DataFrame) -> DataFrame:
    """Return ``system, track_id`` of the lists that are chosen anew.

    Parameters
    ----------
    compared : DataFrame
        What :func:`compare_inputs` returned.
    neighbours : DataFrame
        The table, of the same systems.
    """
    own = compared.where("is_listed_anew").select(*LIST)
    judged = compared.where("is_judged_anew").select(
        F.col("system").alias("space"), F.col("track_id").alias("neighbour_id")
    )
    beside = neighbours.select(*OWNER, "neighbour_id").join(judged, ["space", "neighbour_id"], "left_semi")
    return own.unionByName(beside.select(F.col("space").alias("system"), "track_id")).distinct()


def changes_of_lists(chosen: DataFrame, standing: DataFrame, anew: DataFrame, compared: DataFrame) -> DataFrame:
    """Return ``change`` and the columns of :func:`choose_lists`: how the lists differ from those that stand.

    A pair that is new in its list, or of which something else is to be said, is ``new``; one whose rank or affinity
    changed alone is ``moved``; one that is no longer recommended is ``gone``.

    Parameters
    ----------
    chosen : DataFrame
        What :func:`choose_lists` returned for the lists that were chosen anew.
    standing : DataFrame
        The table ``recommendations``, of the same systems.
    anew : DataFrame
        ``system, track_id`` of the lists that were chosen anew.
    compared : DataFrame
        What :func:`compare_inputs` returned.
    """
    values = ("rank", "score", "affinity")
    standing = standing.select(*PAIR, *values)
    gone = standing.select(*LIST).distinct().join(compared.select(*LIST), LIST, "left_anti")
    touched = anew.unionByName(gone)
    old = standing.join(touched, LIST, "left_semi").select(*PAIR, *(F.col(of).alias(f"was_{of}") for of in values))
    both = chosen.join(old, PAIR, "full_outer")
    is_new = F.col("was_rank").isNull() | (F.col("score") != F.col("was_score"))
    is_moved = (F.col("rank") != F.col("was_rank")) | ~F.col("affinity").eqNullSafe(F.col("was_affinity"))
    change = F.when(F.col("rank").isNull(), GONE).when(is_new, NEW).when(is_moved, MOVED)
    changed = both.withColumn("change", change).select("change", *PAIR, *values)

    told = compared.where("is_told_anew").select(*LIST)
    of_either = [told, told.withColumnRenamed("track_id", "recommended_track_id")]
    others = standing.join(touched, LIST, "left_anti").withColumn("change", F.lit(None).cast("string"))
    candidates = changed.unionByName(others.select(*changed.columns))
    for side in of_either:
        keys = side.columns
        candidates = candidates.join(side.withColumn("again", F.lit(True)), keys, "left")
        is_again = F.col("again") & ~F.coalesce(F.col("change") == GONE, F.lit(False))
        candidates = candidates.withColumn("change", F.when(is_again, NEW).otherwise(F.col("change"))).drop("again")
    return candidates.where("change is not null").select(*changed.columns)


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
    candidate = F.struct("rank", "neighbour_id", "cosine", "mean", "std", "duplicate", "artists", "albums")
    candidates = (
        neighbours.select(*OWNER, "rank", "neighbour_id", "cosine")
        .join(of_neighbour, ["space", "neighbour_id"], "left")
        .join(known, "neighbour_id")
        .groupBy(*OWNER)
        .agg(F.array_sort(F.collect_list(candidate)).alias("candidates"))
    )
    own = candidates.join(near, OWNER).join(tracks.select("track_id"), "track_id", "left_semi")
    own = own.join(group, "track_id", "left")
    own = own.select(*OWNER, "mean", "std", "duplicate", "candidates")
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


def with_likes(pairs: DataFrame, also_liked: DataFrame, systems: Collection[System]) -> DataFrame:
    """Return pairs with ``both``: how many people like both; null where that is not known, or not to be told.

    Parameters
    ----------
    pairs : DataFrame
        ``system, track_id, recommended_track_id`` among others.
    also_liked : DataFrame
        The table; each of its rows says it of the pair in either order.
    systems : collection of str
        Those whose explanations tell it.
    """
    named = also_liked.select("track_id", F.col("other_id").alias("recommended_track_id"), "both")
    turned = named.select(
        F.col("track_id").alias("recommended_track_id"), F.col("recommended_track_id").alias("track_id"), "both"
    )
    system = F.explode(F.array(*map(F.lit, systems))).alias("system")
    known = named.unionByName(turned).dropDuplicates(["track_id", "recommended_track_id"]).select(system, "*")
    return pairs.join(known, PAIR, "left")


def explain_lists(chosen: DataFrame, profile: DataFrame, config: Config, explainer: Explainer) -> DataFrame:
    """Return lists with explanations: the columns of ``recommendations``, without those of the run.

    Parameters
    ----------
    chosen : DataFrame
        ``system, track_id, rank, recommended_track_id, score, affinity``, and maybe ``both``, as
        :func:`with_likes` returns it.
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
