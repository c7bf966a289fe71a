"""The map's parts, on given vectors: layouts, places, clusters and their names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import adjusted_rand_score

from specrec.embedding.statistics import COLUMNS, LEVELS, MEASURES
from specrec.map import names as N
from specrec.map.clusters import NO_CLUSTER, assign, fit_clusters
from specrec.map.config import MapConfig
from specrec.map.draw import draw
from specrec.map.fit import ATTRIBUTES, BEFORE, fit_map
from specrec.map.layout import LEAST_TRACKS, align, fit_layout, memberships, nearest, place, project
from specrec.map.tracks import SCHEMA, placing, plane_of
from specrec.warehouse.schemas import TABLES, TRACK_ATTRIBUTES

GROUPS = 5


def _vectors(rows: int, dimensions: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around five directions, and of which."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(GROUPS, dimensions))
    group = random.integers(GROUPS, size=rows)
    return (centres[group] + random.normal(scale=0.35, size=(rows, dimensions))).astype(np.float32), group


def _sample(vectors: np.ndarray, loud: np.ndarray | None = None) -> pd.DataFrame:
    """What a map is fitted on; `loud` alone tells the tracks apart."""
    rows = len(vectors)
    loud = np.zeros(rows) if loud is None else loud
    scalar = {name: np.ones(rows) for name in COLUMNS}
    lists = {name: [np.ones(3)] * rows for name in ("spectral_contrast_mean", "mfcc_std")}
    frame = pd.DataFrame({"track_id": [f"t{i:03}" for i in range(rows)], **scalar, **lists})
    frame["rms_mean"] = 0.1 * 2.0**loud
    frame["vector"], frame["vector_key"] = list(vectors), np.arange(rows) * 7 - 3
    frame["levels"] = [None] * rows
    for name in ATTRIBUTES:
        frame[name] = None
    for name in BEFORE:
        frame[f"old_{name}"] = None if name == "cluster_name" else np.nan
    return frame


def _fit(sample: pd.DataFrame, **settings) -> dict:
    return fit_map(sample, MapConfig(**settings), with_tsne=True, seed=0)[0]


def _rows(arrays: dict, sample: pd.DataFrame, batches: int = 1) -> pd.DataFrame:
    frame = sample[["track_id", "vector", "vector_key"]].assign(input_hash="h")
    parts = [frame.iloc[at] for at in np.array_split(np.arange(len(frame)), batches)]
    return pd.concat(placing(arrays, 15)(iter(parts)), ignore_index=True)


def _after(sample: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The sample, with a map that was there before."""
    before = rows.set_index("track_id").reindex(sample["track_id"])
    return sample.assign(**{f"old_{name}": before[name].to_numpy() for name in BEFORE})


@pytest.fixture(scope="module")
def fitted() -> tuple[dict, pd.DataFrame, np.ndarray]:
    vectors, group = _vectors(120)
    sample = _sample(vectors, loud=group.astype(float))
    return _fit(sample), sample, group


# --- layouts ------------------------------------------------------------------------------------------------


def test_a_layout_shows_what_lies_together(fitted):
    arrays, sample, group = fitted
    assert len(arrays["names"]) == GROUPS
    rows = _rows(arrays, sample)
    assert adjusted_rand_score(group, rows["cluster"]) > 0.95
    for method in ("umap", "tsne"):
        points = rows[[f"{method}_x", f"{method}_y"]].to_numpy()
        apart = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(len(points), np.inf))
        assert (group[apart.argmin(axis=1)] == group).mean() > 0.95


def test_the_same_sample_gives_the_same_map_to_the_last_bit(fitted):
    arrays, sample, _ = fitted
    again = _fit(sample)
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_components_are_those_of_the_unit_vectors_however_rows_are_batched(fitted):
    arrays, sample, _ = fitted
    vectors = np.stack(sample["vector"])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    _, singular, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    projected = project(vectors, arrays["mean"], arrays["axes"])
    np.testing.assert_allclose(np.linalg.norm(projected, axis=0), singular, rtol=1e-4)
    one_by_one = np.concatenate([project(row[None], arrays["mean"], arrays["axes"]) for row in vectors])
    np.testing.assert_array_equal(one_by_one, projected)


