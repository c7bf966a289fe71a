"""Queries by file against what the job wrote of the same tracks."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import reduce
from operator import and_
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from nights import QUICK, Night, read_csv, write_csv
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from servers import S3Server

from specrec.cli import main
from specrec.embedding.config import SYSTEMS
from specrec.embedding.spaces.hybrid import join
from specrec.pipeline.query_many import query_many
from specrec.recommend.config import RecommendConfig
from specrec.recommend.spark import traits
from specrec.recommend.traits import batch_of, traits_of
from specrec.warehouse.reader import Reader

SAID = ("recommended_track_id", "explanation", "reasons", "track_seconds", "recommended_seconds")


def arguments(night: Night, files: Sequence[object], *options: str, settings: Sequence[str] = QUICK) -> list[str]:
    overrides = [text for setting in settings for text in ("--set", setting)]
    return ["query", *map(str, files), "--warehouse", night.warehouse, *overrides, *options]


def query(night: Night, files: Sequence[object], *options: str, settings: Sequence[str] = QUICK) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments(night, files, *options, settings=settings))


@pytest.fixture(scope="module")
def files(first_night: Night, rendered: Path) -> dict[str, Path]:
    """Audio files by track_id."""
    return {row["track_id"]: rendered / row["audio"] for row in read_csv(rendered / "catalogue.csv")}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_tracks_own_file_finds_itself_first_and_then_its_list(
    first_night: Night, files: dict[str, Path], system: str
) -> None:
    asked = dict(list(files.items())[::5])
    result = query(first_night, list(asked.values()), "--json", "--system", system, "--top", "11")
    assert result.exit_code == 0, result.output
    lists: dict[str, list[dict[str, object]]] = {}
    for row in first_night.rows("recommendations"):
        if row["system"] == system:
            lists.setdefault(row["track_id"], []).append(row)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [str(file) for file in asked.values()]
    for track_id, answer in zip(asked, answers, strict=True):
        first, *rest = answer["recommendations"]
        assert first["recommended_track_id"] == track_id
        assert first["score"] == pytest.approx(1.0, abs=1e-6)
        assert sum(reason["contribution"] for reason in first["reasons"]) == pytest.approx(first["score"])
        expected = sorted(lists[track_id], key=lambda row: row["rank"])
        assert [row["rank"] - 1 for row in rest] == [row["rank"] for row in expected]
        for found, job in zip(rest, expected, strict=True):
            assert [found[name] for name in SAID if name != "reasons"] == [
                job[name] for name in SAID if name != "reasons"
            ]
            assert found["score"] == pytest.approx(job["score"], abs=1e-6)
            assert found["affinity"] == pytest.approx(job["affinity"], abs=1e-5)
            assert [reason["statement"] for reason in found["reasons"]] == [
                of["statement"] for of in job["reasons"]
            ]
            for reason, of in zip(found["reasons"], job["reasons"], strict=True):
                assert reason["contribution"] == pytest.approx(of["contribution"], abs=1e-6)


def test_no_spark_is_imported_nor_started(first_night: Night, files: dict[str, Path]) -> None:
    code = (
        "import sys\n"
        "from specrec.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "assert not {'pyspark', 'py4j', 'delta'} & set(sys.modules), 'Spark was imported'\n"
    )
    command = [sys.executable, "-c", code, *arguments(first_night, [files["demo-0001"]], "--top", "3")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo-0001" in done.stdout
    assert "listen: 0:00 and 0:00" in done.stdout


def test_a_bad_file_is_told_and_the_others_are_answered(
    first_night: Night, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "text.mp3").write_text("no music")
    asked = [tmp_path / "none.wav", files["demo-0002"], tmp_path / "text.mp3", "ftp://x/y.mp3", files["demo-0002"]]
    result = query(first_night, asked, "--json", "--top", "2")
    assert result.exit_code == 1
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [str(files["demo-0002"])] * 2
    told = result.stderr.splitlines()
    assert told[0] == "specrec: none.wav: no such file on the store"
    assert told[1].startswith("specrec: no decoder can read text.mp3: ")
    assert told[2].startswith("specrec: cannot read ftp://x/y.mp3: ")
    assert len(told) == 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((*QUICK, "audio.clip_seconds=2"), "other settings of audio"),
        ((*QUICK, "embedding.pca_components=7"), "other settings of fit and embedding"),
        ((*QUICK, "embedding.clip_sd=3"), "the vectors of the space .* were made with other settings or artefacts"),
    ],
)
def test_other_settings_than_the_nights_are_refused(
    first_night: Night, files: dict[str, Path], settings: Sequence[str], told: str
) -> None:
    result = query(first_night, [files["demo-0001"]], settings=settings)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("specrec: ")
    assert re.search(told, line)
    assert "give the configuration that the night ran with" in line
    assert result.stdout == ""


def test_no_warehouse_is_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    result = query(Night("", f"{tmp_path}/none"), [files["demo-0001"]])
    assert result.exit_code == 2
    assert result.stderr == f"specrec: there is no table {tmp_path}/none/artefacts: run `specrec nightly` first\n"


def test_a_file_of_an_object_store(
    first_night: Night, files: dict[str, Path], s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.create_bucket("songs")
    s3.client().put_object(Bucket=bucket, Key="song.wav", Body=files["demo-0003"].read_bytes())
    store = (*QUICK, f"storage.endpoint_url={s3.endpoint_url}", "storage.path_style=true")
    result = query(first_night, [f"s3://{bucket}/song.wav"], "--json", "--top", "1", settings=store)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["recommendations"]
    assert row["recommended_track_id"] == "demo-0003"


def test_the_join_in_numpy_is_the_jobs(first_night: Night) -> None:
    vectors: dict[str, dict[str, np.ndarray]] = {space: {} for space in SYSTEMS}
    for row in first_night.rows("embeddings"):
        vectors[row["space"]][row["track_id"]] = np.array(row["vector"], np.float32)
    ids = sorted(vectors["hybrid"])
    of = {space: np.stack([vectors[space][track_id] for track_id in ids]) for space in SYSTEMS}
    joined = join(
        {space: of[space] for space in ("features", "spectrogram")}, {"features": 0.6, "spectrogram": 0.4}
    )
    np.testing.assert_allclose(joined, of["hybrid"], atol=1e-7)


ARTISTS = ("Ada", "Di", "Ada;Bo", "Ed  Fox;ed fox", "Cy; ADA", None, " ;", "ED\tFOX", "ΟΔΥΣΣΕΥΣ", "İLHAN;Straße")
ALBUMS = ("Greatest Hits", "Live", None, " ", "greatest  hits")
MARKETS = (None, "DE", "de;at", "US,DE", "['FR', 'DE']", "US AT", "DEU", "[]", "", " ")


def by_expressions(tracks: DataFrame, config: RecommendConfig) -> DataFrame:
    """Traits as Spark's own expressions say them: another reading of the rules, and the codes of old warehouses."""

    def clean(name: Column) -> Column:
        return F.btrim(F.regexp_replace(F.lower(name), r"\s+", " "))

    def code(name: Column) -> Column:
        return F.xxhash64(name)

    seconds = F.col("duration_ms") / 1_000
    listed = F.btrim(F.coalesce(F.col("extra")["available_markets"], F.col("extra")["markets"]))
    excluded = [
        seconds < (config.min_duration_seconds or 0),
        seconds > (config.max_duration_seconds or math.inf),
        F.col("explicit") & F.lit(not config.explicit),
        (listed != "") & ~F.upper(listed).rlike(rf"\b{config.market}\b") & F.lit(config.market is not None),
    ]
    allowed = [~F.coalesce(condition, F.lit(False)) for condition in excluded]
    names = F.transform(F.split(F.coalesce("artists", F.lit("")), ";"), clean)
    artists = F.array_distinct(F.filter(names, lambda name: name != ""))
    album = clean(F.col("album_name"))
    by_artist = F.transform(
        F.when(F.size(artists) > 0, artists).otherwise(F.array(F.lit(""))), lambda name: F.xxhash64(album, name)
    )
    none = F.array().cast("array<bigint>")
    return tracks.select(
        "track_id",
        reduce(and_, allowed).alias("allowed"),
        (F.transform(artists, code) if config.max_per_artist else none).alias("artists"),
        (F.when(album != "", by_artist).otherwise(none) if config.max_per_album else none).alias("albums"),
    )


