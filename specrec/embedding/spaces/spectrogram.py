"""The space ``spectrogram``: a PCA of mel spectrograms; see :mod:`specrec.embedding.spectrogram`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from specrec.arrays import Float64Array
from specrec.audio.mel import MEL_COLUMNS, mels_of
from specrec.embedding import excerpts, spectrogram
from specrec.embedding.config import EMBEDDING_VERSION, SPECTROGRAM
from specrec.embedding.spaces.space import FittedSpace, Maker, Source, fitted
from specrec.settings import SettingsHash, settings_hash
from specrec.warehouse.artefacts import Artefact, ArtefactId

if TYPE_CHECKING:
    from specrec.config import Config


class SpectrogramSpace(FittedSpace):
    """Principal components of what each mel band does; it also keeps what regions and excerpts are told by.

    Examples
    --------
    >>> from specrec.config import load
    >>> space = SpectrogramSpace(load(None, ["warehouse=/music/warehouse"], needs_catalogue=False))
    >>> space.source, space.artefact.name, space.columns[:3]
    ('mel_spectrograms', 'spectrogram_pca', ('sample_rate', 'mel', 'n_mels'))
    """

    explains_others = True

    def __init__(self, config: Config) -> None:
        super().__init__(SPECTROGRAM)
        self._config = config

    @property
    def source(self) -> Source:
        """See :class:`Space`."""
        return "mel_spectrograms"

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Space`."""
        return ("sample_rate", *MEL_COLUMNS)

    @property
    def settings_hash(self) -> SettingsHash:
        """See :class:`Space`."""
        recommend, of = self._config.recommend, (EMBEDDING_VERSION, self.name, self._config.audio_hash)
        own = recommend.differing("excerpt_seconds")
        return settings_hash(*of, own, previous=[*of, [recommend.excerpt_seconds]])

    @property
    def artefact(self) -> ArtefactId:
        """The principal components."""
        embedding = self._config.embedding
        own = embedding.differing("pca_components")
        return fitted("spectrogram_pca", self._config, own, previous=embedding.pca_components)

    @property
    def sample_size(self) -> int:
        """See :class:`FittedSpace`."""
        return self._config.fit.sample_spectrograms

    @property
    def summary_schema(self) -> str:
        """See :class:`FittedSpace`."""
        return "track_id string, description array<float>"

    def summarise(self, rows: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Yield descriptions of mel spectrograms; see :func:`specrec.embedding.spectrogram.describe`."""
        for frame in rows:
            described = [spectrogram.describe(mel).astype(np.float32).ravel() for mel in mels_of(frame)]
            yield pd.DataFrame({"track_id": frame["track_id"], "description": described})

    def fit(self, sample: pd.DataFrame) -> dict[str, Float64Array]:
        """See :class:`FittedSpace`."""
        descriptions = np.stack(sample["description"].to_list()).astype(np.float64)
        shape = (len(sample), spectrogram.DESCRIPTORS, self._config.audio.n_mels)
        return spectrogram.fit_pca(descriptions.reshape(shape), self._config.embedding.pca_components)

    def embed(self, rows: pd.DataFrame, known: Mapping[str, Maker]) -> Iterator[pd.DataFrame]:
        """See :class:`Space`; what is yielded is of one sample rate each, with parts, levels and excerpts."""
        pca = known[self.artefact.name]
        assert isinstance(pca, Artefact)
        audio, seconds = self._config.audio, self._config.recommend.excerpt_seconds
        for rate, of_rate in rows.groupby("sample_rate"):
            regions = spectrogram.band_regions(audio, int(rate))
            classes = excerpts.pitch_classes(audio, int(rate))
            described, coded = [], []
            for mel in mels_of(of_rate):
                described.append(spectrogram.describe(mel))
                coded.append(excerpts.encode(mel, int(rate) / audio.hop_length, seconds, pca.arrays, classes))
            descriptions = np.stack(described)
            vectors, parts = spectrogram.embed(descriptions, pca.arrays, regions)
            levels = spectrogram.region_levels(descriptions, regions).astype(np.float32)
            yield pd.DataFrame(
                {
                    "track_id": of_rate["track_id"],
                    "vector": list(vectors),
                    "parts": list(parts.reshape(len(parts), -1)),
                    "levels": list(levels),
                    "excerpts": coded,
                    "tags": None,
                    "predicted": None,
                }
            )
