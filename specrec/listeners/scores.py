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
from functools import cached_property

import numpy as np
from scipy import sparse

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from specrec.listeners.config import COMPONENTS
from specrec.neighbours.kernel import best_first, last_of_best, rows_and_columns

#: The components that are inner products of vectors.
DENSE = ("als", "content", "popularity", "average")

#: float32 products err by less than this share of what is multiplied; what is so near to the last of a list is kept
#: until float64 decides.
_SLACK = 2e-5
_PRODUCTS_AT_ONCE = 1 << 22
#: So many times more candidates than are wanted are settled in float64, at most.
_CROWD = 8
#: So many values of a sparse matrix are looked up as those of a dense one, at once.
_VALUES_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Tracks:
    """A block of tracks.

    Attributes
    ----------
    codes : int64, shape (tracks,)
        Tell tracks apart; ascending.
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

    @cached_property
    def names(self) -> list[str]:
        """The components that the tracks have vectors of, in the order of :data:`DENSE`."""
        return [name for name in DENSE if name in self.vectors]

    @cached_property
    def matrix(self) -> Float32Array:
        """The vectors of all components side by side, float32, shape (tracks, all dimensions)."""
        return np.concatenate([self.vectors[name] for name in self.names], axis=1)

    @cached_property
    def similar_to(self) -> sparse.csr_array:
        """The same as `similar`, shape (known tracks, tracks)."""
        return self.similar.T.tocsr()


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
class Wanted:
    """Which tracks are looked for.

    Attributes
    ----------
    top_n : int
        So many of each person.
    heard_too : bool
        Whether tracks are candidates of which the person's opinion is known.
    only : bool, shape (tracks,), or None
        Which tracks are candidates; None: all.
    """

    top_n: int
    heard_too: bool = False
    only: BoolArray | None = None


@dataclass(frozen=True)
class Best:
    """The best tracks of people, grouped by person, best first.

    Attributes
    ----------
    person, track : int64, shape (pairs,)
        Their places in the two blocks; people ascend.
    components : float64, shape (pairs, components)
        In the order of :data:`COMPONENTS`, without weights.
    score : float64, shape (pairs,)
        The weighted sum.
    """

    person: Int64Array
    track: Int64Array
    components: Float64Array
    score: Float64Array


def best_tracks(people: People, tracks: Tracks, wanted: Sequence[Wanted]) -> list[Best]:
    """Return each person's best tracks of a block, for each of what is wanted.

    Of equal scores the lesser code comes first. Everything that is wanted is chosen by the same products.

    Returns
    -------
    list of Best
        In the order of `wanted`.

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
    >>> (best,) = best_tracks(person, tracks, [Wanted(top_n=2)])  # the third is known already
    >>> best.track.tolist(), best.score.tolist()
    ([0, 1], [2.0, 1.0])
    """
    count, names = len(people), tracks.names
    likes = rows_of(people.owner, people.track, people.evidence, tracks.known, count)
    heard = rows_of(people.owner, people.track, np.ones(len(people.owner)), tracks.codes, count)
    near = rows_of(people.near_for, people.near, people.near_value, tracks.codes, count)
    barred = rows_of(people.barred_for, people.barred, np.ones(len(people.barred)), tracks.codes, count)
    step = max(_PRODUCTS_AT_ONCE // max(len(tracks.codes), 1), 1)
    found: list[list[Best]] = [[] for _ in wanted]
    for start in range(0, count, step):
        some = slice(start, start + step)
        weights = people.weights[some]
        vectors = {name: people.vectors[name][some] for name in names}
        weighted = [vectors[name] * weights[:, COMPONENTS.index(name), None] for name in names]
        scores = np.concatenate(weighted, axis=1).astype(np.float32) @ tracks.matrix.T
        sums = {"item_based": likes[some] @ tracks.similar_to, "user_based": near[some]}
        for name, values in sums.items():
            _add(scores, values, weights[:, COMPONENTS.index(name)])
        size = np.maximum(scores.max(axis=1, initial=0.0), -scores.min(axis=1, initial=0.0))
        _exclude(scores, barred[some])
        chosen = _candidates_of_each(scores, wanted, size, heard[some])
        every = np.unique(np.concatenate(chosen))  # what several of them found is computed once
        row, track = np.divmod(every, len(tracks.codes) or 1)
        components = np.zeros((len(row), len(COMPONENTS)))
        for name, mine in vectors.items():
            components[:, COMPONENTS.index(name)] = _products(mine, row, tracks.vectors[name], track)
        for name, values in sums.items():
            components[:, COMPONENTS.index(name)] = values_at(values, row, track)
        score = (components * weights[row]).sum(axis=1)
        for of, places, best in zip(wanted, chosen, found, strict=True):
            at = np.searchsorted(every, places)
            at = at[best_first(row[at], score[at], track[at], of.top_n)]  # codes ascend with the places of tracks
            best.append(Best(row[at] + start, track[at], components[at], score[at]))
    return [_joined(of) for of in found]


def _candidates_of_each(
    scores: Float32Array, wanted: Sequence[Wanted], size: Float32Array, heard: sparse.csr_array
) -> list[Int64Array]:
    """Return, for each of what is wanted, the places in the flat scores of what may be among the best.

    Scores of heard tracks are overwritten.
    """
    found: dict[int, Int64Array] = {}
    for with_heard in (True, False):
        if not with_heard:
            _exclude(scores, heard)
        for number, of in enumerate(wanted):
            if of.heard_too == with_heard:
                if of.only is None:
                    row, track = _candidates(scores, of.top_n, size)
                else:
                    tracks = np.flatnonzero(of.only)
                    row, column = _candidates(scores[:, tracks], of.top_n, size)
                    track = tracks[column]
                found[number] = row * scores.shape[1] + track
    return [found[number] for number in range(len(wanted))]


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
    values = heard.tocoo()
    scores[values.row, values.col] = -np.inf


def _candidates(scores: Float32Array, top_n: int, size: Float32Array) -> tuple[Int64Array, Int64Array]:
    """Return the places of scores that may be among the best of their row, by float32; rows ascend.

    A row in which nothing tells one track from another, all scores being 0, has none. Of many that are about equal
    to the last, the first are taken.

    Parameters
    ----------
    size : float32, shape (people,)
        No score is greater, without its sign.
    """
    last = last_of_best(scores, top_n)
    least = np.where(np.isfinite(last), last - _SLACK * (size + 1), np.finfo(np.float32).min)
    alike = np.flatnonzero((last == 0) | np.isneginf(last))  # all scores being 0, or left out, the last of them is
    told_apart = np.isfinite(scores[alike]) & (scores[alike] != 0)
    least[alike[~told_apart.any(axis=1)]] = np.inf
    row, column = rows_and_columns(scores >= least[:, None].astype(np.float32))
    crowded = np.bincount(row, minlength=len(scores))[row] > _CROWD * top_n
    if crowded.any():
        some = np.flatnonzero(crowded)
        best = best_first(
            row[some], scores[row[some], column[some]].astype(np.float64), column[some], _CROWD * top_n
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
    """Return the values of a sparse matrix at pairs of a row and a column, float64, shape (pairs,).

    Parameters
    ----------
    rows : int64, shape (pairs,)
        Ascending: some rows at a time are looked up in a dense matrix, many times faster than in a sparse one.

    Examples
    --------
    >>> matrix = sparse.csr_array([[0.0, 2.0], [3.0, 0.0]])
    >>> values_at(matrix, np.array([0, 1, 1]), np.array([1, 0, 1])).tolist()
    [2.0, 3.0, 0.0]
    """
    found = np.zeros(len(rows))
    count, size = matrix.shape
    step = min(max(_VALUES_AT_ONCE // max(size, 1), 1), count)
    dense = np.zeros(step * size)
    for start in range(0, count, step):
        end = min(start + step, count)
        first, last = np.searchsorted(rows, [start, end])
        own = slice(matrix.indptr[start], matrix.indptr[end])
        if first == last or own.start == own.stop:
            continue
        row = np.repeat(np.arange(end - start), np.diff(matrix.indptr[start : end + 1]))
        places = row * size + matrix.indices[own]
        dense[places] = matrix.data[own]
        found[first:last] = dense[(rows[first:last] - start) * size + columns[first:last]]
        dense[places] = 0
    return found


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
