"""The overlap of two lists, against the paper's formula written out for one pair."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.recommend.agreement import compare_batches, in_both, jaccard, rank_biased_overlap

LIST = st.lists(st.integers(0, 12), max_size=10, unique=True)


def rbo_ext(first, second, p):
    """Webber, Moffat and Zobel (2010), equation 32, term by term."""
    short, long = sorted((first, second), key=len)
    s, l = len(short), len(long)  # noqa: E741
    if not s:
        return 0.0

    def x(d):
        return len(set(short[:d]) & set(long[:d]))

    seen = sum(x(d) / d * p**d for d in range(1, l + 1))
    unseen = sum(x(s) * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * (seen + unseen) + ((x(l) - x(s)) / l + x(s) / s) * p**l


def compared(pairs, p=0.9):
    places = max((len(items) for pair in pairs for items in pair), default=0)
    # what lies beyond a list's end is ignored, whatever it is
    padded = [
        np.array([items + [99] * (places - len(items)) for items in side]) for side in zip(*pairs, strict=True)
    ]
    lengths = tuple(np.array([len(items) for items in side]) for side in zip(*pairs, strict=True))
    shared = in_both(*(side.reshape(len(pairs), places).astype(np.int64) for side in padded), lengths)
    last = shared[:, -1] if places else np.zeros(len(pairs), np.int64)
    return shared, jaccard(last, lengths), rank_biased_overlap(shared, lengths, p)


@given(st.lists(st.tuples(LIST, LIST), min_size=1, max_size=8), st.floats(0.05, 0.99))
def test_as_the_formulas_say_for_each_pair(pairs, p):
    shared, jaccards, rbos = compared(pairs, p)
    for (first, second), depths, index, rbo in zip(pairs, shared, jaccards, rbos, strict=True):
        assert depths.tolist() == [len(set(first[:d]) & set(second[:d])) for d in range(1, len(depths) + 1)]
        either = set(first) | set(second)
        assert index == pytest.approx(len(set(first) & set(second)) / len(either) if either else 0.0)
        assert rbo == pytest.approx(rbo_ext(first, second, p), abs=1e-12)
        assert -1e-12 <= rbo <= 1 + 1e-12


def test_lists_of_one_item_agree_wholly_or_not_at_all():
    shared, jaccards, rbos = compared([([5], [5]), ([5], [6])])
    assert (shared.tolist(), jaccards.tolist()) == ([[1], [0]], [1, 0])
    assert rbos.tolist() == pytest.approx([1, 0])


@given(LIST, LIST)
def test_it_makes_no_difference_which_is_first(first, second):
    (_, jaccards, rbos), (_, again_jaccards, again_rbos) = compared([(first, second)]), compared([(second, first)])
    assert (jaccards, rbos) == (again_jaccards, again_rbos)


@given(LIST, LIST, st.lists(st.tuples(*[st.integers(0, 12)] * 2), min_size=10, max_size=10))
def test_what_lies_beyond_the_end_of_a_list_is_ignored(first, second, beyond):
    lengths = (np.array([len(first)]), np.array([len(second)]))
    padded = [
        np.array([items + [values[side] for values in beyond[len(items) :]]], np.int64)
        for side, items in enumerate((first, second))
    ]
    expected = [len(set(first[:d]) & set(second[:d])) for d in range(1, 11)]
    assert in_both(*padded, lengths).tolist() == [expected]


def test_the_same_list_agrees_wholly_and_the_top_counts_most():
    same, top, bottom, apart, empty = compared(
        [
            ([1, 2, 3, 4], [1, 2, 3, 4]),
            ([1, 2, 3, 4], [1, 2, 7, 8]),
            ([1, 2, 3, 4], [7, 8, 3, 4]),
            ([1, 2, 3, 4], [5, 6, 7, 8]),
            ([1, 2, 3, 4], []),
        ]
    )[2]
    assert same == pytest.approx(1)
    assert same > top > bottom > apart
    assert apart == empty == 0


@settings(max_examples=40)
@given(st.lists(st.tuples(LIST, LIST), max_size=6))
def test_batches_of_ragged_lists_are_compared_pair_by_pair(pairs):
    lists = pa.list_(pa.int64())
    batch = pa.RecordBatch.from_pydict(
        {
            "track_id": pa.array([f"t{i}" for i in range(len(pairs))], pa.string()),
            "features": pa.array([first for first, _ in pairs], lists),
            "spectrogram": pa.array([second for _, second in pairs], lists),
        }
    )
    found, again = compare_batches(iter([batch, batch]))
    assert found.equals(again)
    assert found.schema.field("in_both").type == pa.int32()
    for row, (i, (first, second)) in zip(found.to_pylist(), enumerate(pairs), strict=True):
        shared, either = len(set(first) & set(second)), len(set(first) | set(second))
        assert row["track_id"] == f"t{i}"
        assert row["in_both"] == shared
        assert row["jaccard"] == pytest.approx(shared / either if either else 0.0)
        assert row["rank_biased_overlap"] == pytest.approx(rbo_ext(first, second, 0.9), abs=1e-12)


def test_what_it_says_of_a_pair_does_not_depend_on_the_others_in_its_batch():
    rng = np.random.default_rng(0)
    pairs = [[rng.permutation(20)[:length].tolist() for _ in range(2)] for length in [7] * 100 + [20]]

    def compared(some):
        columns = {name: [pair[side] for pair in some] for side, name in enumerate(("features", "spectrogram"))}
        batch = pa.RecordBatch.from_pydict({"track_id": [str(n) for n in range(len(some))], **columns})
        (found,) = compare_batches(iter([batch]))
        return found.column("rank_biased_overlap").to_pylist()

    assert compared(pairs)[:100] == [compared([pair])[0] for pair in pairs[:100]]
