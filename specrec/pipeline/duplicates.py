"""Duplicates: which tracks are one recording, from their files, their spectrograms and what the catalogue says.

What two spectrograms came to is kept in ``compared_pairs``, with the hashes of the two files and of the settings.
So only candidates are compared that are not in it: to read a new track's spectrogram and those that it is compared
with costs some milliseconds each, and about two each pair. Which pairs are candidates, and the groups, are worked
out anew where anything changed that they depend on: that costs shuffles of names, hashes and cosines, and no
spectrogram. Files of equal bytes need no comparison: they cost a shuffle of their hashes.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.duplicates.groups import connect
from specrec.duplicates.spark import (
    KNOWN,
    compare_spectrograms,
    describe,
    draw_together,
    edges_of,
    find_candidates,
    groups_of,
    groups_of_edges,
    is_one_recording,
    not_compared,
    survey_pairs,
    what_is_known,
    with_contents,
)
from specrec.embedding.config import SPECTROGRAM
from specrec.pipeline.hashes import comparison_hash, duplicates_hash
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run
from specrec.warehouse.tables import states_of

#: Its vectors do not change with loudness, and change less with the codec than those of other spaces.
_SPACE = SPECTROGRAM
#: So many pairs of one recording, at most, are connected in this process: a round in Spark takes as long as ten
#: thousand of them.
_FEW_PAIRS = 100_000


def find_duplicates(run: Run) -> None:
    """Write the groups of tracks that are one recording, if anything changed that they depend on."""
    config, warehouse = run.config, run.warehouse
    with run.stage("duplicates") as report:
        analysed = run.analysed("audio_features").select("track_id", "content_hash")
        tracks = warehouse.read("tracks")
        known = what_is_known(analysed, tracks).withColumn("all", F.lit(""))
        searched = warehouse.states("neighbours").get(_SPACE)
        made_of = f"{searched}:{states_of(known, 'all', 'track_id', *KNOWN).get('')}"
        accepted = [f"{settings}:{made_of}" for settings in duplicates_hash(config).accepted]
        state = accepted[0]
        if warehouse.states("duplicates").get("duplicates") in accepted:
            report.unchanged()
            return
        with Kept() as kept:
            described = kept.keep(describe(analysed, tracks))
            neighbours = warehouse.read("neighbours").where(F.col("space") == _SPACE)
            candidates = with_contents(find_candidates(described, neighbours, config.duplicates), analysed)
            candidates, count = kept.count(candidates)
            _compare(run, candidates, count, analysed)
            tonight = kept.keep(_of_tonight(run, candidates))
            is_same, is_new = is_one_recording(config.duplicates), F.col("run_id") == run.run_id
            row = tonight.agg(F.count_if(is_new).alias("compared"), F.count_if(is_same).alias("same")).first()
            assert row is not None
            confirmed = tonight.where(is_same)
            groups = groups_of(described, confirmed, least_connected(run, confirmed))
            warehouse.update_where_different("duplicates", groups.withColumn("run_id", F.lit(run.run_id)), state)
        counts = (
            warehouse.read("duplicates")
            .agg(
                F.count_if(is_new).alias("written"),
                F.count_if(F.col("track_id") == F.col("group_id")).alias("groups"),
            )
            .first()
        )
        assert counts is not None
        report.rows_in, report.rows_out = count, counts.written
        for name, value in (("pairs_compared", row.compared), ("pairs_same", row.same), ("groups", counts.groups)):
            report.count(name, value)


def _compare(run: Run, candidates: DataFrame, count: int, analysed: DataFrame) -> None:
    """Bring ``compared_pairs`` up to date: what is out of date goes, and what was never compared is.

    Pairs that are no candidates tonight are kept while they are no more than the candidates: lists of neighbours
    come and go, and the next night they may be candidates again.

    Two commits, none of which needs the other: each row says of which two files it is, and is believed of no
    others. A run that dies in between, or is told to forget the table, compares what it does not find.
    """
    warehouse, settings = run.warehouse, comparison_hash(run.config)
    there = warehouse.read("compared_pairs")
    if not there.isEmpty():
        pairs = survey_pairs(there, candidates, analysed, settings.current)
        stale, idle = ~F.col("is_current"), F.col("is_current") & ~F.col("is_candidate")
        counts = pairs.agg(F.count_if(stale).alias("stale"), F.count_if(idle).alias("idle")).first()
        assert counts is not None
        too_many = counts.idle > count
        if counts.stale or too_many:
            gone = pairs.where(stale | idle) if too_many else pairs.where(stale)
            warehouse.delete("compared_pairs", gone.select("a", "b"))
    todo = not_compared(candidates, warehouse.read("compared_pairs"))
    if todo.isEmpty():
        return
    run.lock.check()
    found = compare_spectrograms(todo, run.analysed("mel_spectrograms"), run.config.duplicates.min_overlap)
    stamp = {"config_hash": F.lit(settings.current), "run_id": F.lit(run.run_id)}
    warehouse.append("compared_pairs", found.withColumns(stamp))


def _of_tonight(run: Run, candidates: DataFrame) -> DataFrame:
    """Return what ``compared_pairs`` says of the candidates; those without spectrograms are not in it."""
    pairs = run.warehouse.read("compared_pairs")
    pairs = pairs.where(F.col("config_hash") == comparison_hash(run.config).current)
    return pairs.join(candidates, candidates.columns, "left_semi")


def least_connected(run: Run, pairs: DataFrame, few: int = _FEW_PAIRS) -> DataFrame:
    """Return ``track_id, group_id`` of the tracks of pairs: the least track_id that each is connected with.

    A few pairs are connected in this process. Of more, each round reads the edges that the last one left in the
    table ``to_connect``, and writes its own in their place. So no round's plan holds those before it, and what an
    executor takes with it is computed again from a table: a local checkpoint would be lost with the executor, and
    the night with it; a reliable one needs a place of its own on every store, and leaves files that nobody clears.

    Parameters
    ----------
    pairs : DataFrame
        ``a, b``, with a < b; read twice.
    few : int
        Up to so many pairs are few.
    """
    warehouse = run.warehouse
    small = pairs.select("a", "b").limit(few + 1).toPandas()  # bounded by `few`
    if len(small) <= few:
        return warehouse.spark.createDataFrame(connect(small), "track_id string, group_id string")
    warehouse.replace("to_connect", edges_of(pairs))
    before: dict[str, str] = {}
    while (now := _state_of_edges(run)) != before:
        before = now
        run.lock.check()
        warehouse.replace("to_connect", draw_together(warehouse.read("to_connect")))
    return groups_of_edges(warehouse.read("to_connect"))


def _state_of_edges(run: Run) -> dict[str, str]:
    edges = run.warehouse.read("to_connect").withColumn("all", F.lit(""))
    return states_of(edges, "all", "track_id", "group_id")
