"""Some rows of a table are changed: the files that hold them are written anew, and no others.

Delta's MERGE joins the table's rows with the changes and brings all of them through Spark, to write most of them
again as they were; where it inserts rows too, it shuffles them, and a track's rows come to lie in all files. Here
each change is sent to the file that may hold its row, by what the log says of the files' values, and a file with
changes is written anew by Arrow: see :mod:`specrec.warehouse.rewriting`.

The commit is made by Delta's own transaction, as its commands make theirs: conflicts are found, and the change data
feed says what was deleted, changed and inserted. Delta does not publish that interface, so a new version of Delta
may need a look here. Where somebody gave a table columns or properties of which we know nothing, Delta writes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import BooleanType, IntegerType, StructField, StructType

from specrec.storage import Location, for_spark
from specrec.storage.config import StorageConfig
from specrec.warehouse.rewriting import DONE, FEED, IS_HOME, TARGET, File, Rewriting, file_of, locating, rewriting
from specrec.warehouse.schemas import GONE, MOVED, NEW

#: What becomes of a row, beside it: a table has no such columns.
_KIND, _MOVED_TO = "_what_becomes_of_it", "_where_it_moves"
#: Properties of tables that ask nothing of whoever writes a file.
_HARMLESS = frozenset(
    {
        "delta.checkpointInterval",
        "delta.dataSkippingNumIndexedCols",
        "delta.dataSkippingStatsColumns",
        "delta.deletedFileRetentionDuration",
        "delta.enableChangeDataFeed",
        "delta.logRetentionDuration",
    }
)


@dataclass(frozen=True)
class Changing:
    """How rows of a table are changed.

    Attributes
    ----------
    table : Location
        The table's folder.
    storage : StorageConfig
    schema : StructType
        The table's, as it is declared.
    part : str
        The column that it is partitioned by; empty if there is none.
    parts : frozenset of str
        The parts that the changes are of; the files of others are not looked at.
    identity, moved : tuple of str
        See :meth:`specrec.warehouse.tables.Warehouse.change`.
    order : tuple of str
        What rows are sorted by within a part.
    group_rows : int
        Rows of a row group, at most; 0: as it comes.
    file_bytes : int
        A file that grows beyond it is cut.
    """

    table: Location
    storage: StorageConfig
    schema: StructType
    part: str
    parts: frozenset[str]
    identity: tuple[str, ...]
    moved: tuple[str, ...]
    order: tuple[str, ...]
    group_rows: int
    file_bytes: int


def change_rows(changes: DataFrame, how: Changing, condition: str) -> bool:
    """Insert, change and delete rows in one commit, and return whether there was anything to change.

    Parameters
    ----------
    changes : DataFrame
        The table's declared columns and ``change``, as :meth:`specrec.warehouse.tables.Warehouse.change` takes
        them; read several times: persist it.
    condition : str
        Tells in SQL which parts of the table changes are of.
    """
    spark = changes.sparkSession
    jvm: Any = spark._jvm
    delta, none = jvm.org.apache.spark.sql.delta, getattr(getattr(jvm, "scala.None$"), "MODULE$")
    transaction = delta.DeltaLog.forTable(spark._jsparkSession, for_spark(how.table)).startTransaction(none, none)
    predicate = spark._jsparkSession.sessionState().sqlParser().parseExpression(condition)
    standing = _values(transaction.filterFiles(_sequence(jvm, [predicate]), False))
    feed = transaction.metadata().configuration().get("delta.enableChangeDataFeed")
    has_feed = feed.isDefined() and feed.get().lower() == "true"
    replaced: Sequence[Any]
    if _is_as_declared(transaction.metadata(), how):
        statistics = _statistics(spark, transaction.snapshot())
        replaced, actions = _written_by_arrow(changes, how, standing, statistics, has_feed)
        reader = getattr(getattr(delta.actions, "Action$"), "MODULE$")
        written = [reader.fromJson(action) for action in actions]
    else:
        replaced = standing
        written = _written_by_spark(changes, how, transaction, condition, has_feed)
    if not written or (has_feed and not any(file.getClass().getSimpleName() == "AddCDCFile" for file in written)):
        return False  # a commit without a word for the feed would say that all rows came anew
    now = int(time.time() * 1000)
    removed = [file.removeWithTimestamp(now, True) for file in replaced]
    # of all that Delta records of a write: in which mode, and of which rows
    told = [jvm.org.apache.spark.sql.SaveMode.Overwrite, none, jvm.scala.Option.apply(condition), *[none] * 6]
    transaction.commit(_sequence(jvm, [*removed, *written]), getattr(delta, "DeltaOperations$Write")(*told))
    spark.catalog.refreshByPath(
        for_spark(how.table)
    )  # what Spark keeps of the table as it was is no answer any more
    return True


def _is_as_declared(metadata: Any, how: Changing) -> bool:
    """Tell whether a table has the columns that it is declared with, and nothing is asked of who writes them."""
    properties = set(_values(metadata.configuration().keys().toSeq()))
    found = StructType.fromJson(json.loads(metadata.schemaString()))
    known = {field.name: field for field in how.schema.fields}
    return (
        properties <= _HARMLESS
        and known.keys() == set(found.names)
        and all(
            field.dataType == known[field.name].dataType
            and field.metadata.keys() <= known[field.name].metadata.keys()
            for field in found.fields
        )
    )


def _statistics(spark: SparkSession, snapshot: Any) -> dict[str, str | None]:
    """Return what the log says of the values in each file, by its path: a transaction's own files say nothing."""
    files = DataFrame(snapshot.allFiles().toDF(), spark).select("path", "stats")
    return {row.path: row.stats for row in files.collect()}  # a row a file, as the commit has it


