"""The steps of the search without Spark: what a cluster would do, one task after the other in this process."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from specrec.errors import SpecrecError
from specrec.neighbours import cells as C
from specrec.neighbours.cells import UNSEARCHABLE, lay_out
from specrec.neighbours.kernel import nearest_cells
from specrec.neighbours.scan import Wanted, comparing_with_all, picked, picking
from specrec.neighbours.search import (
    NEW,
    PIECE,
    SETTLED,
    STALE,
    counting,
    meeting_abroad,
    meeting_at_home,
    merging,
    packed_rows,
    packing,
    scattering,
)

TOP_N = 5


def _vectors(count, seed=0, dimensions=6):
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def _tracks(vectors, states=STALE, floors=np.inf, space="a", ids=None):
    count = len(vectors)
    ids = [f"t{i:03}" for i in range(count)] if ids is None else ids
    columns = {
        "space": [space] * count,
        "track_id": ids,
        "input_hash": [f"hash of {name}" for name in ids],
        "vector": pa.array([row.tolist() for row in vectors], pa.list_(pa.float32())),
        "state": np.broadcast_to(np.asarray(states, np.int32), count),
        "floor": np.broadcast_to(np.asarray(floors, np.float64), count),
    }
    return pa.RecordBatch.from_pydict(columns)


def _pack(batches, centroids):
    return list(packing(centroids)(iter(batches)))


def _shuffle(rows):
    """Bring together what has one target, in the order of kinds, as one partition; the rest in whatever order."""
    table = pa.Table.from_batches(rows).combine_chunks()
    order = np.random.default_rng(0).permutation(len(table))
    table = table.take(order).sort_by([("target", "ascending"), ("kind", "ascending")])
    return iter(table.to_batches(max_chunksize=7))


def _find(batches, layouts, top_n=TOP_N):
    packed = _pack(batches, {space: layout.centroids for space, layout in layouts.items()})
    pieces = [row for row in packed if row.column("kind")[0].as_py() == PIECE]
    sent = list(meeting_at_home(layouts, top_n)(_shuffle(list(scattering(layouts)(iter(pieces))))))
    found = list(meeting_abroad(top_n)(_shuffle(sent)))
    return pa.Table.from_batches(list(merging(top_n)(_shuffle(found)))).to_pandas()


def _exact(count, block_rows=1_000):
    return lay_out(C.one_cell(), np.array([count]), block_rows)


def _celled(vectors, cells, block_rows, probes):
    centroids = C.train(vectors, cells, seed=0)
    counts = np.bincount(nearest_cells(vectors, centroids, 1)[:, 0], minlength=cells)
    return lay_out(centroids, counts, block_rows, probes=probes, probes_of_new=min(2 * probes, cells))


def _true_lists(vectors):
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :TOP_N], similar


def _lists(found):
    ranked = found[found["rank"].notna()].sort_values(["track_id", "rank"])
    return {track: rows["neighbour_id"].to_list() for track, rows in ranked.groupby("track_id")}


def _same(one, other):
    one, other = (rows.sort_values(["track_id", "rank"], ignore_index=True) for rows in (one, other))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("block_rows", [1_000, 33])
def test_with_one_cell_every_track_finds_its_nearest_whatever_the_blocks(block_rows):
    vectors = _vectors(120)
    found = _find([_tracks(vectors)], {"a": _exact(120, block_rows)})
    nearest, similar = _true_lists(vectors)
    assert _lists(found) == {f"t{i:03}": [f"t{j:03}" for j in row] for i, row in enumerate(nearest)}
    for row in found.itertuples():
        i, j = int(row.track_id[1:]), int(row.neighbour_id[1:])
        assert row.cosine == pytest.approx(similar[i, j], abs=1e-12)
        assert row.euclidean == pytest.approx(np.linalg.norm(vectors[i].astype(float) - vectors[j]), abs=1e-12)
        assert row.input_hash == f"hash of {row.track_id}"
    assert found["rank"].notna().all()


def test_of_what_may_enter_a_list_no_more_is_sent_than_it_has_places():
    settled, new = _vectors(60), _vectors(90, seed=1)
    tracks = _tracks(
        np.concatenate([settled, new]),
        np.r_[np.full(60, SETTLED), np.full(90, NEW)],
        np.r_[np.full(60, -1.0), np.full(90, np.inf)],
    )
    unit = np.concatenate([settled, new]).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for layout in (_exact(150), _exact(150, 33)):
        found = _find([tracks], {"a": layout})
        entering = found[found["rank"].isna()]
        assert set(entering["track_id"]) == {f"t{i:03}" for i in range(60)}
        for track, rows in entering.groupby("track_id"):
            nearest = np.argsort(-(unit[60:] @ unit[int(track[1:])]), kind="stable")[:TOP_N]
            assert sorted(rows["neighbour_id"]) == sorted(f"t{60 + i:03}" for i in nearest)


def test_when_all_cells_are_probed_the_lists_are_those_of_exact_search():
    vectors = _vectors(150)
    exact = _find([_tracks(vectors)], {"a": _exact(150)})
    celled = _find([_tracks(vectors)], {"a": _celled(vectors, 8, 20, probes=8)})
    _same(exact, celled)


def test_a_block_that_several_tasks_share_finds_the_same():
    vectors = _vectors(150)
    alone = _celled(vectors, 8, 20, probes=3)
    visits = [1, 1, 1, 1, 1, 1, 1, 500]
    shared = lay_out(alone.centroids, alone.counts, 20, probes=3, probes_of_new=6, visits=visits)
    assert shared.shares.max() > 1
    _same(_find([_tracks(vectors)], {"a": alone}), _find([_tracks(vectors)], {"a": shared}))


def test_few_probes_find_the_neighbours_in_the_probed_cells_alone():
    vectors = _vectors(150)
    layout = _celled(vectors, 8, 20, probes=2)
    _, similar = _true_lists(vectors)
    cell = nearest_cells(vectors, layout.centroids, 1)[:, 0]
    probed = nearest_cells(vectors, layout.centroids, 2)
    for track, listed in _lists(_find([_tracks(vectors)], {"a": layout})).items():
        i = int(track[1:])
        reached = [j for j in np.argsort(-similar[i], kind="stable") if j != i and cell[j] in probed[i]]
        assert listed == [f"t{j:03}" for j in reached[:TOP_N]]


def test_a_settled_track_is_not_searched_and_new_ones_above_its_floor_are_offered_to_it():
    vectors = _vectors(60)
    _, similar = _true_lists(vectors)
    states = np.full(60, SETTLED)
    states[:4], states[4:8] = NEW, STALE
    floors = np.full(60, 0.3)
    floors[:8] = np.inf
    found = _find([_tracks(vectors, states, floors)], {"a": _exact(60, 17)})
    assert set(_lists(found)) == {f"t{i:03}" for i in range(8)}
    offered = found[found["rank"].isna()]
    assert set(zip(offered["track_id"], offered["neighbour_id"], strict=True)) == {
        (f"t{i:03}", f"t{j:03}") for i in range(8, 60) for j in range(4) if similar[i, j] >= 0.3
    }


def _find_few(tasks):
    """Do what the search of few tracks does, each of some lists of packed rows being a task's."""
    fresh = [row for task in tasks for row in picking(iter(task))]
    wanted = picked(pa.Table.from_batches(fresh))
    of_tasks = [row for task in tasks for row in comparing_with_all(wanted, TOP_N)(iter(task))]
    found = pa.Table.from_batches(of_tasks).to_pandas()
    found = found.sort_values(["cosine", "neighbour_id"], ascending=[False, True])
    ranks = found.groupby(["space", "track_id", "is_entering"]).cumcount() + 1
    found["rank"] = ranks.where(~found["is_entering"])
    return found[ranks <= TOP_N].drop(columns=["cell", "is_entering"])


