"""A file of a table is written anew with some of its rows changed, row group by row group, by Arrow.

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
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from specrec.errors import StorageError
from specrec.storage import Location, join, open_store
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import GONE, MOVED, NEW

#: What a change is sent with: the number of the file that it is for, and whether a new row is written there.
TARGET, IS_HOME = "_target", "_is_home"
#: The column by which Delta tells the rows of the change feed from each other.
FEED = "_change_type"
#: What is told of a file that was written anew.
DONE = pa.schema({"target": pa.int32(), "actions": pa.list_(pa.string())})
#: Delta keeps no more of a text's least and greatest value.
_MOST_LETTERS = 32
_LAST_LETTER = "\U0010ffff"


@dataclass(frozen=True)
class File:
    """A file of a table.

    Attributes
    ----------
    path : str
        Below the table's folder. Empty: there is none yet, and new rows of that part begin one.
    size : int
        In bytes.
    part : str or None
        Of the column that the table is partitioned by; None if there is none.
    low, high : str or None
        The least and the greatest value of what the table is sorted by; None: not known.
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


@dataclass(frozen=True)
class Rewriting:
    """How files of a table are written anew.

    Attributes
    ----------
    table : Location
        The table's folder.
    storage : StorageConfig
    files : tuple of File
        Those of the parts that the changes are of. A change is sent to a file by its number.
    part : str
        The column that the table is partitioned by; empty if there is none.
    schema : pa.Schema
        Of the table.
    identity : tuple of str
        The columns by which rows are told apart, of which that of the part is not one.
    moved : tuple of str
        What differs in a row that only moved.
    order : tuple of str
        What rows are sorted by within a part.
    has_feed : bool
        Whether the table has a change feed.
    group_rows : int
        Rows of a row group, at most; 0: as many as the group of the old file has, and the new ones.
    file_bytes : int
        A file that grows beyond it is cut.
    """

    table: Location
    storage: StorageConfig
    files: tuple[File, ...]
    part: str
    schema: pa.Schema
    identity: tuple[str, ...]
    moved: tuple[str, ...]
    order: tuple[str, ...]
    has_feed: bool
    group_rows: int
    file_bytes: int

    @property
    def columns(self) -> pa.Schema:
        """What a file holds: all columns but that of the part."""
        return pa.schema([field for field in self.schema if field.name != self.part])