def _written_by_arrow(
    changes: DataFrame, how: Changing, standing: Sequence[Any], statistics: Mapping[str, str | None], has_feed: bool
) -> tuple[list[Any], list[str]]:
    """Write the files anew of which a row changes; return the files that they replace, and what is to be committed.

    Parameters
    ----------
    standing : sequence of AddFile
        The files of the parts that the changes are of, as Delta knows them.
    statistics : mapping of str
        What the log says of the values in each file, by its path.
    """
    files = [
        file_of(
            unquote(file.path()),
            file.size(),
            file.partitionValues().get(how.part).get() if how.part else None,
            statistics[file.path()],
            how.order[0],
        )
        for file in standing
    ]
    with_files = {file.part for file in files}
    files += [
        File("", 0, part or None, None, None)
        for part in sorted(how.parts or {""})
        if (part or None) not in with_files
    ]
    arrow = pa.schema(deltalake.Schema.from_json(how.schema.json()).to_arrow())
    rewrite = Rewriting(
        table=how.table,
        storage=how.storage,
        files=tuple(files),
        part=how.part,
        schema=arrow,
        identity=tuple(name for name in how.identity if name != how.part),
        moved=how.moved,
        order=how.order,
        has_feed=has_feed,
        group_rows=how.group_rows,
        file_bytes=how.file_bytes,
    )
    sent = StructType(
        [*changes.schema.fields, StructField(TARGET, IntegerType()), StructField(IS_HOME, BooleanType())]
    )
    located = changes.mapInArrow(locating(files, how.part, how.order[0]), sent)
    done = located.repartitionById(len(files), TARGET).mapInArrow(rewriting(rewrite), from_arrow_schema(DONE))
    found = sorted(done.collect())  # a row a file, as the commit has it
    replaced = [standing[row.target] for row in found if row.target < len(standing)]
    return replaced, [action for row in found for action in row.actions]


def _written_by_spark(
    changes: DataFrame, how: Changing, transaction: Any, condition: str, has_feed: bool
) -> list[Any]:
    """Have Delta write all files of the parts that the changes are of; return what is to be committed."""
    spark, path = changes.sparkSession, for_spark(how.table)
    standing = spark.read.format("delta").option("versionAsOf", transaction.snapshot().version()).load(path)
    order = (*((how.part,) if how.part else ()), *how.order)
    rows = changed_rows(
        standing.where(condition), changes, identity=how.identity, moved=how.moved, order=order, has_feed=has_feed
    )
    return _values(transaction.writeFiles(rows._jdf))


