"""The exact parts of a score: a cosine is a sum, and so splits without remainder.

How the vectors of a space split is said once, by its :class:`Parts`: in ``features`` into families of features, in
``spectrogram`` into regions of the spectrum (the part of a region is the similarity that is lost if the region of
the track's spectrogram is replaced by what is usual, the vector's length being held: exact, as the PCA is linear).
What a model makes of a pair does not split: it is one part, and so is who likes the two. The
score of ``hybrid`` is a weighted sum of the scores of its spaces, and its parts are theirs.

A new space is one part unless :data:`_PARTS` names it. If it splits otherwise, or other things are to be said of
it, write a class that does what :class:`Parts` asks for, and name it there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.audio.measures import FAMILIES
from specrec.config import Config
from specrec.embedding.config import FEATURES, LISTENERS, SPECTROGRAM
from specrec.embedding.features import families, layout_of
from specrec.embedding.spaces import spaces_of
from specrec.embedding.spectrogram import REGIONS
from specrec.recommend import facts
from specrec.recommend.facts import Trait, Usual
from specrec.recommend.pairs import ListedPairs, Side
from specrec.settings import System

#: Contributions may miss the score by what float32 takes from vectors, some 1e-7, and by no more than this.
_ROUNDING = 1e-5


class Parts(Protocol):
    """How the vectors of a space split into named parts, and what may be said of each.

    Each vector is the sum of its parts. What a part contributes to a pair's cosine is its product with the other
    vector, divided by the lengths of both.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts, as ``reasons.family`` gives them."""

    @property
    def columns(self) -> dict[str, str]:
        """What it needs of ``embeddings`` beside the vector: columns, by their name in a profile."""

    def part(self, index: int, vectors: Float64Array, stored: Float64Array | None) -> Float64Array:
        """Return one part of each vector, float64, shape (tracks, dimensions).

        Parameters
        ----------
        index : int
            Of `names`.
        vectors : float64, shape (tracks, dimensions)
        stored : float64, shape (tracks, numbers)
            The column ``parts`` of ``embeddings``; None if the space stores none.
        """

    def products(self, pairs: ListedPairs) -> Float64Array:
        """Return the product of each part of the track with the recommended vector, float64, shape (n, parts)."""

    def traits(self, pairs: ListedPairs, cosines: Float64Array, usual: Usual) -> list[Trait]:
        """Return what may be said of each part, in the order of `names`.

        Parameters
        ----------
        cosines : float64, shape (n,)
            Of the pairs, in this space.
        """


@dataclass(frozen=True)
class Families:
    """The parts of the space ``features``: each family has dimensions of its own.

    Attributes
    ----------
    of_dimensions : int, shape (dimensions,)
        The family of each dimension, as an index into `names`.
    names : tuple of str
    """

    of_dimensions: Int64Array
    names: tuple[str, ...] = FAMILIES

    @property
    def columns(self) -> dict[str, str]:
        """Nothing more."""
        return {}

    def part(self, index: int, vectors: Float64Array, stored: Float64Array | None) -> Float64Array:
        """Return the vectors with 0 in the dimensions of other families."""
        return np.where(self.of_dimensions == index, vectors, 0.0)

    def products(self, pairs: ListedPairs) -> Float64Array:
        """Return the product of each family of the track with the recommended vector, shape (n, families)."""
        a, b = pairs.track.vectors[FEATURES], pairs.recommended.vectors[FEATURES]
        products: Float64Array = a.astype(np.float64) * b.astype(np.float64)
        # not by a product of matrices, whose last digits depend on how many pairs there are
        members = (np.flatnonzero(self.of_dimensions == family) for family in range(len(self.names)))
        return np.stack([np.take(products, of, axis=1).sum(axis=1) for of in members], axis=1)

    def traits(self, pairs: ListedPairs, cosines: Float64Array, usual: Usual) -> list[Trait]:
        """Return what may be said of each family."""
        return facts.families(self.names, pairs, usual)


@dataclass(frozen=True)
class Regions:
    """The parts of the space ``spectrogram``: those by region, which are stored beside each vector."""

    names: tuple[str, ...] = tuple(region.name for region in REGIONS)

    @property
    def columns(self) -> dict[str, str]:
        """The parts and the levels by region, and the excerpts, of which every list tells the best pair."""
        return {name: name for name in ("parts", "levels", "excerpts")}

    def part(self, index: int, vectors: Float64Array, stored: Float64Array | None) -> Float64Array:
        """Return what a region contributes to each vector."""
        if stored is None:
            raise ValueError("the parts by region of these vectors are needed, and are not given")
        return stored.reshape(len(vectors), len(self.names), vectors.shape[1])[:, index]

    def products(self, pairs: ListedPairs) -> Float64Array:
        """Return the product of each region of the track with the recommended vector, shape (n, regions)."""
        b = pairs.recommended.vectors[SPECTROGRAM]
        return np.asarray(np.einsum("nrc,nc->nr", pairs.parts.astype(np.float64), b.astype(np.float64)))

    def traits(self, pairs: ListedPairs, cosines: Float64Array, usual: Usual) -> list[Trait]:
        """Return what may be said of each region."""
        return facts.regions(pairs, usual)


@dataclass(frozen=True)
class Whole:
    """The one part of a space whose vectors do not split, as those of a model.

    Attributes
    ----------
    space : str
    """

    space: str

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the space."""
        return (self.space,)

    @property
    def columns(self) -> dict[str, str]:
        """The names of a track's tags."""
        return {f"tags_{self.space}": "tags.name"}

    def part(self, index: int, vectors: Float64Array, stored: Float64Array | None) -> Float64Array:
        """Return the vectors themselves."""
        return vectors

    def products(self, pairs: ListedPairs) -> Float64Array:
        """Return the products of the vectors, shape (n, 1)."""
        a, b = pairs.track.vectors[self.space], pairs.recommended.vectors[self.space]
        products: Float64Array = a.astype(np.float64) * b.astype(np.float64)
        return np.asarray(products.sum(axis=1))[:, None]

    def traits(self, pairs: ListedPairs, cosines: Float64Array, usual: Usual) -> list[Trait]:
        """Return what may be said of what the model hears."""
        return [facts.model(self.space, pairs, cosines, usual)]


