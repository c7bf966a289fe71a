"""Ranked lists as arrays: one row a track, one column a rank, -1 where a list has ended.

Tracks are numbers: positions in :class:`Facts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from specrec.arrays import BoolArray, Float64Array, Int64Array


class Facts:
    """What is known of some tracks, by their position.

    Parameters
    ----------
    frame : DataFrame
        ``track_id, artists, album_name, track_genre, song, liked``; one row a track; text or None, and in `liked` a
        share or NaN.

    Attributes
    ----------
    ids : Index of track_id, sorted
    genre, album, song : int64, shape (tracks,)
        Numbers of the names in `genres` and so on; -1: none.
    genres : Index
        The names.
    liked : float64, shape (tracks,)
        Likes among likes and dislikes; NaN: no feedback.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        frame = frame.sort_values("track_id", ignore_index=True)
        self.ids = pd.Index(frame["track_id"])
        self.genre, self.genres = _numbers(frame["track_genre"])
        self.album, _ = _numbers(frame["album_name"])
        self.song, _ = _numbers(frame["song"])
        self.liked: Float64Array = frame["liked"].to_numpy(np.float64)
        self._artists = _members(frame["artists"])

    def positions(self, track_ids: Sequence[str] | pd.Series) -> Int64Array:
        """Return the position of each track; -1 of one that is not known."""
        found: Int64Array = self.ids.get_indexer(pd.Index(track_ids)).astype(np.int64)
        return found

    def same(self, numbers: Int64Array, tracks: Int64Array, lists: Int64Array) -> BoolArray:
        """Return where a list's track has the number of the row's own, shape of `lists`; -1 is like no other."""
        own = numbers[tracks][:, None]
        found: BoolArray = (lists >= 0) & (own >= 0) & (numbers[lists] == own)
        return found

    def same_artist(self, tracks: Int64Array, lists: Int64Array) -> BoolArray:
        """Return where a list's track and the row's own share one artist or more, shape of `lists`."""
        rows = np.repeat(tracks, lists.shape[1])
        shared = self._artists[rows].multiply(self._artists[lists.ravel()]).sum(axis=1)
        found: BoolArray = (np.asarray(shared).reshape(lists.shape) > 0) & (lists >= 0)
        return found

    def has_artist(self, tracks: Int64Array) -> BoolArray:
        """Return of which tracks the artist is known."""
        known: BoolArray = np.asarray(self._artists[tracks].sum(axis=1)).ravel() > 0
        return known


@dataclass(frozen=True)
class IndexedVectors:
    """The vectors of some tracks in one space, and where each track's is.

    Attributes
    ----------
    matrix : float64, shape (m, dimensions)
    row_of : int64, shape (tracks of the facts + 1,)
        The row of each track; -1: none. The last is that of no track, so that -1 stays -1.
    parts : float64, shape (m, parts), or None
        Shares of the vectors that are stored beside them, if this is a space that has such.
    """

    matrix: Float64Array
    row_of: Int64Array
    parts: Float64Array | None = None

    @classmethod
    def of(cls, facts: Facts, embeddings: pd.DataFrame) -> IndexedVectors:
        """Index vectors by track.

        Parameters
        ----------
        facts : Facts
            Of these tracks and maybe others.
        embeddings : DataFrame
            ``track_id, vector, parts`` of one space; ``parts`` is null, or lacks, where the space has none.
        """
        embeddings = embeddings.sort_values("track_id", ignore_index=True)
        row_of = np.full(len(facts.ids) + 1, -1)
        row_of[facts.positions(embeddings["track_id"])] = np.arange(len(embeddings))
        row_of[-1] = -1
        has_parts = "parts" in embeddings and bool(embeddings["parts"].notna().all())
        parts = _stacked(embeddings["parts"]) if has_parts else None
        return cls(_stacked(embeddings["vector"]), row_of, parts)


def as_lists(facts: Facts, tracks: Int64Array, frame: pd.DataFrame, width: int) -> Int64Array:
    """Return rows of ``track_id, rank, listed`` as lists of tracks, shape (n, width); see :func:`by_rank`."""
    return by_rank(facts, tracks, frame, width, facts.positions(frame["listed"]))


def by_rank(facts: Facts, tracks: Int64Array, frame: pd.DataFrame, width: int, values: Int64Array) -> Int64Array:
    """Return one value of each row of ``track_id, rank``, a row a track, a column a rank; -1: there is none.

    Parameters
    ----------
    tracks : int64, shape (n,)
        Positions; no track twice.
    frame : DataFrame
        Rank 1 is the first; ranks above `width`, and rows of other tracks, are left out.
    values : int64 array
        One for each row of `frame`.

    Returns
    -------
    int64, shape (n, width)
    """
    row_of = np.full(len(facts.ids) + 1, -1)  # the last, at -1, is that of tracks that are not known
    row_of[tracks] = np.arange(len(tracks))
    row = row_of[facts.positions(frame["track_id"])]
    column = frame["rank"].to_numpy(np.int64) - 1
    kept = (row >= 0) & (column < width)
    found = np.full((len(tracks), width), -1)
    found[row[kept], column[kept]] = values[kept]
    return found


