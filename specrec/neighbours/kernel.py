"""The search inside one block of tracks: numpy and BLAS, no Spark, no loop over rows.

Tracks lie in cells. A query names the cells that it probes, and each cell is compared with all its queries by one
product of matrices. What comes out does not depend on how rows are grouped: float32 products only choose
candidates, generously, and cosines in float64, each from its two rows alone, settle them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array, Vectors

_Floats = TypeVar("_Floats", Float32Array, Float64Array)

#: float32 products of unit vectors err by less than this; candidates so near to the threshold are all kept
#: and settled in float64.
_SLACK = np.float32(4e-6)
_PAIRS_AT_ONCE = 1 << 15
_PRODUCTS_AT_ONCE = 1 << 22
#: Of so many values the greatest alone tells where the greatest of all begin, if there are so many times more of
#: these groups than values are wanted.
_VALUES_A_GROUP, _GROUPS_A_VALUE = 64, 4
_CROWD = 16  # so many times more candidates than wanted neighbours are settled at once, to bound memory


@dataclass(frozen=True)
class Items:
    """The tracks of a block, in the order of their cells.

    Attributes
    ----------
    ids : Arrow array of strings, shape (m,)
        Track ids.
    vectors : float32, shape (m, dimensions)
    cells : int32, shape (m,)
        Ascending.
    floors : float64, shape (m,)
        The cosine that a new track must have to enter an item's list, as it stands; inf where nothing may enter.
    """

    ids: pa.Array
    vectors: Vectors
    cells: npt.NDArray[np.int32]
    floors: Float64Array

    @cached_property
    def unit(self) -> Vectors:
        """The vectors, with length 1."""
        return unit(self.vectors)

    @cached_property
    def rank_of(self) -> Int64Array:
        """Each item's place in the order of the ids, which ties go by."""
        ranks: Int64Array = pc.rank(self.ids).to_numpy().astype(np.int64)
        return ranks

    @cached_property
    def copy_number(self) -> Int64Array:
        """How many items with lesser ids have the very same vector.

        One that has more than `top_n` such twins can be in no list: without it a thousand copies of a track do
        not give a million candidates.
        """
        bits = self.vectors.view(np.uint32)
        random = np.random.default_rng(0)
        weights = random.integers(1 << 63, size=(1, bits.shape[1]), dtype=np.uint64)[0]
        of_vector = np.zeros(len(bits), np.uint64)
        for column in range(bits.shape[1]):  # a weighted sum that wraps around serves as the vector's hash
            of_vector += bits[:, column] * weights[column]
        order = np.lexsort((self.rank_of, of_vector))
        numbers = np.empty(len(bits), np.int64)
        numbers[order] = positions(of_vector[order])
        return numbers


@dataclass(frozen=True)
class Queries:
    """Tracks that look for their nearest.

    Attributes
    ----------
    vectors : float32, shape (q, dimensions)
    thresholds : float64, shape (q,)
        Nothing below it is of use; -inf where nothing is known.
    own : int64, shape (q,)
        The query's own place among the items, -1 where it is not one of them.
    is_new : bool, shape (q,)
        Whether it may enter the lists of others.
    probe_rows, probe_cells : int32, shape (probes,)
        Which query probes which cell.
    """

    vectors: Vectors
    thresholds: Float64Array
    own: Int64Array
    is_new: BoolArray
    probe_rows: npt.NDArray[np.int32]
    probe_cells: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Pairs:
    """Pairs of a query and an item, by their places, with their cosine in float64."""

    rows: Int64Array
    columns: Int64Array
    cosines: Float64Array

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: npt.NDArray[Any] | slice) -> Pairs:
        """Return some of them."""
        return Pairs(self.rows[which], self.columns[which], self.cosines[which])

    def with_(self, more: Pairs) -> Pairs:
        """Return them and more."""
        return Pairs(
            np.concatenate([self.rows, more.rows]),
            np.concatenate([self.columns, more.columns]),
            np.concatenate([self.cosines, more.cosines]),
        )


