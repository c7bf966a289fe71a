"""Lists for people, measured by what these people liked that no model was told of. Arrays in, measurements out.

Beside the systems stands what is expected of tracks at random, which needs no drawing: it follows from how many
tracks there are, and how many of them the person likes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from specrec.arrays import BoolArray, Float64Array
from specrec.embedding.config import HYBRID
from specrec.evaluate.intervals import Bootstrap, Figure
from specrec.evaluate.measurements import Measurements, row
from specrec.evaluate.occurrence import Occurrence
from specrec.evaluate.ranking import ndcg, precision

#: So many places of a list count.
FIRST = 10
#: What is known of the people who are asked: nothing, little, much.
COLD, LITTLE, WARM = "cold people", "people little is known of", "warm people"
#: Tracks that hardly anybody knows, and the others.
COLD_TRACKS, WARM_TRACKS = "cold tracks", "warm tracks"
RANDOM = "random"


@dataclass(frozen=True)
class Candidates:
    """What is known of the tracks that may be recommended.

    Attributes
    ----------
    tracks : int
        How many there are.
    listeners : float
        How many people know the mean one, as far as the model was told.
    novelty : float
        The mean of :func:`novelty` over them.
    people : int
        How many people the model was told of.
    """

    tracks: int
    listeners: float
    novelty: float
    people: int

    def novelty_of(self, listeners: Float64Array) -> Float64Array:
        """Return how many bits of news tracks are: -log2 of the share of people who know one (Zhou et al. 2010).

        One more person is taken to know each, or one that nobody knows would be infinitely new.

        Examples
        --------
        >>> Candidates(tracks=2, listeners=3.5, novelty=1.5, people=7).novelty_of(np.array([0, 7])).tolist()
        [3.0, 0.0]
        """
        bits: Float64Array = np.log2((self.people + 1) / (listeners + 1))
        return bits


@dataclass(frozen=True)
class Lists:
    """The lists of one system, a row a person and a column a place.

    Attributes
    ----------
    is_listed, is_liked, is_cold : bool, shape (people, FIRST)
        Whether there is a track, the person likes it, and hardly anybody knows it.
    listeners : float64, shape (people, FIRST)
        How many people know it; NaN where there is none.
    """

    is_listed: BoolArray
    is_liked: BoolArray
    is_cold: BoolArray
    listeners: Float64Array

    @classmethod
    def of(cls, listed: pd.DataFrame, people: pd.Index) -> Lists:
        """Lay out rows of ``user_id, place, is_liked, is_cold, listeners``; `place` counts from 1."""
        at = (people.get_indexer(pd.Index(listed["user_id"])), listed["place"].to_numpy(np.int64) - 1)
        shape = (len(people), FIRST)
        flags = {name: np.zeros(shape, bool) for name in ("is_listed", "is_liked", "is_cold")}
        flags["is_listed"][at] = True
        for name in ("is_liked", "is_cold"):
            flags[name][at] = listed[name].to_numpy(bool)
        listeners = np.full(shape, np.nan)
        listeners[at] = listed["listeners"].to_numpy(np.float64)
        return cls(**flags, listeners=listeners)


def held_out(
    split: str, listed: pd.DataFrame, asked: pd.DataFrame, candidates: Candidates, bootstrap: Bootstrap
) -> Measurements:
    """Measure the lists of all systems, of all people who are asked, and of each kind of people and tracks apart.

    Parameters
    ----------
    split : str
        How what they liked was held out; it begins the name of each slice.
    listed : DataFrame
        ``system, user_id, place, track, is_liked, is_cold, listeners``: the first places of lists.
    asked : DataFrame
        ``user_id``; ``kind``, one of :data:`COLD`, :data:`LITTLE`, :data:`WARM`, or null; ``is_whole``: whether all
        that is known of the person was shown; ``liked, liked_cold``: how many tracks, and how many of them hardly
        anybody knows, the list could hold that the person likes; ``heard``: how many it must not hold.
    candidates : Candidates
    bootstrap : Bootstrap
        Resamples people.
    """
    asked = asked.sort_values("user_id", ignore_index=True)
    is_whole = asked["is_whole"].to_numpy(bool)
    kinds = {f", {kind}": (asked["kind"] == kind).to_numpy(bool) for kind in (COLD, LITTLE, WARM)}
    slices = {f"{split}{name}": rows for name, rows in {"": is_whole, **kinds}.items()}
    people = pd.Index(asked["user_id"])
    for system in (*sorted(set(listed["system"]), key=lambda name: (name != HYBRID, name)), RANDOM):
        lists = None if system == RANDOM else Lists.of(listed[listed["system"] == system], people)
        for metric, values in _of_people(lists, asked, candidates).items():
            for name, rows in slices.items():
                yield from row(system, metric, bootstrap.mean(values[rows]), name)
        for kind, is_cold in ((COLD_TRACKS, True), (WARM_TRACKS, False)):
            for metric, values in _of_likes(lists, asked, candidates, is_cold).items():
                yield from row(system, metric, bootstrap.mean(values[is_whole]), f"{split}, {kind}")
        of_whole = listed[(listed["system"] == system) & listed["user_id"].isin(people[is_whole])]
        yield from row(
            system,
            "people_coverage",
            _coverage(of_whole, system, int(is_whole.sum()), candidates, bootstrap),
            split,
        )


def _of_people(lists: Lists | None, asked: pd.DataFrame, candidates: Candidates) -> dict[str, Float64Array]:
    """Return each metric's value of each person, float64, shape (people,); `lists` None: of tracks at random."""
    found = _of_likes(lists, asked, candidates, None)
    if lists is None:
        novelty, bias = np.full(len(asked), candidates.novelty), np.ones(len(asked))
    else:
        count = lists.is_listed.sum(axis=1)
        novelty = _mean(candidates.novelty_of(lists.listeners), count)
        bias = _mean(lists.listeners, count) / (candidates.listeners or np.nan)
    return found | {"people_novelty": novelty, "people_popularity_bias": bias}