def locating(
    files: Sequence[File], part: str, key: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function that sends changes to the files that may hold their rows.

    It takes changes, and yields them with :data:`TARGET` and :data:`IS_HOME`, once for each such file. A new row is
    at home in one file: the last one that begins before it, in the order of their least values.

    Parameters
    ----------
    key : str
        The first column that the files are sorted by.
    """
    numbers: dict[str | None, list[int]] = {}
    for number, file in enumerate(files):
        numbers.setdefault(file.part, []).append(number)
    for found in numbers.values():
        found.sort(key=lambda number: (files[number].low or "", files[number].path))

    def locate(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            parts = pc.unique(batch[part]).to_pylist() if part else [None]
            for value in parts:
                rows = batch.filter(pc.equal(batch[part], value)) if part else batch
                if rows.num_rows:
                    yield from _located(rows, numbers[value], files, key)

    return locate


def _located(
    rows: pa.RecordBatch, numbers: Sequence[int], files: Sequence[File], key: str
) -> Iterator[pa.RecordBatch]:
    """Yield changes of one part with the files that they are for, whose numbers are in the order of the files."""
    keys = rows[key]
    least, greatest = pc.min_max(keys).as_py().values()
    lows = [files[number].low or "" for number in numbers]
    home = np.array([max(bisect_right(lows, value) - 1, 0) for value in keys.to_pylist()])
    is_new = pc.equal(rows["change"], NEW).to_numpy(zero_copy_only=False)
    for place, number in enumerate(numbers):
        file = files[number]
        is_home = is_new & (home == place)
        may_hold = np.zeros(len(rows), bool)
        if file.path and file.may_hold(least, greatest):
            may_hold[:] = True
            if file.low is not None:
                may_hold &= pc.greater_equal(keys, file.low).to_numpy(zero_copy_only=False)
            if file.high is not None:
                may_hold &= pc.less_equal(keys, file.high).to_numpy(zero_copy_only=False)
        sent = np.flatnonzero(is_home | may_hold)
        if len(sent):
            some = rows.take(pa.array(sent))
            target = pa.array(np.full(len(sent), number, np.int32))
            some = some.append_column(TARGET, target)
            yield some.append_column(IS_HOME, pa.array(is_home[sent]))


def rewriting(how: Rewriting) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function that writes the files anew that changes were sent to.

    It takes the changes for one file, as :func:`locating` yields them, and yields :data:`DONE`: what is to be
    committed, as Delta's log has it. Where no row of the file changes there is nothing.
    """

    def rewrite(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found = [batch for batch in batches if batch.num_rows]
        if not found:
            return
        changes = pa.Table.from_batches(found)
        for target in pc.unique(changes[TARGET]).to_pylist():
            mine = changes.filter(pc.equal(changes[TARGET], target))
            actions = _rewritten(how.files[target], mine, how)
            if actions:
                yield pa.RecordBatch.from_pylist([{"target": target, "actions": actions}], DONE)

    return rewrite


def _rewritten(file: File, changes: pa.Table, how: Rewriting) -> list[str]:
    """Write a file anew; return what is to be committed in its place, or nothing if no row of it changes."""
    folder = posixpath.dirname(file.path) if file.path else _folder_of(file, how)
    values = {how.part: file.part} if how.part else {}
    written = _Writer(how, folder, values)
    feed = _Writer(how, posixpath.join("_change_data", folder), values, is_feed=True) if how.has_feed else None
    changed = 0
    for rows, told in _groups(file, changes, how):
        written.write(rows)
        changed += told.num_rows
        if feed is not None:
            feed.write(told)
    if not changed:
        return []
    return [*written.close(), *(feed.close() if feed is not None else [])]


def _folder_of(file: File, how: Rewriting) -> str:
    return f"{how.part}={quote(file.part or '', safe='')}" if how.part else ""


def _groups(file: File, changes: pa.Table, how: Rewriting) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield the rows of a file as they are to be, group by group, and what the change feed says of each."""
    columns = how.columns
    new = changes.filter(pc.and_(pc.equal(changes["change"], NEW), changes[IS_HOME]))
    new = _shaped(new, columns).sort_by([(name, "ascending") for name in how.order])
    keys, placed = new[how.order[0]].to_pylist(), 0
    if not file.path:
        yield new, _told(new, "insert")
        return
    lost = changes.filter(pc.is_in(changes["change"], pa.array([NEW, GONE])))
    lost = lost.select(how.identity).group_by(list(how.identity)).aggregate([])
    moved = changes.filter(pc.equal(changes["change"], MOVED))
    store, uri = open_store(how.table, how.storage), join(how.table, file.path)
    with store.open(uri, file.size) as source, pq.ParquetFile(source) as old:
        for number in range(max(old.num_row_groups, 1)):
            is_last = number + 1 >= old.num_row_groups
            rows = (
                old.read_row_group(number, use_threads=False)
                if old.num_row_groups
                else old.schema_arrow.empty_table()
            )
            rows = _shaped(rows, columns)
            upto = len(keys) if is_last else bisect_right(keys, pc.max(rows[how.order[0]]).as_py() or "", placed)
            entering = new.slice(placed, upto - placed)
            placed = upto
            yield _changed(rows, lost, moved, entering, how)


def _changed(
    rows: pa.Table, lost: pa.Table, moved: pa.Table, entering: pa.Table, how: Rewriting
) -> tuple[pa.Table, pa.Table]:
    """Return rows of a file as they are to be, and what the change feed says of them.

    Parameters
    ----------
    lost : pa.Table
        The identities of rows that are deleted, or that others take the place of.
    moved : pa.Table
        The changes that are moves.
    entering : pa.Table
        New rows, which come among these.
    """
    gone, _ = _meetings(rows, lost, how.identity)
    met, by = _meetings(rows, moved, how.identity)
    if not len(gone) and not len(met) and not entering.num_rows:
        return rows, _told(rows.slice(0, 0), "")
    stays = np.ones(rows.num_rows, bool)
    stays[gone] = stays[met] = False
    before = rows.take(pa.array(met))
    after = before
    for name in how.moved:
        values = moved[name].take(pa.array(by)).cast(before.schema.field(name).type)
        after = after.set_column(after.schema.get_field_index(name), before.schema.field(name), values)
    now = pa.concat_tables([rows.filter(pa.array(stays)), after, entering])
    told = [
        _told(rows.take(pa.array(gone)), "delete"),
        _told(before, "update_preimage"),
        _told(after, "update_postimage"),
        _told(entering, "insert"),
    ]
    return now.sort_by([(name, "ascending") for name in how.order]), pa.concat_tables(told)


def _meetings(
    rows: pa.Table, changes: pa.Table, identity: Sequence[str]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the places of the rows that changes are of, and of these changes, both int64."""
    nothing = np.zeros(0, np.int64)
    if not changes.num_rows or not rows.num_rows:
        return nothing, nothing
    # most rows are told apart from all changes by one column, whose dictionary is small
    may = np.flatnonzero(pc.is_in(rows[identity[0]], changes[identity[0]].combine_chunks()).to_numpy())
    if not len(may):
        return nothing, nothing
    left = rows.select(identity).take(pa.array(may)).append_column("_row", pa.array(may))
    right = changes.select(identity).append_column("_change", pa.array(np.arange(changes.num_rows)))
    joined = left.join(right, list(identity), join_type="inner", use_threads=False)
    return joined["_row"].to_numpy(), joined["_change"].to_numpy()


def _told(rows: pa.Table, kind: str) -> pa.Table:
    return rows.append_column(FEED, pa.array([kind] * rows.num_rows, pa.string()))


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
    """Files that are written one after the other, each cut where it is large enough."""

    def __init__(
        self, how: Rewriting, folder: str, values: Mapping[str, str | None], is_feed: bool = False
    ) -> None:
        self._how, self._folder, self._values, self._is_feed = how, folder, values, is_feed
        self._actions: list[str] = []
        self._sink: pa.BufferOutputStream | None = None

    def write(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if self._sink is None:
            self._sink = pa.BufferOutputStream()
            self._writer = pq.ParquetWriter(self._sink, rows.schema, compression="zstd", store_schema=False)
            self._statistics = _Statistics()
        group = self._how.group_rows or rows.num_rows
        pieces = -(-rows.num_rows // group)  # of one length, and not a full one and a short one
        self._writer.write_table(rows.combine_chunks(), row_group_size=-(-rows.num_rows // pieces))
        if not self._is_feed:
            self._statistics.see(rows)
        if self._sink.tell() >= self._how.file_bytes:
            self._finish()

    def close(self) -> list[str]:
        """Return what is to be committed of all that was written."""
        self._finish()
        return self._actions

    def _finish(self) -> None:
        if self._sink is None:
            return
        self._writer.close()
        data, self._sink = self._sink.getvalue(), None
        kind = "cdc" if self._is_feed else "part"
        path = posixpath.join(self._folder, f"{kind}-{uuid.uuid4()}.zstd.parquet")
        uri = join(self._how.table, path)
        if not open_store(self._how.table, self._how.storage).create(uri, data.to_pybytes()):
            raise StorageError(f"cannot write {uri}: there is such a file already")
        about: dict[str, Any] = {"path": quote(path), "partitionValues": dict(self._values), "size": data.size}
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
            name: (_written(low, is_least=True), _written(self._greatest[name], is_least=False))
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


def _written(value: Any, *, is_least: bool) -> Any:
    """Return a least or greatest value as Delta writes it; None if it is not written."""
    if isinstance(value, str):
        short = value[:_MOST_LETTERS]
        return short if is_least or short == value else short + _LAST_LETTER
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, datetime):
        # in milliseconds: the greatest is not less than what it stands for
        moment = value.astimezone(UTC) + timedelta(microseconds=0 if is_least else 999)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    return value if isinstance(value, int) else None


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
