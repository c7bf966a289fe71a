"""A sample of the catalogue that does not depend on its order."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def sample_tracks(rows: DataFrame, size: int, seed: int) -> DataFrame:
    """Return at most `size` rows: those whose track_id hashes lowest with the seed. The result is bounded."""
    return rows.orderBy(F.xxhash64(F.lit(seed), F.col("track_id")), "track_id").limit(size)
