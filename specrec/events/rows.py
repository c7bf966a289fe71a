"""Events as files hold them become rows of our columns and types, and what cannot be used gets its code. No Spark.

Values are read tolerantly: ids may be text or numbers, times ISO 8601, a timestamp or what has passed since 1970.
A file is read whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from specrec.catalogue.columns import plain_name
from specrec.catalogue.delimited import find_dialect, read_rows
from specrec.errors import EventsError
from specrec.events.rules import FEEDBACK_KINDS, FEEDBACK_SCALE, KINDS, Rules
from specrec.storage import Location

#: The columns of an event, as a source names them; those that it need not have come last.
NEEDED = ("user_id", "track_id", "kind", "ts")
COLUMNS = (*NEEDED, "value", "listened_ms", "session_id", "explanation_id")

TIME = pa.timestamp("us", tz="UTC")

#: An event as it was read. `said` holds, as it was written, what could not be read; `code` why it cannot be used.
SCHEMA = pa.schema(
    {
        "uri": pa.string(),
        "user_id": pa.string(),
        "track_id": pa.string(),
        "kind": pa.string(),
        "value": pa.float64(),
        "listened_ms": pa.int64(),
        "ts": TIME,
        "session_id": pa.string(),
        "explanation_id": pa.string(),
        "said": pa.string(),
        "code": pa.string(),
    }
)

#: Clocks differ, and so do the zones of times that name none: an event may be ahead of ours by a day.
AHEAD_MICROSECONDS = 24 * 3600 * 1_000_000

#: Times since 1970 are told apart by their size: seconds below the first, then milli-, micro- and nanoseconds.
_UNITS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (np.inf, 1e-3))
#: What is earlier, in seconds since 1970 (March 1973), is no time that anybody listened at: 0, or 20260102.
_LEAST_SECONDS = 1e8
_MOST_SECONDS = 2.5e11
#: Larger numbers, as doubles, are not whole any more.
_MOST_WHOLE = 2.0**53
#: So many characters are kept of what could not be read.
_MOST_SAID = 40
_ROWS = 1 << 16
_BLANKS = " \t\r\n"


def read_tables(
    file: BinaryIO, uri: Location, kind: str, constants: str = "{}", **options: str | None
) -> Iterator[pa.Table]:
    """Yield the rows of a file of events, some thousand at a time: our columns, as the file has them.

    Parameters
    ----------
    file : binary file
        At its beginning.
    uri : Location
        What it is called in messages.
    kind : str
        ``csv`` or ``parquet``.
    constants : str
        As :class:`~specrec.events.sources.EventFile` has them.
    options : str or None
        ``encoding`` and ``delimiter`` of a CSV, where they are known.

    Raises
    ------
    CatalogueError
        If it is no such text.
    EventsError
        If it lacks a column, or has one twice.
    """
    told: dict[str, str] = json.loads(constants)
    if kind == "csv":
        dialect = find_dialect(file, uri, **options)
        places = _places(list(dialect.header), told, uri)
        file.seek(0)
        for rows in read_rows(file, uri, dialect):
            columns = {name: pa.array([row[place] for row in rows], pa.string()) for name, place in places.items()}
            yield _with_constants(columns, told, len(rows))
        return
    parquet = pq.ParquetFile(file)
    names = parquet.schema_arrow.names
    places = _places(names, told, uri)
    for batch in parquet.iter_batches(_ROWS, columns=[names[place] for place in places.values()]):
        columns = {name: batch.column(names[place]) for name, place in places.items()}
        yield _with_constants(columns, told, batch.num_rows)


def _places(header: list[str], told: Mapping[str, str], uri: Location) -> dict[str, int]:
    """Return where in a file our columns stand."""
    places: dict[str, int] = {}
    for place, name in enumerate(map(plain_name, header)):
        if name in places:
            raise EventsError(f"{uri} has the column {name!r} twice: leave one of them out")
        if name in COLUMNS:
            places[name] = place
    if missing := [name for name in NEEDED if name not in places and name not in told]:
        raise EventsError(f"{uri} lacks the column {' and '.join(map(repr, missing))}; it has {', '.join(header)}")
    return places


def _with_constants(columns: dict[str, pa.Array], told: Mapping[str, str], count: int) -> pa.Table:
    missing = [name for name in COLUMNS if name not in columns]
    others = {name: pa.repeat(pa.scalar(told.get(name), pa.string()), count) for name in missing}
    return pa.table(columns | others)


def conform(raw: pa.Table, uri: Location) -> pa.Table:
    """Return events with the columns of :data:`SCHEMA`; `code` is null in all of them.

    Parameters
    ----------
    raw : Table
        As :func:`read_tables` yields it.

    Examples
    --------
    >>> raw = {"user_id": [7], "track_id": ["a"], "kind": [" Play"], "ts": ["2026-01-02 03:04:05"]}
    >>> raw |= {name: pa.nulls(1) for name in COLUMNS[len(NEEDED) :]}
    >>> rows = conform(pa.table(raw), Location("/events.csv"))
    >>> rows.select(["user_id", "kind"]).to_pylist()
    [{'user_id': '7', 'kind': 'play'}]
    """
    column = {name: _whole(raw[name]) for name in COLUMNS}
    value, listened = as_numbers(column["value"]), as_numbers(column["listened_ms"])
    listened = np.where(np.abs(listened) < _MOST_WHOLE, np.rint(listened), np.nan)
    times = as_times(column["ts"])
    numbers = {
        "value": pa.array(value, from_pandas=True),
        "listened_ms": pa.array(listened, from_pandas=True).cast(pa.int64()),
        "ts": times,
    }
    said = [_said(name, of, column[name]) for name, of in numbers.items()]
    texts = {name: as_text(column[name]) for name in SCHEMA.names if name in COLUMNS and name not in numbers}
    texts["kind"] = pc.utf8_lower(texts["kind"])
    own = {"uri": pa.repeat(pa.scalar(str(uri)), raw.num_rows), "code": pa.nulls(raw.num_rows, pa.string())}
    own["said"] = _nothing_is_null(pc.utf8_rtrim(pc.binary_join_element_wise(*said, ""), ", "))
    return pa.table({name: (texts | numbers | own)[name] for name in SCHEMA.names}, SCHEMA)


def codes(rows: pa.Table, rules: Rules, now: int) -> pa.Array:
    """Return why each event cannot be used, as far as it tells so itself; null if nothing is wrong.

    Parameters
    ----------
    rows : Table
        With the columns of :data:`SCHEMA`.
    rules : Rules
    now : int
        In microseconds since 1970.
    """
    is_null = {name: np.asarray(rows[name].is_null()) for name in ("user_id", "track_id", "ts", "value")}
    kind = _whole(rows["kind"])
    times = _microseconds(_whole(rows["ts"]))
    value = as_numbers(_whole(rows["value"]))
    listened = as_numbers(_whole(rows["listened_ms"]))
    is_rating = np.asarray(pc.fill_null(pc.equal(kind, "rating"), False))
    is_feedback = np.asarray(pc.is_in(kind, pa.array(FEEDBACK_KINDS)))
    scales = np.select([is_rating[:, None], is_feedback[:, None]], [rules.rating_scale, FEEDBACK_SCALE], np.nan)
    wrong = {
        "no_user": is_null["user_id"],
        "no_track": is_null["track_id"],
        "unknown_kind": ~np.asarray(pc.is_in(kind, pa.array((*KINDS, *FEEDBACK_KINDS)))),
        "no_time": is_null["ts"],
        "future_time": times > now + AHEAD_MICROSECONDS,
        "no_value": (is_rating | is_feedback) & is_null["value"],
        "value_out_of_range": (value < scales[:, 0]) | (value > scales[:, 1]) | (listened < 0),
    }
    found = np.full(rows.num_rows, None, object)
    for code, mask in reversed(wrong.items()):
        found[mask] = code
    return pa.array(found, pa.string())


def as_text(column: pa.Array) -> pa.Array:
    """Return text without white space around it; null where nothing is left. Whole numbers have no fraction.

    Raises
    ------
    EventsError
        If the column is a list, a structure, or its like.
    """
    kind = column.type
    if pa.types.is_floating(kind):
        values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        with np.errstate(invalid="ignore"):
            is_whole = (np.floor(values) == values) & (np.abs(values) <= _MOST_WHOLE)
        whole = pa.array(np.where(is_whole, values, 0).astype(np.int64)).cast(pa.string())
        text = pc.if_else(is_whole, whole, pa.array(values, from_pandas=True).cast(pa.string()))
    else:
        try:
            text = column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise EventsError(f"a column of events is {kind}, which is no text: write it as text") from None
    return _nothing_is_null(pc.utf8_trim(text, _BLANKS))


def as_numbers(column: pa.Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return numbers as doubles; NaN where there is none.

    Examples
    --------
    >>> as_numbers(pa.array(["3", " 4.5", "many", None, "inf"]))
    array([3. , 4.5, nan, nan, nan])
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        numbers = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        text = as_text(column).to_pandas()
        numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def as_times(column: pa.Array) -> pa.Array:
    """Return times as timestamps of microseconds (UTC); null where there is none. Without a zone they are UTC.

    Examples
    --------
    >>> found = as_times(pa.array(["2026-01-02T03:04:05+01:00", "1767319445", "1767319445000", "soon", "0"]))
    >>> [None if time is None else f"{time:%d %H:%M:%S}" for time in found.to_pylist()]
    ['02 02:04:05', '02 02:04:05', '02 02:04:05', None, None]
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64()).cast(TIME)
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(pa.int64()).cast(TIME)
    numbers = as_numbers(column)
    found = _since_1970(numbers)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        text = as_text(column)
        others = np.isnan(numbers) & np.asarray(text.is_valid())
        if others.any():
            written = text.filter(pa.array(others)).to_pandas()
            read = pd.to_datetime(written, errors="coerce", utc=True, format="ISO8601")
            found[others] = _microseconds(pa.array(read))
    return pa.array(np.where(np.isnan(found), 0, found).astype(np.int64), mask=np.isnan(found)).cast(TIME)