def test_a_map_is_turned_onto_the_one_before():
    random = np.random.default_rng(1)
    old = random.normal(size=(50, 2))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) @ np.diag([1.0, -1.0])  # turned and mirrored
    new = (old @ turn + [5, -3]).astype(np.float32)
    known = old.copy()
    known[40:] = np.nan  # ten tracks are new
    np.testing.assert_allclose(align(new, known), old, atol=1e-5)
    np.testing.assert_array_equal(align(new, np.full_like(old, np.nan)), new)


# --- places -------------------------------------------------------------------------------------------------


def test_places_are_where_transform_of_umap_starts():
    umap = pytest.importorskip("umap.umap_")
    vectors, _ = _vectors(200)
    sample, new = vectors[:150], vectors[150:]
    coordinates = np.random.default_rng(2).normal(size=(150, 2)).astype(np.float32)
    at, distances = nearest(new, sample, 15)
    exact = np.linalg.norm(new[:, None].astype(float) - sample, axis=2)
    np.testing.assert_array_equal(at, np.argsort(exact, axis=1)[:, :15])
    distances32 = distances.astype(np.float32)
    sigmas, rhos = umap.smooth_knn_dist(distances32, 15.0, local_connectivity=0.0)
    _, _, weights, _ = umap.compute_membership_strengths(
        at.astype(np.int32), distances32, sigmas, rhos, bipartite=True
    )
    weights = weights.reshape(at.shape)
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(memberships(distances), weights, atol=1e-4)
    expected = (weights[..., None] * coordinates[at]).sum(axis=1)
    np.testing.assert_allclose(place(new, sample, {"umap": coordinates}, 15)["umap"], expected, atol=1e-3)


def test_a_place_depends_on_its_track_alone(fitted):
    arrays, _, _ = fitted
    new = _sample(_vectors(60, seed=5)[0])
    new["vector_key"] += 100_000
    whole = _rows(arrays, new)
    assert list(whole.columns) == [part.split()[0] for part in SCHEMA.split(", ")]
    for batches in (7, 60):
        pd.testing.assert_frame_equal(_rows(arrays, new, batches), whole)
    order = np.random.default_rng(0).permutation(len(new))
    shuffled = _rows(arrays, new.iloc[order], 3).sort_values("track_id", ignore_index=True)
    pd.testing.assert_frame_equal(shuffled, whole)


def test_tracks_of_the_sample_lie_where_they_were_fitted_and_twins_with_them(fitted):
    arrays, sample, _ = fitted
    rows = _rows(arrays, sample.iloc[::-1], 9).iloc[::-1].reset_index(drop=True)
    np.testing.assert_array_equal(rows[["umap_x", "umap_y"]].to_numpy(np.float32), arrays["umap"])
    np.testing.assert_array_equal(rows[["tsne_x", "tsne_y"]].to_numpy(np.float32), arrays["tsne"])
    twins = _rows(arrays, sample.assign(vector_key=sample["vector_key"] + 100_000))
    pd.testing.assert_frame_equal(twins, rows)


def test_new_tracks_come_among_their_like(fitted):
    arrays, sample, group = fitted
    vectors, theirs = _vectors(60, seed=5)
    rows = _rows(arrays, _sample(vectors).assign(vector_key=np.arange(60) + 100_000))
    cluster_of = pd.Series(_rows(arrays, sample)["cluster"].to_numpy(), group).groupby(level=0).agg(pd.Series.mode)
    assert (rows["cluster"].to_numpy() == cluster_of[theirs].to_numpy()).mean() > 0.95


def test_many_copies_of_a_track_are_no_harm():
    vectors, _ = _vectors(40)
    sample = _sample(np.concatenate([vectors, np.repeat(vectors[:1], 80, axis=0)]))
    rows = _rows(_fit(sample), sample)
    assert np.isfinite(rows[["umap_x", "umap_y", "tsne_x", "tsne_y"]].to_numpy(float)).all()
    at, distances = nearest(vectors[:1], np.stack(sample["vector"]), 15)
    assert at.tolist() == [[0, *range(40, 54)]]  # equal ones in the sample's order
    assert not distances.any()


