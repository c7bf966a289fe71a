"""Hubs tamed: what a list ranks by, so that the same few tracks are not in every list.

In spaces of many dimensions some tracks are near to a great many others, and come up in lists where nothing else
speaks for them. A cosine says more when it is held against how near the nearest of either track are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from specrec.arrays import Float64Array
from specrec.recommend.config import Hubs

#: Cosines are added up as whole numbers of this part of one, whose sums do not depend on their order. It is finer
#: than a cosine of float32 vectors is exact, and the squares of ninety thousand fit 64 bits.
PARTS_OF_ONE = 1e7

#: The least standard deviation that is reckoned with: cosines that lie closer together are as good as equal.
_LEAST_SPREAD = 1e-6


class Nearness(NamedTuple):
    """How near the nearest of each track are.

    Parameters
    ----------
    mean, std : float64, any shape
        Mean and standard deviation of the cosines of a track and its nearest.
    """

    mean: Float64Array
    std: Float64Array

    @classmethod
    def of(cls, cosines: Float64Array) -> Nearness:
        """Return the nearness of one track by the cosines of its nearest; NaN if there are none."""
        if not len(cosines):
            return cls(np.array(np.nan), np.array(np.nan))
        whole = np.round(cosines * PARTS_OF_ONE).astype(np.int64)
        mean = np.asarray(whole.sum() / len(whole) / PARTS_OF_ONE)
        square = (whole * whole).sum() / len(whole) / PARTS_OF_ONE**2
        return cls(mean, np.sqrt(np.maximum(square - mean * mean, 0.0)))

    def or_else(self, cosine: Float64Array) -> Nearness:
        """Return the same, with the cosine of a pair where nothing is known (NaN).

        A track that found nothing but its own copies has no other nearest: only how near this one is is known.
        """
        unknown = np.isnan(self.mean)
        return Nearness(np.where(unknown, cosine, self.mean), np.where(unknown, 0.0, self.std))


def affinity(hubs: Hubs, cosine: Float64Array, track: Nearness, other: Nearness) -> Float64Array:
    """Return what pairs are ranked by: it is the same for (a, b) and (b, a).

    ``off`` leaves the cosine as it is. ``local_scaling`` is half of the CSLS of [1]_, ``cosine - (r(a) +
    r(b)) / 2``, r being the mean nearness: how much nearer the two are than the nearest of either usually are.
    ``mutual_proximity`` is the probability that each finds the other nearer than one of its own nearest, taken as
    normally distributed and independent, 0 to 1; in [2]_ the distribution is that of all tracks.

    Parameters
    ----------
    hubs : Hubs
        The method.
    cosine : float64, any shape
    track, other : Nearness
        Nearness of the two tracks of each pair, of shapes that broadcast with it.

    References
    ----------
    .. [1] Conneau, Lample, Ranzato, Denoyer, Jégou: Word Translation Without Parallel Data. ICLR 2018.
    .. [2] Schnitzer, Flexer, Schedl, Widmer: Local and Global Scaling Reduce Hubs in Space. JMLR 13, 2012.

    Examples
    --------
    >>> track, hub = Nearness(np.array(0.5), np.array(0.1)), Nearness(np.array(0.8), np.array(0.1))
    >>> round(float(affinity("local_scaling", np.array(0.7), track, hub)), 3)
    0.05
    """
    if hubs == "local_scaling":
        return np.asarray(cosine - (track.mean + other.mean) / 2)
    if hubs == "mutual_proximity":
        return _nearer_than_usual(cosine, track) * _nearer_than_usual(cosine, other)
    return cosine


def _nearer_than_usual(cosine: Float64Array, track: Nearness) -> Float64Array:
    from scipy.special import ndtr  # noqa: PLC0415  SciPy takes a second to import

    share: Float64Array = ndtr((cosine - track.mean) / np.maximum(track.std, _LEAST_SPREAD))
    return share
