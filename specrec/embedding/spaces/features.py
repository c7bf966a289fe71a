"""The space ``features``: what librosa measures of a clip, standardised; see :mod:`specrec.embedding.features`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from specrec.arrays import Float64Array
from specrec.embedding import features
from specrec.embedding.config import EMBEDDING_VERSION, FEATURES
from specrec.embedding.spaces.space import FittedSpace, Maker, Source, embedded, fitted
from specrec.settings import SettingsHash, settings_hash
from specrec.warehouse.artefacts import Artefact, ArtefactId

if TYPE_CHECKING:
    from specrec.config import Config


class FeatureSpace(FittedSpace):
    """Features, each family bounded and with its own weight.

    Examples
    --------
    >>> from specrec.config import load
    >>> space = FeatureSpace(load(None, ["warehouse=/music/warehouse"], needs_catalogue=False))
    >>> space.source, space.artefact.name, space.columns[:2]
    ('audio_features', 'features_scaler', ('mfcc_mean', 'mfcc_std'))
    """

    explains_others = True

    def __init__(self, config: Config) -> None:
        super().__init__(FEATURES)
        self._config = config
        self.layout = features.layout_of(config.audio.n_mfcc)

    @property
    def source(self) -> Source:
        """See :class:`Space`."""
        return "audio_features"

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Space`."""
        return tuple(name for name, _ in self.layout)

    @property
    def settings_hash(self) -> SettingsHash:
        """See :class:`Space`."""
        embedding, of = self._config.embedding, (EMBEDDING_VERSION, self.name, self._config.audio_hash)
        own = embedding.differing("family_weights", "clip_sd")
        return settings_hash(*of, own, previous=[*of, [embedding.family_weights, embedding.clip_sd]])

    @property
    def artefact(self) -> ArtefactId:
        """The scaler: mean and standard deviation of each dimension."""
        return fitted("features_scaler", self._config)

    @property
    def sample_size(self) -> int:
        """See :class:`FittedSpace`."""
        return self._config.fit.sample_tracks

    def fit(self, sample: pd.DataFrame) -> dict[str, Float64Array]:
        """See :class:`FittedSpace`."""
        return features.fit_scaler(features.stack(sample, self.layout), self.layout)

    def drift(self, sample: pd.DataFrame, scaler: Artefact) -> float:
        """Return how far a sample lies from what the scaler was fitted on, in fitted standard deviations."""
        return features.drift(features.stack(sample, self.layout), self.layout, scaler.arrays)

    def embed(self, rows: pd.DataFrame, known: Mapping[str, Maker]) -> Iterator[pd.DataFrame]:
        """See :class:`Space`."""
        scaler, settings = known[self.artefact.name], self._config.embedding
        assert isinstance(scaler, Artefact)
        matrix = features.stack(rows, self.layout)
        yield embedded(
            rows,
            features.embed(matrix, self.layout, scaler.arrays, settings.family_weights, settings.clip_sd),
        )
