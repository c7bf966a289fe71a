"""Scoring people against tracks: the best by every product and sum, recomputed one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from specrec.listeners.config import COMPONENTS
from specrec.listeners.scores import Best, People, Tracks, Wanted, best_tracks, values_at


def _blocks(seed: int, people: int, tracks: int) -> tuple[People, Tracks]:
    random = np.random.default_rng(seed)
    codes = np.sort(random.choice(10_000, size=tracks, replace=False)).astype(np.int64)
    known = np.sort(random.choice(10_000, size=30, replace=False)).astype(np.int64)
    known = np.union1d(known, random.choice(codes, size=tracks // 2, replace=False))
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


def _by_the_definition(people: People, person: int, tracks: Tracks, wanted: Wanted) -> dict[int, float]:
    """Return the scores of a person's best tracks, best first."""
    heard = set(people.track[people.owner == person].tolist())
    scores = {
        track: sum(
            people.weights[person, at] * _component(name, people, person, tracks, track)
            for at, name in enumerate(COMPONENTS)
        )
        for track in range(len(tracks.codes))
        if (wanted.heard_too or tracks.codes[track] not in heard)
        and (wanted.only is None or wanted.only[track])
        and tracks.codes[track] != people.barred[person]
    }
    best = sorted(scores, key=lambda track: (-scores[track], tracks.codes[track]))[: wanted.top_n]
    return {track: scores[track] for track in best}


def _check(best: Best, people: People, tracks: Tracks, wanted: Wanted) -> None:
    for person in range(len(people)):
        expected = _by_the_definition(people, person, tracks, wanted)
        own = best.person == person
        assert best.track[own].tolist() == list(expected)
        assert best.score[own] == pytest.approx(list(expected.values()), abs=1e-9)
        for track, components in zip(best.track[own], best.components[own], strict=True):
            parts = [_component(name, people, person, tracks, int(track)) for name in COMPONENTS]
            assert components == pytest.approx(parts, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(6, 40), st.integers(1, 12), st.permutations(range(4)))
def test_the_best_are_those_of_all_pairs_scored_one_by_one(
    seed: int, count: int, size: int, top_n: int, order: list[int]
) -> None:
    people, tracks = _blocks(seed, count, size)
    wanted = [Wanted(top_n + of, heard_too=of % 2 == 0, only=tracks.is_new if of < 2 else None) for of in order]
    for of, best in zip(wanted, best_tracks(people, tracks, wanted), strict=True):
        _check(best, people, tracks, of)


@pytest.mark.parametrize("top_n", [1, 3])
def test_the_best_of_many_tracks_are_found_by_the_best_of_groups(top_n: int) -> None:
    people, tracks = _blocks(11, 3, 64 * 4 * 3 + 7)
    wanted = [Wanted(top_n), Wanted(top_n, heard_too=True)]
    for of, best in zip(wanted, best_tracks(people, tracks, wanted), strict=True):
        _check(best, people, tracks, of)


def test_it_does_not_matter_how_tracks_and_people_are_cut_into_blocks() -> None:
    people, tracks = _blocks(3, 6, 40)
    (whole,) = best_tracks(people, tracks, [Wanted(5)])
    found: dict[int, list[tuple[float, int, int]]] = {}
    for some in (np.arange(0, 17), np.arange(17, 40)):
        part = Tracks(
            tracks.codes[some],
            {name: of[some] for name, of in tracks.vectors.items()},
            tracks.similar[some],
            tracks.known,
            tracks.is_new[some],
        )
        (best,) = best_tracks(people, part, [Wanted(5)])
        for person, track, score in zip(best.person, some[best.track], best.score, strict=True):
            found.setdefault(int(person), []).append((-score, tracks.codes[track], int(track)))
    joined = [track for person in sorted(found) for _, _, track in sorted(found[person])[:5]]
    assert joined == whole.track.tolist()


def test_nothing_is_found_among_no_tracks() -> None:
    people, tracks = _blocks(0, 2, 6)
    (best,) = best_tracks(people, tracks, [Wanted(3, only=np.zeros(6, bool))])
    assert len(best.person) == 0


def test_who_nothing_is_told_of_gets_nothing_and_ties_do_not_pile_up() -> None:
    people, tracks = _blocks(5, 3, 40)
    zeros = {name: np.zeros_like(of) for name, of in people.vectors.items()}
    none, no = np.zeros(0, np.int64), np.zeros(0)
    nothing = People(zeros, people.weights, none, none, no, none, none, no, none, none)
    assert len(best_tracks(nothing, tracks, [Wanted(3)])[0].person) == 0
    same = Tracks(
        np.arange(1000, dtype=np.int64),
        {name: np.ones((1000, of.shape[1]), np.float32) for name, of in tracks.vectors.items()},
        sparse.csr_array((1000, len(tracks.known))),
        tracks.known,
        np.zeros(1000, bool),
    )
    (best,) = best_tracks(people, same, [Wanted(3, heard_too=True)])
    for person in range(3):
        own = same.codes[best.track[best.person == person]]
        assert own.tolist() == [code for code in range(5) if code != people.barred[person]][:3]


def test_whose_every_score_is_zero_gets_nothing_whatever_is_barred() -> None:
    people, tracks = _blocks(7, 2, 40)
    silent = Tracks(
        tracks.codes,
        {name: np.where(tracks.is_new[:, None], 0, of).astype(np.float32) for name, of in tracks.vectors.items()},
        sparse.csr_array(tracks.similar.shape),
        tracks.known,
        tracks.is_new,
    )
    none = np.zeros(0, np.int64)
    alone = People(
        people.vectors, people.weights, people.owner, people.track, people.evidence, none, none, np.zeros(0),
        people.barred_for, people.barred,
    )  # fmt: skip
    new, every = best_tracks(alone, silent, [Wanted(3, only=tracks.is_new), Wanted(3)])
    assert len(new.person) == 0  # nothing tells one new track from another
    assert np.bincount(every.person).tolist() == [3, 3]


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_values_of_a_sparse_matrix_are_looked_up(seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    dense = np.where(random.random((rows, columns)) < 0.4, random.normal(size=(rows, columns)), 0)
    row, column = np.sort(random.integers(0, rows, 20)), random.integers(0, columns, 20)
    assert values_at(sparse.csr_array(dense), row, column).tolist() == dense[row, column].tolist()
