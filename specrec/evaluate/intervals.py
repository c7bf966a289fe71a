"""Figures with 95 % bootstrap intervals (Efron 1979), whose ends are percentiles of the resampled figures.

The interval is not bias-corrected and accelerated (BCa). Such an interval is undefined where all resamples agree,
as they do of what is always right or always wrong, and it costs the square of the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from specrec.arrays import Float64Array

_LEVEL = 0.95
_BATCH = 100  # resamples in memory at once


@dataclass(frozen=True)
class Figure:
    """A value, the ends of its interval (None where nothing can be resampled), and of how many it is."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Bootstrap:
    """How figures are resampled.

    Attributes
    ----------
    resamples : int
        How many; more make the ends of the interval steadier.
    seed : int
        The same seed gives the same interval.
    """

    resamples: int = 1_000
    seed: int = 0

    def mean(self, values: npt.ArrayLike) -> Figure | None:
        """Return the mean of one value a track, NaN left out; None where there is none.

        Examples
        --------
        >>> Bootstrap(resamples=200).mean([1.0, 2.0, float("nan"), 3.0]).value
        2.0
        """
        return self._of(values, np.mean)

    def median(self, values: npt.ArrayLike) -> Figure | None:
        """Return the median of values, NaN left out; None where there is none."""
        return self._of(values, np.median)

    def rank_correlation(self, x: Float64Array, y: Float64Array) -> Figure | None:
        """Return Spearman's rank correlation; None of fewer than three pairs, or where one side is constant."""
        known = ~(np.isnan(x) | np.isnan(y))
        x, y = x[known], y[known]
        if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return None

        def correlation(a: Float64Array, b: Float64Array, axis: int = -1) -> Any:
            ranks = [stats.rankdata(v, axis=axis) for v in (a, b)]
            centred = [r - r.mean(axis=axis, keepdims=True) for r in ranks]
            covariance = (centred[0] * centred[1]).sum(axis=axis)
            spread = np.sqrt((centred[0] ** 2).sum(axis=axis) * (centred[1] ** 2).sum(axis=axis))
            # a resample in which all values are the same shows no correlation
            return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0)

        low, high = self._interval((x, y), correlation, paired=True)
        return Figure(float(stats.spearmanr(x, y).statistic), low, high, len(x))

    def of_histogram(self, counts: Float64Array, statistic: Callable[[Float64Array], Any]) -> Figure | None:
        """Return a statistic of a histogram; None of an empty one.

        Drawing as many tracks again, with replacement, draws the histogram from a multinomial: the bootstrap over
        tracks, at a cost that does not grow with them.

        Parameters
        ----------
        counts : float64, shape (cells,)
            Tracks in each cell.
        statistic : callable
            Takes counts of shape (..., cells), and returns a figure for each along the last axis.
        """
        total = counts.sum()
        if total <= 0:
            return None
        drawn = np.random.default_rng(self.seed).multinomial(round(total), counts / total, size=self.resamples)
        low, high = _percentiles(np.asarray(statistic(drawn.astype(np.float64)), np.float64))
        return Figure(float(statistic(counts)), low, high, round(total))

    def _of(self, values: npt.ArrayLike, statistic: Callable[..., Any]) -> Figure | None:
        known = np.asarray(values, np.float64)
        known = known[~np.isnan(known)]
        if known.size == 0:
            return None
        low, high = self._interval((known,), statistic)
        return Figure(float(statistic(known)), low, high, known.size)

    def _interval(
        self, data: tuple[Float64Array, ...], statistic: Callable[..., Any], *, paired: bool = False
    ) -> tuple[float | None, float | None]:
        if len(data[0]) < 2:
            return None, None
        found = stats.bootstrap(
            data,
            statistic,
            n_resamples=self.resamples,
            batch=_BATCH,
            vectorized=True,
            paired=paired,
            confidence_level=_LEVEL,
            method="percentile",
            random_state=np.random.default_rng(self.seed),
        )
        return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _percentiles(values: Float64Array) -> tuple[float, float]:
    low, high = np.percentile(values, [50 * (1 - _LEVEL), 50 * (1 + _LEVEL)])
    return float(low), float(high)
