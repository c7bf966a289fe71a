"""The steps of the search, each inside one task: Arrow batches of packed tracks in, Arrow batches out. No Spark.

Tracks travel packed, a block of some thousand in one row: Spark moves few large rows, and Python reads their
vectors without a copy. The steps, between which :mod:`specrec.neighbours.spark` brings together what has one
target:

1. *pack*: tracks are packed in the order of their cells;
2. *scatter*: they go to the block that their cell lies in;
3. *meet at home*: in its own block a track finds its first neighbours. With the cosine of the last of them as a
   threshold it goes, once, to each other block in which it probes a cell;
4. *meet abroad*: there it is compared with those cells, and only what beats the threshold comes back;
5. *merge*: the home block ranks what was found.

A settled track, whose list still stands, is not sent. Where a new track is compared with it and beats the last of
its list, it is a candidate for that list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import Float64Array, Int64Array, Vectors
from specrec.errors import SpecrecError
from specrec.neighbours.cells import UNSEARCHABLE, CellLayout
from specrec.neighbours.kernel import (
    Items,
    Pairs,
    Queries,
    best_first,
    distances_of,
    has_direction,
    nearest_cells,
    positions,
    runs,
    search,
)

Batches = Iterator[pa.RecordBatch]

#: States of a track. SETTLED: its list stands. STALE: its list must be found anew. NEW: so must it, and besides the
#: track may enter the lists of settled tracks, which do not know it yet.
SETTLED, STALE, NEW = 0, 1, 2

#: Kinds of packed rows, in the order in which a task needs them: tracks on their way to their block; the tracks of
#: a block; their ids alone; tracks that look for neighbours in another block; neighbours that were found; new
#: tracks that may enter a list.
PIECE, _ITEMS, _IDS, _QUERIES, _NEAREST, _ENTERING = range(6)

_QUERIES_AT_ONCE = 1 << 14
_ROWS_AT_ONCE = 1 << 16

PACKED = pa.schema(
    {
        "space": pa.string(),
        "target": pa.int32(),  # the target that it goes to
        "kind": pa.int32(),
        "dimensions": pa.int32(),
        "ids": pa.list_(pa.string()),
        "hashes": pa.list_(pa.string()),
        "vectors": pa.binary(),  # float32
        "cells": pa.binary(),  # int32
        "floors": pa.binary(),  # float64: what a new neighbour of an item must reach; the threshold of a query
        "states": pa.binary(),  # int8
        "places": pa.binary(),  # int64: where a query, or what is found for one, is in its home block
        "home": pa.int32(),  # the target that wants the answer
        "probe_rows": pa.binary(),  # int32
        "probe_cells": pa.binary(),  # int32
        "cosines": pa.binary(),  # float64
        "distances": pa.binary(),  # float64
    }
)
FOUND = pa.schema(
    {
        "space": pa.string(),
        "track_id": pa.string(),
        "rank": pa.int32(),
        "neighbour_id": pa.string(),
        "cosine": pa.float64(),
        "euclidean": pa.float64(),
        "input_hash": pa.string(),
    }
)
COUNTS = pa.schema({"space": pa.string(), "cell": pa.int32(), "n": pa.int64()})


def counting(batches: Batches) -> Batches:
    """Yield how many of the packed tracks lie in each cell of each space: rows of :data:`COUNTS`."""
    for row in packed_rows(batches):
        cells, counts = np.unique(row.array("cells", np.int32), return_counts=True)
        rows = {"space": [row.space] * len(cells), "cell": cells, "n": counts}
        yield pa.RecordBatch.from_pydict(rows, COUNTS)


class PackedRow:
    """A row of :data:`PACKED`: its arrays are views of Arrow's memory."""

    def __init__(self, batch: pa.RecordBatch, index: int) -> None:
        self._batch, self._index = batch, index
        self.space: str = batch.column("space")[index].as_py()

    def number(self, name: str) -> int:
        """Return a column of whole numbers."""
        value: int = self._batch.column(name)[self._index].as_py()
        return value

    def array(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return a column of bytes as the numbers that they are."""
        return np.frombuffer(self._batch.column(name)[self._index].as_buffer(), dtype)

    def vectors(self) -> Vectors:
        """Return the vectors, float32, shape (tracks, dimensions)."""
        vectors: Vectors = self.array("vectors", np.float32).reshape(-1, self.number("dimensions"))
        return vectors

    def texts(self, name: str) -> pa.Array:
        """Return a column of lists of strings as the strings."""
        return self._batch.column(name)[self._index].values

    def as_batch(self) -> pa.RecordBatch:
        """Return it alone, as it came."""
        return self._batch.slice(self._index, 1)


def packed_rows(batches: Batches) -> Iterator[PackedRow]:
    """Yield the rows of batches of packed tracks, one by one."""
    for batch in batches:
        for index in range(batch.num_rows):
            yield PackedRow(batch, index)


def _items(row: PackedRow) -> Items:
    return Items(row.texts("ids"), row.vectors(), row.array("cells", np.int32), row.array("floors", np.float64))


def _by_target(batches: Batches) -> Iterator[tuple[int, Iterator[PackedRow]]]:
    return groupby(packed_rows(batches), key=lambda row: row.number("target"))


def packed_row(**values: Any) -> pa.RecordBatch:
    """Return a batch of one row of :data:`PACKED`; what is not given is null."""
    columns = []
    for field in PACKED:
        value = values.get(field.name)
        if value is None:
            column = pa.nulls(1, field.type)
        elif pa.types.is_list(field.type):
            column = pa.ListArray.from_arrays(pa.array([0, len(value)], pa.int32()), pa.array(value, pa.string()))
        elif pa.types.is_binary(field.type):
            column = pa.array([np.ascontiguousarray(value).tobytes()], field.type)
        else:
            column = pa.array([value], field.type)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=PACKED)


def packing(centroids: dict[str, Vectors]) -> Callable[[Batches], Batches]:
    """Return what packs rows of tracks, those of one batch and space in one row, in the order of their cells.

    Parameters
    ----------
    centroids : dict of float32, shape (cells, dimensions)
        By space. With one cell, all tracks lie in it.

    Returns
    -------
    callable
        Takes ``space, track_id, input_hash, vector, state, floor`` and yields rows of :data:`PACKED`; tracks whose
        vectors have no direction are in rows of their own, without the vectors.

    Examples
    --------
    >>> columns = {"space": ["features"] * 2, "track_id": ["a", "b"], "input_hash": ["1", "2"]}
    >>> columns |= {"vector": [[0.0, 1.0], [1.0, 0.0]], "state": [NEW, NEW], "floor": [-1.0, -1.0]}
    >>> cells = {"features": np.eye(2, dtype=np.float32)}
    >>> [packed] = packing(cells)(iter([pa.RecordBatch.from_pydict(columns)]))
    >>> packed.column("ids").to_pylist()
    [['b', 'a']]
    """

    def pack_batches(batches: Batches) -> Batches:
        for batch in batches:
            for space in pc.unique(batch.column("space")).to_pylist():
                yield from _pack_space(
                    space, batch.filter(pc.equal(batch.column("space"), space)), centroids[space]
                )

    return pack_batches


def _pack_space(space: str, tracks: pa.RecordBatch, centroids: Vectors) -> Batches:
    lengths = pc.list_value_length(tracks.column("vector")).to_numpy(zero_copy_only=False)
    _check_lengths(space, {*lengths.tolist(), centroids.shape[1] if len(centroids) > 1 else lengths[0]})
    vectors = tracks.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(len(lengths), -1)
    vectors = vectors.astype(np.float32, copy=False)
    ids, hashes = tracks.column("track_id"), tracks.column("input_hash")
    good = has_direction(vectors)
    common = {"space": space, "target": -1, "dimensions": vectors.shape[1]}
    if not good.all():
        cells = np.full((~good).sum(), UNSEARCHABLE, np.int32)
        yield packed_row(**common, kind=UNSEARCHABLE, ids=ids.filter(pa.array(~good)), cells=cells)
    if not good.any():
        return
    cells = nearest_cells(vectors[good], centroids, 1)[:, 0]
    order = np.argsort(cells, kind="stable")
    places = np.flatnonzero(good)[order]
    yield packed_row(
        **common,
        kind=PIECE,
        ids=ids.take(pa.array(places)),
        hashes=hashes.take(pa.array(places)),
        vectors=vectors[places],
        cells=cells[order],
        floors=tracks.column("floor").to_numpy(zero_copy_only=False)[places].astype(np.float64),
        states=tracks.column("state").to_numpy(zero_copy_only=False)[places].astype(np.int8),
    )


def _check_lengths(space: str, lengths: set[int]) -> None:
    if len(lengths) > 1:
        raise SpecrecError(different_lengths(space))


def different_lengths(space: str) -> str:
    """Return what to say of a space whose vectors cannot be compared."""
    return f"the vectors of the space {space} are not all of one length: run the job once with --refit"


def scattering(layouts: dict[str, CellLayout]) -> Callable[[Batches], Batches]:
    """Return what cuts packed tracks into pieces, one for each block that some of them lie in; layouts by space."""

    def scatter(batches: Batches) -> Batches:
        for row in packed_rows(batches):
            layout, ids = layouts[row.space], row.texts("ids")
            of_id = pd.util.hash_array(np.asarray(ids.to_numpy(zero_copy_only=False), object), categorize=False)
            homes = layout.home(row.array("cells", np.int32), of_id)
            order = np.argsort(homes, kind="stable")
            for home, at in runs(homes[order]):
                yield piece_of(row, order[at], layout.target(home))

    return scatter


def piece_of(row: PackedRow, some: Int64Array, target: int) -> pa.RecordBatch:
    """Return some tracks of a packed row, by their places, as a row of their own for a target."""
    vectors, at = row.vectors(), pa.array(some)
    return packed_row(
        space=row.space,
        target=target,
        kind=PIECE,
        dimensions=vectors.shape[1],
        ids=row.texts("ids").take(at),
        hashes=row.texts("hashes").take(at),
        vectors=vectors[some],
        cells=row.array("cells", np.int32)[some],
        floors=row.array("floors", np.float64)[some],
        states=row.array("states", np.int8)[some],
    )


@dataclass(frozen=True)
class Together:
    """Tracks of several pieces, in the order of their cells and ids, whatever order they came in."""

    hashes: pa.Array
    items: Items
    states: npt.NDArray[np.int8]

    @classmethod
    def join(cls, rows: Sequence[PackedRow]) -> Together:
        """Return the tracks of pieces of one space."""
        _check_lengths(rows[0].space, {row.number("dimensions") for row in rows})
        ids = pa.concat_arrays([row.texts("ids") for row in rows])
        cells = np.concatenate([row.array("cells", np.int32) for row in rows])
        order = np.lexsort((pc.rank(ids).to_numpy(), cells))
        ids = ids.take(pa.array(order))
        vectors = np.concatenate([row.vectors() for row in rows])[order]
        floors = np.concatenate([row.array("floors", np.float64) for row in rows])[order]
        return cls(
            hashes=pa.concat_arrays([row.texts("hashes") for row in rows]).take(pa.array(order)),
            items=Items(ids, vectors, cells[order], floors),
            states=np.concatenate([row.array("states", np.int8) for row in rows])[order],
        )


def meeting_at_home(layouts: dict[str, CellLayout], top_n: int) -> Callable[[Batches], Batches]:
    """Return what joins the pieces of a block, searches there, and sends tracks on to other blocks.

    Parameters
    ----------
    layouts : dict of CellLayout
        By space.
    top_n : int
        How many neighbours a track has.

    Returns
    -------
    callable
        Takes pieces, sorted by target, and yields rows for the targets: the block's tracks (for each share of the
        block, and their ids for the merge), what was found, and tracks that look for more in another block.
    """

    def meet(batches: Batches) -> Batches:
        for target, of_target in _by_target(batches):
            rows = list(of_target)  # the pieces of one block
            space, layout = rows[0].space, layouts[rows[0].space]
            block, home = layout.block_of(target), Together.join(rows)
            del rows
            yield packed_row(space=space, target=target, kind=_IDS, ids=home.items.ids, hashes=home.hashes)
            for share in range(int(layout.shares[block])):
                yield packed_row(
                    space=space,
                    target=target + share,
                    kind=_ITEMS,
                    home=target,
                    dimensions=home.items.vectors.shape[1],
                    ids=home.items.ids,
                    vectors=home.items.vectors,
                    cells=home.items.cells,
                    floors=home.items.floors,
                )
            asking = np.flatnonzero(home.states != SETTLED)
            if len(asking):
                probing, probed = _probes(layout, home, asking, top_n)
                queries, nearest, entering = _search_home(
                    layout, block, home, asking, probing=probing, probed=probed, top_n=top_n
                )
                names = home.items.ids.take(pa.array(asking))
                yield from _nearest_of(nearest, queries, home.items, places=asking, space=space, target=target)
                yield from _entering_of(
                    entering, queries, home.items, names=names, top_n=top_n, space=space, target=target
                )
                yield from _send(
                    layout,
                    block,
                    queries,
                    probing=probing,
                    probed=probed,
                    names=names,
                    places=asking,
                    space=space,
                    target=target,
                )

    return meet


def _probes(
    layout: CellLayout, home: Together, asking: Int64Array, top_n: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return who of `asking`, by place in it, probes which cell."""
    rows, cells = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for new, at_least in ((False, layout.probes), (True, layout.probes_of_new)):
        some, probes = np.flatnonzero((home.states[asking] == NEW) == new), at_least
        while len(some):
            probed = nearest_cells(home.items.vectors[asking[some]], layout.centroids, probes)
            # where the nearest cells hold too few tracks to fill a list, further cells are probed
            enough = layout.counts[probed].sum(axis=1) > top_n
            enough |= probes >= len(layout.centroids)
            rows.append(np.repeat(some[enough], probed.shape[1]).astype(np.int32))
            cells.append(probed[enough].ravel())
            some, probes = some[~enough], 2 * probes
    return np.concatenate(rows), np.concatenate(cells)


