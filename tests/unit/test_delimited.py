"""Delimited text: whatever somebody wrote is read as it was meant, or refused in one line; never cut short."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from specrec.catalogue.columns import unique_names
from specrec.catalogue.delimited import DELIMITERS, find_dialect, read_rows
from specrec.errors import CatalogueError

HEADER = ["track_id", "artists", "audio"]
ROWS = [
    ["1", "Beyoncé", "0.flac"],
    ["2", "Björk; the Sugarcubes", "Zoë, live.flac"],
    ["3", 'The "Band"', "a\nb.flac"],
]


def _written(rows, delimiter=",", ends="\n"):
    text = io.StringIO()
    # Python's writer forgets to put quotes around a line break that is not its own
    quoting = (
        csv.QUOTE_ALL if any("\r" in cell or ends == "\r" for row in rows for cell in row) else csv.QUOTE_MINIMAL
    )
    csv.writer(text, delimiter=delimiter, lineterminator=ends, quoting=quoting).writerows([HEADER, *rows])
    return text.getvalue()


def _read(data: bytes, **known):
    dialect = find_dialect(io.BytesIO(data), "/tracks.csv", **known)
    assert list(dialect.header) == HEADER
    return [row for rows in read_rows(io.BytesIO(data), "/tracks.csv", dialect) for row in rows]


def _refused(data: bytes, **known) -> str:
    with pytest.raises(CatalogueError) as refused:
        _read(data, **known)
    message = str(refused.value)
    assert "\n" not in message
    assert "/tracks.csv" in message or "catalogue." in message
    return message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_a_file_says_of_itself_is_found_out(encoding, delimiter, ends, packed):
    data = _written(ROWS, delimiter, ends).encode(encoding)
    assert _read(gzip.compress(data) if packed else data) == ROWS


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac_roman", "utf-16-le", "utf-16-be"])
def test_what_it_does_not_say_is_asked_for_and_then_read(encoding):
    data = _written(ROWS).encode(encoding)
    assert "encoding" in _refused(data)
    assert _read(data, encoding=encoding) == ROWS


def test_the_line_of_the_wrong_byte_is_told():
    rows = [[str(i), "plain", f"{i}.flac"] for i in range(5_000)]
    rows[3_456][1] = "Beyoncé"
    assert "line 3458 has the byte 0xe9" in _refused(_written(rows).encode("cp1252"))


def test_a_line_for_excel_and_a_known_delimiter():
    assert _read(("sep=;\r\n" + _written(ROWS, ";")).encode()) == ROWS
    assert _read(_written(ROWS, "^").encode(), delimiter="^") == ROWS


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00")).map(str)


@given(st.lists(st.tuples(cells, cells, cells), max_size=20), st.sampled_from(DELIMITERS))
@example([("", "", ""), ("a", "", "")], ",")
def test_all_that_is_written_is_read(rows, delimiter):
    found = _read(_written(rows, delimiter).encode())
    assert found == [[cell or None for cell in row] for row in rows if any(cell.strip() for cell in row)]


@given(st.integers(min_value=1, max_value=400), st.sampled_from(['"', ',"', '"x']))
def test_a_stray_quote_never_costs_a_row(place, stray):
    """Wherever a quote too many stands: all rows are read, or none."""
    rows = [[str(i), "An artist", f"{i}.flac"] for i in range(24)]
    text = _written(rows)
    place = len(",".join(HEADER)) + 1 + place % (len(text) - 40)
    data = (text[:place] + stray + text[place:]).encode()
    try:
        found = _read(data)
    except CatalogueError:
        return
    assert len(found) == 24


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize(("first", "last"), [(4, 4), (4, 5), (4, 6), (0, 23), (22, 23)])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_two_stray_quotes_in_one_column_never_cost_a_row(column, first, last, ends):
    """What stands between them would be one cell, and the row would have as many cells as it should."""
    rows = [[str(i), "An artist", f"{i}.{'flac' if i % 2 else 'MP3'}"] for i in range(24)]
    rows[first][column] = '"' + rows[first][column]
    rows[last][column] += '"'
    data = ends.join(",".join(row) for row in [HEADER, *rows]).encode()
    if first == last:
        assert len(_read(data)) == 24
    else:
        assert f"{last - first} rows of it stand within a text" in _refused(data)
        assert f"begins in line {first + 2}" in _refused(data)


@pytest.mark.parametrize(
    "text", ["Hello, you\nand you, too", "a\n\nb", "one, two\nthree, four\nfive, six", "a, b.\nc, d.\n"]
)
def test_texts_over_several_lines_are_no_rows(text):
    rows = [["1", text, "0.flac"], ["2", "An artist", "1.flac"]]
    assert _read(_written(rows).encode()) == rows


def test_a_file_that_was_cut_within_its_last_cell_is_refused():
    whole = _written([[str(i), "An artist", f"{i}.flac"] for i in range(24)]).encode()
    assert len(_read(whole[:-1])) == 24  # many leave the last line without its end
    for cut in (2, 3, 5, 6):
        assert "was cut short" in _refused(whole[:-cut])
    names = [[str(i), "An artist", "a name without an ending"] for i in range(24)]
    assert len(_read(_written(names).encode()[:-3])) == 24


@given(st.integers(min_value=30, max_value=300))
def test_a_file_that_was_cut_short_within_a_row_is_refused(length):
    rows = [[str(i), "An artist, who plays", f"{i}.flac"] for i in range(24)]
    data = _written(rows).encode()[:length]
    last = data.rpartition(b"\n")[2].decode()
    cells = next(csv.reader([last]), [])
    # of the first row alone nothing tells what names of files end with
    if not cells or (len(cells) == 3 and (cells[2].endswith(".flac") or data.count(b"\n") == 1)):
        assert len(_read(data)) == data.count(b"\n") - 1 + bool(last)
    else:
        _refused(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"\n\r\n  \n", "is empty"),
        (b"PK\x03\x04rest", "Excel"),
        (b"PAR1rest", "Parquet"),
        (gzip.compress(_written(ROWS * 50).encode())[:-9], "cut short"),
        (_written([*ROWS, ["4", "no audio"]]).encode(), "1 rows of /tracks.csv have not the 3 cells"),
        (_written([["1", "a", "b", "c"], *ROWS]).encode(), "the first in line 2"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(data, told):
    assert told in _refused(data)


def test_an_encoding_that_there_is_not():
    assert "there is no such encoding" in _refused(_written(ROWS).encode(), encoding="klingon")


def test_a_row_is_told_by_the_line_that_it_begins_in():
    rows = [["1", "a\nb\nc", "x"], ["2", "lacks its audio"]]
    assert "the first in line 5" in _refused(_written(rows).encode())


def test_columns_of_one_name_are_told_apart():
    assert unique_names(["a", "A ", "b", "a"]) == ["a", "A  (2)", "b", "a (3)"]


@pytest.mark.parametrize("encoding", ["hex", "rot13", "klingon"])
def test_what_is_no_encoding_of_texts_is_told(encoding):
    with pytest.raises(CatalogueError, match=f"catalogue.encoding={encoding}"):
        find_dialect(io.BytesIO(b"track_id,audio\n"), "tracks.csv", encoding=encoding)


def test_a_mark_of_the_delimiter_that_names_none_is_of_no_account():
    assert find_dialect(io.BytesIO(b"sep=\r\ntrack_id,audio\r\n"), "tracks.csv").header == ("track_id", "audio")
