"""How many people know a track and how much they like it, when little is believed of few people.

Both are estimates of empirical Bayes (Efron and Morris, Stein's estimation rule and its competitors, 1973): what is
believed of a track before anybody is heard is fitted to all tracks, by the likelihood of what was counted, and not
guessed. One person who likes a track does not make it the most liked one, and a track that nobody has heard yet is
judged by the others of its artist, as far as an artist's tracks are alike in this catalogue.

- How many know a track is Poisson, with a rate that is drawn from a Gamma distribution.
- How much each of these likes it, from 0 to 1, lies around the track's mean, and that mean around another.

The mean of either prior is that of the artist's **other** tracks, drawn towards that of all tracks. How strongly,
and how strongly a track is drawn to it, is where the likelihood is greatest.

What counts is the whole preference and not only whether it is above 0: who finds a track so-so tells of it too. On
real ratings (`make bench-listeners`) that gains one or two per cent over the number of people who like a track.

The score by popularity is the sum of two logarithms: of how many know the track, and of how much they like it. So
it is a sum of parts, each of which can be told and can have a weight of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import gammaln

from specrec.arrays import Float64Array, Int64Array

#: Strengths are looked for between these: as good as none, and as good as certain.
_LEAST, _MOST = 1e-2, 1e5
#: Where the search for strengths begins.
_FIRST = 5.0
#: Preferences from 0 to 1 vary by no less than this: else the first would be believed without any doubt.
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class Prior:
    """What is believed of a track before anybody is heard.

    Attributes
    ----------
    mean : float
        Of all tracks: people a track, or how much a person likes one, 0 to 1.
    artist : float
        How strongly an artist's mean is drawn to that of all: as by so many more tracks of the artist (of people),
        or by so many more people (of liking).
    track : float
        How strongly a track is drawn to its artist's mean: the shape of the Gamma distribution (of people), or as
        by so many more people (of liking).
    """

    mean: float
    artist: float
    track: float

    def of_artist(self, total: npt.ArrayLike, size: npt.ArrayLike) -> Float64Array:
        """Return what is expected of a track by the other tracks of its artist.

        Parameters
        ----------
        total, size : float64, shape (tracks,)
            Of these other tracks: of people, how many know them and how many tracks they are; of liking, the sum
            over people and how many people these are.
        """
        found: Float64Array = (np.asarray(total) + self.artist * self.mean) / (np.asarray(size) + self.artist)
        return found


@dataclass(frozen=True)
class Popularity:
    """The two priors, and what follows from them.

    Attributes
    ----------
    known : Prior
        How many people know a track.
    liking : Prior
        How much these like it, 0 to 1.

    Examples
    --------
    >>> known, artist = np.array([90, 80, 9, 8, 1, 0]), np.array([0, 0, 1, 2, -1, 0])
    >>> liking = np.array([60.0, 60.0, 2.0, 6.0, 1.0, 0.0])
    >>> popularity = fit_popularity(known, liking, 0.8 * liking, artist)
    >>> expected = popularity.expected(known, liking, artist)
    >>> expected.liking[4] < 1  # one person who likes a track does not make it the most liked
    np.True_
    >>> expected.liking[5] > expected.liking[2]  # nobody has heard it, and its artist is liked
    np.True_
    """

    known: Prior
    liking: Prior

    @property
    def usual(self) -> Float64Array:
        """The parts of the score by popularity of the mean track, float64, shape (2,)."""
        usual: Float64Array = np.log([self.known.mean, self.liking.mean])
        return usual

    @property
    def unheard(self) -> Float64Array:
        """The parts of a track that nobody knows, of no known artist, less the usual ones, float64, shape (2,)."""
        nobody = self.expected(np.zeros(1, np.int64), np.zeros(1), np.full(1, -1))
        parts: Float64Array = nobody.parts[0] - self.usual
        return parts

    def expected(self, known: Int64Array, liking: Float64Array, artist: Int64Array) -> Expected:
        """Return what is believed of each track.

        Parameters
        ----------
        known : int64, shape (tracks,)
            How many people know it.
        liking : float64, shape (tracks,)
            The sum of how much each of these likes it: (1 + preference) / 2.
        artist : int64, shape (tracks,)
            Numbers of artists; -1: nobody knows whose the track is.
        """
        tracks, of_artist = others_of_artist(artist, np.ones(len(known))), others_of_artist(artist, known)
        rate = self.known.of_artist(of_artist, tracks)
        mean = self.liking.of_artist(others_of_artist(artist, liking), of_artist)
        return Expected(
            (known + self.known.track) / (1 + self.known.track / rate),
            (liking + self.liking.track * mean) / (known + self.liking.track),
        )


@dataclass(frozen=True)
class Expected:
    """What is believed of tracks.

    Attributes
    ----------
    known : float64, shape (tracks,)
        How many people know it, above 0.
    liking : float64, shape (tracks,)
        How much these like it, above 0, at most 1.
    """

    known: Float64Array
    liking: Float64Array

    @property
    def parts(self) -> Float64Array:
        """The parts of the score by popularity, float64, shape (tracks, 2): logarithms of people and of liking."""
        return np.log(np.stack([self.known, self.liking], axis=1))


def fit_popularity(
    known: Int64Array, liking: Float64Array, squares: Float64Array, artist: Int64Array
) -> Popularity:
    """Fit what is believed of a track before anybody is heard to all tracks; some 10,000 of them will do.

    Parameters
    ----------
    known : int64, shape (tracks,)
        How many people know each track.
    liking, squares : float64, shape (tracks,)
        Sums, over these people, of how much each likes it, (1 + preference) / 2, and of the square of that.
    artist : int64, shape (tracks,)
        Numbers of artists; -1: none. Of a sample of tracks, take all of an artist's or none.

    Returns
    -------
    Popularity
        Where nobody's opinion is known, the strengths are those that the search would begin with.
    """
    tracks, of_artist = others_of_artist(artist, np.ones(len(known))), others_of_artist(artist, known)
    liking_of_artist = others_of_artist(artist, liking)
    people = float(known.sum())
    # one more person who half likes one, lest a mean be 0
    mean_known, mean_liking = (people + 1) / (len(known) + 1), (float(liking.sum()) + 0.5) / (people + 1)
    heard = known > 0
    size = known[heard].astype(np.float64)
    mean = liking[heard] / size
    variance = _variance_within(size, mean, squares[heard], mean_liking)

    def of_known(strengths: Float64Array) -> float:
        rate = Prior(mean_known, *strengths).of_artist(of_artist, tracks)
        return -float(_negative_binomial(known, strengths[1], rate).sum())

    def of_liking(strengths: Float64Array) -> float:
        expected = Prior(mean_liking, *strengths).of_artist(liking_of_artist, of_artist)[heard]
        around = variance / strengths[1] + variance / size
        return 0.5 * float((np.log(around) + np.square(mean - expected) / around).sum())

    return Popularity(
        Prior(mean_known, *_most_likely(of_known) if people else (_FIRST, _FIRST)),
        Prior(mean_liking, *_most_likely(of_liking) if people else (_FIRST, _FIRST)),
    )


def others_of_artist(artist: Int64Array, values: npt.ArrayLike) -> Float64Array:
    """Return, of each track, the sum of values of the artist's other tracks; 0 where no artist is known.

    Parameters
    ----------
    artist : int64, shape (tracks,)
        Numbers of artists; -1: none.
    values : shape (tracks,)

    Examples
    --------
    >>> others_of_artist(np.array([3, 5, 3, -1, -1]), [1, 2, 4, 8, 16]).tolist()
    [4.0, 0.0, 1.0, 0.0, 0.0]
    """
    number = np.unique(artist, return_inverse=True)[1]
    own = np.asarray(values, np.float64)
    totals = np.bincount(number, own, minlength=1)
    return np.where(artist < 0, 0.0, totals[number] - own)


def _variance_within(size: Float64Array, mean: Float64Array, squares: Float64Array, of_all: float) -> float:
    """Return by how much people differ about the same track; as likes and dislikes would, where that is unknown."""
    freedom = size.sum() - len(size)
    if freedom < 1:
        return max(of_all * (1 - of_all), _LEAST_VARIANCE)
    return max(float((squares - size * np.square(mean)).sum() / freedom), _LEAST_VARIANCE)


def _negative_binomial(count: Int64Array, shape: float, mean: Float64Array) -> Float64Array:
    """Return log-likelihoods of Poisson counts whose rate is Gamma, less what depends on the counts alone."""
    log_likelihood: Float64Array = (
        gammaln(count + shape)
        - gammaln(shape)
        + shape * np.log(shape / (shape + mean))
        + count * np.log(mean / (shape + mean))
    )
    return log_likelihood


def _most_likely(loss: Callable[[Float64Array], float]) -> tuple[float, float]:
    """Return the two strengths, of the artist and of the track, of the least loss."""
    found = minimize(
        lambda logs: loss(np.exp(logs)),
        np.full(2, np.log(_FIRST)),
        method="L-BFGS-B",
        bounds=[(np.log(_LEAST), np.log(_MOST))] * 2,
    )
    artist, track = np.exp(found.x)
    return float(artist), float(track)
