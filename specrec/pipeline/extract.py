"""Extract: audio becomes ``audio_features`` and ``mel_spectrograms``, and what fails goes to ``quarantine``.

The tables are surveyed once, at the beginning: what the night comes to is counted from that and from what became
of the files, however many portions these are cut into. Each portion is committed before the next begins, features
last, so that a track counts as done only when all else of it is written. What a run that dies leaves undone, the
next run does.

Files of which no table has a row are portions of their own. What is found of them is added without looking whether
it is there; that of other files is merged with what is, which reads the tables' keys. A track is in one portion,
and no two runs write at once. A run that died between two commits left rows of its last portion: the next run's
survey sees them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.audio.spark import SURVEYED, UNTOLD, files_due, survey
from specrec.audio.spark import extract as extract_files
from specrec.catalogue.sources import audio_root
from specrec.errors import ExtractionError
from specrec.pipeline.chosen import among, check_settings, chosen_tracks
from specrec.pipeline.kept import FEW, here
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.warehouse.reader import Reader

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
        found = _Survey(run, decoders)
        found.forget_what_is_gone()
        removed, missing, named = (found.counts[what] for what in ("removed", "missing", "named"))
        if missing:
            quarantine(run, _stamped(run, found.missing(), decoders))
        portions = _cut_into_portions(run, found.files_due(only)) if found.counts["due"] else _Portions()
        report.rows_in = portions.files
        report.rows_out, report.rows_failed = 0, missing
        report.count("decoded", portions.files)
        report.count("same_content", 0)
        report.count("removed", removed)
        same_content, tried = 0, found.tried
        for portion in range(portions.count):
            run.lock.check()
            mine = warehouse.read("to_extract").where(F.col("portion") == portion)
            count, is_known = portions.size_of(portion), portions.is_known(portion)
            done = _extract_portion(
                run, mine, count, is_known=is_known, had_failed=found.counts["failing"] > 0, decoders=decoders
            )
            same_content += done.same
            report.count("decoded", portions.files - same_content)
            report.count("same_content", same_content)
            report.rows_out += done.tried.measured
            report.rows_failed += done.tried.failed
            tried += done.tried
            if portion + 1 < portions.count and report.rows_failed / named > limits.max_failed_share:
                break  # whatever becomes of the others, the check below will fail
        changed = bool(portions.files or removed or missing)
        if changed or tried.failed:
            _check_failures(run, report, tried, named)
            read = report.rows_out + same_content
            _check_success(tried, named, with_features=found.counts["settled"] + read)
        else:
            report.unchanged()


@dataclass(frozen=True)
class _Portions:
    """How many files there are to be read, and in how many portions: first those of files that no table knows."""

    new_files: int = 0
    known_files: int = 0
    new: int = 0
    known: int = 0

    @property
    def files(self) -> int:
        return self.new_files + self.known_files

    @property
    def count(self) -> int:
        return self.new + self.known

    def is_known(self, portion: int) -> bool:
        return portion >= self.new

    def size_of(self, portion: int) -> int:
        """Return about how many files a portion has: it is chosen by a hash."""
        files, of = (self.known_files, self.known) if self.is_known(portion) else (self.new_files, self.new)
        return math.ceil(files / of)


def _cut_into_portions(run: Run, due: DataFrame) -> _Portions:
    """Write which files are to be read, and in which portion.

    This is a table of its own and not a cached plan. When Delta commits to a table it drops all cached plans that
    read it, and each portion would be decoded anew for every table that it is written to.
    """
    files = due.persist(StorageLevel.DISK_ONLY)
    try:
        by_kind = {row.is_known: row["count"] for row in files.groupBy("is_known").count().collect()}
        n_new, n_known = by_kind.get(False, 0), by_kind.get(True, 0)
        new, known = (math.ceil(count / run.config.extract.commit_every) for count in (n_new, n_known))
        run.lock.check()
        hashed = F.xxhash64("audio_uri")
        portion = F.when(F.col("is_known"), F.pmod(hashed, F.lit(max(known, 1))) + F.lit(new)).otherwise(
            F.pmod(hashed, F.lit(max(new, 1)))
        )
        run.warehouse.replace("to_extract", files.withColumn("portion", portion).sort("portion", "audio_uri"))
    finally:
        files.unpersist()
    return _Portions(n_new, n_known, new, known)


@dataclass(frozen=True)
class _Done:
    """What became of a portion: how many files still hold what was analysed before, and what was tried."""

    same: int
    tried: Tried


def _extract_portion(
    run: Run, files: DataFrame, count: int, *, is_known: bool, had_failed: bool, decoders: str
) -> _Done:
    """Analyse files and write what was found.

    Parameters
    ----------
    count : int
        About how many files they are.
    is_known : bool
        Whether the tables may have rows of their tracks.
    had_failed : bool
        Whether a track was in quarantine when the night began: else none of these is.
    """
    tables = run.warehouse
    cores = tables.spark.sparkContext.defaultParallelism
    tasks = max(math.ceil(count / run.config.extract.files_per_task), min(count, 4 * cores))
    done = extract_files(files, run.config, tasks, audio_root(run.config.catalogue)).withColumns(run.stamp())
    done.persist(StorageLevel.DISK_ONLY)
    try:
        # Tables get one file a core: as many as there are tasks would be many small ones.
        good = done.where("code is null and same_content is null").coalesce(cores)
        bad, same = (done.where(f"{column} is not null").coalesce(1) for column in ("code", "same_content"))
        counts = done.groupBy("code", "same_content").agg(
            F.count("*").alias("tracks"), F.count_distinct("audio_uri").alias("files")
        )
        of = {(row.code, row.same_content): row for row in counts.collect()}  # one row a code
        codes = {code: row.tracks for (code, _), row in of.items() if code is not None}
        n_good = of[None, None].tracks if (None, None) in of else 0
        n_same = of[None, True].files if (None, True) in of else 0
        n_bad = n_anew = sum(codes.values())
        failed = _stamped(run, bad, decoders)
        write = tables.merge if is_known else tables.append
        if n_bad and is_known:
            if had_failed:
                before = tables.read("quarantine").where("stage = 'extract'").select("track_id")
                n_anew -= bad.join(before, "track_id", "left_semi").count()
            for table in ("audio_features", "mel_spectrograms"):
                tables.delete(table, bad.select("track_id"))
        if n_bad:  # last of these: a file that is in quarantine is not looked at again
            quarantine(run, failed, is_new=not is_known)
        if n_good:
            write("mel_spectrograms", good)
            if is_known and had_failed:
                healed = tables.read("quarantine").where("stage = 'extract'").select("track_id", "stage")
                tables.delete("quarantine", healed.join(good.select("track_id"), "track_id", "left_semi"))
            write("audio_features", good)
        if n_same:  # so that they need not be read again
            known = tables.read("audio_features").drop("audio_fingerprint")
            tables.merge("audio_features", known.join(same.select("track_id", "audio_fingerprint"), "track_id"))
    finally:
        done.unpersist()
    return _Done(n_same, Tried(codes, n_anew, n_good))


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

    def __init__(self, run: Run, decoders: str) -> None:
        self._warehouse = run.warehouse
        tables = ("tracks", "audio_features", "mel_spectrograms", "quarantine")
        self._rows = survey(
            *(run.warehouse.read(name) for name in tables),
            audio_hash=run.config.audio_hash,
            decoders=decoders,
            told=_last_told(run),
        )
        failed = F.when(F.col("failed_untold"), F.col("code")).alias("code")
        flags = (*SURVEYED, *UNTOLD)
        by_code = self._rows.groupBy(failed).agg(*(F.count_if(name).alias(name) for name in flags)).collect()
        #: Of how many tracks each of :data:`~specrec.audio.spark.SURVEYED` is true.
        self.counts: dict[str, int] = {name: sum(row[name] for row in by_code) for name in flags}
        codes = {row.code: row.failed_untold for row in by_code if row.code is not None}
        missing = {"not_found": self.counts["missing"]} if self.counts["missing"] else {}
        #: What nights tried that died before they told it, and what this one failed to find.
        self.tried = Tried(codes, self.counts["failed_anew_untold"], self.counts["measured_untold"])
        self.tried += Tried(missing, self.counts["missing_anew"], 0)

    def forget_what_is_gone(self) -> None:
        """Delete what was extracted of tracks that are gone, or whose audio is."""
        for what, table in (("orphaned", "mel_spectrograms"), ("removed", "audio_features")):
            if self.counts[what]:
                self._warehouse.delete(table, self._which(what))
        if self.counts["forgiven"]:
            stage = F.lit("extract").alias("stage")
            self._warehouse.delete("quarantine", self._which("forgiven").select("track_id", stage))

    def _which(self, what: str) -> DataFrame:
        """Return ``track_id`` of those of whom one of :data:`~specrec.audio.spark.SURVEYED` is true."""
        tracks = self._rows.where(what).select("track_id")
        return here(tracks) if self.counts[what] <= FEW else tracks

    def files_due(self, only: DataFrame | None) -> DataFrame:
        """Return the files that are to be read: of the chosen tracks, if the run is about some only."""
        return files_due(among(self._rows, only))

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

    Examples
    --------
    >>> Tried({"silent": 1}, 1, 5) + Tried({"silent": 2, "empty": 1}, 0, 3)
    Tried(codes={'silent': 3, 'empty': 1}, failed_anew=1, measured=8)
    """

    codes: dict[str, int] = field(default_factory=dict)
    failed_anew: int = 0
    measured: int = 0

    def __add__(self, other: Tried) -> Tried:
        """Return both together: they are of different tracks."""
        codes = {code: self.codes.get(code, 0) + other.codes.get(code, 0) for code in self.codes | other.codes}
        return Tried(codes, self.failed_anew + other.failed_anew, self.measured + other.measured)

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


