"""Rows that a stage needs more than once: they are computed once, and planned once."""

from __future__ import annotations

from collections.abc import Collection

from pyspark import StorageLevel
from pyspark.sql import DataFrame

#: So many rows of names and hashes are few: they are brought to this process, and sent from there to every task.
FEW = 100_000


def here(rows: DataFrame) -> DataFrame:
    """Return few rows from this process: what they were made of is then not read again whenever they are needed."""
    return rows.sparkSession.createDataFrame(rows.toArrow(), rows.schema)


class Kept:
    """Rows that are kept on executors' disks until the block ends, or they are let go.

    What is made of kept rows does not carry the plan that made them. Spark keeps the plan of a frame in each frame
    made of it, once for each time that it is named: where one step of many builds upon the last, minutes go into
    the plan of what runs for a second, and gigabytes into its description. Rows that are lost with an executor are
    computed again, as those of any cached frame; those of a local checkpoint are not.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[DataFrame, DataFrame]] = []

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def keep(self, rows: DataFrame) -> DataFrame:
        """Return the same rows; they are kept once something made them."""
        return self._add(rows.persist(StorageLevel.DISK_ONLY))

    def count(self, rows: DataFrame) -> tuple[DataFrame, int]:
        """Make rows now, and return the same rows and how many there are.

        Spark then knows how large they are, and sends them to every executor where they are few: what they are
        joined with is then not shuffled.
        """
        cached = rows.persist(StorageLevel.DISK_ONLY)
        count = cached.count()  # before the leaf is made, which takes over what is known of the size
        return self._add(cached), count

    def _add(self, cached: DataFrame) -> DataFrame:
        leaf = _without_plan(cached)
        self._rows.append((cached, leaf))
        return leaf

    def let_go(self, but: Collection[DataFrame] = ()) -> None:
        """Let all of them go but some."""
        kept = []
        for cached, leaf in self._rows:
            if any(leaf is other for other in but):
                kept.append((cached, leaf))
            else:
                cached.unpersist()
        self._rows = kept


def _without_plan(cached: DataFrame) -> DataFrame:
    """Return the rows of a cached frame as a leaf: what is planned upon it ends there.

    ``DataFrame.localCheckpoint`` does the same with a copy of the rows, which Spark cannot compute again.
    """
    spark = cached.sparkSession
    assert spark._jvm is not None
    sql = spark._jvm.org.apache.spark.sql
    leaves = getattr(getattr(sql.execution, "LogicalRDD$"), "MODULE$")
    leaf = leaves.fromDataset(cached._jdf.queryExecution().toRdd(), cached._jdf, False)
    return DataFrame(sql.classic.Dataset.ofRows(spark._jsparkSession, leaf), spark)
