import faiss
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.neighbours.cells import (
    MOST_CELLS,
    default_cells,
    imbalance,
    lay_out,
    needed_probes,
    one_cell,
    recall_by_probes,
    sample_size,
    train,
)
from specrec.neighbours.kernel import cosine, nearest_cells, unit
from specrec.neighbours.recall import Recall, matrix_of, recall
from specrec.neighbours.scan import Wanted, comparing_with_all
from specrec.neighbours.search import packing


def _vectors(n, dimensions=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(0, 500), min_size=1, max_size=60),
    block_rows=st.integers(1, 300),
    seed=st.integers(0, 9),
)
def test_cells_fill_blocks_within_their_bound(counts, block_rows, seed):
    counts = np.array(counts, np.int64)
    layout = lay_out(_vectors(len(counts), seed=seed), counts, block_rows)
    tracks = np.zeros(len(layout.shares))
    owners = [[] for _ in layout.shares]
    for cell, (first, parts) in enumerate(zip(layout.first, layout.parts, strict=True)):
        for part in range(parts):
            tracks[first + part] += counts[cell] / parts
            owners[first + part].append(cell)
    assert all(owners)  # no empty number among the blocks
    assert (tracks <= block_rows).all()
    assert tracks.sum() == pytest.approx(counts.sum())
    for cells in owners:  # a cell that is split shares its blocks with no other
        assert len(cells) == 1 or (layout.parts[cells] == 1).all()
    # two half-empty blocks would be one
    assert len(owners) <= 4 * counts.sum() / block_rows + 2


def test_the_tracks_of_a_split_cell_spread_evenly_over_its_blocks():
    counts = np.array([10, 1000, 20])
    layout = lay_out(_vectors(3), counts, 100)
    hashes = pd.util.hash_array(np.array([f"t{i}" for i in range(1000)], object), categorize=False)
    homes = layout.home(np.full(1000, 1, np.int32), hashes)
    found, tracks = np.unique(homes, return_counts=True)
    assert found.tolist() == list(range(layout.first[1], layout.first[1] + 10))
    assert tracks.min() > 60
    assert layout.home(np.array([0, 2], np.int32), hashes[:2]).tolist() == layout.first[[0, 2]].tolist()


def test_near_cells_share_a_block():
    angles = np.linspace(0, np.pi, 64, endpoint=False)
    centroids = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    layout = lay_out(centroids, np.full(64, 10), 80)
    for block in range(len(layout.shares)):
        mine = np.flatnonzero(layout.first == block)
        assert np.ptp(mine) == len(mine) - 1


@pytest.mark.parametrize(("cells", "blocks"), [(64, 8), (24, 3), (56, 7), (8, 1)])
def test_blocks_of_equal_cells_are_full(cells, blocks):
    layout = lay_out(_vectors(cells), np.full(cells, 10), 80)
    assert np.bincount(layout.first).tolist() == [8] * blocks
    assert (layout.parts == 1).all()


def test_cells_are_halved_across_the_direction_in_which_they_are_spread_most():
    rng = np.random.default_rng(0)
    centroids = np.stack([np.ones(32), np.repeat([-1, 1], 16), 0.1 * rng.standard_normal(32)], axis=1)
    order = rng.permutation(32)
    layout = lay_out(centroids[order].astype(np.float32), np.full(32, 5), 80)
    sides = centroids[order][:, 1]
    assert [set(sides[layout.first == block]) for block in range(2)] in ([{-1}, {1}], [{1}, {-1}])


def test_a_cell_of_many_tracks_fills_a_block_though_others_are_empty():
    layout = lay_out(_vectors(4), np.array([0, 100, 0, 0]), 100)
    assert layout.first.tolist() == [0, 0, 0, 0]
    layout = lay_out(_vectors(3), np.array([60, 60, 60]), 100)
    assert sorted(layout.first.tolist()) == [0, 1, 2]
    assert layout.shares.tolist() == [1, 1, 1]  # as long as nobody knows who comes


