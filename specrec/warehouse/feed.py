"""What changed in a table between two of its versions, as its change data feed tells it, by delta-rs alone.

The feed gives one row for each row that a commit inserted, updated (before and after) or deleted. Its rows come in
no order, and a commit that replaces a partition, or restores a version, deletes and inserts what has the same key.
So what is true of a key in the end is what the last commit says that speaks of it, and within a commit what it
inserts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from specrec.errors import SpecrecError
from specrec.storage import Location
from specrec.warehouse.opening import FAILURES, reason

_KIND, _VERSION = "_change_type", "_commit_version"
_TOLD = (_KIND, _VERSION, "_commit_timestamp")

#: Kinds of change after which the row is there.
_PUT = ("insert", "update_postimage")


@dataclass(frozen=True)
class Changes:
    """How many lists of a system changed, and how many rows.

    Attributes
    ----------
    added, changed, removed : int
        Lists.
    put, deleted : int
        Rows that a follower must insert or replace, and delete.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    put: int = 0
    deleted: int = 0


def _feed(table: DeltaTable, place: Location, since: int, until: int, **choice: Any) -> pa.RecordBatchReader:
    """Return the changes of the versions after `since` up to `until`.

    Raises
    ------
    SpecrecError
        If the feed does not have them all.
    """
    try:
        return pa.RecordBatchReader.from_stream(
            table.load_cdf(starting_version=since + 1, ending_version=until, **choice)
        )
    except FAILURES as error:
        raise _cut(place, error) from None


def _cut(place: Location, error: Exception) -> SpecrecError:
    return SpecrecError(
        f"the change feed of {place} cannot tell all that changed since: copy the table anew ({reason(error)})"
    )


def count_changes(table: DeltaTable, place: Location, since: int, part: str) -> dict[str, Changes]:
    """Return what changed since a version, by part of the table: lists are told by ``track_id``, rows by ``rank``.

    Parameters
    ----------
    table : DeltaTable
        At the version until which changes are told.
    place : Location
        Where it lies, for messages.
    since : int
        The version that is known.
    part : str
        The column that it is partitioned by.

    Raises
    ------
    SpecrecError
        If the feed does not have them all.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from deltalake import write_deltalake
    >>> row, feed = {"system": "hybrid", "track_id": "a", "rank": 1}, {"delta.enableChangeDataFeed": "true"}
    >>> with TemporaryDirectory() as folder:
    ...     write_deltalake(folder, pa.Table.from_pylist([row]), configuration=feed)
    ...     write_deltalake(folder, pa.Table.from_pylist([row | {"track_id": "b"}]), mode="append")
    ...     count_changes(DeltaTable(folder), folder, 0, "system")
    {'hybrid': Changes(added=1, changed=0, removed=0, put=1, deleted=0)}
    """
    if since >= table.version():
        return {}
    key = [part, "track_id", "rank"]
    try:
        found = _feed(table, place, since, table.version(), columns=[*key, _KIND, _VERSION]).read_all()
    except FAILURES as error:
        raise _cut(place, error) from None
    if not found.num_rows:
        return {}
    for name in (part, "track_id", _KIND):  # views of texts, which cannot be compared
        found = found.set_column(found.column_names.index(name), name, found[name].cast(pa.string()))
    is_put = pc.is_in(found[_KIND], pa.array(_PUT))
    order = pc.add(pc.multiply(found[_VERSION], 2), is_put.cast(pa.int64()))
    rows = found.select(key).append_column("order", order)
    ends = rows.group_by(key).aggregate([("order", "min"), ("order", "max")])
    # an even number says that the row was there: first it was deleted, or what it was before is told
    was = pc.equal(pc.bit_wise_and(ends["order_min"], 1), 0)
    remains = pc.equal(pc.bit_wise_and(ends["order_max"], 1), 1)
    ends = ends.append_column("was", was.cast(pa.int64())).append_column("is", remains.cast(pa.int64()))
    return {
        name: _counted(ends.filter(pc.equal(ends[part], name))) for name in sorted(ends[part].unique().to_pylist())
    }


def _counted(ends: pa.Table) -> Changes:
    """Return the counts of one part; a list has no gaps, so that it is there if its first row is."""
    kept = pc.sum(ends["is"]).as_py()
    gone = pc.sum(pc.and_(pc.equal(ends["was"], 1), pc.equal(ends["is"], 0)).cast(pa.int64())).as_py()
    lists = pc.count_distinct(ends["track_id"]).as_py()
    firsts = ends.filter(pc.equal(ends["rank"], 1))
    was, remains = pc.equal(firsts["was"], 1), pc.equal(firsts["is"], 1)

    def count(of: Any) -> int:
        return int(pc.sum(of.cast(pa.int64())).as_py() or 0)

    added, removed = count(pc.and_not(remains, was)), count(pc.and_not(was, remains))
    neither = count(pc.and_(pc.invert(was), pc.invert(remains)))
    return Changes(added, lists - added - removed - neither, removed, kept, gone)


def steps(table: DeltaTable, place: Location, since: int) -> Iterator[dict[str, Any]]:
    """Yield what a follower must do, commit by commit, within each what is deleted first.

    Parameters
    ----------
    table, place, since
        As of :func:`count_changes`.

    Yields
    ------
    dict
        ``do`` (put or delete), ``version``, and the columns of the row.

    Raises
    ------
    SpecrecError
        If the feed does not have them all: before the first is yielded, unless its files are gone.
    """
    if since >= table.version():
        return
    _feed(table, place, since, table.version()).close()  # all versions have it
    for version in range(since, table.version()):
        for kinds, do in (
            (("delete", "update_preimage"), "delete"),
            (_PUT, "put"),
        ):  # a row that moved has another key
            try:
                for batch in _feed(table, place, version, version + 1):
                    for row in batch.to_pylist():
                        if row[_KIND] in kinds:
                            told = {name: value for name, value in row.items() if name not in _TOLD}
                            yield {"do": do, "version": version + 1, **told}
            except FAILURES as error:
                raise _cut(place, error) from None
