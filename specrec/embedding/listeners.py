"""The space ``listeners``: what tracks are to those who like them.

The vectors are the factors of alternating least squares. Of a track that nobody is known to like they are
predicted, from how it sounds (as van den Oord, Dieleman and Schrauwen 2013 do it) and from what the artist's other
tracks are to their listeners:

    factors = intercept + sound · weights + artist_weight · believed
    believed = n / (n + shrinkage) · (mean of the artist's n other tracks - mean of all)

It is a ridge regression, in closed form: sums of products of tracks that have factors are all that it needs, and
a track is never among the others of its own artist. How strong the ridge is, is chosen by generalised
cross-validation (Golub, Heath and Wahba 1979); how little a few tracks tell of their artist, by the variance
within artists and between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from specrec.arrays import BoolArray, Float32Array, Float64Array, Int64Array

#: Factors are whole numbers of this part of 1, and so are the numbers whose products are added up.
UNIT = 1e-5
_DECIMALS = 5
#: Sums of products up to this are exact in float64, whatever their order.
_EXACT = 2.0**53
#: Strengths of the ridge that are tried, against the mean square of a dimension of sound.
_STRENGTHS = np.geomspace(1e-4, 1e4, 25)


@dataclass(frozen=True)
class Tracks:
    """What is known of some tracks.

    Attributes
    ----------
    factors : float64, shape (n, factors)
        NaN of a track that nobody is known to like.
    others : float64, shape (n, factors)
        The mean of the factors of the artist's other tracks; NaN where there are none.
    count : int64, shape (n,)
        Of how many others.
    sound : float64, shape (n, dimensions)
        How it sounds; NaN where that is not known.
    """

    factors: Float64Array
    others: Float64Array
    count: Int64Array
    sound: Float64Array

    def only(self, chosen: BoolArray) -> Tracks:
        """Return some of the tracks; `chosen` of shape (n,)."""
        return Tracks(self.factors[chosen], self.others[chosen], self.count[chosen], self.sound[chosen])

    @property
    def has_factors(self) -> BoolArray:
        """Of which tracks the factors are known, shape (n,)."""
        return _is_whole(self.factors)

    @property
    def has_sound(self) -> BoolArray:
        """Of which tracks it is known how they sound, shape (n,)."""
        return _is_whole(self.sound)


@dataclass(frozen=True)
class Artists:
    """How much an artist's tracks tell of another track of that artist.

    Attributes
    ----------
    mean : float64, shape (factors,)
        Of all tracks' factors.
    shrinkage : float
        So many other tracks of the artist are believed half; inf: artists tell nothing.
    """

    mean: Float64Array
    shrinkage: float

    def believed(self, tracks: Tracks) -> Float64Array:
        """Return how far from the mean the others let a track be expected, shape (n, factors); 0 without others."""
        count = tracks.count.astype(np.float64)
        trust = np.divide(count, count + self.shrinkage, out=np.zeros_like(count), where=count > 0)
        found: Float64Array = np.where(trust[:, None] > 0, trust[:, None] * (tracks.others - self.mean), 0.0)
        return found


def matrix_of(column: pd.Series, size: int) -> Float64Array:
    """Return lists of numbers as a matrix, float64, shape (n, size); NaN where there is no list.

    Examples
    --------
    >>> matrix_of(pd.Series([[1.0, 2.0], None]), 2)
    array([[ 1.,  2.],
           [nan, nan]])
    """
    found, there = np.full((len(column), size), np.nan), column.notna().to_numpy()
    if there.any():
        found[there] = np.stack(column[there].to_list())
    return found


def _is_whole(matrix: Float64Array) -> BoolArray:
    found: BoolArray = ~np.isnan(matrix).any(axis=1) & (matrix.shape[1] > 0)
    return found


def means_of_others(factors: Float64Array, artist: Int64Array) -> tuple[Float64Array, Int64Array]:
    """Return of each track the mean of the factors of the same artist's other tracks, and how many these are.

    Sums are of whole numbers, and so exact: they do not depend on the order.

    Parameters
    ----------
    factors : float64, shape (n, factors)
        NaN of a track whose factors are not known.
    artist : int64, shape (n,)
        A number from 0 for each artist.

    Returns
    -------
    means : float64, shape (n, factors)
        NaN where there are no others.
    count : int64, shape (n,)

    Examples
    --------
    >>> means_of_others(np.array([[1.0], [2.0], [np.nan], [5.0]]), np.array([0, 0, 0, 1]))
    (array([[2. ],
           [1. ],
           [1.5],
           [nan]]), array([1, 1, 2, 0]))
    """
    known = _is_whole(factors)
    whole = np.rint(np.where(known[:, None], factors, 0.0) / UNIT).astype(np.int64)
    sums = np.zeros((artist.max(initial=-1) + 1, factors.shape[1]), np.int64)
    np.add.at(sums, artist, whole)
    count = (np.bincount(artist, known, len(sums))[artist] - known).astype(np.int64)
    left = (sums[artist] - whole) * UNIT
    means = np.divide(left, count[:, None], out=np.full(left.shape, np.nan), where=count[:, None] > 0)
    return means, count


def exact_products(matrix: Float64Array) -> Int64Array:
    """Return the sum of the outer products of a matrix's rows, as whole numbers of ``UNIT ** 2``: it is exact.

    Parameters
    ----------
    matrix : float64, shape (n, size)
        Rounded to whole numbers of :data:`UNIT`.

    Returns
    -------
    int64, shape (size, size)
    """
    whole = np.rint(matrix / UNIT)
    at_once = max(1, int(_EXACT // np.square(np.abs(whole).max(initial=1.0))))
    total = np.zeros((matrix.shape[1],) * 2, np.int64)
    for start in range(0, len(whole), at_once):
        part = whole[start : start + at_once]
        total += (part.T @ part).astype(np.int64)
    return total


def for_artists(tracks: Tracks) -> Float64Array:
    """Return the rows whose products :func:`fit_artists` takes, shape (tracks with factors, 2 + 2 factors)."""
    tracks = tracks.only(tracks.has_factors)
    ones, has = np.ones((len(tracks.count), 1)), (tracks.count > 0)[:, None]
    return np.hstack([ones, has, tracks.factors, np.where(has, tracks.others, 0.0)])


def fit_artists(products: Float64Array) -> Artists:
    """Fit how much an artist's tracks tell of another one: what two of them share is what is of the artist.

    Parameters
    ----------
    products : float64, shape (2 + 2 factors, 2 + 2 factors)
        The sum of the outer products of the rows that :func:`for_artists` returns.
    """
    size = (len(products) - 2) // 2
    own, others = slice(2, 2 + size), slice(2 + size, None)
    count = max(products[0, 0], 1.0)
    mean = products[0, own] / count
    variance = np.trace(products[own, own]) / count - mean @ mean
    shared = np.trace(products[own, others]) - mean @ (products[1, own] + products[1, others])
    shared = shared / products[1, 1] + mean @ mean if products[1, 1] else 0.0
    return Artists(mean, max(float(variance / shared) - 1.0, 0.0) if shared > 0 else np.inf)


def for_prediction(tracks: Tracks, artists: Artists) -> Float64Array:
    """Return the rows whose products :func:`fit_prediction` takes, of tracks with factors and sound.

    Their shape is (tracks, 1 + dimensions + 2 factors).
    """
    tracks = tracks.only(tracks.has_factors & tracks.has_sound)
    return np.hstack([np.ones((len(tracks.count), 1)), tracks.sound, artists.believed(tracks), tracks.factors])


@dataclass(frozen=True)
class _Moments:
    """The sums of products about the means, in the directions of sound that vary independently."""

    count: float
    values: Float64Array
    basis: Float64Array
    artist: Float64Array
    factors: Float64Array
    of_artist: float
    of_both: float
    of_factors: float

    @classmethod
    def of(cls, products: Float64Array, size: int) -> _Moments:
        """Return the moments of products that :func:`fit_prediction` takes, with `size` factors."""
        count = float(products[0, 0])
        means = products[0] / max(count, 1.0)
        about = products - count * np.outer(means, means)
        sound, artist, factors = _places(len(products), size)
        values, basis = np.linalg.eigh(about[sound, sound])
        return cls(
            count,
            values.clip(min=0.0),
            basis,
            basis.T @ about[sound, artist],
            basis.T @ about[sound, factors],
            float(np.trace(about[artist, artist])),
            float(np.trace(about[artist, factors])),
            float(np.trace(about[factors, factors])),
        )

    def solve(self, ridge: float) -> tuple[Float64Array, float, float]:
        """Return the weights of sound, that of the artist, and the score of cross-validation, of one ridge."""
        inverse = np.divide(1.0, self.values + ridge, where=self.values + ridge > 0, out=np.zeros_like(self.values))
        # what the artist tells beside the sound, and how much of the factors that explains
        beside = self.of_artist - float(inverse @ np.square(self.artist).sum(axis=1))
        explained = self.of_both - float(inverse @ (self.artist * self.factors).sum(axis=1))
        weight = float(np.clip(explained / beside, 0.0, 1.0)) if beside > UNIT * self.of_artist else 0.0
        target = self.factors - weight * self.artist
        weights = inverse[:, None] * target
        left = self.of_factors - 2 * weight * self.of_both + weight**2 * self.of_artist
        left += float((np.square(weights).sum(axis=1) * self.values).sum() - 2 * (weights * target).sum())
        free = self.count - 1.0 - float(self.values @ inverse)
        return self.basis @ weights, weight, left / free**2 if free > 0.5 else np.inf


def fit_prediction(products: Float64Array, artists: Artists) -> dict[str, Float64Array]:
    """Fit how factors are predicted, as the arrays of an artefact.

    Parameters
    ----------
    products : float64, shape (1 + dimensions + 2 factors, 1 + dimensions + 2 factors)
        The sum of the outer products of the rows that :func:`for_prediction` returns.
    artists : Artists

    Returns
    -------
    dict of float64
        ``mean`` and ``intercept``, shape (factors,); ``sound``, shape (dimensions, factors), and ``sound_mean``,
        shape (dimensions,); ``artist``: its weight and shrinkage; ``explained``: the share of what factors differ
        by that is predicted of a track that was not fitted to, as cross-validation estimates it.
    """
    size = len(artists.mean)
    moments = _Moments.of(products, size)
    usual = moments.values.mean() if moments.values.any() else 1.0
    solved = [moments.solve(ridge) for ridge in _STRENGTHS * usual]
    weights, weight, score = min(solved, key=lambda of: of[2])
    without = moments.of_factors / max(moments.count - 1.0, 1.0) ** 2
    if not score < without:  # the mean predicts as well
        weights, weight, score = np.zeros_like(weights), 0.0, without
    means = products[0] / max(moments.count, 1.0)
    sound, artist, factors = _places(len(products), size)
    mean = means[factors] if moments.count else artists.mean
    return {
        "mean": artists.mean,
        "intercept": mean - means[sound] @ weights - weight * means[artist],
        "sound": weights,
        "sound_mean": means[sound],
        "artist": np.array([weight, artists.shrinkage]),
        "explained": np.array([1.0 - score / without if without > 0 else 0.0]),
    }


def _places(width: int, size: int) -> tuple[slice, slice, slice]:
    """Return where sound, artist and factors stand in rows of :func:`for_prediction`."""
    return slice(1, width - 2 * size), slice(width - 2 * size, width - size), slice(width - size, width)


def predict(tracks: Tracks, fitted: Mapping[str, Float64Array]) -> tuple[Float32Array, BoolArray]:
    """Return predicted factors, whether the tracks have some or not.

    Parameters
    ----------
    fitted : dict of float64
        As :func:`fit_prediction` returns it.

    Returns
    -------
    factors : float32, shape (n, factors)
    is_known : bool, shape (n,)
        Whether anything is known that they could be predicted from.
    """
    weight, shrinkage = fitted["artist"]
    sound = np.where(tracks.has_sound[:, None], tracks.sound, fitted["sound_mean"])
    found = fitted["intercept"] + sound @ fitted["sound"]
    found += weight * Artists(fitted["mean"], shrinkage).believed(tracks)
    # the last digits of products of matrices depend on how many rows there are
    return np.round(found, _DECIMALS).astype(np.float32), tracks.has_sound | (tracks.count > 0)
