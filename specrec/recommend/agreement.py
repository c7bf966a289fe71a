"""How much two systems' lists agree: the overlap of each track's two lists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from specrec.arrays import Float64Array, Int64Array
from specrec.embedding.config import FEATURES, SPECTROGRAM
from specrec.settings import System

#: Persistence of rank-biased overlap: of lists of ten, the first ten places then bear 86 % of the weight.
RBO_P = 0.9

#: The systems whose lists are compared.
COMPARED: tuple[System, ...] = (FEATURES, SPECTROGRAM)


def in_both(first: Int64Array, second: Int64Array, lengths: tuple[Int64Array, Int64Array]) -> Int64Array:
    """Return how many items the first d places of both of two lists share, for each depth d from 1.

    Parameters
    ----------
    first, second : int64, shape (rows, places)
        Codes of the items, best first; a list holds no item twice.
    lengths : tuple of int64, shape (rows,)
        How many places of each list are taken; what lies beyond is ignored.

    Returns
    -------
    int64, shape (rows, places)
        A list that has ended adds nothing more.

    Examples
    --------
    >>> first, second = np.array([[1, 2, 3]]), np.array([[2, 1, 9]])
    >>> in_both(first, second, (np.array([3]), np.array([3]))).tolist()
    [[0, 2, 2]]
    """
    places = np.arange(first.shape[1])
    is_same = first[:, :, None] == second[:, None, :]
    is_same &= (places < lengths[0][:, None])[:, :, None] & (places < lengths[1][:, None])[:, None, :]
    row, i, j = np.nonzero(is_same)
    shared = np.zeros(first.shape, np.int64)
    np.add.at(shared, (row, np.maximum(i, j)), 1)  # an item is shared from the deeper of its two places on
    return shared.cumsum(axis=1)


def jaccard(shared: Int64Array, lengths: tuple[Int64Array, Int64Array]) -> Float64Array:
    """Return the share of all items of two lists that are in both, 0 to 1, shape (rows,); 0 of empty lists.

    Parameters
    ----------
    shared : int64, shape (rows,)
        How many items are in both.
    lengths : tuple of int64, shape (rows,)
        How many items each list has.
    """
    found: Float64Array = shared / np.maximum(lengths[0] + lengths[1] - shared, 1)
    return found


def rank_biased_overlap(
    shared: Int64Array, lengths: tuple[Int64Array, Int64Array], p: float = RBO_P
) -> Float64Array:
    """Return RBO_ext, the rank-biased overlap of two lists extrapolated from what is seen of them, 0 to 1.

    The mean of the overlap at each depth d, weighted with p^d: what both have at the top counts most. Lists may be
    of unequal length; one that is empty agrees with nothing: 0.

    Parameters
    ----------
    shared : int64, shape (rows, places)
        As :func:`in_both` returns it.
    lengths : tuple of int64, shape (rows,)
    p : float
        Persistence, 0 to 1 exclusive.

    Returns
    -------
    float64, shape (rows,).

    References
    ----------
    Webber, Moffat, Zobel: A Similarity Measure for Indefinite Rankings. ACM TOIS 28(4), 2010, equation 32.
    """
    rows = np.arange(len(shared))
    short, long = np.minimum(*lengths)[:, None], np.maximum(*lengths)[:, None]
    depth = np.arange(1, shared.shape[1] + 1)[None, :]
    seen = np.concatenate([np.zeros((len(shared), 1), np.int64), shared], axis=1)
    at_short, at_long = seen[rows, short[:, 0]][:, None], seen[rows, long[:, 0]][:, None]
    some = np.maximum(short, 1)
    # beyond the shorter list's end, what it would hold is taken to be shared as much as what it held
    overlap = shared / depth + np.where(depth > short, at_short * (depth - short) / (some * depth), 0.0)
    weights = np.where(depth <= long, overlap * p**depth, 0.0)
    # one depth after the other: numpy's sum groups its terms by the longest of all lists that are compared at once
    weighted = sum((column[:, None] for column in weights.T), np.zeros((len(weights), 1)))
    tail = ((at_long - at_short) / np.maximum(long, 1) + at_short / some) * p**long
    found: Float64Array = ((1 - p) / p * weighted + tail)[:, 0]
    return np.where(short[:, 0] > 0, found, 0.0)


def compare_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield ``track_id, jaccard, rank_biased_overlap, in_both`` of batches of tracks.

    Parameters
    ----------
    batches : iterator of RecordBatch
        ``track_id``, and by the name of each of :data:`COMPARED` its list: codes of the items, best first.
    """
    for batch in batches:
        ragged = [batch.column(system) for system in COMPARED]
        lengths = tuple(lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64) for lists in ragged)
        places = max(length.max(initial=0) for length in lengths)
        first, second = (_padded(lists, length, places) for lists, length in zip(ragged, lengths, strict=True))
        both = lengths[0], lengths[1]
        shared = in_both(first, second, both)
        last = shared[:, -1] if places else np.zeros(len(shared), np.int64)
        columns = [
            batch.column("track_id"),
            pa.array(jaccard(last, both)),
            pa.array(rank_biased_overlap(shared, both)),
            pa.array(last, pa.int32()),
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["track_id", "jaccard", "rank_biased_overlap", "in_both"])


def _padded(lists: pa.ListArray, lengths: Int64Array, places: int) -> Int64Array:
    matrix = np.zeros((len(lists), places), np.int64)
    matrix[np.arange(places) < lengths[:, None]] = lists.flatten().to_numpy()
    return matrix
