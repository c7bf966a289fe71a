"""Lists against the tables that they are made from: each rule is applied again, track by track, by a plain loop."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from nights import Night, read_csv, write_csv

from specrec.embedding.config import SYSTEMS

TOP_N, OF_ARTIST, OF_ALBUM = 10, 3, 2
SETTINGS = (
    "recommend.hubs=local_scaling",
    "recommend.max_hub_shift=0",  # else hubs are told by what was usual before copies were planted
    f"recommend.top_n={TOP_N}",
    f"recommend.max_per_artist={OF_ARTIST}",
    f"recommend.max_per_album={OF_ALBUM}",
    "recommend.explicit=false",
    "recommend.market=DE",
    "recommend.min_duration_seconds=30",
    "recommend.max_duration_seconds=600",
)
#: Who plays what, planted in the rendered catalogue: names that differ in case, white space and company.
ARTISTS = ("Ada", "Di", "Ada;Bo", "Ed  Fox;ed fox", "Cy; ADA", "", "ED FOX")
ALBUMS = ("Greatest Hits", "Live", "", "greatest  hits", "Live")
MARKETS = ("", "DE", "de;at", "US,DE", "['FR', 'DE']", "US AT", "DEU", "[]", "DE;FR")
GROUPS = {"demo-0002": "one", "demo-0003": "one", "demo-0004": "one", "demo-0009": "two", "demo-0021": "two"}


@pytest.fixture(scope="module")
def planted(first_night: Night, rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The rendered clips after a night, and under other names after another; `duplicates` is still empty."""
    folder = tmp_path_factory.mktemp("planted")
    rows = []
    for i, row in enumerate(read_csv(rendered / "catalogue.csv")):
        about = {
            "artists": ARTISTS[i % len(ARTISTS)],
            "album_name": ALBUMS[i % len(ALBUMS)],
            "explicit": ("True", "False", "", "False", "False", "False")[i % 6],
            "duration_ms": {5: "29999", 9: "600001", 10: "30000", 11: "600000", 12: ""}.get(i, "180000"),
            "Available_Markets": MARKETS[i % len(MARKETS)],
        }
        rows.append(row | about)
    catalogue = write_csv(folder / "catalogue.csv", rows)
    root = f"catalogue.audio_root={rendered}"
    night = Night(f"{catalogue}", f"{folder}/warehouse", (root, *SETTINGS))
    shutil.copytree(first_night.warehouse, night.warehouse)
    night.run(stages=("ingest", "recommend"))
    return night


def plant_duplicates(night: Night, groups: dict[str, str]) -> None:
    table = night.reader.table("duplicates")
    schema = pa.schema(table.schema().to_arrow())
    written = {"same_bytes": True, "run_id": "planted"}
    rows = [
        {"track_id": track_id, "group_id": group_id, "matched_track_id": group_id, **written}
        for track_id, group_id in groups.items()
    ]
    deltalake.write_deltalake(table, pa.Table.from_pylist(rows, schema), mode="overwrite")


def expected_lists(night: Night, groups: dict[str, str]) -> dict[tuple[str, str], list[tuple[str, float, float]]]:
    """Each system's list of each track: (track_id, score, affinity), best first."""
    tracks = {row["track_id"]: row for row in night.rows("tracks")}
    neighbours: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for row in night.rows("neighbours"):
        neighbours[row["space"], row["track_id"]].append((row["neighbour_id"], row["cosine"]))
    apart = {  # copies of a track are no sign of a hub
        (space, track_id): [
            cosine for other, cosine in found if track_id not in groups or groups[track_id] != groups.get(other)
        ]
        for (space, track_id), found in neighbours.items()
    }
    usual = {of: fmean(cosines) for of, cosines in apart.items()}
    lists = {}
    for (space, track_id), found in neighbours.items():
        candidates = [
            (other, cosine, cosine - (usual[space, track_id] + usual[space, other]) / 2) for other, cosine in found
        ]
        candidates.sort(key=lambda candidate: (-candidate[2], -candidate[1], candidate[0]))
        held: Counter[Any] = Counter()
        chosen = []
        for candidate in candidates:
            other = tracks[candidate[0]]
            names = names_of(other)
            group = groups.get(candidate[0])
            if group is not None and (group == groups.get(track_id) or held["group", group]):
                continue
            if (
                not allowed(other)
                or any(held[name] >= most for name, most in names.items())
                or len(chosen) == TOP_N
            ):
                continue
            held.update([*names, ("group", group)])
            chosen.append(candidate)
        lists[space, track_id] = chosen
    return lists


