"""The spaces in Spark: features and mel spectrograms in, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.audio.mel import decode_mel
from specrec.config import Config
from specrec.embedding import excerpts as excerpt_space
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding.artefacts import Artefact

Frames = Iterator[pd.DataFrame]
FloatMatrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

VECTOR_SCHEMA = "track_id string, vector array<float>, parts array<float>, levels array<float>, excerpts binary"
_SPECTROGRAM_ONLY = ("parts", "levels", "excerpts")
_DESCRIPTION_SCHEMA = "track_id string, sample_rate int, description array<float>"


def input_hash(config: Config, space: str, *artefacts: Artefact) -> Column:
    """Return what a vector is made from, in short: the audio, the configuration, the artefacts."""
    made_with = [config.space_hash(space), *(f"{artefact.name} {artefact.version}" for artefact in artefacts)]
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
    settings, arrays = config.embedding, scaler.arrays

    def embed(batches: Frames) -> Frames:
        for frame in batches:
            matrix = feature_space.stack(frame, layout)
            vectors = feature_space.embed(matrix, layout, arrays, settings.family_weights, settings.clip_sd)
            yield pd.DataFrame(
                {"track_id": frame["track_id"], "vector": list(vectors), **dict.fromkeys(_SPECTROGRAM_ONLY)}
            )

    return features.select("track_id", *(name for name, _ in layout)).mapInPandas(embed, VECTOR_SCHEMA)


def embed_spectrograms(spectrograms: DataFrame, config: Config, pca: Artefact) -> DataFrame:
    """Return the vectors of the space ``spectrogram``, parts by region and excerpts; see :data:`VECTOR_SCHEMA`."""
    return _of(spectrograms).mapInPandas(_project(config, pca), VECTOR_SCHEMA)


def join_spaces(features: DataFrame, spectrograms: DataFrame, config: Config) -> DataFrame:
    """Return the vectors of the space ``hybrid``: both unit vectors, weighted, one after the other.

    With weights that sum to 1, their cosine is the weighted mean of the two systems' cosines, exactly.

    Parameters
    ----------
    features, spectrograms : ``track_id`` and ``vector`` of the two spaces.
    """
    weights = config.embedding.hybrid_weights
    total = sum(weights.values())

    def weighted(column: str, weight: float) -> Column:
        squares = F.transform(F.col(column), lambda x: x.cast("double") * x.cast("double"))
        length = F.sqrt(F.aggregate(squares, F.lit(0.0), lambda total, x: total + x))
        scale = F.when(length > 0, F.lit(np.sqrt(weight / total).item()) / length).otherwise(0.0)
        return F.transform(F.col(column), lambda x: (x * scale).cast("float"))

    left = features.select("track_id", F.col("vector").alias("a"))
    right = spectrograms.select("track_id", F.col("vector").alias("b"))
    vector = F.concat(weighted("a", weights["features"]), weighted("b", weights["spectrogram"]))
    nothing = (F.lit(None).alias(name) for name in _SPECTROGRAM_ONLY)
    return left.join(right, "track_id").select("track_id", vector.alias("vector"), *nothing)


def _of(spectrograms: DataFrame) -> DataFrame:
    return spectrograms.select("track_id", "sample_rate", "mel", "n_mels", "n_frames")


def _mels(frame: pd.DataFrame) -> Iterator[npt.NDArray[np.float32]]:
    return map(decode_mel, frame["mel"], frame["n_mels"], frame["n_frames"])


def _describe(batches: Frames) -> Frames:
    for frame in batches:
        described = [spectrogram_space.describe(mel).astype(np.float32).ravel() for mel in _mels(frame)]
        columns = {
            "track_id": frame["track_id"],
            "sample_rate": frame["sample_rate"],
            "description": described,
        }
        yield pd.DataFrame(columns)


def _project(config: Config, pca: Artefact) -> Callable[[Frames], Frames]:
    audio, arrays, seconds = config.audio, pca.arrays, config.recommend.excerpt_seconds

    def project(batches: Frames) -> Frames:
        for batch in batches:
            for rate, frame in batch.groupby("sample_rate"):
                regions = spectrogram_space.band_regions(audio, int(rate))
                classes = excerpt_space.pitch_classes(audio, int(rate))
                described, excerpts = [], []
                for mel in _mels(frame):
                    described.append(spectrogram_space.describe(mel))
                    excerpts.append(
                        excerpt_space.encode(mel, int(rate) / audio.hop_length, seconds, arrays, classes)
                    )
                descriptions = np.stack(described)
                vectors, parts = spectrogram_space.embed(descriptions, arrays, regions)
                levels = spectrogram_space.region_levels(descriptions, regions).astype(np.float32)
                yield pd.DataFrame(
                    {
                        "track_id": frame["track_id"],
                        "vector": list(vectors),
                        "parts": list(parts.reshape(len(parts), -1)),
                        "levels": list(levels),
                        "excerpts": excerpts,
                    }
                )

    return project
