"""What failed, with a reason: how rows come to stand in ``quarantine``."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.pipeline.run import Run
from specrec.warehouse.schemas import QUARANTINE

_KEY = ["track_id", "stage"]


def quarantine(run: Run, failed: DataFrame, *, is_new: bool = False) -> None:
    """Note that tracks failed, once more where they did before.

    Parameters
    ----------
    failed : DataFrame
        ``track_id, stage, code, message``, and of the table's other columns those that say something.
    is_new : bool
        Whether the table is known to have no row of these: they are added without looking.
    """
    now = F.lit(datetime.now(UTC))
    before = run.warehouse.read("quarantine").select(
        *_KEY, F.col("attempts").alias("old_attempts"), F.col("first_seen").alias("old_first")
    )
    if is_new:
        before = before.limit(0)
    counted = failed.join(before, _KEY, "left").withColumns(
        {
            "attempts": F.coalesce("old_attempts", F.lit(0)) + 1,
            "first_seen": F.coalesce("old_first", now),
            "last_seen": now,
            "run_id": F.lit(run.run_id),
        }
    )
    absent = [field for field in QUARANTINE.fields if field.name not in counted.columns]
    rows = counted.withColumns({field.name: F.lit(None).cast(field.dataType) for field in absent})
    write = run.warehouse.append if is_new else run.warehouse.upsert
    write("quarantine", rows.drop("old_attempts", "old_first"))