def unit(vectors: Vectors) -> Vectors:
    """Return the rows divided by their lengths, float32; a zero row stays zero and is similar to nothing."""
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def has_direction(vectors: Vectors) -> BoolArray:
    """Tell which rows are finite and not zero, and so have cosines."""
    squares = np.square(vectors, dtype=np.float64).sum(axis=1)  # large values must not overflow
    found: BoolArray = np.isfinite(squares) & (squares > 0)
    return found


def cosine(a: Vectors, b: Vectors) -> Float64Array:
    """Return the cosine of each row of `a` with the same row of `b`, in float64, shape (rows,).

    Each value depends on its two rows alone, not on what else is in the arrays, so that it is the same to the last
    bit however the catalogue is cut into blocks.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [1, 1], [0, 2]], np.float32)
    >>> cosine(vectors[[0, 0]], vectors[[1, 2]]).round(3).tolist()
    [0.707, 0.0]
    """
    a64, b64 = _row_by_row(a), _row_by_row(b)
    length = np.sqrt((a64 * a64).sum(axis=1)) * np.sqrt((b64 * b64).sum(axis=1))
    products = (a64 * b64).sum(axis=1)  # einsum would add in an order that depends on the batch
    cosines: Float64Array = np.divide(products, length, out=np.zeros_like(products), where=length > 0)
    return cosines.clip(-1.0, 1.0)


def euclidean(a: Vectors, b: Vectors) -> Float64Array:
    """Return the distance of each row of `a` from the same row of `b`, in float64, shape (rows,)."""
    difference = _row_by_row(a) - _row_by_row(b)
    distance: Float64Array = np.sqrt((difference * difference).sum(axis=1))
    return distance


def cosines_of(a: Vectors, rows: Int64Array, b: Vectors, columns: Int64Array) -> Float64Array:
    """Return the cosines of pairs of rows, without holding all their copies at once."""
    return np.concatenate([cosine(a[rows[at]], b[columns[at]]) for at in _pieces(len(rows))] or [np.zeros(0)])


def distances_of(a: Vectors, rows: Int64Array, b: Vectors, columns: Int64Array) -> Float64Array:
    """Return the Euclidean distances of pairs of rows, without holding all their copies at once."""
    return np.concatenate([euclidean(a[rows[at]], b[columns[at]]) for at in _pieces(len(rows))] or [np.zeros(0)])


def search(queries: Queries, items: Items, top_n: int) -> tuple[Pairs, Pairs]:
    """Compare queries with the cells that they probe; a track is never its own neighbour.

    Parameters
    ----------
    top_n : int
        How many neighbours a query has.

    Returns
    -------
    nearest : Pairs
        Each query's `top_n` nearest items that reach its threshold, grouped by query, best first; equal cosines by
        item id.
    entering : Pairs
        The pairs of a new query and an item whose floor it reaches, in no order.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [1, 1], [0, 1]], np.float32)
    >>> one_cell, every = np.zeros(3, np.int32), np.arange(3, dtype=np.int32)
    >>> items = Items(pa.array(["a", "b", "c"]), vectors, one_cell, floors=np.full(3, np.inf))
    >>> queries = Queries(vectors, np.full(3, -np.inf), every, np.zeros(3, bool), every, one_cell)
    >>> found, _ = search(queries, items, top_n=1)
    >>> found.rows, found.columns, found.cosines.round(3)
    (array([0, 1, 2]), array([1, 0, 1]), array([0.707, 0.707, 0.707]))
    """
    unit_queries = unit(queries.vectors)
    rows, columns, products, entering_rows, entering_columns = _scan(queries, unit_queries, items, top_n)
    kept = _prune(rows, products, top_n)
    rows, columns = rows[kept], columns[kept]
    cosines = cosines_of(queries.vectors, rows, items.vectors, columns)
    near = cosines >= queries.thresholds[rows]
    nearest = Pairs(rows[near], columns[near], cosines[near])
    nearest = nearest.take(best_first(nearest.rows, nearest.cosines, items.rank_of[nearest.columns], top_n))
    cosines = cosines_of(queries.vectors, entering_rows, items.vectors, entering_columns)
    reaching = cosines >= items.floors[entering_columns]
    return nearest, Pairs(entering_rows, entering_columns, cosines).take(reaching)


