"""The command `specrec match`: files in, a file out, and one line for whatever is wrong with them."""

from __future__ import annotations

import csv
import gzip

import pyarrow.parquet
import pytest
from click.testing import CliRunner

from specrec.cli import main
from specrec.matching.comparisons import COMPARISONS
from specrec.matching.files import read_catalogue

LEFT = "id,artist,title\n1,The Tin Whistles,Rollin' Home\n2,Ann Example,Long River\n3,Ann Example,Mountain Song\n"
RIGHT = (
    "track_id;artists;track_name\n"
    "a;Tin Whistles;Rolling Home\nb;Ann Example;Long River (Live)\nc;Ann Example;Long River\n"
)
COLUMNS = "track_id=id,artists=artist,track_name=title"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "left.csv").write_text(LEFT, encoding="utf-8")
    (tmp_path / "right.csv").write_text(RIGHT, encoding="utf-8")
    return tmp_path


def run(folder, *more, columns=COLUMNS, out="m.csv"):
    arguments = ["match", "--left", str(folder / "left.csv"), "--right", str(folder / "right.csv")]
    arguments += ["--left-columns", columns] + (["--out", str(folder / out)] if out else [])
    return CliRunner().invoke(main, [*arguments, *map(str, more)])


def written(folder, name="m.csv"):
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refused(folder, *more, **how):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    ran = run(folder, *more, **how)
    assert ran.exit_code == 2
    assert len(ran.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before  # nothing is half-written
    return ran.stderr


def test_a_row_for_each_left_record(folder):
    ran = run(folder)
    assert ran.exit_code == 0, ran.stderr
    rows = written(folder)
    assert [(row["left_id"], row["right_id"], row["decision"]) for row in rows] == [
        ("1", "a", "match"), ("2", "c", "match"), ("3", "c", "none"),
    ]  # fmt: skip
    for row in rows:
        assert sum(float(row[name]) for name in COMPARISONS) == float(row["score"])
    assert "blocks by artist: 2" in ran.stdout
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_parquet_is_read_and_written_and_gzip_too(folder):
    run(folder)
    pyarrow.parquet.write_table(read_catalogue(folder / "right.csv", {}), folder / "right.parquet")
    (folder / "left.csv").write_bytes(gzip.compress(LEFT.encode()))
    ran = run(folder, "--right", folder / "right.parquet", out="m.parquet")
    assert ran.exit_code == 0, ran.stderr
    table = pyarrow.parquet.read_table(folder / "m.parquet")
    assert table["right_id"].to_pylist() == [row["right_id"] for row in written(folder)]


def test_an_explanation_names_each_candidate_and_adds_up(folder):
    ran = run(folder, "--explain", "2", out=None)
    assert ran.exit_code == 0, ran.stderr
    best, live = ran.stdout.split("Ann Example: Long River")[2:4]
    assert "match" in best
    assert "another recording" in live
    assert not (folder / "m.csv").exists()


def test_decisions_always_win_and_those_of_strangers_are_told(folder):
    (folder / "d.csv").write_text("left_id,right_id,decision\n2,b,match\n3,zz,match\n", encoding="utf-8")
    ran = run(folder, "--decisions", folder / "d.csv")
    assert "1 of the 2 decisions" in ran.stderr
    assert [row["right_id"] for row in written(folder) if row["rule"] == "manual"] == ["b"]
    assert "c" not in [row["right_id"] for row in written(folder) if row["decision"] == "match"]


def test_thresholds_can_be_set(folder):
    run(folder, "--match-at", "100", "--review-at", "0")
    assert [row["decision"] for row in written(folder)] == ["review", "review", "none"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("id,artist,title\n", "has no rows"),
        ("id,artist,title\n1,Ann,River\n1,Ann,Sea\n", "2 rows of the id '1'"),
        ("id,artist,title\n,Ann,River\n", "1 rows"),
        ("id,artist,title\n1,Ann\n", "cells"),
        ("id,artist,name\n1,Ann,River\n", "no column 'title'; it has: id, artist, name"),
        ("id,artist,title\n1,Beyonc\xe9,River\n", "--encoding cp1252"),
    ],
)
def test_a_bad_file_is_refused_in_a_line(folder, content, said):
    (folder / "left.csv").write_bytes(content.encode("latin-1"))
    assert said in refused(folder)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("track_id", "OURS=THEIRS"),
        ("colour=red", "no column 'colour'"),
        ("track_id=id,track_id=artist", "named twice"),
        ("artists=artist,track_name=title", "no column track_id"),
    ],
)
def test_bad_columns_are_refused_in_a_line(folder, columns, said):
    assert said in refused(folder, columns=columns)


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ("left_id,right_id\n2,b\n", "no column 'decision'"),
        ("left_id,right_id,decision\n2,b,perhaps\n", "row 1"),
        ("left_id,right_id,decision\n2,b,match\n2,b,none\n", "decided otherwise"),
    ],
)
def test_bad_decisions_are_refused_in_a_line(folder, decisions, said):
    (folder / "d.csv").write_text(decisions, encoding="utf-8")
    assert said in refused(folder, "--decisions", folder / "d.csv")


def test_what_cannot_be_done_is_refused_in_a_line(folder):
    assert "--explain" in refused(folder, out=None)
    assert "no record 'x'" in refused(folder, "--explain", "x")
    assert "is a file that is read" in refused(folder, out="right.csv")
    assert "no folder" in refused(folder, out="nowhere/m.csv")
    assert "above" in refused(folder, "--review-at", "50")
    assert "No such file" in refused(folder, "--left", folder / "nowhere.csv")


def test_a_file_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    (folder / "m.csv").write_text("old", encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.csv.write_csv", full)
    assert "No space left" in refused(folder)
