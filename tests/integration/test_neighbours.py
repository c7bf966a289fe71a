"""The contract of the stage `neighbours`, for exact and for approximate search, on vectors made for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pytest
from vectors import write_embeddings

from specrec.config import load
from specrec.errors import SpecrecError
from specrec.pipeline.nightly import run_stages
from specrec.warehouse.reader import Reader

TOP_N = 10
METHODS = {
    "exact": ("neighbours.method=exact", "neighbours.block_rows=150", "neighbours.compare_up_to=0"),
    "approximate": (
        "neighbours.method=approximate",
        "neighbours.cells=16",
        "neighbours.block_rows=120",
        "neighbours.compare_up_to=0",
    ),
}


class Searched:
    """A warehouse of embeddings, searched by one method."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        places = (f"warehouse={folder}", f"neighbours.top_n={TOP_N}", "log.level=error")
        few = (
            "recommend.top_n=5",
            "neighbours.recall_sample=100",
            "neighbours.rebuild_share=0.9",
            "neighbours.update_from=0",
        )
        self.config = load(None, (*places, *few, *settings), needs_catalogue=False)
        self.reader = Reader(self.config.warehouse, self.config.storage)

    def put(self, ids: Any, vectors: Any, space: str = "hybrid") -> Searched:
        write_embeddings(self.folder, space, list(ids), np.asarray(vectors, np.float32))
        return self

    def run(self) -> dict[str, str]:
        """Search, and return what `runs` says of it."""
        run_id = run_stages(self.config, ["neighbours"])
        (row,) = self.reader.rows("runs", [("run_id", "=", run_id)])
        details: dict[str, str] = row["details"]
        return details

    def rows(self, space: str = "hybrid") -> list[dict[str, Any]]:
        columns = ["track_id", "rank", "neighbour_id", "cosine", "euclidean", "input_hash"]
        rows = self.reader.rows("neighbours", [("space", "=", space)], columns)
        return sorted(rows, key=lambda row: (row["track_id"], row["rank"]))

    def lists(self, space: str = "hybrid") -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in self.rows(space):
            found.setdefault(row["track_id"], []).append(row["neighbour_id"])
        return found


Search = Callable[..., Searched]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def search(method: str, tmp_path: Path) -> Search:
    def make(name: str = "warehouse", *settings: str) -> Searched:
        return Searched(tmp_path / name, *METHODS[method], *settings)

    return make


def _ids(count: int, prefix: str = "t") -> np.ndarray:
    return np.random.default_rng(1).permutation([f"{prefix}{i:04d}" for i in range(count)])


def _clustered(count: int, dimensions: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, dimensions))
    return (centres[rng.integers(12, size=count)] + 0.6 * rng.standard_normal((count, dimensions))).astype(
        np.float32
    )


def _true_lists(ids: np.ndarray, vectors: np.ndarray) -> dict[str, list[str]]:
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    similar = np.round(unit @ unit.T, 12)
    found = {}
    for row, track_id in enumerate(ids):
        others = [i for i in np.lexsort((ids, -similar[row])) if i != row]
        found[track_id] = [str(ids[i]) for i in others[:TOP_N]]
    return found


def _recall(found: dict[str, list[str]], truth: dict[str, list[str]]) -> float:
    return float(np.mean([len(set(found[track]) & set(nearest)) / TOP_N for track, nearest in truth.items()]))


