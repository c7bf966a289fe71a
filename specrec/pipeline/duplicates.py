"""Duplicates: which tracks are one recording, from their files, their spectrograms and what the catalogue says.

Where anything that this depends on changed, all candidates are compared again: a night reads their spectrograms,
some milliseconds a track, and compares them, two a pair. Equal files need no comparison: they cost a shuffle of
their hashes.
"""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import functions as F

from specrec.duplicates.alignment import ABOVE_REPETITION
from specrec.duplicates.groups import compare, describe, find_candidates, groups_of
from specrec.pipeline.run import Run
from specrec.warehouse.tables import states_of

#: Its vectors do not change with loudness, and change less with the codec than those of other spaces.
_SPACE = "spectrogram"


def find_duplicates(run: Run) -> None:
    """Write the groups of tracks that are one recording, if anything changed that they depend on."""
    config, warehouse = run.config, run.warehouse
    with run.stage("duplicates") as report:
        analysed = run.analysed("audio_features").select("track_id", "content_hash")
        tracks = warehouse.read("tracks")
        said = ("content_hash", "track_name", "artists", "duration_ms")
        now = analysed.join(tracks, "track_id", "left").select(
            F.lit("").alias("all"),
            "track_id",
            *(F.coalesce(F.col(name).cast("string"), F.lit("")).alias(name) for name in said),
        )
        searched = warehouse.states("neighbours").get(_SPACE)
        made_of = f"{searched}:{states_of(now, 'all', 'track_id', *said).get('')}"
        accepted = [f"{settings}:{made_of}" for settings in config.duplicates_hash.accepted]
        state = accepted[0]
        if warehouse.states("duplicates").get("duplicates") in accepted:
            report.unchanged()
            return
        described = describe(analysed, tracks).persist(StorageLevel.MEMORY_AND_DISK)
        neighbours = warehouse.read("neighbours").where(F.col("space") == _SPACE)
        candidates = find_candidates(described, neighbours, config.duplicates).persist()
        spectrograms = run.analysed("mel_spectrograms")
        compared = compare(candidates, spectrograms, config.duplicates.min_overlap)
        compared = compared.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            similarity, least = F.col("similarity"), config.duplicates.min_similarity
            same = (similarity >= least) & (similarity >= F.col("repetition") + ABOVE_REPETITION)
            row = compared.agg(F.count("*").alias("pairs"), F.count_if(same).alias("same")).first()
            assert row is not None
            groups = groups_of(described, compared.where(same)).withColumn("run_id", F.lit(run.run_id))
            warehouse.replace("duplicates", groups, state)
        finally:
            for kept in (compared, candidates, described):
                kept.unpersist()
        counts = (
            warehouse.read("duplicates")
            .agg(F.count("*").alias("tracks"), F.count_if(F.col("track_id") == F.col("group_id")).alias("groups"))
            .first()
        )
        assert counts is not None
        report.rows_in, report.rows_out = row.pairs, counts.tracks
        report.details |= {"pairs_compared": row.pairs, "pairs_same": row.same, "groups": counts.groups}