def nearest_cells(vectors: Vectors, centroids: Vectors, probes: int) -> npt.NDArray[np.int32]:
    """Return each vector's `probes` nearest centroids by cosine, shape (rows, probes), in no order.

    The same whatever else is in `vectors`: what float32 cannot tell apart is settled in float64, ties by number.
    """
    if probes >= len(centroids):
        every = np.arange(len(centroids), dtype=np.int32)
        return np.broadcast_to(every, (len(vectors), len(centroids)))
    found = np.empty((len(vectors), probes), np.int32)
    unit_centroids = unit(centroids)
    step = max(_PRODUCTS_AT_ONCE // len(centroids), 1)
    for start in range(0, len(vectors), step):
        some = vectors[start : start + step]
        products = unit(some) @ unit_centroids.T
        place = len(centroids) - probes
        if probes == 1:
            last = products.max(axis=1, keepdims=True)
        else:
            last = np.partition(products, place, axis=1)[:, place, None]
        chosen = products > last + _SLACK
        doubtful = (products >= last - _SLACK) & ~chosen
        needed = probes - chosen.sum(axis=1)
        clear = doubtful.sum(axis=1) == needed
        chosen[clear] |= doubtful[clear]
        rows, cells = np.nonzero(doubtful & ~clear[:, None])
        exact = cosines_of(some, rows, centroids, cells)
        order = np.lexsort((cells, -exact, rows))
        order = order[positions(rows[order]) < needed[rows[order]]]
        chosen[rows[order], cells[order]] = True
        found[start : start + step] = np.nonzero(chosen)[1].reshape(len(some), probes)
    return found


def best_first(group: Int64Array, score: Float64Array, tie: npt.NDArray[Any], top_n: int) -> Int64Array:
    """Return the positions of each group's `top_n` highest scores, best first, equal scores by `tie`."""
    order = np.lexsort((tie, -score, group))
    return order[positions(group[order]) < top_n]


def last_of_best(values: _Floats, top_n: int) -> _Floats:
    """Return, of each row, a value that `top_n` values at least reach, and hardly more do, shape (rows,).

    It is the `top_n`-th greatest, or, of long rows, somewhat less: they are cut into groups, `top_n` of which have
    a greatest value that reaches the result, and few of these have another that does. So most values are read once,
    and only the groups' greatest are put in order.

    Parameters
    ----------
    values : float32 or float64, shape (rows, columns)

    Returns
    -------
    Array of the same type
        -inf where there are no more than `top_n` values.

    Examples
    --------
    >>> last_of_best(np.array([[3.0, 9.0, 5.0], [1.0, 1.0, 2.0]]), 2).tolist()
    [5.0, 1.0]
    """
    rows, columns = values.shape
    groups = columns // _VALUES_A_GROUP
    if groups >= _GROUPS_A_VALUE * top_n:
        whole = groups * _VALUES_A_GROUP
        of_groups = values[:, :whole].reshape(rows, _VALUES_A_GROUP, groups).max(axis=1)
        values = np.concatenate([of_groups, values[:, whole:]], axis=1)
    place = values.shape[1] - top_n
    if place <= 0:
        return np.full(rows, -np.inf, values.dtype)
    return np.partition(values, place, axis=1)[:, place]


def positions(group: npt.NDArray[Any]) -> Int64Array:
    """Return each element's position, from 0, in its run of equal values.

    Examples
    --------
    >>> positions(np.array([7, 7, 2, 2, 2])).tolist()
    [0, 1, 0, 1, 2]
    """
    if not len(group):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))


def runs(group: npt.NDArray[Any]) -> Iterator[tuple[Any, slice]]:
    """Yield each run of equal values, and where it lies."""
    if len(group):
        edges = np.flatnonzero(np.r_[True, group[1:] != group[:-1], True])
        for first, end in pairwise(edges.tolist()):
            yield group[first], slice(first, end)


