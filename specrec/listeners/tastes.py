"""What each person of a block likes, as vectors that tracks are scored by. No Spark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.listeners.als import fold_in


@dataclass(frozen=True)
class Preferences:
    """The preferences of a block of people, sorted by person, then by track.

    Attributes
    ----------
    owner : int64, shape (preferences,)
        Whose it is, 0 to people - 1, ascending.
    track : int64, shape (preferences,)
        The code of the track.
    evidence : float64, shape (preferences,)
        Preference times confidence: above 0 where the person likes the track, below where not.
    group : int64, shape (preferences,)
        The code of the recording that the track is one of several tracks of; 0: it is of none.
    als : float32, shape (preferences, factors)
        The track's factors; zeros where it has none.
    content : float32, shape (preferences, dimensions)
        The track's vector in the space that content is judged by, of length 1; zeros where it has none.
    """

    owner: Int64Array
    track: Int64Array
    evidence: Float64Array
    group: Int64Array
    als: Float32Array
    content: Float32Array


def share_of_evidence(owner: Int64Array, evidence: Float64Array, people: int) -> Float64Array:
    """Return each preference's evidence as a share of all that is known of its person, shape (preferences,).

    Without signs the shares of a person add up to 1.

    Examples
    --------
    >>> share_of_evidence(np.array([0, 0, 1]), np.array([3.0, -1.0, 2.0]), people=2).tolist()
    [0.75, -0.25, 1.0]
    """
    total = np.bincount(owner, np.abs(evidence), minlength=people)
    return np.divide(evidence, total[owner], out=np.zeros(len(evidence)), where=total[owner] > 0)


def profiles(of: Preferences, people: int) -> Float32Array:
    """Return what people like to hear, shape (people, dimensions), float32: the mean of their tracks' vectors.

    A track counts by its share of the evidence, and one that is disliked counts against. The product with a track's
    vector of length 1 is then the mean of its cosines with them.
    """
    shares = share_of_evidence(of.owner, of.evidence, people)
    found = np.zeros((people, of.content.shape[1]))
    np.add.at(found, of.owner, of.content * shares[:, None])
    return found.astype(np.float32)


def factors(of: Preferences, people: int, gram: Float64Array, alpha: float, regularisation: float) -> Float32Array:
    """Return people's factors, shape (people, factors), float32, by the tracks' that are fitted; zeros of nobody's.

    Parameters
    ----------
    gram : float64, shape (factors, factors)
        The sum of the outer products of all tracks' factors.
    alpha, regularisation : float
        As the factors were fitted with.
    """
    found = np.zeros((people, len(gram)), np.float32)
    starts = np.searchsorted(of.owner, np.arange(people + 1))
    for person in range(people):  # a solution of one system of equations each
        some = slice(starts[person], starts[person + 1])
        if some.start < some.stop:
            solved = fold_in(gram, of.als[some], alpha * of.evidence[some], regularisation)
            found[person] = solved.factors
    return found
