"""A person's factors by alternating least squares for implicit feedback, when those of all tracks are fitted.

The method is of Hu, Koren and Volinsky (Collaborative Filtering for Implicit Feedback Datasets, 2008), in the
conventions of Spark's MLlib, which fits the tracks: a track that a person likes has the preference 1, every other
track 0; the confidence in it is 1, and more by the evidence; and the regularisation is times the number of tracks
that the person likes. What they call an explanation, the exact part that each liked track has in a score, is
:meth:`Folded.parts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from specrec.arrays import Float32Array, Float64Array


@dataclass(frozen=True)
class Folded:
    """A person's factors, and what they are the sum of.

    Attributes
    ----------
    by_track : float64, shape (tracks, factors)
        What each track that the person knows adds to the factors; zeros for those that are not liked, which shape
        what the others add.
    """

    by_track: Float64Array

    @property
    def factors(self) -> Float64Array:
        """The person's factors, float64, shape (factors,)."""
        total: Float64Array = self.by_track.sum(axis=0)
        return total

    def parts(self, vectors: Float64Array) -> Float64Array:
        """Return the part of each known track in the scores of others, float64, shape (others, tracks).

        Parameters
        ----------
        vectors : float64, shape (others, factors)
        """
        found: Float64Array = vectors @ self.by_track.T
        return found


def fold_in(gram: Float64Array, vectors: Float32Array, evidence: Float64Array, regularisation: float) -> Folded:
    """Return a person's factors by the tracks that the person knows.

    Parameters
    ----------
    gram : float64, shape (factors, factors)
        The sum of the outer products of all tracks' factors.
    vectors : float32, shape (tracks, factors)
        The factors of the tracks that the person knows; zeros where a track has none, which then counts for
        nothing.
    evidence : float64, shape (tracks,)
        How much is added to the confidence; above 0 where the person likes the track, below where not.
    regularisation : float

    Examples
    --------
    >>> tracks = np.eye(2, dtype=np.float32)
    >>> person = fold_in(tracks.T @ tracks, tracks[:1], np.array([3.0]), regularisation=1.0)
    >>> person.factors.round(3).tolist(), person.parts(tracks).round(3).tolist()
    ([0.8, 0.0], [[0.8], [0.0]])
    """
    known = vectors.astype(np.float64)
    has_factors = known.any(axis=1)
    likes = (evidence > 0) & has_factors
    by_track = np.zeros(known.shape)
    if likes.any():
        extra = np.abs(evidence)
        matrix = gram + (known * extra[:, None]).T @ known
        matrix[np.diag_indices_from(matrix)] += regularisation * likes.sum()
        wanted = known[likes] * (1 + extra[likes, None])
        by_track[likes] = cho_solve(cho_factor(matrix), wanted.T).T
    return Folded(by_track)
