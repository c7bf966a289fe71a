"""Lists are chosen for all tracks at once as a plain loop would choose them for one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.recommend.choose import Limit, choose, positions

NAMES = st.lists(st.integers(-3, 3), max_size=3, unique=True)
AFFINITIES = st.integers(-4, 4).map(lambda n: n / 4)  # few values: many are equal
CANDIDATE = st.tuples(AFFINITIES, NAMES, NAMES, st.booleans())
TRACKS = st.lists(st.lists(CANDIDATE, max_size=12), max_size=6)


def slow(candidates, top_n, limits):
    """One track's list, as one would write it down: indices of the candidates, best first."""
    chosen, held = [], [Counter() for _ in limits]
    for i in sorted(range(len(candidates)), key=lambda i: (-candidates[i][0], i)):
        _, *names, eligible = candidates[i]
        fits = eligible and all(held[k][name] < most for k, most in enumerate(limits) for name in names[k])
        if fits and len(chosen) < top_n:
            chosen.append(i)
            for k in range(len(limits)):
                held[k].update(names[k])
    return chosen


def flat(tracks, limits):
    track = np.array([t for t, candidates in enumerate(tracks) for _ in candidates], np.int64)
    candidates = [candidate for of_track in tracks for candidate in of_track]
    made = []
    for k, most in enumerate(limits):
        pairs = [(i, name) for i, candidate in enumerate(candidates) for name in candidate[1 + k]]
        bearer, name = np.array(pairs, np.int64).reshape(-1, 2).T
        made.append(Limit(bearer, name, most))
    affinity = np.array([candidate[0] for candidate in candidates], np.float64)
    return track, affinity, np.array([candidate[-1] for candidate in candidates], np.bool_), made


@settings(deadline=None, max_examples=300)
@given(TRACKS, st.integers(1, 6), st.lists(st.integers(1, 3), max_size=2))
def test_as_a_plain_loop_would(tracks, top_n, most):
    track, affinity, eligible, limits = flat(tracks, most)
    rank = choose(track, affinity, eligible, top_n, limits)
    for t, candidates in enumerate(tracks):
        ranks = rank[track == t]
        expected = np.zeros(len(candidates), np.int64)
        expected[slow(candidates, top_n, most)] = np.arange(len(slow(candidates, top_n, most))) + 1
        np.testing.assert_array_equal(ranks, expected)


@settings(deadline=None)
@given(TRACKS, st.randoms(use_true_random=False))
def test_tracks_do_not_know_of_each_other(tracks, random):
    """Candidates of several tracks may come mixed; only their order within a track counts."""
    track, affinity, eligible, limits = flat(tracks, [2, 1])
    rank = choose(track, affinity, eligible, 5, limits)
    left = {t: np.flatnonzero(track == t).tolist() for t in range(len(tracks))}
    deal = track.tolist()
    random.shuffle(deal)
    mixed = np.array([left[t].pop(0) for t in deal], np.int64)
    where = np.argsort(mixed)
    moved = [Limit(where[limit.candidate], limit.name, limit.most) for limit in limits]
    found = choose(track[mixed], affinity[mixed], eligible[mixed], 5, moved)
    np.testing.assert_array_equal(found, rank[mixed])


def test_a_name_is_counted_within_its_list_and_its_limit_alone():
    track, affinity = np.array([0, 0, 0, 1]), np.array([0.9, 0.8, 0.7, 0.6])
    by_artist = Limit(np.array([0, 1, 2, 3]), np.array([7, 7, 8, 7]), 1)
    by_album = Limit(np.array([2]), np.array([7]), 1)
    assert choose(track, affinity, np.ones(4, np.bool_), 3, [by_artist, by_album]).tolist() == [1, 0, 2, 1]


def test_nothing_is_chosen_of_nothing():
    nothing = np.zeros(0, np.int64)
    assert choose(nothing, np.zeros(0), nothing == 0, 10, [Limit(nothing, nothing, 1)]).tolist() == []


@given(st.lists(st.integers(0, 2), max_size=20))
def test_a_place_in_a_run_counts_the_equal_ones_right_before(values):
    expected = []
    for i, value in enumerate(values):
        expected.append(expected[-1] + 1 if i and values[i - 1] == value else 0)
    assert positions(np.array(values, np.int64)).tolist() == expected
