"""Reading and committing the Delta tables through Spark, and what is small through delta-rs.

Every commit is atomic for its table, and marked as ours: see :mod:`specrec.warehouse.history`. A table that is
computed as a whole remembers in its commit which state of its input it was made from, so that the next run can
tell, without reading it, that nothing is to be done.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import takewhile
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from delta.tables import DeltaTable
from deltalake import CommitProperties, WriterProperties
from deltalake.exceptions import TableNotFoundError
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

import specrec
from specrec.errors import SpecrecError, StorageError, innermost
from specrec.logs import get_logger
from specrec.storage import Location, for_delta_rs, for_spark, join, open_store, parent, uri_for_delta_rs
from specrec.storage.config import StorageConfig
from specrec.warehouse.changing import change_rows, count_changes
from specrec.warehouse.config import MaintainConfig
from specrec.warehouse.history import (
    HISTORY,
    Commit,
    Mark,
    commits,
    foreign_changes,
    known_states,
    version_after,
)
from specrec.warehouse.opening import FAILURES, open_table, patiently, reason
from specrec.warehouse.rewriting import Changing
from specrec.warehouse.schemas import KEEPING, TABLES, Table

#: Of Delta's features that a writer must know, those that delta-rs knows; with others, Spark writes all.
_WRITTEN_BY_DELTA_RS = frozenset(
    {"appendOnly", "invariants", "changeDataFeed", "checkConstraints", "generatedColumns", "timestampNtz"}
)

#: Columns that say which run wrote a row, and when.
_OF_THE_RUN = frozenset({"run_id", "computed_at"})

#: In so many of the newest commits a commit is looked for of which only the answer was lost.
_LOOKED_AT = 3

#: A task of Spark's that changes rows writes two files of a part side by side: its rows, and what the feed says.
_FILES_AT_ONCE = 2

#: The setting of a writer of Parquet that says how many rows a row group has, at most.
_ROWS_A_GROUP = "parquet.block.row.count.limit"

#: What a mark is written as, by Spark's sessions and by delta-rs.
_USER_METADATA, _METADATA_KEY = "spark.databricks.delta.commitInfo.userMetadata", "userMetadata"


@dataclass(frozen=True)
class Undone:
    """What became of somebody else's change to a table.

    Attributes
    ----------
    table : str
    commits : list of Commit
        That changed its data, the newest first.
    version : int
        To which it was put back.
    """

    table: str
    commits: list[Commit]
    version: int

    @property
    def what(self) -> str:
        """What was done, in words."""
        return ", ".join(f"{commit.operation} (version {commit.version})" for commit in reversed(self.commits))

    def __str__(self) -> str:
        return f"{self.what} undone: as it was at version {self.version}"


class Warehouse:
    """The tables under one root.

    Parameters
    ----------
    start_spark : callable
        Returns the Spark session; called when it is first needed.
    root : Location
        Folder or prefix of the tables.
    storage : StorageConfig
        How the store is reached.
    run_id : str
        The run that its commits name.
    files : MaintainConfig or None
        How large files and their row groups are; None: as usual.

    Raises
    ------
    StorageError
        If tables cannot lie there, by its name.
    """

    def __init__(
        self,
        start_spark: Callable[[], SparkSession],
        root: Location,
        storage: StorageConfig,
        run_id: str = "",
        files: MaintainConfig | None = None,
    ) -> None:
        uri_for_delta_rs(root)
        self._run_id = run_id
        self._files = files or MaintainConfig()
        self._notes: dict[str, str] = {}
        self._start_spark = start_spark
        self._root = root
        self._storage = storage
        self._options = for_delta_rs(root, storage)

    @cached_property
    def spark(self) -> SparkSession:
        """The Spark session. What is written and created through delta-rs does without it."""
        return self._start_spark()

    def path(self, name: str) -> str:
        """Return where a table lies."""
        return for_spark(join(self._root, name))

    def check(self, names: Iterable[str] = TABLES) -> dict[str, deltalake.DeltaTable]:
        """Open the tables that exist, and refuse what a night could not go on with. Nothing is written.

        What somebody adds to a table is left alone: columns that may be null, constraints, properties, clustering.

        Raises
        ------
        SpecrecError
            In one line: which table, what is the matter with it, and what to do.
        """
        found = {}
        for name in names:
            try:
                found[name] = open_table(self._root, name, self._storage)
            except TableNotFoundError:
                continue
            wrong = what_is_wrong(found[name], TABLES[name])
            if wrong:
                raise SpecrecError(
                    f"somebody changed the table {join(self._root, name)}: {wrong}. Put it back, or let `specrec "
                    f"repair {name} --warehouse {self._root}` make it as it should be"
                )
        return found

    def create_missing(
        self, names: Iterable[str] = TABLES, there: Mapping[str, deltalake.DeltaTable] | None = None
    ) -> None:
        """Create the tables that do not exist yet, empty, and add what older ones lack: columns and properties.

        Parameters
        ----------
        there : mapping of str to DeltaTable, or None
            What :meth:`check` returned of these tables, if they were checked already.

        Raises
        ------
        SpecrecError
            As :meth:`check` does, before anything is written.
        """
        names = list(names)
        there = self.check(names) if there is None else there
        for table in (TABLES[name] for name in names):
            schema = _delta_schema(table)
            found = there.get(table.name)
            if found is None:
                self._create(table, schema)
                _forget_cached(self.path(table.name))
                continue
            known = {field.name for field in found.schema().fields}
            missing = [field for field in schema.fields if field.name not in known]
            if missing:
                self._add_columns(table, found, [field.name for field in missing])
            self._set_properties(table, found)

    def _add_columns(self, table: Table, found: deltalake.DeltaTable, names: Sequence[str]) -> None:
        """Add the columns that a table lacks, as it is of an older release."""
        if _by_spark(found):
            said = ", ".join(_in_sql(table.schema[name]) for name in names)
            self.spark.sql(f"ALTER TABLE delta.`{self.path(table.name)}` ADD COLUMNS ({said})")
            return
        declared = {field.name: field for field in _delta_schema(table).fields}

        def work() -> None:
            now = self._open(table.name)  # a try whose answer was lost may have added them
            known = {field.name for field in now.schema().fields}
            if lacking := [declared[name] for name in names if name not in known]:
                now.alter.add_columns(lacking)

        with self._by_delta_rs(table.name):
            self._patiently(table.name, work)

    def _set_properties(self, table: Table, found: deltalake.DeltaTable) -> None:
        """Set the properties that a table lacks: it is of an older release, or somebody switched them off."""
        there = found.metadata().configuration
        lacking = {name: value for name, value in table.properties if there.get(name) != value}
        lacking |= {name: value for name, value in KEEPING if name not in there}  # or as somebody would have it
        if not lacking:
            return
        if off := ", ".join(name for name in lacking if name in there):
            get_logger().warning("property_set_again", table=table.name, properties=off)
            self._note(table.name, f"somebody switched {off} off; it is on again")
        if _by_spark(found):
            said = ", ".join(f"'{name}' = '{value}'" for name, value in lacking.items())
            self.spark.sql(f"ALTER TABLE delta.`{self.path(table.name)}` SET TBLPROPERTIES ({said})")
            return
        with self._by_delta_rs(table.name):
            self._patiently(table.name, lambda: self._open(table.name).alter.set_table_properties(lacking))

    def _note(self, name: str, text: str) -> None:
        self._notes[f"{name}_history"] = text

    def take_notes(self) -> dict[str, str]:
        """Return, once, what is to be told in ``runs`` of the tables' own history, by table."""
        notes, self._notes = self._notes, {}
        return notes

    def _create(self, table: Table, schema: deltalake.Schema) -> None:
        """Create a table; not marked as ours, as there is nothing in it that could be believed."""
        with self._by_delta_rs(table.name) as place:

            def create() -> None:
                deltalake.DeltaTable.create(
                    place,
                    schema,
                    mode="ignore",
                    partition_by=list(table.partitioned_by),
                    configuration=dict((*KEEPING, *table.properties)),
                    storage_options=self._options,
                )

            self._patiently(table.name, create)

    def undo_foreign_changes(self, stages: Iterable[str]) -> list[Undone]:
        """Put back the tables of these stages that somebody else changed since our last commit.

        See :meth:`foreign_changes` and :meth:`undo`.
        """
        found = self.foreign_changes(stages)
        for change in found:
            self.undo(change)
        return found

    def foreign_changes(self, stages: Iterable[str]) -> list[Undone]:
        """Return what is to be undone of the tables that these stages make, or go by.

        Rows that were only deleted, from a table whose rows are looked for one by one, are not put back but made
        anew: that is what they were deleted for.
        """
        chosen = set(stages)
        tables = (table for table in TABLES.values() if chosen & {table.made_by, *table.believed_by})
        found = (self.foreign_change(table.name) for table in tables)
        return [change for change in found if change is not None]

    def undo(self, change: Undone) -> None:
        """Put a table back to what it was before somebody else changed it.

        The table is restored to what it held before the first of these changes: what it says of itself is then true
        again, and what it lacks is made as on any night. In the history the change is still there to be seen, and
        to be restored by who wants it.

        Raises
        ------
        SpecrecError
            If it cannot be put back, because files of it are gone.
        """
        try:
            self._restore(change.table, change.version)
        except (*FAILURES, PySparkException, Py4JError) as error:
            what = ", ".join(f"{commit.operation} of version {commit.version}" for commit in change.commits)
            raise SpecrecError(
                f"somebody changed the table {join(self._root, change.table)} ({what}), and it cannot be put "
                f"back to version {change.version}: {_why(error)}. Let `specrec repair {change.table} "
                f"--warehouse {self._root}` make it anew"
            ) from error

    def foreign_change(self, name: str) -> Undone | None:
        """Return what somebody else changed of a table since our last commit; None if nothing is to be undone."""
        table = TABLES[name]
        seen: list[Commit] = []
        changed, ours = foreign_changes(_noting(self._commits(table.name), seen))
        if ours is None and _is_cut(seen) and any(commit.changes_data for commit in seen):
            get_logger().warning("history_lost", table=table.name, oldest_version=seen[-1].version)
            said = f"none of its last {len(seen)} commits is ours: whether somebody else changed it is not known"
            self._note(table.name, said)
        if ours is None or not changed:
            return None
        if (table.by_rows or table.believed_by) and all(commit.operation == "DELETE" for commit in changed):
            return None
        return Undone(table.name, changed, changed[-1].version - 1)

    def restore(self, name: str, version: int) -> None:
        """Make a table hold what it held at a version, in one commit that remembers what that version did.

        Raises
        ------
        StorageError
            If files of that version are gone.
        """
        with self._by_delta_rs(name):
            self._restore(name, version)

    def _restore(self, name: str, version: int) -> None:
        mark = self._own(Mark(known_states(self._commits(name, version))))

        def write(properties: CommitProperties) -> None:
            table = self._open(name)
            if not _by_spark(table):
                table.restore(version, commit_properties=properties)
                return
            with self._marked(mark):
                DeltaTable.forPath(self.spark, self.path(name)).restoreToVersion(version)

        self._patiently_marked(name, mark, write)

    def version_after(self, name: str, run: str, ended_at: int) -> int | None:
        """Return which version a table had after a run; see :func:`~specrec.warehouse.history.version_after`."""
        return version_after(self._commits(name, most=None), run, ended_at)

    def is_as_at(self, name: str, version: int) -> bool:
        """Tell whether a table's rows are those of a version: nobody changed data since, or it was put back."""
        newer = self._commits(name, most=None)
        if not any(commit.changes_data for commit in takewhile(lambda of: of.version > version, newer)):
            return True
        then = open_table(self._root, name, self._storage, version)
        return _files_of(then) == _files_of(self.table(name))

    def lost_files(self, name: str, version: int) -> int:
        """Return how many of the files that a table had at a version are not there any more."""
        table = open_table(self._root, name, self._storage, version)
        wanted = {join(self._root, name, unquote(path)) for path in _files_of(table)}
        store = open_store(self._root, self._storage)
        there = {file.uri for folder in {parent(of) for of in wanted} for file in store.list(folder)}
        return len(wanted - there)

    def table(self, name: str, *, any_features: bool = False) -> deltalake.DeltaTable:
        """Open a table through delta-rs, as it stands now; see :func:`~specrec.warehouse.opening.open_table`."""
        return open_table(self._root, name, self._storage, any_features=any_features)

    def last_run(self, name: str) -> str:
        """Return the run that made a table's newest commit that changed data; empty if it was none of ours."""
        newest = next((commit for commit in self._commits(name) if commit.changes_data), None)
        return newest.mark.run if newest is not None and newest.mark is not None else ""

    def _standing(self, name: str) -> Mark:
        """Return what a commit says that changes no row: the states of the table's input, and whose rows they are.

        So the newest commit alone says both, however little Delta's retention leaves of the log.
        """
        seen: list[Commit] = []
        states = known_states(_noting(self._commits(name), seen))
        newest = next((commit for commit in seen if commit.mark is not None or commit.changes_data), None)
        return Mark(states, run=newest.mark.run if newest is not None and newest.mark is not None else "")

    def put_together(self, name: str) -> int:
        """Put a table's small files together, without changing a row; return how many files it has then."""
        mark = self._standing(name)

        def write(properties: CommitProperties) -> None:
            table = self._open(name)
            if not _by_spark(table):
                table.optimize.compact(
                    target_size=self._files.file_bytes,
                    max_concurrent_tasks=1,
                    writer_properties=WriterProperties(compression="ZSTD"),
                    commit_properties=properties,
                )
                return
            with self._marked(mark):
                DeltaTable.forPath(self.spark, self.path(name)).optimize().executeCompaction()

        with self._by_delta_rs(name):
            self._patiently_marked(name, mark, write)
        return len(pa.table(self.table(name).get_add_actions())["path"])

    def sort_part(self, name: str, part: str, files: int) -> None:
        """Write one part of a table anew, sorted by what it is read by, without changing a row.

        Parameters
        ----------
        files : int
            How many, each with a range of its own.
        """
        table = TABLES[name]
        (column,) = table.partitioned_by
        rows = self.read(name).where(F.col(column) == part)
        rows = rows.repartitionByRange(files, table.read_by[0]).sortWithinPartitions(*table.read_by)
        writer = rows.write.format("delta").mode("overwrite").option("dataChange", "false")
        with self._marked(self._standing(name), self._in_order(table, [part])):
            writer.option("replaceWhere", _is_in(column, [part])).save(self.path(name))

    def clean(self, name: str, keep_days: float) -> int:
        """Delete the files that no version of the last days needs, and the log's entries beyond its own retention.

        Returns
        -------
        int
            How many files of data were deleted.
        """
        deleted: list[str] = []
        mark = self._standing(name)
        properties = CommitProperties(custom_metadata={_METADATA_KEY: mark.written(specrec.__version__)})
        hours = math.ceil(keep_days * 24)

        def work() -> None:
            gone = self._open(name).vacuum(
                hours, dry_run=False, enforce_retention_duration=False, full=True, commit_properties=properties
            )
            deleted.extend(gone)
            newest = next(self._commits(name))
            if newest.mark is None and (mark.states or mark.run):  # nothing was deleted, and so nothing committed
                self._append_nothing(name, properties)
            table = self._open(name)
            table.create_checkpoint()
            table.cleanup_metadata()

        with self._by_delta_rs(name):
            self._patiently(name, work)
        return len(deleted)

    def _append_nothing(self, name: str, properties: CommitProperties) -> None:
        table = self._open(name)
        nothing = pa.schema(table.schema().to_arrow()).empty_table()
        deltalake.write_deltalake(table, nothing, mode="append", commit_properties=properties)

    def forget_lost_files(self, name: str) -> None:
        """Take the files that are not there any more out of a table's log."""
        if _by_spark(self.table(name, any_features=True)):  # which has no command for it, but reads what there is
            with self._marked(settings={"spark.sql.files.ignoreMissingFiles": "true"}):
                self.read(name).write.format("delta").mode("overwrite").save(self.path(name))
            return
        with self._by_delta_rs(name):
            self._patiently_marked(
                name, Mark(), lambda properties: self._open(name).repair(commit_properties=properties)
            )

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """Return a table as it stands now, or as it stood at a version."""
        table = self.spark.read.format("delta")
        if version is not None:
            table = table.option("versionAsOf", version)
        return table.load(self.path(name))

    def version(self, name: str) -> int:
        """Return the newest version of a table."""
        return self._open(name).version()

    def append(self, name: str, rows: DataFrame, states: Mapping[str, str] | None = None) -> None:
        """Add rows, in one commit that remembers the states of their input, if given."""
        with self._marked(Mark(dict(states or {}))):
            _shape(name, rows).write.format("delta").mode("append").save(self.path(name))

    def append_few(
        self, name: str, rows: Sequence[Mapping[str, Any]], states: Mapping[str, str] | None = None
    ) -> None:
        """Add a few rows that are in this process. No Spark job: that would take a second or two for one row.

        Parameters
        ----------
        states : mapping of str to str or None
            What the commit remembers of their input.
        """
        declared = pa.schema(_delta_schema(TABLES[name]).to_arrow())
        # delta-rs refuses rows whose columns are commented otherwise than the table, made by an older release, says
        schema = pa.schema([field.remove_metadata() for field in declared])
        few = pa.Table.from_pylist([dict(row) for row in rows], schema)

        def write(properties: CommitProperties) -> None:
            table = self._open(name)
            if _by_spark(table):
                self.append(name, self.spark.createDataFrame(few, TABLES[name].schema), states)
                return
            # columns that somebody added are null: to "merge" is not to ask for all of the table's columns
            deltalake.write_deltalake(table, few, mode="append", schema_mode="merge", commit_properties=properties)

        with self._by_delta_rs(name):
            self._patiently_marked(name, Mark(dict(states or {})), write)

    def _open(self, name: str) -> deltalake.DeltaTable:
        return deltalake.DeltaTable(uri_for_delta_rs(join(self._root, name)), storage_options=self._options)

    def _patiently(self, name: str, work: Callable[[], Any]) -> None:
        patiently(join(self._root, name), self._storage, work)

    def _patiently_marked(self, name: str, mark: Mark, write: Callable[[CommitProperties], Any]) -> None:
        """Commit through delta-rs, once: a try whose answer was lost may have been the last that was needed."""
        named = replace(self._own(mark), id=uuid.uuid4().hex)
        properties = CommitProperties(custom_metadata={_METADATA_KEY: named.written(specrec.__version__)})
        tried = False

        def work() -> None:
            nonlocal tried
            if tried and self._is_committed(name, named):
                return
            tried = True
            write(properties)

        self._patiently(name, work)

    def _is_committed(self, name: str, mark: Mark) -> bool:
        """Tell whether one of the newest commits has a mark; under the lock only a commit or two can be newer."""
        newest = self._commits(name)
        return any(commit.mark == mark for commit, _ in zip(newest, range(_LOOKED_AT), strict=False))

    @contextmanager
    def _by_delta_rs(self, name: str) -> Iterator[str]:
        """Yield a table's place; what delta-rs has to complain of is told in one line."""
        place = join(self._root, name)
        try:
            yield uri_for_delta_rs(place)
        except FAILURES as error:
            raise StorageError(f"the table {place} cannot be written: {reason(error)}") from None

    def replace(self, name: str, rows: DataFrame, state: str | None = None) -> None:
        """Make the table hold just these rows, in one commit that remembers the state of their input, if given.

        :meth:`states` returns it under the table's own name.
        """
        with self._marked(Mark({} if state is None else {name: state})):
            _shape(name, rows).write.format("delta").mode("overwrite").save(self.path(name))

    def upsert(self, name: str, rows: DataFrame) -> None:
        """Insert rows, in place of those that have the same key.

        `rows` is read more than once: persist what is dear to compute.
        """
        key = list(TABLES[name].key)
        rows = _shape(name, rows)
        present = self.read(name).select(*key).join(rows.select(*key), key, "left_semi")
        if present.isEmpty():  # an append neither joins nor rewrites anything
            self.append(name, rows)
            return
        self.merge(name, rows)

    def merge(self, name: str, rows: DataFrame) -> None:
        """Insert rows, in place of those that have the same key, where there are some.

        `rows` is read more than once: persist what is dear to compute.
        """
        with self._marked():
            merge = self._merge(name, _shape(name, rows), TABLES[name].key)
            merge.whenMatchedUpdate(set=_columns(name)).whenNotMatchedInsert(values=_columns(name)).execute()

    def update_where_different(self, name: str, rows: DataFrame, state: str) -> None:
        """Make the table hold just these rows, in one commit that remembers the state of their input.

        Rows that say the same as before, but for the run that says it, stay as they are. :meth:`states` returns the
        state under the table's own name.
        """
        said = [field.name for field in TABLES[name].schema.fields if field.name not in _OF_THE_RUN]
        same = [F.col(f"old.`{column}`").eqNullSafe(F.col(f"new.`{column}`")) for column in said]
        with self._marked(Mark({name: state})):
            (
                self._merge(name, _shape(name, rows), TABLES[name].key)
                .whenMatchedUpdate(~reduce(Column.__and__, same), set=_columns(name))
                .whenNotMatchedInsert(values=_columns(name))
                .whenNotMatchedBySourceDelete()
                .execute()
            )

    def delete(self, name: str, keys: DataFrame, states: Mapping[str, str] | None = None) -> None:
        """Delete the rows that equal a row of `keys` in its columns, such as a part of the table's key.

        Parameters
        ----------
        states : mapping of str to str or None
            What the commit remembers of the table's input.
        """
        if keys.isEmpty():
            return
        with self._marked(Mark(dict(states or {}))):
            self._merge(name, keys.distinct(), keys.columns).whenMatchedDelete().execute()

    def _merge(self, name: str, rows: DataFrame, key: Sequence[str]) -> Any:
        table = DeltaTable.forPath(self.spark, self.path(name))
        return table.alias("old").merge(rows.alias("new"), _same(key))

    def replace_parts(self, name: str, column: str, rows: DataFrame, states: Mapping[str, str]) -> None:
        """Replace the partitions ``column = part`` of a table in one commit that remembers their inputs' states.

        Parameters
        ----------
        rows : DataFrame
            All rows of these parts, and of no other.
        states : mapping of str to str
            Of each part that is replaced, the state of what it was computed from.
        """
        writer = _shape(name, rows).write.format("delta").mode("overwrite")
        with self._marked(Mark(self.states(name) | dict(states)), self._in_order(TABLES[name], states)):
            writer.option("replaceWhere", _is_in(column, states)).save(self.path(name))

    def change(
        self,
        name: str,
        changes: DataFrame,
        identity: Sequence[str],
        moved: Sequence[str],
        states: Mapping[str, str],
        *,
        is_list: bool = False,
    ) -> dict[tuple[str, str], int]:
        """Insert, change and delete rows of a table in one commit that remembers its inputs' states.

        What did not change is not among the changes, and a follower of the table's change feed does not see it.

        Parameters
        ----------
        changes : DataFrame
            The table's columns, and ``change``: :data:`~specrec.warehouse.schemas.NEW` for a row that is inserted,
            or takes the place of another of the same identity; :data:`~specrec.warehouse.schemas.MOVED` for one of
            which the columns `moved` alone are changed, the others being null here;
            :data:`~specrec.warehouse.schemas.GONE` for one that is deleted. It is read more than once: persist it.
        identity : sequence of str
            The columns by which a row is told from all others. The files are written anew that hold such a row, or
            that a new one belongs into.
        moved : sequence of str
        states : mapping of str to str
            Of each part that the changes are of, the state of what it was computed from.
        is_list : bool
            Whether an identity is that of several rows: its new rows take the place of all that there are.

        Returns
        -------
        dict of int
            How many changes there were, by part of the table (empty if it has none) and kind; 0 is left out.

        Raises
        ------
        ValueError
            If two changes are of one row, or one is of a kind that there is not.
        """
        table = TABLES[name]
        part = table.partitioned_by[0] if table.partitioned_by else ""
        mark = Mark(self.states(name) | dict(states))
        counts = count_changes(changes, identity, part, is_list=is_list)
        changed = False
        if counts:
            declared = (F.col(f"`{of.name}`").cast(of.dataType) for of in table.schema.fields)
            parts = {value for value, _ in counts}
            how = Changing(
                table=join(self._root, name),
                storage=self._storage,
                schema=pa.schema(_delta_schema(table).to_arrow()),
                part=part,
                identity=tuple(column for column in identity if column != part),
                moved=tuple(moved),
                order=tuple(column for column in table.read_by or table.key if column != part),
                is_list=is_list,
                group_rows=self._rows_a_group(table),
                file_bytes=self._files.file_bytes,
            )
            with self._marked(mark, self._in_order(table, parts)):  # where it is Delta that writes
                condition = _is_in(part, parts) if part else "true"
                rows = changes.select("change", *declared)
                changed = change_rows(rows, how, table.schema, counts, condition)
        if not changed:  # but for what is remembered
            with self._marked(mark):
                self.read(name).limit(0).write.format("delta").mode("append").save(self.path(name))
        return counts

    def _rows_a_group(self, table: Table) -> int:
        """Return how many rows a row group has, at most; 0: some hundred thousand."""
        return self._files.rows_a_group if table.read_by else 0

    def _in_order(self, table: Table, parts: Collection[str]) -> dict[str, str]:
        """Return the settings by which Spark writes rows of some parts in the order in which they come.

        By default it sorts the rows of a task by their part, and, where they do not fit into memory, mixes them: it
        merges runs of them in which no row comes before another.
        """
        own = {"spark.sql.maxConcurrentOutputFileWriters": str(_FILES_AT_ONCE * len(parts))}
        if limit := self._rows_a_group(table):
            own[_ROWS_A_GROUP] = str(limit)
        return own

    def _own(self, mark: Mark) -> Mark:
        return mark if mark.run else replace(mark, run=self._run_id)

    @contextmanager
    def _marked(self, mark: Mark | None = None, settings: Mapping[str, str] | None = None) -> Iterator[None]:
        """Have the commits of a block marked as ours, whatever the session would have them say.

        A commit that changes no row is recorded too, with what it remembers: Delta would leave it out.

        Parameters
        ----------
        settings : mapping of str to str, or None
            What else holds for the session within the block.
        """
        mark = self._own(mark or Mark())
        wanted = {_USER_METADATA: mark.written(specrec.__version__), **(settings or {})}
        if mark.states:
            wanted["spark.databricks.delta.skipRecordingEmptyCommits"] = "false"
        conf = self.spark.conf
        before = {key: conf.get(key, None) for key in wanted}
        try:
            for key, value in wanted.items():
                conf.set(key, value)
            yield
        finally:
            for key, old in before.items():
                conf.unset(key) if old is None else conf.set(key, old)

    def counts(self, name: str, column: str) -> dict[str, int]:
        """Return how many rows each part of a table has."""
        return {row[0]: row[1] for row in self.read(name).groupBy(column).count().collect()}

    def states(self, name: str) -> dict[str, str]:
        """Return the input state that each part of a table was last computed from, if nobody changed it since.

        Where no commit says so that is looked at, though others came before these, it is told: see
        :meth:`take_notes`.
        """
        seen: list[Commit] = []
        known = known_states(_noting(self._commits(name), seen))
        if not known and _is_cut(seen) and seen[-1].mark is None:
            get_logger().warning("states_lost", table=name, oldest_version=seen[-1].version)
            self._note(name, f"none of its last {len(seen)} commits says what it was made of")
        return known

    def _commits(self, name: str, newest: int | None = None, most: int | None = HISTORY) -> Iterator[Commit]:
        """Yield a table's commits, the newest first, or from a version on."""
        return commits(open_store(self._root, self._storage), join(self._root, name), newest, most)


