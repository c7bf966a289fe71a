"""The map in Spark: vectors in, coordinates and clusters out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.map.clusters import assign
from specrec.map.layout import METHODS, place, project
from specrec.neighbours.kernel import has_direction

Frames = Iterator[pd.DataFrame]

_COORDINATES = [f"{method}_{axis}" for method in ("pca", *METHODS) for axis in "xy"]
SCHEMA = (
    f"track_id string, input_hash string, {', '.join(f'{name} float' for name in _COORDINATES)}, "
    "cluster int, cluster_name string, cluster_distance float"
)


def key_of_vector() -> Column:
    """Return what tells whether a track has the vector that the map was fitted on, from ``embeddings``."""
    return F.xxhash64("track_id", "input_hash")


def place_tracks(embeddings: DataFrame, arrays: dict[str, Any], neighbours: int) -> DataFrame:
    """Return where tracks lie on a map; see :data:`SCHEMA`.

    Those that it was fitted on lie where they were fitted. What has no direction lies nowhere: nulls.

    Parameters
    ----------
    embeddings : ``track_id, vector`` of the space that the map was fitted to, ``vector_key`` as of
        :func:`key_of_vector`, and ``input_hash``, which is passed on.
    arrays : the artefact's.
    neighbours : ``map.neighbours``.
    """
    return embeddings.mapInPandas(_place(arrays, neighbours), SCHEMA)


def _place(arrays: dict[str, Any], neighbours: int) -> Callable[[Frames], Frames]:
    keys, sample = arrays["keys"], arrays["vectors"]
    order = np.argsort(keys)
    fitted = {method: arrays[method] for method in METHODS if method in arrays}

    def of_batch(frame: pd.DataFrame) -> pd.DataFrame:
        vectors = np.stack(frame["vector"].to_list()).astype(np.float32)
        found = pd.DataFrame(np.nan, frame.index, _COORDINATES)
        found = found.assign(cluster=pd.Series(dtype="Int32"), cluster_name=None, cluster_distance=np.nan)
        placed = has_direction(vectors)
        if placed.any():
            columns = coordinates_of(vectors[placed], frame["vector_key"].to_numpy()[placed])
            found.loc[placed, columns.columns] = columns.to_numpy()
            labels, distances = assign(columns[plane_of(arrays)].to_numpy(), arrays["centroids"])
            found.loc[placed, "cluster"] = arrays["numbers"][labels]
            found.loc[placed, "cluster_name"] = arrays["names"][labels]
            found.loc[placed, "cluster_distance"] = distances
        return pd.concat([frame[["track_id", "input_hash"]], found], axis=1)

    def coordinates_of(vectors: Any, key: Any) -> pd.DataFrame:
        projected = project(vectors, arrays["mean"], arrays["axes"])
        columns = dict(zip(("pca_x", "pca_y"), projected[:, :2].T, strict=True))
        places = order[np.searchsorted(keys, key, sorter=order).clip(max=len(keys) - 1)]
        is_fitted = keys[places] == key
        for method, at in place(projected, sample, fitted, neighbours).items():
            at[is_fitted] = fitted[method][places[is_fitted]]
            columns |= {f"{method}_x": at[:, 0], f"{method}_y": at[:, 1]}
        return pd.DataFrame(columns)

    def of_batches(batches: Frames) -> Frames:
        return (of_batch(frame) for frame in batches if len(frame))

    return of_batches


def plane_of(arrays: dict[str, Any]) -> list[str]:
    """Return the coordinates that clusters are of: UMAP's, or the first two components where there are none."""
    method = "umap" if "umap" in arrays else "pca"
    return [f"{method}_x", f"{method}_y"]
