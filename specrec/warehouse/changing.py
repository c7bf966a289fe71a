"""Some rows of a table are changed: its files are written anew in the order that they have, without a shuffle.

Delta's MERGE, where it inserts rows too, joins all rows of the table in full with the changes. It shuffles them,
with all that they say, so that a track's rows come to lie in all files, or else brings those of a whole partition
through one task. Here the table's rows meet no more than the keys of the changes, where they are, while these are
few enough to be sent to every executor; new rows become files of their own.

The commit is made by Delta's own transaction, as its commands make theirs: conflicts are found, and the change data
feed says what was deleted, changed and inserted. Delta does not publish that interface, so a new version of Delta
may need a look here.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.warehouse.schemas import MOVED, NEW

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
    part: str,
    parts: Collection[str],
    order: Sequence[str],
) -> None:
    """Insert, change and delete rows in one commit.

    Parameters
    ----------
    path : str
        The table's folder, as Spark takes it.
    changes : DataFrame
        The table's declared columns and ``change``, as :meth:`specrec.warehouse.tables.Warehouse.change` takes
        them; read twice.
    identity, moved : sequence of str
    part : str
        The column that the table is partitioned by; empty if it is not.
    parts : collection of str
        The values of `part` that changes are of: files of others are not looked at.
    order : sequence of str
        What new rows are sorted by.
    """
    spark = changes.sparkSession
    jvm: Any = spark._jvm
    none = getattr(getattr(jvm, "scala.None$"), "MODULE$")
    log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, path)
    transaction = log.startTransaction(none, none)
    condition = f"`{part}` in ({', '.join(map(_quoted, parts))})" if part else "true"
    predicate = spark._jsparkSession.sessionState().sqlParser().parseExpression(condition)
    replaced = transaction.filterFiles(_sequence(jvm, [predicate]), False)
    standing = spark.read.format("delta").option("versionAsOf", transaction.snapshot().version()).load(path)
    feed = transaction.metadata().configuration().get("delta.enableChangeDataFeed")
    has_feed = feed.isDefined() and feed.get().lower() == "true"
    rows = changed_rows(
        standing.where(condition),
        changes,
        identity=identity,
        moved=moved,
        order=order,
        has_feed=has_feed,
        are_few=changes.count() <= FEW,
    )
    written = transaction.writeFiles(rows._jdf)
    now = int(time.time() * 1000)
    actions = [replaced.apply(number).removeWithTimestamp(now, True) for number in range(replaced.size())]
    actions += [written.apply(number) for number in range(written.size())]
    some = jvm.scala.Option.apply
    # of all that Delta records: in which mode, and of which rows
    told = [jvm.org.apache.spark.sql.SaveMode.Overwrite, none, some(condition), *[none] * 6]
    write = getattr(jvm.org.apache.spark.sql.delta, "DeltaOperations$Write")(*told)
    transaction.commit(_sequence(jvm, actions), write)


def changed_rows(
    standing: DataFrame,
    changes: DataFrame,
    *,
    identity: Sequence[str],
    moved: Sequence[str],
    order: Sequence[str],
    has_feed: bool,
    are_few: bool = True,
) -> DataFrame:
    """Return the rows as they are to be, and with a feed, besides, what it is to say, told by ``_change_type``.

    Parameters
    ----------
    standing : DataFrame
        The rows that there are. Those that stay keep their order where the changes are few; else they are sorted.
    changes : DataFrame
        As in :func:`change_rows`.
    are_few : bool
        Whether the keys of the changes may be sent to every executor.
    """
    columns, known = standing.columns, set(changes.columns)
    to = F.struct(*(F.col(f"`{name}`") for name in moved)) if moved else F.lit(None)
    keys = changes.select(*identity, F.col("change").alias(_KIND), to.alias(_MOVED_TO))
    met = standing.join(F.broadcast(keys) if are_few else keys, list(identity), "left")

    def row(kind: str | None, is_moved: bool = False) -> Column:
        values = [
            F.col(f"{_MOVED_TO}.`{name}`").alias(name) if is_moved and name in moved else F.col(f"`{name}`")
            for name in columns
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

    # of columns that somebody added to the table, nothing is known
    values = [F.col(f"`{of.name}`") if of.name in known else F.lit(None).cast(of.dataType).alias(of.name)
              for of in standing.schema.fields]  # fmt: skip
    new = changes.where(F.col("change") == NEW).select(*values)
    new = new.repartitionByRange(*order).sortWithinPartitions(*order)
    if has_feed:
        both = F.array(F.lit(None).cast("string"), F.lit("insert"))
        new = new.withColumn(_FEED, F.explode(both))
    return rows.unionByName(new)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _sequence(jvm: Any, values: Sequence[Any]) -> Any:
    """Return a sequence of Scala's."""
    found = jvm.java.util.ArrayList()
    for value in values:
        found.add(value)
    return jvm.scala.jdk.javaapi.CollectionConverters.asScala(found).toSeq()