def _scan(
    queries: Queries, unit_queries: Vectors, items: Items, top_n: int
) -> tuple[Int64Array, Int64Array, Vectors, Int64Array, Int64Array]:
    """Return candidates by float32 products: rows, columns, products; and rows and columns of those entering."""
    near: list[tuple[Int64Array, Int64Array, Vectors]] = []
    entering: list[tuple[Int64Array, Int64Array]] = []
    floors = items.floors.astype(np.float32) - _SLACK
    copies = np.flatnonzero(items.copy_number > top_n)
    by_cell = np.argsort(queries.probe_cells, kind="stable")
    for cell, at in runs(queries.probe_cells[by_cell]):
        first, end = np.searchsorted(items.cells, [cell, cell + 1])
        if first == end:
            continue
        probing = queries.probe_rows[by_cell[at]].astype(np.int64)
        open_floors = (floors[first:end] < np.inf).any()
        step = max(_PRODUCTS_AT_ONCE // (end - first), 1)
        for start in range(0, len(probing), step):
            rows = probing[start : start + step]
            products = unit_queries[rows] @ items.unit[first:end].T
            own = queries.own[rows] - first
            itself = np.flatnonzero((own >= 0) & (own < end - first))
            products[itself, own[itself]] = -np.inf
            if open_floors and queries.is_new[rows].any():
                reaching = products >= np.maximum(floors[first:end], np.float32(-2))
                row, column = rows_and_columns(reaching & queries.is_new[rows][:, None])
                entering.append((rows[row], column + first))
            products[:, copies[(copies >= first) & (copies < end)] - first] = -np.inf
            row, column = rows_and_columns(products >= _limits(queries.thresholds[rows], products, top_n)[:, None])
            if len(row) > _CROWD * top_n * len(rows):
                cosines = cosines_of(queries.vectors, rows[row], items.vectors, column + first)
                best = best_first(row, cosines, items.rank_of[column + first], top_n)
                row, column = row[best], column[best]
            near.append((rows[row], column + first, products[row, column]))
    none = np.zeros(0, np.int64)
    found = [np.concatenate(part) for part in zip(*near, strict=True)] or [none, none, np.zeros(0, np.float32)]
    into = [np.concatenate(part) for part in zip(*entering, strict=True)] or [none, none]
    return found[0], found[1], found[2], into[0], into[1]


def _limits(thresholds: Float64Array, products: Vectors, top_n: int) -> Vectors:
    """Return the least product of each row that can be of use: its threshold's, or its own `top_n`-th."""
    limits = thresholds.astype(np.float32)
    unknown = np.flatnonzero(np.isneginf(limits))
    if len(unknown) and top_n < products.shape[1]:
        of_unknown = products if len(unknown) == len(products) else products[unknown]
        limits[unknown] = last_of_best(of_unknown, top_n)
    # no product of unit vectors is as low as -2; what is left out is -inf, and stays below it
    limited: Vectors = np.maximum(limits - _SLACK, np.float32(-2))
    return limited


def _prune(rows: Int64Array, products: Vectors, top_n: int) -> Int64Array:
    """Return which candidates can still be among their query's `top_n`, by float32 products."""
    order = np.lexsort((-products, rows))
    place = positions(rows[order])
    limit = np.full(int(rows.max(initial=-1)) + 1, -np.inf, np.float32)
    last = order[place == top_n - 1]
    limit[rows[last]] = products[last] - 2 * _SLACK
    kept: Int64Array = order[(place < top_n) | (products[order] >= limit[rows[order]])]
    return kept


def rows_and_columns(hits: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Return the rows and the columns of what is true in a matrix; rows ascend, and columns do within a row.

    Examples
    --------
    >>> [places.tolist() for places in rows_and_columns(np.array([[False, True], [True, True]]))]
    [[0, 1, 1], [1, 0, 1]]
    """
    places = np.flatnonzero(hits)  # faster than nonzero of two dimensions
    rows, columns = np.divmod(places, hits.shape[1] or 1)
    return rows, columns


def _row_by_row(vectors: Vectors) -> Float64Array:
    """Return the vectors in float64, each contiguous, so that a sum over a row does not depend on other rows."""
    return vectors.astype(np.float64, order="C")


def _pieces(count: int) -> list[slice]:
    return [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, count, _PAIRS_AT_ONCE)]
