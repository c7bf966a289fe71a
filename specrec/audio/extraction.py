"""Extraction at scale: which files are to be analysed, and their analysis inside Spark's Python workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, BinaryIO

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.audio.config import AudioConfig, ExtractConfig
from specrec.audio.fetch import AudioFile, fetch_ahead
from specrec.audio.isolated import Analyst
from specrec.config import Config
from specrec.errors import MOST_ATTEMPTS, RETRYABLE_CODES, TrackError
from specrec.warehouse.schemas import AUDIO_FEATURES, MEL_SPECTROGRAMS, QUARANTINE

Frames = Iterator[pd.DataFrame]

_FILE = ("audio_uri", "audio_fingerprint")


def _extracted_schema() -> T.StructType:
    """One row a track: its features and mel spectrogram, or the code and message of what failed."""
    fields = {field.name: field for schema in (AUDIO_FEATURES, MEL_SPECTROGRAMS) for field in schema.fields}
    for written_later in ("run_id", "computed_at"):
        del fields[written_later]
    fields |= {name: QUARANTINE[name] for name in ("code", "message")}
    return T.StructType([T.StructField(field.name, field.dataType) for field in fields.values()])


EXTRACTED = _extracted_schema()


def to_analyse(
    tracks: DataFrame,
    features: DataFrame,
    spectrograms: DataFrame,
    quarantine: DataFrame,
    *,
    audio_hash: str,
    decoders: str,
) -> DataFrame:
    """Return the files to decode: ``audio_uri, audio_fingerprint, track_ids``.

    Left out is what was analysed with this configuration and did not change since, and what failed for a reason
    that would hold again: same file, same configuration, same decoders, and no fault of the storage.

    Parameters
    ----------
    tracks, features, spectrograms, quarantine : the tables ``tracks``, ``audio_features``, ``mel_spectrograms`` and
        ``quarantine``.
    audio_hash : of the current configuration.
    decoders : versions of the current decoders.
    """
    same = ["track_id", *_FILE]
    wanted = tracks.where("has_audio").select(*same)
    # done is what both tables hold, of the same bytes: a run may have died between their commits
    made_of = ["track_id", "content_hash", "audio_hash"]
    whole = spectrograms.where(F.col("audio_hash") == audio_hash).select(*made_of)
    done = features.where(F.col("audio_hash") == audio_hash).join(whole, made_of, "left_semi").select(*same)
    tried_enough = ~F.col("code").isin(*RETRYABLE_CODES)
    for code, attempts in MOST_ATTEMPTS.items():
        tried_enough &= (F.col("code") != code) | (F.col("attempts") >= attempts)
    failed = quarantine.where(
        (F.col("stage") == "extract")
        & (F.col("audio_hash") == audio_hash)
        & (F.col("decoder") == decoders)
        & tried_enough
    ).select(*same)
    open_tracks = wanted.join(done, same, "left_anti").join(failed, same, "left_anti")
    return by_file(open_tracks)


def by_file(tracks: DataFrame) -> DataFrame:
    """Return ``audio_uri, audio_fingerprint, track_ids``: tracks that share a file share its one decoding."""
    return tracks.groupBy(*_FILE).agg(F.sort_array(F.collect_list("track_id")).alias("track_ids"))


def extract(files: DataFrame, config: Config, tasks: int) -> DataFrame:
    """Analyse files in Python workers; see :data:`EXTRACTED`.

    Parameters
    ----------
    files : as :func:`to_analyse` returns them.
    config : audio, extract and storage are used.
    tasks : how many Spark tasks the work is cut into.
    """
    return files.repartition(tasks, "audio_uri").mapInPandas(_analyser(config), EXTRACTED)


def _analyser(config: Config) -> Callable[[Frames], Frames]:
    audio_hash = config.audio_hash

    def analyse_files(batches: Frames) -> Frames:
        rows: list[dict[str, Any]] = []
        analyst = analyst_of(config.audio, config.extract)
        analyst.start()  # while the first files arrive
        for file, content in fetch_ahead(files_of(batches), config.storage, config.extract):
            row = _analyse(analyst, content, file.name, config.audio.hop_length)
            row |= {"audio_uri": file.uri, "audio_fingerprint": file.fingerprint, "audio_hash": audio_hash}
            for track_id in file.track_ids:
                rows.append(row | {"track_id": track_id})
                if len(rows) >= config.extract.batch_rows:  # a mel spectrogram is large: few to a batch
                    yield _frame(rows)
                    rows = []
        if rows:  # Arrow takes no empty frame of untyped columns
            yield _frame(rows)

    return analyse_files


@lru_cache(maxsize=1)
def analyst_of(audio: AudioConfig, limits: ExtractConfig) -> Analyst:
    """Return this Python worker's one, which outlives the task: starting it takes a second."""
    return Analyst(audio, limits)


def files_of(batches: Frames) -> Iterator[AudioFile]:
    """Yield the files of frames as :func:`to_analyse` returns them."""
    for batch in batches:
        yield from map(AudioFile, batch["audio_uri"], batch["audio_fingerprint"], batch["track_ids"])


def _analyse(analyst: Analyst, content: BinaryIO | TrackError, name: str, hop_length: int) -> dict[str, Any]:
    try:
        if isinstance(content, TrackError):
            raise content
        done = analyst.analyse(content, name)
    except TrackError as error:
        return {"code": error.code, "message": error.message}
    return {
        "content_hash": done.content_hash,
        "decoder": done.decoder,
        "sample_rate": done.sample_rate,
        "seconds": done.seconds,
        "mel": done.mel,
        "n_mels": done.n_mels,
        "n_frames": done.n_frames,
        "hop_length": hop_length,
        **done.values,
    }


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    names = EXTRACTED.fieldNames()
    # None, not the NaN that pandas puts for keys that a row lacks: Arrow takes no NaN for an array
    frame = pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=names, dtype=object)
    for field in EXTRACTED.fields:
        if isinstance(field.dataType, T.IntegerType):
            frame[field.name] = frame[field.name].astype("Int32")
        elif isinstance(field.dataType, T.FloatType | T.DoubleType):
            frame[field.name] = pd.to_numeric(frame[field.name])
    return frame
