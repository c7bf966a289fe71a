"""Few tracks are compared with all: each task compares them with the tracks that it has. No Spark.

Where a night searches a handful of tracks among millions, every vector would be shuffled to the block of its cell,
to meet nobody there. The few go to all tasks instead, and only what is found comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import BoolArray, Float64Array, Int64Array, Vectors
from specrec.neighbours.kernel import Items, Pairs, Queries, best_first, distances_of, search
from specrec.neighbours.search import (
    NEW,
    PACKED,
    PIECE,
    SETTLED,
    Batches,
    PackedRow,
    Together,
    nearest_entering,
    packed_rows,
    piece_of,
    thresholds,
)

#: What comparing finds: neighbours of the wanted tracks, with the cells that these neighbours lie in; and, where
#: `is_entering`, wanted tracks that may enter the list of another.
SCANNED = pa.schema(
    {
        "space": pa.string(),
        "track_id": pa.string(),
        "neighbour_id": pa.string(),
        "cosine": pa.float64(),
        "euclidean": pa.float64(),
        "input_hash": pa.string(),
        "cell": pa.int32(),
        "is_entering": pa.bool_(),
    }
)


@dataclass(frozen=True)
class Wanted:
    """Tracks of one space whose nearest are wanted.

    Attributes
    ----------
    ids, hashes : Arrow array of strings, shape (n,)
        ``track_id`` and ``input_hash``.
    vectors : float32, shape (n, dimensions)
    is_new : bool, shape (n,)
        Whether a track may enter the lists of others.
    """

    ids: pa.Array
    hashes: pa.Array
    vectors: Vectors
    is_new: BoolArray

    @classmethod
    def only(cls, ids: Iterable[str], vectors: Vectors) -> Wanted:
        """Return tracks that enter nobody's list, and whose hashes nobody asks for."""
        names = pa.array(ids, pa.string())
        return cls(names, pa.nulls(len(names), pa.string()), vectors, np.zeros(len(names), bool))


def picking(batches: Batches) -> Batches:
    """Yield, of packed tracks, those that are searched: rows of :data:`~specrec.neighbours.search.PACKED`."""
    for row in packed_rows(batches):
        if row.number("kind") == PIECE:
            states = row.array("states", np.int8)
            some = np.flatnonzero(states != SETTLED)
            if len(some):
                yield piece_of(row, some, target=-1)


def picked(table: pa.Table) -> dict[str, Wanted]:
    """Return what :func:`picking` yielded, by space, in the order of their cells and ids."""
    found = {}
    rows = list(packed_rows(iter(table.cast(PACKED).to_batches())))
    for space in sorted({row.space for row in rows}):
        tracks = Together.join([row for row in rows if row.space == space])
        found[space] = Wanted(tracks.items.ids, tracks.hashes, tracks.items.vectors, tracks.states == NEW)
    return found


def comparing_with_all(wanted: Mapping[str, Wanted], top_n: int) -> Callable[[Batches], Batches]:
    """Return what compares some tracks with all tracks of a task.

    Parameters
    ----------
    wanted : mapping of Wanted
        By space.
    top_n : int
        How many neighbours a track has.

    Returns
    -------
    callable
        Takes packed tracks, and yields rows of :data:`SCANNED`: of each wanted track the nearest of the task's
        tracks, best first; and whoever may enter the lists of these.

    Examples
    --------
    >>> from specrec.neighbours.search import STALE, packing
    >>> columns = {"space": ["features"] * 3, "track_id": ["a", "b", "c"], "input_hash": ["1", "2", "3"]}
    >>> columns |= {"vector": [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], "state": [SETTLED, SETTLED, STALE]}
    >>> columns |= {"floor": [0.0, 0.0, np.inf]}
    >>> one_cell = {"features": np.ones((1, 2), np.float32)}
    >>> packed = list(packing(one_cell)(iter([pa.RecordBatch.from_pydict(columns)])))
    >>> wanted = picked(pa.Table.from_batches(picking(iter(packed))))
    >>> [found] = comparing_with_all(wanted, top_n=1)(iter(packed))
    >>> found.select(["track_id", "neighbour_id"]).to_pylist()
    [{'track_id': 'c', 'neighbour_id': 'a'}]
    """

    def compare(batches: Batches) -> Batches:
        best: dict[str, _Nearest] = {}
        for row in packed_rows(batches):
            if row.number("kind") != PIECE or row.space not in wanted:
                continue
            mine, cells = wanted[row.space], row.array("cells", np.int32)
            so_far = best.get(row.space)
            # every item is compared, as if all lay in one cell
            items = Items(
                row.texts("ids"), row.vectors(), np.zeros(len(cells), np.int32), row.array("floors", np.float64)
            )
            queries = _queries(mine, items, so_far, top_n)
            nearest, entering = search(queries, items, top_n)
            found = _Nearest(
                nearest.rows,
                items.ids.take(pa.array(nearest.columns)),
                nearest.cosines,
                distances_of(queries.vectors, nearest.rows, items.vectors, nearest.columns),
                cells[nearest.columns],
            )
            best[row.space] = found if so_far is None else so_far.joined(found, top_n)
            if len(entering):
                yield _entering(entering, row, mine, items, top_n)
        for space, found in best.items():
            yield found.as_batch(space, wanted[space])

    return compare