def _search_home(
    layout: CellLayout,
    block: int,
    home: Together,
    asking: Int64Array,
    *,
    probing: npt.NDArray[np.int32],
    probed: npt.NDArray[np.int32],
    top_n: int,
) -> tuple[Queries, Pairs, Pairs]:
    """Search in each track's own cell, and then, with what that gave as a threshold, in the block's other cells."""
    items = home.items
    here = (layout.first[probed] <= block) & (block < layout.first[probed] + layout.parts[probed])
    in_own_cell = here & (probed == items.cells[asking][probing])
    queries = Queries(
        vectors=items.vectors[asking],
        thresholds=np.full(len(asking), -np.inf),
        own=asking,
        # a track that has `top_n` copies before it can enter no list; so a thousand copies are not all compared
        is_new=((home.states == NEW) & (items.copy_number <= top_n))[asking],
        probe_rows=probing[in_own_cell],
        probe_cells=probed[in_own_cell],
    )
    nearest, entering = search(queries, items, top_n)
    queries = replace(queries, thresholds=thresholds(nearest.rows, nearest.cosines, len(asking), top_n))
    rest = here & ~in_own_cell
    if rest.any():
        others = replace(queries, probe_rows=probing[rest], probe_cells=probed[rest])
        more, also_entering = search(others, items, top_n)
        nearest, entering = nearest.with_(more), entering.with_(also_entering)
        nearest = nearest.take(best_first(nearest.rows, nearest.cosines, items.rank_of[nearest.columns], top_n))
        queries = replace(queries, thresholds=thresholds(nearest.rows, nearest.cosines, len(asking), top_n))
    return queries, nearest, entering