def _since_1970(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return as microseconds what has passed since 1970; NaN where that is no time."""
    with np.errstate(invalid="ignore"):
        factor = np.select([np.abs(numbers) < limit for limit, _ in _UNITS], [by for _, by in _UNITS], np.nan)
        found: np.ndarray[Any, Any] = np.rint(numbers * factor)
        found[~((found >= _LEAST_SECONDS * 1e6) & (found <= _MOST_SECONDS * 1e6))] = np.nan
    return found


def _microseconds(times: pa.Array) -> np.ndarray[Any, Any]:
    """Return timestamps as doubles, which hold microseconds of our time exactly; NaN where there is none."""
    whole = times.cast(pa.timestamp("us", tz=times.type.tz), safe=False).cast(pa.int64())
    return np.asarray(whole.to_numpy(zero_copy_only=False), np.float64)


def _said(name: str, read: pa.Array, column: pa.Array) -> pa.Array:
    """Return what stood where nothing could be read, as ``value 'many', ``; empty where nothing stood."""
    if not read.null_count:
        return pa.repeat(pa.scalar(""), len(read))
    text = as_text(column)
    is_odd = pc.and_(read.is_null(), text.is_valid())
    quoted = pc.binary_join_element_wise(f"{name} '", pc.utf8_slice_codeunits(text, 0, _MOST_SAID), "', ", "")
    return pc.if_else(is_odd, quoted, "")


def _nothing_is_null(text: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array of plain values."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid:
            raise EventsError("a column of events holds bytes that are no text: write it as text") from None
    if pa.types.is_decimal(array.type):
        return array.cast(pa.float64())
    return array
