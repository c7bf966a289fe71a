"""Fidelity: whether deleting the part that an explanation names first costs a pair more than deleting another.

The part (a family of features, or a region of the spectrum) is deleted from every vector: of the pair, and of those
that the pair is ranked among. What is left of the pair's cosine and rank tells what the part was worth to it
(deletion, as in Samek et al. 2017, in the space of the search itself: nothing is approximated).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.recommend.contributions import Parts

_TIE = 1e-9  # cosines that differ by less are the same, computed in another order


@dataclass(frozen=True)
class Split:
    """Vectors that are the sum of named parts.

    Attributes
    ----------
    names : tuple of str
        Of the parts.
    vectors : float64, shape (tracks, dimensions)
    part : callable
        Returns the i-th part of each vector, shape (tracks, dimensions): one at a time, as all would be wide.
    """

    names: tuple[str, ...]
    vectors: Float64Array
    part: Callable[[int], Float64Array]


def split(parts: Parts, vectors: Float64Array, stored: Float64Array | None = None) -> Split:
    """Split vectors of one space into the parts that its explanations name; see :meth:`Parts.part`."""
    return Split(parts.names, vectors, lambda i: parts.part(i, vectors, stored))


def joined(vectors: Float64Array, splits: Sequence[Split]) -> Split:
    """Split vectors of the space ``hybrid``: the unit vectors of several spaces, weighted, one after the other."""
    ends = np.cumsum([split.vectors.shape[1] for split in splits]).tolist()
    columns = [slice(end - split.vectors.shape[1], end) for end, split in zip(ends, splits, strict=True)]
    scales = [
        _ratio(_length(vectors[:, own]), _length(split.vectors))[:, None]
        for own, split in zip(columns, splits, strict=True)
    ]
    places = [(number, i) for number, split in enumerate(splits) for i in range(len(split.names))]

    def part(i: int) -> Float64Array:
        number, own = places[i]
        found = np.zeros_like(vectors)
        found[:, columns[number]] = splits[number].part(own) * scales[number]
        return found

    return Split(tuple(name for split in splits for name in split.names), vectors, part)


@dataclass(frozen=True)
class Fidelity:
    """What deletion costs, the mean over each track's list; float64, shape (tracks,), NaN where there is no pair.

    Attributes
    ----------
    score, rank : float64 array
        Loss of cosine, and ranks lost, without the part named first.
    score_others, rank_others : float64 array
        The same, the mean over the other parts.
    score_wins, rank_wins : float64 array
        Share of the other parts that cost less; what costs the same counts half.
    """

    score: Float64Array
    score_others: Float64Array
    score_wins: Float64Array
    rank: Float64Array
    rank_others: Float64Array
    rank_wins: Float64Array


def fidelity(split: Split, tracks: Int64Array, lists: Int64Array, top: Int64Array) -> Fidelity:
    """Delete each part in turn and compare the first named with the others.

    Parameters
    ----------
    split : Split
        Of the tracks and of those in their lists.
    tracks : int64, shape (n,)
        Rows of `split`; what a recommended track is ranked among.
    lists : int64, shape (n, width)
        Rows of `split`; -1 where a list has ended.
    top : int64, shape (n, width)
        Index of the part named first; -1 where the pair is left out.

    Examples
    --------
    >>> vectors = np.array([[2.0, 1.0], [2.0, -1.0], [0.1, 2.0]])
    >>> halves = Split(("left", "right"), vectors, lambda i: vectors * (np.arange(2) == i))
    >>> found = fidelity(halves, tracks=np.array([0, 1]), lists=np.array([[1], [0]]), top=np.array([[0], [0]]))
    >>> bool(found.score[0] > found.score_others[0]), found.score_wins
    (True, array([1., 1.]))
    """
    weighs = [i for i in range(len(split.names)) if np.abs(split.part(i)).max(initial=0.0) > 0]
    pairs = (lists >= 0) & np.isin(top, weighs)
    cosines, ranks = _cosines_and_ranks(split.vectors, tracks, lists)
    lost_score, lost_rank = [], []
    for i in weighs:
        without = _cosines_and_ranks(split.vectors - split.part(i), tracks, lists)
        lost_score.append(cosines - without[0])
        lost_rank.append(without[1] - ranks)
    is_top = np.array(weighs)[:, None, None] == top if weighs else np.zeros((0, *top.shape), bool)
    found = [_top_against_others(np.array(lost), is_top, pairs) for lost in (lost_score, lost_rank)]
    return Fidelity(*found[0], *found[1])


def _top_against_others(
    lost: Float64Array, is_top: BoolArray, pairs: BoolArray
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the loss by the top part, by the others, and the share of these that lose less, by row."""
    others = len(lost) - 1
    if others < 1:
        nothing = np.full(len(pairs), np.nan)
        return nothing, nothing, nothing
    first = (lost * is_top).sum(axis=0)
    rest = (lost.sum(axis=0) - first) / others
    better = (first > lost + _TIE) + 0.5 * (np.abs(first - lost) <= _TIE)
    wins = (better * ~is_top).sum(axis=0) / others
    n = pairs.sum(axis=1)
    rows = [
        np.divide((of * pairs).sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
        for of in (first, rest, wins)
    ]
    return rows[0], rows[1], rows[2]


def _cosines_and_ranks(
    vectors: Float64Array, tracks: Int64Array, lists: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the cosine of each pair, and its rank among the cosines of the track with all `tracks`."""
    unit = _ratio(vectors, _length(vectors)[:, None])
    own = unit[tracks]
    with_all = own @ own.T
    np.fill_diagonal(with_all, -np.inf)
    cosines, ranks = np.zeros(lists.shape), np.zeros(lists.shape)
    for column in range(lists.shape[1]):
        cosines[:, column] = (own * unit[lists[:, column]]).sum(axis=1)
        ranks[:, column] = 1 + (with_all > cosines[:, column, None] + _TIE).sum(axis=1)
    return cosines, ranks


def _length(vectors: Float64Array) -> Float64Array:
    length: Float64Array = np.sqrt((vectors**2).sum(axis=1))
    return length


def _ratio(a: Float64Array, b: Float64Array) -> Float64Array:
    # where all of a vector was one part, its deletion leaves rounding errors, which have no direction
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b > 1e-12)