def test_a_block_is_shared_by_as_many_tasks_as_its_visits_are_worth():
    """One task for four times what comes to the block in the middle."""
    layout = lay_out(_vectors(5), np.full(5, 50), 50, visits=[10, 10, 10, 81, 80])
    assert layout.shares[layout.first].tolist() == [1, 1, 1, 3, 2]
    assert layout.targets == 8
    # to each part of a cell that is split come all who probe it
    split = lay_out(_vectors(6), np.array([50, 100, 50, 50, 50, 50]), 50, visits=[10, 100, 10, 10, 10, 10])
    assert (split.parts.tolist(), split.first[1]) == ([1, 2, 1, 1, 1, 1], 0)
    assert split.shares.tolist() == [3, 3, 1, 1, 1, 1, 1]
    # cells that share a block bring their visits together
    centroids = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 3]]
    together = lay_out(centroids, np.array([1, 1, 1, 50, 50, 50]), 50, visits=[30, 40, 50, 10, 10, 10])
    assert np.unique(together.first[:3]).size == 1
    assert together.shares[together.first].tolist() == [3, 3, 3, 1, 1, 1]
    quiet = lay_out(_vectors(3), np.full(3, 50), 50, visits=[0, 0, 5])
    assert quiet.shares[quiet.first].tolist() == [1, 1, 5]


def test_several_cells_that_are_split_have_blocks_of_their_own():
    layout = lay_out(_vectors(3), np.array([250, 20, 450]), 100, visits=[10, 10, 90])
    assert (layout.parts.tolist(), layout.first.tolist()) == ([3, 1, 5], [0, 8, 3])
    hashes = np.arange(40, dtype=np.uint64)
    for cell, blocks in enumerate([range(3), range(8, 9), range(3, 8)]):
        homes = layout.home(np.full(40, cell, np.int32), hashes)
        assert homes.tolist() == [blocks[i % len(blocks)] for i in range(40)]
    assert layout.shares.tolist() == [1] * 9  # the middle of what comes is 90
    layout = lay_out(_vectors(3), np.array([450, 20, 250]), 100, visits=[10, 10, 90])
    assert layout.shares.tolist() == [1] * 5 + [3] * 3 + [1]


def test_a_layout_says_what_it_was_made_of():
    counts = np.array([5, 6])
    layout = lay_out(_vectors(2), counts, 10)
    assert (layout.first_target, layout.probes, layout.probes_of_new) == (0, 1, 1)
    layout = lay_out(_vectors(2), counts, 10, first_target=3, probes=4, probes_of_new=5)
    assert (layout.first_target, layout.probes, layout.probes_of_new) == (3, 4, 5)
    np.testing.assert_array_equal(layout.centroids, _vectors(2))
    np.testing.assert_array_equal(layout.counts, counts)


def test_targets_are_numbered_through_and_lead_back_to_their_block():
    visits = np.array([1, 1, 1, 100])
    layout = lay_out(_vectors(4), np.array([50, 50, 50, 50]), 50, first_target=7, visits=visits)
    assert layout.shares.max() > 1  # many come to the block of the last cell
    assert layout.first[3] == layout.shares.argmax()
    targets = [layout.target(block, other) for block in range(4) for other in range(int(layout.shares[block]))]
    assert sorted(targets) == list(range(7, 7 + layout.targets))
    for block in range(4):
        for other in range(10):
            assert layout.block_of(layout.target(block, other)) == block


def test_exact_search_is_one_cell():
    layout = lay_out(one_cell(), np.array([1000]), 300)
    assert (layout.first.tolist(), layout.parts.tolist(), layout.targets) == ([0], [4], 4)
    assert (nearest_cells(_vectors(5), one_cell(), 1) == 0).all()


def test_default_cells_grow_with_the_root_of_the_tracks():
    assert default_cells(278_000) == 1024
    assert default_cells(1_000_000) == 2048
    assert default_cells(0) == default_cells(2) == 4
    assert default_cells(10**9) == MOST_CELLS
    assert sample_size(MOST_CELLS) == 1 << 18  # 256 MB of 256 dimensions: the driver can hold it


@pytest.mark.parametrize("tracks", [3, 10, 99, 1000, 54_321, 10**6, 10**7])
def test_default_cells_are_a_power_of_two_near_twice_the_root(tracks):
    cells = default_cells(tracks)
    assert cells.bit_count() == 1
    assert 2**-0.5 <= cells / (2 * tracks**0.5) <= 2**0.5 or cells == 4


def test_few_cells_are_trained_on_64_tracks_each():
    assert [sample_size(cells) for cells in (1, 4, 4096, 4097)] == [64, 256, 1 << 18, 1 << 18]