def _why(error: BaseException) -> str:
    return reason(error) if isinstance(error, FAILURES) else innermost(error)


def _files_of(table: deltalake.DeltaTable) -> set[str]:
    return set(pa.table(table.get_add_actions(flatten=True))["path"].to_pylist())


def _noting(history: Iterable[Commit], seen: list[Commit]) -> Iterator[Commit]:
    """Yield commits, and note those that were looked at."""
    for commit in history:
        seen.append(commit)
        yield commit


def _is_cut(seen: Sequence[Commit]) -> bool:
    """Tell whether there were commits before the last that was looked at."""
    return bool(seen) and seen[-1].version > 0


def states_of(rows: DataFrame, part: str, *columns: str) -> dict[str, str]:
    """Return a short name of each part's set of rows, the same whatever their order and partitions.

    Two sums of 64-bit hashes and the count: a chance collision between two nights is of no account.

    Parameters
    ----------
    part : str
        Column that names the part.
    columns : str
        What tells the rows apart.
    """
    wide = "decimal(38,0)"
    first, second = F.xxhash64(*columns), F.hash(*columns).cast("long")
    sums = rows.groupBy(F.col(part).alias("part")).agg(
        F.count("*").alias("n"),
        F.sum(first.cast(wide)).alias("a"),
        F.sum(first.bitwiseXOR(second * 2654435761).cast(wide)).alias("b"),
    )
    return {row.part: f"{row.n}:{row.a}:{row.b}" for row in sums.collect()}  # one row a part


