"""The trivial baselines: lists that know nothing of how a track sounds, and that every system must beat."""

from __future__ import annotations

import numpy as np

from specrec.arrays import Int64Array

_ROWS = 1_024


def random_lists(tracks: Int64Array, pool: Int64Array, width: int, seed: int) -> Int64Array:
    """Return lists of `width` different tracks of the pool, drawn at random, the row's own left out.

    Parameters
    ----------
    tracks : int64, shape (n,)
    pool : int64, shape (m,)
        The tracks that are drawn from, no track twice.

    Returns
    -------
    int64, shape (n, width)
        -1 where the pool is too small.
    """
    everybody = np.zeros(max(tracks.max(initial=0), pool.max(initial=0)) + 1, np.int64)
    return genre_lists(tracks, pool, everybody, width, seed)


def genre_lists(tracks: Int64Array, pool: Int64Array, genre: Int64Array, width: int, seed: int) -> Int64Array:
    """Return :func:`random_lists` of the track's own genre; empty where it has none (-1)."""
    rng = np.random.default_rng(seed)
    lists = np.full((len(tracks), width), -1)
    drawn = min(width, len(pool))
    for start in range(0, len(tracks), _ROWS):  # a few at a time, as each row draws a number for all of the pool
        own = tracks[start : start + _ROWS, None]
        keys = rng.random((len(own), len(pool)))
        keys[(pool == own) | (genre[pool] != genre[own]) | (genre[own] < 0)] = np.inf
        chosen = np.argsort(keys, axis=1, kind="stable")[:, :drawn]
        found = np.where(np.isfinite(np.take_along_axis(keys, chosen, axis=1)), pool[chosen], -1)
        lists[start : start + _ROWS, :drawn] = found
    return lists


def popular_lists(tracks: Int64Array, popular: Int64Array, width: int) -> Int64Array:
    """Return the same most popular tracks for every track, the row's own left out.

    Parameters
    ----------
    popular : int64, shape (m,)
        The most popular first; `width` + 1 of them, or all.

    Examples
    --------
    >>> popular_lists(np.array([4, 9]), np.array([9, 7, 5]), width=2).tolist()
    [[9, 7], [7, 5]]
    """
    lists = np.tile(popular, (len(tracks), 1))
    own = lists == tracks[:, None]
    order = np.argsort(own, axis=1, kind="stable")  # the track itself goes last, the others keep their order
    lists = np.take_along_axis(np.where(own, -1, lists), order, axis=1)
    padding = np.full((len(tracks), max(width - lists.shape[1], 0)), -1)
    return np.concatenate([lists[:, :width], padding], axis=1)