def changed_rows(
    standing: DataFrame,
    changes: DataFrame,
    *,
    identity: Sequence[str],
    moved: Sequence[str],
    order: Sequence[str],
    has_feed: bool,
) -> DataFrame:
    """Return the rows as they are to be, and with a feed, besides, what it is to say, told by ``_change_type``.

    Parameters
    ----------
    standing : DataFrame
        The rows that there are.
    changes : DataFrame
        As in :func:`change_rows`.
    """
    declared = [name for name in changes.columns if name != "change"]
    foreign = [name for name in standing.columns if name not in declared]
    to = F.struct(*(F.col(f"`{name}`") for name in moved)) if moved else F.lit(None)
    keys = changes.select(*identity, F.col("change").alias(_KIND), to.alias(_MOVED_TO))
    met = standing.join(keys, list(identity), "left")

    def row(kind: str | None, is_moved: bool = False) -> Column:
        values = [
            F.col(f"{_MOVED_TO}.`{name}`").alias(name) if is_moved and name in moved else F.col(f"`{name}`")
            for name in standing.columns
        ]
        return F.struct(*values, *([F.lit(kind).cast("string").alias(FEED)] if has_feed else []))

    untouched, was_moved = F.col(_KIND).isNull(), F.col(_KIND) == MOVED
    if has_feed:
        of_moved = F.array(row("update_preimage"), row("update_postimage", True), row(None, True))
        told = F.when(untouched, F.array(row(None))).when(was_moved, of_moved).otherwise(F.array(row("delete")))
    else:
        met = met.where(untouched | was_moved)
        told = F.when(untouched, F.array(row(None))).otherwise(F.array(row(None, True)))
    rows = met.select(F.explode(told).alias("row")).select("row.*")

    new = changes.where(F.col("change") == NEW).drop("change")
    if foreign:  # columns that somebody added: of a row that is replaced, what they say stays
        said = standing.select(*identity, *(F.col(f"`{name}`") for name in foreign))
        new = new.join(said, list(identity), "left")
    new = new.select(*(F.col(f"`{name}`") for name in standing.columns))
    if has_feed:
        new = new.withColumn(FEED, F.explode(F.array(F.lit(None).cast("string"), F.lit("insert"))))
    return rows.unionByName(new).repartitionByRange(*order).sortWithinPartitions(*order)


def count_changes(
    changes: DataFrame, identity: Sequence[str], part: str, *, is_list: bool = False
) -> dict[tuple[str, str], int]:
    """Return how many changes there are, by part of the table and kind; the part is empty if it has none.

    Parameters
    ----------
    is_list : bool
        Whether several rows of one identity may be new.

    Raises
    ------
    ValueError
        If two changes are of one row, or one is of a kind that there is not.
    """
    of = F.col(part) if part else F.lit("")
    rows = changes.groupBy(of.alias("part"), *identity)
    least, greatest = F.min("change"), F.max("change")
    several = F.when(least == greatest, 1).otherwise(2) if is_list else F.count("*")
    rows_of = rows.agg(least.alias("kind"), F.count("*").alias("n"), several.alias("changes"))
    counts = rows_of.groupBy("part", "kind").agg(F.sum("n").alias("rows"), F.max("changes").alias("most"))
    found = counts.collect()  # three rows a part
    if any(row.kind not in (NEW, MOVED, GONE) or row.most > 1 for row in found):
        raise ValueError("changes of a table must be new, moved or gone, and of each row there must be one")
    return {(row.part, row.kind): row.rows for row in found}


def _values(sequence: Any) -> list[Any]:
    return [sequence.apply(number) for number in range(sequence.size())]


def _sequence(jvm: Any, values: Sequence[Any]) -> Any:
    """Return a sequence of Scala's."""
    found = jvm.java.util.ArrayList()
    for value in values:
        found.add(value)
    return jvm.scala.jdk.javaapi.CollectionConverters.asScala(found).toSeq()