@pytest.mark.parametrize("batches_a_task", [1, 2, 8])
def test_few_tracks_that_are_compared_with_all_find_what_the_search_by_blocks_finds(batches_a_task):
    vectors = np.concatenate([_vectors(100), _vectors(20)])  # the last have twins among the first
    vectors[7] = np.nan
    _, similar = _true_lists(np.nan_to_num(vectors, nan=1.0))
    states = np.full(120, SETTLED)
    states[[3, 7, 50, 119]], states[[11, 104]] = NEW, STALE
    floors = np.where(states == SETTLED, np.sort(similar, axis=1)[:, -TOP_N], np.inf)
    tracks = _tracks(vectors, states, floors)
    others = _tracks(_vectors(9, seed=3, dimensions=4), [NEW] * 2 + [SETTLED] * 7, -1.0, space="b")
    cells = C.one_cell()
    packed = _pack([tracks.slice(at, 15) for at in range(0, 120, 15)] + [others], {"a": cells, "b": cells})
    tasks = [packed[at : at + batches_a_task] for at in range(0, len(packed), batches_a_task)]
    second = lay_out(cells, np.array([9]), 1_000, first_target=1)
    expected = _find([tracks, others], {"a": _exact(119), "b": second})
    found = _find_few(tasks)
    columns, key = list(expected.columns), ["space", "track_id", "rank", "neighbour_id"]
    pd.testing.assert_frame_equal(
        found[columns].sort_values(key, ignore_index=True), expected.sort_values(key, ignore_index=True),
        check_dtype=False,
    )  # fmt: skip
    assert found["rank"].isna().any()
    assert set(found.loc[found["rank"].notna(), "track_id"]) == {
        "t003",
        "t050",
        "t119",
        "t011",
        "t104",
        "t000",
        "t001",
    }


