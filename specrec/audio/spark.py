"""Extraction in Spark: which files are to be analysed, and their analysis in Spark's Python workers."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.audio.extraction import EXTRACTED, analyser
from specrec.config import Config
from specrec.errors import MOST_ATTEMPTS, RETRYABLE_CODES
from specrec.settings import SettingsHash

_FILE = ("audio_uri", "audio_fingerprint")


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
