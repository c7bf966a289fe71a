"""Catalogues as Parquet: which columns of its parts can be read, and as what. No Spark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import pyarrow as pa

from specrec.catalogue.columns import plain_name
from specrec.errors import CatalogueError, first_line
from specrec.storage import Location

#: What Spark reads unsigned numbers as: the next larger type that holds them all.
_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20)}
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_SIMPLE = (
    pa.types.is_boolean,
    pa.types.is_signed_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal128,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_date32,
)


def merge_schemas(
    schemas: Sequence[pa.Schema], path: Location, needed: Collection[str]
) -> tuple[pa.Schema, dict[str, str]]:
    """Return the schema of all parts of a catalogue together, and which columns were left out, and why.

    A part may lack a column, and numbers may be narrower in one than in another. Numbers that are whole in one part
    and not in another, as pandas writes a column beside a missing value, are read as text, so that none loses a
    digit: :func:`own_schema` says as what each part is read. A name is the same whatever its case, as for Spark. A
    column in which every value is missing, in all parts, is as good as none. Columns that Spark cannot read, that
    are there twice, or on whose type parts disagree, are left out where nobody needs them.

    Parameters
    ----------
    schemas : sequence of Schema
        Of the parts.
    path : Location
        What the catalogue is called in messages.
    needed : collection of str
        Columns that may not be left out, in small letters.

    Raises
    ------
    CatalogueError
        If such a column cannot be read or is there twice, or the parts disagree on it.

    Examples
    --------
    >>> old = pa.schema({"track_id": pa.int32(), "added": pa.timestamp("ns")})
    >>> new = pa.schema({"track_id": pa.int64(), "audio": pa.string()})
    >>> schema, left_out = merge_schemas([old, new], Location("/tracks.parquet"), {"track_id", "audio"})
    >>> schema.names, left_out
    (['track_id', 'audio'], {'added': 'timestamp[ns]'})
    """
    types, twice = _columns_of(schemas)
    for name in twice:
        if plain_name(name) in needed:
            raise CatalogueError(
                f"the catalogue {path} has the column {plain_name(name)!r} twice: leave one of them out"
            )
    fields, left_out = [], dict.fromkeys(twice, "there twice")
    for name, of in types.items():
        if all(_says_nothing(kind) for kind in of):
            continue
        readable = [found for of_part in of if (found := _readable(of_part)) is not None]
        written = " and ".join(map(str, of))
        if len(readable) < len(of):
            if plain_name(name) in needed:
                raise CatalogueError(
                    f"the column {name!r} of the catalogue {path} is {written}, which cannot be read: make it text"
                )
            left_out[name] = written
            continue
        if len(readable) > 1 and all(map(_is_number, readable)) and not _are_of_one_kind(readable):
            fields.append(pa.field(name, pa.string()))
            continue
        try:
            parts = [pa.schema({name: of_part}) for of_part in readable]
            fields.append(pa.unify_schemas(parts, promote_options="permissive").field(0))
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            if plain_name(name) in needed:
                raise CatalogueError(
                    f"the parts of the catalogue {path} disagree on the column {name!r}, which is {written}: write "
                    f"them anew with one type ({first_line(error)})"
                ) from None
            left_out[name] = written
    return pa.schema(fields), left_out


def _columns_of(schemas: Sequence[pa.Schema]) -> tuple[dict[str, list[pa.DataType]], list[str]]:
    """Return which types each column has in the parts, and the names of those that a part has twice."""
    types: dict[str, list[pa.DataType]] = {}
    names: dict[str, str] = {}
    twice: list[str] = []
    for schema in schemas:
        for field in schema:
            of = types.setdefault(names.setdefault(field.name.lower(), field.name), [])
            if field.type not in of:
                of.append(field.type)
        counts = Counter(name.lower() for name in schema.names)
        twice += [names[low] for low, count in counts.items() if count > 1]
    return {name: of for name, of in types.items() if name not in twice}, twice


def own_schema(part: pa.Schema, merged: pa.Schema) -> pa.Schema:
    """Return by what schema a part is read; where that is not the type of all parts, its values are made text.

    Parameters
    ----------
    part : Schema
        Of the part.
    merged : Schema
        What :func:`merge_schemas` returned.

    Examples
    --------
    >>> merged = pa.schema({"track_id": pa.string(), "audio": pa.string()})
    >>> own_schema(pa.schema({"Track_ID": pa.int64()}), merged).types
    [DataType(int64), DataType(string)]
    """
    own = {field.name.lower(): _readable(field.type) for field in part}

    def kind(field: pa.Field) -> pa.DataType:
        found = own.get(field.name.lower())
        return found if found is not None and pa.types.is_string(field.type) and _is_number(found) else field.type

    return pa.schema([pa.field(field.name, kind(field)) for field in merged])


def _is_number(kind: pa.DataType) -> bool:
    return any(is_of(kind) for is_of in (pa.types.is_signed_integer, pa.types.is_floating, pa.types.is_decimal))


def _are_of_one_kind(kinds: Sequence[pa.DataType]) -> bool:
    """Tell whether Spark reads numbers of one of these types as the widest of them."""
    return all(map(pa.types.is_signed_integer, kinds)) or all(map(pa.types.is_floating, kinds))


def _says_nothing(kind: pa.DataType) -> bool:
    """Tell whether a column holds nothing at all: libraries write it so where every value is missing."""
    if pa.types.is_null(kind):
        return True
    return any(is_of(kind) for is_of in _LISTS) and _says_nothing(kind.value_type)


def _readable(kind: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911 - one for each kind
    """Return what Spark reads a column of Parquet as; None if it cannot."""
    if pa.types.is_dictionary(kind):
        return _readable(kind.value_type)
    if kind in _WIDER:
        return _WIDER[kind]
    if pa.types.is_timestamp(kind):  # Spark knows no nanoseconds
        return None if kind.unit == "ns" else kind
    if pa.types.is_string_view(kind):
        return pa.string()
    if any(is_of(kind) for is_of in _LISTS):
        of = _readable(kind.value_type)
        return None if of is None else pa.list_(of)
    if pa.types.is_struct(kind):
        fields = {field.name: _readable(field.type) for field in kind}
        kept = {name: of for name, of in fields.items() if of is not None}
        return pa.struct(kept) if kept else None
    if pa.types.is_map(kind):
        key, value = _readable(kind.key_type), _readable(kind.item_type)
        return None if key is None or value is None else pa.map_(key, value)
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind if any(is_of(kind) for is_of in _SIMPLE) else None