def test_the_one_cell_has_a_centroid_of_length_one():
    assert (one_cell().dtype, one_cell().tolist()) == (np.float32, [[1.0]])


def test_training_goes_by_the_seed_and_leaves_the_number_of_threads(monkeypatch):
    vectors, threads = _vectors(300, 4), faiss.omp_get_max_threads()
    used = []

    class Kmeans(faiss.Kmeans):
        def train(self, x, *args, **kwargs):
            used.append(faiss.omp_get_max_threads())
            np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
            return super().train(x, *args, **kwargs)

    monkeypatch.setattr(faiss, "Kmeans", Kmeans)
    faiss.omp_set_num_threads(2)
    try:
        one, other = train(vectors, 8, seed=0), train(vectors, 8, seed=1)
        assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(threads)
    assert used == [1, 1]
    assert one.dtype == np.float32
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_training_finds_the_groups_that_there_are_and_gives_the_same_each_time():
    centres = unit(_vectors(6, 16))
    vectors = np.repeat(centres, 100, axis=0) + 0.02 * _vectors(600, 16, seed=1)
    found = train(vectors, 24, seed=0)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    cells = nearest_cells(vectors, found, 1).reshape(6, 100)
    for one in range(6):
        for other in range(one):
            assert not set(cells[one]) & set(cells[other])
    np.testing.assert_array_equal(found, train(vectors, 24, seed=0))
    assert len(train(vectors[:4], 6, seed=0)) == 4  # no more cells than tracks


def test_imbalance_is_the_factor_by_which_searches_are_longer():
    assert imbalance(np.array([5, 5, 5, 5])) == 1
    assert imbalance(np.array([20, 0, 0, 0])) == 4


def test_imbalance_of_unequal_cells_and_of_none():
    assert imbalance(np.array([3, 1])) == 2 * (0.75**2 + 0.25**2)
    assert imbalance(np.array([1])) == 1
    assert imbalance(np.array([0, 0])) == 0


def test_a_floor_is_reached_in_spite_of_rounding_and_may_be_out_of_reach():
    assert needed_probes([0.3 - 1e-14, 1.0], 0.3) == 1
    assert needed_probes([0.3 - 1e-9, 1.0], 0.3) == 2
    assert needed_probes([0.5, 0.6], 0.9) == 2
    assert recall_by_probes(np.array([1]), 3).tolist() == [0, 1, 1]
    assert recall_by_probes(np.zeros(0, np.int64), 3).tolist() == [0, 0, 0]


def test_probes_are_as_many_as_the_floor_needs():
    recalls = recall_by_probes(np.array([0, 0, 0, 1, 1, 4]), 6)
    assert recalls.tolist() == pytest.approx([0.5, 5 / 6, 5 / 6, 5 / 6, 1, 1])
    assert [needed_probes(recalls, floor) for floor in (0.3, 0.5, 0.8, 0.9, 1.0)] == [1, 1, 2, 5, 5]


def test_recall_counts_true_neighbours_and_any_that_are_as_near():
    def lists(**cosines):
        rows = [(track, cosine) for track, of in cosines.items() for cosine in of]
        return pd.DataFrame(rows, columns=["track_id", "cosine"])

    truth = lists(a=[0.9, 0.8, 0.7, 0.6], b=[0.9, 0.9, 0.9, 0.9])
    found = lists(a=[0.9, 0.8, 0.5, 0.4], b=[0.9, 0.9, 0.9, 0.9], c=[1.0])
    measured = recall(found, truth)
    assert (measured.mean, measured.tracks) == (0.75, 2)
    assert measured.margin == pytest.approx(1.96 * np.std([0.5, 1], ddof=1) / np.sqrt(2))
    assert recall(lists(a=[0.9]), truth).mean == 0.125  # b has no list at all
    assert recall(truth, truth).mean == 1


def test_recall_of_nothing_and_of_one_track_and_as_it_is_printed():
    rows = pd.DataFrame({"track_id": ["a", "a"], "cosine": [0.9, 0.8]})
    assert recall(rows[:0], rows[:0]) == Recall(1.0, 0.0, 0)
    assert recall(rows[:1], rows) == Recall(0.5, 0.0, 1)
    assert str(Recall(0.98765, 0.01234, 40)) == "0.9877 ± 0.0123 (40 tracks)"


