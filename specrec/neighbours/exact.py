"""Exact neighbours: every block of tracks against every block, merged. Nothing gathers the catalogue.

The work is N² products of vectors, cut into (N / block_rows)² independent pairs of blocks; what is held at once is
two blocks and their similarities. Each block travels once to each block that it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from specrec.neighbours.kernel import best_first, euclidean, in_slices, top_pairs

Frames = Iterator[pd.DataFrame]

_BLOCK_SCHEMA = "space string, block int, ids array<string>, vectors binary"
_PAIR_SCHEMA = "space string, track_id string, neighbour_id string, cosine double, euclidean double"


def exact_neighbours(embeddings: DataFrame, top_n: int, block_rows: int) -> DataFrame:
    """Return each track's nearest tracks: ``space, track_id, rank, neighbour_id, cosine, euclidean``.

    The result does not depend on `block_rows`, nor on partitions: cosines are computed in float64 from the two
    vectors alone, and equal ones are ordered by neighbour_id.

    Parameters
    ----------
    embeddings : ``space``, ``track_id`` and ``vector`` of one or more spaces; in each, vectors of one length.
    top_n : neighbours a track; fewer where there are fewer tracks.
    block_rows : about how many tracks make a block.
    """
    tracks = embeddings.groupBy("space").count().agg(F.max("count")).first()
    n_blocks = max(math.ceil(((tracks[0] if tracks else None) or 0) / block_rows), 1)
    block = F.pmod(F.xxhash64("track_id"), F.lit(n_blocks)).cast("int")
    blocks = (
        embeddings.select("space", block.alias("block"), "track_id", "vector")
        .groupBy("space", "block")
        .applyInPandas(_as_block, _BLOCK_SCHEMA)
    )
    queries = blocks.withColumnsRenamed({"ids": "query_ids", "vectors": "query_vectors"})
    items = blocks.withColumn("block", F.explode(F.sequence(F.lit(0), F.lit(n_blocks - 1))))
    pairs = queries.join(items, ["space", "block"]).mapInPandas(_search(top_n), _PAIR_SCHEMA)
    nearest = Window.partitionBy("space", "track_id").orderBy(F.desc("cosine"), "neighbour_id")
    ranked = pairs.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= top_n)
    return ranked.select("space", "track_id", "rank", "neighbour_id", "cosine", "euclidean")


def _as_block(rows: pd.DataFrame) -> pd.DataFrame:
    vectors = np.stack(rows["vector"].to_list()).astype(np.float32)
    return pd.DataFrame(
        {
            "space": rows["space"].iloc[:1],
            "block": rows["block"].iloc[:1],
            "ids": [rows["track_id"].to_list()],
            "vectors": [vectors.tobytes()],
        }
    )


def _search(top_n: int) -> Callable[[Frames], Frames]:
    def search(batches: Frames) -> Frames:
        key, found = None, pd.DataFrame()
        for batch in batches:
            for pair in batch.itertuples(index=False):  # a pair of blocks, not of tracks
                nearest = _nearest(pair, top_n)
                if key == (pair.space, pair.block):  # pairs of one block arrive together: keep only the best so far
                    merged = pd.concat([found, nearest], ignore_index=True)
                    tracks = merged["track_id"].factorize()[0]
                    ties = merged["neighbour_id"].to_numpy(object)
                    found = merged.iloc[best_first(tracks, merged["cosine"].to_numpy(), ties, top_n)]
                else:
                    if len(found):
                        yield found
                    key, found = (pair.space, pair.block), nearest
        if len(found):
            yield found

    return search


def _nearest(pair: Any, top_n: int) -> pd.DataFrame:
    query_ids, item_ids = np.array(pair.query_ids, object), np.array(pair.ids, object)
    queries = np.frombuffer(pair.query_vectors, np.float32).reshape(len(query_ids), -1)
    items = np.frombuffer(pair.vectors, np.float32).reshape(len(item_ids), -1)
    rows, columns, cosines = top_pairs(queries, items, query_ids, item_ids, top_n)
    return pd.DataFrame(
        {
            "space": pair.space,
            "track_id": query_ids[rows],
            "neighbour_id": item_ids[columns],
            "cosine": cosines,
            "euclidean": in_slices(euclidean, queries, rows, items, columns),
        }
    )
