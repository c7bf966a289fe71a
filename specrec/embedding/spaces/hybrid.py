"""The space ``hybrid``: others joined, so that its cosine is exactly the weighted mean of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from specrec.arrays import Vectors
from specrec.embedding.config import EMBEDDING_VERSION, HYBRID
from specrec.embedding.spaces.space import Maker, Source, Space, embedded
from specrec.settings import SettingsHash, System, settings_hash

if TYPE_CHECKING:
    from specrec.config import Config


class HybridSpace(Space):
    """The unit vectors of other spaces, weighted, one after the other.

    Parameters
    ----------
    config : Config
    others : dict
        All other spaces of the configuration, by name.
    """

    def __init__(self, config: Config, others: Mapping[System, Space]) -> None:
        super().__init__(HYBRID)
        self.shares = config.embedding.hybrid_shares
        self._others = others

    @property
    def source(self) -> Source:
        """See :class:`Space`."""
        return "embeddings"

    @property
    def parts(self) -> tuple[System, ...]:
        """The spaces that have a weight, in the order of the vector."""
        return tuple(self.shares)

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Space`."""
        return self.parts

    @property
    def is_of_the_file(self) -> bool:
        """If all spaces are so that it is made of."""
        return all(self._others[part].is_of_the_file for part in self.parts)

    @property
    def settings_hash(self) -> SettingsHash:
        """See :class:`Space`."""
        parts = [self._others[part].settings_hash for part in self.parts]
        of = (EMBEDDING_VERSION, self.name, parts, self.shares)
        return settings_hash(*of, previous=of)

    @property
    def makers(self) -> tuple[str, ...]:
        """Those of the spaces that it is made of."""
        return tuple(name for part in self.parts for name in self._others[part].makers)

    def embed(self, rows: pd.DataFrame, known: Mapping[str, Maker]) -> Iterator[pd.DataFrame]:
        """See :class:`Space`."""
        vectors = {part: np.stack(rows[part].to_list()) for part in self.parts}
        yield embedded(rows, join(vectors, self.shares))


def join(vectors: Mapping[System, Vectors], shares: Mapping[System, float]) -> Vectors:
    """Join spaces: the unit vectors, each times the root of its share, one after the other.

    With shares that sum to 1, the cosine of joined vectors is the weighted mean of the spaces' cosines, exactly.

    Parameters
    ----------
    vectors : dict of float32, shape (tracks, dimensions)
        Of each space, in the order of the spaces; a zero vector stays zero.
    shares : dict of float
        Of each space.

    Returns
    -------
    float32, shape (tracks, sum of the dimensions)

    Examples
    --------
    >>> one, other = np.array([[3.0, 4.0]], np.float32), np.array([[2.0]], np.float32)
    >>> join({"features": one, "spectrogram": other}, {"features": 0.75, "spectrogram": 0.25}).round(3)
    array([[0.52 , 0.693, 0.5  ]], dtype=float32)
    """
    parts = []
    for space, rows in vectors.items():
        # one after the other, and not pairwise as `sum` adds: the last digit does not depend on how numpy was built
        squares = np.square(rows, dtype=np.float64)
        length = np.sqrt(np.add.accumulate(squares, axis=1)[:, -1:])
        scale = np.divide(np.sqrt(shares[space]), length, out=np.zeros_like(length), where=length > 0)
        parts.append((rows * scale).astype(np.float32))
    return np.concatenate(parts, axis=1)
