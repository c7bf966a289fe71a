"""Clusters of the map: k-means on its coordinates, as many as the silhouette says, with numbers that stay.

They are found on the plane and not in the space of the vectors. So they are seen as clusters, they agree better
with genres (README, "The map"), and a track that is placed on the map gets the cluster among whose tracks it lies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from specrec.arrays import Float64Array, Int64Array

#: A silhouette is taken of so many tracks at most, since it compares all of them with all.
_SILHOUETTE_TRACKS = 5_000
#: By how much the silhouette of another number of clusters must be better for those of the last map to be given up.
_CLEARLY_BETTER = 0.1
_STARTS = 10
NO_CLUSTER = -1


def fit_clusters(
    points: Float64Array, before: Int64Array, least: int, most: int, seed: int
) -> tuple[Float64Array, Int64Array, float]:
    """Find clusters, and number those that were there before as they were.

    Parameters
    ----------
    points : float64, shape (n, 2)
    before : int64, shape (n,)
        Each track's cluster on the earlier map, :data:`NO_CLUSTER` where it has none.
    least, most : int
        How many clusters there may be. Where tracks are few there are fewer, of at least two tracks on average.
    seed : int
        Seed of k-means.

    Returns
    -------
    centroids : float64, shape (clusters, 2).
    numbers : int64, shape (clusters,): each one's number.
    silhouette : mean of a sample, -1 to 1 (Rousseeuw, 1987); 0 where there is but one cluster.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415
    from sklearn.metrics import pairwise_distances, silhouette_score  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    most = min(most, len(np.unique(points, axis=0)) // 2)
    if most < 2:
        centroids = points.mean(axis=0, keepdims=True) if len(points) else np.zeros((0, 2))
        return centroids, _numbers(np.zeros(len(points), np.int64), before, len(centroids)), 0.0
    chosen = np.random.default_rng(seed).permutation(len(points))[:_SILHOUETTE_TRACKS]
    distances = pairwise_distances(points[chosen])

    def fit(clusters: int, start: str | Float64Array = "k-means++") -> tuple[float, Float64Array]:
        starts = _STARTS if isinstance(start, str) else 1
        centroids = KMeans(clusters, init=start, n_init=starts, random_state=seed).fit(points).cluster_centers_
        labels = assign(points[chosen], centroids)[0]
        several = 1 < len(np.unique(labels)) < len(labels)
        return silhouette_score(distances, labels, metric="precomputed") if several else -1.0, centroids

    with threadpool_limits(1):  # sums over threads differ from run to run
        found = max((fit(k) for k in range(min(least, most), most + 1)), key=lambda of: of[0])
        old = [points[before == number].mean(axis=0) for number in np.unique(before) if number != NO_CLUSTER]
        if least <= len(old) <= most:
            kept = fit(len(old), np.stack(old))
            found = found if found[0] > kept[0] + _CLEARLY_BETTER else kept
    silhouette, centroids = found
    return centroids, _numbers(assign(points, centroids)[0], before, len(centroids)), float(silhouette)


def assign(points: npt.NDArray[np.floating], centroids: Float64Array) -> tuple[Int64Array, Float64Array]:
    """Return the nearest centroid of each point, by its place, and the distance to it; ties go to the first.

    Examples
    --------
    >>> nearest, distances = assign(np.array([[0.0, 3.0]]), np.array([[9.0, 0.0], [0.0, 0.0]]))
    >>> nearest.tolist(), distances.tolist()
    ([1], [3.0])
    """
    squares = [np.square(points.astype(np.float64) - centroid) for centroid in centroids]
    distances = np.sqrt(np.stack([of[:, 0] + of[:, 1] for of in squares], axis=1))
    nearest = distances.argmin(axis=1)
    return nearest, distances[np.arange(len(points)), nearest]


def _numbers(labels: Int64Array, before: Int64Array, clusters: int) -> Int64Array:
    """Return the number of each cluster: that of the old one whose tracks it has, or one that none had.

    Old and new are matched so that they share as many tracks as can be (Kuhn, "The Hungarian method", 1955). Tracks
    and not centroids, since the space itself may have changed. A pair that shares less than half of the smaller of
    the two is none.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

    known = before != NO_CLUSTER
    old = np.unique(before[known])
    shared = np.zeros((clusters, len(old)), np.int64)
    np.add.at(shared, (labels[known], np.searchsorted(old, before[known])), 1)
    numbers = np.full(clusters, NO_CLUSTER, np.int64)
    for new, place in zip(*linear_sum_assignment(-shared), strict=True):
        smaller = min(shared[new].sum(), shared[:, place].sum())
        if shared[new, place] and 2 * shared[new, place] >= smaller:
            numbers[new] = old[place]
    first = int(old.max(initial=NO_CLUSTER)) + 1
    fresh = numbers == NO_CLUSTER
    numbers[fresh] = first + np.arange(fresh.sum())
    return numbers
