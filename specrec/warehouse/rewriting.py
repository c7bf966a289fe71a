"""A file of a table is written anew with some of its rows changed, some thousand at a time, by Arrow.

Spark would bring every row of the file through its own, one by one, to write most of them again as they were. Here
rows that stay go from the old file to the new one a column at a time, in the order that they have, and new rows are
put where that order wants them: a table that is sorted stays so, night after night.

What becomes of a file is told as Delta writes it down: see https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
import posixpath
import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from specrec.arrays import Int64Array
from specrec.errors import StorageError
from specrec.storage import Location, join, open_store
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import GONE, MOVED, NEW

#: What a change is sent with: the number of the file that it is for, and whether a new row is written there.
TARGET, IS_HOME = "_target", "_is_home"
#: The column by which Delta tells the rows of the change feed from each other, and from those of the table, where
#: it is null.
FEED = "_change_type"
#: What is told of a file that was written anew.
DONE = pa.schema({"target": pa.int32(), "actions": pa.list_(pa.string())})
#: So many rows are read at once, and are a row group, where nothing else is said.
_ROWS = 100_000
#: Delta keeps no more of a text's least and greatest value.
_MOST_LETTERS = 32
_LAST_LETTER = "\U0010ffff"

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class File:
    """A file of a table.

    Attributes
    ----------
    path : str
        Below the table's folder, as Delta's log spells it: what is no letter is percent-encoded. Empty: there is no
        file yet, and new rows of that part begin one.
    size : int
        In bytes.
    part : str or None
        Of the column that the table is partitioned by; None if there is none.
    low, high : str or None
        Bounds of what the table is sorted by; None: not known.
    """

    path: str
    size: int
    part: str | None
    low: str | None
    high: str | None

    def may_hold(self, low: str, high: str) -> bool:
        """Tell whether a value between these two may be in it.

        Examples
        --------
        >>> File("f", 1, None, "b", "d").may_hold("d", "e"), File("f", 1, None, "b", "d").may_hold("e", "f")
        (True, False)
        """
        return (self.low is None or self.low <= high) and (self.high is None or self.high >= low)


def file_of(path: str, size: int, part: str | None, statistics: str | None, key: str) -> File:
    """Return a file with the range of a column that Delta's statistics of it tell.

    Examples
    --------
    >>> file_of("f", 9, None, '{"minValues": {"track_id": "a"}, "maxValues": {"track_id": "c"}}', "track_id")
    File(path='f', size=9, part=None, low='a', high='c')
    """
    told = json.loads(statistics) if statistics else {}
    low, high = (told.get(of, {}).get(key) for of in ("minValues", "maxValues"))
    return File(path, size, part, low, high)


@dataclass(frozen=True)
class Changing:
    """How rows of a table are changed.

    Attributes
    ----------
    table : Location
        The table's folder.
    storage : StorageConfig
        How the store is reached.
    schema : pa.Schema
        The table's, as it is declared.
    part : str
        The column that it is partitioned by; empty if there is none.
    identity : tuple of str
        The columns by which rows, or lists of rows, are told apart, of which that of the part is not one.
    moved : tuple of str
        What differs in a row that only moved.
    order : tuple of str
        What rows are sorted by within a part.
    is_list : bool
        Whether an identity is that of several rows.
    group_rows : int
        Rows of a row group, at most; 0: some hundred thousand.
    file_bytes : int
        About the size of a file; one that grows far beyond it is cut into equal ones.
    """

    table: Location
    storage: StorageConfig
    schema: pa.Schema
    part: str
    identity: tuple[str, ...]
    moved: tuple[str, ...]
    order: tuple[str, ...]
    is_list: bool
    group_rows: int
    file_bytes: int

    @property
    def columns(self) -> pa.Schema:
        """What a file holds: all columns but that of the part."""
        return pa.schema([field for field in self.schema if field.name != self.part])


def locating(how: Changing, files: Sequence[File]) -> Callable[[Batches], Batches]:
    """Return a function that sends changes to the files that may hold their rows.

    It takes changes, and yields them with :data:`TARGET`, the file's number, and :data:`IS_HOME`, once for each
    such file. A new row is at home in one file: the last one that begins before it, by the files' least values.

    Parameters
    ----------
    files : sequence of File
        Those of all parts that the changes are of.
    """
    numbers: dict[str | None, list[int]] = {}
    for number, file in enumerate(files):
        numbers.setdefault(file.part, []).append(number)
    for found in numbers.values():
        found.sort(key=lambda number: (files[number].low or "", files[number].path))

    def locate(batches: Batches) -> Batches:
        for batch in batches:
            parts = pc.unique(batch[how.part]).to_pylist() if how.part else [None]
            for value in parts:
                rows = batch.filter(pc.equal(batch[how.part], value)) if how.part else batch
                if rows.num_rows:
                    yield _located(rows.sort_by(how.order[0]), numbers[value], files, how.order[0])

    return locate


def _located(rows: pa.RecordBatch, numbers: Sequence[int], files: Sequence[File], key: str) -> pa.RecordBatch:
    """Return changes of one part, sorted by the key, once for each file that they are for.

    Parameters
    ----------
    numbers : sequence of int
        Those of the part's files, sorted by their least values.
    """
    keys = rows[key].to_pylist()
    lows = [files[number].low or "" for number in numbers]
    home = np.array([max(bisect_right(lows, value) - 1, 0) for value in keys])
    home[~pc.equal(rows["change"], NEW).to_numpy(zero_copy_only=False)] = -1
    sent, targets, at_home = [], [], []
    for place, number in enumerate(numbers):
        file = files[number]
        mine = home == place
        is_sent = mine.copy()
        if file.path and file.may_hold(keys[0], keys[-1]):
            first = 0 if file.low is None else bisect_left(keys, file.low)
            last = len(keys) if file.high is None else bisect_right(keys, file.high)
            is_sent[first:last] = True
        found = np.flatnonzero(is_sent)
        if len(found):
            sent.append(found)
            targets.append(np.full(len(found), number, np.int32))
            at_home.append(mine[found])
    located = rows.take(pa.array(np.concatenate(sent))) if sent else rows.slice(0, 0)
    located = located.append_column(TARGET, pa.array(np.concatenate(targets) if sent else [], pa.int32()))
    return located.append_column(IS_HOME, pa.array(np.concatenate(at_home) if sent else [], pa.bool_()))


def rewriting(how: Changing, files: Sequence[File], *, has_feed: bool) -> Callable[[Batches], Batches]:
    """Return a function that writes the files anew that changes were sent to.

    It takes changes as :func:`locating` yields them, all that were sent to a file together, and yields
    :data:`DONE`: what takes the place of the file in Delta's log. Of a file in which no row changes it says
    nothing, and writes nothing.

    Parameters
    ----------
    has_feed : bool
        Whether the table has a change feed, which is told of each row that changes.
    """

    def rewrite(batches: Batches) -> Batches:
        found = [batch for batch in batches if batch.num_rows]
        if not found:
            return
        changes = pa.Table.from_batches(found)
        for target in pc.unique(changes[TARGET]).to_pylist():
            mine = changes.filter(pc.equal(changes[TARGET], target))
            actions = _rewrite(files[target], mine, how, has_feed)
            if actions is not None:
                yield pa.RecordBatch.from_pylist([{"target": target, "actions": actions}], DONE)

    return rewrite


def _rewrite(file: File, changes: pa.Table, how: Changing, has_feed: bool) -> list[str] | None:
    """Write a file anew; return what takes its place in the log, which may be nothing. None if no row changes."""
    changes = _with_own_types(changes, how)
    new = _shaped(changes.filter(pc.and_(pc.equal(changes["change"], NEW), changes[IS_HOME])), how.columns)
    new = new.sort_by([(name, "ascending") for name in how.order])
    lost = changes.filter(pc.is_in(changes["change"], pa.array([NEW, GONE])))
    lost = lost.select(how.identity).group_by(list(how.identity)).aggregate([])
    moved = changes.filter(pc.equal(changes["change"], MOVED))
    if not new.num_rows and not _holds_any(file, [lost, moved], how):
        return None
    folder = posixpath.dirname(file.path) if file.path else _folder_of(file, how)
    values = {how.part: file.part} if how.part else {}
    bytes_before = file.size if file.path else 0
    pieces = max(1, round(bytes_before / how.file_bytes))
    limit = how.file_bytes if pieces == 1 else bytes_before // pieces
    written = _Writer(how, folder, values, limit=limit + limit // 2)
    feed = _Writer(how, posixpath.join("_change_data", folder), values, is_feed=True) if has_feed else None
    for rows, told in _as_they_are_to_be(file, new, lost, moved, how):
        written.write(rows)
        if feed is not None:
            feed.write(told)
    return [*written.close(), *(feed.close() if feed is not None else [])]


def _folder_of(file: File, how: Changing) -> str:
    """Return the folder of a part that has no file yet, spelled as in the log: its name is encoded as Hive does."""
    return quote(f"{how.part}={quote(file.part or '', safe='')}", safe="=") if how.part else ""


def _with_own_types(changes: pa.Table, how: Changing) -> pa.Table:
    """Return changes whose columns have the types that the table's have: Spark may send others of the same kind."""
    for field in how.columns:
        place = changes.schema.get_field_index(field.name)
        if changes.schema.field(place).type != field.type:
            changes = changes.set_column(place, field.name, changes[field.name].cast(field.type))
    return changes


