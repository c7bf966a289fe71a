"""Which columns of a Parquet catalogue can be read, and as what."""

from __future__ import annotations

import pyarrow as pa
import pytest

from specrec.catalogue.parquet import merge_schemas
from specrec.errors import CatalogueError

PATH, NEEDED = "/tracks.parquet", {"track_id", "audio", "tempo"}


def _merged(*parts):
    schema, left_out = merge_schemas([pa.schema(part) for part in parts], PATH, NEEDED)
    return {field.name: field.type for field in schema}, left_out


def test_parts_lack_columns_and_have_narrower_numbers():
    old = {"track_id": pa.string(), "tempo": pa.float32()}
    new = {"track_id": pa.large_string(), "audio": pa.string(), "tempo": pa.float64(), "year": pa.int64()}
    found, left_out = _merged(old, new)
    assert set(found) == {"track_id", "audio", "tempo", "year"}
    assert (found["tempo"], found["year"]) == (pa.float64(), pa.int64())
    assert left_out == {}


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("ns"),
        pa.time64("us"),
        pa.float16(),
        pa.list_(pa.timestamp("ns")),
        pa.decimal256(50, 2),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_left_out_unless_it_is_needed(kind):
    found, left_out = _merged({"track_id": pa.string(), "odd": kind})
    assert list(found) == ["track_id"]
    assert left_out == {"odd": str(kind)}
    with pytest.raises(
        CatalogueError, match=r"the column 'Tempo ' of the catalogue /tracks.parquet is .*make it text"
    ):
        _merged({"track_id": pa.string(), "Tempo ": kind})


def test_parts_that_contradict_are_one_line_where_it_matters():
    found, left_out = _merged({"track_id": pa.string(), "x": pa.string()}, {"x": pa.int32()})
    assert list(found) == ["track_id"]
    assert left_out == {"x": "string and int32"}
    with pytest.raises(CatalogueError, match=r"disagree on the column 'audio', which is string and int64") as told:
        _merged({"audio": pa.string()}, {"audio": pa.int64()})
    assert "\n" not in str(told.value)


def test_what_lies_within_a_structure_is_left_out_alone():
    audio = pa.struct({"bytes": pa.binary(), "path": pa.string(), "at": pa.timestamp("ns")})
    found, _ = _merged({"audio": audio, "kind": pa.dictionary(pa.int8(), pa.string()), "n": pa.uint32()})
    assert found["audio"] == pa.struct({"bytes": pa.binary(), "path": pa.string()})
    assert (found["kind"], found["n"]) == (pa.string(), pa.int64())


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.null())], ids=str)
def test_a_column_that_says_nothing_in_any_part_is_as_good_as_none(kind):
    found, left_out = _merged({"track_id": pa.string(), "tempo": kind}, {"track_id": pa.string()})
    assert found == {"track_id": pa.string()}
    assert left_out == {}
    with pytest.raises(CatalogueError, match="tempo"):  # Spark cannot read the two together
        _merged({"tempo": kind}, {"tempo": pa.float64()})


def test_text_and_lists_are_read_however_arrow_keeps_them():
    found, _ = _merged(
        {"track_id": pa.string_view(), "artists": pa.list_(pa.string(), 2), "cover": pa.binary_view()}
    )
    assert found == {"track_id": pa.string(), "artists": pa.list_(pa.string()), "cover": pa.binary()}
