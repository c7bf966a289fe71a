"""What a search is worth: its recall on a sample of tracks, against comparing them with every track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from specrec.arrays import Vectors

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
