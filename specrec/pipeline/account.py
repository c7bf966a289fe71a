"""The account of a night: each track of the catalogue has a list of the system ``hybrid``, or a reason why not.

The equation is: catalogue = with a list + without audio + refused + in quarantine + alone + all left out. A track
that is in none of these classes was lost on the way, and a night that lost one says so.

A class is told by keys alone: the first rows of the lists, the keys of ``quarantine``, and what ``tracks`` says of
the audio. Only for what is left, which is little, neighbours are looked at.
"""

from __future__ import annotations

from collections.abc import Collection

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.embedding.config import HYBRID
from specrec.embedding.spaces import spaces_of
from specrec.errors import UnaccountedError
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run
from specrec.recommend.spark import groups, traits
from specrec.warehouse.reader import Reader

#: The name of the account in ``runs``.
ACCOUNT = "account"

#: The classes, each of which is a metric; the sum of all is the catalogue.
CLASSES = ("with_list", "without_audio", "refused", "in_quarantine", "alone", "all_left_out", "unaccounted")

#: The tables that say which tracks have lists, and why others have none.
_TOLD_BY = ("tracks", "quarantine", "embeddings", "neighbours", "duplicates", "recommendations")

#: So many of the tracks that are lost are named.
_NAMED = 5


def account(run: Run) -> None:
    """Count the classes, if anything changed since they were last counted and came out right.

    Raises
    ------
    UnaccountedError
        If a track has no list, and nothing says why.
    """
    if not _is_due(run):
        return
    with run.stage(ACCOUNT) as report, Kept() as kept:
        warehouse = run.warehouse
        tracks, lists, failed = (warehouse.read(of) for of in ("tracks", "recommendations", "quarantine"))
        classed = classes(tracks, lists, failed, spaces_of(run.config)[HYBRID].parts)
        found = {row["class"]: row["count"] for row in classed.groupBy("class").count().collect()}
        left = found.pop(None, 0)
        lost = None
        if left:
            explained = _explain(run, kept.keep(classed.where("class is null").select("track_id")))
            found |= {row["class"]: row["count"] for row in explained.groupBy("class").count().collect()}
            lost = explained.where(F.col("class") == "unaccounted")
        total = sum(found.values())
        report.rows_in = total
        report.count("catalogue", total)
        for name in CLASSES:
            report.count(name, found.get(name, 0))
        if lost is not None and (missing := found.get("unaccounted", 0)):
            run_again = f"specrec repair recommendations --warehouse {run.config.warehouse}"
            few = [row.track_id for row in lost.select("track_id").sort("track_id").limit(_NAMED).collect()]
            more = ", …" if missing > len(few) else ""
            raise UnaccountedError(
                f"{missing} of {total} tracks have no list, and nothing says why ({', '.join(few)}{more}): make "
                f"all lists anew by `{run_again}` and another night. If that does "
                "not help, it is a fault of specrec: please report it"
            )


def _is_due(run: Run) -> bool:
    """Tell whether a table says anything else than when tracks were last accounted for.

    The commits tell it, and not ``runs``: a stage that died after its commit has no row there.
    """
    reader = Reader(run.config.warehouse, run.config.storage)
    right = [("stage", "=", ACCOUNT), ("status", "=", "done")]
    since = max((row["run_id"] for row in reader.rows("runs", right, ["run_id"])), default="")
    return not since or any(run.warehouse.last_run(name) > since for name in _TOLD_BY)  # runs' names sort by time


