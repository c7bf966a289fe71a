"""Warehouses that hold given embeddings and nothing else: what the search is tested and timed on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import deltalake
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specrec.warehouse.schemas import TABLES

_ROWS_AT_ONCE = 1 << 15


def write_embeddings(
    warehouse: Path,
    space: str,
    ids: Sequence[str],
    vectors: npt.NDArray[np.float32],
    hashes: Sequence[str] | None = None,
) -> None:
    """Make these the embeddings of a space, in place of those it had.

    Parameters
    ----------
    hashes : tell which vectors changed; the vectors' own bytes if None.
    """
    schema = deltalake.Schema.from_json(TABLES["embeddings"].schema.json())
    arrow = pa.schema(schema.to_arrow())
    where = str(warehouse / "embeddings")
    deltalake.DeltaTable.create(where, schema, mode="ignore", partition_by=["space"])
    hashes = [str(hash(vector.tobytes())) for vector in vectors] if hashes is None else hashes

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            at = slice(start, start + _ROWS_AT_ONCE)
            some = vectors[at]
            offsets = pa.array(np.arange(len(some) + 1) * some.shape[1], pa.int32())
            columns = {
                "space": pa.array([space] * len(some)),
                "track_id": pa.array(ids[at]),
                "vector": pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(some).ravel())),
                "input_hash": pa.array(hashes[at]),
                "run_id": pa.array(["given"] * len(some)),
                "computed_at": pa.array([datetime.now(UTC)] * len(some)),
            }
            arrays = [columns.get(field.name, pa.nulls(len(some))).cast(field.type) for field in arrow]
            yield pa.RecordBatch.from_arrays(arrays, schema=arrow)

    rows = pa.RecordBatchReader.from_batches(arrow, batches())
    # row groups as Spark's: a reader holds a whole one, and delta-rs would make it a million rows
    properties = deltalake.WriterProperties(max_row_group_size=_ROWS_AT_ONCE)
    deltalake.write_deltalake(
        where, rows, mode="overwrite", predicate=f"space = '{space}'", writer_properties=properties
    )