def test_traits_are_those_of_spark(spark: SparkSession) -> None:
    rows = [
        {
            "track_id": f"t{i:03}",
            "artists": ARTISTS[i % len(ARTISTS)],
            "album_name": ALBUMS[i % len(ALBUMS)],
            "explicit": (True, False, None)[i % 3],
            "duration_ms": (29_999, 30_000, 600_000, 600_001, None)[i % 5 if i % 2 else 1],
            "extra": {("markets", "available_markets")[i % 2]: MARKETS[i % len(MARKETS)]} if i % 11 else None,
        }
        for i in range(120)
    ]
    schema = (
        "track_id string, artists string, album_name string, explicit boolean, duration_ms long, "
        "extra map<string,string>"
    )
    tracks = spark.createDataFrame(rows, schema)
    strict = RecommendConfig(explicit=False, market="DE", min_duration_seconds=30, max_duration_seconds=600)
    for config in (strict, RecommendConfig(), RecommendConfig(max_per_artist=None, max_per_album=None)):
        expected = {row.track_id: row for row in by_expressions(tracks, config).collect()}
        in_spark = {row.track_id: row for row in traits(tracks, config).orderBy(F.rand(0)).collect()}
        assert in_spark == expected
        ours = {row["track_id"]: row for row in traits_of(batch_of(rows), config).to_pylist()}
        assert {of: t["allowed"] for of, t in ours.items()} == {of: row.allowed for of, row in expected.items()}
        for names in ("artists", "albums"):
            codes: dict[str, int] = {}
            for track_id, of in ours.items():
                found = [name if names == "artists" else tuple(name.values()) for name in of[names]]
                assert len(found) == len(expected[track_id][names])
                for name, code in zip(found, expected[track_id][names], strict=True):
                    assert codes.setdefault(name, code) == code
            assert len(set(codes.values())) == len(codes)