def thresholds(queries: Int64Array, cosines: Float64Array, count: int, top_n: int) -> Float64Array:
    """Return the cosine of each query's last neighbour, -inf where its list is not yet full.

    Parameters
    ----------
    queries : int64, shape (found,)
        Whose neighbour each is, by the query's number; grouped by that, best first.
    cosines : float64, shape (found,)
    count : int
        How many queries there are.

    Returns
    -------
    float64, shape (count,)
    """
    known = np.full(count, -np.inf)
    last = positions(queries) == top_n - 1
    known[queries[last]] = cosines[last]
    return known


def _nearest_of(
    pairs: Pairs, queries: Queries, items: Items, *, places: Int64Array, space: str, target: int
) -> Batches:
    """Send what was found for queries to their home, where `places` says which tracks they are."""
    ids, at = items.ids.take(pa.array(pairs.columns)), places[pairs.rows]
    yield from _answer(_NEAREST, pairs, queries, items, ids=ids, places=at, space=space, target=target)


def _entering_of(
    pairs: Pairs, queries: Queries, items: Items, *, names: pa.Array, top_n: int, space: str, target: int
) -> Batches:
    """Send the queries, of which `names` are the ids, that may enter the lists of items to the items' home."""
    pairs = nearest_entering(pairs, names, top_n)
    ids = names.take(pa.array(pairs.rows))
    yield from _answer(_ENTERING, pairs, queries, items, ids=ids, places=pairs.columns, space=space, target=target)


