import numpy as np
import pandas as pd
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
from specrec.neighbours.kernel import nearest_cells, unit
from specrec.neighbours.recall import recall


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
