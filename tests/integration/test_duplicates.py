"""The stage `duplicates`: planted copies, and what only looks like one, through whole nights."""

from __future__ import annotations

import shutil
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from copies import encoded, wav
from deltalake import DeltaTable, Schema, write_deltalake
from nights import LISTED, Night, write_csv
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from specrec.audio.mel import encode_mel
from specrec.demo import render_clip
from specrec.pipeline.duplicates import least_connected
from specrec.pipeline.run import open_run
from specrec.warehouse.schemas import TABLES
from specrec.warehouse.tables import Warehouse

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
def test_connected_tracks_share_the_least_id(spark: SparkSession, tmp_path: Path, few: int) -> None:
    rng = np.random.default_rng(0)
    ids = [f"t{i:03d}" for i in rng.permutation(300)]
    pairs = [tuple(sorted(pair)) for pair in rng.integers(0, 150, (110, 2)).tolist() if pair[0] != pair[1]]
    pairs += [(i, i + 1) for i in range(150, 190)]  # a chain
    pairs += [(200, i) for i in range(201, 260)]  # a star
    edges = spark.createDataFrame([tuple(sorted((ids[i], ids[j]))) for i, j in pairs], "a string, b string")
    with open_run(Night("nowhere", f"{tmp_path}/warehouse").config(), shown=False) as run:
        run.warehouse.create_missing(["to_connect"])
        connected = least_connected(run, edges, few)
        found = {row.track_id: row.group_id for row in connected.collect()}
        rounds = DeltaTable(f"{tmp_path}/warehouse/to_connect").version()
    assert connected.count() == len(found)
    left, right = zip(*pairs, strict=True)
    _, label = connected_components(
        coo_array((np.ones(len(pairs)), (left, right)), shape=(300, 300)), directed=False
    )
    least: dict[int, str] = {}
    for i in sorted(range(300), key=lambda i: ids[i]):
        least.setdefault(label[i], ids[i])
    assert found == {ids[i]: least[label[i]] for i in {*left, *right}}
    assert rounds == 0 if few else 3 <= rounds <= 9  # the chain has forty links


class Planted:
    """A warehouse whose tables say what they are told: the stage duplicates runs on it, and no other."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark = spark
        self.night = Night("nowhere", str(folder), ("duplicates.min_cosine=0.5",))
        self._warehouse = Warehouse(lambda: spark, str(folder), self.night.config().storage)
        self._warehouse.create_missing()

    def write(self, tracks: dict[str, tuple[str, str, int]], seed: int, *, copies_searched: bool = True) -> None:
        """Write tables of tracks: each has a sound, a title and a rate; of some the cosine is that of chance."""
        audio_hash, now = str(self.night.config().audio_hash), datetime(2026, 1, 1, tzinfo=UTC)
        stamp = {"audio_hash": audio_hash, "run_id": "r", "computed_at": now}
        rows = {
            name: {"track_id": name, "track_name": title, "artists": "A", "has_audio": True, "row_hash": "h"}
            | {"run_id": "r", "updated_at": now}
            for name, (_, title, _) in tracks.items()
        }
        self._overwrite("tracks", list(rows.values()))
        files = [
            {"track_id": name, "content_hash": f"{sound} {rate}", **stamp}
            for name, (sound, _, rate) in tracks.items()
        ]
        self._overwrite("audio_features", files)
        heard = []
        for file, (sound, _, rate) in zip(files, tracks.values(), strict=True):
            mel = _mel(sound)
            shape = {"n_mels": len(mel), "n_frames": mel.shape[1], "sample_rate": rate, "hop_length": 512}
            heard.append(file | shape | {"mel": encode_mel(mel)})
        self._overwrite("mel_spectrograms", heard)
        lists = self._frame("neighbours", self._lists(tracks, seed, copies_searched))
        state = f"{seed}:{copies_searched}:{sorted(tracks.items())}"
        self._warehouse.replace_parts("neighbours", "space", lists, {"spectrogram": state})

    def _lists(
        self, tracks: dict[str, tuple[str, str, int]], seed: int, copies_searched: bool
    ) -> list[dict[str, Any]]:
        """Lists by cosines of chance, equal for equal files, greater for variants of one song."""
        of_file: dict[tuple[str, int], str] = {}
        for name in sorted(tracks):
            of_file.setdefault((tracks[name][0], tracks[name][2]), name)
        searched = sorted(tracks) if copies_searched else sorted(of_file.values())
        lists = []
        for name in sorted(tracks):
            sound, _, rate = tracks[name]
            near = []
            for other in searched:
                its_sound, _, its_rate = tracks[other]
                # not among its own, if equal files are searched once
                if other == name or (not copies_searched and (its_sound, its_rate) == (sound, rate)):
                    continue
                pair = "/".join(sorted((f"{sound} {rate}", f"{its_sound} {its_rate}")))
                chance = zlib.crc32(f"{seed} {pair}".encode()) / 2**32
                is_same = sound.partition("+")[0] == its_sound.partition("+")[0]
                near.append((-round(0.9 + chance / 10 if is_same else 0.9 * chance, 6), other))
            lists += [
                {"space": "spectrogram", "track_id": name, "rank": rank, "neighbour_id": other}
                | {"cosine": -cosine, "euclidean": 0.0, "run_id": "r"}
                for rank, (cosine, other) in enumerate(sorted(near)[:30], 1)
            ]
        return lists

    def _overwrite(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Make a table hold these rows, without Spark; what they do not say is null."""
        schema = pa.schema(Schema.from_json(TABLES[table].schema.json()).to_arrow())
        write_deltalake(f"{self.night.warehouse}/{table}", pa.Table.from_pylist(rows, schema), mode="overwrite")

    def _frame(self, table: str, rows: list[dict[str, Any]]) -> DataFrame:
        fields = TABLES[table].schema.fields
        schema = T.StructType([T.StructField(field.name, field.dataType) for field in fields])
        return self._spark.createDataFrame([tuple(row.get(field.name) for field in fields) for row in rows], schema)

    def run(self) -> dict[str, Any]:
        return self.night.stage(self.night.run(stages=["duplicates"]), "duplicates")

    def found(self) -> list[dict[str, Any]]:
        return self.night.rows("duplicates")


