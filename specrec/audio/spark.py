"""Extraction in Spark: what is known of each track, which files are to be analysed, and their analysis."""

from __future__ import annotations

from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.audio.extraction import EXTRACTED, analyser
from specrec.config import Config
from specrec.errors import MOST_ATTEMPTS, RETRYABLE_CODES
from specrec.settings import SettingsHash

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
    """Return the files to decode: ``audio_uri, audio_fingerprint, track_ids``.

    Left out is what was analysed with this configuration and did not change since, and what failed for a reason
    that would hold again: same file, same configuration, same decoders, and no fault of the storage.

    Parameters
    ----------
    tracks, features, spectrograms, quarantine : the tables ``tracks``, ``audio_features``, ``mel_spectrograms`` and
        ``quarantine``.
    audio_hash : SettingsHash
        Of the current configuration.
    decoders : str
        Versions of the current decoders.
    """
    same = ["track_id", *_FILE]
    wanted = tracks.where("has_audio").select(*same)
    # done is what both tables hold, of the same bytes: a run may have died between their commits
    made_of = ["track_id", "content_hash", "audio_hash"]
    is_current = F.col("audio_hash").isin(*audio_hash.accepted)
    whole = spectrograms.where(is_current).select(*made_of)
    done = features.where(is_current).join(whole, made_of, "left_semi").select(*same)
    tried_enough = ~F.col("code").isin(*RETRYABLE_CODES)
    for code, attempts in MOST_ATTEMPTS.items():
        tried_enough &= (F.col("code") != code) | (F.col("attempts") >= attempts)
    failed = quarantine.where(
        (F.col("stage") == "extract") & is_current & (F.col("decoder") == decoders) & tried_enough
    ).select(*same)
    open_tracks = wanted.join(done, same, "left_anti").join(failed, same, "left_anti")
    return by_file(open_tracks)


def by_file(tracks: DataFrame) -> DataFrame:
    """Return ``audio_uri, audio_fingerprint, track_ids``: tracks that share a file share its one decoding."""
    return tracks.groupBy(*_FILE).agg(F.sort_array(F.collect_list("track_id")).alias("track_ids"))


def extract(files: DataFrame, config: Config, tasks: int) -> DataFrame:
    """Analyse files in Python workers; the columns are :data:`~specrec.audio.extraction.EXTRACTED`.

    Parameters
    ----------
    files : DataFrame
        As :func:`to_analyse` returns them.
    config : Config
        Its sections audio, extract and storage are used.
    tasks : int
        How many Spark tasks the work is cut into.
    """
    schema = ", ".join(f"{name} {kind}" for name, kind in EXTRACTED.items())
    return files.repartition(tasks, "audio_uri").mapInPandas(analyser(config), schema)
