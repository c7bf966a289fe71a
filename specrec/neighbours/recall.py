"""What a search is worth: its recall on a sample of tracks, against comparing them with every track."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import Vectors
from specrec.neighbours.kernel import Items, Queries, best_first, search
from specrec.neighbours.search import Batches, packed_tracks

#: A neighbour of a track, and the cell that the neighbour lies in, in the words of SQL.
TRUTH = "space string, track_id string, neighbour_id string, cosine double, cell int"
#: Cosines that differ by less than this are the same: of copies of a track any may stand for another.
_TIE = 1e-9


@dataclass(frozen=True)
class Recall:
    """Mean recall@N over a sample, with the half-width of its 95 % confidence interval over tracks."""

    mean: float
    margin: float
    tracks: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.margin:.4f} ({self.tracks} tracks)"


def matrix_of(tracks: pd.DataFrame) -> Vectors:
    """Return the column ``vector`` as an array, float32, shape (rows, dimensions)."""
    return np.stack(tracks["vector"].to_list()).astype(np.float32)


def recall(found: pd.DataFrame, truth: pd.DataFrame) -> Recall:
    """Return the share of true neighbours that were found, or others in their place that are as near.

    Parameters
    ----------
    found, truth : DataFrame
        ``track_id`` and ``cosine`` of the lists found and of the true ones, of one space.

    Examples
    --------
    >>> truth = pd.DataFrame({"track_id": ["a", "a"], "cosine": [0.9, 0.8]})
    >>> print(recall(truth.head(1), truth))
    0.5000 ± 0.0000 (1 tracks)
    """
    last = truth.groupby("track_id")["cosine"].agg(["min", "size"])
    near = found["cosine"] >= found["track_id"].map(last["min"]) - _TIE
    hits = found[near].groupby("track_id").size()
    shares = (hits.reindex(last.index, fill_value=0) / last["size"]).clip(upper=1.0).to_numpy()
    if not len(shares):
        return Recall(1.0, 0.0, 0)
    spread = shares.std(ddof=1) if len(shares) > 1 else 0.0
    return Recall(float(shares.mean()), float(1.96 * spread / np.sqrt(len(shares))), len(shares))


def comparing_with_all(samples: Mapping[str, pd.DataFrame], top_n: int) -> Callable[[Batches], Batches]:
    """Return what compares samples with all tracks of a task.

    Parameters
    ----------
    samples : mapping of DataFrame
        ``track_id, vector`` of some tracks, by space.
    top_n : int
        How many neighbours a track has.

    Returns
    -------
    callable
        Takes packed tracks, and yields rows of :data:`TRUTH`: the nearest of the task's tracks.
    """
    vectors = {space: matrix_of(rows) for space, rows in samples.items()}
    ids = {space: rows["track_id"].to_numpy(object) for space, rows in samples.items()}

    def compare(batches: Batches) -> Batches:
        best: dict[str, pd.DataFrame] = {}
        for space, items in packed_tracks(batches):
            if space not in vectors:
                continue
            found = _nearest(ids[space], vectors[space], items, top_n)
            if space in best:
                found = pd.concat([best[space], found], ignore_index=True)
                row, cosine, tie = (found[name].to_numpy() for name in ("row", "cosine", "neighbour_id"))
                order = best_first(row, cosine, tie, top_n)
                found = found.iloc[order]
            best[space] = found
        for space, found in best.items():
            named = found.assign(space=space, track_id=ids[space][found["row"]])
            columns = ["space", "track_id", "neighbour_id", "cosine", "cell"]
            yield pa.RecordBatch.from_pandas(named[columns], preserve_index=False)

    return compare


def _nearest(ids: npt.NDArray[Any], vectors: Vectors, items: Items, top_n: int) -> pd.DataFrame:
    """Compare some tracks with all items, as if these lay in one cell."""
    one_cell = Items(items.ids, items.vectors, np.zeros(len(items.ids), np.int32), items.floors)
    queries = Queries(
        vectors=vectors,
        thresholds=np.full(len(ids), -np.inf),
        own=pc.index_in(pa.array(ids, pa.string()), items.ids).fill_null(-1).to_numpy().astype(np.int64),
        is_new=np.zeros(len(ids), bool),
        probe_rows=np.arange(len(ids), dtype=np.int32),
        probe_cells=np.zeros(len(ids), np.int32),
    )
    nearest, _ = search(queries, one_cell, top_n)
    return pd.DataFrame(
        {
            "row": nearest.rows,
            "neighbour_id": items.ids.take(pa.array(nearest.columns)).to_numpy(zero_copy_only=False),
            "cosine": nearest.cosines,
            "cell": items.cells[nearest.columns],
        }
    )
