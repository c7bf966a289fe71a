"""The crowd: some people of whom it is known what they like, and who of them is near to a person. No Spark.

People are near who like the same tracks: the cosine of what two like, shrunk where both like few. What the nearest
like is the component ``user_based`` of a score: the share of them that like a track, each counting by how near.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from specrec.arrays import Float64Array, Int64Array
from specrec.listeners.config import ListenersConfig
from specrec.listeners.scores import rows_of
from specrec.listeners.tastes import Preferences
from specrec.neighbours.kernel import best_first, last_of_best

#: People who are compared with all of the crowd at once: it bounds the pairs that are in memory.
_PEOPLE_AT_ONCE = 64
#: Of what the nearest like, so many tracks are kept of a person: those that most of them like.
_MOST_TRACKS = 1_000


@dataclass(frozen=True)
class Crowd:
    """Some people, and what each of them likes.

    Attributes
    ----------
    ids : Arrow array of strings, shape (people,)
        The people, each once, ascending.
    tracks : int64, shape (tracks,)
        The codes of what they like, ascending.
    likes : sparse, shape (people, tracks)
        1 where a person likes a track.
    nearest : int
        So many of them count for a person, at most.
    least : int
        Whoever is near likes at least so many of the same tracks; and of what one of the nearest likes, what at
        least so many of them do is kept.
    shrinkage : float
        With so many tracks that both like, half of a cosine is believed.
    """

    ids: pa.Array
    tracks: Int64Array
    likes: sparse.csr_array
    nearest: int
    least: int
    shrinkage: float

    @cached_property
    def by_track(self) -> sparse.csr_array:
        """The same as `likes`, shape (tracks, people)."""
        return self.likes.T.tocsr()

    @classmethod
    def of(cls, rows: pa.Table, config: ListenersConfig) -> Crowd:
        """Return the crowd of what is liked.

        Parameters
        ----------
        rows : Table
            ``user_id`` and ``code`` of a track that this person likes, each pair once.
        """
        user, code = rows.column("user_id").combine_chunks(), rows.column("code").to_numpy()
        ids = pc.unique(user)
        ids = ids.take(pc.array_sort_indices(ids))
        person = pc.index_in(user, ids).to_numpy(zero_copy_only=False).astype(np.int64)
        tracks = np.unique(code)
        likes = rows_of(person, code, np.ones(len(code)), tracks, len(ids))
        return cls(ids, tracks, likes, config.nearest, config.min_together, config.together_shrinkage)


@dataclass(frozen=True)
class Near:
    """What the nearest of some people like, sorted by person.

    Attributes
    ----------
    owner : int64, shape (tracks,)
        Whose nearest like it.
    track : int64, shape (tracks,)
        The code of the track.
    value : float64, shape (tracks,)
        The share of the nearest that like it, each counting by how near; 0 to 1.
    liked : int64, shape (tracks,)
        How many of them like it.
    size : int64, shape (people,)
        How many are near to each person.
    """

    owner: Int64Array
    track: Int64Array
    value: Float64Array
    liked: Int64Array
    size: Int64Array


def liked_nearby(ids: pa.Array, of: Preferences, crowd: Crowd) -> Near:
    """Return what those of the crowd like who are nearest to some people; nobody is near to oneself.

    Parameters
    ----------
    ids : Arrow array of strings, shape (people,)
    of : Preferences
        Theirs.

    Examples
    --------
    >>> config = ListenersConfig(min_together=1, together_shrinkage=0)
    >>> likes = pa.table({"user_id": ["bob", "bob", "cyd", "dan"], "code": [1, 2, 1, 3]})
    >>> nothing = np.zeros((1, 0), np.float32)
    >>> ann = Preferences(
    ...     np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1), np.zeros(1, np.int64), nothing, nothing
    ... )
    >>> near = liked_nearby(pa.array(["ann"]), ann, Crowd.of(likes, config))  # Cyd is as near as can be, Bob less
    >>> near.track.tolist(), near.value.round(3).tolist(), near.liked.tolist(), near.size.tolist()
    ([1, 2], [1.0, 0.414], [2, 1], [2])
    """
    is_liked, count = of.evidence > 0, len(ids)
    owner = of.owner[is_liked]
    likes = rows_of(owner, of.track[is_liked], np.ones(len(owner)), crowd.tracks, count)
    sizes = np.bincount(owner, minlength=count)
    own = pc.fill_null(pc.index_in(ids, crowd.ids), -1).to_numpy(zero_copy_only=False)
    none = np.zeros(0, np.int64)
    found = [Near(none, none, np.zeros(0), none, none), *_nearby(likes, sizes, own, crowd)]
    return Near(*(np.concatenate([getattr(of, name) for of in found]) for name in Near.__dataclass_fields__))


def _nearby(likes: sparse.csr_array, sizes: Int64Array, own: Int64Array, crowd: Crowd) -> Iterator[Near]:
    """Yield what is liked near to some people at a time.

    Parameters
    ----------
    likes : sparse, shape (people, tracks)
    sizes : int64, shape (people,)
        How much each likes.
    own : int64, shape (people,)
        The place of each in the crowd; -1: is not in it.
    """
    theirs, of_crowd = crowd.likes, np.diff(crowd.likes.indptr)
    for start in range(0, likes.shape[0], _PEOPLE_AT_ONCE):
        some = slice(start, start + _PEOPLE_AT_ONCE)
        both = (likes[some] @ crowd.by_track).tocoo()
        kept = (both.data >= crowd.least) & (both.col != own[some][both.row])
        row, other, count = both.row[kept].astype(np.int64), both.col[kept].astype(np.int64), both.data[kept]
        near = count / np.sqrt(sizes[some][row] * of_crowd[other]) * (count / (count + crowd.shrinkage))
        shape = (len(sizes[some]), theirs.shape[0])
        dense = np.zeros(shape)
        dense[row, other] = near
        (kept,) = np.nonzero(near >= last_of_best(dense, crowd.nearest)[row])
        row, other, near = row[kept], other[kept], near[kept]
        best = best_first(row, near, other, crowd.nearest)
        nearness = sparse.csr_array((near[best], (row[best], other[best])), shape=shape)
        nearness.sort_indices()  # what is added up is added up in one order
        size, whole = np.diff(nearness.indptr), nearness.sum(axis=1)
        liked = sparse.csr_array((np.ones(nearness.nnz), nearness.indices, nearness.indptr), shape=shape) @ theirs
        weighted = nearness @ theirs
        for of in (liked, weighted):
            of.sort_indices()  # both have entries at the same places
        person = np.repeat(np.arange(shape[0]), np.diff(liked.indptr))
        track, value = crowd.tracks[liked.indices], weighted.data / whole[person]
        (told,) = np.nonzero(liked.data >= crowd.least)
        told = told[best_first(person[told], value[told], track[told], _MOST_TRACKS)]
        counts = (of.astype(np.int64) for of in (liked.data[told], size))
        yield Near(person[told] + start, track[told], value[told], *counts)
