"""Vectors of models that hear another mel spectrogram than the stored one: made of the audio, in Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pandas as pd
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.audio.extraction import analyst_of, files_of
from specrec.audio.fetch import fetch_ahead
from specrec.audio.isolated import Analyst
from specrec.config import Config
from specrec.embedding.models import Model, hear
from specrec.embedding.vectors import SPECTROGRAM_ONLY
from specrec.errors import TrackError
from specrec.warehouse.schemas import EMBEDDINGS

Frames = Iterator[pd.DataFrame]

#: One row a track: its vector and its tags; or the code and message of what failed. ``content_hash`` is that of the
#: bytes that were heard.
HEARD = T.StructType(
    [
        T.StructField("track_id", T.StringType()),
        T.StructField("audio_uri", T.StringType()),
        T.StructField("audio_fingerprint", T.StringType()),
        T.StructField("content_hash", T.StringType()),
        T.StructField("vector", EMBEDDINGS["vector"].dataType),
        T.StructField("tags", EMBEDDINGS["tags"].dataType),
        T.StructField("code", T.StringType()),
        T.StructField("message", T.StringType()),
    ]
)


def embed_audio(files: DataFrame, config: Config, model: Broadcast[Model], tasks: int) -> DataFrame:
    """Decode files and run a model on its own mel spectrograms of them, in Python workers; see :data:`HEARD`.

    Files are fetched and decoded as in extraction, within the limits of ``extract`` and with its error codes; a
    model that fails of a file is ``failed``.

    Parameters
    ----------
    files : ``audio_uri, audio_fingerprint, track_ids``; see :func:`specrec.audio.spark.by_file`.
    config : audio, extract and storage are used; of audio, which part of a file is heard.
    model : one with mel parameters of its own, ``model.value.mel``.
    tasks : how many Spark tasks the work is cut into.
    """
    return files.repartition(tasks, "audio_uri").mapInPandas(_embedder(config, model), HEARD)


def of_heard(heard: DataFrame) -> DataFrame:
    """Return the vectors among what :func:`embed_audio` returned, as those of any space."""
    nothing = {name: F.lit(None) for name in SPECTROGRAM_ONLY}
    return heard.where("code is null").select("track_id", "vector", "tags").withColumns(nothing)


def _embedder(config: Config, model: Broadcast[Model]) -> Callable[[Frames], Frames]:
    def embed(batches: Frames) -> Frames:
        rows: list[dict[str, Any]] = []
        analyst = analyst_of(config.audio, config.extract)
        analyst.start()  # while the first files arrive
        for file, content in fetch_ahead(files_of(batches), config.storage, config.extract):
            row = _hear(analyst, model.value, content, file.name)
            row |= {"audio_uri": file.uri, "audio_fingerprint": file.fingerprint}
            for track_id in file.track_ids:
                rows.append(row | {"track_id": track_id})
                if len(rows) >= config.extract.batch_rows:
                    yield _frame(rows)
                    rows = []
        if rows:
            yield _frame(rows)

    return embed


def _hear(analyst: Analyst, model: Model, content: BinaryIO | TrackError, name: str) -> dict[str, Any]:
    try:
        if isinstance(content, TrackError):
            raise content
        return vars(hear(model, analyst, content, name))
    except TrackError as error:
        return {"code": error.code, "message": error.message}


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    names = HEARD.fieldNames()
    # None, not the NaN that pandas puts for keys that a row lacks: Arrow takes no NaN for an array
    return pd.DataFrame([[row.get(name) for name in names] for row in rows], columns=names, dtype=object)
