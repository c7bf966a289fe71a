"""The search inside one pair of blocks: numpy and BLAS, no Spark, no loop over rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: float32 products of unit vectors err by less than this; candidates so near to the threshold are all kept
#: and settled in float64.
_SLACK = 4e-6
_PAIRS_AT_ONCE = 1 << 15
_QUERIES_AT_ONCE = 1 << 10


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the rows divided by their lengths, float32; a zero row stays zero and is similar to nothing."""
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def exact_cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> FloatArray:
    """Return the cosine of each row of `a` with the same row of `b`, in float64, shape (rows,).

    Each value depends on its two rows alone, not on what else is in the arrays, so that it is the same to the last
    bit however the catalogue is cut into blocks.
    """
    a64, b64 = _row_by_row(a), _row_by_row(b)
    length = np.sqrt((a64 * a64).sum(axis=1)) * np.sqrt((b64 * b64).sum(axis=1))
    products = (a64 * b64).sum(axis=1)  # not einsum, whose buffers cut rows where the batch has it
    cosine: FloatArray = np.divide(products, length, out=np.zeros_like(products), where=length > 0)
    return cosine.clip(-1.0, 1.0)


def euclidean(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> FloatArray:
    """Return the distance of each row of `a` from the same row of `b`, in float64, shape (rows,)."""
    difference = _row_by_row(a) - _row_by_row(b)
    distance: FloatArray = np.sqrt((difference * difference).sum(axis=1))
    return distance


def top_pairs(
    queries: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    query_ids: npt.NDArray[Any],
    item_ids: npt.NDArray[Any],
    top_n: int,
) -> tuple[IntArray, IntArray, FloatArray]:
    """Find each query's nearest items by cosine; a track is never its own neighbour.

    Parameters
    ----------
    queries : float32, shape (q, dimensions).
    items : float32, shape (m, dimensions).
    query_ids, item_ids : track ids, shapes (q,) and (m,).
    top_n : how many a query.

    Returns
    -------
    rows, columns : indices into queries and items, grouped by query, best first; equal cosines by item id.
    cosines : float64.
    """
    if not len(queries) or not len(items):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    order = np.argsort(item_ids, kind="stable")  # ties go to the lesser id
    rank_of = np.empty(len(items), np.int64)
    rank_of[order] = np.arange(len(items))
    own = np.searchsorted(item_ids, query_ids, sorter=order).clip(max=len(items) - 1)
    own = np.where(item_ids[order[own]] == query_ids, order[own], -1)
    unit_items = unit(items)
    kept: list[tuple[IntArray, IntArray, FloatArray]] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = slice(start, start + _QUERIES_AT_ONCE)
        similar = unit(queries[some]) @ unit_items.T
        itself = np.flatnonzero(own[some] >= 0)
        similar[itself, own[some][itself]] = -np.inf
        if top_n < len(items):
            threshold = np.partition(similar, len(items) - top_n, axis=1)[:, len(items) - top_n]
        else:
            threshold = np.full(len(similar), -2.0)
        near = similar >= np.maximum(threshold - _SLACK, -2.0)[:, None]
        for few in _slices(near.sum(axis=1)):  # bounded memory, even among thousands of copies of one track
            row, column = np.nonzero(near[few])
            row = row + few.start + start
            cosine = in_slices(exact_cosine, queries, row, items, column)
            best = best_first(row, cosine, rank_of[column], top_n)
            kept.append((row[best], column[best], cosine[best]))
    rows, columns, cosines = (np.concatenate(part) for part in zip(*kept, strict=True))
    return rows, columns, cosines


def in_slices(
    measure: Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], FloatArray],
    queries: npt.NDArray[np.float32],
    rows: IntArray,
    items: npt.NDArray[np.float32],
    columns: IntArray,
) -> FloatArray:
    """Return ``measure(queries[rows], items[columns])`` without holding all those copies at once."""
    pieces = [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, len(rows), _PAIRS_AT_ONCE)]
    return np.concatenate([measure(queries[rows[at]], items[columns[at]]) for at in pieces] or [np.zeros(0)])


def best_first(group: IntArray, score: FloatArray, tie: npt.NDArray[Any], top_n: int) -> IntArray:
    """Return the positions of each group's `top_n` highest scores, best first, equal scores by `tie`."""
    order = np.lexsort((tie, -score, group))
    return order[positions(group[order]) < top_n]


def positions(group: npt.NDArray[Any]) -> IntArray:
    """Return each element's position, from 0, in its run of equal values."""
    if not len(group):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))


def _row_by_row(vectors: npt.NDArray[np.float32]) -> FloatArray:
    """Return the vectors in float64, each contiguous: a sum over a row then does not depend on other rows."""
    return vectors.astype(np.float64, order="C")


def _slices(counts: IntArray) -> list[slice]:
    """Cut rows into slices of about `_PAIRS_AT_ONCE` candidates, one row at least."""
    total = np.cumsum(counts)
    edges = [0]
    while edges[-1] < len(counts):
        before = total[edges[-1] - 1] if edges[-1] else 0
        edges.append(max(int(np.searchsorted(total, before + _PAIRS_AT_ONCE, side="right")), edges[-1] + 1))
    return [slice(a, b) for a, b in pairwise(edges)]
