"""The spaces in Spark: features and mel spectrograms in, vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce

import numpy as np
import pandas as pd
from pyspark import Broadcast
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from specrec.config import Config
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding import vectors
from specrec.embedding.artefacts import Artefact
from specrec.embedding.models import Model
from specrec.warehouse.schemas import EMBEDDINGS

Frames = Iterator[pd.DataFrame]
FloatMatrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

#: What every space writes of a track, by the columns of ``embeddings``.
VECTOR_SCHEMA = T.StructType(
    [T.StructField(name, EMBEDDINGS[name].dataType) for name in ("track_id", "vector", *vectors.NOT_IN_ALL)]
)
_DESCRIPTION_SCHEMA = "track_id string, sample_rate int, description array<float>"


def input_hash(config: Config, space: str, known: Mapping[str, vectors.Maker]) -> Column:
    """Return what a vector is made from, in short: the audio, the configuration, the artefacts and models.

    Parameters
    ----------
    known : artefacts and models by name, those of :func:`vectors.made_with` among them.
    """
    made_with = vectors.ingredients(config, space, known)
    return F.sha2(F.concat_ws("\n", "content_hash", "audio_hash", *map(F.lit, made_with)), 256)


def describe(spectrograms: DataFrame) -> DataFrame:
    """Return ``track_id, sample_rate, description`` of mel spectrograms; see :func:`spectrogram.describe`."""
    return _of(spectrograms).mapInPandas(_describe, _DESCRIPTION_SCHEMA)


def unpack_descriptions(frame: pd.DataFrame, n_mels: int) -> FloatMatrix:
    """Return the descriptions of a frame, shape (rows, DESCRIPTORS, n_mels), float64."""
    if frame.empty:
        return np.zeros((0, spectrogram_space.DESCRIPTORS, n_mels))
    return np.stack(frame["description"].to_list()).astype(np.float64).reshape(len(frame), -1, n_mels)


def embed_features(features: DataFrame, config: Config, scaler: Artefact) -> DataFrame:
    """Return the vectors of the space ``features``; see :data:`VECTOR_SCHEMA`."""
    layout = feature_space.layout_of(config.audio.n_mfcc)

    def embed(batches: Frames) -> Frames:
        for frame in batches:
            yield vectors.embed_features(frame, config, scaler)

    return features.select("track_id", *(name for name, _ in layout)).mapInPandas(embed, VECTOR_SCHEMA)


def embed_spectrograms(spectrograms: DataFrame, config: Config, pca: Artefact) -> DataFrame:
    """Return the vectors of the space ``spectrogram``, parts by region and excerpts; see :data:`VECTOR_SCHEMA`."""

    def embed(batches: Frames) -> Frames:
        for frame in batches:
            yield from vectors.embed_spectrograms(frame, config, pca)

    return _of(spectrograms).mapInPandas(embed, VECTOR_SCHEMA)


def embed_by_model(spectrograms: DataFrame, model: Broadcast[Model]) -> DataFrame:
    """Return the vectors of a model's space; see :data:`VECTOR_SCHEMA`."""

    def embed(batches: Frames) -> Frames:
        for frame in batches:
            yield vectors.embed_by_model(frame, model.value)

    return _of(spectrograms).mapInPandas(embed, VECTOR_SCHEMA)


def join_spaces(spaces: Mapping[str, DataFrame], config: Config) -> DataFrame:
    """Return the vectors of the space ``hybrid``: the unit vectors of its spaces, weighted, one after the other.

    In Spark what :func:`specrec.embedding.vectors.join` is in numpy.

    Parameters
    ----------
    spaces : ``track_id`` and ``vector`` of each space that has a weight.
    """

    def weighted(column: str, weight: float) -> Column:
        squares = F.transform(F.col(column), lambda x: x.cast("double") * x.cast("double"))
        length = F.sqrt(F.aggregate(squares, F.lit(0.0), lambda total, x: total + x))
        scale = F.when(length > 0, F.lit(np.sqrt(weight).item()) / length).otherwise(0.0)
        return F.transform(F.col(column), lambda x: (x * scale).cast("float"))

    shares = config.embedding.hybrid_shares
    named = [spaces[name].select("track_id", F.col("vector").alias(name)) for name in shares]
    joined = reduce(lambda left, right: left.join(right, "track_id"), named)
    vector = F.concat(*(weighted(name, share) for name, share in shares.items()))
    nothing = (F.lit(None).alias(name) for name in vectors.NOT_IN_ALL)
    return joined.select("track_id", vector.alias("vector"), *nothing)


def _of(spectrograms: DataFrame) -> DataFrame:
    return spectrograms.select("track_id", "sample_rate", "mel", "n_mels", "n_frames")


def _describe(batches: Frames) -> Frames:
    for frame in batches:
        described = [spectrogram_space.describe(mel).astype(np.float32).ravel() for mel in vectors.mels(frame)]
        columns = {
            "track_id": frame["track_id"],
            "sample_rate": frame["sample_rate"],
            "description": described,
        }
        yield pd.DataFrame(columns)
