"""Extract: audio becomes ``audio_features`` and ``mel_spectrograms``, and what fails goes to ``quarantine``.

The work is cut into portions, each of which is committed before the next begins. Features are committed last, so
that a track counts as done only when all else of it is written. What a run that dies leaves undone, the next run
does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.audio.spark import SURVEYED, survey, to_analyse
from specrec.audio.spark import extract as extract_files
from specrec.catalogue.sources import audio_root
from specrec.errors import ExtractionError
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.warehouse.tables import Warehouse

#: That none of fewer attempts than this succeeded says little about the night as a whole.
_FEW = 20


def extract(run: Run) -> None:
    """Analyse every new or changed file, and forget the tracks that are gone.

    A file of which only the time of its last change is another is read, and analysed only if its content changed.

    Raises
    ------
    ExtractionError
        If more than ``extract.max_failed_share`` of the catalogue's audio is in quarantine, or nothing
        succeeded. What was extracted until then is kept.
    """
    from specrec.audio.decode import decoder_versions  # noqa: PLC0415

    config, warehouse = run.config, run.warehouse
    with run.stage("extract") as report:
        limits = config.extract
        # the limits are among them, so that a file that broke them is tried again within others
        decoders = f"{decoder_versions()}, {limits.time_limit_seconds:g} s, {limits.memory_limit_mb} MB"
        found = _Survey(warehouse)
        found.forget_what_is_gone(warehouse)
        removed, missing = found.counts["removed"], found.counts["missing"]
        if missing:
            quarantine(run, _stamped(run, found.missing(), decoders))
        files = to_analyse(
            warehouse.read("tracks"),
            warehouse.read("audio_features"),
            warehouse.read("mel_spectrograms"),
            warehouse.read("quarantine"),
            audio_hash=config.audio_hash,
            decoders=decoders,
        )
        count = files.count()
        report.rows_in = count
        report.rows_out, report.rows_failed = 0, missing
        report.details |= {"decoded": count, "same_content": 0, "removed": removed}
        portions = math.ceil(count / config.extract.commit_every)
        if count:
            # This is a table of its own and not a cached plan. When Delta commits to a table it drops all cached
            # plans that read it, and each portion would be decoded anew for every table that it is written to.
            run.lock.check()
            of_file = F.pmod(F.xxhash64("audio_uri"), F.lit(portions))
            warehouse.replace("to_extract", files.withColumn("portion", of_file).sort("portion", "audio_uri"))
        for portion in range(portions):
            run.lock.check()
            mine = warehouse.read("to_extract").where(F.col("portion") == portion)
            same = _extract_portion(run, mine, math.ceil(count / portions), decoders, report)
            report.details["decoded"] -= same
            report.details["same_content"] += same
            if portion + 1 < portions:
                _check_failures(run, _Survey(warehouse).counts)
        if count or removed or missing:
            counts = _Survey(warehouse).counts
            _check_failures(run, counts)
            _check_success(report, counts)
        else:
            report.unchanged()


def _extract_portion(run: Run, files: DataFrame, count: int, decoders: str, report: StageReport) -> int:
    """Analyse files and write what was found; return how many still hold what was analysed before."""
    cores = run.warehouse.spark.sparkContext.defaultParallelism
    tasks = max(math.ceil(count / run.config.extract.files_per_task), min(count, 4 * cores))
    done = extract_files(files, run.config, tasks, audio_root(run.config.catalogue)).withColumns(run.stamp())
    done.persist(StorageLevel.DISK_ONLY)
    try:
        # Tables get one file a core: as many as there are tasks would be many small ones.
        good = done.where("code is null and same_content is null").coalesce(cores)
        bad, same = (done.where(f"{column} is not null").coalesce(1) for column in ("code", "same_content"))
        counts = done.agg(
            F.count_if(F.col("code").isNull() & F.col("same_content").isNull()).alias("good"),
            F.count("code").alias("bad"),
            F.count_distinct(F.when(F.col("same_content"), F.col("audio_uri"))).alias("same"),
        ).first()
        assert counts is not None
        n_good, n_bad = counts.good, counts.bad
        tables = run.warehouse
        if n_bad:  # quarantine last: a file that is in it is not looked at again
            for table in ("audio_features", "mel_spectrograms"):
                tables.delete(table, bad.select("track_id"))
            quarantine(run, _stamped(run, bad, decoders))
        if n_good:
            tables.upsert("mel_spectrograms", good)
            healed = tables.read("quarantine").where("stage = 'extract'").select("track_id", "stage")
            tables.delete("quarantine", healed.join(good.select("track_id"), "track_id", "left_semi"))
            tables.upsert("audio_features", good)
        if counts.same:  # so that they need not be read again
            known = tables.read("audio_features").drop("audio_fingerprint")
            tables.upsert("audio_features", known.join(same.select("track_id", "audio_fingerprint"), "track_id"))
    finally:
        done.unpersist()
    report.rows_out = (report.rows_out or 0) + n_good
    report.rows_failed = (report.rows_failed or 0) + n_bad
    return int(counts.same)


def _stamped(run: Run, failed: DataFrame, decoders: str) -> DataFrame:
    """Return ``track_id, audio_uri, audio_fingerprint, code, message`` with what was tried."""
    return failed.select(
        "track_id",
        F.lit("extract").alias("stage"),
        "audio_uri",
        "code",
        "message",
        F.lit(decoders).alias("decoder"),
        "audio_fingerprint",
        F.lit(str(run.config.audio_hash)).alias("audio_hash"),
    )


class _Survey:
    """What the tables hold of each track, found in one pass over their keys."""

    def __init__(self, warehouse: Warehouse) -> None:
        tables = ("tracks", "audio_features", "mel_spectrograms", "quarantine")
        self._rows = survey(*(warehouse.read(name) for name in tables))
        counts = self._rows.agg(*(F.count_if(name).alias(name) for name in SURVEYED)).first()
        assert counts is not None
        #: Of how many tracks each of :data:`~specrec.audio.spark.SURVEYED` is true.
        self.counts: dict[str, int] = counts.asDict()

    def forget_what_is_gone(self, warehouse: Warehouse) -> None:
        """Delete what was extracted of tracks that are gone, or whose audio is."""
        for what, table in (("orphaned", "mel_spectrograms"), ("removed", "audio_features")):
            if self.counts[what]:
                warehouse.delete(table, self._rows.where(what).select("track_id"))
        if self.counts["forgiven"]:
            stage = F.lit("extract").alias("stage")
            warehouse.delete("quarantine", self._rows.where("forgiven").select("track_id", stage))

    def missing(self) -> DataFrame:
        """Return the tracks whose file is newly found not to be on the store, as failed rows."""
        return self._rows.where("missing").select(
            "track_id",
            "audio_uri",
            F.lit(None).cast("string").alias("audio_fingerprint"),
            F.lit("not_found").alias("code"),
            F.lit("the catalogue names a file that the store does not have: upload it or correct the row").alias(
                "message"
            ),
        )


def _check_failures(run: Run, counts: Mapping[str, int]) -> None:
    named, failed = counts["named"], counts["failing"]
    if not named or failed / named <= run.config.extract.max_failed_share:
        return
    failing = run.warehouse.read("quarantine").where("stage = 'extract'")
    codes = failing.groupBy("code").count().orderBy(F.desc("count"), "code").limit(3).collect()
    worst = ", ".join(f"{row['count']} {row['code']}" for row in codes)
    others = failed - sum(row["count"] for row in codes)
    worst += f", {others} others" if others else ""
    raise ExtractionError(
        f"{failed} of {named} audio files failed ({worst}), more than extract.max_failed_share="
        f"{run.config.extract.max_failed_share:g} allows: see `specrec quarantine --warehouse "
        f"{run.config.warehouse}`, or allow more with --set extract.max_failed_share=1"
    )


def _check_success(report: StageReport, counts: Mapping[str, int]) -> None:
    succeeded, tried = report.rows_out or 0, report.details["decoded"]
    nothing_tonight = tried >= _FEW and not succeeded
    if nothing_tonight or (counts["named"] and not counts["with_features"]):
        raise ExtractionError(
            f"none of {tried} audio files could be analysed: see `specrec quarantine`"
            if tried
            else "no track of the catalogue has audio features: see `specrec quarantine`"
        )
    if not counts["named"]:
        raise ExtractionError("no track of the catalogue names an audio file: fill its column `audio`")
