"""The map over several nights: what it shows, and what stays where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from nights import Night, read_csv, write_csv
from sklearn.decomposition import PCA

from specrec.cli import main

STAGES = ("ingest", "extract", "fit", "embed", "map")
XY = [f"{of}_{axis}" for of in ("pca", "umap", "tsne") for axis in "xy"]


def _map(night: Night) -> dict[str, dict]:
    return {row["track_id"]: row for row in night.reader.rows("map")}


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of the places on two maps as they are drawn, neither turned nor mirrored."""
    return float(np.corrcoef((one - one.mean(axis=0)).ravel(), (other - other.mean(axis=0)).ravel())[0, 1])


def test_every_track_of_the_space_is_on_the_map(first_night):
    rows = _map(first_night)
    embeddings = sorted(
        first_night.reader.rows("embeddings", [("space", "=", "hybrid")]), key=lambda row: row["track_id"]
    )
    assert sorted(rows) == [row["track_id"] for row in embeddings]
    assert {row["space"] for row in rows.values()} == {"hybrid"}
    assert all(np.isfinite([row[name] for name in XY]).all() for row in rows.values())
    names = {row["cluster"]: row["cluster_name"] for row in rows.values()}
    assert 4 <= len(names) <= 12
    assert len(set(names.values())) == len(names)
    # the first two components, computed by other code, up to their signs
    vectors = np.array([row["vector"] for row in embeddings])
    expected = PCA(2).fit_transform(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    found = np.array([[rows[row["track_id"]][name] for name in ("pca_x", "pca_y")] for row in embeddings])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)


def test_a_night_places_what_is_new_and_moves_nothing_else(second_night):
    before = _map(second_night)
    catalogue = Path(second_night.catalogue)
    tracks = read_csv(catalogue)
    gone, twin = tracks[0]["track_id"], tracks[5]
    write_csv(catalogue, [*tracks[1:], {**twin, "track_id": "new-1", "track_name": "Twin"}])
    run_id = second_night.run(stages=STAGES)
    after = _map(second_night)
    assert after.keys() == before.keys() - {gone} | {"new-1"}
    assert all(
        after[track] == before[track] for track in before.keys() - {gone}
    )  # by whom and when it was written too
    # its vector is that of its twin, and so is its place
    same = [*XY, "cluster", "cluster_name", "cluster_distance"]
    assert [after["new-1"][name] for name in same] == [before[twin["track_id"]][name] for name in same]
    stage = second_night.stage(run_id, "map")
    assert (stage["status"], stage["rows_out"]) == ("done", 1)

    version = second_night.reader.table("map").version()
    run_id = second_night.run(stages=("map",))
    assert second_night.stage(run_id, "map")["status"] == "unchanged"
    assert second_night.reader.table("map").version() == version

    # other settings make another map, which is turned and named like the one before
    run_id = second_night.run("map.neighbours=16", stages=("map",))
    again = _map(second_night)
    assert again.keys() == after.keys()
    assert second_night.stage(run_id, "map")["details"]["map"] == "version 2 (first)"
    ids = sorted(after)
    for of in ("pca", "umap"):
        old, new = (np.array([[row[i][f"{of}_{axis}"] for axis in "xy"] for i in ids]) for row in (after, again))
        # places that had nothing to do with each other would be 1.4 times the spread apart
        spread = np.sqrt(np.square(old - old.mean(axis=0)).sum(axis=1).mean())
        moved = np.linalg.norm(old - new, axis=1).mean()
        assert moved < spread
        # and it is nearer than if it were mirrored or turned about its centre
        centre = new.mean(axis=0)
        turned = ((new - centre) * turn + centre for turn in ([-1, 1], [1, -1], [-1, -1]))
        assert all(moved < np.linalg.norm(old - other, axis=1).mean() for other in turned)
        # it is fitted to one track more, and nearly the same; how far UMAP moves 24 tracks hangs on last digits
        if of == "pca":
            assert _alike(old, new) > 0.95
        # of both axes together: of 24 tracks the shorter one alone is not certain
        others = (new * [-1, 1], new * [1, -1], -new, new[:, ::-1], -new[:, ::-1])
        assert _alike(old, new) > max(_alike(old, other) for other in others)
    assert np.mean([after[i]["cluster"] == again[i]["cluster"] for i in ids]) > 0.7
    names = {row["cluster"]: row["cluster_name"] for row in after.values()}
    assert all(names.get(row["cluster"], row["cluster_name"]) == row["cluster_name"] for row in again.values())


def test_it_is_printed_and_drawn(first_night, tmp_path):
    pytest.importorskip("matplotlib")
    place = ("map", "--warehouse", first_night.warehouse)
    for by in ("umap", "pca", "tsne"):
        file = tmp_path / f"{by}.png"
        done = CliRunner().invoke(main, [*place, "--png", str(file), "--by", by])
        assert done.exit_code == 0, done.output
        assert file.read_bytes().startswith(b"\x89PNG")
        assert f"24 tracks of the space hybrid, drawn to {file}" in done.output.replace("\n", "")
    names = {row["cluster_name"] for row in _map(first_night).values()}
    assert all(name in done.output for name in names)
    refused = CliRunner().invoke(main, [*place, "--png", str(tmp_path / "none" / "map.png")])
    assert refused.exit_code == 2
    assert "cannot write" in refused.output
