"""Lists for people are measured as a plain loop, scikit-learn and drawing at random measure them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score

from specrec.evaluate import people as P
from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.measurements import judgements
from specrec.evaluate.metrics import METRICS, Measurement
from specrec.evaluate.ranking import ndcg, precision

BOOTSTRAP = Bootstrap(resamples=50, seed=1)
TRACKS, PEOPLE = 40, 30


class World:
    """People who like some of the tracks that they are not known to have heard, and lists of ten of these."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.listeners = random.integers(0, 9, TRACKS)
        self.is_heard = random.random((PEOPLE, TRACKS)) < 0.2
        self.is_liked = (random.random((PEOPLE, TRACKS)) < 0.15) & ~self.is_heard
        self.is_liked[0] = False
        scores = np.where(self.is_heard, -1, random.random((PEOPLE, TRACKS)))
        self.order = np.argsort(-scores, axis=1)
        self.length = np.where(np.arange(PEOPLE) == 1, 0, 10)
        self.kind = random.choice([P.COLD, P.LITTLE, P.WARM, None], PEOPLE)
        self.is_whole = random.random(PEOPLE) < 0.7
        self.users = [f"u{number:02}" for number in range(PEOPLE)]
        self.is_cold = self.listeners < 3
        bits = np.log2((PEOPLE + 1) / (self.listeners + 1))
        self.candidates = P.Candidates(TRACKS, self.listeners.mean(), bits.mean(), PEOPLE)

    def listed(self, person: int) -> list[int]:
        return self.order[person, : self.length[person]].tolist()

    def measured(self) -> dict[tuple[str, str, str], Measurement]:
        rows = [
            {
                "system": "hybrid", "user_id": self.users[person], "place": place, "track": track,
                "is_liked": self.is_liked[person, track], "is_cold": self.is_cold[track],
                "listeners": self.listeners[track],
            }
            for person in range(PEOPLE)
            for place, track in enumerate(self.listed(person), 1)
        ]  # fmt: skip
        asked = pd.DataFrame(
            {
                "user_id": self.users, "kind": self.kind, "is_whole": self.is_whole,
                "liked": self.is_liked.sum(axis=1), "liked_cold": (self.is_liked & self.is_cold).sum(axis=1),
                "heard": self.is_heard.sum(axis=1),
            }
        )  # fmt: skip
        # in whatever order rows come
        frames = [frame.sample(frac=1, random_state=3) for frame in (pd.DataFrame(rows), asked)]
        found = list(P.held_out("by time", frames[0], frames[1], self.candidates, BOOTSTRAP))
        keys = [(of.system, of.metric, of.slice) for of in found]
        assert len(set(keys)) == len(keys)
        assert {of.metric for of in found} <= METRICS.keys()
        return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("kind", [None, P.COLD, P.LITTLE, P.WARM, P.COLD_TRACKS, P.WARM_TRACKS])
def test_what_is_found_of_what_people_like(kind: str | None) -> None:
    world = World(0)
    wanted = world.is_liked & {P.COLD_TRACKS: world.is_cold, P.WARM_TRACKS: ~world.is_cold}.get(kind, True)
    values: dict[str, list[float]] = {"precision": [], "recall": [], "ndcg": []}
    for person in range(PEOPLE):
        is_asked = world.kind[person] == kind if kind in (P.COLD, P.LITTLE, P.WARM) else world.is_whole[person]
        if not is_asked or not wanted[person].any():
            continue
        listed = world.listed(person)
        hits = wanted[person, listed].sum()
        values["precision"].append(hits / 10)
        values["recall"].append(hits / wanted[person].sum())
        scores = np.zeros(TRACKS)
        scores[listed] = np.arange(len(listed), 0, -1)
        # of tracks that are not in the list scikit-learn takes the mean: all places after the tenth count nothing
        open_to = ~world.is_heard[person] if listed else np.zeros(TRACKS, bool)
        value = ndcg_score([wanted[person, open_to]], [scores[open_to]], k=10) if listed else 0.0
        values["ndcg"].append(value)
    found = world.measured()
    of_slice = "by time" if kind is None else f"by time, {kind}"
    for name, of in values.items():
        figure = found["hybrid", f"people_{name}_at_10", of_slice]
        assert (figure.value, figure.n) == (pytest.approx(np.mean(of)), len(of))
        assert figure.low <= figure.value <= figure.high


