"""The nearest tracks to a few vectors, in one pass over a table of any size.

The kernel of the nightly search compares batch after batch with the queries, and what is kept is each query's
nearest so far: memory does not grow with the catalogue. FAISS would compute the same products, and importing it
takes longer than comparing a song with a hundred thousand tracks does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specrec.errors import SpecrecError
from specrec.neighbours.kernel import (
    FloatArray,
    IntArray,
    Items,
    Queries,
    Vectors,
    best_first,
    has_direction,
    positions,
    search,
)


@dataclass(frozen=True)
class Nearest:
    """The nearest tracks of some queries, grouped by query, best first; equal cosines by track_id.

    Attributes
    ----------
    rows : int64, shape (n,): whose they are.
    ids : track ids, Arrow strings, shape (n,).
    cosines : float64, shape (n,).
    """

    rows: IntArray
    ids: pa.Array
    cosines: FloatArray

    def of(self, query: int) -> list[tuple[str, float]]:
        """Return the nearest tracks of one query, and their cosines."""
        own = np.flatnonzero(self.rows == query)
        return list(zip(self.ids.take(pa.array(own)).to_pylist(), self.cosines[own].tolist(), strict=True))


def nearest(queries: Vectors, batches: Iterable[pa.RecordBatch], top_n: int) -> Nearest:
    """Return each query's `top_n` nearest tracks, whatever the order and the size of the batches.

    Parameters
    ----------
    queries : float32, shape (queries, dimensions); none may be zero.
    batches : ``track_id, vector``. A track whose vector is zero or not finite is near to nothing.

    Raises
    ------
    SpecrecError
        If the vectors are not of the queries' length.
    """
    everyone = np.arange(len(queries), dtype=np.int32)
    asked = Queries(
        vectors=queries,
        thresholds=np.full(len(queries), -np.inf),
        own=np.full(len(queries), -1, np.int64),
        is_new=np.zeros(len(queries), np.bool_),
        probe_rows=everyone,
        probe_cells=np.zeros(len(queries), np.int32),
    )
    found = Nearest(np.zeros(0, np.int64), pa.array([], pa.string()), np.zeros(0))
    for batch in batches:
        items = _items(batch, queries.shape[1])
        near, _ = search(asked, items, top_n)
        rows = np.concatenate([found.rows, near.rows])
        ids = pa.concat_arrays([found.ids, items.ids.take(pa.array(near.columns))])
        cosines = np.concatenate([found.cosines, near.cosines])
        order = best_first(rows, cosines, pc.rank(ids).to_numpy(), top_n)
        found = Nearest(rows[order], ids.take(pa.array(order)), cosines[order])
        last = positions(found.rows) == top_n - 1
        asked.thresholds[found.rows[last]] = found.cosines[last]
    return found


def _items(batch: pa.RecordBatch, dimensions: int) -> Items:
    """Return a batch as the kernel takes it: all in one cell, and no list to enter."""
    lengths = pc.list_value_length(batch.column("vector")).to_numpy(zero_copy_only=False)
    if (lengths != dimensions).any():
        raise SpecrecError(
            f"the catalogue's vectors have {lengths.max()} dimensions, and the song's has {dimensions}: give the "
            "configuration that the night ran with, or run `specrec nightly` with this one"
        )
    vectors: npt.NDArray[np.float32] = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
    vectors = vectors.astype(np.float32, copy=False).reshape(-1, dimensions)
    good = has_direction(vectors)
    ids = batch.column("track_id")
    if not good.all():
        vectors, ids = vectors[good], ids.filter(pa.array(good))
    return Items(ids, vectors, np.zeros(len(vectors), np.int32), np.full(len(vectors), np.inf))
