"""Extraction in Spark: what is known of each track, which files are to be analysed, and their analysis."""

from __future__ import annotations

from functools import partial, reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.audio.extraction import EXTRACTED, analyser
from specrec.config import Config
from specrec.errors import MOST_ATTEMPTS, RETRYABLE_CODES
from specrec.settings import SettingsHash
from specrec.storage import Location

_FILE = ("audio_uri", "audio_fingerprint")
#: What :func:`survey` says of a track: it names a file; it is in quarantine; its file is to be read; some table has
#: a row of it; it has features that stand, whatever becomes of the files to be read; it has features, or a
#: spectrogram, and no audio; it is in quarantine and names no file; its file is not on the store, and no row of
#: quarantine says so yet; the same, and it is not in quarantine.
SURVEYED = (
    "named", "failing", "due", "known", "settled", "removed", "orphaned", "forgiven", "missing", "missing_anew",
)  # fmt: skip
#: What it says of a track that this night leaves alone, and of nights that died before they told how much failed:
#: it was measured; it failed; it failed for the first time.
UNTOLD = ("measured_untold", "failed_untold", "failed_anew_untold")


def survey(
    tracks: DataFrame,
    features: DataFrame,
    spectrograms: DataFrame,
    quarantine: DataFrame,
    *,
    audio_hash: SettingsHash,
    decoders: str,
    told: str = "",
) -> DataFrame:
    """Return what the tables hold of each track, in one pass over their keys.

    Due is no file that was analysed with this configuration and did not change since, and none that failed for a
    reason that would hold again: same file, same configuration, same decoders, and no fault of the storage.

    Parameters
    ----------
    tracks, features, spectrograms, quarantine : DataFrame
        The tables ``tracks``, ``audio_features``, ``mel_spectrograms`` and ``quarantine``.
    audio_hash : SettingsHash
        What the current configuration comes to.
    decoders : str
        Versions of the current decoders, and the limits that they run within.
    told : str
        The last run that told how much failed; names of runs sort by time.

    Returns
    -------
    ``track_id, audio_uri, audio_fingerprint``, ``code`` (of what failed), ``content_hash``, and, all boolean,
    :data:`SURVEYED` and :data:`UNTOLD`. A ``content_hash`` is that of what was analysed before, where a file has
    the same size and modification time and changed all the same: by other rights or links, or by a program that
    puts the old time back. Only if its content is another must it be decoded.
    """
    accepted = audio_hash.accepted
    file = F.struct(F.col("audio_uri").alias("uri"), F.col("audio_fingerprint").alias("fingerprint"))
    measured = F.struct(file.alias("file"), "content_hash", "audio_hash", "computed_at", "run_id")
    failed = F.struct(file.alias("file"), "code", "attempts", "decoder", "audio_hash", "last_seen", "run_id")
    parts = (
        tracks.select("track_id", *_FILE, "has_audio"),
        features.select("track_id", measured.alias("measured")),
        # on their own: a run may have died between the two commits
        spectrograms.select("track_id", F.struct("content_hash", "audio_hash").alias("heard")),
        quarantine.where("stage = 'extract'").select("track_id", failed.alias("failed")),
    )
    every = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), parts)
    found = every.groupBy("track_id").agg(*(F.max(name).alias(name) for name in every.columns[1:]))

    alive = F.coalesce("has_audio", F.lit(False))
    named, failing = F.col("audio_uri").isNotNull(), F.col("failed").isNotNull()
    with_features, with_spectrogram = F.col("measured").isNotNull(), F.col("heard").isNotNull()
    # done is what both tables hold, of the same bytes
    is_whole = (
        F.col("measured.audio_hash").isin(*accepted)
        & (F.col("measured.audio_hash") == F.col("heard.audio_hash"))
        & (F.col("measured.content_hash") == F.col("heard.content_hash"))
        & (F.col("measured.file.uri") == F.col("audio_uri"))
    )
    old = F.col("measured.file.fingerprint")
    is_done = is_whole & _is_the_same(old, F.col("audio_fingerprint"), F.col("measured.computed_at"))
    may_be_same = is_whole & (_content_part(old) == _content_part(F.col("audio_fingerprint")))
    tried_enough = ~F.col("failed.code").isin(*RETRYABLE_CODES)
    for code, attempts in MOST_ATTEMPTS.items():
        tried_enough &= (F.col("failed.code") != code) | (F.col("failed.attempts") >= attempts)
    fails_again = (
        F.col("failed.audio_hash").isin(*accepted)
        & (F.col("failed.decoder") == decoders)
        & tried_enough
        & (F.col("failed.file.uri") == F.col("audio_uri"))
        & _is_the_same(F.col("failed.file.fingerprint"), F.col("audio_fingerprint"), F.col("failed.last_seen"))
    )
    due = alive & ~F.coalesce(is_done, F.lit(False)) & ~F.coalesce(fails_again, F.lit(False))
    told_missing = F.coalesce(
        (F.col("failed.code") == "not_found") & (F.col("failed.file.uri") == F.col("audio_uri")), F.lit(False)
    )
    missing = named & ~alive & ~told_missing
    failed_untold = failing & (F.col("failed.run_id") > told) & named & ~due & ~missing
    said = {
        "named": named,
        "failing": failing,
        "due": due,
        "known": with_features | with_spectrogram | failing,
        "settled": with_features & alive & ~due,
        "removed": with_features & ~alive,
        "orphaned": with_spectrogram & ~alive,
        "forgiven": failing & ~named,
        "missing": missing,
        "missing_anew": missing & ~failing,
        "measured_untold": with_features & (F.col("measured.run_id") > told) & alive & ~due,
        "failed_untold": failed_untold,
        "failed_anew_untold": failed_untold & (F.col("failed.attempts") == 1),
    }
    return found.select(
        "track_id",
        *_FILE,
        F.col("failed.code").alias("code"),
        F.when(may_be_same, F.col("measured.content_hash")).alias("content_hash"),
        *(F.coalesce(is_so, F.lit(False)).alias(name) for name, is_so in said.items()),
    )


