"""Duplicates: which tracks are one recording, from their files, their spectrograms and what the catalogue says.

Where anything changed that this depends on, all candidates are compared again. That costs some milliseconds for
each track, whose spectrogram is read, and about two for each pair that is compared. Files of equal bytes need no
comparison: they cost a shuffle of their hashes.
"""

from __future__ import annotations

from pyspark import StorageLevel
from pyspark.sql import functions as F

from specrec.duplicates.spark import (
    KNOWN,
    compare_spectrograms,
    describe,
    find_candidates,
    groups_of,
    is_one_recording,
    what_is_known,
)
from specrec.embedding.config import SPECTROGRAM
from specrec.pipeline.hashes import duplicates_hash
from specrec.pipeline.run import Run
from specrec.warehouse.tables import states_of

#: Its vectors do not change with loudness, and change less with the codec than those of other spaces.
_SPACE = SPECTROGRAM


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
        described = describe(analysed, tracks).persist(StorageLevel.MEMORY_AND_DISK)
        neighbours = warehouse.read("neighbours").where(F.col("space") == _SPACE)
        candidates = find_candidates(described, neighbours, config.duplicates).persist()
        spectrograms = run.analysed("mel_spectrograms")
        compared = compare_spectrograms(candidates, spectrograms, config.duplicates.min_overlap)
        compared = compared.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            same = is_one_recording(config.duplicates)
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
        for name, value in (("pairs_compared", row.pairs), ("pairs_same", row.same), ("groups", counts.groups)):
            report.count(name, value)