def test_lists_are_the_nearest_in_order_without_the_track_itself(search: Search, method: str) -> None:
    ids, vectors = _ids(400), _clustered(400)
    searched = search().put(ids, vectors)
    details = searched.run()
    place = {track_id: row for row, track_id in enumerate(ids)}
    by_track: dict[str, list[dict[str, Any]]] = {}
    for row in searched.rows():
        by_track.setdefault(row["track_id"], []).append(row)
        a, b = vectors[place[row["track_id"]]].astype(float), vectors[place[row["neighbour_id"]]].astype(float)
        assert row["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)
        assert row["euclidean"] == pytest.approx(np.linalg.norm(a - b), abs=1e-12)
    assert set(by_track) == set(ids)
    for track_id, rows in by_track.items():
        assert [row["rank"] for row in rows] == list(range(1, TOP_N + 1))
        assert track_id not in {row["neighbour_id"] for row in rows}
        assert len({row["neighbour_id"] for row in rows}) == TOP_N
        order = [(-row["cosine"], row["neighbour_id"]) for row in rows]
        assert order == sorted(order)
    recall = _recall(searched.lists(), _true_lists(ids, vectors))
    if method == "exact":
        assert recall == 1
        assert details["hybrid_search"] == "all searched (first); exact"
    else:
        assert recall >= 0.97
        assert "16 cells (version 1)" in details["hybrid_search"]
        said = float(details["hybrid_search"].partition("recall@10 ")[2].partition(" ")[0])
        assert said == pytest.approx(recall, abs=0.02)  # on a sample of 100


def test_neither_partitions_nor_blocks_nor_a_second_run_change_a_row(search: Search) -> None:
    ids, vectors = _ids(300), np.round(_clustered(300), 1)  # rounded: ties
    whole = search("whole").put(ids, vectors)
    whole.run()
    order = np.random.default_rng(3).permutation(300)
    other = search("other", "neighbours.block_rows=37").put(ids[order[:100]], vectors[order[:100]])
    for start in (100, 200):  # as several files
        where = other.folder / "embeddings"
        some = order[start : start + 100]
        search("more").put(ids[some], vectors[some])
        deltalake.write_deltalake(
            str(where),
            deltalake.DeltaTable(str(other.folder.parent / "more" / "embeddings")).to_pyarrow_table(),
            mode="append",
        )
    other.run()
    assert other.rows() == whole.rows()


def test_what_changed_alone_is_searched_and_the_lists_are_those_of_a_rebuild(search: Search, method: str) -> None:
    ids, vectors = _ids(400), _clustered(400)
    searched = search().put(ids[:380], vectors[:380])
    searched.run()
    # ten are gone, ten have another vector, twenty are new
    kept, now = np.r_[10:400], vectors.copy()
    now[20:30] = _clustered(10, seed=5)
    searched.put(ids[kept], now[kept])
    details = searched.run()
    assert details["hybrid_search"].startswith("30 new, ")
    assert "all searched" not in details["hybrid_search"]
    rebuilt = search("rebuilt").put(ids[kept], now[kept])
    rebuilt.run()
    truth = _true_lists(ids[kept], now[kept])
    if method == "exact":
        assert searched.rows() == rebuilt.rows()
        assert searched.lists() == truth
    else:
        assert set(searched.lists()) == set(ids[kept])
        # a rebuild has cells of its own, which on so few tracks moves it by some tenths of a per cent
        assert _recall(searched.lists(), truth) >= max(0.97, _recall(rebuilt.lists(), truth) - 0.01)
    again = searched.run()
    assert again["hybrid"] == "unchanged"


def test_few_changes_among_lists_by_cells_are_compared_with_all(tmp_path: Path) -> None:
    ids, vectors = _ids(400), _clustered(400)
    settings = (*METHODS["approximate"], "neighbours.compare_up_to=300")
    searched = Searched(tmp_path, *settings).put(ids[:390], vectors[:390])
    assert "cells" in searched.run()["hybrid_search"]
    recall_before = _recall(searched.lists(), _true_lists(ids[:390], vectors[:390]))
    details = searched.put(ids[5:], vectors[5:]).run()
    assert details["hybrid_search"].startswith("10 new, ")
    assert details["hybrid_search"].endswith("; compared with all")
    found, truth = searched.lists(), _true_lists(ids[5:], vectors[5:])
    assert {track: found[track] for track in ids[390:]} == {track: truth[track] for track in ids[390:]}
    assert _recall(found, truth) >= recall_before
    assert searched.run()["hybrid"] == "unchanged"


def test_a_catalogue_smaller_than_a_list_and_one_that_outgrows_it(search: Search) -> None:
    ids, vectors = _ids(30), _clustered(30)
    searched = search("w", "neighbours.rebuild_share=1", "neighbours.cells=2").put(ids[:1], vectors[:1])
    searched.run()
    assert searched.lists() == {}
    for count in (4, 30):
        searched.put(ids[:count], vectors[:count])
        searched.run()
        lists = searched.lists()
        assert set(lists) == set(ids[:count])
        assert {len(nearest) for nearest in lists.values()} == {min(count - 1, TOP_N)}
    assert searched.lists() == _true_lists(ids, vectors)


def test_a_thousand_copies_of_a_track_have_full_lists_of_others(search: Search, method: str) -> None:
    ids = _ids(1100)
    vectors = np.concatenate([np.tile(_clustered(1, seed=9), (1000, 1)), _clustered(100)])
    searched = search().put(ids, vectors)
    searched.run()
    lists, copies = searched.lists(), set(ids[:1000])
    assert set(lists) == set(ids)
    assert all(len(nearest) == TOP_N for nearest in lists.values())
    first = min(copies)
    assert all(lists[track] == lists[first] and not set(lists[track]) & copies for track in copies)
    assert all(set(lists[track]) & copies <= {first} for track in set(ids) - copies)
    of_first = {track for track, nearest in lists.items() if first in nearest}
    searched.put(np.r_[ids, ["t-new"]], np.concatenate([vectors, vectors[:1]]))  # before all others by its id
    assert "1 new, " in searched.run()["hybrid_search"]
    now = searched.lists()
    assert all(now[track] == now["t-new"] for track in copies)
    assert not any(first in now[track] for track in of_first)
    if method == "exact":
        assert now["t-new"] == lists[first]
        assert all("t-new" in now[track] for track in of_first)
    else:  # a track meets all of its own block, and which cells share a block depends on how many tracks they hold
        assert len({*now["t-new"]} & {*lists[first]}) >= 0.8 * TOP_N
        assert sum("t-new" in now[track] for track in of_first) >= 0.8 * len(of_first)


def _lists_of_recordings(vectors: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Return true lists, in which the least id stands for all tracks of an equal vector."""
    sets: dict[bytes, list[str]] = {}
    for track, vector in sorted(vectors.items()):
        sets.setdefault(vector.tobytes(), []).append(track)
    firsts = np.array([tracks[0] for tracks in sets.values()])
    of_first = _true_lists(firsts, np.stack([vectors[track] for track in firsts]))
    return {track: of_first[tracks[0]] for tracks in sets.values() for track in tracks}


def test_a_walk_of_changes_ends_where_a_search_of_everything_does_and_writes_what_changed(tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    fresh = iter(_clustered(400, seed=3))
    now = {f"t{number:04d}": next(fresh) for number in range(120)}

    def some(count: int) -> list[str]:
        return [str(track) for track in rng.choice(sorted(now), count, replace=False)]

    def add() -> None:
        now.update({f"{rng.choice(list('asz'))}{rng.integers(10_000):04d}x": next(fresh) for _ in range(4)})

    def remove() -> None:
        for track in some(4):
            del now[track]

    def change() -> None:
        now.update({track: next(fresh) for track in some(3)})

    def copy() -> None:  # some before the track that they are copies of, by their ids, and some after it
        for track in some(3):
            now.update({f"{prefix}-{track}": now[track] for prefix in ("a", "z")})

    def remove_originals() -> None:
        of_vector: dict[bytes, list[str]] = {}
        for track, vector in sorted(now.items()):
            of_vector.setdefault(vector.tobytes(), []).append(track)
        for tracks in [tracks for tracks in of_vector.values() if len(tracks) > 1][:2]:
            del now[tracks[0]]

    def reader(searched: Searched) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in searched.reader.rows("neighbours", [("space", "=", "hybrid")]):
            found.setdefault(row["track_id"], []).append(row)
        return {track: sorted(rows, key=lambda row: row["rank"]) for track, rows in found.items()}

    def without_run(rows: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "run_id"} for row in rows or []]

    def put(searched: Searched) -> Searched:
        order = rng.permutation(sorted(now))
        return searched.put(order, np.stack([now[track] for track in order]))

    before: dict[str, list[dict[str, Any]]] = {}
    walk = (
        (0, ()),
        (0, (copy, add)),
        (1_000, (remove_originals, change)),  # few are compared with all, and find the same
        (0, (remove, copy)),
        (1_000, (remove_originals, copy, add, remove)),
    )
    for compare_up_to, steps in walk:
        for step in steps:
            step()
        searched = Searched(tmp_path / "walked", *METHODS["exact"], f"neighbours.compare_up_to={compare_up_to}")
        details = put(searched).run()
        assert ("compared with all" in details["hybrid_search"]) == (compare_up_to > 0)
        assert ("all searched" in details["hybrid_search"]) == (not before)
        after = reader(searched)
        assert {track: [row["neighbour_id"] for row in rows] for track, rows in after.items()} == (
            _lists_of_recordings(now)
        )
        newest = max(searched.reader.rows("runs"), key=lambda row: row["started_at"])["run_id"]
        differing = {track for track in after if without_run(after[track]) != without_run(before.get(track))}
        assert differing
        assert all({row["run_id"] for row in after[track]} == {newest} for track in differing)
        assert all(after[track] == before[track] for track in after.keys() - differing)
        assert len(differing) < len(after) or not before
        before = after
    rebuilt = put(Searched(tmp_path / "rebuilt", *METHODS["exact"]))
    rebuilt.run()
    assert rebuilt.rows() == searched.rows()


def test_vectors_without_a_direction_are_quarantined_and_heal(tmp_path: Path) -> None:
    ids, vectors = _ids(120), _clustered(120)
    bad = vectors.copy()
    bad[0], bad[1, 3], bad[2, 0] = 0, np.nan, np.inf
    searched = Searched(tmp_path, *METHODS["approximate"]).put(ids, bad)
    searched.run()
    assert set(searched.lists()) == set(ids[3:])
    assert not {ids[0], ids[1], ids[2]} & {name for nearest in searched.lists().values() for name in nearest}
    rows = searched.reader.rows("quarantine")
    assert {(row["track_id"], row["stage"], row["code"]) for row in rows} == {
        (ids[row], "neighbours/hybrid", "no_direction") for row in range(3)
    }
    assert "replace it" in rows[0]["message"]
    searched.put(ids, vectors).run()
    assert searched.reader.rows("quarantine") == []
    assert set(searched.lists()) == set(ids)


def test_vectors_none_of_which_has_a_direction_break_nothing(tmp_path: Path) -> None:
    searched = Searched(tmp_path, *METHODS["approximate"]).put(_ids(30), np.zeros((30, 4)))
    searched.run()
    assert searched.rows() == []
    assert len(searched.reader.rows("quarantine")) == 30
    searched.put(_ids(30), _clustered(30, 4)).run()
    assert len(searched.lists()) == 30


def test_a_catalogue_that_shrinks_to_exact_search_keeps_no_approximate_list(tmp_path: Path) -> None:
    ids, vectors = _ids(400), np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)
    settings = ("neighbours.exact_up_to=395", "neighbours.recall_floor=0.6", "neighbours.cells=16")
    searched = Searched(tmp_path, *settings).put(ids, vectors)
    assert "cells" in searched.run()["hybrid_search"]
    assert _recall(searched.lists(), _true_lists(ids, vectors)) < 1
    details = searched.put(ids[:390], vectors[:390]).run()
    assert details["hybrid_search"] == "all searched (exact from now on); exact"
    assert searched.lists() == _true_lists(ids[:390], vectors[:390])


def test_spaces_of_different_dimensions_are_searched_together_and_apart(tmp_path: Path) -> None:
    def search(name: str = "together") -> Searched:
        return Searched(tmp_path / name, *METHODS["approximate"])

    ids, wide, narrow = _ids(150), _clustered(150, 20), _clustered(150, 3)
    searched = search().put(ids, wide, "features").put(ids, narrow, "spectrogram")
    searched.run()
    alone = search("alone").put(ids, narrow, "spectrogram")
    alone.run()
    assert searched.rows("spectrogram") == alone.rows("spectrogram")
    before = searched.rows("features")
    narrow[0] = narrow[1]
    details = searched.put(ids, narrow, "spectrogram").run()
    assert details["features"] == "unchanged"
    assert searched.rows("features") == before


def test_probes_are_raised_until_the_floor_holds(tmp_path: Path) -> None:
    ids, vectors = _ids(600), np.random.default_rng(0).standard_normal((600, 12)).astype(np.float32)
    settings = (*METHODS["approximate"], "neighbours.probes=1", "neighbours.recall_floor=0.9")
    searched = Searched(tmp_path, *settings).put(ids, vectors)
    details = searched.run()["hybrid_search"]
    probes = int(details.partition(" probes")[0].rpartition(" ")[2])
    assert probes > 1
    assert _recall(searched.lists(), _true_lists(ids, vectors)) >= 0.88


def test_cells_that_do_not_serve_any_more_are_trained_anew(tmp_path: Path) -> None:
    settings = (
        "neighbours.method=approximate",
        "neighbours.rebuild_share=1",
        "neighbours.recall_floor=0.9",
        "neighbours.compare_up_to=0",
    )
    ids, vectors = _ids(900), _clustered(900)
    searched = Searched(tmp_path, *settings).put(ids[:60], vectors[:60])
    searched.run()
    searched.put(ids, vectors)
    details = searched.run()["hybrid_search"]
    assert "cells are" in details
    assert "version 2" in details
    assert _recall(searched.lists(), _true_lists(ids, vectors)) >= 0.9


def test_vectors_of_several_lengths_end_the_run_in_one_line(tmp_path: Path) -> None:
    searched = Searched(tmp_path, *METHODS["exact"]).put(_ids(20), _clustered(20, 4))
    other = Searched(tmp_path / "other").put(_ids(5, "u"), _clustered(5, 6))
    rows = deltalake.DeltaTable(str(other.folder / "embeddings")).to_pyarrow_table()
    deltalake.write_deltalake(str(searched.folder / "embeddings"), rows, mode="append")
    with pytest.raises(SpecrecError, match="not all of one length"):
        searched.run()
