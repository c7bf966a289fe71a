"""Each metric against hand-made cases whose answer is known, and against a direct computation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from specrec.evaluate import measurements as M
from specrec.evaluate.baselines import genre_lists, popular_lists, random_lists
from specrec.evaluate.explanations import fidelity, joined, split
from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.metrics import METRICS, QUESTIONS
from specrec.evaluate.occurrence import ListCounts, Occurrence, of_genre_prior, of_popularity, of_random
from specrec.evaluate.ranking import Facts, IndexedVectors, as_lists, diversity, mean_of_list, precision
from specrec.evaluate.sample import assemble
from specrec.recommend.contributions import Families, Regions, Whole

BOOTSTRAP = Bootstrap(resamples=500, seed=1)


def facts(**columns):
    n = len(next(iter(columns.values())))
    nothing = dict.fromkeys(("artists", "album_name", "track_genre", "song"), [None] * n)
    frame = {"track_id": [f"t{i:03}" for i in range(n)], **nothing, "liked": [math.nan] * n, **columns}
    return Facts(pd.DataFrame(frame))


def figures(measurements):
    return {(of.metric, of.slice): of for of in measurements}


# --- intervals ----------------------------------------------------------------------------------------------


def test_an_interval_contains_the_value_and_shrinks_with_the_tracks():
    draws = np.random.default_rng(0).normal(5, 2, 4_000)
    few, many = BOOTSTRAP.mean(draws[:40]), BOOTSTRAP.mean(draws)
    for figure, values in ((few, draws[:40]), (many, draws)):
        assert figure.value == pytest.approx(values.mean())
        assert figure.low < figure.value < figure.high
        # the bootstrap of a mean is about the normal interval
        assert figure.high - figure.low == pytest.approx(2 * 1.96 * stats.sem(values), rel=0.2)
    assert many.high - many.low < (few.high - few.low) / 5


def test_a_mean_leaves_out_what_is_not_known_and_needs_two_to_resample():
    assert BOOTSTRAP.mean([1.0, math.nan, 3.0]).value == 2
    assert BOOTSTRAP.mean([1.0, math.nan, 3.0]).n == 2
    assert BOOTSTRAP.mean([math.nan, 3.0]) == BOOTSTRAP.median([3.0])
    assert BOOTSTRAP.mean([3.0]).low is None
    assert BOOTSTRAP.mean([math.nan]) is None
    assert BOOTSTRAP.mean([]) is None


def test_what_is_always_the_same_has_an_interval_of_no_width():
    figure = BOOTSTRAP.mean(np.ones(20))
    assert (figure.low, figure.value, figure.high) == (1, 1, 1)


def test_the_seed_decides_the_interval():
    values = np.random.default_rng(0).random(50)
    assert BOOTSTRAP.mean(values) == BOOTSTRAP.mean(values)
    assert BOOTSTRAP.mean(values) != Bootstrap(resamples=500, seed=2).mean(values)


def test_rank_correlation_is_scipys_and_so_are_the_resamples():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 10, 60) / 10.0  # with ties
    y = x + rng.normal(0, 0.3, 60)
    figure = BOOTSTRAP.rank_correlation(np.append(x, math.nan), np.append(y, 1.0))
    assert figure.value == stats.spearmanr(x, y).statistic
    assert figure.n == 60
    drawn = rng.integers(0, 60, (500, 60))
    direct = np.percentile([stats.spearmanr(x[i], y[i]).statistic for i in drawn], [2.5, 97.5])
    assert (figure.low, figure.high) == pytest.approx(direct, abs=0.05)
    assert BOOTSTRAP.rank_correlation(x, np.ones(60)) is None
    assert BOOTSTRAP.rank_correlation(x[:2], y[:2]) is None


def test_a_histogram_is_resampled_as_its_tracks_are():
    values = np.random.default_rng(0).poisson(3, 300).astype(float)
    cells, counts = np.unique(values, return_counts=True)
    of_histogram = BOOTSTRAP.of_histogram(counts.astype(float), lambda c: c @ cells / c.sum(axis=-1))
    of_tracks = BOOTSTRAP.mean(values)
    assert of_histogram.value == pytest.approx(of_tracks.value)
    assert (of_histogram.low, of_histogram.high) == pytest.approx((of_tracks.low, of_tracks.high), abs=0.06)
    assert of_histogram.n == 300
    assert BOOTSTRAP.of_histogram(np.zeros(3), np.sum) is None


# --- lists --------------------------------------------------------------------------------------------------


def test_lists_are_laid_out_by_rank_and_what_is_unknown_is_missing():
    of = facts(track_genre=list("abc"))
    rows = pd.DataFrame(
        {"track_id": ["t001", "t000", "t001", "t001", "nobody"], "rank": [2, 1, 1, 9, 1],
         "listed": ["t000", "nobody", "t002", "t000", "t000"]}
    )  # fmt: skip
    lists = as_lists(of, np.array([1, 0]), rows, 3)
    assert lists.tolist() == [[2, 0, -1], [-1, -1, -1]]


def test_precision_is_of_the_first_that_are_allowed():
    relevant = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]], bool)
    allowed = np.array([[0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    shares, found = precision(relevant, allowed, 2)
    assert found.tolist() == [2, 0, 1]
    np.testing.assert_equal(shares, [0.5, np.nan, 0.0])


def test_artists_are_the_same_where_one_of_several_is():
    of = facts(artists=["A;B", "b", "C", None, "A", ""])
    lists = np.array([[1, 2, 3, 4, 5, -1], [0, 2, 3, 4, 5, -1], [0, 1, 2, 4, 5, -1]])
    assert of.same_artist(np.array([0, 1, 3]), lists).tolist() == [
        [True, False, False, True, False, False],
        [True, False, False, False, False, False],
        [False] * 6,
    ]
    assert of.has_artist(np.arange(6)).tolist() == [True, True, True, False, True, False]


def test_genre_precision_leaves_out_artists_albums_and_tracks_without_a_genre():
    of = facts(
        track_genre=["rock", "rock", "rock", "pop", None, "rock"],
        artists=["A", "A", "B", "C", "D", "E"],
        album_name=["x", "y", "x", "z", "w", "v"],
    )
    lists = {"features": np.array([[1, 2, 4, 3, 5]])}
    found = figures(M.of_lists("genre", M.ListsBySystem(of, np.array([0]), lists), BOOTSTRAP))
    assert found["genre_precision_at_10", ""].value == pytest.approx(2 / 3)  # of 2, 3 and 5
    assert found["genre_precision_at_10", ""].details == {"candidates": "3.0"}
    assert found["genre_precision_at_10_other_albums", ""].value == pytest.approx(1 / 2)  # of 3 and 5
    assert found["genre_precision_at_10", "rock"].value == pytest.approx(2 / 3)


def test_genre_precision_equals_a_direct_computation():
    rng = np.random.default_rng(0)
    n = 60
    genre = rng.choice(["a", "b", "c", None], n)
    artists = rng.choice(list("pqrstuvw"), n)
    of = facts(track_genre=list(genre), artists=list(artists))
    tracks = np.flatnonzero(of.genre >= 0)
    lists = random_lists(tracks, np.arange(n), 30, seed=3)
    found = figures(M.of_lists("genre", M.ListsBySystem(of, tracks, {"random": lists}), BOOTSTRAP))
    direct = []
    for track, listed in zip(tracks, lists, strict=True):
        first = [i for i in listed if genre[i] is not None and artists[i] != artists[track]][:10]
        direct.append(np.mean([genre[i] == genre[track] for i in first]))
    assert found["genre_precision_at_10", ""].value == pytest.approx(np.mean(direct))


def test_songs_find_their_siblings():
    of = facts(song=["s", "s", "u", "u", None])
    lists = np.array([[1, 2, 3, 4], [2, 3, 0, 4], [4, 0, 1, -1]])
    found = figures(M.of_lists("song", M.ListsBySystem(of, np.arange(3), {"hybrid": lists}), BOOTSTRAP))
    assert found["song_precision_at_1", ""].value == pytest.approx(1 / 3)
    assert found["song_hit_at_10", ""].value == pytest.approx(2 / 3)


def test_listeners_agree_where_liked_tracks_recommend_liked_tracks():
    liked = [0.1, 0.2, 0.3, 0.8, 0.9, 1.0, math.nan]
    of = facts(liked=liked)
    alike = np.array([[1, 6], [0, 2], [1, 6], [4, -1], [5, 3], [4, 6], [0, 1]])
    opposed = alike[[4, 5, 3, 2, 0, 1, 6]]
    found = [
        figures(M.of_lists("listeners", M.ListsBySystem(of, np.arange(7), {"x": lists}), BOOTSTRAP))[
            "listener_agreement", ""
        ]
        for lists in (alike, opposed)
    ]
    assert found[0].value > 0.8
    assert found[1].value < -0.4
    assert found[0].n == 6
    np.testing.assert_allclose(mean_of_list(np.array(liked), np.array([[6, 0, 1], [6, -1, -1]])), [0.15, np.nan])


def test_diversity_is_one_less_the_mean_cosine_of_pairs():
    vectors = np.array([[1.0, 0], [2, 0], [0, 3], [-1, 0], [0, 0]])
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2], [0, -1, -1], [0, 1, 4]])
    np.testing.assert_allclose(diversity(lists, vectors), [0, 1, 2, 1 - 1 / 3, np.nan, 0], atol=1e-12)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(20, 5))
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    chosen = rng.permutation(20)[:7]
    cosines = unit[chosen] @ unit[chosen].T
    assert diversity(chosen[None], drawn)[0] == pytest.approx(1 - cosines[np.triu_indices(7, 1)].mean())


# --- how often recordings are recommended -------------------------------------------------------------------


def test_occurrence_equals_a_direct_computation():
    rng = np.random.default_rng(0)
    lists = np.array([rng.choice(50, 5, replace=False, p=np.arange(1, 51) / 1275) for _ in range(80)])
    times = np.bincount(lists.ravel(), minlength=60)  # ten more that are in no list
    found = Occurrence.of(Counter(times[times > 0].tolist()), 60, 80).figures(BOOTSTRAP)
    assert found["coverage"].value == pytest.approx(np.mean(times > 0))
    assert found["never_recommended"].value == pytest.approx(np.mean(times == 0))
    assert found["hubness"].value == pytest.approx(stats.skew(times))
    assert found["novelty"].value == pytest.approx(np.mean(-np.log2(times[lists.ravel()] / 80)))
    drawn = [stats.skew(rng.choice(times, 60)) for _ in range(500)]
    assert (found["hubness"].low, found["hubness"].high) == pytest.approx(
        np.percentile(drawn, [2.5, 97.5]), abs=0.2
    )
    for figure in found.values():
        assert figure.low <= figure.value <= figure.high


def test_what_is_expected_of_random_lists_is_what_random_lists_do():
    tracks = np.arange(400)
    times = np.bincount(random_lists(tracks, tracks, 10, seed=0).ravel(), minlength=400)
    found = of_random(400, 10).figures(BOOTSTRAP)
    assert found["hubness"].low < stats.skew(times) < found["hubness"].high
    assert found["coverage"].value == pytest.approx(1 - (1 - 10 / 399) ** 399)
    assert found["novelty"].value == pytest.approx(np.mean(-np.log2(np.repeat(times, times) / 400)), abs=0.02)


def test_what_is_expected_of_a_genre_prior_is_what_it_does():
    genre = np.repeat([0, 1, 2, -1], [200, 100, 5, 95])
    tracks = np.arange(400)
    times = np.bincount((lists := genre_lists(tracks, tracks, genre, 10, seed=0))[lists >= 0], minlength=400)
    found = of_genre_prior({200: 1, 100: 1, 5: 1}, 400, 10).figures(BOOTSTRAP)
    assert found["coverage"].value == pytest.approx(np.mean(times > 0), abs=0.01)
    assert found["hubness"].value == pytest.approx(stats.skew(times), abs=0.15)
    assert (genre[lists] == genre[:, None])[lists >= 0].all()
    assert (lists[genre == -1] == -1).all()
    assert ((lists[genre == 2] >= 0).sum(axis=1) == 4).all()


@pytest.mark.parametrize(
    ("tracks", "k", "popular"),
    [(30, 4, None), (5, 4, None), (5, 10, None), (6, 4, None), (1, 3, None),
     (30, 4, 3), (30, 4, 4), (30, 4, 5), (30, 4, 1), (30, 4, 0), (5, 4, 4)],
)  # fmt: skip
def test_what_comes_of_popularity_is_what_its_lists_do(tracks, k, popular):
    some = np.arange(tracks if popular is None else popular)
    lists = popular_lists(np.arange(tracks), some[: k + 1], k)
    times = np.bincount(lists[lists >= 0], minlength=tracks)
    expected = of_popularity(tracks, k, popular)
    assert expected.lists == (lists >= 0).any(axis=1).sum()
    told = np.repeat(expected.times, expected.tracks.astype(int))
    assert sorted(told.tolist()) == sorted(times.tolist())
    assert not (lists == np.arange(tracks)[:, None]).any()


def test_random_lists_repeat_nothing_and_never_hold_the_track():
    pool = np.arange(0, 60, 2)
    lists = random_lists(np.arange(50), pool, 20, seed=0)
    assert all(len(set(row)) == 20 for row in lists.tolist())
    assert np.isin(lists, pool).all()
    assert not (lists == np.arange(50)[:, None]).any()
    assert (lists == random_lists(np.arange(50), pool, 20, seed=0)).all()
    assert (random_lists(np.array([0]), np.array([0, 4]), 3, seed=0) == [[4, -1, -1]]).all()


def test_short_lists_and_duplicates():
    counts = ListCounts(np.array([0.0, 10, 10, 8]), np.array([0.0, 0, 2, 1]), np.array([1.0, 6, 2, 1]))
    assert counts.not_full(10, BOOTSTRAP).value == pytest.approx(0.2)
    assert counts.duplicate_rate(BOOTSTRAP).value == pytest.approx(5 / 88)
    assert counts.not_full(10, BOOTSTRAP).n == 10


# --- explanations -------------------------------------------------------------------------------------------


def direct_fidelity(parts, tracks, lists, top):
    """The same with loops: every part of every pair, deleted from plain sums of parts."""
    n_parts = parts.shape[1]

    def cosine(a, b, without):
        x, y = (sum(parts[i, p] for p in range(n_parts) if p != without) for i in (a, b))
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    def rank(a, b, without):
        own = cosine(a, b, without)
        return 1 + sum(cosine(a, c, without) > own + 1e-9 for c in tracks if c not in (a, b))

    rows = []
    for a, listed, first in zip(tracks, lists, top, strict=True):
        pairs = []
        for b, t in zip(listed, first, strict=True):
            if b >= 0 and t >= 0:
                scores = [cosine(a, b, None) - cosine(a, b, p) for p in range(n_parts)]
                ranks = [rank(a, b, p) - rank(a, b, None) for p in range(n_parts)]
                others = [p for p in range(n_parts) if p != t]
                pairs.append(
                    [
                        value
                        for lost in (scores, ranks)
                        for value in (
                            lost[t],
                            np.mean([lost[p] for p in others]),
                            np.mean([(lost[t] > lost[p]) + 0.5 * (lost[t] == lost[p]) for p in others]),
                        )
                    ]
                )
        rows.append(np.mean(pairs, axis=0) if pairs else np.full(6, np.nan))
    return np.array(rows)


REGIONS = Regions(("low", "mid", "high"))


def case():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(12, 3, 6))
    lists = np.array([[1, 9, 10], [0, 11, -1], [8, 3, 1], [2, 4, 5], [5, 0, 9]])
    return parts, np.arange(5), lists, rng.integers(0, 3, lists.shape)


def assert_equal(found, direct):
    given = (found.score, found.score_others, found.score_wins, found.rank, found.rank_others, found.rank_wins)
    np.testing.assert_allclose(np.stack(given, axis=1), direct, atol=1e-9)


def test_fidelity_of_regions_equals_a_direct_computation():
    parts, tracks, lists, top = case()
    top[3] = -1  # a track of whose explanations nothing is known
    regions = split(REGIONS, parts.sum(axis=1), parts.reshape(12, -1))
    found = fidelity(regions, tracks, lists, top)
    assert np.isnan(found.score[3])
    assert_equal(found, direct_fidelity(parts, tracks, lists, top))


def test_fidelity_of_families_equals_a_direct_computation():
    _, tracks, lists, top = case()
    vectors, of = np.random.default_rng(1).normal(size=(12, 6)), np.array([0, 0, 1, 2, 2, 2])
    parts = np.stack([vectors * (of == i) for i in range(3)], axis=1)
    found = fidelity(split(Families(of, ("a", "b", "c")), vectors), tracks, lists, top)
    assert_equal(found, direct_fidelity(parts, tracks, lists, top))
    unused = fidelity(split(Families(of, ("a", "b", "c", "weightless")), vectors), tracks, lists, top)
    assert_equal(unused, direct_fidelity(parts, tracks, lists, top))


def test_the_hybrid_is_split_into_the_parts_of_its_spaces():
    regions, tracks, lists, _ = case()
    rng = np.random.default_rng(2)
    features, of = rng.normal(size=(12, 4)), np.array([0, 1, 1, 0])
    spectrogram = regions.sum(axis=1)
    model = rng.normal(size=(12, 3))
    spaces = [
        np.sqrt(weight) * of_space / np.linalg.norm(of_space, axis=1, keepdims=True)
        for weight, of_space in ((0.5, features), (0.3, spectrogram), (0.2, model))
    ]
    vectors = np.concatenate(spaces, axis=1)
    found = joined(
        vectors,
        [
            split(Families(of, ("a", "b")), features),
            split(REGIONS, spectrogram, regions.reshape(12, -1)),
            split(Whole("encoder"), model),
        ],
    )
    parts = np.stack([found.part(i) for i in range(6)], axis=1)
    assert found.names == ("a", "b", "low", "mid", "high", "encoder")
    np.testing.assert_allclose(parts.sum(axis=1), vectors, atol=1e-12)
    assert (parts[:, :2, 4:] == 0).all()
    assert (parts[:, 2:, :4] == 0).all()
    np.testing.assert_allclose(parts[:, 5, -3:], spaces[2])
    top = rng.integers(0, 6, lists.shape)
    assert_equal(fidelity(found, tracks, lists, top), direct_fidelity(parts, tracks, lists, top))


def test_a_true_explanation_is_faithful_and_a_false_one_is_not():
    """Pairs that share their first half and nothing else: that half is the reason, and the other is not."""
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.normal(size=(30, 4)), 2, axis=0)
    vectors = np.concatenate([shared, rng.normal(size=(60, 4))], axis=1)
    tracks, lists = np.arange(60), (np.arange(60) ^ 1)[:, None]
    halves = split(Families(np.repeat([0, 1], 4), ("shared", "own")), vectors)
    true, false = (fidelity(halves, tracks, lists, np.full((60, 1), top)) for top in (0, 1))
    assert true.score.mean() > 0.3
    assert true.score_wins.mean() > 0.9
    assert true.rank_wins.mean() > 0.9
    assert true.rank.mean() > 10
    np.testing.assert_allclose(false.score_wins, 1 - true.score_wins)
    np.testing.assert_allclose(false.score, true.score_others)


def test_measures_within_lists_and_of_both_systems():
    of = facts(artists=["A", "A", "B", None], track_genre=["x", "x", "y", "y"])
    known = pd.DataFrame({"track_id": ["t002", "t001", "t003"], "vector": [[1.0, 0], [0, 1], [1, 0]]})
    vectors = IndexedVectors.of(of, known)
    lists = M.ListsBySystem(of, np.array([0, 2, 3]), {"hybrid": np.array([[1, 2], [3, 1], [2, 0]])})
    found = figures(M.of_lists("any", lists, BOOTSTRAP, vectors))
    assert found["same_artist_rate", ""].value == pytest.approx((1 / 2 + 0) / 2)  # of the last none is known
    assert found["diversity", ""].value == pytest.approx(1)  # t000 has no vector: the last list is one track
    assert found["diversity", ""].n == 2
    agreement = pd.DataFrame(
        {"track_id": ["t000", "t002", "t003"], "jaccard": [0.5, 0.2, 0.0], "rank_biased_overlap": [1.0, 0.5, 0.0]}
    )
    found = figures(M.overlap(of, agreement, BOOTSTRAP))
    assert found["overlap_rank_biased", ""].value == pytest.approx(0.5)
    assert found["overlap_jaccard", "y"].value == pytest.approx(0.1)
    assert found["overlap_jaccard", "x"].n == 1


def test_every_measured_metric_is_described():
    parts, tracks, lists, top = case()
    regions = split(REGIONS, parts.sum(axis=1), parts.reshape(12, -1))
    found = [*M.deletion("spectrogram", regions, tracks, lists, top=top, bootstrap=BOOTSTRAP)]
    assert {of.metric for of in found} == {name for name in METRICS if name.startswith("fidelity")}
    assert set(of_random(9, 2).figures(BOOTSTRAP)) <= set(METRICS)


def test_means_that_only_rounding_tells_apart_are_ties():
    liked = [0.1, 0.2, 0.3, 0.7, 0.0, 0.5, 1.0]
    of = facts(liked=liked)
    # the first two lists hold the same tracks, whose sum depends on their order
    lists = np.array([[0, 1, 2], [2, 1, 0], [3, 5, 6], [6, 3, 4]])
    assert np.sum([0.1, 0.2, 0.3]) != np.sum([0.3, 0.2, 0.1])
    found = figures(M.of_lists("listeners", M.ListsBySystem(of, np.array([4, 0, 5, 6]), {"x": lists}), BOOTSTRAP))
    means = [0.2, 0.2, 2.2 / 3, 1.7 / 3]
    expected = stats.spearmanr([0.0, 0.1, 0.5, 1.0], means).statistic
    assert found["listener_agreement", ""].value == pytest.approx(expected)


# --- what was collected -------------------------------------------------------------------------------------


def collected(**changes):
    """Return a sample of two systems, in which t0 to t2 are asked, of a catalogue with two more tracks."""
    frames = {
        "facts": Facts(
            pd.DataFrame(
                {
                    "track_id": ["t0", "t1", "t2", "t3", "t4"],
                    "artists": ["A", "B", "C", "D", "E"],
                    "album_name": [None] * 5,
                    "track_genre": ["x", "x", "y", "x", "y"],
                    "song": [None] * 5,
                    "liked": [math.nan] * 5,
                }
            )
        ),
        "chosen": pd.DataFrame(
            {"track_id": ["t0", "t1", "t2", "t0", "t1"], "asked": ["any", "any", "any", "genre", "genre"]}
        ),
        "nearest": pd.DataFrame(
            {
                "system": ["hybrid", "hybrid", "hybrid", "features"],
                "track_id": ["t0", "t0", "t2", "t1"],
                "rank": [1, 2, 1, 1],
                "listed": ["t3", "t4", "t4", "t0"],
            }
        ),
        "listed": pd.DataFrame(
            {"system": ["hybrid"], "track_id": ["t0"], "rank": [1], "listed": ["t4"], "top": ["timbre"]}
        ),
        "popular": pd.Series(["t3", "t0", "t1"]),
        "parts": {"features": ["rhythm"], "hybrid": ["rhythm", "timbre"], "unheard": []},
        "top_n": 1,
        "seed": 0,
    }
    return assemble(**(frames | changes))


def test_a_sample_holds_the_lists_of_the_systems_and_of_the_baselines():
    sample = collected()
    assert list(sample.candidates.of) == ["features", "hybrid", "random", "popularity", "genre_prior"]
    assert list(sample.recommended.of) == ["hybrid", "random", "popularity", "genre_prior"]
    assert sample.candidates.tracks.tolist() == [0, 1, 2]
    assert sample.candidates.of["hybrid"].tolist() == [[3, 4], [-1, -1], [4, -1]]
    assert sample.candidates.of["popularity"].tolist() == [[3, 1], [3, 0], [3, 0]]
    assert sample.recommended.of["popularity"].tolist() == [[3], [3], [3]]
    assert sample.recommended.of["hybrid"].tolist() == [[4], [-1], [-1]]
    assert {name: asked.tolist() for name, asked in sample.asked.items()} == {
        "any": [True, True, True],
        "genre": [True, True, False],
        "song": [False] * 3,
        "listeners": [False] * 3,
    }
    assert {system: top.tolist() for system, top in sample.top.items()} == {"hybrid": [[1], [-1], [-1]]}
    assert sample.left_out == {}
    assert sample.candidates.track_ids(["features"]).to_list() == ["t0", "t1", "t2"]
    assert sample.candidates.track_ids(["hybrid"]).to_list() == ["t0", "t1", "t2", "t3", "t4"]


def test_baselines_that_the_catalogue_gives_nothing_for_are_left_out_with_the_reason():
    sample = collected(
        popular=pd.Series([], dtype=object), chosen=pd.DataFrame({"track_id": ["t0"], "asked": ["any"]})
    )
    assert list(sample.candidates.of) == ["features", "hybrid", "random"]
    assert sample.left_out.keys() == {"popularity", "genre", "genre_prior"}


def test_whole_lists_are_measured_from_their_histograms():
    times = pd.DataFrame({"times": [3, 1], "count": [1, 5]})  # t0 three times, five others once, four never
    lengths = pd.DataFrame({"length": [2, 1], "duplicates": [1, 0], "count": [3, 2]})  # and five tracks without
    settings = {"tracks": 10, "surplus": 0, "top_n": 2, "bootstrap": BOOTSTRAP}
    found = figures(M.whole_lists("hybrid", times, lengths, groups_are_known=True, **settings))
    assert found["coverage", ""].value == pytest.approx(6 / 10)
    assert found["never_recommended", ""].value == pytest.approx(4 / 10)
    assert found["hubness", ""].value == pytest.approx(stats.skew([3, 1, 1, 1, 1, 1, 0, 0, 0, 0]))
    assert found["lists_not_full", ""].value == pytest.approx(7 / 10)
    assert found["duplicate_rate", ""].value == pytest.approx(3 / 8)
    of_recordings = figures(
        M.whole_lists("hybrid", times, lengths, groups_are_known=False, **(settings | {"surplus": 2}))
    )
    assert of_recordings["coverage", ""].value == pytest.approx(6 / 8)
    assert ("duplicate_rate", "") not in of_recordings


def test_every_metric_of_lists_answers_a_question_that_is_asked():
    asked = {name: metric.of_lists.question for name, metric in METRICS.items() if metric.of_lists}
    assert set(asked.values()) == set(QUESTIONS)
    sample = collected()
    vectors = pd.DataFrame({"track_id": ["t0", "t3", "t4"], "vector": [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]})
    for question in QUESTIONS:
        index = IndexedVectors.of(sample.facts, vectors)
        found = {of.metric for of in M.of_lists(question, sample.candidates, BOOTSTRAP, index)}
        assert found <= {name for name, of in asked.items() if of == question}
