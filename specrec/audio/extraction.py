"""Extraction of many files, one after the other: frames that name files become frames of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, BinaryIO

import pandas as pd

from specrec.audio.config import AudioConfig, ExtractConfig
from specrec.audio.fetch import AudioFile, fetch_ahead
from specrec.audio.isolated import Analyst
from specrec.audio.measures import TABLE_COLUMNS
from specrec.config import Config
from specrec.errors import TrackError
from specrec.storage import Location

Frames = Iterator[pd.DataFrame]

#: The columns of what comes out, with their types in the words of SQL. There is one row a track: its features and
#: its mel spectrogram, or the code and the message of what failed; or, if the file still holds what was analysed
#: before, that it does (``same_content``), and nothing of the sound.
EXTRACTED: dict[str, str] = {
    "track_id": "string",
    "audio_uri": "string",
    "audio_fingerprint": "string",
    "content_hash": "string",
    "audio_hash": "string",
    "decoder": "string",
    "sample_rate": "int",
    "seconds": "double",
    **{column.name: column.kind for column in TABLE_COLUMNS},
    "mel": "binary",
    "n_mels": "int",
    "n_frames": "int",
    "hop_length": "int",
    "same_content": "boolean",
    "code": "string",
    "message": "string",
}


def analyser(config: Config, root: Location | None = None) -> Callable[[Frames], Frames]:
    """Return what analyses the files of frames.

    Parameters
    ----------
    config : Config
        Its sections audio, extract and storage are used.
    root : Location or None
        The folder that no link may lead out of; None: there is none.

    Returns
    -------
    callable
        Takes frames of ``audio_uri, audio_fingerprint, track_ids``, and ``content_hash`` where a file may still
        hold what was analysed before. It yields frames with the columns of :data:`EXTRACTED`,
        `extract.batch_rows` rows each at most.
    """
    audio_hash = str(config.audio_hash)

    def analyse_files(batches: Frames) -> Frames:
        rows: list[dict[str, Any]] = []
        analyst = analyst_of(config.audio, config.extract)
        analyst.start()  # while the first files arrive
        for file, content in fetch_ahead(files_of(batches), config.storage, config.extract, root):
            row = _analyse(analyst, content, file, config.audio.hop_length)
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
    """Return this process's analyst. It outlives a Spark task, since starting one takes a second."""
    return Analyst(audio, limits)


def files_of(batches: Frames) -> Iterator[AudioFile]:
    """Yield the files that frames of ``audio_uri, audio_fingerprint, track_ids`` name; maybe ``content_hash`` too.

    Examples
    --------
    >>> rows = {"audio_uri": ["/music/a.mp3"], "audio_fingerprint": ["4096-17"], "track_ids": [["a", "b"]]}
    >>> [(file.name, file.track_ids) for file in files_of([pd.DataFrame(rows)])]
    [('a.mp3', ['a', 'b'])]
    """
    for batch in batches:
        known = batch["content_hash"] if "content_hash" in batch else [None] * len(batch)
        yield from map(AudioFile, batch["audio_uri"], batch["audio_fingerprint"], batch["track_ids"], known)


def _analyse(analyst: Analyst, content: BinaryIO | TrackError, file: AudioFile, hop_length: int) -> dict[str, Any]:
    from specrec.audio.analyse import sha256_of  # noqa: PLC0415

    try:
        if isinstance(content, TrackError):
            raise content
        if file.known_hash and sha256_of(content) == file.known_hash:
            return {"content_hash": file.known_hash, "same_content": True}
        done = analyst.analyse(content, file.name)
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
    names = list(EXTRACTED)
    # None, not the NaN that pandas puts for keys that a row lacks: Arrow takes no NaN for an array
    frame = pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=names, dtype=object)
    for name, kind in EXTRACTED.items():
        if kind == "int":
            frame[name] = frame[name].astype("Int32")
        elif kind in ("float", "double"):
            frame[name] = pd.to_numeric(frame[name])
    return frame
