"""Some rows of a table are changed: its files are written anew in the order that they have.

Delta's MERGE, where it inserts rows too, joins all rows of the table in full with the changes. It shuffles them,
with all that they say, so that a track's rows come to lie in all files, or else brings those of a whole partition
through one task. Here the rows of the table stay where they are, and meet the keys of the changes with what is
moved, while these are few enough to be sent to every executor. New rows become files of their own.

The commit is made by Delta's own transaction, as its commands make theirs: conflicts are found, and the change data
feed says what was deleted, changed and inserted. Delta does not publish that interface, so a new version of Delta
may need a look here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.warehouse.schemas import GONE, MOVED, NEW

#: The column by which Delta tells rows of the change feed from those of the table: there it is null.
_FEED = "_change_type"
#: What becomes of a row, beside it: a table has no such columns.
_KIND, _MOVED_TO = "_what_becomes_of_it", "_where_it_moves"
#: The keys of so many changes are sent to every executor, so that the table's rows stay where they are. Of more,
#: the rows are shuffled, and sorted.
FEW = 500_000


def change_rows(
    path: str,
    changes: DataFrame,
    *,
    identity: Sequence[str],
    moved: Sequence[str],
    condition: str,
    order: Sequence[str],
    are_few: bool,
) -> bool:
    """Insert, change and delete rows in one commit, and return whether there was anything to change.

    Parameters
    ----------
    path : str
        The table's folder, as Spark takes it.
    changes : DataFrame
        The table's declared columns and ``change``, as :meth:`specrec.warehouse.tables.Warehouse.change` takes
        them; read several times: persist it.
    identity, moved : sequence of str
    condition : str
        Tells in SQL which parts of the table changes are of: the files of others are not looked at, those of these
        are all written.
    order : sequence of str
        What new rows are sorted by.
    are_few : bool
        Whether there are no more changes than :data:`FEW`.
    """
    spark = changes.sparkSession
    jvm: Any = spark._jvm
    delta, none = jvm.org.apache.spark.sql.delta, getattr(getattr(jvm, "scala.None$"), "MODULE$")
    transaction = delta.DeltaLog.forTable(spark._jsparkSession, path).startTransaction(none, none)
    predicate = spark._jsparkSession.sessionState().sqlParser().parseExpression(condition)
    replaced = transaction.filterFiles(_sequence(jvm, [predicate]), False)
    feed = transaction.metadata().configuration().get("delta.enableChangeDataFeed")
    has_feed = feed.isDefined() and feed.get().lower() == "true"
    standing = spark.read.format("delta").option("versionAsOf", transaction.snapshot().version()).load(path)
    rows = changed_rows(
        standing.where(condition),
        changes,
        identity=identity,
        moved=moved,
        order=order,
        has_feed=has_feed,
        are_few=are_few,
    )
    written = _values(transaction.writeFiles(rows._jdf))
    if has_feed and not any(file.getClass().getSimpleName() == "AddCDCFile" for file in written):
        return False  # a commit without a word for the feed would say that all rows came anew
    now = int(time.time() * 1000)
    actions = [file.removeWithTimestamp(now, True) for file in _values(replaced)] + written
    # of all that Delta records of a write: in which mode, and of which rows
    told = [jvm.org.apache.spark.sql.SaveMode.Overwrite, none, jvm.scala.Option.apply(condition), *[none] * 6]
    transaction.commit(_sequence(jvm, actions), getattr(delta, "DeltaOperations$Write")(*told))
    spark.catalog.refreshByPath(path)  # what Spark keeps of the table as it was is no answer any more
    return True


def changed_rows(
    standing: DataFrame,
    changes: DataFrame,
    *,
    identity: Sequence[str],
    moved: Sequence[str],
    order: Sequence[str],
    has_feed: bool,
    are_few: bool,
) -> DataFrame:
    """Return the rows as they are to be, and with a feed, besides, what it is to say, told by ``_change_type``.

    Parameters
    ----------
    standing : DataFrame
        The rows that there are. Those that stay keep their order where the changes are few; else they are sorted.
    changes : DataFrame
        As in :func:`change_rows`.
    """
    declared = [name for name in changes.columns if name != "change"]
    foreign = [name for name in standing.columns if name not in declared]
    to = F.struct(*(F.col(f"`{name}`") for name in moved)) if moved else F.lit(None)
    keys = changes.select(*identity, F.col("change").alias(_KIND), to.alias(_MOVED_TO))
    met = standing.join(F.broadcast(keys) if are_few else keys, list(identity), "left")

    def row(kind: str | None, is_moved: bool = False) -> Column:
        values = [
            F.col(f"{_MOVED_TO}.`{name}`").alias(name) if is_moved and name in moved else F.col(f"`{name}`")
            for name in standing.columns
        ]
        return F.struct(*values, *([F.lit(kind).cast("string").alias(_FEED)] if has_feed else []))

    untouched, was_moved = F.col(_KIND).isNull(), F.col(_KIND) == MOVED
    if has_feed:
        of_moved = F.array(row("update_preimage"), row("update_postimage", True), row(None, True))
        told = F.when(untouched, F.array(row(None))).when(was_moved, of_moved).otherwise(F.array(row("delete")))
    else:
        met = met.where(untouched | was_moved)
        told = F.when(untouched, F.array(row(None))).otherwise(F.array(row(None, True)))
    rows = met.select(F.explode(told).alias("row")).select("row.*")
    if not are_few:
        rows = rows.repartitionByRange(*order).sortWithinPartitions(*order)

    new = changes.where(F.col("change") == NEW).drop("change")
    if foreign:  # columns that somebody added: of a row that is replaced, what they say stays
        said = standing.select(*identity, *(F.col(f"`{name}`") for name in foreign))
        new = new.join(said, list(identity), "left")
    new = new.select(*(F.col(f"`{name}`") for name in standing.columns))
    new = new.repartitionByRange(*order).sortWithinPartitions(*order)
    if has_feed:
        new = new.withColumn(_FEED, F.explode(F.array(F.lit(None).cast("string"), F.lit("insert"))))
    return rows.unionByName(new)


def count_changes(changes: DataFrame, identity: Sequence[str], part: str) -> dict[tuple[str, str], int]:
    """Return how many changes there are, by part of the table and kind; the part is empty if it has none.

    Raises
    ------
    ValueError
        If two changes are of one row, or one is of a kind that there is not.
    """
    of = F.col(part) if part else F.lit("")
    rows = changes.groupBy(of.alias("part"), *identity)
    rows_of = rows.agg(F.min("change").alias("kind"), F.count("*").alias("n"))
    counts = rows_of.groupBy("part", "kind").agg(F.count("*").alias("rows"), F.max("n").alias("most"))
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