def _read(file: File, how: Changing, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a file some thousand at a time; bytes that were altered on their way are an error."""
    if not file.path:
        return
    store, uri = open_store(how.table, how.storage), join(how.table, unquote(file.path))
    with store.open(uri, file.size) as source, pq.ParquetFile(source, page_checksum_verification=True) as old:
        for batch in old.iter_batches(how.group_rows or _ROWS, columns=columns, use_threads=False):
            yield pa.Table.from_batches([batch])


def _holds_any(file: File, changes: Sequence[pa.Table], how: Changing) -> bool:
    """Tell whether a file holds a row that one of some changes is of."""
    return any(
        len(_meetings(rows, some, how.identity)[0]) for rows in _read(file, how, how.identity) for some in changes
    )


def _as_they_are_to_be(
    file: File, new: pa.Table, lost: pa.Table, moved: pa.Table, how: Changing
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the rows of a file as they are to be, some thousand at a time, and what the change feed says of each.

    Parameters
    ----------
    new : pa.Table
        New rows that are at home in this file, sorted.
    lost : pa.Table
        The identities of rows that are deleted, or that others take the place of.
    moved : pa.Table
        The changes that are moves.
    """
    keys, placed = new[how.order[0]].to_pylist(), 0
    found = _read(file, how)
    rows = next(found, None)
    while rows is not None:
        following = next(found, None)
        upto = len(keys)
        if following is not None and rows.num_rows:
            upto = bisect_right(keys, pc.max(rows[how.order[0]]).as_py(), placed)
        yield _merged(_shaped(rows, how.columns), new.slice(placed, upto - placed), lost, moved, how)
        rows, placed = following, upto
    if placed < len(keys):  # there was no row in it, or no file
        yield new.slice(placed), _told(new.slice(placed), "insert")


def _merged(
    rows: pa.Table, entering: pa.Table, lost: pa.Table, moved: pa.Table, how: Changing
) -> tuple[pa.Table, pa.Table]:
    """Return rows of a file as they are to be, with new ones, and what the change feed says of them."""
    gone, _ = _meetings(rows, lost, how.identity)
    met, by = _meetings(rows, moved, how.identity)
    before = rows.take(pa.array(met))
    after = before
    for name in how.moved:
        place = after.schema.get_field_index(name)
        after = after.set_column(place, after.schema.field(place), moved[name].take(pa.array(by)))
    told = [
        _told(rows.take(pa.array(gone)), "delete"),
        _told(before, "update_preimage"),
        _told(after, "update_postimage"),
        _told(entering, "insert"),
    ]
    if not len(gone) and not len(met) and not entering.num_rows:
        return rows, pa.concat_tables(told)
    stays = np.ones(rows.num_rows, bool)
    stays[gone] = stays[met] = False
    now = pa.concat_tables([rows.filter(pa.array(stays)), after, entering])
    return now.sort_by([(name, "ascending") for name in how.order]), pa.concat_tables(told)


def _meetings(rows: pa.Table, changes: pa.Table, identity: Sequence[str]) -> tuple[Int64Array, Int64Array]:
    """Return the places of the rows that changes are of, and of these changes, both int64."""
    nothing = np.zeros(0, np.int64)
    if not changes.num_rows or not rows.num_rows:
        return nothing, nothing
    # most rows are told apart from all changes by one column
    may = np.flatnonzero(pc.is_in(rows[identity[0]], changes[identity[0]].combine_chunks()).to_numpy())
    if not len(may):
        return nothing, nothing
    left = rows.select(identity).take(pa.array(may)).append_column("_row", pa.array(may))
    right = changes.select(identity).append_column("_change", pa.array(np.arange(changes.num_rows)))
    joined = left.join(right, list(identity), join_type="inner", use_threads=False)
    return joined["_row"].to_numpy(), joined["_change"].to_numpy()


def _told(rows: pa.Table, kind: str) -> pa.Table:
    return rows.append_column(FEED, pa.repeat(kind, rows.num_rows))


def _shaped(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """Return rows with just these columns; one that a file does not have is null."""
    arrays = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
        for field in columns
    ]
    return pa.Table.from_arrays(arrays, schema=columns)


class _Writer:
    """Files that are written one after the other, each begun when the one before it is large enough.

    Parameters
    ----------
    folder : str
        Below the table's, as the log spells it.
    values : mapping of str
        The part that the rows are of.
    limit : int
        Bytes of a file, about; 0: it is not cut.
    """

    def __init__(
        self, how: Changing, folder: str, values: Mapping[str, str | None], *, limit: int = 0, is_feed: bool = False
    ) -> None:
        self._how, self._folder, self._values = how, folder, values
        self._limit, self._is_feed = limit, is_feed
        self._actions: list[str] = []
        self._sink: pa.BufferOutputStream | None = None

    def write(self, rows: pa.Table) -> None:
        most = self._how.group_rows or _ROWS
        groups = -(-rows.num_rows // most)  # of one length, and not full ones and a short one
        length = -(-rows.num_rows // max(groups, 1))
        for number in range(groups):
            self._write_group(rows.slice(number * length, length))

    def _write_group(self, rows: pa.Table) -> None:
        if self._sink is None:
            self._sink = pa.BufferOutputStream()
            self._writer = pq.ParquetWriter(
                self._sink, rows.schema, compression="zstd", store_schema=False, write_page_checksum=True
            )
            self._statistics = _Statistics()
        self._writer.write_table(rows.combine_chunks(), row_group_size=rows.num_rows)
        if not self._is_feed:
            self._statistics.see(rows)
        if self._limit and self._sink.tell() >= self._limit:
            self._finish()

    def close(self) -> list[str]:
        """Return what the log says of all that was written."""
        self._finish()
        return self._actions

    def _finish(self) -> None:
        if self._sink is None:
            return
        self._writer.close()
        data, self._sink = self._sink.getvalue(), None
        kind = "cdc" if self._is_feed else "part"
        path = posixpath.join(self._folder, f"{kind}-{uuid.uuid4()}.zstd.parquet")
        store, uri = open_store(self._how.table, self._how.storage), join(self._how.table, unquote(path))
        # where the store's answer was lost, and it was asked again, there is such a file: ours, by its name
        if not store.create(uri, data.to_pybytes()) and store.size(uri) != data.size:
            raise StorageError(f"cannot write {uri}: there is such a file already")
        about: dict[str, Any] = {"path": path, "partitionValues": dict(self._values), "size": data.size}
        if self._is_feed:
            action = {"cdc": about | {"dataChange": False}}
        else:
            written = {"modificationTime": int(time.time() * 1000), "dataChange": True}
            action = {"add": about | written | {"stats": json.dumps(self._statistics.told())}}
        self._actions.append(json.dumps(action))


class _Statistics:
    """What Delta keeps of a file's values, so that readers may skip it.

    Examples
    --------
    >>> found = _Statistics()
    >>> found.see(pa.table({"track_id": ["b", "a"], "rank": [1, None]}))
    >>> found.see(pa.table({"track_id": ["c"], "rank": [2]}))
    >>> found.told() == {
    ...     "numRecords": 3,
    ...     "minValues": {"track_id": "a", "rank": 1},
    ...     "maxValues": {"track_id": "c", "rank": 2},
    ...     "nullCount": {"track_id": 0, "rank": 1},
    ... }
    True
    """

    def __init__(self) -> None:
        self._rows = 0
        self._nulls: dict[str, int] = {}
        self._least: dict[str, Any] = {}
        self._greatest: dict[str, Any] = {}
        self._unordered: set[str] = set()  # columns with values that are no numbers

    def see(self, rows: pa.Table) -> None:
        self._rows += rows.num_rows
        for field in rows.schema:
            if pa.types.is_nested(field.type) or _is_bytes(field.type):
                continue
            column = rows[field.name]
            self._nulls[field.name] = self._nulls.get(field.name, 0) + column.null_count
            if pa.types.is_boolean(field.type):
                continue
            if pa.types.is_floating(field.type) and pc.any(pc.is_nan(column)).as_py():
                self._unordered.add(field.name)
            least, greatest = pc.min_max(column).as_py().values()
            if least is not None:
                self._least[field.name] = min(self._least.get(field.name, least), least)
                self._greatest[field.name] = max(self._greatest.get(field.name, greatest), greatest)

    def told(self) -> dict[str, Any]:
        told = {
            name: (_as_delta_writes(low, is_least=True), _as_delta_writes(self._greatest[name], is_least=False))
            for name, low in self._least.items()
            if name not in self._unordered
        }
        known = {name: of for name, of in told.items() if None not in of}
        return {
            "numRecords": self._rows,
            "minValues": {name: low for name, (low, _) in known.items()},
            "maxValues": {name: high for name, (_, high) in known.items()},
            "nullCount": self._nulls,
        }


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _as_delta_writes(value: Any, *, is_least: bool) -> Any:
    """Return a bound of a file's values; None if it is not written.

    Examples
    --------
    >>> _as_delta_writes("short", is_least=False), _as_delta_writes(float("inf"), is_least=False)
    ('short', None)
    """
    if isinstance(value, str):
        short = value[:_MOST_LETTERS]
        if is_least or short == value:
            return short
        return short + _LAST_LETTER if value[_MOST_LETTERS] < _LAST_LETTER else None
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, datetime):
        # in milliseconds: the greatest is not less than what it stands for
        moment = value.astimezone(UTC) + timedelta(microseconds=0 if is_least else 999)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    return value if isinstance(value, int) else None
