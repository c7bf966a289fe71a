"""How good the map of a warehouse is, and how well new tracks are placed: python tests/bench/map.py WAREHOUSE."""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.manifold import trustworthiness
from sklearn.metrics import normalized_mutual_info_score

from specrec.config import Config, load
from specrec.embedding.statistics import COLUMNS
from specrec.map.clusters import assign
from specrec.map.fit import ATTRIBUTES, BEFORE, fit_map
from specrec.map.layout import place, project
from specrec.neighbours.kernel import unit
from specrec.warehouse.reader import Reader

SHARES = (0.01, 0.1)
DRAWS = 3
SEED = 0

Array = npt.NDArray[Any]


def read(config: Config) -> pd.DataFrame:
    """The tracks of a warehouse, as a map is fitted on."""
    reader = Reader(config.warehouse, config.storage)

    def table(name: str, columns: list[str], space: str | None = None) -> pd.DataFrame:
        filters = [("space", "=", space)] if space else None
        return reader.table(name).to_pyarrow_table(columns=["track_id", *columns], filters=filters).to_pandas()

    tracks = (
        table("embeddings", ["vector"], config.map.space)
        .merge(table("embeddings", ["levels"], "spectrogram"))
        .merge(table("audio_features", list(COLUMNS)))
        .merge(table("tracks", ["track_genre", *ATTRIBUTES]))
        .sort_values("track_id", ignore_index=True)
    )
    tracks["vector_key"] = np.arange(len(tracks))
    return before(tracks, None)


def before(tracks: pd.DataFrame, arrays: dict[str, Array] | None) -> pd.DataFrame:
    """The tracks with the map that was there: that of `arrays`, of some of them."""
    tracks = tracks.assign(**{f"old_{name}": None if name == "cluster_name" else np.nan for name in BEFORE})
    if arrays is not None:
        at = arrays["keys"]
        points = {"pca": arrays["vectors"][:, :2], "umap": arrays["umap"], "tsne": arrays["tsne"]}
        for of, values in points.items():
            tracks.loc[at, [f"old_{of}_x", f"old_{of}_y"]] = values
        labels = assign(arrays["umap"], arrays["centroids"])[0]
        tracks.loc[at, "old_cluster"] = arrays["numbers"][labels]
        tracks.loc[at, "old_cluster_name"] = arrays["names"][labels]
    return tracks


def spread(points: Array) -> float:
    """How large a map is: the root mean square distance from its middle."""
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))


def numbers_at(points: Array, arrays: dict[str, Array]) -> Array:
    found: Array = arrays["numbers"][assign(points, arrays["centroids"])[0]]
    return found


def found_again(vectors: Array, points: Array, new: Array, count: int = 15) -> float:
    """Of the nearest of each new track in the space, the share that are among its nearest on the map."""
    nearest = []
    for of in (unit(vectors), points):
        apart = np.linalg.norm(of[new][:, None] - of, axis=2)
        apart[np.arange(len(new)), new] = np.inf
        nearest.append(apart.argsort(axis=1)[:, :count])
    return float(np.mean([len(np.intersect1d(a, b)) / count for a, b in zip(*nearest, strict=True)]))


def main(warehouse: str) -> None:
    warnings.simplefilter("ignore")
    config = load(None, [f"warehouse={warehouse}", "catalogue.path=none"])
    tracks = read(config)
    vectors = np.stack(tracks["vector"]).astype(np.float32)
    fit_map(tracks[:60], config.map, with_tsne=False, seed=SEED)  # compiles UMAP
    clock = time.monotonic()
    arrays, silhouette = fit_map(tracks, config.map, with_tsne=True, seed=SEED)
    print(f"{len(tracks)} tracks, fitted in {time.monotonic() - clock:.1f} s, silhouette {silhouette:.3f}")
    labels = numbers_at(arrays["umap"], arrays)
    for number, name in zip(arrays["numbers"], arrays["names"], strict=True):
        print(f"  {number} {name}: {np.mean(labels == number):.0%}")
    genre = tracks["track_genre"].notna().to_numpy()
    if genre.any():
        shared = normalized_mutual_info_score(tracks["track_genre"][genre], labels[genre])
        print(f"normalised mutual information of clusters and genres {shared:.2f}")
    points = {"PCA": arrays["vectors"][:, :2], "UMAP": arrays["umap"], "t-SNE": arrays["tsne"]}
    print(
        "trustworthiness",
        {of: round(trustworthiness(unit(vectors), xy, n_neighbors=15), 3) for of, xy in points.items()},
    )
    clock = time.monotonic()
    place(np.tile(arrays["vectors"], (8, 1)) + np.float32(1e-3), arrays["vectors"], {"": arrays["umap"]}, 15)
    print(f"placing: {1e3 * (time.monotonic() - clock) / (8 * len(tracks)):.2f} ms a track")
    for share in SHARES:
        print(
            f"{share:.0%} new:",
            pd.DataFrame([compare(tracks, vectors, config, share, i) for i in range(DRAWS)]).mean(),
        )


def compare(tracks: pd.DataFrame, vectors: Array, config: Config, share: float, draw: int) -> dict[str, float]:
    """Fit a map without some tracks, place these, and compare with a map that was fitted with them."""
    from umap import UMAP

    new = np.sort(np.random.default_rng(draw).permutation(len(tracks))[: max(round(share * len(tracks)), 1)])
    old = np.setdiff1d(np.arange(len(tracks)), new)
    first, _ = fit_map(tracks.iloc[old], config.map, with_tsne=True, seed=SEED)
    projected = project(vectors[new], first["mean"], first["axes"])
    placed = place(projected, first["vectors"], {"umap": first["umap"]}, config.map.neighbours)["umap"]
    again, _ = fit_map(before(tracks, first), config.map, with_tsne=True, seed=SEED)
    size = spread(again["umap"])
    whole = np.empty_like(again["umap"])
    whole[old], whole[new] = first["umap"], placed
    own = UMAP(n_neighbors=config.map.neighbours, init=first["umap"].copy(), random_state=SEED, n_jobs=1)
    theirs = own.fit_transform(first["vectors"])
    transformed = own.transform(projected)
    ours = place(projected, first["vectors"], {"": theirs}, config.map.neighbours)[""]
    by_transform = np.empty_like(whole)
    by_transform[old], by_transform[new] = theirs, transformed
    labels = numbers_at(whole, first), numbers_at(again["umap"], again)
    moved = np.linalg.norm(whole - again["umap"], axis=1) / size
    return {
        "old tracks that keep their cluster in a refit": np.mean(labels[0][old] == labels[1][old]),
        "new tracks placed in the cluster that a refit gives": np.mean(labels[0][new] == labels[1][new]),
        "median way from place to refit, new tracks, of the map's radius": np.median(moved[new]),
        "the same of old tracks": np.median(moved[old]),
        "median way to UMAP's transform, of the map's radius": np.median(
            np.linalg.norm(ours - transformed, axis=1) / spread(theirs)
        ),
        "neighbours found again: placed": found_again(vectors, whole, new),
        "neighbours found again: UMAP's transform": found_again(vectors, by_transform, new),
        "neighbours found again: refit": found_again(vectors, again["umap"], new),
    }


if __name__ == "__main__":
    pd.set_option("display.max_colwidth", 100)
    main(sys.argv[1])
