"""Fitting a map to a sample of tracks: its layout, its clusters and their names, like those of the map before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from specrec.arrays import Float64Array
from specrec.embedding.statistics import LEVELS, MEASURES, measure
from specrec.map.clusters import NO_CLUSTER, assign, fit_clusters
from specrec.map.config import MapConfig
from specrec.map.layout import METHODS, fit_layout
from specrec.map.names import measures_named, name_clusters
from specrec.neighbours.kernel import has_direction

#: Columns of an earlier map that make a new one like it.
BEFORE = (*(f"{of}_{axis}" for of in ("pca", *METHODS) for axis in "xy"), "cluster", "cluster_name")
#: Columns of the catalogue that clusters are named by.
ATTRIBUTES = tuple(name for name in measures_named() if name not in (*MEASURES, *LEVELS))


def fit_map(sample: pd.DataFrame, settings: MapConfig, with_tsne: bool, seed: int) -> tuple[dict[str, Any], float]:
    """Fit a map.

    Parameters
    ----------
    sample : DataFrame
        One row a track: ``vector`` and ``vector_key`` (:func:`specrec.map.spark.key_of_vector`), what
        :func:`specrec.embedding.statistics.measure` reads, ``levels``, :data:`ATTRIBUTES`, and :data:`BEFORE`, each
        named ``old_…``, null for tracks that the map before lacks. What comes out depends on the order of the
        rows: sort them by track_id.

    Returns
    -------
    arrays : those of :func:`~specrec.map.layout.fit_layout`, of the n tracks whose vectors have a direction;
        ``keys``, int64, of these and then of the others; and of each cluster its place on the map (``centroids``,
        float64), its number (``numbers``, int64) and its name (``names``).
    silhouette : of the clusters, -1 to 1.
    """
    vectors = np.stack(sample["vector"].to_list()).astype(np.float32)
    found = has_direction(vectors)
    placed, vectors = sample[found], vectors[found]
    before = {of: placed[[f"old_{of}_x", f"old_{of}_y"]].to_numpy(np.float64) for of in ("pca", *METHODS)}
    arrays = fit_layout(vectors, before, neighbours=settings.neighbours, with_tsne=with_tsne, seed=seed)
    points = arrays.get("umap", arrays["vectors"][:, :2]).astype(np.float64)
    old = placed["old_cluster"].fillna(NO_CLUSTER).to_numpy(np.int64)
    centroids, numbers, silhouette = fit_clusters(points, old, settings.min_clusters, settings.max_clusters, seed)
    labels = numbers[assign(points, centroids)[0]] if len(points) else old
    known = placed.dropna(subset="old_cluster")
    kept = dict(zip(known["old_cluster"].astype(int), known["old_cluster_name"], strict=True))
    names = name_clusters(labels, measures_of(placed), kept)
    keys = np.concatenate([sample["vector_key"][found], sample["vector_key"][~found]]).astype(np.int64)
    arrays |= {"keys": keys, "centroids": centroids, "numbers": numbers}
    arrays["names"] = np.array([names[number] for number in numbers.tolist()], dtype=np.str_)
    return arrays, silhouette


def measures_of(sample: pd.DataFrame) -> dict[str, Float64Array]:
    """Return what names are made of, NaN where unknown, shape (n,) each."""
    if sample.empty:
        return {}
    unknown = np.full(len(LEVELS), np.nan)
    levels = np.stack([unknown if row is None else np.asarray(row, np.float64) for row in sample["levels"]])
    attributes = {name: np.asarray(pd.to_numeric(sample[name]), np.float64) for name in ATTRIBUTES}
    known = measure(sample) | dict(zip(LEVELS, levels.T, strict=True)) | attributes
    return {name: known[name] for name in measures_named()}