def _queries(wanted: Wanted, items: Items, so_far: _Nearest | None, top_n: int) -> Queries:
    count = len(wanted.ids)
    known = np.full(count, -np.inf)
    if so_far is not None:
        known = thresholds(so_far.rows, so_far.cosines, count, top_n)
    return Queries(
        vectors=wanted.vectors,
        thresholds=known,
        own=pc.index_in(wanted.ids, items.ids).fill_null(-1).to_numpy().astype(np.int64),
        is_new=wanted.is_new,
        probe_rows=np.arange(count, dtype=np.int32),
        probe_cells=np.zeros(count, np.int32),
    )


@dataclass(frozen=True)
class _Nearest:
    """The nearest of wanted tracks, by their places: grouped by these, best first."""

    rows: Int64Array
    names: pa.Array
    cosines: Float64Array
    distances: Float64Array
    cells: npt.NDArray[np.int32]

    def joined(self, more: _Nearest, top_n: int) -> _Nearest:
        rows = np.concatenate([self.rows, more.rows])
        names = pa.concat_arrays([self.names, more.names])
        cosines = np.concatenate([self.cosines, more.cosines])
        order = best_first(rows, cosines, pc.rank(names, tiebreaker="dense").to_numpy(), top_n)
        return _Nearest(
            rows[order],
            names.take(pa.array(order)),
            cosines[order],
            np.concatenate([self.distances, more.distances])[order],
            np.concatenate([self.cells, more.cells])[order],
        )

    def as_batch(self, space: str, wanted: Wanted) -> pa.RecordBatch:
        who = pa.array(self.rows)
        return _batch(
            space,
            track_id=wanted.ids.take(who),
            neighbour_id=self.names,
            cosine=self.cosines,
            euclidean=self.distances,
            input_hash=wanted.hashes.take(who),
            cell=self.cells,
            is_entering=False,
        )


def _entering(pairs: Pairs, row: PackedRow, wanted: Wanted, items: Items, top_n: int) -> pa.RecordBatch:
    """Return of each item those that may enter its list: the nearest, as many as a list has places."""
    pairs = nearest_entering(pairs, wanted.ids, top_n)
    at = pa.array(pairs.columns)
    return _batch(
        row.space,
        track_id=items.ids.take(at),
        neighbour_id=wanted.ids.take(pa.array(pairs.rows)),
        cosine=pairs.cosines,
        euclidean=distances_of(wanted.vectors, pairs.rows, items.vectors, pairs.columns),
        input_hash=row.texts("hashes").take(at),
        cell=np.zeros(len(pairs), np.int32),
        is_entering=True,
    )


def _batch(space: str, *, is_entering: bool, **columns: object) -> pa.RecordBatch:
    rows = len(columns["cosine"])  # type: ignore[arg-type]
    told = {"space": pa.repeat(space, rows), **columns, "is_entering": pa.repeat(is_entering, rows)}
    return pa.RecordBatch.from_arrays([pa.array(told[field.name], field.type) for field in SCANNED], schema=SCANNED)
