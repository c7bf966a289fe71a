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
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import BooleanType, IntegerType, StructField, StructType

from specrec.logs import get_logger
from specrec.storage import for_spark
from specrec.warehouse.rewriting import DONE, FEED, IS_HOME, TARGET, Changing, File, file_of, locating, rewriting
from specrec.warehouse.schemas import GONE, MOVED, NEW

#: What becomes of a row, beside it: a table has no such columns.
_KIND, _MOVED_TO = "_what_becomes_of_it", "_where_it_moves"
#: What the properties of Delta's own begin with, and those of them that ask nothing of whoever writes a file.
_OF_DELTA = "delta."
_HARMLESS = frozenset(
    {
        "delta.checkpointInterval",
        "delta.deletedFileRetentionDuration",
        "delta.enableChangeDataFeed",
        "delta.logRetentionDuration",
    }
)
#: A task has all changes of one file in memory, and sends them to each file that may hold their rows. Where there
#: would be more changes of one file, or so many times more than there are, the table is sorted instead.
_MOST_OF_A_FILE, _MOST_COPIES = 2_000_000, 4
#: So many changes are sent to their files by one task, about.
_CHANGES_A_TASK = 50_000


def change_rows(
    changes: DataFrame, how: Changing, declared: StructType, counts: Mapping[tuple[str, str], int], condition: str
) -> bool:
    """Insert, change and delete rows in one commit, and return whether there was anything to change.

    Parameters
    ----------
    changes : DataFrame
        The table's declared columns and ``change``, as :meth:`specrec.warehouse.tables.Warehouse.change` takes
        them; read several times: persist it.
    declared : StructType
        The table's schema.
    counts : mapping of int
        What :func:`count_changes` returned of them.
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
    why_delta = _why_by_delta(transaction.metadata(), standing, declared)
    if why_delta is None:
        files = _files(standing, _statistics(spark, transaction.snapshot()), how, {part for part, _ in counts})
        located, numbers = _located(changes, how, files, sum(counts.values()))
        why_delta = (
            None if numbers is not None else "its files are not sorted, or one of them has very many changes"
        )
    if why_delta is None:
        found = _rewritten(located, how, files, numbers or {}, has_feed=has_feed)
        replaced = [standing[row.target] for row in found if row.target < len(standing)]
        reader = getattr(getattr(delta.actions, "Action$"), "MODULE$")
        written = [reader.fromJson(action) for row in found for action in row.actions]
    else:
        get_logger().info("written_by_delta", table=how.table, reason=why_delta)
        replaced, written = standing, _written_by_delta(changes, how, transaction, condition, has_feed=has_feed)
    if not replaced and not written:
        return False
    if has_feed and not any(file.getClass().getSimpleName() == "AddCDCFile" for file in written):
        return False  # a commit without a word for the feed would say that all rows came anew
    now = int(time.time() * 1000)
    removed = [file.removeWithTimestamp(now, True) for file in replaced]
    # of all that Delta records of a write: in which mode, and of which rows
    told = [jvm.org.apache.spark.sql.SaveMode.Overwrite, none, jvm.scala.Option.apply(condition), *[none] * 6]
    transaction.commit(_sequence(jvm, [*removed, *written]), getattr(delta, "DeltaOperations$Write")(*told))
    # what Spark keeps of the table as it was is no answer any more
    spark.catalog.refreshByPath(for_spark(how.table))
    return True


def _why_by_delta(metadata: Any, files: Sequence[Any], declared: StructType) -> str | None:
    """Return why Delta has to write a table: somebody asks for what we know nothing of. None: nobody does."""
    asked = {name for name in _values(metadata.configuration().keys().toSeq()) if name.startswith(_OF_DELTA)}
    if asked - _HARMLESS:
        return f"it has the properties {', '.join(sorted(asked - _HARMLESS))}"
    found = StructType.fromJson(json.loads(metadata.schemaString()))
    known = {field.name: field for field in declared.fields}
    if known.keys() != set(found.names):
        return f"it has the columns {', '.join(sorted(known.keys() ^ set(found.names)))}"
    for field in found.fields:
        own = known[field.name]
        if field.dataType.simpleString() != own.dataType.simpleString() or field.metadata.keys() - {"comment"}:
            return f"something is asked of its column {field.name}"
    if any(file.deletionVector() is not None or "://" in file.path() or file.path()[0] == "/" for file in files):
        return "some of its files lie elsewhere, or some of their rows are deleted"
    return None


def _statistics(spark: SparkSession, snapshot: Any) -> dict[str, str | None]:
    """Return what the log says of the values in each file, by its path: a transaction's own files say nothing."""
    files = DataFrame(snapshot.allFiles().toDF(), spark).select("path", "stats")
    return {row.path: row.stats for row in files.collect()}  # a row a file, as the commit has it


