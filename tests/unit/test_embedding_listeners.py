"""The space of listeners: what is predicted of tracks that nobody is known to like, and what is said of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from specrec.arrays import BoolArray, Float64Array
from specrec.config import Config, load
from specrec.embedding.listeners import (
    UNIT,
    Artists,
    Tracks,
    exact_products,
    fit_artists,
    fit_prediction,
    for_artists,
    for_prediction,
    means_of_others,
    predict,
)
from specrec.embedding.spaces import needed_for, spaces_of
from specrec.embedding.spaces.listeners import UNHEARD, ListenersSpace
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES, COLUMNS
from specrec.errors import ConfigError
from specrec.evaluate import truth
from specrec.pipeline.hashes import recommend_hash
from specrec.recommend.explain import Explainer, explainer_of
from specrec.recommend.facts import listeners
from specrec.recommend.pairs import ListedPairs, Side, pairs_of, pairs_of_batch
from specrec.warehouse.artefacts import Artefact

FACTORS, DIMENSIONS, ARTISTS = 3, 5, 60
MEAN = np.array([1.0, -0.5, 0.2])
WITH_EVENTS = ("warehouse=w", "listeners.events=/events")


class World:
    """Tracks whose factors are of their sound, of their artist, and of chance, in known shares."""

    def __init__(
        self, seed: int, *, count: int = 400, of_sound: float = 1.0, of_artist: float = 1.0, by_chance: float = 0.3
    ) -> None:
        random = np.random.default_rng(seed)
        self.sound = random.normal(size=(count, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        self.artist = random.integers(0, ARTISTS, count)
        self.weights = of_sound * random.normal(size=(DIMENSIONS, FACTORS))
        of_artists = of_artist * random.normal(size=(ARTISTS, FACTORS))
        self.expected = MEAN + self.sound @ self.weights + of_artists[self.artist]
        self.factors = np.round(self.expected + by_chance * random.normal(size=(count, FACTORS)), 5)

    def tracks(self, is_heard: BoolArray | None = None) -> Tracks:
        factors = self.factors if is_heard is None else np.where(is_heard[:, None], self.factors, np.nan)
        return Tracks(factors, *means_of_others(factors, self.artist), self.sound)


def _products(rows: Float64Array) -> Float64Array:
    return exact_products(rows) * UNIT**2


def _fitted(tracks: Tracks) -> tuple[dict[str, Float64Array], Artists]:
    artists = fit_artists(_products(for_artists(tracks)))
    return fit_prediction(_products(for_prediction(tracks, artists)), artists), artists


def _error(tracks: Tracks, expected: Float64Array, fitted: dict[str, Float64Array]) -> float:
    return float(np.square(predict(tracks, fitted)[0] - expected).mean())


# --- fitting --------------------------------------------------------------------------------------------------


def test_the_mean_of_an_artist_s_tracks_is_of_the_others() -> None:
    random = np.random.default_rng(3)
    factors = np.round(random.normal(size=(50, FACTORS)), 5)
    factors[random.random(50) < 0.3] = np.nan
    artist = random.integers(0, 12, 50)
    means, count = means_of_others(factors, artist)
    for i in range(50):
        others = [
            factors[j] for j in range(50) if j != i and artist[j] == artist[i] and factors[j, 0] == factors[j, 0]
        ]
        assert count[i] == len(others)
        np.testing.assert_allclose(means[i], np.mean(others, axis=0) if others else np.full(FACTORS, np.nan))
    _, count = means_of_others(np.zeros((3, 0)), np.zeros(3, np.int64))  # where no track has any
    assert not count.any()


def test_sums_of_products_are_exact_whatever_the_order_and_the_batches() -> None:
    rows = np.random.default_rng(1).normal(size=(3000, 6)) * [1, 1, 30, 300, 1e-3, 5]
    whole = exact_products(rows)
    batches = [exact_products(part) for part in np.array_split(rows[::-1], 7)]
    np.testing.assert_array_equal(whole, sum(batches))
    np.testing.assert_allclose(whole * UNIT**2, np.round(rows, 5).T @ np.round(rows, 5), rtol=1e-9)


def test_what_sums_of_products_give_is_what_least_squares_give_on_the_tracks_themselves() -> None:
    world = World(0, count=90)
    tracks = world.tracks()
    fitted, artists = _fitted(tracks)
    weight = fitted["artist"][0]
    assert 0 < weight < 1  # else it was limited, and solves no equation
    x, m, y = (of - of.mean(axis=0) for of in (tracks.sound, artists.believed(tracks), tracks.factors))
    # the ridge is what the weights of sound say it was; all weights together are then one problem of least squares
    gradient = x.T @ (y - x @ fitted["sound"] - weight * m)
    ridge = float((gradient * fitted["sound"]).sum() / np.square(fitted["sound"]).sum())
    assert ridge > 0
    wide = np.zeros((len(x) + DIMENSIONS, FACTORS, DIMENSIONS * FACTORS + 1))
    for factor in range(FACTORS):
        own = slice(factor * DIMENSIONS, (factor + 1) * DIMENSIONS)
        wide[: len(x), factor, own] = x
        wide[len(x) :, factor, own] = np.sqrt(ridge) * np.eye(DIMENSIONS)
    wide[: len(x), :, -1] = m
    target = np.concatenate([y, np.zeros((DIMENSIONS, FACTORS))])
    solved, *_ = np.linalg.lstsq(wide.reshape(-1, wide.shape[2]), target.ravel(), rcond=None)
    np.testing.assert_allclose(fitted["sound"], solved[:-1].reshape(FACTORS, DIMENSIONS).T, atol=1e-4)
    assert weight == pytest.approx(solved[-1], abs=1e-4)
    # and on the tracks that it was fitted to it is right on average
    np.testing.assert_allclose(predict(tracks, fitted)[0].mean(axis=0), tracks.factors.mean(axis=0), atol=1e-4)


def test_few_tracks_of_an_artist_are_believed_as_far_as_they_agree() -> None:
    alike, unlike, nothing = (
        _fitted(World(5, count=3000, of_sound=0.0, of_artist=of_artist, by_chance=1.0).tracks())[1].shrinkage
        for of_artist in (2.0, 0.5, 0.0)
    )
    assert alike == pytest.approx(1 / 4, rel=0.3)
    assert unlike == pytest.approx(4, rel=0.5)
    assert nothing > 20


@pytest.mark.parametrize("seed", range(3))
def test_what_is_planted_is_predicted_of_tracks_that_nobody_likes(seed: int) -> None:
    world = World(seed)
    is_heard = np.arange(400) < 320
    tracks = world.tracks(is_heard)
    fitted, _ = _fitted(tracks)
    cold, expected = tracks.only(~is_heard), world.expected[~is_heard]
    by_mean = float(np.square(MEAN - expected).mean())
    error = _error(cold, expected, fitted)
    assert error < 0.15 * by_mean
    # sound and artist each tell something that the other does not
    silent = Tracks(cold.factors, cold.others, cold.count, np.full_like(cold.sound, np.nan))
    alone = Tracks(cold.factors, np.full_like(cold.others, np.nan), 0 * cold.count, cold.sound)
    for part in (silent, alone):
        assert error < 0.5 * _error(part, expected, fitted) < 0.5 * by_mean
    # cross-validation knows how well it goes, without those tracks
    own = world.factors[~is_heard]
    share = 1 - _error(cold, own, fitted) / float(np.square(own - own.mean(axis=0)).mean())
    assert fitted["explained"][0] == pytest.approx(share, abs=0.1)


def test_where_nothing_is_to_be_learned_the_mean_is_predicted() -> None:
    world = World(2, of_sound=0.0, of_artist=0.0, by_chance=1.0)
    fitted, _ = _fitted(world.tracks())
    predicted = predict(world.tracks(), fitted)[0]
    assert np.square(predicted - world.factors.mean(axis=0)).mean() < 0.02
    assert fitted["explained"][0] < 0.02


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_tracks_give_finite_predictions(count: int) -> None:
    world = World(1)
    fitted, _ = _fitted(world.tracks(np.arange(400) < count))
    assert np.isfinite(predict(world.tracks(), fitted)[0]).all()


# --- the space ------------------------------------------------------------------------------------------------


def _config(*settings: str) -> Config:
    return load(None, [*WITH_EVENTS, *settings], needs_catalogue=False)


def _space(config: Config) -> ListenersSpace:
    space = spaces_of(config)["listeners"]
    assert isinstance(space, ListenersSpace)
    return space


def test_own_factors_are_kept_and_others_are_predicted_and_marked() -> None:
    space, random = _space(_config()), np.random.default_rng(0)
    features, spectrogram = random.normal(size=(5, 4)), random.normal(size=(5, 3))
    own, artist = [0.5, -1.0], [0.25, 2.0]
    rows = pd.DataFrame(
        {
            "track_id": ["liked", "new", "of no artist", "without sound", "unknown"],
            "als": [own, None, None, None, None],
            "artist_mean": [None, artist, None, artist, None],
            "artist_tracks": [0, 2, 0, 2, 0],
            "features": [*features[:3].tolist(), None, None],
            "spectrogram": [spectrogram[0].tolist(), None, spectrogram[2].tolist(), None, None],
        }
    )
    arrays = {
        "mean": np.zeros(2), "intercept": np.array([0.1, 0.2]), "sound": random.normal(size=(7, 2)),
        "sound_mean": np.zeros(7), "artist": np.array([0.5, 2.0]), "dimensions": np.array([4, 3]),
    }  # fmt: skip
    artefact = Artefact("listeners_prediction", 3, arrays, 9)
    found = pd.concat(space.embed(rows, {artefact.name: artefact}))
    assert found["track_id"].tolist() == ["liked", "new", "of no artist", "without sound"]
    assert found["predicted"].tolist() == [False, True, True, True]
    np.testing.assert_array_equal(found["vector"][0], np.float32(own))

    def of_sound(row: int, *, both: bool) -> Float64Array:
        units = [of[row] / np.linalg.norm(of[row]) for of in (features, spectrogram)]
        return np.sqrt(0.6) * units[0] @ arrays["sound"][:4] + both * np.sqrt(0.4) * units[1] @ arrays["sound"][4:]

    of_artist = 0.5 * (2 / (2 + 2)) * np.array(artist)
    expected = [of_sound(1, both=False) + of_artist, of_sound(2, both=True), of_artist]
    np.testing.assert_allclose(np.stack(found["vector"][1:]), arrays["intercept"] + expected, atol=2e-5)
    # a song from elsewhere is told by its sound alone
    song = rows.iloc[[2]].drop(columns=[*UNHEARD]).assign(**UNHEARD)
    (alone,) = space.embed(song, {artefact.name: artefact})
    np.testing.assert_array_equal(alone["vector"][2], found["vector"][2])


def test_there_is_a_space_only_where_there_are_events_and_it_changes_no_other() -> None:
    without, off, plain = (
        load(None, WITH_EVENTS[:1], needs_catalogue=False),
        _config("embedding.listeners=false"),
        _config(),
    )
    assert without.systems == off.systems == ("features", "spectrogram", "hybrid")
    assert plain.systems == ("features", "spectrogram", "listeners", "hybrid")
    for system in without.systems:
        assert spaces_of(plain)[system].settings_hash == spaces_of(without)[system].settings_hash
        assert recommend_hash(plain, system) == recommend_hash(without, system)
    assert set(needed_for("listeners", plain)) == set(plain.systems) - {"hybrid"}
    assert "listeners" not in needed_for("hybrid", plain)


def test_it_joins_the_hybrid_with_a_weight_and_is_predicted_from_the_sound_in_it() -> None:
    weights = "embedding.hybrid_weights={features: 0.6, spectrogram: 0.4, listeners: 1.0}"
    joined, plain = _config(weights, "listeners.space=features"), _config()
    assert joined.embedding.hybrid_shares == {"features": 0.3, "spectrogram": 0.2, "listeners": 0.5}
    assert _space(joined).settings_hash == _space(plain).settings_hash  # its weight says nothing of the sound
    assert list(spaces_of(joined)) == ["features", "spectrogram", "listeners", "hybrid"]
    assert spaces_of(joined)["hybrid"].settings_hash != spaces_of(plain)["hybrid"].settings_hash
    # of two tracks with one file people may like one: they are no copies of each other where that tells
    of_file = {
        name: space.is_of_the_file for config in (plain, joined) for name, space in spaces_of(config).items()
    }
    assert of_file == {"features": True, "spectrogram": True, "listeners": False, "hybrid": False}
    assert spaces_of(plain)["hybrid"].is_of_the_file
    other = _config("embedding.hybrid_weights={features: 1}")
    assert _space(other).made_from == ("features",)
    assert _space(other).settings_hash != _space(plain).settings_hash
    assert _space(_config("listeners.factors=7")).settings_hash != _space(plain).settings_hash
    alone = _config("embedding.hybrid_weights={listeners: 1}", "listeners.space=spectrogram")
    assert _space(alone).made_from == ("features",)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["embedding.listeners=false"], "embedding.hybrid_weights: there is no space 'listeners' without"),
        (["listeners.events=null"], "embedding.hybrid_weights: there is no space 'listeners' without"),
        ([], "listeners.space: 'hybrid' is made of what people like: name a space of sound"),
        (["listeners.space=listeners"], "listeners.space: 'listeners' is made of what people like"),
    ],
)
def test_a_hybrid_that_cannot_be_is_refused(settings: Sequence[str], told: str) -> None:
    weights = "embedding.hybrid_weights={features: 1, listeners: 1}"
    with pytest.raises(ConfigError, match=told):
        _config(weights, *settings)


# --- what is said ---------------------------------------------------------------------------------------------

_LIKED = {"ann": 5, "bob": 3, "new": 0, "newer": 0}
_PAIRS = [
    ("ann", "bob", 0.8, 2.0, "2 people like both"),
    ("ann", "bob", 0.8, np.nan, "alike in who likes them"),
    ("bob", "ann", -0.1, np.nan, "not alike in who likes them"),
    ("ann", "new", 0.4, np.nan, "who would like it is guessed from sound and artist"),
    (
        "new", "bob", 0.4, np.nan,
        "who would like the track of this list is guessed from sound and artist",
    ),
    (
        "new", "newer", 0.4, np.nan,
        "who would like either is guessed from sound and artist",
    ),
]  # fmt: skip


def _checker() -> truth.TruthChecker:
    ids = pd.DataFrame({"track_id": [*_LIKED]})
    lists = {"spectral_contrast_mean": [[1.0]] * 4, "mfcc_std": [[1.0, 1.0]] * 4}
    features = ids.assign(**dict.fromkeys(truth.FEATURES, 1.0) | lists)
    levels = ids.assign(levels=[[0.0] * 6] * 4)
    attributes = ids.assign(**dict.fromkeys(truth.ATTRIBUTES, 0.5))
    liked = pd.DataFrame({"track_id": ["ann", "bob", "new"], "liked": [5, 3, 0]})  # the fourth came later
    values = truth.values_of(features, levels, attributes, ids.assign(space="x", tags=None), liked)
    return truth.TruthChecker(values, values, both={("bob", "ann"): 2})


def _row(track: str, other: str, cosine: float, statement: str) -> dict[str, Any]:
    reason = {"family": "listeners", "contribution": cosine, "statement": statement}
    explanation = f"By who likes them: {statement}."
    of_pair = {"track_id": track, "recommended_track_id": other, "score": cosine}
    return of_pair | {"explanation": explanation, "reasons": [reason]}


def test_what_is_said_of_listeners_is_read_again_and_true() -> None:
    cosines, both = (np.array([pair[column] for pair in _PAIRS]) for column in (2, 3))
    predicted = [np.array([_LIKED[pair[side]] == 0 for pair in _PAIRS]) for side in (0, 1)]
    sides = [Side({}, np.zeros((len(_PAIRS), 0)), {}, {}, [], is_predicted=of) for of in predicted]
    trait = listeners(ListedPairs(*sides, np.zeros((len(_PAIRS), 0, 0), np.float32), both), cosines)
    which, _ = trait.rarest()
    told = [trait.facts[fact].told(np.array([row]))[0] for row, fact in enumerate(which)]
    assert told == [pair[4] for pair in _PAIRS]
    rows = [_row(*pair[:3], statement) for pair, statement in zip(_PAIRS, told, strict=True)]
    assert _checker().untrue(rows) == []


@pytest.mark.parametrize(
    ("track", "other", "cosine", "statement"),
    [
        ("ann", "bob", 0.8, "3 people like both"),
        ("ann", "new", 0.8, "2 people like both"),
        ("ann", "bob", 0.8, "not alike in who likes them"),
        ("ann", "bob", -0.8, "alike in who likes them"),
        ("ann", "bob", 0.8, _PAIRS[3][4]),
        ("new", "ann", 0.8, _PAIRS[3][4]),
        ("new", "newer", 0.8, _PAIRS[3][4]),
        ("ann", "new", 0.8, _PAIRS[4][4]),
        ("ann", "new", 0.8, _PAIRS[5][4]),
    ],
)
def test_what_is_false_of_listeners_is_found(track: str, other: str, cosine: float, statement: str) -> None:
    untrue = _checker().untrue([_row(track, other, cosine, statement)])
    assert {of.statement for of in untrue} == {statement, f"By who likes them: {statement}."}


def test_a_batch_of_pairs_says_the_same_as_a_frame() -> None:
    count, lists = 3, {"spectral_contrast_mean": [[1.0, 2.0]] * 3, "mfcc_std": [[1.0, 1.0]] * 3}
    profile = pd.DataFrame(dict.fromkeys(COLUMNS, [1.0] * count) | lists)
    profile = profile.assign(**dict.fromkeys((f"catalogue_{name}" for name in ATTRIBUTES), 0.5))
    profile = profile.assign(levels=[[0.0] * len(REGIONS)] * count, parts=[[0.0] * len(REGIONS)] * count)
    profile["is_predicted"] = pd.Series([True, None, False], dtype=object)
    sides = [profile.add_prefix("a_"), profile.iloc[::-1].reset_index(drop=True).add_prefix("b_")]
    rows = pd.concat(sides, axis=1).assign(both=[np.nan, 4.0, 2.0])
    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    for pairs in (pairs_of(rows, []), pairs_of_batch(batch, [])):
        assert pairs.track.is_predicted is not None
        assert pairs.track.is_predicted.tolist() == [True, False, False]
        assert pairs.recommended.is_predicted is not None
        assert pairs.recommended.is_predicted.tolist() == [False, False, True]
        np.testing.assert_array_equal(pairs.both, [np.nan, 4.0, 2.0])
    plain = pairs_of_batch(batch.drop_columns(["a_is_predicted", "b_is_predicted", "both"]), [])
    assert plain.both is plain.track.is_predicted is None


def test_listeners_explain_their_own_lists_alone_unless_they_join_the_hybrid() -> None:
    statistics = Artefact("catalogue_statistics", 1, {}, 1)

    def explainer(*settings: str) -> Explainer:
        return explainer_of(_config(*settings), statistics)

    plain = explainer()
    assert plain.shares["listeners"] == {"listeners": 1.0}
    assert plain.needed("listeners") == ["features", "spectrogram"]  # its score is one part: no vector splits it
    assert all("listeners" not in plain.shares[system] for system in ("features", "spectrogram", "hybrid"))
    weights = "embedding.hybrid_weights={features: 1, listeners: 3}"
    joined = explainer(weights, "listeners.space=features")
    assert joined.shares["hybrid"] == {"features": 0.25, "spectrogram": 0.0, "listeners": 0.75}
    assert "listeners" in joined.needed("hybrid")