def test_spaces_are_searched_side_by_side_and_apart():
    wide, narrow = _vectors(40, 1, 6), _vectors(30, 2, 3)
    first = _exact(40, 15)
    second = lay_out(C.one_cell(), np.array([30]), 15, first_target=first.targets)
    both = _find([_tracks(wide), _tracks(narrow, space="b")], {"a": first, "b": second})
    for space, vectors in (("a", wide), ("b", narrow)):
        alone = _find([_tracks(vectors, space=space)], {space: _exact(len(vectors))})
        assert _lists(both[both["space"] == space]) == _lists(alone)


def test_vectors_without_a_direction_are_set_apart_and_counted():
    vectors = _vectors(10)
    vectors[3], vectors[7, 2] = 0, np.nan
    packed = _pack([_tracks(vectors)], {"a": C.one_cell()})
    apart = [row for row in packed if row.column("kind")[0].as_py() == UNSEARCHABLE]
    assert [name for row in apart for name in row.column("ids")[0].as_py()] == ["t003", "t007"]
    counts = pa.Table.from_batches(list(counting(iter(packed)))).to_pylist()
    assert {(row["cell"], row["n"]) for row in counts} == {(UNSEARCHABLE, 2), (0, 8)}
    only_bad = _pack([_tracks(np.zeros((2, 6), np.float32))], {"a": C.one_cell()})
    assert [row.column("kind")[0].as_py() for row in only_bad] == [UNSEARCHABLE]


def test_tracks_are_packed_in_the_order_of_their_cells_with_all_that_belongs_to_them():
    vectors, states = _vectors(30), np.arange(30) % 3
    centroids = C.train(vectors, 4, seed=0)
    (row,) = packed_rows(iter(_pack([_tracks(vectors, states, np.arange(30.0))], {"a": centroids})))
    assert (row.space, row.number("kind"), row.number("dimensions")) == ("a", PIECE, 6)
    cells = row.array("cells", np.int32)
    assert (np.diff(cells) >= 0).all()
    places = [int(name[1:]) for name in row.texts("ids").to_pylist()]
    assert sorted(places) == list(range(30))
    np.testing.assert_array_equal(row.vectors(), vectors[places])
    np.testing.assert_array_equal(cells, nearest_cells(vectors, centroids, 1)[places, 0])
    np.testing.assert_array_equal(row.array("states", np.int8), states[places])
    np.testing.assert_array_equal(row.array("floors", np.float64), np.arange(30.0)[places])


@pytest.mark.parametrize("centroids", [C.one_cell(), np.eye(6, dtype=np.float32)])
def test_vectors_of_several_lengths_are_refused(centroids):
    short = _tracks(_vectors(3, dimensions=4), ids=["x", "y", "z"])
    mixed = pa.Table.from_batches([_tracks(_vectors(3)), short]).combine_chunks().to_batches()
    with pytest.raises(SpecrecError, match="not all of one length"):
        _pack(mixed, {"a": centroids})


def test_the_true_neighbours_of_a_sample_are_those_of_all_tracks_with_their_cells():
    vectors = _vectors(80)
    centroids = C.train(vectors, 4, seed=0)
    packed = _pack(
        [_tracks(vectors[:50]), _tracks(vectors[50:], ids=[f"t{i:03}" for i in range(50, 80)])], {"a": centroids}
    )
    sample = Wanted.only(["t010", "t060"], vectors[[10, 60]])
    found = pa.Table.from_batches(list(comparing_with_all({"a": sample}, TOP_N)(iter(packed)))).to_pandas()
    nearest, _ = _true_lists(vectors)
    cell = nearest_cells(vectors, centroids, 1)[:, 0]
    for track, rows in found.sort_values("cosine", ascending=False).groupby("track_id"):
        assert rows["neighbour_id"].to_list() == [f"t{j:03}" for j in nearest[int(track[1:])]]
        assert rows["cell"].to_list() == cell[nearest[int(track[1:])]].tolist()