# --- little to lay out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, LEAST_TRACKS - 1])
def test_a_few_tracks_have_components_and_no_more(rows):
    sample = _sample(_vectors(rows)[0])
    found = _rows(_fit(sample), sample)
    assert np.isfinite(found[["pca_x", "pca_y", "cluster_distance"]].to_numpy(float)).all()
    assert found[["umap_x", "umap_y", "tsne_x", "tsne_y"]].isna().all(axis=None)
    assert found["cluster"].notna().all()
    assert found["cluster_name"].str.len().gt(0).all()
    another = _rows(_fit(sample), _sample(_vectors(5, seed=3)[0]).assign(vector_key=-1))
    assert np.isfinite(another[["pca_x", "pca_y"]].to_numpy(float)).all()


def test_ten_tracks_are_laid_out():
    sample = _sample(_vectors(LEAST_TRACKS)[0])
    found = _rows(_fit(sample), sample)
    assert np.isfinite(found[[name for name in found if name[-2:] in ("_x", "_y")]].to_numpy(float)).all()
    assert found["cluster"].nunique() > 1


def test_identical_vectors_are_one_point_and_one_cluster():
    sample = _sample(np.ones((30, 8), np.float32))
    found = _rows(_fit(sample), sample)
    np.testing.assert_allclose(found[["pca_x", "pca_y"]].to_numpy(float), 0, atol=1e-6)
    assert found["cluster"].tolist() == [0] * 30


def test_vectors_without_a_direction_lie_nowhere():
    vectors, _ = _vectors(30)
    vectors[[3, 17]] = 0
    vectors[20, 0] = np.nan
    sample = _sample(vectors)
    arrays = _fit(sample)
    assert len(arrays["vectors"]) == 27
    assert len(arrays["keys"]) == 30
    found = _rows(arrays, sample)
    nowhere = [name for name in found if name not in ("track_id", "input_hash")]
    assert found.loc[[3, 17, 20], nowhere].isna().all(axis=None)
    assert found.drop([3, 17, 20]).notna().all(axis=None)
    np.testing.assert_array_equal(
        found.drop([3, 17, 20])[["umap_x", "umap_y"]].to_numpy(np.float32), arrays["umap"]
    )


def test_a_catalogue_of_silence_has_rows_and_no_map():
    sample = _sample(np.zeros((4, 8), np.float32))
    arrays = _fit(sample)
    assert not len(arrays["vectors"])
    assert _rows(arrays, sample)["cluster"].isna().all()


# --- clusters -----------------------------------------------------------------------------------------------