@dataclass(frozen=True)
class OfListeners(Whole):
    """The one part of the space ``listeners``, of which more is known than a model says."""

    space: str = LISTENERS

    @property
    def columns(self) -> dict[str, str]:
        """Whether the track's vector is predicted."""
        return {"is_predicted": "predicted"}

    def traits(self, pairs: ListedPairs, cosines: Float64Array, usual: Usual) -> list[Trait]:
        """Return what may be said of those who like the two."""
        return [facts.listeners(pairs, cosines)]


#: The spaces of which more is to be said than of a model. Any other is a :class:`Whole`.
_PARTS: dict[System, Callable[[Config], Parts]] = {
    FEATURES: lambda config: Families(families(layout_of(config.audio.n_mfcc))),
    SPECTROGRAM: lambda config: Regions(),
    LISTENERS: lambda config: OfListeners(),
}


def parts_of(space: System, config: Config) -> Parts:
    """Return how the vectors of a space split; not of one that is made of others, whose parts are theirs."""
    return _PARTS[space](config) if space in _PARTS else Whole(space)


def shares_of(system: System, config: Config) -> dict[System, float]:
    """Return the spaces whose parts are those of a system's scores, with the share of each; they sum to 1.

    A system that is made of others has their parts. Spaces that explain others are among them even with share 0.

    Examples
    --------
    >>> from specrec.config import load
    >>> config = load(None, ["warehouse=/music/warehouse"], needs_catalogue=False)
    >>> shares_of("features", config)
    {'features': 1.0}
    """
    spaces = spaces_of(config)
    if not spaces[system].parts:
        return {system: 1.0}
    shares = config.embedding.hybrid_shares
    return {
        name: shares.get(name, 0.0)
        for name, space in spaces.items()
        if space.explains_others or name in spaces[system].parts
    }


def is_one_part(parts: Collection[Parts]) -> bool:
    """Return whether scores made of these spaces have one part only: then no vector is needed to split them."""
    return sum(len(of.names) for of in parts) == 1


def cosines_of(space: str, parts: Parts, pairs: ListedPairs) -> Float64Array:
    """Return the parts of the cosines in one space, float64, shape (n, parts); 0 where a vector is zero."""
    lengths = [_length(side.vectors[space]) for side in (pairs.track, pairs.recommended)]
    return _ratio(parts.products(pairs), lengths[0] * lengths[1])


def contributions(
    cosines: Sequence[Float64Array], shares: Mapping[str, float], pairs: ListedPairs, scores: Float64Array
) -> Float64Array:
    """Return the parts of each score, float64, shape (n, parts): those of all its spaces, one after the other.

    Parameters
    ----------
    cosines : sequence of float64, shape (n, parts of the space)
        Of each space, as :func:`cosines_of` returns them.
    shares : dict of float
        Of the same spaces, as :func:`shares_of` returns them.
    scores : float64, shape (n,)

    Raises
    ------
    ValueError
        If they do not add up to the scores: vectors and scores do not belong together.
    """
    weighted = [share * of for share, of in zip(shares.values(), cosines, strict=True)]
    lengths = [_joined_length(side, shares) for side in (pairs.track, pairs.recommended)]
    parts = _ratio(np.concatenate(weighted, axis=1), lengths[0] * lengths[1])
    left = scores - parts.sum(axis=1)
    if np.abs(left).max(initial=0.0) > _ROUNDING:
        raise ValueError(f"contributions miss the score by {np.abs(left).max():.1e}: vectors and scores disagree")
    # what the rounding of float32 leaves goes to the greatest part
    parts[np.arange(len(parts)), np.abs(parts).argmax(axis=1)] += left
    return parts


def _joined_length(side: Side, shares: Mapping[str, float]) -> Float64Array:
    """Return the lengths of the unit vectors joined with their shares: 1, unless one of them is zero."""
    squares = [share * (_length(side.vectors[space]) > 0) for space, share in shares.items()]
    length: Float64Array = np.sqrt(np.sum(squares, axis=0))
    return length


def _length(vectors: Float32Array) -> Float64Array:
    length: Float64Array = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    return length


def _ratio(parts: Float64Array, length: Float64Array) -> Float64Array:
    return np.divide(parts, length[:, None], out=np.zeros_like(parts), where=length[:, None] > 0)
