"""How often each recording is recommended (k-occurrence), as a histogram that does not grow with the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from specrec.arrays import Float64Array
from specrec.evaluate.intervals import Bootstrap, Figure

_TAIL = 1e-12


@dataclass(frozen=True)
class Occurrence:
    """`tracks[i]` recordings are in `times[i]` lists each, of `lists` in all.

    Attributes
    ----------
    times, tracks : float64, shape (cells,)
        Those that are in no list are counted too, with 0 times.
    """

    times: Float64Array
    tracks: Float64Array
    lists: float

    @classmethod
    def of(cls, histogram: Mapping[int, float], recordings: float, lists: float) -> Occurrence:
        """Build it from how many recordings are in how many lists.

        Parameters
        ----------
        histogram : mapping of int to float
            How many recordings are in so many lists, by the number of lists, from 1 up.
        recordings : float
            How many there are, in a list or in none.
        lists : float
            How many lists there are.
        """
        times = np.array([0, *histogram], np.float64)
        listed = np.array(list(histogram.values()), np.float64)
        return cls(times, np.array([max(recordings - listed.sum(), 0.0), *listed]), lists)

    def figures(self, bootstrap: Bootstrap) -> dict[str, Figure | None]:
        """Return coverage, the share never recommended, hubness and novelty."""
        statistics = {
            "coverage": self.coverage,
            "never_recommended": lambda tracks: 1 - self.coverage(tracks),
            "hubness": self.hubness,
            "novelty": self.novelty,
        }
        return {name: bootstrap.of_histogram(self.tracks, of) for name, of in statistics.items()}

    def coverage(self, tracks: Float64Array) -> Float64Array:
        """Return the share of recordings that are in a list; `tracks` of shape (..., cells), as in what follows."""
        covered: Float64Array = tracks @ (self.times > 0) / tracks.sum(axis=-1)
        return covered

    def hubness(self, tracks: Float64Array) -> Float64Array:
        """Return the skewness of the times (Radovanović et al. 2010); 0 where all are the same."""
        total = tracks.sum(axis=-1)
        mean = tracks @ self.times / total
        centred = self.times - mean[..., None]
        second = (tracks * centred**2).sum(axis=-1) / total
        third = (tracks * centred**3).sum(axis=-1) / total
        skewness: Float64Array = np.divide(third, second**1.5, out=np.zeros_like(third), where=second > _TAIL)
        return skewness

    def novelty(self, tracks: Float64Array) -> Float64Array:
        """Return the mean self-information of a recommendation in bits (Zhou et al. 2010)."""
        listed = self.times > 0
        bits = -np.log2(self.times[listed] / self.lists)
        weight = tracks[..., listed] * self.times[listed]
        total = weight.sum(axis=-1)
        mean: Float64Array = np.divide(
            (weight * bits).sum(axis=-1), total, out=np.zeros_like(total), where=total > 0
        )
        return mean


def of_random(tracks: int, k: int) -> Occurrence:
    """Return what is expected where each of `tracks` recommends `k` others at random."""
    return of_genre_prior({tracks: 1}, tracks, k)


def of_genre_prior(sizes: Mapping[int, int], tracks: int, k: int) -> Occurrence:
    """Return what is expected where each track recommends `k` others of its genre at random.

    How often a track is drawn is binomial: by each of the others of its genre, with the same chance.

    Parameters
    ----------
    sizes : mapping of int to int
        How many genres have so many recordings, by the number of recordings.
    tracks : int
        How many tracks the catalogue has, those without a genre too, which are in no list and have none.
    """
    of_times: dict[int, float] = {}
    for size, genres in sizes.items():
        if size < 2:
            continue
        drawn = stats.binom(size - 1, min(1.0, k / (size - 1)))
        times = np.arange(int(drawn.ppf(_TAIL)), int(drawn.ppf(1 - _TAIL)) + 1)
        for time, share in zip(times.tolist(), drawn.pmf(times).tolist(), strict=True):
            of_times[time] = of_times.get(time, 0.0) + genres * size * share
    of_times.pop(0, None)
    return Occurrence.of(of_times, tracks, sum(genres * size for size, genres in sizes.items() if size > 1))


def of_popularity(tracks: int, k: int, popular: int | None = None) -> Occurrence:
    """Return what comes of recommending the `k` most popular to everybody; to one of them, the next.

    Parameters
    ----------
    tracks : int
        How many recordings there are.
    k : int
        How long lists are, at most.
    popular : int or None
        Of how many the catalogue says how popular they are: no other is in a list. None: of all.

    Examples
    --------
    >>> everybody = of_popularity(tracks=100, k=10)  # to the ten themselves the eleventh is recommended
    >>> dict(zip(everybody.times.tolist(), everybody.tracks.tolist(), strict=True))
    {0.0: 89.0, 99.0: 10.0, 10.0: 1.0}
    """
    popular = tracks if popular is None else min(popular, tracks)
    if popular <= k:  # to each of them all the others
        lists = tracks if popular > 1 else popular * (tracks - 1)  # to the only one, nothing
        return Occurrence.of({tracks - 1: popular} if popular and tracks > 1 else {}, tracks, lists)
    histogram = {tracks - 1: float(k)}
    histogram[k] = histogram.get(k, 0.0) + 1
    return Occurrence.of(histogram, tracks, tracks)


@dataclass(frozen=True)
class ListCounts:
    """`lists[i]` lists are `length[i]` long, and `duplicates[i]` of these repeat a recording, or the track's own.

    Attributes
    ----------
    length, duplicates, lists : float64, shape (cells,)
        Tracks without any list are counted too, with length 0.
    """

    length: Float64Array
    duplicates: Float64Array
    lists: Float64Array

    def not_full(self, top_n: int, bootstrap: Bootstrap) -> Figure | None:
        """Return the share of lists that are shorter than `top_n`."""
        short = self.length < top_n
        return bootstrap.of_histogram(self.lists, lambda lists: lists @ short / lists.sum(axis=-1))

    def duplicate_rate(self, bootstrap: Bootstrap) -> Figure | None:
        """Return the share of recommendations that are a recording twice."""

        def rate(lists: Float64Array) -> Float64Array:
            total = lists @ self.length
            return np.divide(lists @ self.duplicates, total, out=np.zeros_like(total), where=total > 0)

        return bootstrap.of_histogram(self.lists, rate)
