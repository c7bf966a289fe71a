"""Which excerpts of two tracks sound most alike, so that a player can let a person hear why."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from specrec.arrays import Float64Array, Int64Array

#: About so many cosines are in memory at once.
_BLOCK = 1 << 20


def best_pairs(a: npt.NDArray[np.int8], b: npt.NDArray[np.int8]) -> tuple[Int64Array, Int64Array]:
    """Return which excerpt of each track matches which of the track beside it best, by cosine.

    Of equal pairs it is the earliest in `a`, then in `b`. An excerpt of zeros (silence, padding) is as unlike any
    other as can be; where there is nothing else, both excerpts are the first.

    Parameters
    ----------
    a, b : int8, shapes (pairs, excerpts of a, numbers) and (pairs, excerpts of b, numbers)
        Of :func:`specrec.embedding.excerpts.decode`: vectors of length 127, about, or 0.

    Returns
    -------
    int64, shape (pairs,), twice : index of the excerpt of `a`, and of `b`.

    Examples
    --------
    >>> a = np.array([[[0, 100], [100, 0]]], np.int8)
    >>> b = np.array([[[90, 10], [60, 60]]], np.int8)
    >>> best_pairs(a, b)
    (array([1]), array([0]))
    """
    best = np.zeros(len(a), np.int64)
    rows = max(1, _BLOCK // max(1, a.shape[1] * b.shape[1]))
    for start in range(0, len(a), rows):
        block = slice(start, start + rows)
        best[block] = _likeness(a[block], b[block]).reshape(len(a[block]), -1).argmax(axis=1)
    return np.divmod(best, b.shape[1])


def _likeness(a: npt.NDArray[np.int8], b: npt.NDArray[np.int8]) -> Float64Array:
    """Return the squared cosines with their sign, shape (pairs, excerpts of a, excerpts of b); -1 for zeros.

    Products of so small integers add up exactly in float32, and a square needs no root: equal pairs are equal to
    the last bit, and which is best does not depend on the machine.
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    products = (a @ b.transpose(0, 2, 1)).astype(np.float64)
    squares = np.square(a).sum(axis=2)[:, :, None] * np.square(b).sum(axis=2, dtype=np.float64)[:, None, :]
    signed = products * np.abs(products)
    likeness: Float64Array = np.divide(signed, squares, out=np.full_like(signed, -1), where=squares > 0)
    return likeness
