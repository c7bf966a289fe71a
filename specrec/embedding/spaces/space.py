"""What a vector space is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pandas as pd

from specrec.arrays import Float32Array, Float64Array
from specrec.embedding.config import EMBEDDING_VERSION
from specrec.embedding.models import Model, Tag
from specrec.settings import SettingsHash, System, settings_hash
from specrec.warehouse.artefacts import Artefact, ArtefactId

if TYPE_CHECKING:
    from specrec.config import Config

#: What the vectors of a space are made of: a table, the audio files themselves, or the vectors of other spaces.
Source = Literal["audio_features", "mel_spectrograms", "audio", "track_listeners", "embeddings"]

#: What the vectors of a space are made with, beside settings.
Maker = Artefact | Model

#: Columns of ``embeddings`` that not every space fills.
OPTIONAL_COLUMNS = ("parts", "levels", "excerpts", "tags", "predicted")


class Space(ABC):
    """A vector space of tracks, and at the same time a system: each space has its lists.

    Parameters
    ----------
    name : str
        Of the space, in ``embeddings`` and in every table after it.
    """

    #: Whether what it knows of two tracks is told of pairs of other systems, too.
    explains_others: ClassVar[bool] = False

    def __init__(self, name: System) -> None:
        self.name = name

    @property
    @abstractmethod
    def source(self) -> Source:
        """What its vectors are made of."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its source that :meth:`embed` reads, beside ``track_id``."""
        return ()

    @property
    def parts(self) -> tuple[System, ...]:
        """The spaces that it is made of; none, unless its source is ``embeddings``."""
        return ()

    @property
    def made_from(self) -> tuple[System, ...]:
        """The spaces whose vectors must be there before its own: those that it is made of, or is predicted from."""
        return self.parts

    @property
    def is_of_the_file(self) -> bool:
        """Whether tracks whose files are equal have equal vectors; else ``input_hash`` names the track, too."""
        return True

    @property
    @abstractmethod
    def settings_hash(self) -> SettingsHash:
        """What its vectors depend on, besides the audio, artefacts and models."""

    @property
    def artefact(self) -> ArtefactId | None:
        """The artefact that its vectors are made with, if there is one."""
        return None

    @property
    def makers(self) -> tuple[str, ...]:
        """The names of the artefacts and models that its vectors are made with."""
        return () if self.artefact is None else (self.artefact.name,)

    def ingredients(self, known: Mapping[str, Maker]) -> list[list[str]]:
        """Return what its vectors are made with, beside the audio: it is hashed into ``embeddings.input_hash``.

        Parameters
        ----------
        known : dict
            Artefacts and models by name, those of :attr:`makers` among them.

        Returns
        -------
        list of list of str
            A list for each name that its settings go by, the current one first; a vector that was made with any of
            them is up to date.
        """
        made_with = [known[name].made_with for name in self.makers]
        return [[settings, *made_with] for settings in self.settings_hash.accepted]

    @abstractmethod
    def embed(self, rows: pd.DataFrame, known: Mapping[str, Maker]) -> Iterator[pd.DataFrame]:
        """Yield rows of ``embeddings``: ``track_id, vector`` and :data:`OPTIONAL_COLUMNS`.

        Parameters
        ----------
        rows : DataFrame
            ``track_id`` and :attr:`columns` of the source; of a space that is made from others, a column with the
            vectors of each. What is yielded keeps its index.
        known : dict
            Artefacts and models by name, those of :attr:`makers` among them.
        """


class FittedSpace(Space):
    """A space whose vectors are made with an artefact that is fitted to a sample of the catalogue.

    Its source is one of the tables that extraction writes: ``audio_features`` or ``mel_spectrograms``.
    """

    @property
    @abstractmethod
    def artefact(self) -> ArtefactId:
        """The artefact that its vectors are made with."""

    @property
    @abstractmethod
    def sample_size(self) -> int:
        """How many tracks the artefact is fitted on, at most."""

    @property
    def summary_schema(self) -> str | None:
        """The columns, in Spark's notation, that :meth:`summarise` yields; None: rows are collected as they are."""
        return None

    def summarise(self, rows: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Yield, of rows of the source, the little that fitting needs and that is collected."""
        return rows

    @abstractmethod
    def fit(self, sample: pd.DataFrame) -> dict[str, Float64Array]:
        """Return the artefact's arrays, fitted to a sample, sorted by ``track_id``.

        Parameters
        ----------
        sample : DataFrame
            What :meth:`summarise` yields, one row a track.
        """


def fitted(name: str, config: Config, own: Any = None, previous: Any = None) -> ArtefactId:
    """Return which artefact it is that is fitted to the configured sample.

    Parameters
    ----------
    name : str
        Of the artefact.
    own : JSON value
        Its own settings, as far as they differ from the defaults.
    previous : JSON value
        Its own settings, as the release before this one hashed them.
    """
    fit, of = config.fit, (EMBEDDING_VERSION, name, config.audio_hash)
    samples = fit.differing("sample_tracks", "sample_spectrograms", "seed")
    before = [*of, [fit.sample_tracks, fit.sample_spectrograms, fit.seed], previous]
    return ArtefactId(name, settings_hash(*of, samples, own, previous=before))


def embedded(
    rows: pd.DataFrame,
    vectors: Iterable[Float32Array],
    tags: list[list[Tag] | None] | None = None,
) -> pd.DataFrame:
    """Return vectors as rows of ``embeddings``, with the other columns empty.

    Parameters
    ----------
    rows : DataFrame
        Whose ``track_id`` and index are kept.
    vectors : float32, shape (rows, dimensions)
    tags : list
        Of each row, if its model names tags.

    Examples
    --------
    >>> import numpy as np
    >>> rows = pd.DataFrame({"track_id": ["a", "b"]})
    >>> embedded(rows, np.eye(2, dtype=np.float32))[["track_id", "vector"]]
      track_id      vector
    0        a  [1.0, 0.0]
    1        b  [0.0, 1.0]
    """
    nothing = dict.fromkeys(OPTIONAL_COLUMNS)
    return pd.DataFrame({"track_id": rows["track_id"], "vector": list(vectors), **nothing, "tags": tags})
