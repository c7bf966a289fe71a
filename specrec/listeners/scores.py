"""Scoring people against tracks, block by block: products of matrices, and of each person the best. No Spark.

A score is a sum of components. Some are inner products of a person's vector and a track's: of the factors of
alternating least squares, of what the person likes and how a track sounds, of how many know and like a track.
Others are sparse: what is liked together, and what those like who are near to the person. Times its weight for this
person, each component becomes a part of one product, so that a block of people meets a block of tracks in one
multiplication.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from specrec.listeners.config import COMPONENTS
from specrec.neighbours.kernel import best_first

#: The components that are inner products of vectors.
DENSE = ("als", "content", "popularity", "average")

#: float32 products err by less than this share of what is multiplied; what is so near to the last of a list is kept
#: until float64 decides.
_SLACK = 2e-5
_PRODUCTS_AT_ONCE = 1 << 22
#: So many times more candidates than are wanted are settled in float64, at most.
_CROWD = 8


@dataclass(frozen=True)
class Tracks:
    """A block of tracks.

    Attributes
    ----------
    codes : int64, shape (tracks,)
        Tell tracks apart; in no order.
    vectors : dict of float32, shape (tracks, dimensions)
        Of each component in :data:`DENSE`.
    similar : sparse, shape (tracks, known tracks)
        How much each is liked together with others; a column a track of :attr:`known`.
    known : int64, shape (known tracks,)
        The codes that the columns of ``similar`` stand for, ascending.
    is_new : bool, shape (tracks,)
        Whether hardly anybody knows it yet.
    """

    codes: Int64Array
    vectors: Mapping[str, Float32Array]
    similar: sparse.csr_array
    known: Int64Array
    is_new: BoolArray


@dataclass(frozen=True)
class People:
    """A block of people.

    Attributes
    ----------
    vectors : dict of float32, shape (people, dimensions)
        Of each component in :data:`DENSE`.
    weights : float64, shape (people, components)
        What each component counts for each person, in the order of :data:`COMPONENTS`.
    owner, track : int64, shape (preferences,)
        Whose preference it is, 0 to people - 1, and the code of the track.
    evidence : float64, shape (preferences,)
        What it adds to the component ``item_based``; the components of a person add up to at most 1.
    near_for, near : int64, shape (tracks that are liked nearby,)
        To whom those are near who like it, and its code.
    near_value : float64, shape (tracks that are liked nearby,)
        The component ``user_based``.
    barred_for, barred : int64, shape (barred tracks,)
        Whom a track is never recommended to, and its code: it is a recording that the person knows as another
        track.
    """

    vectors: Mapping[str, Float32Array]
    weights: Float64Array
    owner: Int64Array
    track: Int64Array
    evidence: Float64Array
    near_for: Int64Array
    near: Int64Array
    near_value: Float64Array
    barred_for: Int64Array
    barred: Int64Array

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class Best:
    """The best tracks of people, grouped by person, best first.

    Attributes
    ----------
    person, track : int64, shape (pairs,)
        Their places in the two blocks.
    components : float64, shape (pairs, components)
        In the order of :data:`COMPONENTS`, without weights.
    score : float64, shape (pairs,)
        The weighted sum.
    """

    person: Int64Array
    track: Int64Array
    components: Float64Array
    score: Float64Array


def best_tracks(
    people: People, tracks: Tracks, top_n: int, *, heard_too: bool = False, only: BoolArray | None = None
) -> Best:
    """Return each person's `top_n` tracks of a block; of equal scores the lesser code comes first.

    Parameters
    ----------
    heard_too : bool
        Whether tracks are candidates of which the person's opinion is known.
    only : bool, shape (tracks,), or None
        Which tracks are candidates; None: all.

    Returns
    -------
    Best

    Examples
    --------
    >>> none = np.zeros(0, np.int64)
    >>> tracks = Tracks(
    ...     codes=np.array([7, 8, 9]),
    ...     vectors={"als": np.array([[1, 0], [0, 1], [1, 1]], np.float32)},
    ...     similar=sparse.csr_array((3, 0)), known=none, is_new=np.zeros(3, bool),
    ... )
    >>> weights = np.array([[1.0, 0, 0, 0, 0, 0]])
    >>> person = People(
    ...     {"als": np.array([[2, 1]], np.float32)}, weights, owner=np.array([0]), track=np.array([9]),
    ...     evidence=np.ones(1), near_for=none, near=none, near_value=none, barred_for=none, barred=none,
    ... )
    >>> best = best_tracks(person, tracks, top_n=2)  # the third is known already
    >>> best.track.tolist(), best.score.tolist()
    ([0, 1], [2.0, 1.0])
    """
    candidates = np.arange(len(tracks.codes)) if only is None else np.flatnonzero(only)
    place, order = _places(tracks.codes)
    names = [name for name in DENSE if name in people.vectors]
    of = {name: COMPONENTS.index(name) for name in COMPONENTS}
    matrix = np.concatenate([tracks.vectors[name][candidates] for name in names], axis=1)
    likes = rows_of(people.owner, people.track, people.evidence, tracks.known, len(people))
    heard = rows_of(people.owner, people.track, np.ones(len(people.owner)), place, len(people))[:, order]
    near = rows_of(people.near_for, people.near, people.near_value, place, len(people))[:, order]
    similar = tracks.similar[candidates].T.tocsr()
    barred = rows_of(people.barred_for, people.barred, np.ones(len(people.barred)), place, len(people))[:, order]
    heard, barred, near = heard[:, candidates], barred[:, candidates], near[:, candidates]
    step = max(_PRODUCTS_AT_ONCE // max(len(candidates), 1), 1)
    found: list[Best] = []
    for start in range(0, len(people), step):
        some = slice(start, start + step)
        weights = people.weights[some]
        vectors = np.concatenate(
            [people.vectors[name][some] * weights[:, of[name], None] for name in names], axis=1
        )
        scores = vectors.astype(np.float32) @ matrix.T
        together = (likes[some] @ similar).tocsr()
        _add(scores, together, weights[:, of["item_based"]])
        _add(scores, near[some], weights[:, of["user_based"]])
        size = np.abs(scores).max(axis=1, initial=0.0)
        _exclude(scores, barred[some])
        if not heard_too:
            _exclude(scores, heard[some])
        row, column = _candidates(scores, top_n, size, tracks.codes[candidates])
        components = np.zeros((len(row), len(COMPONENTS)))
        for name in names:
            mine, theirs = people.vectors[name][some], tracks.vectors[name][candidates]
            components[:, of[name]] = _products(mine, row, theirs, column)
        components[:, of["item_based"]] = values_at(together, row, column)
        components[:, of["user_based"]] = values_at(near[some], row, column)
        score = (components * weights[row]).sum(axis=1)
        best = best_first(row, score, tracks.codes[candidates[column]], top_n)
        found.append(Best(row[best] + start, candidates[column[best]], components[best], score[best]))
    return _joined(found)


def _places(codes: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return codes in ascending order, and where each of the tracks is in it."""
    ascending = np.sort(codes)
    return ascending, np.searchsorted(ascending, codes)