def _mel(sound: str) -> np.ndarray:
    """A song of notes; "song+3" is the same with some noise, the third of its kind."""
    song, _, kind = sound.partition("+")
    rng = np.random.default_rng(zlib.crc32(song.encode()))
    power = np.full((64, 160), 1e-7)
    for _ in range(120):
        band, start, length = rng.integers(64), rng.integers(160), rng.integers(5, 40)
        width = np.exp(-(((np.arange(64) - band) / 3.0) ** 2))[:, None]
        power[:, start:] += rng.uniform(0.05, 1) * width * np.exp(-np.arange(160 - start) / length)
    db = 10 * np.log10(power[:, :140] / power.max())
    noise = np.random.default_rng(int(kind)).normal(0, 0.5, db.shape) if kind else 0
    return np.clip(db + noise, -80, 0).astype(np.float32)


def _groups(tracks: dict[str, tuple[str, str, int]]) -> dict[str, str]:
    """The groups that there are, by how the tracks were made."""
    of_song: dict[tuple[str, int], list[str]] = {}
    for name, (sound, _, rate) in sorted(tracks.items()):
        of_song.setdefault((sound.partition("+")[0], rate), []).append(name)
    return {name: names[0] for names in of_song.values() if len(names) > 1 for name in names}


def test_what_is_compared_night_by_night_is_what_a_comparison_of_all_gives(
    spark: SparkSession, tmp_path: Path
) -> None:
    planted = Planted(spark, tmp_path / "planted")
    tracks = {f"t{i:02d}": (f"song {i % 12}" + ("+3" if i >= 12 else ""), f"Title {i}", 22_050) for i in range(18)}
    tracks |= {"t30": ("song 0", "Title 0", 22_050), "t31": ("song 1", "Title 1", 44_100)}
    steps: list[dict[str, Any]] = [
        {},
        {  # added, removed, changed audio
            **{"t40": ("song 3+5", "Title 40", 22_050), "t41": ("song 11+4", "x", 22_050), "t00": None},
            **{"t02": ("song 7+2", "Title 2", 22_050), "t31": ("song 1+1", "Title 1", 22_050)},
        },
        {"t05": ("song 5", "Title 9", 22_050), "a": ("song 3", "Title 3", 22_050)},  # a title; a lesser copy
    ]
    compared = []
    for number, step in enumerate(steps):
        tracks = {name: of for name, of in (tracks | step).items() if of is not None}
        planted.write(tracks, seed=number)  # which are near changes, too
        before = {row["track_id"]: row for row in planted.night.rows("duplicates", ())}
        stage = planted.run()
        assert stage["status"] == "done"
        compared.append(int(stage["details"]["pairs_compared"]))
        rebuilt = Night("nowhere", str(tmp_path / f"rebuilt-{number}"), planted.night.settings)
        for table in ("tracks", "audio_features", "mel_spectrograms", "neighbours"):
            shutil.copytree(f"{planted.night.warehouse}/{table}", f"{rebuilt.warehouse}/{table}")
        all_pairs = int(
            rebuilt.stage(rebuilt.run(stages=["duplicates"]), "duplicates")["details"]["pairs_compared"]
        )
        assert planted.found() == rebuilt.rows("duplicates")
        assert len(planted.found()) >= 12
        # what says the same is left as the earlier run wrote it
        for row in planted.night.rows("duplicates", ()):
            old = before.get(row["track_id"])
            said_before = old is not None and {**old, "run_id": ""} == {**row, "run_id": ""}
            assert (old is not None and row["run_id"] == old["run_id"]) == said_before
        assert {row["track_id"]: row["group_id"] for row in planted.found()} == _groups(tracks)
        pairs = {(row["a"], row["b"]): row for row in planted.night.rows("compared_pairs")}
        assert {name for pair in pairs for name in pair} <= tracks.keys()
        for (a, b), row in pairs.items():
            hashes = tuple(f"{tracks[name][0]} {tracks[name][2]}" for name in (a, b))
            assert (row["a_content_hash"], row["b_content_hash"]) == hashes
        assert len(pairs) <= 2 * all_pairs
        assert (compared[-1] == all_pairs) == (number == 0)
        unlike = {pair for pair, row in pairs.items() if row["similarity"] is None}
        assert all("t31" in pair for pair in unlike)
        assert bool(unlike) == (tracks["t31"][2] != 22_050)

    # pairs that somebody deleted are compared again when they are next needed, and groups are the same
    DeltaTable(f"{planted.night.warehouse}/compared_pairs").delete("a > 't05'")
    assert planted.night.stage(planted.night.run(stages=["duplicates"]), "duplicates")["status"] == "unchanged"
    version = DeltaTable(f"{planted.night.warehouse}/duplicates").version()
    planted.write(tracks, seed=99, copies_searched=False)  # equal files are searched once: the same groups
    planted.run()
    once = planted.found()
    assert {row["track_id"]: row["group_id"] for row in once} == _groups(tracks)
    planted.write(tracks, seed=99)
    assert planted.run()["details"]["pairs_compared"] == "0"
    assert planted.found() == once
    assert DeltaTable(f"{planted.night.warehouse}/duplicates").version() == version + 2  # the state is remembered
