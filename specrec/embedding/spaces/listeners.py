"""The space ``listeners``: what tracks are to those who like them; see :mod:`specrec.embedding.listeners`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from specrec.embedding.config import EMBEDDING_VERSION, LISTENERS
from specrec.embedding.listeners import Tracks, matrix_of, predict
from specrec.embedding.spaces.hybrid import join
from specrec.embedding.spaces.space import Maker, Source, Space, embedded
from specrec.settings import SettingsHash, System, settings_hash
from specrec.warehouse.artefacts import Artefact, ArtefactId

if TYPE_CHECKING:
    from specrec.config import Config

#: The columns that tell of a track's listeners, and of those of its artist: of a song that nobody heard yet.
UNHEARD = {"als": None, "artist_mean": None, "artist_tracks": 0}


class ListenersSpace(Space):
    """The factors of tracks by what people like; predicted where a track has none.

    A predicted vector is kept until the next fit, also where its artist is renamed or becomes better known.

    Parameters
    ----------
    config : Config
    others : dict
        The spaces of sound, by name.

    Examples
    --------
    >>> from specrec.config import load
    >>> from specrec.embedding.spaces import spaces_of
    >>> settings = ["warehouse=/music/warehouse", "listeners.events=/music/events"]
    >>> space = spaces_of(load(None, settings, needs_catalogue=False))["listeners"]
    >>> space.source, space.made_from, space.makers
    ('track_listeners', ('features', 'spectrogram'), ('listeners_prediction',))
    """

    def __init__(self, config: Config, others: Mapping[System, Space]) -> None:
        super().__init__(LISTENERS)
        self.shares = config.embedding.sound_shares
        self._fitted = config.listeners.fit_hash
        self._others = others

    @property
    def source(self) -> Source:
        """See :class:`Space`."""
        return "track_listeners"

    @property
    def made_from(self) -> tuple[System, ...]:
        """The spaces of sound that ``hybrid`` is made of: factors are predicted from these."""
        return tuple(self.shares)

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Space`."""
        return (*UNHEARD, *self.made_from)

    @property
    def is_of_the_file(self) -> bool:
        """Not so: of two tracks with one file people may like one."""
        return False

    @property
    def settings_hash(self) -> SettingsHash:
        """See :class:`Space`."""
        sound = [self._others[name].settings_hash for name in self.made_from]
        return settings_hash(EMBEDDING_VERSION, self.name, self._fitted, sound, self.shares)

    @property
    def artefact(self) -> ArtefactId:
        """How factors are predicted; it has a version for each version of the factors."""
        return ArtefactId("listeners_prediction", self.settings_hash)

    def makers_of(self, part: System) -> tuple[str, ...]:
        """Return the names of the artefacts and models that the vectors of a space of sound are made with."""
        return self._others[part].makers

    def tracks(self, rows: pd.DataFrame, factors: int, dimensions: Sequence[int]) -> Tracks:
        """Return what rows of :attr:`columns` say of tracks; any vector may be null.

        Parameters
        ----------
        factors : int
            How many a track has.
        dimensions : sequence of int
            Of the vectors of each space in :attr:`made_from`.
        """
        vectors = {
            name: np.nan_to_num(matrix_of(rows[name], size)).astype(np.float32)
            for name, size in zip(self.made_from, dimensions, strict=True)
        }
        # as `hybrid` knows it; where a model failed of a track, it is told by the others
        sound = join(vectors, self.shares).astype(np.float64)
        sound[rows[list(self.made_from)].isna().all(axis=1)] = np.nan
        return Tracks(
            matrix_of(rows["als"], factors),
            matrix_of(rows["artist_mean"], factors),
            rows["artist_tracks"].to_numpy(np.int64),
            sound,
        )

    def embed(self, rows: pd.DataFrame, known: Mapping[str, Maker]) -> Iterator[pd.DataFrame]:
        """See :class:`Space`; of what nothing is known there is no row."""
        fitted = known[self.artefact.name]
        assert isinstance(fitted, Artefact)
        dimensions = fitted.arrays["dimensions"].astype(int).tolist()
        tracks = self.tracks(rows, len(fitted.arrays["mean"]), dimensions)
        predicted, can_be = predict(tracks, fitted.arrays)
        has = tracks.has_factors
        vectors = np.where(has[:, None], tracks.factors, predicted).astype(np.float32)
        yield embedded(rows, vectors).assign(predicted=~has)[has | can_be]