def nearest_entering(pairs: Pairs, names: pa.Array, top_n: int) -> Pairs:
    """Return of each item the queries that are nearest, as many as a list has places: no more can enter it.

    Parameters
    ----------
    pairs : Pairs
        Queries and the items whose floor they reach.
    names : Arrow array of strings
        The ids of the queries, which ties go by.
    """
    ties = pc.rank(names, tiebreaker="dense").to_numpy()[pairs.rows]
    return pairs.take(best_first(pairs.columns, pairs.cosines, ties, top_n))


def _answer(
    kind: int,
    pairs: Pairs,
    queries: Queries,
    items: Items,
    *,
    ids: pa.Array,
    places: Int64Array,
    space: str,
    target: int,
) -> Batches:
    if len(pairs):
        yield packed_row(
            space=space,
            target=target,
            kind=kind,
            ids=ids,
            places=places,
            cosines=pairs.cosines,
            distances=distances_of(queries.vectors, pairs.rows, items.vectors, pairs.columns),
        )


def _send(
    layout: CellLayout,
    block: int,
    queries: Queries,
    *,
    probing: npt.NDArray[np.int32],
    probed: npt.NDArray[np.int32],
    names: pa.Array,
    places: Int64Array,
    space: str,
    target: int,
) -> Batches:
    """Send each query to every other block in which it probes a cell, once."""
    parts = layout.parts[probed]
    pair = np.repeat(np.arange(len(parts)), parts)
    probing, probed = probing[pair], probed[pair]
    blocks = layout.first[probed] + positions(pair)
    order = np.lexsort((probing, blocks))
    order = order[blocks[order] != block]
    for other, at in runs(blocks[order]):
        who, which = np.unique(probing[order[at]], return_inverse=True)
        yield packed_row(
            space=space,
            target=layout.target(other, block),
            kind=_QUERIES,
            home=target,
            dimensions=queries.vectors.shape[1],
            ids=names.take(pa.array(who)),
            vectors=queries.vectors[who],
            floors=queries.thresholds[who],
            states=np.where(queries.is_new[who], NEW, STALE).astype(np.int8),
            places=places[who],
            probe_rows=which.astype(np.int32),
            probe_cells=probed[order[at]],
        )