def test_tracks_at_random_are_worth_what_many_draws_are_worth() -> None:
    world, random = World(1), np.random.default_rng(0)
    values = {name: [] for name in ("precision", "recall", "ndcg")}
    for person in np.flatnonzero(world.is_whole & world.is_liked.any(axis=1)):
        left = np.flatnonzero(~world.is_heard[person])
        drawn = np.array([random.permutation(left)[:10] for _ in range(3_000)])
        gains = world.is_liked[person, drawn].astype(float)
        values["precision"].append(gains.mean())
        values["recall"].append(gains.sum(axis=1).mean() / world.is_liked[person].sum())
        ideal = np.tile(world.is_liked[person].astype(float), (len(gains), 1))
        values["ndcg"].append(ndcg(gains, ideal, 10).mean())
    found = world.measured()
    for name, of in values.items():
        assert found[P.RANDOM, f"people_{name}_at_10", "by time"].value == pytest.approx(np.mean(of), rel=0.02)
    shown = [random.permutation(TRACKS)[:10] for _ in range(int(world.is_whole.sum()) * 200)]
    seen = [len(set(np.concatenate(some))) / TRACKS for some in np.array_split(np.array(shown), 200)]
    assert found[P.RANDOM, "people_coverage", "by time"].value == pytest.approx(np.mean(seen), abs=0.01)
    assert found[P.RANDOM, "people_popularity_bias", "by time"].value == 1


def test_how_new_and_how_popular_lists_are_and_how_much_they_cover() -> None:
    world = World(2)
    whole = [person for person in np.flatnonzero(world.is_whole) if world.listed(person)]
    bits = [
        [math.log2((PEOPLE + 1) / (world.listeners[of] + 1)) for of in world.listed(person)] for person in whole
    ]
    bias = [np.mean(world.listeners[world.listed(person)]) / world.listeners.mean() for person in whole]
    covered = {of for person in whole for of in world.listed(person)}
    found = world.measured()
    wanted = {"novelty": np.mean([np.mean(of) for of in bits]), "popularity_bias": np.mean(bias)}
    for name, value in (wanted | {"coverage": len(covered) / TRACKS}).items():
        assert found["hybrid", f"people_{name}", "by time"].value == pytest.approx(value), name


def test_ndcg_is_that_of_scikit_learn_whatever_is_gained() -> None:
    random = np.random.default_rng(4)
    gains, scores = random.integers(0, 4, (20, 15)).astype(float), random.random((20, 15))
    gains[3] = 0
    ranked = np.take_along_axis(gains, np.argsort(-scores, axis=1), axis=1)
    found = ndcg(ranked, gains, 10)
    assert np.isnan(found[3])
    for row in set(range(20)) - {3}:
        assert found[row] == pytest.approx(ndcg_score([gains[row]], [scores[row]], k=10))
    assert ndcg(ranked[:, :4], gains, 10)[0] == pytest.approx(ndcg_score([gains[0]], [scores[0]], k=4) * (
        np.sort(gains[0])[::-1][:4] @ (1 / np.log2(np.arange(2, 6)))
        / (np.sort(gains[0])[::-1][:10] @ (1 / np.log2(np.arange(2, 12))))
    ))  # fmt: skip
    assert precision(ranked > 0, np.ones(ranked.shape, bool), 10)[0][5] == (ranked[5, :10] > 0).mean()


def test_judgements_are_the_mean_over_people_by_system_and_by_kind_of_reason() -> None:
    rows = [
        # kind, lists, system, reason, person, total, count
        ("clear", "tracks", "spectrogram", "bass", 1, 9.0, 2),
        ("clear", "tracks", "spectrogram", "mids", 1, 3.0, 1),
        ("clear", "tracks", "spectrogram", "bass", 2, 5.0, 1),
        ("clear", "tracks", "features", "timbre", 2, 3.0, 1),
        ("trust", "people", "hybrid", "als_liked_for", 2, 2.0, 1),
    ]
    said = pd.DataFrame(rows, columns=["kind", "lists", "system", "reason", "person", "total", "count"])
    found = {(of.system, of.metric, of.slice): of for of in judgements(said, BOOTSTRAP)}
    assert {key: of.value for key, of in found.items()} == {
        ("spectrogram", "explanation_clear", ""): 4.5,  # 4 by the first, who judges three, and 5
        ("spectrogram", "explanation_clear", "bass"): 4.75,
        ("spectrogram", "explanation_clear", "mids"): 3.0,
        ("features", "explanation_clear", ""): 3.0,
        ("features", "explanation_clear", "timbre"): 3.0,
        ("hybrid", "people_explanation_trust", ""): 2.0,
        ("hybrid", "people_explanation_trust", "als_liked_for"): 2.0,
    }
    whole = found["spectrogram", "explanation_clear", ""]
    assert (whole.n, whole.details, whole.low, whole.high) == (2, {"judgements": "4"}, 4.0, 5.0)
    assert list(judgements(said.iloc[:0], BOOTSTRAP)) == []