def _blobs(rows: int, clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    group = random.integers(clusters, size=rows)
    angle = 2 * np.pi * np.arange(clusters) / clusters
    return 10 * np.c_[np.cos(angle), np.sin(angle)][group] + random.normal(size=(rows, 2)), group


@pytest.mark.parametrize("clusters", [3, 5, 8])
def test_the_silhouette_finds_how_many_clusters_there_are(clusters):
    points, group = _blobs(400, clusters)
    centroids, numbers, silhouette = fit_clusters(points, np.full(400, NO_CLUSTER), 2, 12, 0)
    assert sorted(numbers) == list(range(clusters))
    assert adjusted_rand_score(group, assign(points, centroids)[0]) > 0.99
    assert 0.5 < silhouette <= 1
    assert len(fit_clusters(points, np.full(400, NO_CLUSTER), 9, 12, 0)[1]) >= 9


def test_a_cluster_keeps_its_number_from_map_to_map():
    points, group = _blobs(300, 5)
    before = np.array([7, 3, 0, 12, 5])[group]
    before[::10] = NO_CLUSTER  # a tenth is new
    turned = points @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    centroids, numbers, _ = fit_clusters(turned, before, 3, 12, 0)
    labels = numbers[assign(turned, centroids)[0]]
    assert (labels == np.array([7, 3, 0, 12, 5])[group]).mean() > 0.99


def test_clusters_that_were_not_there_get_numbers_that_none_had():
    points, group = _blobs(300, 5)
    before = np.where(group < 2, 4, NO_CLUSTER)  # two of today's were one, and three are of new tracks
    centroids, numbers, _ = fit_clusters(points, before, 3, 12, 0)
    labels = numbers[assign(points, centroids)[0]]
    assert sorted(numbers) == [4, 5, 6, 7, 8]
    assert (group[labels == 4] < 2).all()


def test_as_many_clusters_as_before_unless_another_number_is_clearly_better():
    points, _ = _blobs(300, 5)
    loose = np.random.default_rng(0).normal(size=(300, 2))  # no number of clusters is better than another
    of_seven = assign(loose, fit_clusters(loose, np.full(300, NO_CLUSTER), 7, 7, 0)[0])[0]
    assert len(fit_clusters(loose, of_seven, 3, 12, 0)[1]) == 7
    of_three = assign(points, fit_clusters(points, np.full(300, NO_CLUSTER), 3, 3, 0)[0])[0]
    assert len(fit_clusters(points, of_three, 3, 12, 0)[1]) == 5
    assert len(fit_clusters(loose, of_seven, 3, 6, 0)[1]) <= 6  # more than there may be


def test_a_refitted_map_is_like_the_one_before(fitted):
    arrays, sample, _ = fitted
    before = _rows(arrays, sample)
    more = _sample(np.concatenate([np.stack(sample["vector"]), _vectors(30, seed=8)[0]]))
    refitted = _fit(_after(more, before))
    after = _rows(refitted, more)[: len(before)]
    assert (after["cluster"] == before["cluster"]).mean() > 0.95
    assert (
        dict(zip(arrays["numbers"], arrays["names"], strict=True)).items()
        <= dict(zip(refitted["numbers"], refitted["names"], strict=True)).items()
    )
    for of in ("pca", "umap"):  # neither turned nor mirrored
        old, new = (rows[[f"{of}_x", f"{of}_y"]].to_numpy(float) for rows in (before, after))
        assert all(np.corrcoef(old[:, axis], new[:, axis])[0, 1] > 0.7 for axis in (0, 1))


# --- names --------------------------------------------------------------------------------------------------


def _measures(**values) -> dict[str, np.ndarray]:
    rows = len(next(iter(values.values())))
    return {name: np.asarray(values.get(name, np.full(rows, np.nan)), float) for name in N.measures_named()}


def test_a_name_is_of_what_sets_a_cluster_apart():
    labels = np.repeat([0, 1, 2], 40)
    random = np.random.default_rng(0)
    noise = random.normal(scale=0.05, size=(2, 120))
    measures = _measures(
        acousticness=(labels == 0) + noise[0],
        energy=(labels == 1) - 1.0 * (labels == 0) + noise[1],
        valence=1.0 * (labels == 1) - (labels == 2),
        rms_mean=np.full(120, -20.0),  # the same for all: says nothing
    )
    names = N.name_clusters(labels, measures, {})
    assert set(names[0].split(" / ")) == {"Acoustic", "Low-Energy"}
    assert set(names[1].split(" / ")) == {"Energetic", "Happy"}
    assert "Sad" in names[2].split(" / ")


@pytest.mark.parametrize("seed", range(5))
def test_every_word_of_a_name_is_true_and_no_name_comes_twice(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(9, size=300)
    tilt = random.normal(size=(9, len(N.measures_named())))
    values = tilt[labels] + random.normal(scale=0.7, size=(300, tilt.shape[1]))
    values[random.random(values.shape) < 0.1] = np.nan
    measures = dict(zip(N.measures_named(), values.T, strict=True))
    names = N.name_clusters(labels, measures, {})
    assert sorted(names) == sorted(set(labels))
    assert len(set(names.values())) == len(names)
    words = {
        (word, side): (measure, family)
        for family, of in _words().items()
        for measure, sides in of.items()
        for side, word in sides.items()
    }
    for number, name in names.items():
        families = []
        for word in name.split(" / "):
            if word == "Mixed":
                continue
            ((side, measure, family),) = [(s, m, f) for (w, s), (m, f) in words.items() if w == word]
            rank = pd.Series(measures[measure]).dropna().rank(pct=True)
            share = rank[labels[rank.index] == number].median()
            assert share > 0.6 if side == "high" else share < 0.4
            families.append(family)
        assert len(set(families)) == len(families)


def test_names_that_clusters_have_are_kept_and_not_given_again():
    labels = np.repeat([0, 1, 2], 30)
    loud = _measures(rms_mean=np.repeat([1.0, 0.0, 2.0], 30))
    assert N.name_clusters(labels, loud, {})[2] == "Loud"
    kept = N.name_clusters(labels, loud, {0: "Loud", 9: "Quiet"})
    assert kept[0] == "Loud"
    assert kept[2] == "Mixed"
    assert kept[1] == "Quiet"  # 9 is there no more


def test_clusters_that_nothing_tells_apart_have_names_all_the_same():
    assert N.name_clusters(np.zeros(5, int), _measures(tempo=np.arange(5)), {}) == {0: "Mixed"}
    names = N.name_clusters(np.arange(9) % 3, _measures(tempo=np.full(9, np.nan)), {})
    assert sorted(names.values()) == ["Mixed", "Mixed (2)", "Mixed (3)"]
    assert N.name_clusters(np.zeros(0, int), {}, {}) == {}


def test_every_word_is_of_a_measure_that_there_is_and_says_one_thing():
    known = {*MEASURES, *LEVELS, *(field.name for field in TRACK_ATTRIBUTES)}
    assert set(N.measures_named()) <= known
    words = [word for of in _words().values() for sides in of.values() for word in sides.values()]
    assert len(set(words)) == len(words)


def _words() -> dict:
    from importlib.resources import files

    return yaml.safe_load((files("specrec.map") / "names.yaml").read_text(encoding="utf-8"))["words"]


# --- the picture ---------------------------------------------------------------------------------------------


def test_names_on_the_picture_do_not_cover_each_other():
    Figure = pytest.importorskip("matplotlib.figure").Figure
    from specrec.map.draw import _name

    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter([0, 1], [0, 1])
    _name(figure, axes, [(0.5 + 0.01 * i, 0.3 + 0.005 * (i % 3), f"Steady / Calm {i}", "red") for i in range(8)])
    figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in axes.texts]
    assert len(boxes) == 8
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# --- what it is made of -------------------------------------------------------------------------------------


def test_the_table_has_the_columns_that_are_computed():
    schema = [field.name for field in TABLES["map"].schema.fields]
    assert [part.split()[0] for part in SCHEMA.split(", ")] == [
        name for name in ("track_id", "input_hash", *schema[2:]) if name not in ("run_id", "computed_at")
    ][: len(SCHEMA.split(", "))]
    assert plane_of({}) == ["pca_x", "pca_y"]


def test_a_night_that_fits_no_map_does_not_import_umap():
    code = "import sys, specrec.pipeline.nightly; print('umap' in sys.modules, 'sklearn.manifold' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_layout_of_two_tracks_is_a_line():
    found = fit_layout(np.eye(2, 4, dtype=np.float32), {}, neighbours=15, with_tsne=True, seed=0)
    np.testing.assert_allclose(np.abs(found["vectors"]), [[np.sqrt(0.5), 0]] * 2, atol=1e-6)


@pytest.mark.parametrize("name", ["$\\frac{$", "costs $5 and $6", "\x1b[31m\n", "[live] {x}"])
def test_a_name_is_drawn_as_it_is_and_not_as_a_formula(tmp_path, name):
    points = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "cluster": 0, "cluster_name": name})
    draw(points, name, tmp_path / "map.png", labels=("UMAP 1", "UMAP 2"))
    assert (tmp_path / "map.png").stat().st_size > 1_000