def by_part(column: str, values: Mapping[str, str]) -> Column:
    """Return the value that belongs to each row's part."""
    pairs = [F.lit(text) for pair in values.items() for text in pair]
    return F.create_map(*pairs)[F.col(column)]


def _delta_schema(table: Table) -> deltalake.Schema:
    return deltalake.Schema.from_json(table.schema.json())  # Delta's own notation is Spark's


def _in_sql(field: T.StructField) -> str:
    r"""Return a column as a definition in SQL.

    Examples
    --------
    >>> print(_in_sql(T.StructField("a b", T.MapType(T.StringType(), T.LongType()), metadata={"comment": "it's"})))
    `a b` map<string,bigint> COMMENT 'it\'s'
    """
    said = field.metadata.get("comment", "").replace("\\", "\\\\").replace("'", "\\'")
    return f"`{field.name}` {field.dataType.simpleString()}" + (f" COMMENT '{said}'" if said else "")


def what_is_wrong(found: deltalake.DeltaTable, table: Table) -> str:
    """Return in words why a table cannot be written as it is declared; empty if it can.

    Columns that it lacks are not wrong: they are added.
    """
    declared = {field.name: field for field in _delta_schema(table).fields}
    about = found.metadata()
    if list(about.partition_columns) != list(table.partitioned_by):
        return f"it is partitioned by {', '.join(about.partition_columns) or 'nothing'}"
    if about.configuration.get("delta.appendOnly", "false").lower() == "true":
        return "delta.appendOnly forbids to replace a row"
    for field in found.schema().fields:
        ours = declared.get(field.name)
        if ours is None and not field.nullable:
            return f"its column {field.name!r}, which is not ours, must not be null"
        if ours is not None and _kind(field) != _kind(ours):
            return f"its column {field.name!r} is {_in_words(field)} and not {_in_words(ours)}"
        if ours is not None and ours.nullable and not field.nullable:
            return f"its column {field.name!r} must not be null"
    return ""


