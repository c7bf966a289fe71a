"""Scoring people against tracks: the best by every product and sum, recomputed one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from specrec.listeners.config import COMPONENTS
from specrec.listeners.scores import People, Tracks, best_tracks


def _blocks(seed: int, people: int, tracks: int) -> tuple[People, Tracks]:
    random = np.random.default_rng(seed)
    codes = random.choice(10_000, size=tracks, replace=False).astype(np.int64)
    known = np.sort(random.choice(10_000, size=30, replace=False)).astype(np.int64)
    known = np.union1d(known, codes[: tracks // 2])
    similar = sparse.random_array((tracks, len(known)), density=0.2, rng=random, format="csr")
    vectors = {"als": 4, "content": 3, "popularity": 1, "average": 1}
    owner = np.repeat(np.arange(people), 5)
    heard = np.concatenate([random.choice(codes, size=5, replace=False) for _ in range(people)])
    of_people = People(
        {name: random.normal(size=(people, n)).astype(np.float32) for name, n in vectors.items()},
        random.uniform(0, 1, size=(people, len(COMPONENTS))),
        owner,
        heard,
        random.normal(size=len(owner)),
        near_for=np.repeat(np.arange(people), 4),
        near=np.concatenate([random.choice(codes, size=4, replace=False) for _ in range(people)]),
        near_value=random.uniform(size=4 * people),
        barred_for=np.arange(people),
        barred=random.choice(codes, size=people),
    )
    of_tracks = Tracks(
        codes,
        {name: random.normal(size=(tracks, n)).astype(np.float32) for name, n in vectors.items()},
        similar,
        known,
        random.uniform(size=tracks) < 0.3,
    )
    return of_people, of_tracks


def _component(name: str, people: People, person: int, tracks: Tracks, track: int) -> float:
    if name in people.vectors:
        return float(people.vectors[name][person].astype(float) @ tracks.vectors[name][track].astype(float))
    if name == "user_based":
        nearby = (people.near_for == person) & (people.near == tracks.codes[track])
        return float(people.near_value[nearby].sum())
    own = people.owner == person
    similar = dict(zip(tracks.known.tolist(), tracks.similar[[track]].toarray()[0], strict=True))
    total: float = sum(
        evidence * similar.get(code, 0.0)
        for code, evidence in zip(people.track[own].tolist(), people.evidence[own], strict=True)
    )
    return total


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 7), st.integers(6, 40), st.integers(1, 12), st.booleans(), st.booleans()
)
def test_the_best_are_those_of_all_pairs_scored_one_by_one(  # noqa: PLR0917
    seed: int, count: int, size: int, top_n: int, heard_too: bool, only_new: bool
) -> None:
    people, tracks = _blocks(seed, count, size)
    only = tracks.is_new if only_new else None
    best = best_tracks(people, tracks, top_n, heard_too=heard_too, only=only)
    for person in range(count):
        heard = set(people.track[people.owner == person].tolist())
        scores = {
            track: sum(
                people.weights[person, at] * _component(name, people, person, tracks, track)
                for at, name in enumerate(COMPONENTS)
            )
            for track in range(size)
            if (heard_too or tracks.codes[track] not in heard)
            and (only is None or only[track])
            and tracks.codes[track] != people.barred[person]
        }
        wanted = sorted(scores, key=lambda track: (-scores[track], tracks.codes[track]))[:top_n]
        own = best.person == person
        assert best.track[own].tolist() == wanted
        assert best.score[own] == pytest.approx([scores[track] for track in wanted], abs=1e-9)
        for track, components in zip(best.track[own], best.components[own], strict=True):
            expected = [_component(name, people, person, tracks, int(track)) for name in COMPONENTS]
            assert components == pytest.approx(expected, abs=1e-9)


def test_it_does_not_matter_how_tracks_and_people_are_cut_into_blocks() -> None:
    people, tracks = _blocks(3, 6, 40)
    whole = best_tracks(people, tracks, 5)
    found: dict[int, list[tuple[float, int, int]]] = {}
    for some in (np.arange(0, 17), np.arange(17, 40)):
        part = Tracks(
            tracks.codes[some],
            {name: of[some] for name, of in tracks.vectors.items()},
            tracks.similar[some],
            tracks.known,
            tracks.is_new[some],
        )
        best = best_tracks(people, part, 5)
        for person, track, score in zip(best.person, some[best.track], best.score, strict=True):
            found.setdefault(int(person), []).append((-score, tracks.codes[track], int(track)))
    joined = [track for person in sorted(found) for _, _, track in sorted(found[person])[:5]]
    assert joined == whole.track.tolist()


def test_nothing_is_found_among_no_tracks() -> None:
    people, tracks = _blocks(0, 2, 6)
    assert len(best_tracks(people, tracks, 3, only=np.zeros(6, bool)).person) == 0


def test_who_nothing_is_told_of_gets_nothing_and_ties_do_not_pile_up() -> None:
    people, tracks = _blocks(5, 3, 40)
    nothing = People(
        {name: np.zeros_like(of) for name, of in people.vectors.items()},
        people.weights,
        *(np.zeros(0, np.int64),) * 2,
        np.zeros(0),
        *(np.zeros(0, np.int64),) * 5,
    )
    assert len(best_tracks(nothing, tracks, 3).person) == 0
    same = Tracks(
        np.arange(1000, dtype=np.int64)[::-1],
        {name: np.ones((1000, of.shape[1]), np.float32) for name, of in tracks.vectors.items()},
        sparse.csr_array((1000, len(tracks.known))),
        tracks.known,
        np.zeros(1000, bool),
    )
    best = best_tracks(people, same, 3, heard_too=True)
    for person in range(3):
        own = same.codes[best.track[best.person == person]]
        assert own.tolist() == [code for code in range(5) if code != people.barred[person]][:3]
