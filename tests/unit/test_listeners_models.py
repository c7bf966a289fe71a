"""Models of listeners: each recomputed in another way, one track or person at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from sklearn.metrics import ndcg_score

from specrec.listeners.als import fold_in
from specrec.listeners.blend import learn_weights, learn_weights_that_help, ndcg_of
from specrec.listeners.popularity import Popularity, Prior, fit_popularity, others_of_artist
from specrec.listeners.together import pairs_liked

seeds = st.integers(0, 10**6)


class Catalogue:
    """Tracks that people know and like, and whose artists differ: preferences are normal around a track's mean."""

    def __init__(self, seed: int, tracks: int = 4000, per_artist: int = 4, differ: float = 0.05) -> None:
        random = np.random.default_rng(seed)
        self.artist = np.arange(tracks) // per_artist
        self.rate = 20 * random.gamma(2.0, 0.5, size=tracks // per_artist)[self.artist]
        self.known = random.poisson(random.gamma(3.0, self.rate / 3.0))
        self.mean = random.normal(0.6, 0.1, size=tracks // per_artist)[self.artist] + random.normal(
            0, differ, size=tracks
        )
        owner = np.repeat(np.arange(tracks), self.known)
        liking = self.mean[owner] + random.normal(0, 0.3, size=len(owner))
        self.liking = np.bincount(owner, liking, minlength=tracks)
        self.squares = np.bincount(owner, np.square(liking), minlength=tracks)

    def without(self, some: np.ndarray) -> tuple[np.ndarray, ...]:
        """What is counted when nobody has heard some of the tracks yet."""
        return tuple(np.where(some, 0, values) for values in (self.known, self.liking, self.squares))


# --- popularity -----------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_others_of_an_artist_are_all_but_the_track_itself(seed: int) -> None:
    random = np.random.default_rng(seed)
    artist, values = random.integers(-1, 4, size=12), random.integers(0, 9, size=12)
    expected = [
        sum(values[other] for other in range(12) if other != own and artist[other] == artist[own] >= 0)
        for own in range(12)
    ]
    assert others_of_artist(artist, values).tolist() == expected


def test_what_is_expected_is_the_mean_of_the_posterior() -> None:
    of = Popularity(Prior(mean=10.0, artist=2.0, track=3.0), Prior(mean=0.6, artist=4.0, track=5.0))
    known, liking, artist = np.array([7, 4, 0]), np.array([2.5, 4.0, 0.0]), np.array([1, 1, -1])
    found = of.expected(known, liking, artist)
    # of the first track: the artist's other track is known by 4, all of whom like it
    rate, mean = (4 + 2 * 10) / (1 + 2), (4 + 4 * 0.6) / (4 + 4)
    prior = stats.gamma(3.0, scale=rate / 3.0)
    weight = quad(lambda x: prior.pdf(x) * stats.poisson.pmf(7, x), 0, np.inf)[0]
    expected = quad(lambda x: x * prior.pdf(x) * stats.poisson.pmf(7, x), 0, np.inf)[0] / weight
    assert found.known[0] == pytest.approx(expected)
    # a normal prior that is worth 5 people, and 7 who like it by 2.5 / 7
    precision = np.array([5.0, 7.0])
    assert found.liking[0] == pytest.approx(np.average([mean, 2.5 / 7], weights=precision))
    # of the third, nothing is known
    assert (found.known[2], found.liking[2]) == pytest.approx((3 / (1 + 3 / 10), 0.6))
    assert np.exp(found.parts) == pytest.approx(np.stack([found.known, found.liking], axis=1))


def test_strengths_are_where_the_likelihood_is_greatest() -> None:
    of = Catalogue(0, tracks=1200)
    found = fit_popularity(of.known, of.liking, of.squares, of.artist)
    size, people = others_of_artist(of.artist, np.ones(len(of.known))), others_of_artist(of.artist, of.known)
    heard = of.known > 0
    mean = of.liking[heard] / of.known[heard]
    within = (of.squares[heard] - of.known[heard] * mean**2).sum() / (of.known[heard] - 1).sum()
    assert within == pytest.approx(0.3**2, rel=0.05)

    def likelihood(known: Prior, liking: Prior) -> tuple[float, float]:
        rate = known.of_artist(people, size)
        expected = liking.of_artist(others_of_artist(of.artist, of.liking), people)[heard]
        around = np.sqrt(within / liking.track + within / of.known[heard])
        return (
            stats.nbinom.logpmf(of.known, known.track, known.track / (known.track + rate)).sum(),
            stats.norm.logpdf(mean, expected, around).sum(),
        )

    best = likelihood(found.known, found.liking)
    for factor in (0.8, 1.25):
        for name in ("artist", "track"):
            known = Prior(**{**vars(found.known), name: getattr(found.known, name) * factor})
            liking = Prior(**{**vars(found.liking), name: getattr(found.liking, name) * factor})
            others = likelihood(known, liking)
            assert others[0] < best[0]
            assert others[1] < best[1]


def test_what_is_believed_is_nearer_the_truth_than_what_was_counted() -> None:
    of = Catalogue(1)
    found = fit_popularity(of.known, of.liking, of.squares, of.artist).expected(of.known, of.liking, of.artist)
    heard = of.known > 0
    counted = of.liking[heard] / of.known[heard]
    assert np.square(found.liking - of.mean)[heard].mean() < 0.5 * np.square(counted - of.mean[heard]).mean()
    assert np.square(found.known - of.rate).mean() < 0.9 * np.square(of.known - of.rate).mean()


def test_an_artist_tells_of_a_new_track_as_far_as_artists_tell() -> None:
    of = Catalogue(2, differ=0.02)
    new = np.arange(len(of.known)) % 4 == 3
    counts = of.without(new)
    popularity = fit_popularity(*counts, of.artist)
    found = popularity.expected(counts[0], counts[1], of.artist)
    assert np.corrcoef(found.liking[new], of.mean[new])[0, 1] > 0.8
    anybody = np.random.default_rng(0).permutation(of.artist)  # artists that tell nothing
    assert fit_popularity(*counts, anybody).liking.artist > 10 * popularity.liking.artist


@pytest.mark.parametrize("known", [[], [0, 0], [1, 0], [5, 5]])
def test_little_or_nothing_that_is_known_gives_finite_numbers(known: list[int]) -> None:
    counts, artist = np.array(known, np.int64), np.full(len(known), -1)
    for liking in (counts * 1.0, counts * 0.0):
        parts = fit_popularity(counts, liking, liking, artist).expected(counts, liking, artist).parts
        assert np.isfinite(parts).all()


# --- alternating least squares --------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_folding_in_minimises_the_loss_of_implicit_feedback(seed: int) -> None:
    """By brute force: the least squares of all tracks, also those that the person does not know."""
    random = np.random.default_rng(seed)
    tracks, size, regularisation = 25, 4, 0.3
    vectors = random.normal(size=(tracks, size)).astype(np.float32)
    known = random.choice(tracks, size=7, replace=False)
    evidence = random.normal(size=7) * 3
    liked = np.zeros(tracks)
    confidence = np.ones(tracks)
    liked[known], confidence[known] = evidence > 0, 1 + np.abs(evidence)
    every = vectors.astype(float)
    person = fold_in(every.T @ every, vectors[known], evidence, regularisation)
    penalty = np.sqrt(regularisation * liked.sum()) * np.eye(size)
    rows = np.concatenate([every * np.sqrt(confidence)[:, None], penalty])
    wanted = np.concatenate([liked * np.sqrt(confidence), np.zeros(size)])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(person.factors, expected if liked.any() else 0, atol=1e-8)
    parts = person.parts(every)
    np.testing.assert_allclose(parts.sum(axis=1), every @ person.factors, atol=1e-9)
    assert not parts[:, evidence <= 0].any()


def test_parts_are_those_that_implicit_explains() -> None:
    implicit = pytest.importorskip("implicit")
    from scipy import sparse

    random = np.random.default_rng(3)
    likes = sparse.csr_matrix((random.random((30, 20)) < 0.2) * random.integers(2, 6, (30, 20)).astype(np.float32))
    model = implicit.als.AlternatingLeastSquares(factors=5, regularization=0.6, alpha=1.0, random_state=0)
    model.fit(likes, show_progress=False)
    vectors = model.item_factors
    gram = vectors.astype(float).T @ vectors.astype(float)
    row = likes[4]
    # its confidence of a like is the value, ours is one more; its regularisation is not times the likes
    person = fold_in(gram, vectors[row.indices], row.data.astype(float) - 1, 0.6 / row.nnz)
    score, explained, _ = model.explain(4, likes, itemid=7, N=20)
    parts = dict(zip(row.indices.tolist(), person.parts(vectors[7:8].astype(float))[0], strict=True))
    assert score == pytest.approx(sum(parts.values()), rel=1e-4)
    assert dict(explained) == pytest.approx(parts, rel=1e-3, abs=1e-5)


# --- what is liked together -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_pairs_are_counted_as_one_counts_them_by_hand(seed: int) -> None:
    random = np.random.default_rng(seed)
    likes = sorted({(f"p{random.integers(6)}", int(random.integers(100, 108))) for _ in range(25)})
    weight = {like: int(random.integers(1, 9)) for like in likes}
    table = pa.table(
        {
            "user_id": [user for user, _ in likes],
            "code": [code for _, code in likes],
            "weight": list(weight.values()),
        }
    )
    found = {(row["a"], row["b"]): (row["both"], row["product"]) for row in pairs_liked(table).to_pylist()}
    of = {code: {user for user, other in likes if other == code} for _, code in likes}
    expected = {
        (a, b): (len(of[a] & of[b]), sum(weight[user, a] * weight[user, b] for user in of[a] & of[b]))
        for a in of
        for b in of
        if a != b and of[a] & of[b]
    }
    assert found == expected


# --- the blend ------------------------------------------------------------------------------------------------


def _choices(seed: int, people: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of which each person takes one, by the very model that is learned (Gumbel noise)."""
    random = np.random.default_rng(seed)
    components = random.normal(size=(people * 20, len(weights)))
    utility = components @ weights + random.gumbel(size=len(components))
    is_liked = np.zeros(len(components), bool)
    is_liked[utility.reshape(people, 20).argmax(axis=1) + np.arange(people) * 20] = True
    return components, is_liked, np.repeat(np.arange(people), 20)


def test_the_weights_by_which_people_choose_are_found() -> None:
    truth = np.array([1.5, 0.5, 0.0])
    components, is_liked, owner = _choices(0, 3000, truth)
    found = learn_weights(components * [1.0, 10.0, 1.0], is_liked, owner, np.zeros(len(owner), np.int64), 1)
    np.testing.assert_allclose(found[0] * [1.0, 10.0, 1.0], truth, atol=0.1)


def test_each_level_has_its_own_weights_and_an_empty_one_those_of_all() -> None:
    first, second = _choices(1, 1500, np.array([1.5, 0.0])), _choices(2, 1500, np.array([0.0, 1.5]))
    components, is_liked = (np.concatenate([a, b]) for a, b in zip(first[:2], second[:2], strict=True))
    owner = np.concatenate([first[2], second[2] + 1500])
    level = np.repeat([0, 2], len(first[2]))
    found = learn_weights(components, is_liked, owner, level, 3)
    assert found[0, 0] > 4 * found[0, 1]
    assert found[2, 1] > 4 * found[2, 0]
    np.testing.assert_allclose(found[1, 0] / found[1, 1], 1.0, atol=0.25)  # of nobody: as of all together
    assert (found >= 0).all()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_ndcg_is_that_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, is_liked = random.normal(size=(5, 15)), random.random((5, 15)) < 0.3
    is_liked[0] = False
    found = ndcg_of(scores.ravel(), is_liked.ravel(), np.repeat(np.arange(5), 15))
    assert np.isnan(found[0])
    for row in range(1, 5):
        expected = ndcg_score(is_liked[[row]], scores[[row]], k=10) if is_liked[row].any() else np.nan
        assert found[row] == pytest.approx(expected, nan_ok=True)


def test_what_is_told_of_a_person_counts_only_where_it_ranks_better() -> None:
    of_all = np.array([True, False])
    for truth, counts in ((np.array([1.0, 1.5]), True), (np.array([1.0, 0.0]), False)):
        components, is_liked, owner = _choices(5, 400, truth)
        level = np.zeros(len(owner), np.int64)
        found = learn_weights_that_help(components, is_liked, owner, level, 1, of_all=of_all)
        assert found[0, 0] > 0.5
        assert (found[0, 1] > 0.5) == counts
        if not counts:
            alone = learn_weights(components[:, :1], is_liked, owner, level, 1)
            assert found[0].tolist() == [alone[0, 0], 0.0]
