"""The stage `duplicates`: planted copies, and what only looks like one, through whole nights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copies import encoded, wav
from nights import LISTED, Night, write_csv
from pyspark.sql import SparkSession
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from specrec.demo import render_clip
from specrec.duplicates.spark import least_connected

SECONDS = 8.0
STAGES = (*LISTED[:-1], "duplicates")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, str]]]:
    """A folder of audio, and the rows of its catalogue."""
    folder = tmp_path_factory.mktemp("planted")
    clips = [render_clip(index, 2 * SECONDS) for index in range(12)]
    rate = clips[0].sample_rate
    whole = [clip.samples[:, None] for clip in clips]
    first = [audio[: int(SECONDS * rate)] for audio in whole]
    rows: list[dict[str, str]] = []

    def add(track_id: str, data: bytes, ending: str = "wav", **row: str) -> None:
        name = f"{track_id}.{ending}"
        (folder / name).write_bytes(data)
        rows.append(
            {"track_id": track_id, "artists": "", "track_name": "", "duration_ms": ""} | row | {"audio": name}
        )

    for number, audio in enumerate(first):  # all different
        add(f"clip-{number:02d}", wav(audio, rate), track_name=f"Song {number}", artists="A")
    for track_id in ("bytes-1", "bytes-2"):
        add(track_id, wav(first[0], rate), track_name="Song 0 - Remastered 2011", artists="A;B")
    for track_id in ("mp3-1", "mp3-2"):  # two equal files, and like a third
        mp3 = encoded(first[1], rate, "mp3", "libmp3lame", 64_000)
        add(track_id, mp3, "mp3", track_name="Song 1 (feat. B)", artists="A")
    add("quiet", wav(first[2] * np.float32(0.25), rate))  # the catalogue knows no title
    late = whole[3][int(0.5 * rate) : int((SECONDS + 0.5) * rate)]
    add("late", encoded(late, rate, "ogg", "libopus", 64_000), "opus", track_name="Other", artists="C")
    second = whole[5][int(SECONDS * rate) : int(2 * SECONDS * rate)]
    add("excerpt", wav(second, rate), track_name="Song 5", artists="A")
    add("namesake", encoded(first[10], rate, "mp3", "libmp3lame", 64_000), "mp3", track_name="Song 5", artists="A")
    for row in rows:
        if row["track_id"] == "clip-10":
            row["duration_ms"] = "200000"
        elif row["track_id"] == "namesake":  # sounds like clip-10, but the whole track is of another length
            row["duration_ms"] = "260000"
    return folder, rows


def _night(folder: Path, rows: list[dict[str, str]], where: Path) -> Night:
    catalogue = write_csv(where / "tracks.csv", rows)
    clip = (f"audio.clip_seconds={SECONDS}", "audio.offset_seconds=0")
    settings = (f"catalogue.audio_root={folder}", *clip, "duplicates.min_cosine=0.5")
    return Night(str(catalogue), f"{where}/warehouse", settings)


def _found(night: Night) -> dict[str, dict[str, Any]]:
    return {row["track_id"]: row for row in night.rows("duplicates")}


def test_copies_form_groups_and_the_rest_stands_alone(planted: Any, tmp_path: Path) -> None:
    folder, rows = planted
    night = _night(folder, rows, tmp_path)
    first = night.run(stages=STAGES)
    found = _found(night)
    assert {track_id: row["group_id"] for track_id, row in found.items()} == {
        "clip-00": "bytes-1",
        "bytes-1": "bytes-1",
        "bytes-2": "bytes-1",
        "clip-01": "clip-01",
        "mp3-1": "clip-01",
        "mp3-2": "clip-01",
        "clip-02": "clip-02",
        "quiet": "clip-02",
        "clip-03": "clip-03",
        "late": "clip-03",
    }
    by_bytes = {"clip-00": "bytes-1", "bytes-1": "bytes-2", "bytes-2": "bytes-1", "mp3-2": "mp3-1"}
    by_sound = {"clip-01": "mp3-1", "mp3-1": "clip-01", "clip-02": "quiet", "quiet": "clip-02"}
    by_sound |= {"clip-03": "late", "late": "clip-03"}
    assert {track_id: row["matched_track_id"] for track_id, row in found.items()} == by_bytes | by_sound
    for track_id, row in found.items():
        assert row["same_bytes"] == (track_id in by_bytes)
        assert (row["similarity"] is None) == (row["lag_seconds"] is None) == row["same_bytes"]
        if not row["same_bytes"]:
            assert max(0.85, row["repetition"]) <= row["similarity"] <= 1.0
            lag = {"clip-03": 0.5, "late": -0.5}.get(track_id, 0.0)
            assert row["lag_seconds"] == pytest.approx(lag, abs=0.06)
        named = {"bytes-1", "bytes-2", "clip-00", "clip-01", "mp3-1", "mp3-2"}
        assert row["same_title"] == (True if track_id in named else None if row["group_id"] == "clip-02" else False)
    stage = night.stage(first, "duplicates")
    assert (stage["status"], stage["rows_out"], stage["details"]["groups"]) == ("done", len(found), "4")
    assert stage["rows_in"] == int(stage["details"]["pairs_compared"]) >= int(stage["details"]["pairs_same"]) == 3

    version = night.reader.table("duplicates").version()
    assert night.stage(night.run(stages=["duplicates"]), "duplicates")["status"] == "unchanged"
    assert night.reader.table("duplicates").version() == version

    # the least of a group goes, a length that kept two apart is mended: as a warehouse that never knew otherwise
    rows = [dict(row) for row in rows if row["track_id"] != "bytes-1"]
    for row in rows:
        row["duration_ms"] = ""
    second = _night(folder, rows, tmp_path)
    assert second.stage(second.run(stages=STAGES), "duplicates")["status"] == "done"
    groups = {track_id: row["group_id"] for track_id, row in _found(second).items()}
    assert {groups[track_id] for track_id in ("bytes-2", "clip-00")} == {"bytes-2"}
    assert {groups[track_id] for track_id in ("clip-10", "namesake")} == {"clip-10"}
    assert "excerpt" not in groups
    assert len(groups) == 11


@pytest.mark.parametrize("few", [0, 100_000])
def test_connected_tracks_share_the_least_id(spark: SparkSession, few: int) -> None:
    rng = np.random.default_rng(0)
    ids = [f"t{i:03d}" for i in rng.permutation(300)]
    pairs = [tuple(sorted(pair)) for pair in rng.integers(0, 150, (110, 2)).tolist() if pair[0] != pair[1]]
    pairs += [(i, i + 1) for i in range(150, 190)]  # a chain
    pairs += [(200, i) for i in range(201, 260)]  # a star
    edges = spark.createDataFrame([tuple(sorted((ids[i], ids[j]))) for i, j in pairs], "a string, b string")
    found = {row.track_id: row.group_id for row in least_connected(edges, few).collect()}
    left, right = zip(*pairs, strict=True)
    _, label = connected_components(
        coo_array((np.ones(len(pairs)), (left, right)), shape=(300, 300)), directed=False
    )
    least: dict[int, str] = {}
    for i in sorted(range(300), key=lambda i: ids[i]):
        least.setdefault(label[i], ids[i])
    assert found == {ids[i]: least[label[i]] for i in {*left, *right}}