def _of_likes(
    lists: Lists | None, asked: pd.DataFrame, candidates: Candidates, is_cold: bool | None
) -> dict[str, Float64Array]:
    """Return what is found of what each person likes: of all such tracks, or of cold or warm ones alone.

    People who like none of these are left out: NaN.
    """
    liked, cold = asked["liked"].to_numpy(np.int64), asked["liked_cold"].to_numpy(np.int64)
    wanted = liked if is_cold is None else cold if is_cold else liked - cold
    ideal = (np.arange(FIRST) < wanted[:, None]).astype(np.float64)
    if lists is None:
        left = np.maximum(candidates.tracks - asked["heard"].to_numpy(np.int64), 1)
        chance, length = wanted / left, np.minimum(left, FIRST)  # the chance that a track at random is one of them
        hits = chance * length
        gains = np.where(np.arange(FIRST) < length[:, None], chance[:, None], 0.0)
        values = {"people_precision_at_10": hits / FIRST, "people_ndcg_at_10": ndcg(gains, ideal, FIRST)}
    else:
        relevant = lists.is_liked if is_cold is None else lists.is_liked & (lists.is_cold == is_cold)
        hits = relevant.sum(axis=1).astype(np.float64)
        values = {
            # a place that the list leaves empty is one that holds nothing liked
            "people_precision_at_10": precision(relevant, np.ones(relevant.shape, bool), FIRST)[0],
            "people_ndcg_at_10": ndcg(relevant.astype(np.float64), ideal, FIRST),
        }
    recall = np.divide(hits, wanted, out=np.full(len(wanted), np.nan), where=wanted > 0)
    values = {name: np.where(wanted > 0, of, np.nan) for name, of in values.items()}
    return values | {"people_recall_at_10": recall}


def _coverage(
    listed: pd.DataFrame, system: str, people: int, candidates: Candidates, bootstrap: Bootstrap
) -> Figure | None:
    """Return the share of all tracks that may be recommended which are in a list; of random ones, as expected."""
    if not people or not candidates.tracks:
        return None
    if system == RANDOM:
        share = min(FIRST / candidates.tracks, 1.0)
        return Figure(1 - (1 - share) ** people, None, None, people)
    times = listed["track"].value_counts().value_counts().sort_index()
    histogram = {int(number): float(tracks) for number, tracks in times.items()}
    return Occurrence.of(histogram, candidates.tracks, people).figures(bootstrap)["coverage"]


def _mean(values: Float64Array, count: Float64Array) -> Float64Array:
    sums = np.nansum(values, axis=1)
    means: Float64Array = np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)
    return means
