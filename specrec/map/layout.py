"""Where tracks lie on the map: numpy arrays in, coordinates out.

A layout is fitted on a sample of unit vectors: their principal components, of which the first two are coordinates
and all are what the rest is made from; UMAP (McInnes, Healy & Melville, 2018) and t-SNE (van der Maaten & Hinton,
2008) of these. Any other track is placed at the weighted mean of its nearest tracks of the sample, the weights
being UMAP's own: this is where UMAP's ``transform`` starts from, before it moves new tracks by gradient descent. So
a place depends on a track and the sample alone, and no track moves because another came.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from specrec.arrays import Float64Array, Int64Array, Vectors
from specrec.neighbours.kernel import best_first, distances_of, unit

#: Distances are taken in so many principal components at most. On real music, 50 keep 0.999 of the neighbourhoods.
_COMPONENTS = 50
#: Fewest different vectors that UMAP and t-SNE are fitted to: of fewer they would be noise.
LEAST_TRACKS = 10
_PERPLEXITY = 30.0
#: float32 products of vectors of length 2 err by less than this, in squared distance.
_SLACK = np.float32(1e-4)
_PRODUCTS_AT_ONCE = 1 << 22
#: The methods whose coordinates are kept in the artefact. Those of PCA are components of the vectors.
METHODS = ("umap", "tsne")


def fit_layout(
    vectors: Vectors,
    before: dict[str, Float64Array],
    *,
    neighbours: int,
    with_tsne: bool,
    seed: int,
) -> dict[str, Any]:
    """Lay out a sample, as near to an earlier map as its data allow.

    UMAP starts from where the tracks were before, and what comes out is turned, mirrored and shifted onto it
    (:func:`align`); of PCA, only the signs of the axes are free.

    Parameters
    ----------
    vectors : float32, shape (n, dimensions)
        The sample; each vector has a direction.
    before : dict of str to float64, shape (n, 2)
        Coordinates on the earlier map, by the names ``pca``, ``umap`` and ``tsne``; NaN, or no such name, where
        there are none.
    neighbours : int
        How many neighbours UMAP looks at, at most, and tracks are placed by.
    with_tsne : bool
        Whether to fit t-SNE too, which takes time with the square of n.
    seed : int
        Seed of UMAP and t-SNE.

    Returns
    -------
    ``mean`` (dimensions,) and ``axes`` (components, dimensions), float64; ``vectors``, float32 (n, components); and
    ``umap`` and ``tsne``, float32 (n, 2), where there are :data:`LEAST_TRACKS` different vectors.
    """
    mean, axes = _fit_pca(unit(vectors).astype(np.float64))
    projected = project(vectors, mean, axes)
    if "pca" in before:
        signs = _signs(projected[:, :2], before["pca"])
        axes[:2] *= signs[:, None]
        projected[:, :2] *= signs.astype(np.float32)
    found: dict[str, Any] = {"mean": mean, "axes": axes, "vectors": projected}
    if len(np.unique(projected, axis=0)) < LEAST_TRACKS:
        return found
    old = before.get("umap", np.full((len(vectors), 2), np.nan))
    start = _start(projected, old, neighbours)
    found["umap"] = align(_fit_umap(projected, start, neighbours, seed), old)
    if with_tsne:
        found["tsne"] = align(_fit_tsne(projected, seed), before.get("tsne", np.full_like(old, np.nan)))
    return found


def project(vectors: Vectors, mean: Float64Array, axes: Float64Array) -> Vectors:
    """Return the principal components of unit vectors, float32, shape (rows, components).

    Each row depends on itself alone, to the last bit, however the catalogue is cut into batches.
    """
    centred = unit(vectors).astype(np.float64, order="C") - mean
    columns = [(centred * axis).sum(axis=1) for axis in axes]  # not a product of matrices: see kernel.cosine
    return np.stack(columns, axis=1).astype(np.float32)


def place(
    vectors: Vectors, sample: Vectors, coordinates: dict[str, Vectors], neighbours: int
) -> dict[str, Vectors]:
    """Return where vectors lie among a sample: at the weighted mean of their nearest.

    A vector that is one of the sample's lies where that one lies, as in UMAP.

    Parameters
    ----------
    vectors : float32, shape (rows, components)
        What :func:`project` returned.
    sample : float32, shape (n, components)
    coordinates : dict of str to float32, shape (n, 2)
        Those of the sample, by the name of the method.
    neighbours : int
        How many of the sample are averaged, at most.

    Returns
    -------
    float32, shape (rows, 2), by the same names.
    """
    if not len(vectors):
        return {name: np.zeros((0, 2), np.float32) for name in coordinates}
    at, distances = nearest(vectors, sample, neighbours)
    weights = memberships(distances)
    is_copy = distances[:, 0] == 0
    found = {}
    for name, values in coordinates.items():
        of_neighbours = values.astype(np.float64)[at]
        mean = np.stack([(weights * of_neighbours[..., axis].copy()).sum(axis=1) for axis in (0, 1)], axis=1)
        found[name] = np.where(is_copy[:, None], of_neighbours[:, 0], mean).astype(np.float32)
    return found


def nearest(vectors: Vectors, sample: Vectors, count: int) -> tuple[Int64Array, Float64Array]:
    """Return each vector's nearest of a sample, and their Euclidean distances; ties by the sample's order.

    Products in float32 choose candidates, generously, and distances in float64 settle them.

    Returns
    -------
    int64 and float64, shape (rows, min(count, n)), the nearest first.
    """
    count = min(count, len(sample))
    squares = np.square(sample).sum(axis=1)
    step = max(_PRODUCTS_AT_ONCE // len(sample), 1)
    places, distances = [], []
    for start in range(0, len(vectors), step):
        some = vectors[start : start + step]
        scores = squares - 2 * (some @ sample.T)
        limits = np.partition(scores, count - 1, axis=1)[:, count - 1 : count] + _SLACK
        rows, columns = np.nonzero(scores <= limits)
        found = distances_of(some, rows, sample, columns)
        best = best_first(rows, -found, columns, count)
        places.append(columns[best].reshape(-1, count))
        distances.append(found[best].reshape(-1, count))
    return np.concatenate(places), np.concatenate(distances)


def memberships(distances: Float64Array) -> Float64Array:
    """Return the weights of neighbours, as UMAP's ``transform`` has them, scaled to sum to 1.

    A weight is ``exp(-distance / sigma)``, with sigma such that those of all but the nearest sum to the logarithm
    of their number to base 2, and at least a thousandth of the mean distance.

    Parameters
    ----------
    distances : float64, shape (rows, neighbours)
        Each row ascending.

    Examples
    --------
    >>> memberships(np.array([[1.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """
    target = np.log2(max(distances.shape[1], 2))
    low, high = np.zeros((len(distances), 1)), np.full((len(distances), 1), np.inf)
    sigma = np.ones((len(distances), 1))
    for _ in range(64):  # bisection, for all rows at once
        is_over = np.exp(-distances[:, 1:] / sigma).sum(axis=1, keepdims=True) > target
        low, high = np.where(is_over, low, sigma), np.where(is_over, sigma, high)
        sigma = np.where(np.isinf(high), sigma * 2, (low + high) / 2)
        sigma = np.maximum(sigma, 1e-300)
    sigma = np.maximum(sigma, 1e-3 * distances.mean(axis=1, keepdims=True))
    weights = np.exp(-(distances - distances[:, :1]) / sigma)  # that of the nearest is 1, so no sum is zero
    scaled: Float64Array = weights / weights.sum(axis=1, keepdims=True)
    return scaled


def align(coordinates: Vectors, before: Float64Array) -> Vectors:
    """Turn, mirror and shift a map onto an earlier one, by the tracks of both; distances stay.

    Orthogonal Procrustes analysis (Schönemann, 1966).

    Parameters
    ----------
    coordinates : float32, shape (n, 2)
    before : float64, shape (n, 2)
        NaN for tracks that were not there. If fewer than two were, nothing is done.

    Examples
    --------
    >>> before = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> turned = before @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 5.0
    >>> align(turned.astype(np.float32), before).round(3) + 0.0
    array([[0., 0.],
           [2., 0.],
           [0., 1.]], dtype=float32)
    """
    from scipy.linalg import orthogonal_procrustes  # noqa: PLC0415

    known = np.isfinite(before).all(axis=1)
    if known.sum() < 2:
        return coordinates
    ours, theirs = coordinates[known].astype(np.float64), before[known]
    turn, _ = orthogonal_procrustes(ours - ours.mean(axis=0), theirs - theirs.mean(axis=0))
    aligned: Vectors = ((coordinates - ours.mean(axis=0)) @ turn + theirs.mean(axis=0)).astype(np.float32)
    return aligned


def _fit_pca(vectors: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the mean and the axes, at least two: of zeros where there are no more.

    Of an axis and its negative that one is taken whose largest weight is positive.
    """
    dimensions = vectors.shape[1]
    mean = vectors.mean(axis=0) if len(vectors) else np.zeros(dimensions)
    centred = vectors - mean
    variances, columns = np.linalg.eigh(centred.T @ centred)
    kept = variances > 1e-12 * max(variances[-1], len(vectors))
    axes = columns[:, kept].T[::-1][:_COMPONENTS]
    strongest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), strongest])[:, None]
    return mean, np.concatenate([axes, np.zeros((max(2 - len(axes), 0), dimensions))])


def _signs(coordinates: Vectors, before: Float64Array) -> Float64Array:
    """Return 1, or -1 where an axis points the other way than before, shape (2,)."""
    known = np.isfinite(before).all(axis=1)
    if known.sum() < 2:
        return np.ones(2)
    ours, theirs = coordinates[known] - coordinates[known].mean(axis=0), before[known] - before[known].mean(axis=0)
    return np.where((ours * theirs).sum(axis=0) < 0, -1.0, 1.0)


def _start(projected: Vectors, before: Float64Array, neighbours: int) -> Vectors:
    """Return where UMAP starts: where tracks were, new ones among these; the first two components if none was."""
    known = np.isfinite(before).all(axis=1)
    if known.sum() < LEAST_TRACKS:
        return projected[:, :2].copy()
    start = before.astype(np.float32)
    start[~known] = place(projected[~known], projected[known], {"": start[known]}, neighbours)[""]
    return start


def _fit_umap(projected: Vectors, start: Vectors, neighbours: int, seed: int) -> Vectors:
    """Return UMAP's coordinates. The neighbours are found by comparing all with all, which is exact."""
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no search index, which only its own transform would need
        from umap import UMAP  # noqa: PLC0415 (seconds)

        at, distances = nearest(projected, projected, min(neighbours, len(projected)))
        fitted = UMAP(
            n_neighbors=at.shape[1],
            init=start,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(at.astype(np.int32), distances.astype(np.float32), None),
            force_approximation_algorithm=True,  # below 4,096 rows it would not use the precomputed neighbours
        ).fit_transform(projected)
    coordinates: Vectors = fitted.astype(np.float32)
    return coordinates


def _fit_tsne(projected: Vectors, seed: int) -> Vectors:
    """Return t-SNE's coordinates, from a start at the first components (Kobak & Berens, 2019), on one thread."""
    from sklearn.manifold import TSNE  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    start = projected[:, :2] / max(float(projected[:, 0].std()), 1e-12) * 1e-4
    perplexity = min(_PERPLEXITY, (len(projected) - 1) / 3)
    with threadpool_limits(1):  # sums over threads differ from run to run
        tsne = TSNE(perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
        coordinates: Vectors = tsne.fit_transform(projected).astype(np.float32)
    return coordinates