def files_due(surveyed: DataFrame) -> DataFrame:
    """Return the files to read: ``audio_uri, audio_fingerprint, content_hash, track_ids, is_known``.

    ``is_known`` says whether some table has a row of one of the tracks: what is found of all others is only added.

    Parameters
    ----------
    surveyed : DataFrame
        What :func:`survey` returned.
    """
    track_ids = F.sort_array(F.collect_list("track_id")).alias("track_ids")
    due = surveyed.where("due").groupBy(*_FILE, "content_hash")
    return due.agg(track_ids, F.max("known").alias("is_known"))


def _content_part(fingerprint: Column) -> Column:
    """Return a fingerprint without the time of the last change: of a file on disk, size and modification time.

    An object's ETag has no such time: it stays as it is.
    """
    return F.substring_index(fingerprint, "-", 2)


def _is_the_same(old: Column, new: Column, seen_at: Column) -> Column:
    """Tell whether a file is what it was at some time, by two fingerprints; not if there is no old one.

    Warehouses of earlier releases hold fingerprints without the time of the last change. Such a file is the same if
    the rest of its fingerprint is, and it did not change since.
    """
    changed = F.substring_index(new, "-", -1).try_cast("bigint") / 1_000_000_000  # seconds
    is_of_earlier_release = (old == _content_part(new)) & (changed < F.unix_timestamp(seen_at))
    return F.coalesce((old == new) | is_of_earlier_release, F.lit(False))


def by_file(tracks: DataFrame) -> DataFrame:
    """Return ``audio_uri, audio_fingerprint, track_ids``: tracks that share a file share its one decoding.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id, audio_uri, audio_fingerprint``.
    """
    return tracks.groupBy(*_FILE).agg(F.sort_array(F.collect_list("track_id")).alias("track_ids"))


def extract(files: DataFrame, config: Config, tasks: int, root: Location) -> DataFrame:
    """Analyse files in Python workers; the columns are :data:`~specrec.audio.extraction.EXTRACTED`.

    Parameters
    ----------
    files : DataFrame
        What :func:`files_due` returned.
    config : Config
        Its sections audio, extract and storage are used.
    tasks : int
        How many Spark tasks the work is cut into.
    root : Location
        The folder that no link may lead out of.
    """
    schema = ", ".join(f"{name} {kind}" for name, kind in EXTRACTED.items())
    return files.repartition(tasks, "audio_uri").mapInPandas(analyser(config, root), schema)