def allowed(track: dict[str, Any]) -> bool:
    said = (dict(track["extra"] or {})).get("available_markets") or ""
    markets = said
    for mark in ";,[]'":
        markets = markets.replace(mark, " ")
    here = not said.strip() or "DE" in markets.upper().split()
    duration = track["duration_ms"]
    return here and not track["explicit"] and (duration is None or 30_000 <= duration <= 600_000)


def names_of(track: dict[str, Any]) -> dict[Any, int]:
    """The artists and albums of a track, and how many of each a list may hold."""
    artists = {" ".join(name.lower().split()) for name in (track["artists"] or "").split(";")} - {""}
    album = " ".join((track["album_name"] or "").lower().split())
    albums = {(album, artist) for artist in artists or {None}} if album else set()
    return dict.fromkeys(artists, OF_ARTIST) | dict.fromkeys(albums, OF_ALBUM)


def assert_lists_follow_the_rules(night: Night, groups: dict[str, str]) -> dict[str, int]:
    """Return how many lists of each system are short."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in night.rows("recommendations"):  # in the order of their text: rank 10 before rank 2
        found[row["system"], row["track_id"]].append(row)
    for of, expected in expected_lists(night, groups).items():
        rows = sorted(found.pop(of, []), key=lambda row: row["rank"])
        assert [row["rank"] for row in rows] == list(range(1, len(expected) + 1))
        assert [row["recommended_track_id"] for row in rows] == [other for other, *_ in expected], of
        assert [row["score"] for row in rows] == [score for _, score, _ in expected]
        # how near the nearest are is reckoned in parts of 1e-7
        assert [row["affinity"] for row in rows] == pytest.approx([value for *_, value in expected], abs=1e-7)
    assert not found
    lists = Counter((row["system"], row["track_id"]) for row in night.rows("recommendations"))
    tracks = {row["track_id"] for row in night.rows("embeddings")}
    return {system: sum(lists[system, track_id] < TOP_N for track_id in tracks) for system in SYSTEMS}


def test_lists_keep_every_rule_and_runs_count_the_short_ones(planted: Night) -> None:
    short = assert_lists_follow_the_rules(planted, {})
    assert all(0 < count < 24 for count in short.values())  # both kinds are there to be checked
    *_, stage = sorted(
        planted.reader.rows("runs", [("stage", "=", "recommend")]), key=lambda row: row["started_at"]
    )
    for system in SYSTEMS:
        assert stage["details"][system].endswith(f" rows, {short[system]} lists not full")


def test_duplicates_that_are_found_later_are_taken_out(planted: Night) -> None:
    plant_duplicates(planted, GROUPS)
    run_id = planted.run(stages=["recommend"])
    assert planted.stage(run_id, "recommend")["status"] == "done"
    assert_lists_follow_the_rules(planted, GROUPS)
    again = planted.run(stages=["recommend"])
    assert planted.stage(again, "recommend")["status"] == "unchanged"


def test_lists_are_rewritten_when_what_they_read_of_the_tracks_changes_and_only_then(planted: Night) -> None:
    catalogue = Path(planted.catalogue)
    rows = read_csv(catalogue)
    longer = {"popularity": "1", "duration_ms": "200000"}  # within the limits, as before
    write_csv(catalogue, [*rows[:1], rows[1] | longer, *rows[2:]])
    run_id = planted.run(stages=("ingest", "recommend"))
    assert planted.stage(run_id, "ingest")["details"]["changed"] == "1"
    assert planted.stage(run_id, "recommend")["status"] == "unchanged"
    write_csv(catalogue, [*rows[:1], rows[1] | {"artists": "ED FOX"}, *rows[2:]])
    run_id = planted.run(stages=("ingest", "recommend"))
    assert planted.stage(run_id, "recommend")["status"] == "done"
    assert_lists_follow_the_rules(planted, GROUPS)


def test_agreement_is_that_of_the_lists_that_stand(planted: Night) -> None:
    lists: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in planted.rows("recommendations"):
        lists[row["system"], row["track_id"]][row["rank"]] = row["recommended_track_id"]
    compared = planted.rows("agreement")
    assert {row["track_id"] for row in compared} == {
        track_id for system, track_id in lists if system in ("features", "spectrogram")
    }
    for row in compared:
        first, second = (
            {other for _, other in sorted(lists[system, row["track_id"]].items())}
            for system in ("features", "spectrogram")
        )
        assert row["in_both"] == len(first & second)
        assert row["jaccard"] == pytest.approx(len(first & second) / len(first | second))
        assert (row["rank_biased_overlap"] > 0) == bool(row["in_both"])
        assert row["rank_biased_overlap"] <= 1
    assert len({row["rank_biased_overlap"] for row in compared}) > 1
