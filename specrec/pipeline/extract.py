"""Extract: audio becomes ``audio_features`` and ``mel_spectrograms``, and what fails goes to ``quarantine``.

The work is cut into portions, each of which is committed before the next begins. Features are committed last, so
that a track counts as done only when all else of it is written. What a run that dies leaves undone, the next run
does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.audio.spark import SURVEYED, survey, to_analyse
from specrec.audio.spark import extract as extract_files
from specrec.catalogue.sources import audio_root
from specrec.errors import ExtractionError
from specrec.pipeline.chosen import among, check_settings, chosen_tracks
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.warehouse.reader import Reader
from specrec.warehouse.tables import Warehouse

#: That some of fewer files than this failed says little about the night as a whole.
_FEW = 20

#: What a night that told how much failed says of it in `runs`: the share of the catalogue's audio files.
_TOLD = "failed_share"


def extract(run: Run) -> None:
    """Analyse every new or changed file, and forget the tracks that are gone.

    A file of which only the time of its last change is another is read, and analysed only if its content changed.

    Raises
    ------
    ExtractionError
        If more than ``extract.max_failed_share`` of the audio fails, or nothing succeeds: see
        :meth:`Tried.too_much`. What was extracted until then is kept.
    """
    from specrec.audio.decode import decoder_versions  # noqa: PLC0415

    config, warehouse = run.config, run.warehouse
    with run.stage("extract") as report:
        limits = config.extract
        # the limits are among them, so that a file that broke them is tried again within others
        decoders = (
            f"{decoder_versions()}, {limits.time_limit_seconds:g} s, {limits.memory_limit_mb} MB, files of "
            f"{limits.max_file_mb} MB"
        )
        only = chosen_tracks(run)
        if only is not None:
            check_settings(run)
        found = _Survey(warehouse)
        found.forget_what_is_gone(warehouse)
        removed, missing, named = (found.counts[what] for what in ("removed", "missing", "named"))
        if missing:
            quarantine(run, _stamped(run, found.missing(), decoders))
        files = to_analyse(
            among(warehouse.read("tracks"), only),
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
            if portion + 1 < portions and (report.rows_failed or 0) / named > limits.max_failed_share:
                break  # whatever becomes of the others, the check below will fail
        changed = bool(count or removed or missing)
        tried = _tried(run) if changed or found.counts["failing"] else None
        if tried is not None and (changed or tried.failed):
            _check_failures(run, report, tried, named)
            _check_success(tried, _Survey(warehouse).counts)
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


@dataclass(frozen=True)
class Tried:
    """What was tried since a night last told how much failed: in this night, and in those that died before that.

    Attributes
    ----------
    codes : dict of str to int
        How many tracks failed, by code.
    failed_anew : int
        How many of these had not failed before.
    measured : int
        How many tracks were analysed.
    """

    codes: dict[str, int]
    failed_anew: int
    measured: int

    @property
    def failed(self) -> int:
        """How many tracks failed."""
        return sum(self.codes.values())

    def too_much(self, named: int, limit: float) -> str | None:
        """Return, in words, how much failed if it is too much to go on, else None.

        What counts is what was tried, and failed, in this night, or in one before it that died before it could
        tell. What is in quarantine from a night that told it does not count: either it is not tried again, since it
        would fail again, and a night in which nothing fails would fail on account of it, for ever; or it is tried
        again, and counts if it fails again. So each night tells what it finds, and the next one can heal.

        It is too much in either of two cases. More than the limit of all audio files failed. Or more than the limit
        failed of those that had not failed before: otherwise each night could bring some more files to a large
        catalogue, all of them broken, and none would tell. That a few files fail says little of a night, so it
        counts as if it had tried :data:`_FEW`, or the catalogue if that is smaller.

        Parameters
        ----------
        named : int
            How many tracks of the catalogue name an audio file.
        limit : float
            ``extract.max_failed_share``.

        Examples
        --------
        >>> Tried({"undecodable": 3}, failed_anew=3, measured=9).too_much(named=12, limit=0.2)
        '3 of 12 audio files failed (3 undecodable)'
        """
        tried = self.failed_anew + self.measured
        if named and self.failed / named > limit:
            told = f"{self.failed} of {named} audio files failed"
        elif named and self.failed_anew / max(tried, min(named, _FEW)) > limit:
            told = f"{self.failed_anew} of {tried} new or changed audio files failed"
        else:
            return None
        most = sorted(self.codes.items(), key=lambda of: (-of[1], of[0]))[:3]
        others = self.failed - sum(count for _, count in most)
        worst = [f"{count} {code}" for code, count in most] + ([f"{others} others"] if others else [])
        return f"{told} ({', '.join(worst)})"


def _tried(run: Run) -> Tried:
    nights = Reader(run.config.warehouse, run.config.storage).rows("runs", [("stage", "=", "extract")])
    told = [night["run_id"] for night in nights if night["status"] != "failed" or _TOLD in (night["details"] or {})]
    # names of runs sort by time
    since = (F.col("run_id") > max(told, default="")) | (F.col("run_id") == run.run_id)
    failures = run.warehouse.read("quarantine").where("stage = 'extract'").where(since)
    measured = run.warehouse.read("audio_features").where(since)
    rows = failures.select("code", "attempts").unionByName(measured.select("run_id"), allowMissingColumns=True)
    anew = F.count_if(F.col("attempts") == 1).alias("anew")
    by_code = rows.groupBy("code").agg(F.count("*").alias("tracks"), anew).collect()
    codes = {row["code"]: row["tracks"] for row in by_code}
    return Tried(measured=codes.pop(None, 0), codes=codes, failed_anew=sum(row["anew"] for row in by_code))


def _check_failures(run: Run, report: StageReport, tried: Tried, named: int) -> None:
    """Fail the night if too much of what it tried failed, and note that it told how much."""
    limit = run.config.extract.max_failed_share
    report.details[_TOLD] = f"{tried.failed / max(named, 1):.4g}"
    told = tried.too_much(named, limit)
    if told:
        raise ExtractionError(
            f"{told}, more than extract.max_failed_share={limit:g} allows: see `specrec quarantine "
            f"--warehouse {run.config.warehouse}`, or allow more with --set extract.max_failed_share=1"
        )


def _check_success(tried: Tried, counts: Mapping[str, int]) -> None:
    """Fail the night if nothing came of it, whatever share may fail; what failed before it says nothing of it."""
    if (tried.failed_anew >= _FEW and not tried.measured) or (counts["named"] and not counts["with_features"]):
        raise ExtractionError(
            f"none of {tried.failed} audio files could be analysed: see `specrec quarantine`"
            if tried.failed
            else "no track of the catalogue has audio features: see `specrec quarantine`"
        )
    if not counts["named"]:
        raise ExtractionError("no track of the catalogue names an audio file: fill its column `audio`")
