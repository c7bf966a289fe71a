"""Keeps a copy of the lists in SQLite up to date.

    python follow.py s3://bucket/warehouse/recommendations lists.db

It needs delta-rs alone (pip install deltalake pyarrow). Run it as often as you like: each time it takes over what
changed since, in one transaction, so that readers of the copy never see half a night, and it may be killed at any
point. Where the table's change feed cannot tell what changed, it says so and copies the table anew, in one
transaction, too.
"""

import json
import sqlite3
import sys
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

KEY = ("system", "track_id", "rank")
TOLD = ("_change_type", "_commit_version", "_commit_timestamp")


def follow(uri: str, copy: str, storage_options: dict[str, str] | None = None) -> str:
    """Bring the copy up to date, and return in words what was done."""
    table = DeltaTable(uri, storage_options=storage_options)
    db = sqlite3.connect(copy, isolation_level=None)
    try:
        db.execute("begin immediate")  # a second follower waits
        told = _bring_up_to_date(db, table)
        db.execute("commit")
        return told
    finally:
        db.close()  # what was not committed is undone


def _bring_up_to_date(db: sqlite3.Connection, table: DeltaTable) -> str:
    columns = sorted(field.name for field in table.schema().fields)
    db.execute("create table if not exists followed (id text, version integer, columns text)")
    row = db.execute("select id, version, columns from followed").fetchone()
    found = (str(table.metadata().id), table.version(), json.dumps(columns))
    if row is None:
        why = "there is no copy yet"
    elif row[0] != found[0] or row[1] > found[1]:
        why = "the table began anew"
    elif row[2] != found[2]:
        why = "its columns are others"
    elif row[1] == found[1]:
        return f"version {found[1]}: nothing changed"
    else:
        db.execute("savepoint changes")
        try:
            count = _apply(db, table, columns, row[1] + 1)
            why = "" if _has_all_rows(db, table) else "the feed did not tell all"
        except Exception as error:  # the feed was off in between, or its files are gone
            why = f"the feed cannot tell what changed: {str(error).splitlines()[0]}"
        if why:
            db.execute("rollback to changes")
    if why:
        count = _copy(db, table, columns)
    db.execute("delete from followed")
    db.execute("insert into followed values (?, ?, ?)", found)
    return f"version {found[1]}: " + (f"{count} rows copied, as {why}" if why else f"{count} changes")


def _copy(db: sqlite3.Connection, table: DeltaTable, columns: list[str]) -> int:
    db.execute("drop table if exists recommendations")
    db.execute(f"create table recommendations ({_names(columns)}, primary key ({_names(KEY)})) without rowid")
    return _insert(db, "recommendations", columns, table.to_pyarrow_dataset().to_batches())


def _apply(db: sqlite3.Connection, table: DeltaTable, columns: list[str], since: int) -> int:
    """Apply the changes from a version on: the feed gives them in no order, and one key more than once."""
    db.execute(f"create temp table changed ({_names([*columns, *TOLD])})")
    feed = table.load_cdf(starting_version=since, ending_version=table.version())
    count = _insert(db, "temp.changed", [*columns, *TOLD], pa.RecordBatchReader.from_stream(feed))
    # what the last commit says of a key holds; a commit that deletes and inserts a key has replaced the row
    db.execute(
        f"""create temp table last as select * from (
              select *, _change_type in ('insert', 'update_postimage') as is_there, row_number() over (
                partition by {_names(KEY)}
                order by _commit_version desc, _change_type in ('insert', 'update_postimage') desc) as nth
              from temp.changed) where nth = 1"""
    )
    db.execute(f"delete from recommendations where ({_names(KEY)}) in (select {_names(KEY)} from temp.last)")
    db.execute(f"insert into recommendations select {_names(columns)} from temp.last where is_there")
    return count


def _has_all_rows(db: sqlite3.Connection, table: DeltaTable) -> bool:
    added = pa.table(table.get_add_actions(flatten=True))
    counts = added["num_records"].to_pylist() if added.num_rows else []
    (here,) = db.execute("select count(*) from recommendations").fetchone()
    return None in counts or here == sum(counts)


def _insert(db: sqlite3.Connection, into: str, columns: list[str], batches: Iterable[pa.RecordBatch]) -> int:
    """Insert rows as they come; what SQLite has no type for becomes JSON or text."""
    marks, count = ", ".join("?" * len(columns)), 0
    for batch in batches:
        values = [map(_plain, batch.column(name).to_pylist()) for name in columns]
        db.executemany(f"insert into {into} ({_names(columns)}) values ({marks})", zip(*values, strict=True))
        count += batch.num_rows
    return count


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value)
    return value if value is None or isinstance(value, str | int | float | bytes) else str(value)


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


if __name__ == "__main__":
    print(follow(*sys.argv[1:3]))
