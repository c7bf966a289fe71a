"""Reading and committing the Delta tables through Spark.

Every commit is atomic for its table. A table that is computed as a whole remembers in its commit which state of
its input it was made from, so that the next run can tell, without reading it, that nothing is to be done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import deltalake
import pyarrow as pa
from delta.tables import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from specrec.errors import StorageError, first_line
from specrec.storage import Location, for_delta_rs, for_spark, join
from specrec.storage.config import StorageConfig
from specrec.warehouse.schemas import TABLES, Table

_HISTORY = 200


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
    """

    def __init__(self, start_spark: Callable[[], SparkSession], root: Location, storage: StorageConfig) -> None:
        self._start_spark = start_spark
        self._root = root
        self._options = for_delta_rs(root, storage)

    @cached_property
    def spark(self) -> SparkSession:
        """The Spark session. What is written and created through delta-rs does without it."""
        return self._start_spark()

    def path(self, name: str) -> str:
        """Return where a table lies."""
        return for_spark(join(self._root, name))

    def create_missing(self, names: Iterable[str] = TABLES) -> None:
        """Create the tables that do not exist yet, empty, and add the columns that older ones lack."""
        for table in (TABLES[name] for name in names):
            schema = _delta_schema(table)
            with self._by_delta_rs(table.name) as place:
                found = deltalake.DeltaTable.create(
                    place,
                    schema,
                    mode="ignore",
                    partition_by=list(table.partitioned_by),
                    storage_options=self._options,
                )
                known = {field.name for field in found.schema().fields}
                missing = [field for field in schema.fields if field.name not in known]
                if missing:
                    found.alter.add_columns(missing)

    def read(self, name: str) -> DataFrame:
        """Return a table as it stands now."""
        return self.spark.read.format("delta").load(self.path(name))

    def append(self, name: str, rows: DataFrame) -> None:
        """Add rows."""
        _shape(name, rows).write.format("delta").mode("append").save(self.path(name))

    def append_few(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a few rows that are in this process. No Spark job: that would take a second or two for one row."""
        declared = pa.schema(_delta_schema(TABLES[name]).to_arrow())
        # delta-rs refuses rows whose columns are commented otherwise than the table, made by an older release, says
        schema = pa.schema([field.remove_metadata() for field in declared])
        table = pa.Table.from_pylist([dict(row) for row in rows], schema)
        with self._by_delta_rs(name) as place:
            deltalake.write_deltalake(place, table, mode="append", storage_options=self._options)

    @contextmanager
    def _by_delta_rs(self, name: str) -> Iterator[str]:
        """Yield a table's place; what delta-rs has to complain of is told in one line."""
        place = join(self._root, name)
        try:
            yield place
        except (DeltaError, OSError) as error:
            raise StorageError(f"the table {place} cannot be written: {first_line(error)}") from None

    def replace(self, name: str, rows: DataFrame, state: str | None = None) -> None:
        """Make the table hold just these rows, in one commit that remembers the state of their input, if given.

        :meth:`states` returns it under the table's own name.
        """
        writer = _shape(name, rows).write.format("delta").mode("overwrite")
        if state is None:
            writer.save(self.path(name))
            return
        with self._recorded():
            writer.option("userMetadata", json.dumps({name: state})).save(self.path(name))

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
        (
            DeltaTable.forPath(self.spark, self.path(name))
            .alias("old")
            .merge(rows.alias("new"), _same(key))
            .whenMatchedUpdateAll()
            .whenNotMatchedInsertAll()
            .execute()
        )

    def synchronise(self, name: str, rows: DataFrame, changed: str) -> None:
        """Make the table hold just these rows: insert, update where `changed` differs, delete the rest."""
        (
            DeltaTable.forPath(self.spark, self.path(name))
            .alias("old")
            .merge(_shape(name, rows).alias("new"), _same(TABLES[name].key))
            .whenMatchedUpdateAll(F.col(f"old.{changed}") != F.col(f"new.{changed}"))
            .whenNotMatchedInsertAll()
            .whenNotMatchedBySourceDelete()
            .execute()
        )

    def delete(self, name: str, keys: DataFrame) -> None:
        """Delete the rows whose key columns equal a row of `keys` (which may hold a part of the key)."""
        if keys.isEmpty():
            return
        (
            DeltaTable.forPath(self.spark, self.path(name))
            .alias("old")
            .merge(keys.distinct().alias("new"), _same(keys.columns))
            .whenMatchedDelete()
            .execute()
        )

    def replace_parts(self, name: str, column: str, rows: DataFrame, states: Mapping[str, str]) -> None:
        """Replace the partitions ``column = part`` of a table in one commit that remembers their inputs' states.

        Parameters
        ----------
        rows : DataFrame
            All rows of these parts, and of no other.
        states : mapping of str to str
            Of each part that is replaced, the state of what it was computed from.
        """
        parts = ", ".join(f"'{part}'" for part in states)
        writer = _shape(name, rows).write.format("delta").mode("overwrite")
        writer = writer.option("replaceWhere", f"{column} in ({parts})")
        with self._recorded():
            writer.option("userMetadata", json.dumps(dict(states))).save(self.path(name))

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Have a commit that changes no row recorded too, with what it remembers: Delta would leave it out."""
        setting = "spark.databricks.delta.skipRecordingEmptyCommits"
        self.spark.conf.set(setting, "false")
        try:
            yield
        finally:
            self.spark.conf.unset(setting)

    def counts(self, name: str, column: str) -> dict[str, int]:
        """Return how many rows each part of a table has."""
        return {row[0]: row[1] for row in self.read(name).groupBy(column).count().collect()}

    def states(self, name: str) -> dict[str, str]:
        """Return the input state that each part of a table was last computed from."""
        history = DeltaTable.forPath(self.spark, self.path(name)).history(_HISTORY)
        found: dict[str, str] = {}
        for row in history.select("userMetadata").where("userMetadata is not null").collect():
            found = json.loads(row.userMetadata) | found  # newest first
        return found


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


def _shape(name: str, rows: DataFrame) -> DataFrame:
    """Select and cast the table's columns, in its order; a column that it lacks is a bug and fails here."""
    schema = TABLES[name].schema
    return rows.select(*(F.col(f"`{field.name}`").cast(field.dataType) for field in schema.fields))


def _same(key: Sequence[str]) -> str:
    return " and ".join(f"old.`{column}` = new.`{column}`" for column in key)