def test_many_files_in_spark_get_what_one_gets(
    first_night: Night, files: dict[str, Path], rendered: Path, tmp_path: Path
) -> None:
    asked = dict(list(files.items())[:7])
    for file in asked.values():
        (tmp_path / "songs").mkdir(exist_ok=True)
        (tmp_path / "songs" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "songs" / "text.mp3").write_text("no music")
    paths = [{"audio": f"songs/{file.name}"} for file in asked.values()]
    source = write_csv(tmp_path / "songs.csv", [*paths, {"audio": "songs/text.mp3"}, {"audio": "../x.wav"}])
    config = first_night.config()

    assert query_many(config, str(source), f"{tmp_path}/found", "hybrid", 4) == (9, 2)

    reader = Reader(f"{tmp_path}/found", config.storage)
    failed = {row["audio_uri"]: row["code"] for row in reader.rows("failed")}
    assert failed == {f"{tmp_path}/songs/text.mp3": "undecodable", "../x.wav": "forbidden_path"}
    found = reader.rows("lists")
    one_by_one = query(
        first_night, [tmp_path / "songs" / file.name for file in asked.values()], "--json", "--top", "4"
    )
    assert one_by_one.exit_code == 0, one_by_one.output
    for line in one_by_one.stdout.splitlines():
        answer = json.loads(line)
        rows = sorted((row for row in found if row["audio_uri"] == answer["file"]), key=lambda row: row["rank"])
        assert [row["rank"] for row in rows] == [1, 2, 3, 4]
        for row, expected in zip(rows, answer["recommendations"], strict=True):
            assert [row[name] for name in SAID if name != "reasons"] == [
                expected[name] for name in SAID if name != "reasons"
            ]
            assert row["score"] == pytest.approx(expected["score"], abs=1e-6)
            assert row["affinity"] == (expected["affinity"] and pytest.approx(expected["affinity"], abs=1e-5))
    assert len(found) == 28


def test_many_files_none_of_which_can_be_analysed_end_in_what_failed(first_night: Night, tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    odd = tmp_path / "songs" / "query:1.mp3"
    odd.write_text("no music")
    config = first_night.config()
    assert query_many(config, f"{tmp_path}/songs", f"{tmp_path}/found", "hybrid", 4) == (1, 1)
    reader = Reader(f"{tmp_path}/found", config.storage)
    assert reader.rows("lists") == []
    assert [(row["audio_uri"], row["code"]) for row in reader.rows("failed")] == [(str(odd), "undecodable")]
