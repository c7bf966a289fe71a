"""Choosing lists: the best candidates first, as long as no limit speaks against one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from specrec.neighbours.kernel import positions, runs
from specrec.recommend.config import RecommendConfig
from specrec.recommend.hubs import Nearness, affinity
from specrec.recommend.traits import holders

Batches = Iterator[pa.RecordBatch]

#: The columns that say whose list it is: of which system, and of which track.
OWNER = ["space", "track_id"]
#: More than what one candidate of a list may be better by than another.
_BEFORE_ALL = 4.0
#: Stands for the group of a track that has no duplicate; no group has this code.
_NO_GROUP = 0


@dataclass(frozen=True, eq=False)
class Limit:
    """How many candidates of one name (an artist, an album, a group of duplicates) a list may hold.

    Parameters
    ----------
    candidate : int64, shape (names,)
        The index of the candidate that bears the name. A candidate may bear several, each once, or none.
    name : int64, shape (names,)
        A code of the name.
    most : int
        How many of one name a list may hold; at least 1.
    """

    candidate: Int64Array
    name: Int64Array
    most: int


def choose(
    track: Int64Array, affinity: Float64Array, eligible: BoolArray, top_n: int, limits: Sequence[Limit] = ()
) -> Int64Array:
    """Return the rank that each candidate takes in its track's list, from 1 and without gaps; 0 for none.

    Each list is filled greedily from the greatest affinity down; of equal ones, the one that comes first is the
    better. All lists are filled side by side: the loop goes over the places of a list, not over the tracks.

    Parameters
    ----------
    track : int64, shape (candidates,)
        Whose candidate it is, 0 to tracks - 1.
    affinity : float64, shape (candidates,)
    eligible : bool, shape (candidates,)
        Whether it may be chosen at all.
    top_n : int
        Length of a list, at most.
    limits : sequence of Limit
        A candidate is left out where a name that it bears has reached its limit in that list.

    Returns
    -------
    int64, shape (candidates,)

    Examples
    --------
    >>> affinity, everything = np.array([0.9, 0.8, 0.7]), np.ones(3, bool)
    >>> one_artist = Limit(candidate=np.array([0, 1, 2]), name=np.array([5, 5, 6]), most=1)
    >>> choose(np.zeros(3, np.int64), affinity, everything, top_n=2, limits=[one_artist])
    array([1, 0, 2])
    """
    order = np.lexsort((-affinity, track))
    step = np.empty_like(order)
    step[order] = positions(track[order])
    counts = [_Count(limit, track, step) for limit in limits]
    rank, refused = np.zeros(len(track), np.int64), ~eligible
    length = np.zeros(track.max(initial=-1) + 1, np.int64)
    for i, candidates in enumerate(_by_step(np.arange(len(track)), step)):  # a step holds at most one of each track
        for count in counts:
            refused[count.full(i)] = True
        taken = candidates[~refused[candidates] & (length[track[candidates]] < top_n)]
        length[track[taken]] += 1
        rank[taken] = length[track[taken]]
        for count in counts:
            count.add(i, rank)
    return rank


def vary(
    track: Int64Array,
    affinity: Float64Array,
    vectors: Float32Array,
    top_n: int,
    *,
    variety: float,
    kept: BoolArray | None = None,
) -> BoolArray:
    """Return which candidates make lists that are good and varied: by maximal marginal relevance.

    A list is filled one by one: with the candidate whose affinity is great and which is not near to any that is in
    the list already (Carbonell and Goldstein, The Use of MMR, SIGIR 1998). Affinities of a list are brought to 0
    to 1, as they are to be weighed against cosines. Any part of a list keeps within the limits that the whole does:
    :func:`choose` comes first, with longer lists.

    Parameters
    ----------
    track : int64, shape (candidates,)
        Whose candidate it is, ascending.
    affinity : float64, shape (candidates,)
        Of equal candidates, the one that comes first is the better.
    vectors : float32, shape (candidates, dimensions)
        Of length 1, or zeros: near to nothing.
    top_n : int
        Length of a list, at most.
    variety : float
        From 0, by affinity alone, to 1, by cosines alone, but for the first.
    kept : bool, shape (candidates,), or None
        Those that are in their list, whatever they are near to.

    Examples
    --------
    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> vary(np.zeros(3, np.int64), np.array([0.9, 0.8, 0.7]), vectors, top_n=2, variety=0.6)
    array([ True, False,  True])
    """
    taken = np.zeros(len(track), bool)
    for _, own in runs(track):
        of = vectors[own].astype(np.float64)
        span = np.ptp(affinity[own])
        good = (affinity[own] - affinity[own].min()) / (span or 1.0)
        first = np.zeros(len(of), bool) if kept is None else kept[own]
        taken[own] = _varied(good, of @ of.T, first, top_n, variety)
    return taken


def _varied(good: Float64Array, cosines: Float64Array, kept: BoolArray, top_n: int, variety: float) -> BoolArray:
    taken = np.zeros(len(good), bool)
    nearest = np.zeros(len(good))  # how near the nearest in the list is; before there is any, all are alike
    for place in range(min(top_n, len(good))):
        value = (1 - variety) * good - (variety * nearest if place else 0.0)
        value = np.where(kept, value + _BEFORE_ALL, value)
        best = int(np.argmax(np.where(taken, -np.inf, value)))
        taken[best] = True
        nearest = np.maximum(nearest, cosines[best]) if place else cosines[best]
    return taken


def choose_batches(config: RecommendConfig) -> Callable[[Batches], Batches]:
    """Return what chooses the lists of batches of tracks, each with its candidates in one row.

    A batch holds ``space, track_id, mean, std, duplicate`` and ``candidates``, a list, nearest first, of structs
    ``neighbour_id, cosine, mean, std, duplicate, artists, albums``. ``mean`` and ``std`` are the mean and the
    standard deviation of the cosines of a track and its nearest, its own copies left out; null if it has no others.
    The rest are codes; a duplicate is null or not 0. What comes out is ``system, track_id, rank,
    recommended_track_id, score, affinity``.
    """

    def chosen(batches: Batches) -> Batches:
        for batch in batches:
            lists = batch.column("candidates")
            track = holders(lists)
            candidates = pa.RecordBatch.from_struct_array(lists.flatten())
            score = candidates.column("cosine").to_numpy()
            own = Nearness(*(values[track] for values in _nearness(batch))).or_else(score)
            affinities = affinity(config.hubs, score, own, _nearness(candidates).or_else(score))
            group = pc.fill_null(batch.column("duplicate"), _NO_GROUP).to_numpy()[track]
            is_other = (group == _NO_GROUP) | (
                group != pc.fill_null(candidates.column("duplicate"), _NO_GROUP).to_numpy()
            )
            rank = choose(track, affinities, is_other, config.top_n, _limits(candidates, config))
            order = np.lexsort((rank, track))
            kept = order[rank[order] > 0]
            of_track = batch.select(OWNER).take(pa.array(track[kept]))
            columns = {
                "system": of_track.column("space"),
                "track_id": of_track.column("track_id"),
                "rank": pa.array(rank[kept], pa.int32()),
                "recommended_track_id": candidates.column("neighbour_id").take(pa.array(kept)),
                "score": pa.array(score[kept]),
                "affinity": pa.array(affinities[kept]),
            }
            yield pa.RecordBatch.from_pydict(columns)

    return chosen


def _nearness(rows: pa.RecordBatch) -> Nearness:
    return Nearness(*(rows.column(name).to_numpy(zero_copy_only=False) for name in ("mean", "std")))


def _limits(candidates: pa.RecordBatch, config: RecommendConfig) -> list[Limit]:
    grouped = np.flatnonzero(candidates.column("duplicate").is_valid())
    limits = [Limit(grouped, candidates.column("duplicate").drop_null().to_numpy(), 1)]
    for column, most in (("artists", config.max_per_artist), ("albums", config.max_per_album)):
        if most:
            names = candidates.column(column)
            limits.append(Limit(holders(names), names.flatten().to_numpy(), most))
    return limits


class _Count:
    """How many bearers of each name each list holds by now."""

    def __init__(self, limit: Limit, track: Int64Array, step: Int64Array) -> None:
        of_track = track[limit.candidate]
        order = np.lexsort((limit.name, of_track))
        sorted_track, sorted_name = of_track[order], limit.name[order]
        is_new = np.ones(len(order), np.bool_)
        is_new[1:] = (sorted_track[1:] != sorted_track[:-1]) | (sorted_name[1:] != sorted_name[:-1])
        counter = np.empty_like(order)  # the number of the counter: there is one for each name in each list
        counter[order] = np.cumsum(is_new) - 1
        self._held = np.zeros(is_new.sum(), np.int64)
        self._most = limit.most
        self._steps = [
            (limit.candidate[entries], counter[entries])
            for entries in _by_step(np.arange(len(order)), step[limit.candidate], step.max(initial=-1) + 1)
        ]

    def full(self, i: int) -> Int64Array:
        """Return the candidates of the i-th step that bear a name whose limit is reached."""
        candidate, counter = self._steps[i]
        return candidate[self._held[counter] >= self._most]

    def add(self, i: int, rank: Int64Array) -> None:
        """Count the names of those candidates of the i-th step that took a rank."""
        candidate, counter = self._steps[i]
        self._held[counter] += (
            rank[candidate] > 0
        )  # in a step, no counter comes twice: it has one candidate of each list, and names are distinct


def _by_step(items: Int64Array, step: Int64Array, steps: int | None = None) -> list[Int64Array]:
    """Return the items of each step, 0 to steps - 1."""
    order = np.argsort(step, kind="stable")
    steps = step.max(initial=-1) + 1 if steps is None else steps
    ends = np.searchsorted(step[order], np.arange(1, steps), side="left")
    return np.split(items[order], ends) if steps else []