def meeting_abroad(top_n: int) -> Callable[[Batches], Batches]:
    """Return what compares the tracks that came to a block with its own, and sends what is found to their home.

    Parameters
    ----------
    top_n : int
        How many neighbours a track has.

    Returns
    -------
    callable
        Takes what :func:`meeting_at_home` yielded, sorted by target and kind. What was found already passes
        through.
    """

    def meet(batches: Batches) -> Batches:
        for _, rows in _by_target(batches):
            items, here = None, -1
            waiting, held = list[PackedRow](), 0
            for row in rows:
                kind = row.number("kind")
                if kind == _ITEMS:
                    here, items = row.number("home"), _items(row)
                elif kind == _QUERIES:
                    waiting.append(row)
                    held += len(row.texts("ids"))
                    if held >= _QUERIES_AT_ONCE:
                        yield from _search_abroad(waiting, items, here, top_n)
                        waiting, held = [], 0
                else:
                    yield row.as_batch()
            yield from _search_abroad(waiting, items, here, top_n)

    return meet


def _search_abroad(rows: list[PackedRow], items: Items | None, here: int, top_n: int) -> Batches:
    if items is None or not rows:
        return
    counts = np.array([len(row.texts("ids")) for row in rows])
    starts = np.cumsum(counts) - counts
    probes = [row.array("probe_rows", np.int32) + start for row, start in zip(rows, starts, strict=True)]
    queries = Queries(
        vectors=np.concatenate([row.vectors() for row in rows]),
        thresholds=np.concatenate([row.array("floors", np.float64) for row in rows]),
        own=np.full(int(counts.sum()), -1, np.int64),
        is_new=np.concatenate([row.array("states", np.int8) for row in rows]) == NEW,
        probe_rows=np.concatenate(probes).astype(np.int32),
        probe_cells=np.concatenate([row.array("probe_cells", np.int32) for row in rows]),
    )
    places = np.concatenate([row.array("places", np.int64) for row in rows])
    names = pa.concat_arrays([row.texts("ids") for row in rows])
    nearest, entering = search(queries, items, top_n)
    space = rows[0].space
    of_message = np.searchsorted(starts, nearest.rows, side="right") - 1
    for number, at in runs(of_message):
        home = rows[number].number("home")
        yield from _nearest_of(nearest.take(at), queries, items, places=places, space=space, target=home)
    yield from _entering_of(entering, queries, items, names=names, top_n=top_n, space=space, target=here)


