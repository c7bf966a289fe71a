"""From what was measured of tracks to their vectors, by space: numpy and pandas alone.

Spark's workers (:mod:`specrec.embedding.spaces`) and a query that starts no Spark run the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from specrec.audio.mel import decode_mel
from specrec.config import Config
from specrec.embedding import excerpts as excerpt_space
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding.artefacts import PCA, SCALER, Artefact
from specrec.embedding.models import Heard, Model, Tag, outputs, top_tags, unit_mel
from specrec.settings import System

Vectors = npt.NDArray[np.float32]

#: Columns that only the space ``spectrogram`` has, and those that only some space has.
SPECTROGRAM_ONLY = ("parts", "levels", "excerpts")
NOT_IN_ALL = (*SPECTROGRAM_ONLY, "tags")
#: Raised by one whenever other tags are kept of the same scores.
_TAGS_VERSION = 1

#: What vectors are made with, beside settings.
Maker = Artefact | Model


def made_with(config: Config, space: System) -> tuple[str, ...]:
    """Return the names of the artefacts and models that the vectors of a space are made with."""
    if space == "hybrid":
        return tuple(name for part in config.embedding.hybrid_shares for name in made_with(config, part))
    return {"features": (SCALER,), "spectrogram": (PCA,)}.get(space, (space,))


def embed(
    measured: pd.DataFrame,
    heard: Mapping[str, Sequence[Heard]],
    system: System,
    config: Config,
    known: Mapping[str, Maker],
) -> dict[str, pd.DataFrame]:
    """Return the vectors of tracks in the spaces that a system's lists need, as rows of ``embeddings``.

    Parameters
    ----------
    measured : columns of ``audio_features`` and ``mel_spectrograms``, one row a track.
    heard : by name, what those models of the system that hear the audio itself made of the same tracks.
    system : whose lists; ``features`` and ``spectrogram`` are needed by all, to explain them.
    known : artefacts and models by name, those of :func:`made_with` for these spaces.
    """
    scaler, pca = known[SCALER], known[PCA]
    assert isinstance(scaler, Artefact)
    assert isinstance(pca, Artefact)
    spaces = {"features": embed_features(measured, config, scaler)}
    spaces["spectrogram"] = pd.concat(embed_spectrograms(measured, config, pca)).loc[measured.index]
    for name in config.models_of(system):
        model = known[name]
        assert isinstance(model, Model)
        if model.mel is None:
            spaces[name] = embed_by_model(measured, model)
        else:
            own = heard[name]
            spaces[name] = _row_by_row(measured, [of.vector for of in own], [of.tags for of in own])
    if system == "hybrid":
        shares = config.embedding.hybrid_shares
        parts = {name: np.stack(spaces[name]["vector"].to_list()) for name in shares}
        spaces[system] = _row_by_row(measured, join(parts, shares))
    return spaces


def embed_features(frame: pd.DataFrame, config: Config, scaler: Artefact) -> pd.DataFrame:
    """Return the vectors of the space ``features`` of rows of ``audio_features``."""
    layout, settings = feature_space.layout_of(config.audio.n_mfcc), config.embedding
    matrix = feature_space.stack(frame, layout)
    vectors = feature_space.embed(matrix, layout, scaler.arrays, settings.family_weights, settings.clip_sd)
    return _row_by_row(frame, vectors)


def embed_spectrograms(frame: pd.DataFrame, config: Config, pca: Artefact) -> Iterator[pd.DataFrame]:
    """Yield the vectors of the space ``spectrogram``, with parts, levels and excerpts, by sample rate.

    Parameters
    ----------
    frame : rows of ``mel_spectrograms``; the frames yielded keep its index.
    """
    audio, seconds = config.audio, config.recommend.excerpt_seconds
    for rate, of_rate in frame.groupby("sample_rate"):
        regions = spectrogram_space.band_regions(audio, int(rate))
        classes = excerpt_space.pitch_classes(audio, int(rate))
        described, excerpts = [], []
        for mel in mels(of_rate):
            described.append(spectrogram_space.describe(mel))
            excerpts.append(excerpt_space.encode(mel, int(rate) / audio.hop_length, seconds, pca.arrays, classes))
        descriptions = np.stack(described)
        vectors, parts = spectrogram_space.embed(descriptions, pca.arrays, regions)
        levels = spectrogram_space.region_levels(descriptions, regions).astype(np.float32)
        yield pd.DataFrame(
            {
                "track_id": of_rate["track_id"],
                "vector": list(vectors),
                "parts": list(parts.reshape(len(parts), -1)),
                "levels": list(levels),
                "excerpts": excerpts,
                "tags": None,
            }
        )


def embed_by_model(frame: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return the vectors of a model's space of rows of ``mel_spectrograms``."""
    made = [outputs(model, unit_mel(mel)) for mel in mels(frame)]
    return _row_by_row(frame, [vector for vector, _ in made], [top_tags(model, scores) for _, scores in made])


def _row_by_row(
    frame: pd.DataFrame, vectors: Iterable[npt.NDArray[np.float32]], tags: list[list[Tag] | None] | None = None
) -> pd.DataFrame:
    nothing = dict.fromkeys(NOT_IN_ALL)
    return pd.DataFrame({"track_id": frame["track_id"], "vector": list(vectors), **nothing, "tags": tags})


def join(vectors: Mapping[str, Vectors], weights: Mapping[str, float]) -> Vectors:
    """Join spaces: the unit vectors, each times the root of its weight, one after the other; float32.

    With weights that sum to 1, the cosine of joined vectors is the weighted mean of the spaces' cosines, exactly.

    Parameters
    ----------
    vectors : of each space, shape (tracks, dimensions), in the order of the spaces; a zero vector stays zero.
    weights : of each space; they are divided by their sum.
    """
    total = sum(weights.values())
    parts = []
    for space, rows in vectors.items():
        length = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True))
        scale = np.divide(np.sqrt(weights[space] / total), length, out=np.zeros_like(length), where=length > 0)
        parts.append((rows * scale).astype(np.float32))
    return np.concatenate(parts, axis=1)


def mels(frame: pd.DataFrame) -> Iterator[npt.NDArray[np.float32]]:
    """Return the mel spectrograms of rows of ``mel_spectrograms``, each float32, shape (n_mels, n_frames), dB."""
    return map(decode_mel, frame["mel"], frame["n_mels"], frame["n_frames"])


def ingredients(config: Config, space: System, known: Mapping[str, Maker]) -> list[str]:
    """Return what the vectors of a space are made with, beside the audio: it is hashed into ``input_hash``."""
    return [config.space_hash(space), *(_version(known[name]) for name in made_with(config, space))]


def _version(maker: Maker) -> str:
    if isinstance(maker, Artefact):
        return f"{maker.name} {maker.version}"
    return f"{maker.name} {maker.sha256}" + (f" tags {_TAGS_VERSION}" if maker.tags else "")