def _files(
    standing: Sequence[Any], statistics: Mapping[str, str | None], how: Changing, parts: Collection[str]
) -> list[File]:
    """Return the files of some parts, as they stand, and one that is to be begun of each part that has none."""

    def part_of(file: Any) -> str | None:
        return file.partitionValues().get(how.part).get() if how.part else None

    files = [
        file_of(file.path(), file.size(), part_of(file), statistics[file.path()], how.order[0]) for file in standing
    ]
    wanted: set[str | None] = set(parts) if how.part else {None}
    without = wanted - {file.part for file in files}
    return files + [File("", 0, part, None, None) for part in sorted(without, key=str)]


def _located(
    changes: DataFrame, how: Changing, files: Sequence[File], count: int
) -> tuple[DataFrame, dict[int, int] | None]:
    """Send changes to files; return them, and a number for each file with changes; None if these are too many."""
    sent = [StructField(TARGET, IntegerType()), StructField(IS_HOME, BooleanType())]
    tasks = count // _CHANGES_A_TASK + 1  # few changes may come in many parts, each of which would cost a task
    located = changes.coalesce(tasks).mapInArrow(locating(how, files), StructType([*changes.schema.fields, *sent]))
    counts = {row[TARGET]: row["count"] for row in located.groupBy(TARGET).count().collect()}  # a row a file
    if sum(counts.values()) > _MOST_COPIES * count or max(counts.values(), default=0) > _MOST_OF_A_FILE:
        return located, None
    return located, {target: number for number, target in enumerate(sorted(counts))}


def _rewritten(
    located: DataFrame, how: Changing, files: Sequence[File], numbers: Mapping[int, int], *, has_feed: bool
) -> list[Any]:
    """Write files anew, each by a task of its own; return rows of ``target, actions``, by target."""
    if not numbers:
        return []
    pairs = [F.lit(value) for pair in numbers.items() for value in pair]
    of_task = located.withColumn("_task", F.create_map(*pairs)[F.col(TARGET)])
    of_task = of_task.repartitionById(len(numbers), "_task").drop("_task")
    done = of_task.mapInArrow(rewriting(how, files, has_feed=has_feed), from_arrow_schema(DONE))
    return sorted(done.collect())  # a row a file, as the commit has it


def _written_by_delta(
    changes: DataFrame, how: Changing, transaction: Any, condition: str, *, has_feed: bool
) -> list[Any]:
    """Have Delta write all files of the parts that the changes are of, sorted; return what is to be committed."""
    spark, path = changes.sparkSession, for_spark(how.table)
    standing = spark.read.format("delta").option("versionAsOf", transaction.snapshot().version()).load(path)
    rows = changed_rows(standing.where(condition), changes, how, has_feed=has_feed)
    return _values(transaction.writeFiles(rows._jdf))


def changed_rows(standing: DataFrame, changes: DataFrame, how: Changing, *, has_feed: bool) -> DataFrame:
    """Return the rows as they are to be, and with a feed, besides, what it is to say, told by ``_change_type``.

    Parameters
    ----------
    standing : DataFrame
        The rows that there are.
    changes : DataFrame
        As in :func:`change_rows`.
    """
    identity = [*([how.part] if how.part else []), *how.identity]
    order = [*([how.part] if how.part else []), *how.order]
    declared = [name for name in changes.columns if name != "change"]
    foreign = [name for name in standing.columns if name not in declared]
    to = F.struct(*(F.col(f"`{name}`") for name in how.moved)) if how.moved else F.lit(None)
    keys = changes.select(*identity, F.col("change").alias(_KIND), to.alias(_MOVED_TO))
    if how.is_list:  # one of each list, however many rows it has
        keys = keys.dropDuplicates(identity)
    met = standing.join(keys, identity, "left")

    def row(kind: str | None, is_moved: bool = False) -> Column:
        values = [
            F.col(f"{_MOVED_TO}.`{name}`").alias(name) if is_moved and name in how.moved else F.col(f"`{name}`")
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
    if how.is_list:  # of a row in another list nothing is known that somebody said of one in the old
        new = new.withColumns({name: F.lit(None).cast(standing.schema[name].dataType) for name in foreign})
    elif foreign:  # columns that somebody added: of a row that is replaced, what they say stays
        said = standing.select(*identity, *(F.col(f"`{name}`") for name in foreign))
        new = new.join(said, identity, "left")
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
        Whether several rows of one identity may be new, and none moves.

    Raises
    ------
    ValueError
        If two changes are of one row, or one is of a kind that there is not.
    """
    of = F.col(part) if part else F.lit("")
    rows = changes.groupBy(of.alias("part"), *identity)
    kind = F.coalesce("change", F.lit("none"))
    least, greatest, count = F.min(kind), F.max(kind), F.count("*")
    several = F.when((least == greatest) & (least == NEW), 1).otherwise(count) if is_list else count
    rows_of = rows.agg(least.alias("kind"), count.alias("n"), several.alias("changes"))
    counts = rows_of.groupBy("part", "kind").agg(F.sum("n").alias("rows"), F.max("changes").alias("most"))
    found = counts.collect()  # three rows a part
    kinds = (NEW, GONE) if is_list else (NEW, MOVED, GONE)
    if any(row.kind not in kinds or row.most > 1 for row in found):
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