def merging(top_n: int) -> Callable[[Batches], Batches]:
    """Return what ranks all that was found for the tracks of a block.

    Parameters
    ----------
    top_n : int
        How many neighbours a track has.

    Returns
    -------
    callable
        Takes what was found and the ids of blocks, sorted by target and kind, and yields rows of :data:`FOUND`:
        with a rank, the complete lists of tracks that were searched; with none, what may enter a settled track's
        list.
    """

    def merge(batches: Batches) -> Batches:
        for _, of_target in _by_target(batches):
            rows = {kind: list(some) for kind, some in groupby(of_target, key=lambda row: row.number("kind"))}
            ids = rows[_IDS][0]
            for kind in (_NEAREST, _ENTERING):
                if kind in rows:
                    yield from _lists(ids, rows[kind], top_n, are_complete=kind == _NEAREST)

    return merge


def _lists(home: PackedRow, rows: list[PackedRow], top_n: int, *, are_complete: bool) -> Batches:
    places = np.concatenate([row.array("places", np.int64) for row in rows])
    cosines = np.concatenate([row.array("cosines", np.float64) for row in rows])
    distances = np.concatenate([row.array("distances", np.float64) for row in rows])
    names = pa.concat_arrays([row.texts("ids") for row in rows])
    ties = pc.rank(names, tiebreaker="dense").to_numpy()
    order = best_first(places, cosines, ties, top_n)
    ranks = positions(places[order]) + 1
    ranks = pa.array(ranks, pa.int32()) if are_complete else pa.nulls(len(order), pa.int32())
    of_track = pa.array(places[order])
    found = pa.RecordBatch.from_arrays(
        [
            pa.array([home.space] * len(order), pa.string()),
            home.texts("ids").take(of_track),
            ranks,
            names.take(pa.array(order)),
            pa.array(cosines[order]),
            pa.array(distances[order]),
            home.texts("hashes").take(of_track),
        ],
        schema=FOUND,
    )
    for start in range(0, len(order), _ROWS_AT_ONCE):
        yield found.slice(start, _ROWS_AT_ONCE)
