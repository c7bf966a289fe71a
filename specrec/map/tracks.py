"""Where tracks lie on a map that was fitted: frames of vectors in, coordinates and clusters out. No Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from specrec.map.clusters import assign
from specrec.map.layout import METHODS, place, project
from specrec.neighbours.kernel import has_direction

Frames = Iterator[pd.DataFrame]

_COORDINATES = [f"{method}_{axis}" for method in ("pca", *METHODS) for axis in "xy"]
#: The columns of a track that was placed, in the words of SQL.
SCHEMA = (
    f"track_id string, input_hash string, {', '.join(f'{name} float' for name in _COORDINATES)}, "
    "cluster int, cluster_name string, cluster_distance float"
)


def placing(arrays: dict[str, Any], neighbours: int) -> Callable[[Frames], Frames]:
    """Return what places tracks on a map.

    Those that it was fitted on lie where they were fitted. What has no direction lies nowhere: nulls.

    Parameters
    ----------
    arrays : dict
        Those of the map's artefact; see :func:`specrec.map.fit.fit_map`.
    neighbours : int
        By how many tracks of the map a new one is placed: ``map.neighbours``.

    Returns
    -------
    callable
        Takes frames of ``track_id, vector, vector_key, input_hash``, and yields frames of the columns of
        :data:`SCHEMA`.
    """
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
    """Return the coordinates that clusters are of: UMAP's, or the first two components where there are none.

    Examples
    --------
    >>> plane_of({})
    ['pca_x', 'pca_y']
    """
    method = "umap" if "umap" in arrays else "pca"
    return [f"{method}_x", f"{method}_y"]
