"""The nearest tracks to a few vectors, in one pass over a table of any size.

Batch after batch is compared with the queries by one product of matrices, and what is kept is each query's nearest
so far: memory does not grow with the catalogue. As in the nightly search, float32 chooses candidates, generously,
and cosines in float64 settle them. A flat index of FAISS computes the same products, but over a normalised copy of
the vectors: for a single pass that took five times as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import Float32Array, Float64Array, Int64Array, Vectors
from specrec.errors import SpecrecError
from specrec.neighbours.kernel import best_first, cosines_of, last_of_best, positions, unit

#: More than float32 takes from, or adds to, the product of two unit vectors.
_SLACK = np.float32(1e-5)


@dataclass(frozen=True)
class Nearest:
    """The nearest tracks of some queries, grouped by query, best first; equal cosines by track_id.

    Attributes
    ----------
    rows : int64, shape (n,)
        Whose they are.
    ids : Arrow array of strings, shape (n,)
        Track ids.
    cosines : float64, shape (n,)
    """

    rows: Int64Array
    ids: pa.Array
    cosines: Float64Array

    def of(self, query: int) -> list[tuple[str, float]]:
        """Return the nearest tracks of one query, and their cosines."""
        own = np.flatnonzero(self.rows == query)
        return list(zip(self.ids.take(pa.array(own)).to_pylist(), self.cosines[own].tolist(), strict=True))


def nearest(queries: Vectors, batches: Iterable[pa.RecordBatch], top_n: int) -> Nearest:
    """Return each query's `top_n` nearest tracks, whatever the order and the size of the batches.

    Parameters
    ----------
    queries : float32, shape (queries, dimensions)
        None may be zero.
    batches : iterable of pa.RecordBatch
        ``track_id, vector``. A track whose vector is zero or not finite is near to nothing.

    Raises
    ------
    SpecrecError
        If the vectors are not of the queries' length.

    Examples
    --------
    >>> tracks = {"track_id": ["a", "b", "c"], "vector": [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]}
    >>> found = nearest(np.array([[1, 0]], np.float32), [pa.RecordBatch.from_pydict(tracks)], top_n=2)
    >>> [(name, round(cosine, 3)) for name, cosine in found.of(0)]
    [('a', 1.0), ('b', 0.8)]
    """
    unit_queries, last = unit(queries), np.full(len(queries), -np.inf, np.float32)
    found = Nearest(np.zeros(0, np.int64), pa.array([], pa.string()), np.zeros(0))
    for batch in batches:
        vectors = _vectors(batch, queries.shape[1])
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        products = unit_queries @ vectors.T
        good = np.isfinite(lengths) & (lengths > 0)
        products = np.divide(products, lengths, out=np.full_like(products, -np.inf), where=good)
        last = np.maximum(last, last_of_best(products, top_n))
        # a vector without a direction has the product -inf, and -2 is less than any other
        rows, columns = np.nonzero(products >= np.maximum(last - _SLACK, np.float32(-2))[:, None])
        cosines = np.concatenate([found.cosines, cosines_of(queries, rows, vectors, columns)])
        rows = np.concatenate([found.rows, rows])
        ids = pa.concat_arrays([found.ids, batch.column("track_id").take(pa.array(columns))])
        order = best_first(rows, cosines, pc.rank(ids).to_numpy(), top_n)
        found = Nearest(rows[order], ids.take(pa.array(order)), cosines[order])
        full = positions(found.rows) == top_n - 1
        last[found.rows[full]] = found.cosines[full].astype(np.float32)
    return found


def _vectors(batch: pa.RecordBatch, dimensions: int) -> Vectors:
    """Return the vectors of a batch, float32, shape (tracks, dimensions)."""
    lengths = pc.list_value_length(batch.column("vector")).to_numpy(zero_copy_only=False)
    if (lengths != dimensions).any():
        raise SpecrecError(
            f"the catalogue's vectors have {lengths.max()} dimensions, and the song's has {dimensions}: give the "
            "configuration that the night ran with, or run `specrec nightly` with this one"
        )
    vectors: Float32Array = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
    return vectors.astype(np.float32, copy=False).reshape(-1, dimensions)