def rows_of(
    owner: Int64Array, code: Int64Array, value: Float64Array, ascending: Int64Array, count: int
) -> sparse.csr_array:
    """Return values as a sparse matrix, a row a person and a column a code; other codes are left out."""
    place = np.searchsorted(ascending, code)
    there = place < len(ascending)
    there[there] = ascending[place[there]] == code[there]
    at = (owner[there], place[there])
    rows = sparse.csr_array((value[there], at), shape=(count, len(ascending)))
    rows.sort_indices()  # what is added up is added up in one order, however the rows came
    return rows


def _add(scores: Float32Array, more: sparse.csr_array, weights: Float64Array) -> None:
    values = more.tocoo()
    scores[values.row, values.col] += (values.data * weights[values.row]).astype(np.float32)


def _exclude(scores: Float32Array, heard: sparse.csr_array) -> None:
    row, column = heard.nonzero()
    scores[row, column] = -np.inf


def _candidates(
    scores: Float32Array, top_n: int, size: Float32Array, codes: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Return the places of scores that may be among the best of their row, by float32.

    A row in which nothing tells one track from another, all scores being 0, has none. Of many that are about equal
    to the last, those of the least codes are taken.

    Parameters
    ----------
    size : float32, shape (people,)
        The greatest score without its sign.
    codes : int64, shape (tracks,)
    """
    if scores.shape[1] > top_n:
        place = scores.shape[1] - top_n
        last = np.partition(scores, place, axis=1)[:, place]
    else:
        last = np.full(len(scores), -np.inf, np.float32)
    least = np.where(np.isfinite(last), last - _SLACK * (size + 1), np.finfo(np.float32).min)
    least[size == 0] = np.inf
    row, column = np.divmod(np.flatnonzero(scores >= least[:, None].astype(np.float32)), scores.shape[1] or 1)
    crowded = np.bincount(row, minlength=len(scores))[row] > _CROWD * top_n
    if crowded.any():
        some = np.flatnonzero(crowded)
        best = best_first(
            row[some], scores[row[some], column[some]].astype(np.float64), codes[column[some]], _CROWD * top_n
        )
        kept = np.sort(np.concatenate([np.flatnonzero(~crowded), some[best]]))
        row, column = row[kept], column[kept]
    return row, column


def _products(a: Float32Array, rows: Int64Array, b: Float32Array, columns: Int64Array) -> Float64Array:
    """Return inner products of pairs of rows in float64, each the same whatever else is in the arrays."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), 1 << 15):
        some = slice(start, start + (1 << 15))
        found[some] = (a[rows[some]].astype(np.float64) * b[columns[some]]).sum(axis=1)
    return found


def values_at(matrix: sparse.csr_array, rows: Int64Array, columns: Int64Array) -> Float64Array:
    """Return the values of a sparse matrix at pairs of a row and a column, shape (pairs,)."""
    if not len(rows) or not matrix.nnz:
        return np.zeros(len(rows))
    matrix.sort_indices()  # or each value would be looked for in the whole of its row
    return np.asarray(matrix[rows, columns], np.float64).ravel()


def _joined(found: Sequence[Best]) -> Best:
    if not found:
        none = np.zeros(0, np.int64)
        return Best(none, none, np.zeros((0, len(COMPONENTS))), np.zeros(0))
    return Best(
        np.concatenate([of.person for of in found]),
        np.concatenate([of.track for of in found]),
        np.concatenate([of.components for of in found]),
        np.concatenate([of.score for of in found]),
    )
