"""From preferences to lists with reasons, a block at a time and without Spark: recomputed pair by pair."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.listeners.blocks import FOUND, Model, choose_lists, meet, pack_people, pack_tracks
from specrec.listeners.config import COMPONENTS, ListenersConfig
from specrec.listeners.crowd import Crowd
from specrec.listeners.reasons import tell

FACTORS, DIMENSIONS, TRACKS = 4, 3, 30
EVERYBODY = ["", "ann", "bob", "cyd", "dan"]
WEIGHTS = np.array([[0.0, 0.0, 1.0, 2.0, 0.0, 0.0], [0.7, 1.5, 0.1, 0.5, 2.0, 1.2], [1.0, 1.0, 0.2, 0.4, 3.0, 0.8]])
NEAREST, LEAST, SHRINKAGE = 3, 2, 1.5


NOBODY_ELSE = Crowd.of(
    pa.table({"user_id": pa.array([], pa.string()), "code": pa.array([], pa.int64())}), ListenersConfig()
)


class World:
    """Tracks, and people with preferences for some of them."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.als = random.normal(size=(TRACKS, FACTORS)).astype(np.float32)
        self.als[-3:] = 0  # nobody's opinion of these is known
        self.content = random.normal(size=(TRACKS, DIMENSIONS)).astype(np.float32)
        self.popularity = np.log1p(np.arange(TRACKS)[::-1] // 3).astype(np.float32)
        self.average = random.normal(size=TRACKS).astype(np.float32)
        self.codes = random.permutation(TRACKS).astype(np.int64) * 7 - 40
        self.artist = random.integers(0, 6, TRACKS)
        self.similar = np.where(random.random((TRACKS, TRACKS)) < 0.3, random.random((TRACKS, TRACKS)), 0)
        self.is_new = np.arange(TRACKS) >= TRACKS - 3
        self.group = np.zeros(TRACKS, np.int64)  # no recording is there twice
        self.evidence = np.zeros((len(EVERYBODY), TRACKS))
        for person in range(1, len(EVERYBODY)):
            known = random.choice(TRACKS, size=2 + 3 * person, replace=False)
            self.evidence[person, known] = random.normal(size=len(known)) * 3
        self.crowd = {name: np.flatnonzero(row > 0) for name, row in zip(EVERYBODY, self.evidence, strict=True)}
        for number in range(8):
            self.crowd[f"of the crowd {number}"] = random.choice(TRACKS, size=3 + number, replace=False)
        self.gram = self.als.astype(float).T @ self.als.astype(float)
        self.model = Model(self.gram, 0.5, 0.1, {"hybrid": WEIGHTS}, np.array([1, 6]), DIMENSIONS)

    def tracks(self) -> pa.Table:
        return pa.table(
            {
                "block": pa.array([0] * TRACKS, pa.int32()),
                "track_id": [f"t{number:02}" for number in range(TRACKS)],
                "code": self.codes,
                "als": pa.array([None if new else row for new, row in zip(self.is_new, self.als, strict=True)]),
                "content": pa.array(self.content.tolist(), pa.list_(pa.float32())),
                "popularity": self.popularity.astype(float),
                "average": self.average.astype(float),
                "is_new": self.is_new,
                "similar": [
                    [
                        {"code": int(self.codes[of]), "similarity": row[of], "both": 2, "liked": 5}
                        for of in np.flatnonzero(row)
                    ]
                    for row in self.similar
                ],
                "duplicate": pa.array(self.group, pa.int64()),
                "artists": [[int(of)] for of in self.artist],
                "albums": pa.array([[]] * TRACKS, pa.list_(pa.int64())),
            }
        )

    def preferences(self) -> pa.Table:
        rows = [
            {
                "block": 0,
                "user_id": EVERYBODY[person],
                "track_id": f"t{track:02}",
                "code": int(self.codes[track]),
                "evidence": self.evidence[person, track],
                "als": None if self.is_new[track] else self.als[track].tolist(),
                "content": self.content[track].tolist(),
                "title": f"“{track}”",
                "duplicate": int(self.group[track]),
            }
            for person, track in zip(*np.nonzero(self.evidence), strict=True)
        ]
        rows.append({"block": 0, "user_id": ""})  # of whom nothing is known
        kinds = {"als": pa.list_(pa.float32()), "content": pa.list_(pa.float32()), "evidence": pa.float64()}
        texts = dict.fromkeys(("user_id", "track_id", "title"), pa.string())
        return pa.Table.from_pylist(
            rows, pa.schema({"block": pa.int32(), "code": pa.int64(), "duplicate": pa.int64(), **kinds, **texts})
        )

    def packed_people(self) -> pa.Table:
        likes = [
            {"user_id": name, "code": int(self.codes[of])} for name, liked in self.crowd.items() for of in liked
        ]
        config = ListenersConfig(nearest=NEAREST, min_together=LEAST, together_shrinkage=SHRINKAGE)
        crowd = Crowd.of(pa.Table.from_pylist(likes[::-1]), config)
        return pack_people(self.preferences(), self.model, crowd)

    def nearest(self, person: int) -> dict[str, float]:
        """Of who is near to a person, how near; by the definition."""
        mine = set(np.flatnonzero(self.evidence[person] > 0))
        near = {}
        for name, liked in self.crowd.items():
            both = len(mine & set(liked))
            if name != EVERYBODY[person] and both >= LEAST:
                near[name] = both / np.sqrt(len(mine) * len(liked)) * both / (both + SHRINKAGE)
        best = sorted(near, key=lambda name: (-near[name], name))[:NEAREST]
        return {name: near[name] for name in best}

    def liked_nearby(self, person: int, track: int) -> tuple[float, int]:
        near = self.nearest(person)
        likes = [name for name in near if track in self.crowd[name]]
        if len(likes) < LEAST:
            return 0.0, 0
        return float(sum(near[name] for name in likes) / sum(near.values())), len(likes)

    def components(self, person: int, track: int) -> list[float]:
        """By the definitions, with a plain solution of the person's normal equations."""
        evidence, shares = self.evidence[person], self.evidence[person] / (np.abs(self.evidence[person]).sum() or 1)
        als = self.als.astype(float)
        known, liked = (evidence != 0) & ~self.is_new, (evidence > 0) & ~self.is_new
        matrix = self.gram + 0.1 * liked.sum() * np.eye(FACTORS)
        for of in np.flatnonzero(known):
            matrix += 0.5 * abs(evidence[of]) * np.outer(als[of], als[of])
        wanted = sum(((1 + 0.5 * evidence[of]) * als[of] for of in np.flatnonzero(liked)), np.zeros(FACTORS))
        content = self.content / np.linalg.norm(self.content, axis=1, keepdims=True)
        return [
            float(np.linalg.solve(matrix, wanted) @ als[track]) if liked.any() else 0.0,
            float(shares @ (content @ content[track])),
            float(self.popularity[track]),
            float(self.average[track]),
            float(shares @ self.similar[track]),
            self.liked_nearby(person, track)[0],
        ]

    def level(self, person: int) -> int:
        return int(np.searchsorted([1, 6], (self.evidence[person] != 0).sum(), side="right"))

    def score(self, person: int, track: int) -> float:
        return float(WEIGHTS[self.level(person)] @ self.components(person, track))


def lists(world: World, config: ListenersConfig, most: dict[str, int | None], times: int = 1) -> pa.Table:
    content = pa.table({"track_id": [f"t{of:02}" for of in range(TRACKS)], "content": world.content.tolist()})
    tracks, people = pack_tracks(world.tracks(), world.model), world.packed_people()
    found = pa.concat_tables(meet(tracks, people, world.model, config, times=times))
    chosen = choose_lists(found, config, most, content if config.variety else None)
    of_track = {code: number for number, code in enumerate(world.codes.tolist())}
    number = [of_track[code] for code in chosen.column("code").to_pylist()]
    chosen = chosen.append_column("als", pa.array([None if world.is_new[of] else world.als[of] for of in number]))
    chosen = chosen.append_column("content", pa.array([world.content[of] for of in number], pa.list_(pa.float32())))
    counts = pa.array([0 if world.is_new[of] else 9 for of in number], pa.int64())
    chosen = chosen.append_column("listeners", counts).append_column("liked", counts)
    return tell(world.preferences(), chosen, world.model)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_a_list_holds_the_best_tracks_by_the_definitions_and_its_reasons_add_up(seed: int) -> None:
    world = World(seed)
    rows = lists(world, ListenersConfig(top_n=5, new_share=0.0), {"artists": None, "albums": None}).to_pylist()
    for person, name in enumerate(EVERYBODY):
        own = [row for row in rows if row["user_id"] == name]
        scores = {of: world.score(person, of) for of in range(TRACKS) if not world.evidence[person, of]}
        best = sorted(scores, key=lambda of: (-scores[of], f"t{of:02}"))[: len(own)]
        assert [row["track_id"] for row in own] == [f"t{of:02}" for of in best]
        assert [row["rank"] for row in own] == list(range(1, 6))
        for row, of in zip(own, best, strict=True):
            assert row["score"] == pytest.approx(scores[of], abs=1e-5)
            assert row["score"] == pytest.approx(sum(reason["contribution"] for reason in row["reasons"]), abs=1e-9)
            assert row["level"] == world.level(person)
            weighted = WEIGHTS[world.level(person)] * world.components(person, of)
            for family, part in zip(COMPONENTS, weighted, strict=True):
                told = sum(reason["contribution"] for reason in row["reasons"] if reason["family"] == family)
                assert told == pytest.approx(part, abs=1e-5)
            parts = [reason["contribution"] for reason in row["reasons"]]
            assert parts == sorted(parts, reverse=True)


def test_a_reason_names_the_track_that_its_part_is_of() -> None:
    world = World(1)
    rows = lists(world, ListenersConfig(top_n=5), {"artists": None, "albums": None}).to_pylist()
    content = world.content / np.linalg.norm(world.content, axis=1, keepdims=True)
    named = 0
    for row in rows:
        person = EVERYBODY.index(row["user_id"])
        shares = world.evidence[person] / (np.abs(world.evidence[person]).sum() or 1)
        for reason in row["reasons"]:
            if reason["family"] == "content" and reason["feature"]:
                known, of = int(reason["feature"][1:]), int(row["track_id"][1:])
                part = WEIGHTS[world.level(person), 1] * shares[known] * (content[known] @ content[of])
                assert reason["contribution"] == pytest.approx(part, abs=1e-5)
                likes = "do not like" not in reason["statement"]
                assert likes == (world.evidence[person, known] > 0)
                assert f"“{known}”" in reason["statement"]
                named += 1
    assert named > 20


def test_it_is_told_how_many_of_those_who_are_nearest_like_a_track() -> None:
    told = 0
    for seed in range(4):
        world = World(seed)
        for row in lists(world, ListenersConfig(top_n=10), {}).to_pylist():
            person, track = EVERYBODY.index(row["user_id"]), int(row["track_id"][1:])
            for reason in row["reasons"]:
                if reason["family"] == "user_based":
                    value, liked = world.liked_nearby(person, track)
                    near = len(world.nearest(person))
                    assert reason["contribution"] == pytest.approx(WEIGHTS[world.level(person), 5] * value)
                    assert (reason["track_value"], reason["recommended_value"]) == (liked, near)
                    assert f"{liked} of the {near} people" in reason["statement"]
                    told += 1
    assert told > 10


def test_no_artist_has_more_than_the_limit_and_new_tracks_their_share() -> None:
    world = World(2)
    config = ListenersConfig(top_n=10, new_share=0.2)
    rows = lists(world, config, {"artists": 2, "albums": None}).to_pylist()
    for name in EVERYBODY:
        own = [int(row["track_id"][1:]) for row in rows if row["user_id"] == name]
        assert np.bincount(world.artist[own]).max() <= 2
        open_to = world.is_new & (world.evidence[EVERYBODY.index(name)] == 0)
        assert world.is_new[own].sum() >= min(2, open_to.sum(), 2 * len(set(world.artist[open_to])))


def test_whose_list_one_artist_would_leave_short_has_a_full_one_after_a_deeper_search() -> None:
    world, config = World(2), ListenersConfig(top_n=3, new_share=0.0)
    for person, name in enumerate(EVERYBODY):
        open_to = np.flatnonzero(world.evidence[person] == 0)
        best = open_to[np.argsort([-world.score(person, int(of)) for of in open_to])]
        world.artist = np.arange(TRACKS)
        world.artist[best[: config.candidates]] = 77
        sizes = [
            sum(row["user_id"] == name for row in lists(world, config, {"artists": 1}, times).to_pylist())
            for times in (1, 4)
        ]
        assert sizes == [1, min(3, 1 + max(0, len(best) - config.candidates))]


def test_lists_are_as_varied_as_they_should_be_and_keep_within_their_limits() -> None:
    world = World(5)
    content = world.content / np.linalg.norm(world.content, axis=1, keepdims=True)
    likeness = {}
    for variety in (0.0, 1e-9, 0.5, 1.0):
        config = ListenersConfig(top_n=6, new_share=0.2, variety=variety)
        rows = lists(world, config, {"artists": 2, "albums": None}).to_pylist()
        own = {name: [int(row["track_id"][1:]) for row in rows if row["user_id"] == name] for name in EVERYBODY}
        for name, tracks in own.items():
            assert len(tracks) == 6
            assert np.bincount(world.artist[tracks]).max() <= 2
            assert (world.is_new[tracks] & (world.evidence[EVERYBODY.index(name), tracks] == 0)).any()
        cosines = [content[tracks] @ content[tracks].T for tracks in own.values()]
        likeness[variety] = np.mean([of[np.triu_indices(len(of), 1)].mean() for of in cosines])
    assert likeness[0.0] == likeness[1e-9] > likeness[0.5] > likeness[1.0]


def test_known_tracks_come_only_up_to_their_share() -> None:
    world = World(3)
    shares = {}
    for share in (0.0, 0.2):
        config = ListenersConfig(top_n=10, new_share=0.0, familiar_share=share)
        rows = lists(world, config, {"artists": None, "albums": None}).to_pylist()
        known = [world.evidence[EVERYBODY.index(row["user_id"]), int(row["track_id"][1:])] != 0 for row in rows]
        by_person: dict[str, int] = {}
        for row, is_known in zip(rows, known, strict=True):
            by_person[row["user_id"]] = by_person.get(row["user_id"], 0) + is_known
        shares[share] = max(by_person.values())
    assert shares[0.0] == 0
    assert 1 <= shares[0.2] <= 2


def test_whoever_nothing_is_known_of_has_a_list_that_is_told_by_what_others_like() -> None:
    rows = lists(World(4), ListenersConfig(top_n=5), {"artists": None, "albums": None}).to_pylist()
    own = [row for row in rows if row["user_id"] == ""]
    assert len(own) == 5
    assert {row["level"] for row in own} == {0}
    assert {reason["family"] for row in own for reason in row["reasons"]} <= {"popularity", "average"}


def test_nothing_is_chosen_of_nothing() -> None:
    assert choose_lists(FOUND.empty_table(), ListenersConfig(), {}).num_rows == 0


def test_a_recording_that_a_person_knows_is_not_recommended_as_another_track() -> None:
    world = World(6)
    for person in range(1, len(EVERYBODY)):
        (known,), (others,) = np.nonzero(world.evidence[person]), np.nonzero(world.evidence[person] == 0)
        world.group[[known[0], others[0]]] = 77
        rows = lists(world, ListenersConfig(top_n=30), {"artists": None, "albums": None}).to_pylist()
        own = {row["track_id"] for row in rows if row["user_id"] == EVERYBODY[person]}
        assert f"t{others[0]:02}" not in own
        assert f"t{others[1]:02}" in own
        world.group[:] = 0


def test_nobody_is_told_what_is_said_of_another_and_a_system_without_a_word_says_nothing() -> None:
    world = World(7)
    alone = np.tile(np.array(COMPONENTS) == "als", (3, 1)).astype(float)
    world.model = Model(world.gram, 0.5, 0.1, {"als": alone}, np.array([1, 6]), DIMENSIONS)
    rows = lists(world, ListenersConfig(top_n=5, new_share=0.0), {"artists": None, "albums": None}).to_pylist()
    assert {row["user_id"] for row in rows} <= {"ann", "bob", "cyd", "dan"}
    for row in rows:
        person = EVERYBODY.index(row["user_id"])
        likes = {f"t{of:02}" for of in np.flatnonzero(world.evidence[person] > 0)}
        assert {reason["feature"] for reason in row["reasons"]} - {None} <= likes
        assert all(reason["contribution"] for reason in row["reasons"])


def test_no_people_and_no_vectors_are_no_harm() -> None:
    world = World(8)
    world.model = Model(np.zeros((FACTORS, FACTORS)), 0.5, 0.1, {"hybrid": WEIGHTS}, np.array([1, 6]), 0)
    nothing = pa.array([None] * TRACKS, pa.list_(pa.float32()))
    tracks = world.tracks().set_column(3, "als", nothing).set_column(4, "content", nothing)
    preferences = world.preferences().filter(pa.array([False] * (world.preferences().num_rows - 1) + [True]))
    people = pack_people(preferences, world.model, NOBODY_ELSE)
    config = ListenersConfig(top_n=5)
    found = pa.concat_tables(meet(pack_tracks(tracks, world.model), people, world.model, config))
    chosen = choose_lists(found, config, {})
    for name in ("als", "content"):
        chosen = chosen.append_column(name, pa.array([None] * chosen.num_rows, pa.list_(pa.float32())))
    for name in ("listeners", "liked"):
        chosen = chosen.append_column(name, pa.array([3] * chosen.num_rows, pa.int64()))
    rows = tell(preferences, chosen, world.model).to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["user_id"] for row in rows} == {""}