def classes(
    tracks: DataFrame, recommendations: DataFrame, quarantine: DataFrame, parts: Collection[str]
) -> DataFrame:
    """Return ``track_id, class`` of each track; null where neighbours must say it.

    A track that has a list is in no other class, whatever else is known of it. So it is with the files of a folder
    that cannot be listed tonight: what was known of them is kept.

    Parameters
    ----------
    tracks, recommendations, quarantine : DataFrame
        The tables.
    parts : collection of str
        The spaces that ``hybrid`` is made of: who failed in the encoder of another has a list all the same.
    """
    lists = recommendations.where((F.col("system") == HYBRID) & (F.col("rank") == 1))
    lists = lists.select("track_id", F.lit(True).alias("has_list"))
    # stages are ingest, extract, embed/MODEL and neighbours/SPACE
    stage, fatal = F.col("stage"), ("extract", f"neighbours/{HYBRID}", *(f"embed/{part}" for part in parts))
    failed = quarantine.groupBy("track_id").agg(
        F.max(stage == "ingest").alias("is_refused"),
        F.max(stage.isin(*fatal)).alias("failed"),
    )
    every = tracks.select("track_id", "audio_uri").join(lists, "track_id", "left").join(failed, "track_id", "left")
    return every.select(
        "track_id",
        F.when(F.col("has_list"), "with_list")
        .when(F.col("failed"), "in_quarantine")
        .when(F.col("is_refused"), "refused")
        .when(F.col("audio_uri").isNull(), "without_audio")
        .alias("class"),
    )


def _explain(run: Run, tracks: DataFrame) -> DataFrame:
    read = run.warehouse.read
    vectors = read("embeddings").where(F.col("space") == HYBRID).select("track_id", "input_hash")
    undirected = read("quarantine").where(F.col("stage") == f"neighbours/{HYBRID}").select("track_id")
    compared = vectors.join(undirected, "track_id", "left_anti")
    neighbours = read("neighbours").where(F.col("space") == HYBRID).select("track_id", "neighbour_id")
    allowed = traits(read("tracks"), run.config.recommend).where("allowed").select("track_id")
    return without_lists(tracks, compared, neighbours, allowed, groups(read("duplicates")))


def without_lists(
    tracks: DataFrame, compared: DataFrame, neighbours: DataFrame, allowed: DataFrame, duplicates: DataFrame
) -> DataFrame:
    """Return ``track_id, class`` of tracks that have no list for no other reason.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id``.
    compared : DataFrame
        ``track_id, input_hash`` of all tracks whose vectors can be compared; of equal files, the hash is equal, and
        none of them is in the list of another.
    neighbours : DataFrame
        ``track_id, neighbour_id``.
    allowed : DataFrame
        ``track_id`` of the tracks that filters let through.
    duplicates : DataFrame
        ``track_id, duplicate``, as :func:`specrec.recommend.spark.groups` returns them.
    """
    of_listed = duplicates.select(F.col("track_id").alias("neighbour_id"), F.col("duplicate").alias("of_neighbour"))
    let_through = allowed.select(F.col("track_id").alias("neighbour_id"), F.lit(True).alias("allowed"))
    found = (
        neighbours.join(tracks, "track_id", "left_semi")
        .join(let_through, "neighbour_id", "left")
        .join(of_listed, "neighbour_id", "left")
        .join(duplicates, "track_id", "left")
    )
    is_copy = _or_false(F.col("duplicate") == F.col("of_neighbour"))
    found = found.groupBy("track_id").agg(F.max(_or_false(F.col("allowed")) & ~is_copy).alias("may_stand"))
    others = compared.select("input_hash").distinct().limit(2).groupBy().agg(F.count("*").alias("others"))
    is_compared = compared.join(tracks, "track_id", "left_semi").select(
        "track_id", F.lit(True).alias("is_compared")
    )
    every = tracks.join(found, "track_id", "left").join(is_compared, "track_id", "left").crossJoin(others)
    has_none = F.col("may_stand").isNull() & F.col("is_compared") & (F.col("others") == 1)
    return every.select(
        "track_id",
        F.when(~F.col("may_stand"), "all_left_out").when(has_none, "alone").otherwise("unaccounted").alias("class"),
    )


def _or_false(condition: Column) -> Column:
    return F.coalesce(condition, F.lit(False))
