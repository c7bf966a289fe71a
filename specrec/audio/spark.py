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
#: What :func:`survey` says of a track: it names a file; it is in quarantine; it has features; it has features, or a
#: spectrogram, and no audio; it is in quarantine and names no file; its file is not on the store, and no row of
#: quarantine says so yet.
SURVEYED = ("named", "failing", "with_features", "removed", "orphaned", "forgiven", "missing")


def survey(tracks: DataFrame, features: DataFrame, spectrograms: DataFrame, quarantine: DataFrame) -> DataFrame:
    """Return what the tables hold of each track: ``track_id``, ``audio_uri``, and :data:`SURVEYED`, all boolean.

    Parameters
    ----------
    tracks, features, spectrograms, quarantine : DataFrame
        The tables ``tracks``, ``audio_features``, ``mel_spectrograms`` and ``quarantine``.
    """
    failed = F.struct("code", F.col("audio_uri").alias("uri"))
    parts = (
        tracks.select("track_id", "audio_uri", "has_audio"),
        features.select("track_id", F.lit(True).alias("has_features")),
        # on their own: a run may have died between the two commits
        spectrograms.select("track_id", F.lit(True).alias("has_spectrogram")),
        quarantine.where("stage = 'extract'").select("track_id", failed.alias("failed")),
    )
    every = reduce(partial(DataFrame.unionByName, allowMissingColumns=True), parts)
    found = every.groupBy("track_id").agg(*(F.max(name).alias(name) for name in every.columns[1:]))
    alive = F.coalesce("has_audio", F.lit(False))
    named, failing = F.col("audio_uri").isNotNull(), F.col("failed").isNotNull()
    known = (F.col("failed.code") == "not_found") & (F.col("failed.uri") == F.col("audio_uri"))
    return found.select(
        "track_id",
        "audio_uri",
        named.alias("named"),
        failing.alias("failing"),
        F.col("has_features").isNotNull().alias("with_features"),
        (F.col("has_features").isNotNull() & ~alive).alias("removed"),
        (F.col("has_spectrogram").isNotNull() & ~alive).alias("orphaned"),
        (failing & ~named).alias("forgiven"),
        (named & ~alive & ~F.coalesce(known, F.lit(False))).alias("missing"),
    )


def to_analyse(
    tracks: DataFrame,
    features: DataFrame,
    spectrograms: DataFrame,
    quarantine: DataFrame,
    *,
    audio_hash: SettingsHash,
    decoders: str,
) -> DataFrame:
    """Return the files to read: ``audio_uri, audio_fingerprint, content_hash, track_ids``.

    A ``content_hash`` is that of what was analysed before, where a file has the same size and modification time and
    changed all the same: by other rights or links, or by a program that puts the old time back. Only if its content
    is another must it be decoded.

    Left out is what was analysed with this configuration and did not change since, and what failed for a reason
    that would hold again: same file, same configuration, same decoders, and no fault of the storage.

    Parameters
    ----------
    tracks, features, spectrograms, quarantine : DataFrame
        The tables ``tracks``, ``audio_features``, ``mel_spectrograms`` and ``quarantine``.
    audio_hash : SettingsHash
        What the current configuration comes to.
    decoders : str
        Versions of the current decoders, and the limits that they run within.
    """
    wanted = tracks.where("has_audio").select("track_id", *_FILE)
    # done is what both tables hold, of the same bytes: a run may have died between their commits
    made_of = ["track_id", "content_hash", "audio_hash"]
    is_current = F.col("audio_hash").isin(*audio_hash.accepted)
    whole = spectrograms.where(is_current).select(*made_of)
    done = features.where(is_current).join(whole, made_of, "left_semi")
    tried_enough = ~F.col("code").isin(*RETRYABLE_CODES)
    for code, attempts in MOST_ATTEMPTS.items():
        tried_enough &= (F.col("code") != code) | (F.col("attempts") >= attempts)
    failed = quarantine.where(
        (F.col("stage") == "extract") & is_current & (F.col("decoder") == decoders) & tried_enough
    )
    of_file = ["track_id", "audio_uri"]
    old = F.col("audio_fingerprint").alias("old")
    found = wanted.join(done.select(*of_file, old, "content_hash", "computed_at"), of_file, "left")
    found = found.where(~_is_the_same("old", "audio_fingerprint", "computed_at"))
    may_be_same = _content_part(F.col("old")) == _content_part(F.col("audio_fingerprint"))
    found = found.withColumn("content_hash", F.when(may_be_same, F.col("content_hash"))).drop("old", "computed_at")
    found = found.join(failed.select(*of_file, old, "last_seen"), of_file, "left")
    return by_file(found.where(~_is_the_same("old", "audio_fingerprint", "last_seen")), "content_hash")


def _content_part(fingerprint: Column) -> Column:
    """Return a fingerprint without the time of the last change: of a file on disk, size and modification time.

    An object's ETag has no such time: it stays as it is.
    """
    return F.substring_index(fingerprint, "-", 2)


def _is_the_same(old: str, new: str, seen_at: str) -> Column:
    """Tell whether a file is what it was at some time, by columns of two fingerprints; not if there is no old one.

    Warehouses of earlier releases hold fingerprints without the time of the last change. Such a file is the same if
    the rest of its fingerprint is, and it did not change since.
    """
    changed = F.substring_index(new, "-", -1).try_cast("bigint") / 1_000_000_000  # seconds
    is_of_earlier_release = (F.col(old) == _content_part(F.col(new))) & (changed < F.unix_timestamp(seen_at))
    return F.coalesce((F.col(old) == F.col(new)) | is_of_earlier_release, F.lit(False))


def by_file(tracks: DataFrame, *further: str) -> DataFrame:
    """Return ``audio_uri, audio_fingerprint, track_ids``: tracks that share a file share its one decoding.

    Parameters
    ----------
    tracks : DataFrame
        ``track_id, audio_uri, audio_fingerprint``.
    further : str
        Columns in which they must agree, too, and which are kept.
    """
    return tracks.groupBy(*_FILE, *further).agg(F.sort_array(F.collect_list("track_id")).alias("track_ids"))


def extract(files: DataFrame, config: Config, tasks: int, root: Location) -> DataFrame:
    """Analyse files in Python workers; the columns are :data:`~specrec.audio.extraction.EXTRACTED`.

    Parameters
    ----------
    files : DataFrame
        What :func:`to_analyse` returned.
    config : Config
        Its sections audio, extract and storage are used.
    tasks : int
        How many Spark tasks the work is cut into.
    root : Location
        The folder that no link may lead out of.
    """
    schema = ", ".join(f"{name} {kind}" for name, kind in EXTRACTED.items())
    return files.repartition(tasks, "audio_uri").mapInPandas(analyser(config, root), schema)