def _last_told(run: Run) -> str:
    """Return the last run that told how much failed; empty if none did."""
    nights = Reader(run.config.warehouse, run.config.storage).rows("runs", [("stage", "=", "extract")])
    told = (night["run_id"] for night in nights if night["status"] != "failed" or _TOLD in (night["details"] or {}))
    return max(told, default="")


def _check_failures(run: Run, report: StageReport, tried: Tried, named: int) -> None:
    """Fail the night if too much of what it tried failed, and note that it told how much."""
    limit = run.config.extract.max_failed_share
    report.count(_TOLD, tried.failed / max(named, 1))
    told = tried.too_much(named, limit)
    if told:
        raise ExtractionError(
            f"{told}, more than extract.max_failed_share={limit:g} allows: see `specrec quarantine "
            f"--warehouse {run.config.warehouse}`, or allow more with --set extract.max_failed_share=1"
        )


def _check_success(tried: Tried, named: int, with_features: int) -> None:
    """Fail the night if nothing came of it, whatever share may fail; what failed before it says nothing of it."""
    if (tried.failed_anew >= _FEW and not tried.measured) or (named and not with_features):
        raise ExtractionError(
            f"none of {tried.failed} audio files could be analysed: see `specrec quarantine`"
            if tried.failed
            else "no track of the catalogue has audio features: see `specrec quarantine`"
        )
    if not named:
        raise ExtractionError("no track of the catalogue names an audio file: fill its column `audio`")
