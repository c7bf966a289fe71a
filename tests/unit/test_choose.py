"""Lists are chosen for all tracks at once as a plain loop would choose them for one."""

from __future__ import annotations

from collections import Counter
from statistics import NormalDist

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.recommend.choose import Limit, choose, choose_batches, positions, vary
from specrec.recommend.config import RecommendConfig

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


@given(seed=st.integers(0, 10**6), variety=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_varied_lists_are_filled_as_a_plain_loop_would(seed, variety):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, size=3)
    track, affinity = np.repeat(np.arange(3), sizes), random.normal(size=sizes.sum())
    vectors = random.normal(size=(len(track), 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = random.random(len(track)) < 0.1
    taken = vary(track, affinity, vectors, 4, variety=variety, kept=kept)
    for number in range(3):
        own = np.flatnonzero(track == number)
        span = affinity[own].max() - affinity[own].min() or 1.0
        good = {of: (affinity[of] - affinity[own].min()) / span for of in own}
        chosen: list[int] = []
        while len(chosen) < min(4, len(own)):
            left = [of for of in own if of not in chosen]
            near = [max((float(vectors[of] @ vectors[other]) for other in chosen), default=0.0) for of in left]
            worth = [(kept[of], (1 - variety) * good[of] - variety * by) for of, by in zip(left, near, strict=True)]
            chosen.append(left[max(range(len(left)), key=worth.__getitem__)])
        assert set(chosen) == set(own[taken[own]])
    if variety == 0 and not kept.any():
        assert (taken == (choose(track, affinity, np.ones(len(track), bool), 4) > 0)).all()


def test_nothing_is_chosen_of_nothing():
    nothing = np.zeros(0, np.int64)
    assert choose(nothing, np.zeros(0), nothing == 0, 10, [Limit(nothing, nothing, 1)]).tolist() == []


@given(st.lists(st.integers(0, 2), max_size=20))
def test_a_place_in_a_run_counts_the_equal_ones_right_before(values):
    expected = []
    for i, value in enumerate(values):
        expected.append(expected[-1] + 1 if i and values[i - 1] == value else 0)
    assert positions(np.array(values, np.int64)).tolist() == expected


# --- batches ------------------------------------------------------------------------------------------------

QUARTERS = st.integers(-4, 4).map(lambda n: n / 4)  # exact, whatever they are added to
GROUP = st.none() | st.integers(1, 3)
CODES = st.lists(st.integers(1, 3), max_size=2, unique=True)
NEIGHBOUR = st.fixed_dictionaries(
    {"cosine": QUARTERS, "mean": QUARTERS, "duplicate": GROUP, "artists": CODES, "albums": CODES}
)
OWN = st.fixed_dictionaries({"mean": QUARTERS, "duplicate": GROUP, "candidates": st.lists(NEIGHBOUR, max_size=8)})
SCHEMA = {"space": pa.string(), "track_id": pa.string(), "mean": pa.float64(), "std": pa.float64()} | {
    "duplicate": pa.int64(),
    "candidates": pa.list_(
        pa.struct(
            {"neighbour_id": pa.string(), "cosine": pa.float64(), "mean": pa.float64(), "std": pa.float64()}
            | {"duplicate": pa.int64(), "artists": pa.list_(pa.int64()), "albums": pa.list_(pa.int64())}
        )
    ),
}


def batch_of(tracks, space="s"):
    """One row a track, as it comes from Spark; ids tell where they stand."""
    rows = []
    for t, track in enumerate(tracks):
        candidates = [c | {"neighbour_id": f"n{t}.{i}", "std": 0.25} for i, c in enumerate(track["candidates"])]
        own = {"space": space, "track_id": f"t{t}", "std": 0.5}
        rows.append(track | own | {"candidates": candidates})
    return pa.RecordBatch.from_pylist(rows, pa.schema(SCHEMA))


def expected_rows(tracks, config, space="s"):
    """What :func:`choose_batches` says of each track's candidates."""
    kept = [name for name, most in (("artists", config.max_per_artist), ("albums", config.max_per_album)) if most]
    limits = [1] + [most for most in (config.max_per_artist, config.max_per_album) if most]
    rows = []
    for t, track in enumerate(tracks):
        candidates = []
        for c in track["candidates"]:
            usual = (track["mean"] + c["mean"]) / 2 if config.hubs == "local_scaling" else 0
            group = [] if c["duplicate"] is None else [c["duplicate"]]
            is_copy = bool(group) and c["duplicate"] == track["duplicate"]
            candidates.append((c["cosine"] - usual, group, *(c[name] for name in kept), not is_copy))
        for rank, i in enumerate(slow(candidates, config.top_n, limits), start=1):
            values = (space, f"t{t}", rank, f"n{t}.{i}", track["candidates"][i]["cosine"], candidates[i][0])
            rows.append(values)
    return rows


@settings(deadline=None, max_examples=60)
@given(st.lists(OWN, max_size=5), st.data())
def test_batches_are_chosen_as_a_plain_loop_would(tracks, data):
    most = st.none() | st.integers(1, 2)
    config = RecommendConfig(
        top_n=data.draw(st.integers(1, 5)),
        hubs=data.draw(st.sampled_from(["off", "local_scaling"])),
        max_per_artist=data.draw(most),
        max_per_album=data.draw(most),
    )
    batches = [batch_of(tracks), batch_of(tracks[:1], "other")]
    first, second = choose_batches(config)(iter(batches))
    names = ["system", "track_id", "rank", "recommended_track_id", "score", "affinity"]
    for found, expected in (
        (first, expected_rows(tracks, config)),
        (second, expected_rows(tracks[:1], config, "other")),
    ):
        assert found.schema.names == names
        assert found.schema.field("rank").type == pa.int32()
        assert [tuple(row.values()) for row in found.to_pylist()] == expected


def test_what_is_rare_among_a_tracks_nearest_goes_first():
    """Mutual proximity holds a cosine against the mean and the spread of both tracks' nearest."""
    usual = {"duplicate": None, "artists": [], "albums": []}
    candidates = [usual | {"cosine": 0.6, "mean": 0.7}, usual | {"cosine": 0.5, "mean": 0.2}]
    batch = batch_of([{"mean": 0.4, "duplicate": None, "candidates": candidates}])
    (found,) = choose_batches(RecommendConfig(hubs="mutual_proximity"))(iter([batch]))
    assert found.column("recommended_track_id").to_pylist() == ["n0.1", "n0.0"]

    def share(cosine, mean, std):
        return NormalDist(mean, std).cdf(cosine)

    expected = [share(0.5, 0.4, 0.5) * share(0.5, 0.2, 0.25), share(0.6, 0.4, 0.5) * share(0.6, 0.7, 0.25)]
    np.testing.assert_allclose(found.column("affinity").to_numpy(), expected, rtol=1e-9)