def _kind(field: deltalake.Field) -> Any:
    """Return a column's type without what is only said of it: comments, and which parts may be null."""

    def stripped(of: Any) -> Any:
        if isinstance(of, dict):
            left_out = ("metadata", "nullable", "containsNull", "valueContainsNull")
            return {key: stripped(value) for key, value in of.items() if key not in left_out}
        return [stripped(value) for value in of] if isinstance(of, list) else of

    return stripped(json.loads(field.to_json()))


def _in_words(field: deltalake.Field) -> str:
    kind = _kind(field)["type"]
    return kind if isinstance(kind, str) else str(kind["type"])


def _by_spark(table: deltalake.DeltaTable) -> bool:
    """Tell whether a table, by what somebody switched on, is written by Spark alone."""
    return not _WRITTEN_BY_DELTA_RS.issuperset(table.protocol().writer_features or ())


def _forget_cached(path: str) -> None:
    """Let a session that is running see that a table began anew: it remembers the logs of those it has seen."""
    session = SparkSession.getActiveSession()
    if session is not None:
        delta = session._jvm.org.apache.spark.sql.delta.DeltaLog  # type: ignore[union-attr]
        delta.invalidateCache(session._jsparkSession, session._jvm.org.apache.hadoop.fs.Path(path))  # type: ignore[union-attr]


def _shape(name: str, rows: DataFrame) -> DataFrame:
    """Select and cast the table's columns, in its order; a column that it lacks is a bug and fails here."""
    schema = TABLES[name].schema
    return rows.select(*(F.col(f"`{field.name}`").cast(field.dataType) for field in schema.fields))


def _is_in(column: str, values: Iterable[str]) -> str:
    r"""Return in SQL that a column has one of some values; the order of the values does not matter.

    Examples
    --------
    >>> print(_is_in("system", {"it's"}))
    `system` in ('it\'s')
    """
    quoted = ("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in sorted(values))
    return f"`{column}` in ({', '.join(quoted)})"


def _same(key: Sequence[str]) -> str:
    return " and ".join(f"old.`{column}` = new.`{column}`" for column in key)


def _columns(name: str) -> dict[str, Column | str]:
    """Return what a merge sets: the table's declared columns. Others, which somebody added, stay as they are."""
    return {f"`{field.name}`": F.col(f"new.`{field.name}`") for field in TABLES[name].schema.fields}
