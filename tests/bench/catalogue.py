"""A large synthetic warehouse, with embeddings given, for `specrec nightly --stage neighbours --stage recommend`.

    python tests/bench/catalogue.py --like demo/warehouse --warehouse build/bench/large --tracks 100000

Each track mixes two tracks of a warehouse that a night has made: values, vectors and their parts by region alike,
so that everything that is linear in them, as the sums in explanations are, still holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import deltalake
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specrec.config import load

TABLES = ("tracks", "audio_features", "embeddings")
_ROWS_AT_ONCE = 5_000


@click.command(help=__doc__)
@click.option(
    "--like", type=click.Path(exists=True, path_type=Path), required=True, help="A warehouse to multiply."
)
@click.option("--warehouse", type=click.Path(path_type=Path), required=True, help="Where the large one goes.")
@click.option("--tracks", default=100_000, show_default=True)
def main(like: Path, warehouse: Path, tracks: int) -> None:
    shutil.rmtree(warehouse, ignore_errors=True)
    shutil.copytree(like / "artefacts", warehouse / "artefacts")
    features = _read(like, "audio_features")
    ids = features.column("track_id")
    rng = np.random.default_rng(0)
    one, other = rng.integers(len(ids), size=(2, tracks))
    share = rng.uniform(0.5, 1.0, tracks)
    weights = load(None, (f"warehouse={warehouse}",), needs_catalogue=False).embedding.hybrid_weights
    by_space = {space: _read(like, "embeddings", [("space", "=", space)]) for space in weights}
    by_space = {space: rows.take(pc.index_in(ids, rows.column("track_id"))) for space, rows in by_space.items()}

    def mixed(table: pa.Table) -> Callable[[slice], pa.Table]:
        return lambda at: _mix(table, one[at], other[at], share[at])

    def hybrid(at: slice) -> pa.Table:
        parts = {space: mixed(rows)(at) for space, rows in by_space.items()}
        total = sum(weights.values())
        vectors = [np.sqrt(weights[space] / total) * _unit(_matrix(parts[space], "vector")) for space in parts]
        rows = parts["features"].drop_columns(["vector", "space"])
        rows = rows.append_column("vector", _lists(np.hstack(vectors).astype(np.float32)))
        return rows.append_column("space", pa.array(["hybrid"] * rows.num_rows))

    tracks_of = _read(like, "tracks")
    tracks_of = tracks_of.take(pc.index_in(ids, tracks_of.column("track_id")))
    _write(like, warehouse, "tracks", tracks, mixed(tracks_of))
    _write(like, warehouse, "audio_features", tracks, mixed(features))
    for rows in by_space.values():
        _write(like, warehouse, "embeddings", tracks, mixed(rows))
    _write(like, warehouse, "embeddings", tracks, hybrid)
    print(f"{tracks} tracks in {warehouse}")


def _read(warehouse: Path, table: str, filters: list[tuple[str, str, Any]] | None = None) -> pa.Table:
    return deltalake.DeltaTable(str(warehouse / table)).to_pyarrow_table(filters=filters).combine_chunks()


def _mix(
    rows: pa.Table, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64], share: npt.NDArray[np.float64]
) -> pa.Table:
    """Mix floating-point columns, and lists of them; of all others, take the first of the two tracks'."""
    names = [f"{a}-{b}-{int(s * 1e9)}" for a, b, s in zip(one, other, share, strict=True)]
    columns = {}
    for name in rows.column_names:
        column = rows.column(name).combine_chunks()
        if name in {"track_id", "input_hash", "content_hash"}:
            columns[name] = pa.array(names)
        elif (
            pa.types.is_list(column.type)
            and column.null_count == 0
            and pa.types.is_floating(column.type.value_type)
        ):
            matrix = _matrix(rows, name)
            columns[name] = _lists(
                (share[:, None] * matrix[one] + (1 - share[:, None]) * matrix[other]).astype("f4")
            )
        elif pa.types.is_floating(column.type):
            values = column.to_numpy(zero_copy_only=False)
            columns[name] = pa.array(share * values[one] + (1 - share) * values[other]).cast(column.type)
        else:
            columns[name] = column.take(pa.array(one))
    return pa.table(columns)


def _matrix(rows: pa.Table, name: str) -> npt.NDArray[Any]:
    column = rows.column(name).combine_chunks()
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def _lists(matrix: npt.NDArray[Any]) -> pa.Array:
    offsets = pa.array(np.arange(len(matrix) + 1) * matrix.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(matrix).ravel()))


def _unit(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = matrix / np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    return found


def _write(like: Path, warehouse: Path, table: str, tracks: int, make: Callable[[slice], pa.Table]) -> None:
    old = deltalake.DeltaTable(str(like / table))
    schema, place = pa.schema(old.schema().to_arrow()), str(warehouse / table)
    partitions = list(old.metadata().partition_columns)
    deltalake.DeltaTable.create(place, old.schema(), mode="ignore", partition_by=partitions)

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, tracks, _ROWS_AT_ONCE):
            made = make(slice(start, min(start + _ROWS_AT_ONCE, tracks)))
            yield from made.select(schema.names).cast(schema).to_batches()

    properties = deltalake.WriterProperties(max_row_group_size=_ROWS_AT_ONCE)
    rows = pa.RecordBatchReader.from_batches(schema, batches())
    deltalake.write_deltalake(place, rows, mode="append", writer_properties=properties)


if __name__ == "__main__":
    main()
