"""What a query is made of, without tables: its nearest in batches, its list, and what is imported for it."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.embedding.spaces.hybrid import join
from specrec.errors import SpecrecError
from specrec.query.choose import Known, choose_list, itself
from specrec.query.nearest import nearest
from specrec.recommend.config import RecommendConfig
from specrec.recommend.traits import SCHEMA, batch_of, traits_of


def batch(ids, vectors):
    columns = {"track_id": pa.array(ids, pa.string()), "vector": pa.array(list(vectors), pa.list_(pa.float32()))}
    return pa.RecordBatch.from_pydict(columns)


def brute(query, ids, vectors, top_n):
    """Cosines in float64, one track after the other; those of one vector are equal, and the lesser id is first."""
    query = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    found = []
    for track_id, vector in zip(ids, vectors.astype(np.float64), strict=True):
        if np.linalg.norm(vector) > 0:
            found.append((-round(float(query @ vector / np.linalg.norm(vector)), 12), track_id))
    return [track_id for _, track_id in sorted(found)[:top_n]]


@settings(max_examples=60)
@given(st.data())
def test_the_nearest_do_not_depend_on_how_the_table_is_cut(data):
    seed, count = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 60))
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, 6)).astype(np.float32)
    vectors[random.random(count) < 0.3] = vectors[0]  # copies: ties go by id
    vectors[random.random(count) < 0.1] = 0
    queries = np.concatenate([random.standard_normal((2, 6)), np.ones((1, 6))]).astype(np.float32)
    if vectors[0].any():
        queries[2] = vectors[0]
    ids = [f"t{i:03}" for i in random.permutation(count)]
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    pieces = [slice(*ends) for ends in zip([0, *cuts], [*cuts, count], strict=True)]
    top_n = data.draw(st.integers(1, 8))
    found = nearest(queries, (batch(ids[at], vectors[at]) for at in pieces if at.start < at.stop), top_n)
    for number, query in enumerate(queries):
        assert [track_id for track_id, _ in found.of(number)] == brute(query, ids, vectors, top_n)


def test_vectors_of_another_length_are_refused_in_one_line():
    with pytest.raises(SpecrecError, match="have 3 dimensions, and the song's has 2: give the configuration"):
        nearest(np.ones((1, 2), np.float32), [batch(["a"], np.ones((1, 3), np.float32))], 5)


def test_the_cosine_of_joined_vectors_is_the_weighted_mean():
    random = np.random.default_rng(0)
    spaces = {
        name: random.standard_normal((2, size)).astype(np.float32) for name, size in (("a", 5), ("b", 9), ("c", 2))
    }
    weights = {"a": 3 / 4.5, "b": 1 / 4.5, "c": 0.5 / 4.5}
    one, other = join(spaces, weights).astype(np.float64)

    def cosine(rows):
        rows = rows.astype(np.float64)
        return rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])

    expected = sum(weights[name] * cosine(rows) for name, rows in spaces.items())
    assert one @ other == pytest.approx(expected, abs=1e-6)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-6)


def test_a_space_that_says_nothing_of_a_track_stays_zero_in_the_join():
    joined = join({"a": np.zeros((1, 2), np.float32), "b": np.ones((1, 1), np.float32)}, {"a": 0.5, "b": 0.5})
    np.testing.assert_allclose(joined, [[0, 0, np.sqrt(0.5)]], rtol=1e-6)


ANY = {"allowed": True, "artists": [], "albums": []}
PLAIN = RecommendConfig(hubs="off")


def of_tracks(traits):
    return pa.RecordBatch.from_pylist([{"track_id": track_id} | of for track_id, of in traits.items()], SCHEMA)


def listed(near, traits=None, groups=None, config=PLAIN):
    known = Known(of_tracks({track_id: ANY for track_id, _ in near} | (traits or {})), {}, groups or {})
    return list(choose_list(near, known, "hybrid", config)["recommended_track_id"])


def test_a_song_of_the_catalogue_heads_its_own_list_and_its_copies_are_left_out():
    near = [("a", 1.0), ("b", 0.99), ("c", 0.9), ("d", 0.8), ("e", 0.7)]
    assert itself(near) == "a"
    assert itself(near[1:]) is None
    groups = {"a": "A", "b": "A", "d": "D", "e": "D"}
    assert listed(near, groups=groups) == ["a", "c", "d"]
    assert listed(near[1:], groups=groups) == ["b", "c", "d"]  # one of each group, and no song is its copy
    assert listed(near, groups=groups, config=RecommendConfig(hubs="off", top_n=2)) == ["a", "c"]


def test_artists_are_limited_and_filters_hold():
    near = [("a", 1.0), ("b", 0.9), ("c", 0.8), ("d", 0.7)]
    ada = ANY | {"artists": ["ada"]}
    assert listed(near, {"a": ada, "b": ada, "c": ada, "d": ada}) == ["a", "b", "c"]  # itself is not counted
    assert listed(near, dict.fromkeys("ab", ANY | {"allowed": False})) == ["c", "d"]
    known = Known(of_tracks({"a": ANY}), {}, {})
    assert list(choose_list(near, known, "hybrid", PLAIN)["recommended_track_id"]) == ["a"]  # the others are gone


def test_mutual_proximity_ranks_by_what_is_usual_for_both():
    near = [("hub", 0.80), ("own", 0.79), ("far", 0.1)]
    usual = {"hub": [("x", 0.9), ("y", 0.94)], "own": [("x", 0.5), ("y", 0.52)], "far": [("x", 0.9), ("y", 0.92)]}
    known = Known(of_tracks(dict.fromkeys(usual, ANY)), usual, {})
    chosen = choose_list(near, known, "hybrid", RecommendConfig(hubs="mutual_proximity"))
    assert list(chosen["recommended_track_id"])[:2] == ["own", "hub"]
    assert chosen["affinity"].is_monotonic_decreasing
    assert list(chosen["rank"]) == [1, 2, 3]


def test_nothing_near_is_an_empty_list():
    assert listed([]) == []


def track(**values):
    return batch_of([{"track_id": "t"} | values])


@pytest.mark.parametrize(
    ("values", "settings", "allowed"),
    [
        ({"duration_ms": 29_999}, {"min_duration_seconds": 30}, False),
        ({"duration_ms": 30_000}, {"min_duration_seconds": 30}, True),
        ({"duration_ms": 30_001}, {"max_duration_seconds": 30}, False),
        ({}, {"min_duration_seconds": 30, "explicit": False, "market": "DE"}, True),
        ({"explicit": True}, {"explicit": False}, False),
        ({"explicit": True}, {}, True),
        ({"extra": {"markets": "US,de"}}, {"market": "DE"}, True),
        ({"extra": {"available_markets": "['FR', 'DEU']"}}, {"market": "DE"}, False),
        ({"extra": {"available_markets": " "}}, {"market": "DE"}, True),
    ],
)
def test_filters(values, settings, allowed):
    traits = traits_of(track(**values), RecommendConfig(**settings))
    assert traits.column("allowed").to_pylist() == [allowed]


def plainly(row, config):
    """The traits of one row, as one would write them down."""

    def clean(name):
        return re.sub(r"\s+", " ", name.lower(), flags=re.ASCII).strip(" ")

    artists = list(dict.fromkeys(filter(None, map(clean, (row["artists"] or "").split(";")))))
    album = clean(row["album_name"] or "")
    listed = (row["extra"] or {}).get("markets", "").strip(" ").upper()
    excluded = [
        row["duration_ms"] is not None and row["duration_ms"] < 1000 * (config.min_duration_seconds or 0),
        row["explicit"] and not config.explicit,
        config.market and listed and not re.search(rf"\b{config.market}\b", listed, re.ASCII),
    ]
    return {
        "track_id": row["track_id"],
        "allowed": not any(excluded),
        "artists": artists if config.max_per_artist else [],
        "albums": [{"album": album, "artist": of} for of in artists or [""] if album and config.max_per_album],
    }


NAME = st.text("aAßΣσİı é\t\n ;", max_size=8)
ROW = st.fixed_dictionaries(
    {
        "duration_ms": st.none() | st.integers(29_998, 30_002),
        "explicit": st.none() | st.booleans(),
        "artists": st.none() | NAME,
        "album_name": st.none() | NAME,
        "extra": st.none() | st.sampled_from([{}, {"markets": ""}, {"markets": "us, de"}, {"markets": "['DEU']"}]),
    }
)


@settings(deadline=None, max_examples=200)
@given(st.lists(ROW, max_size=6), st.none() | st.just(1), st.none() | st.just(1), st.booleans())
def test_traits_of_batches_are_those_of_their_rows(rows, most_of_artist, most_of_album, strict):
    rows = [row | {"track_id": f"t{number}"} for number, row in enumerate(rows)]
    filters = {"explicit": False, "market": "DE", "min_duration_seconds": 30} if strict else {}
    config = RecommendConfig(max_per_artist=most_of_artist, max_per_album=most_of_album, **filters)
    assert traits_of(batch_of(rows), config).to_pylist() == [plainly(row, config) for row in rows]


def test_names_differ_neither_by_case_nor_by_white_space():
    (of,) = traits_of(track(artists="Ed  Fox;ed fox;;ADA", album_name=" Live "), RecommendConfig()).to_pylist()
    assert of["artists"] == ["ed fox", "ada"]
    assert of["albums"] == [{"album": "live", "artist": "ed fox"}, {"album": "live", "artist": "ada"}]
    none = RecommendConfig(max_per_artist=None, max_per_album=None)
    assert traits_of(track(artists="Ada", album_name="Live"), none).to_pylist() == [{"track_id": "t"} | ANY]


def test_a_query_imports_no_spark():
    code = (
        "import sys, specrec.cli, specrec.pipeline.query; print(*(set(sys.modules) & {'pyspark', 'py4j', 'delta'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_query_imports_no_numba():
    """What only the process that decodes needs would take this one half a second."""
    code = (
        "import sys; from specrec.config import load; from specrec.pipeline import query;"
        "from specrec.query import catalogue;"
        "catalogue._warm_up(load(None, ['warehouse=w', 'catalogue.path=c'])); print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