def precision(relevant: BoolArray, allowed: BoolArray, k: int) -> tuple[Float64Array, Int64Array]:
    """Return the share of the relevant among the first `k` allowed, and how many these are, each of shape (n,).

    A list in which fewer are allowed is judged by these; one in which none is, has no precision: NaN.

    Parameters
    ----------
    relevant, allowed : bool, shape (n, width)
        In the order of rank.

    Examples
    --------
    >>> relevant, allowed = np.array([[True, False, True]]), np.array([[True, True, False]])
    >>> shares, found = precision(relevant, allowed, k=10)
    >>> shares.tolist(), found.tolist()
    ([0.5], [2])
    """
    chosen = allowed & (np.cumsum(allowed, axis=1) <= k)
    found = chosen.sum(axis=1)
    hits = (relevant & chosen).sum(axis=1)
    return np.divide(hits, found, out=np.full(len(found), np.nan), where=found > 0), found


def discounts(k: int) -> Float64Array:
    """Return what a track counts for at each of `k` places: 1 / log2(place + 1) (Järvelin and Kekäläinen 2002).

    Examples
    --------
    >>> discounts(3).round(3).tolist()
    [1.0, 0.631, 0.5]
    """
    found: Float64Array = 1 / np.log2(np.arange(2, k + 2))
    return found


def ndcg(gains: Float64Array, ideal: Float64Array, k: int) -> Float64Array:
    """Return the discounted gain of the first `k`, as a share of the greatest that there could be, shape (n,).

    Parameters
    ----------
    gains : float64, shape (n, width)
        Of what is in each list, in the order of rank.
    ideal : float64, shape (n, m)
        Of all that could be in it, in any order.

    Returns
    -------
    float64, shape (n,)
        NaN where nothing could gain.

    Examples
    --------
    >>> ndcg(np.array([[0.0, 1.0]]), ideal=np.array([[0.0, 0.0, 1.0]]), k=10).round(3)
    array([0.631])
    """
    found, best = (_discounted(values[:, :k]) for values in (gains, -np.sort(-ideal, axis=1)))
    shares: Float64Array = np.divide(found, best, out=np.full(len(best), np.nan), where=best > 0)
    return shares


def _discounted(gains: Float64Array) -> Float64Array:
    total: Float64Array = gains @ discounts(gains.shape[1])
    return total


def mean_of_list(values: Float64Array, lists: Int64Array) -> Float64Array:
    """Return the mean value of each list's tracks, NaN left out, shape (n,); NaN where no track has one."""
    found = np.where(lists >= 0, values[lists], np.nan)
    known = ~np.isnan(found)
    sums = np.where(known, found, 0.0).sum(axis=1)
    means: Float64Array = np.divide(
        sums, known.sum(axis=1), out=np.full(len(lists), np.nan), where=known.any(axis=1)
    )
    return means


def diversity(lists: Int64Array, vectors: Float64Array) -> Float64Array:
    """Return 1 - the mean cosine of the pairs of each list (Ziegler et al. 2005), shape (n,); NaN below two tracks.

    Parameters
    ----------
    lists : int64, shape (n, width)
        Rows of `vectors`; -1 is left out, and so is a vector that is zero.
    vectors : float64, shape (m, dimensions)

    Examples
    --------
    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> diversity(np.array([[0, 1, -1], [0, 2, -1], [1, -1, -1]]), vectors)
    array([ 1.,  0., nan])
    """
    length = np.sqrt((vectors**2).sum(axis=1))
    known = (lists >= 0) & (length > 0)[lists]
    unit = np.divide(vectors, length[:, None], out=np.zeros_like(vectors), where=(length > 0)[:, None])
    sums = np.zeros((len(lists), vectors.shape[1]))
    for column in range(lists.shape[1]):  # one rank at a time, to hold one copy of the vectors and not one a rank
        sums += np.where(known[:, column, None], unit[lists[:, column]], 0.0)
    n = known.sum(axis=1)
    pairs = n * (n - 1)
    cosines = (sums**2).sum(axis=1) - n  # over all ordered pairs, but not of a track with itself
    mean: Float64Array = np.divide(cosines, pairs, out=np.full(len(lists), np.nan), where=pairs > 0)
    return 1 - mean


def _stacked(rows: pd.Series) -> Float64Array:
    return np.stack(rows.to_list()).astype(np.float64) if len(rows) else np.zeros((0, 0))


def _numbers(names: pd.Series) -> tuple[Int64Array, pd.Index]:
    codes, found = pd.factorize(names.where(names.notna() & (names != ""), None), sort=True)
    return codes.astype(np.int64), pd.Index(found)


def _members(artists: pd.Series) -> sparse.csr_matrix:
    """Return which artists are of which track, shape (tracks + 1, artists); the last row, of no track, is empty."""
    names = artists.str.split(";").explode().str.strip().str.casefold()
    names = names[names.notna() & (names != "")]
    codes, found = pd.factorize(names)
    shape = (len(artists) + 1, max(len(found), 1))
    members = sparse.csr_matrix((np.ones(len(codes), np.int64), (names.index.to_numpy(), codes)), shape=shape)
    members.data[:] = 1
    return members
