"""Which columns of a Parquet catalogue can be read, and as what."""

from __future__ import annotations

import pyarrow as pa
import pytest

from specrec.catalogue.parquet import merge_schemas, own_schema
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


NUMBERS = [pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(12, 2)]


@pytest.mark.parametrize("other", NUMBERS, ids=str)
@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_numbers_of_two_types_are_never_a_contradiction(kind, other):
    """As text where Spark does not read the one as the other; each part is then read as what it is."""
    parts = [{"track_id": kind, "audio": pa.string()}, {"track_id": other, "audio": pa.string()}]
    found, left_out = _merged(*parts)
    assert left_out == {}
    both = {kind, other}
    by_spark = all(map(pa.types.is_signed_integer, both)) or all(map(pa.types.is_floating, both))
    if kind != other:
        assert (found["track_id"] == pa.string()) == (not by_spark)
    merged, _ = merge_schemas([pa.schema(part) for part in parts], PATH, NEEDED)
    for part in parts:
        own = own_schema(pa.schema(part), merged)
        assert own.names == merged.names
        alone, _ = _merged(part)
        assert own.field("track_id").type == (merged.field("track_id").type if by_spark else alone["track_id"])


def test_names_are_the_same_whatever_their_case():
    found, left_out = _merged(
        {"Track_ID": pa.int32(), "X": pa.string()}, {"track_id": pa.int64(), "x": pa.string()}
    )
    assert found == {"Track_ID": pa.int64(), "X": pa.string()}
    assert left_out == {}


def test_a_column_that_is_there_twice_is_left_out_or_refused():
    found, left_out = _merged({"track_id": pa.string(), "x": pa.string(), "X": pa.int64()}, {"x": pa.string()})
    assert found == {"track_id": pa.string()}
    assert left_out == {"x": "there twice"}
    with pytest.raises(CatalogueError, match="has the column 'audio' twice"):
        _merged({"audio": pa.string(), "Audio": pa.string()})
