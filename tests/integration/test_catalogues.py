"""Catalogue sources: the traps of real CSV files, Parquet, Delta, folders of tagged files."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from chispa import assert_df_equality
from nights import MEASURED, Night, write_csv
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tagged import vorbis_comments

from specrec.catalogue.spark import bytes_in, conform, count_rows, one_row_a_track, read_table, with_audio_uri
from specrec.config import load
from specrec.demo import render_clip
from specrec.errors import CatalogueError
from specrec.pipeline.query_many import _files
from specrec.recommend.config import RecommendConfig
from specrec.recommend.spark import traits
from specrec.storage import locate
from specrec.storage.config import StorageConfig

SHARED = Path(__file__).parents[3] / "shared"
STORAGE = StorageConfig()


def test_csv_values_are_typed_and_what_does_not_fit_is_null(spark: SparkSession, tmp_path: Path) -> None:
    text = (
        "Unnamed: 0,track_id,artists,track_name,popularity,explicit,energy,duration_ms,source_song,audio\n"
        '7,a,"One; Two","He said ""hi"",\nand left",73.0,True,0.5,1000,song one,a.mp3\n'
        "8, b ,,  ,many,False,loud,,,\r\n"
    )
    (tmp_path / "tracks.csv").write_text(text, encoding="utf-8")
    rows = conform(read_table(spark, f"{tmp_path}/tracks.csv", "csv", STORAGE).rows).orderBy("track_id").collect()
    assert [row.track_id for row in rows] == ["a", "b"]
    first, second = rows
    assert (first.artists, first.track_name) == ("One; Two", 'He said "hi",\nand left')
    assert (first.popularity, first.explicit, first.energy, first.duration_ms) == (73, True, 0.5, 1000)
    assert first.extra == {"source_song": "song one"}  # and no row number
    assert (second.artists, second.track_name, second.popularity, second.energy) == (None, None, None, None)
    assert (second.audio, second.extra, second.valence) == (None, {"popularity": "many", "energy": "loud"}, None)
    counts = count_rows(conform(read_table(spark, f"{tmp_path}/tracks.csv", "csv", STORAGE).rows))
    assert counts == (2, 2, {"popularity": 1, "energy": 1})


AUDIO = pa.array(["0.flac", "1.flac", "2.flac"])
IDS = pa.array(["a", "b", "c"])
UUIDS = [bytes([200 + i] * 16) for i in range(3)]
COLUMNS = {
    "whole numbers of any type": ("track_id", pa.array([12345678.0, 2.0, 123456789012.0]),
                                  ["12345678", "2", "123456789012"]),
    "decimals": ("track_id", pa.array([Decimal("12345678.00"), Decimal("2.00"), Decimal("7.50")]),
                 ["12345678", "2", "7.50"]),
    "unsigned": ("track_id", pa.array([1, 2, 2**64 - 1], pa.uint64()), ["1", "2", str(2**64 - 1)]),
    "bytes that are an id": ("track_id", pa.array(UUIDS, pa.binary(16)), [of.hex() for of in UUIDS]),
    "bytes that are text": ("track_id", pa.array([b"a", "ä".encode(), b"c"]), ["a", "ä", "c"]),
    "nothing that is an id": ("track_id", pa.array([1.0, None, float("nan")]), ["1", None, None]),
    "lists": ("artists", pa.array([["Daft Punk", " Pharrell "], ["Björk", None], []]),
              ["Daft Punk;Pharrell", "Björk", None]),
    "structures with a name": ("artists", pa.array([[{"name": "A", "id": 1}, {"name": "B", "id": 2}], [], None]),
                               ["A;B", None, None]),
    "a choice of few": ("artists", pa.array(["A", "B", None]).dictionary_encode(), ["A", "B", None]),
    "yes and no as numbers": ("explicit", pa.array([1.0, 0.0, None]), [True, False, None]),
    "yes and no as text": ("explicit", pa.array(["Yes", "0.0", "maybe"]), [True, False, None]),
    "whole numbers beyond what is exact": ("track_id", pa.array([2.0**53 + 2, -(2.0**60), 1e20]),
                                           ["9007199254740994", "-1152921504606846976", "1" + "0" * 20]),
    "a part of a whole": ("popularity", pa.array([72.9, 73.0, None]), [None, 73, None]),
    "a part of a millisecond": ("duration_ms", pa.array([215306.7, 73.0, None]), [215307, 73, None]),
    "a text called extra": ("extra", pa.array(["live", None, "demo"]),
                            [{"extra": "live"}, {}, {"extra": "demo"}]),
    "nanoseconds nobody needs": ("added_at", pa.array([1, 2, 3], pa.timestamp("ns")), None),
    "a picture": ("cover", pa.array([bytes(range(256))] * 3), None),
    "a row number": ("__index_level_0__", pa.array([5, 3, 1]), None),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_any_type_become_ours_or_are_left_out(spark: SparkSession, tmp_path: Path, name: str) -> None:
    column, values, expected = COLUMNS[name]
    path = f"{tmp_path}/tracks [2024].parquet"  # no pattern, but a name
    pq.write_table(pa.table({"track_id": IDS, "audio": AUDIO} | {column: values}), path)
    source = read_table(spark, path, "parquet", STORAGE)
    rows = conform(source.rows).orderBy("audio").collect()
    assert [row.audio for row in rows] == ["0.flac", "1.flac", "2.flac"]
    if expected is not None:
        assert [row[column] for row in rows] == expected
    else:
        assert not any(row.extra for row in rows)
        assert (source.left_out | bytes_in(source.rows)).keys() == {column} - {"__index_level_0__"}
    if name == "a part of a whole":
        assert [row.extra for row in rows] == [{"popularity": "72.9"}, None, None]
    if name == "yes and no as text":  # what cannot be read is told, and kept out where it matters
        assert [(row.extra or {}).get("explicit") for row in rows] == [None, None, "maybe"]
        allowed = traits(conform(source.rows), RecommendConfig(explicit=False)).orderBy("track_id").collect()
        assert [row.allowed for row in allowed] == [False, True, False]


def test_audio_in_a_table_is_taken_by_its_path_or_refused(spark: SparkSession, tmp_path: Path) -> None:
    files = [{"bytes": b"fLaC" * 1000, "path": f"{i}.flac"} for i in range(3)]
    pq.write_table(pa.table({"track_id": IDS, "audio": pa.array(files)}), f"{tmp_path}/with_path.parquet")
    rows = conform(read_table(spark, f"{tmp_path}/with_path.parquet", "parquet", STORAGE).rows)
    assert sorted(row.audio for row in rows.collect()) == AUDIO.to_pylist()
    pq.write_table(pa.table({"track_id": IDS, "audio": pa.array([b"fLaC"] * 3)}), f"{tmp_path}/bytes.parquet")
    with pytest.raises(CatalogueError, match="'audio' is binary, and must be a path"):
        conform(read_table(spark, f"{tmp_path}/bytes.parquet", "parquet", STORAGE).rows)


def test_parts_are_read_together_whatever_their_columns(spark: SparkSession, tmp_path: Path) -> None:
    for kind in ("parquet", "csv"):
        (tmp_path / f"tracks.{kind}").mkdir()
        (tmp_path / f"tracks.{kind}" / "_SUCCESS").touch()
    old = pa.table({"track_id": IDS[:2], "audio": AUDIO[:2], "popularity": pa.array([1, 2]), "year": [1999, 2000]})
    new = pa.table({"tempo": pa.array([120], pa.int32()), "Track_ID": IDS[2:], "audio": AUDIO[2:]})
    # as pandas writes whole numbers beside a missing value
    new = new.append_column("Popularity", pa.array([3.0])).append_column("Year", pa.array([2001.0]))
    for number, part in enumerate((old, new)):
        pq.write_table(part, f"{tmp_path}/tracks.parquet/part-{number}.parquet")
        part.to_pandas().to_csv(f"{tmp_path}/tracks.csv/part-{number}.csv", index=False)
    for kind in ("parquet", "csv"):
        rows = conform(read_table(spark, f"{tmp_path}/tracks.{kind}", kind, STORAGE).rows)
        found = {
            row.track_id: (row.audio, row.tempo, row.popularity, *row.extra.values()) for row in rows.collect()
        }
        assert {row[:3] for row in found.values()} == {
            ("0.flac", None, 1),
            ("1.flac", None, 2),
            ("2.flac", 120.0, 3),
        }
        assert set(found) == {"a", "b", "c"}
        years = {
            "a": "1999",
            "b": "2000",
            "c": "2001" if kind == "parquet" else "2001.0",
        }  # in a CSV, as it is written
        assert {name: row[3:] for name, row in found.items()} == {name: (year,) for name, year in years.items()}
    pq.write_table(pa.table({"track_id": ["d"], "audio": [2.5]}), f"{tmp_path}/tracks.parquet/part-2.parquet")
    with pytest.raises(CatalogueError, match=r"disagree on the column 'audio', which is (string|double) and"):
        read_table(spark, f"{tmp_path}/tracks.parquet", "parquet", STORAGE)


@pytest.mark.parametrize(
    "name", ["tracks [2024].csv", "track?.csv", "a:b.csv", "_t.csv", "50% off #1.csv", "{a,b}.csv"]
)
def test_a_name_is_no_pattern(spark: SparkSession, tmp_path: Path, name: str) -> None:
    for other in ("tracks 2.csv", "trackX.csv", "a.csv"):
        (tmp_path / other).write_text("track_id,audio\nother,0.flac\n")
    (tmp_path / name).write_text("track_id,audio\nown,0.flac\n")
    rows = read_table(spark, f"{tmp_path}/{name}", "csv", STORAGE).rows
    assert [row.track_id for row in rows.collect()] == ["own"]


def test_a_list_of_queries_is_read_as_the_catalogue_is_written(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("title^audio\nZoë^Zoë.flac\n".encode("cp1252"))
    own = ["catalogue.encoding=cp1252", "catalogue.delimiter=^", f"warehouse={tmp_path}/w"]
    config = load(None, own, needs_catalogue=False)
    _, files = _files(spark, locate(f"{tmp_path}/list.csv"), config)
    assert [row.audio_uri for row in files.collect()] == [f"{tmp_path}/Zoë.flac"]


def test_a_damaged_catalogue_ends_the_night_in_one_line_and_nothing_is_lost(second_night: Night) -> None:
    before, catalogue = second_night.versions(), Path(second_night.catalogue)
    whole = catalogue.read_bytes()
    for damaged, told in (
        (whole[: len(whole) // 2], "cut short"),
        (whole.replace(b"demo-0005,", b'"demo-0005,'), "a quote too many or too few"),
        (whole.replace(b"demo-0005", "démo-0005".encode("cp1252")), "not UTF-8"),
    ):
        catalogue.write_bytes(damaged)
        with pytest.raises(CatalogueError, match=told) as refused:
            second_night.run(stages=["ingest"])
        assert "\n" not in str(refused.value)
    lines = whole.splitlines(keepends=True)
    catalogue.write_bytes(b"".join(lines[:-6]))  # cut between two rows: six are gone, a quarter
    with pytest.raises(CatalogueError, match=r"6 of 24 tracks are gone .* nothing was deleted"):
        second_night.run(stages=["ingest"])
    assert second_night.versions() == before


def test_a_catalogue_without_its_required_columns_is_refused(spark: SparkSession) -> None:
    with pytest.raises(CatalogueError, match=r"lacks the column 'audio'; it has track_id, name"):
        conform(spark.createDataFrame([("a", "b")], "track_id string, name string"))


def test_repeated_ids_keep_one_row_whatever_the_order(spark: SparkSession) -> None:
    rows = [("a", "x"), ("a", "y"), ("b", "z"), ("a", "w")]
    frames = [spark.createDataFrame(order, "track_id string, audio string") for order in (rows, rows[::-1])]
    one, other = (one_row_a_track(conform(frame)).drop("extra") for frame in frames)
    assert_df_equality(one, other, ignore_row_order=True)
    assert one.count() == 2


LIES = {
    "/music": {
        "a b/c.mp3": "/music/a b/c.mp3",
        "./a//b.mp3": "/music/a/b.mp3",
        "/music/x.mp3": "/music/x.mp3",
        "file:///music/x.mp3": "/music/x.mp3",
        "Ünïcode — «naïve» #1 100%.mp3": "/music/Ünïcode — «naïve» #1 100%.mp3",
        "a\n.mp3\n": "/music/a\n.mp3\n",
        "a/..\n": "/music/a/..\n",
        "a/.\n": "/music/a/.\n",
        "../etc/passwd": None,
        "a/../../etc/passwd": None,
        "/etc/passwd": None,
        "/musical/x.mp3": None,
        "file:///etc/passwd": None,
        "s3://bucket/x.mp3": None,
        "http://169.254.169.254/latest/meta-data": None,
    },
    "s3://bucket/clips": {
        "a/b.mp3": "s3://bucket/clips/a/b.mp3",
        "s3a://bucket/clips/x.mp3": "s3://bucket/clips/x.mp3",
        "s3://bucket/other/x.mp3": None,
        "s3://other/clips/x.mp3": None,
        "../x.mp3": None,
        "/etc/passwd": "s3://bucket/clips//etc/passwd",  # a key like any other
    },
}


@pytest.mark.parametrize("root", LIES)
def test_audio_lies_under_the_root_or_nowhere(spark: SparkSession, root: str) -> None:
    frame = spark.createDataFrame([(audio,) for audio in LIES[root]], "audio string")
    assert {row.audio: row.audio_uri for row in with_audio_uri(frame, root).collect()} == LIES[root]


TRICKS = [
    "file:/etc/passwd",
    "file://localhost/etc/passwd",
    "FILE:///etc/passwd",
    "./file:///etc/passwd",
    "HTTP://169.254.169.254/latest/meta-data",
    "./http://169.254.169.254/latest/meta-data",
    "https:/169.254.169.254/latest/meta-data",
    "//169.254.169.254/latest/meta-data",
    "gopher://host/x",
    "jar:file:///etc/passwd",
    "s3://other/clips/x.mp3",
    "./s3://other/clips/x.mp3",
    "s3://bucket@other/clips/x.mp3",
    "s3://bucket/clips/../secret",
    "s3://bucket/clips-of-another/x.mp3",
    "../../etc/passwd",
    "a/b/../../../etc/passwd",
    "a/.//../.././../etc/passwd",
    "....//....//etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2Fetc%2Fpasswd",
    "..\\..\\etc\\passwd",
    "a\\..\\..\\etc",
    "..",
    "a/..",
    "/",
    "/..",
    "/music/../etc/passwd",
    "/music/./../etc/passwd",
    "/music",
    "//music/../etc/passwd",
    "x.mp3\x00/../../etc/passwd",
    "x.mp3\x00",
    "..\n/../etc/passwd",
    " ../../etc/passwd",
    "~/x.mp3",
    "$HOME/x.mp3",
    "-",
    "|cat /etc/passwd",
]


@pytest.mark.parametrize("root", ["/music", "s3://bucket/clips"])
def test_no_trick_leads_out_of_the_root(spark: SparkSession, root: str) -> None:
    numbered = [(str(number), trick) for number, trick in enumerate(TRICKS)]
    rows = conform(spark.createDataFrame(numbered, "track_id string, audio string"))
    uris = {row.track_id: row.audio_uri for row in with_audio_uri(rows, root).collect()}
    for number, trick in numbered:
        uri = uris[number]
        if ".." in trick.strip().split("/") or "\x00" in trick:
            assert uri is None, trick
        elif uri is not None:  # a name below the root, as it stands: nobody unquotes it
            assert uri.startswith(f"{root}/"), trick
            assert ".." not in uri.split("/"), trick


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_parquet_and_delta_give_what_csv_gives(
    first_night: Night, spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    raw = read_table(spark, first_night.catalogue, "csv", STORAGE).rows
    raw.write.format(kind).save(f"{tmp_path}/tracks.{kind}")
    again = read_table(spark, f"{tmp_path}/tracks.{kind}", kind, STORAGE).rows
    one, other = (conform(frame).drop("extra") for frame in (raw, again))  # Spark sorts by no map
    assert_df_equality(one, other, ignore_row_order=True, ignore_nullable=True)


def test_a_folder_of_tagged_files_needs_no_catalogue(tmp_path: Path) -> None:
    music = tmp_path / "music"
    for number, name in enumerate(("one.flac", "Album/two.flac", "Album/three.wav", "Album/notes.txt")):
        path = music / name
        path.parent.mkdir(parents=True, exist_ok=True)
        clip = render_clip(number, seconds=2.0)
        if name.endswith("txt"):
            path.write_text("not audio")
        else:
            sf.write(path, clip.samples, clip.sample_rate)
    tags = [("title", "First"), ("artist", "Ann"), ("artist", "Bob"), ("album", "Début"), ("genre", "Folk")]
    one = music / "one.flac"
    one.write_bytes(vorbis_comments(one.read_bytes(), tags))
    night = Night(str(music), f"{tmp_path}/warehouse")
    run_id = night.run(stages=MEASURED)
    tracks = {row["track_id"]: row for row in night.rows("tracks")}
    assert set(tracks) == {"one.flac", "Album/two.flac", "Album/three.wav"}
    one = tracks["one.flac"]
    assert (one["track_name"], one["artists"], one["album_name"]) == ("First", "Ann;Bob", "Début")
    assert (one["track_genre"], one["duration_ms"], one["has_audio"]) == ("Folk", 2000, True)
    assert tracks["Album/three.wav"]["track_name"] == "three"
    assert night.stage(run_id, "extract")["rows_out"] == 3
    assert night.stage(night.run(stages=["ingest"]), "ingest")["status"] == "unchanged"


def test_a_folder_of_odd_names_and_links_gives_what_it_can_and_tells_the_rest(tmp_path: Path) -> None:
    music = tmp_path / "music"
    names = [
        "one.flac",
        " lead.flac",
        "same.flac",
        " same.flac",
        "line\nbreak\r.flac",
        " d \t/\n/c.flac\n",
        "a.W64",
    ]
    odd = [
        os.fsdecode(b"caf\xe9.flac"),
        os.fsdecode(b"M\xfcsik/x.flac"),
        "#recycle/deleted.flac",
        "../disk2/x.flac",
    ]
    for number, name in enumerate((*names, *odd)):
        path = f"{music}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        clip = render_clip(number, seconds=2.0)
        sf.write(os.fsencode(path), clip.samples, clip.sample_rate, format="w64" if name == "a.W64" else "flac")
    (music / "notes.txt").write_text("not audio")
    (music / "Album").symlink_to(tmp_path / "disk2")
    (music / "again").symlink_to(music)
    one, same = music / "one.flac", music / "same.flac"
    one.write_bytes(vorbis_comments(one.read_bytes(), [("title", "Old")]))
    night = Night(str(music), f"{tmp_path}/warehouse")

    run_id = night.run(stages=MEASURED)

    tracks = {row["track_id"]: row for row in night.rows("tracks")}
    assert tracks.keys() == set(names)
    assert all(row["has_audio"] and row["audio_uri"] == f"{music}/{name}" for name, row in tracks.items())
    assert tracks["one.flac"]["track_name"] == "Old"
    assert {row["track_id"] for row in night.rows("audio_features")} == set(names)
    told = {row["track_id"]: (row["stage"], row["code"]) for row in night.rows("quarantine")}
    assert told == {
        "caf\\xe9.flac": ("ingest", "unreadable_name"),
        "M\\xfcsik": ("ingest", "unreadable_name"),
        "Album": ("ingest", "forbidden_path"),
    }
    ingest = night.stage(run_id, "ingest")
    assert ingest["rows_failed"] == 3
    assert ingest["details"]["quarantined"] == "1 forbidden_path, 2 unreadable_name"
    assert ingest["details"]["left_out"] == (
        "1 .txt, 1 hidden or system folders, 1 links to folders that are listed elsewhere"
    )

    # a tagger that puts the old time back, and a change of rights
    times = one.stat().st_atime_ns, one.stat().st_mtime_ns
    one.write_bytes(one.read_bytes().replace(b"title=Old", b"title=New"))
    os.utime(one, ns=times)
    same.chmod(0o600)
    second = night.run(stages=MEASURED)
    tracks = {row["track_id"]: row for row in night.rows("tracks")}
    assert tracks["one.flac"]["track_name"] == "New"
    details = night.stage(second, "extract")["details"]
    assert (details["decoded"], details["same_content"]) == ("1", "1")
    by_name = {row["track_id"]: row for row in night.rows("audio_features", without=())}
    assert {name for name, row in by_name.items() if row["run_id"] == second} == {"one.flac"}
    assert by_name["same.flac"]["audio_fingerprint"] == tracks["same.flac"]["audio_fingerprint"]
    third = night.run(stages=MEASURED)
    assert {night.stage(third, stage)["status"] for stage in MEASURED} == {"unchanged"}


def test_no_link_leads_a_catalogue_out_of_its_root(tmp_path: Path) -> None:
    root = tmp_path / "music"
    for number, name in enumerate(("music/a.flac", "music/b.flac", "music/deep/c.flac", "elsewhere/secret.flac")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        clip = render_clip(number, seconds=2.0)
        sf.write(tmp_path / name, clip.samples, clip.sample_rate)
    (root / os.fsdecode(b"odd \xe9.txt")).touch()
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "etc").symlink_to("/etc")
    (root / "deep" / "secret.flac").symlink_to(tmp_path / "elsewhere" / "secret.flac")
    (root / "within").symlink_to(root / "deep")
    outside = [
        "out/secret.flac",
        "etc/passwd",
        "deep/secret.flac",
        "within/secret.flac",
        "within/../out/secret.flac",
    ]
    inside = ["a.flac", "b.flac", "deep/c.flac", "within/c.flac"]
    gone = ["none.flac", "n" * 300 + "/x.flac", "a.flac/x.flac"]
    rows = [{"track_id": name, "audio": name} for name in (*inside, *outside, *gone)]
    night = Night(str(write_csv(root / "tracks.csv", rows)), f"{tmp_path}/warehouse")
    night.run(stages=["ingest"])
    tracks = {row["track_id"]: row for row in night.rows("tracks")}
    assert {name for name, row in tracks.items() if row["has_audio"]} == set(inside)
    assert {name for name, row in tracks.items() if row["audio_uri"] is None} == set(outside)
    told = {row["track_id"]: row["code"] for row in night.rows("quarantine")}
    assert told == dict.fromkeys(outside, "forbidden_path")
    # what leads out since it was listed is not read either
    (root / "b.flac").unlink()
    (root / "b.flac").symlink_to(tmp_path / "elsewhere" / "secret.flac")
    night.run("extract.max_failed_share=1", stages=["extract"])
    failed = {row["track_id"]: row["code"] for row in night.rows("quarantine") if row["stage"] == "extract"}
    assert failed == {"b.flac": "forbidden_path", **dict.fromkeys(gone, "not_found")}
    assert {row["track_id"] for row in night.rows("audio_features")} == set(inside) - {"b.flac"}


def test_rows_without_id_or_outside_the_root_are_quarantined_and_heal(rendered: Path, tmp_path: Path) -> None:
    good = [
        {"track_id": f"t{i}", "audio": f"audio/{p.name}"}
        for i, p in enumerate(sorted((rendered / "audio").iterdir())[:4])
    ]
    bad = [{"track_id": "", "audio": "audio/x.mp3"}, {"track_id": "out", "audio": "../../etc/passwd"}]
    silent = [{"track_id": "no-audio", "audio": ""}]
    catalogue = write_csv(tmp_path / "tracks.csv", [*good, *bad, *silent])
    night = Night(str(catalogue), f"{tmp_path}/warehouse", (f"catalogue.audio_root={rendered}",))
    night.run(stages=MEASURED)
    codes = {row["code"]: row for row in night.rows("quarantine", without=())}
    assert set(codes) == {"missing_track_id", "forbidden_path"}
    assert codes["forbidden_path"]["track_id"] == "out"
    tracks = {row["track_id"]: row["has_audio"] for row in night.rows("tracks")}
    assert tracks == {"t0": True, "t1": True, "t2": True, "t3": True, "out": False, "no-audio": False}
    first_seen = codes["forbidden_path"]["first_seen"]
    night.run(stages=["ingest"])
    assert night.reader.rows("quarantine", [("code", "=", "forbidden_path")])[0]["first_seen"] == first_seen
    write_csv(catalogue, good)
    night.run(stages=["ingest"])
    assert night.rows("quarantine") == []


def test_the_spotify_sample_becomes_tracks(spark: SparkSession) -> None:
    path = SHARED / "catalogue" / "spotify_tracks_10k.csv"
    if not path.exists():
        pytest.skip(f"needs {path.name} of the shared data")
    raw = read_table(spark, str(path), "csv", STORAGE).rows.withColumn("audio", F.lit(None).cast("string"))
    rows = conform(raw)
    tracks = one_row_a_track(rows.where("track_id is not null"))
    assert rows.count() == 10_000
    assert tracks.count() == 10_000 - 251
    numbers = rows.agg(
        *(F.count(name).alias(name) for name in ("popularity", "energy", "tempo", "explicit"))
    ).first()
    assert set(numbers.asDict().values()) == {10_000}