def test_a_cosine_counts_as_near_within_rounding_alone():
    truth = pd.DataFrame({"track_id": ["a", "a"], "cosine": [0.9, 0.8]})
    assert recall(truth.assign(cosine=[0.9, 0.8 - 1e-10]), truth).mean == 1
    assert recall(truth.assign(cosine=[0.9, 0.8 - 1e-8]), truth).mean == 0.5
    assert recall(pd.concat([truth, truth]), truth).mean == 1  # never more than all


def test_vectors_of_a_table_are_one_array():
    vectors = matrix_of(pd.DataFrame({"vector": [[1, 2, 3], [4, 5, 6]]}))
    assert (vectors.dtype, vectors.tolist()) == (np.float32, [[1, 2, 3], [4, 5, 6]])


def test_the_true_nearest_lie_in_any_cell():
    vectors, ids = _vectors(30, 4), np.random.default_rng(1).permutation([f"t{i:02}" for i in range(30)])
    columns = {"space": ["one"] * 30, "track_id": ids, "input_hash": ids, "vector": list(vectors)}
    columns |= {"state": np.zeros(30, np.int8), "floor": np.full(30, np.inf)}
    centroids = _vectors(3, 4, seed=3)
    packed = packing({"one": centroids})(iter([pa.RecordBatch.from_pydict(columns)]))
    cells = nearest_cells(vectors, centroids, 1)[:, 0]
    assert len(set(cells)) == 3
    sample = [*ids[[4, 27]], "elsewhere"]
    asked = np.concatenate([vectors[[4, 27]], _vectors(1, 4, seed=2)])
    found = pa.Table.from_batches(comparing_with_all({"one": Wanted.only(sample, asked)}, 5)(packed)).to_pandas()
    assert found.groupby("track_id").size().to_dict() == dict.fromkeys(sample, 5)
    for row, name in enumerate(sample):
        cosines = cosine(np.tile(asked[row], (30, 1)), vectors)
        order = [i for i in np.argsort(-cosines) if ids[i] != name][:5]
        mine = found[found["track_id"] == name]
        assert mine["neighbour_id"].tolist() == ids[order].tolist()
        assert mine["cosine"].tolist() == cosines[order].tolist()
        assert mine["cell"].tolist() == cells[order].tolist()


def test_samples_are_compared_with_all_tracks_of_their_space_however_these_come():
    vectors, ids = np.round(_vectors(60, 3)), np.random.default_rng(1).permutation([f"t{i:02}" for i in range(60)])
    spaces = np.array(["one", "other", "nobody's"])[np.arange(60) % 3]
    hashes, states = [""] * 60, np.zeros(60, np.int8)
    columns = {"space": spaces, "track_id": ids, "input_hash": hashes, "vector": list(vectors), "state": states}
    batch = pa.RecordBatch.from_pydict(columns | {"floor": np.zeros(60)})
    centroids = dict.fromkeys(spaces.tolist(), _vectors(4, 3, seed=2))
    cut = [batch.slice(0, 25), batch.slice(25, 5), batch.slice(30)]
    packed = list(packing(centroids)(iter(cut)))
    sampled = {"one": [0, 33], "other": [1, 31, 58]}
    samples = {space: Wanted.only(ids[rows], vectors[rows]) for space, rows in sampled.items()}
    found = pa.Table.from_batches(comparing_with_all(samples, 4)(iter(packed))).to_pandas()
    expected = []
    for space, rows in sampled.items():
        for row in rows:
            others = [i for i in np.flatnonzero(spaces == space) if i != row]
            cosines = cosine(np.tile(vectors[row], (len(others), 1)), vectors[others])
            nearest = sorted((-c, ids[i]) for c, i in zip(cosines, others, strict=True))[:4]
            expected += [(space, ids[row], item_id, -c) for c, item_id in nearest]
    assert (
        list(found[["space", "track_id", "neighbour_id", "cosine"]].itertuples(index=False, name=None)) == expected
    )
    place = {item_id: i for i, item_id in enumerate(ids)}
    cells = nearest_cells(vectors, centroids["one"], 1)[:, 0]
    assert found["cell"].tolist() == [cells[place[item_id]] for item_id in found["neighbour_id"]]
