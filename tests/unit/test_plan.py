"""Each decision of the search, on either side of its bound."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from specrec.neighbours import cells as C
from specrec.neighbours import plan
from specrec.neighbours.cells import UNSEARCHABLE
from specrec.neighbours.config import NeighboursConfig
from specrec.neighbours.plan import SpacePlan
from specrec.neighbours.recall import Recall
from specrec.settings import SettingsHash


def _centroids(cells, dimensions=4, seed=0):
    return np.random.default_rng(seed).standard_normal((cells, dimensions)).astype(np.float32)


def _space(cells=4, tracks=100, **known):
    known = {"cells_version": 1, **known}
    return SpacePlan(tracks, _centroids(cells), **known)


# --- which method -------------------------------------------------------------------------------------------


def test_a_space_is_searched_exactly_up_to_the_configured_number_of_tracks():
    config = NeighboursConfig(exact_up_to=500)
    assert [plan.method_of(config, tracks) for tracks in (0, 500, 501)] == ["exact", "exact", "approximate"]


@pytest.mark.parametrize("method", ["exact", "approximate"])
def test_a_configured_method_is_taken_whatever_the_number_of_tracks(method):
    config = NeighboursConfig(method=method, exact_up_to=500)
    assert {plan.method_of(config, tracks) for tracks in (0, 500, 501)} == {method}


# --- whether all is searched --------------------------------------------------------------------------------


def _why(before, settings="a", method="exact", tracks=1_000):
    return plan.why_rebuild(
        before,
        settings=SettingsHash(settings, f"previous {settings}"),
        method=method,
        tracks=tracks,
        config=NeighboursConfig(update_from=1_000),
    )


def test_a_space_that_has_no_lists_is_searched_as_a_whole():
    assert _why(None) == "first"


def test_a_space_whose_lists_were_taken_away_begins_anew():
    assert _why("") == "first"  # what a night writes of a model that is no longer configured


def test_other_vectors_alone_are_an_update():
    for method in ("exact", "approximate"):
        assert _why(plan.state_of("a", method, "1:2:3"), method=method) is None


def test_other_settings_search_all():
    assert _why(plan.state_of("a", "exact", "1:2:3"), "b") == "settings"


def test_settings_as_the_release_before_named_them_are_the_same_settings():
    assert _why(plan.state_of("previous a", "exact", "1:2:3")) is None
    assert _why(plan.state_of("previous a", "exact", "1:2:3"), "b") == "settings"


def test_lists_found_approximately_do_not_stand_where_search_is_exact_now_but_exact_ones_do():
    exact, approximate = (plan.state_of("a", method, "1:2:3") for method in ("exact", "approximate"))
    assert _why(approximate, method="exact") == "exact from now on"
    assert _why(exact, method="approximate") is None


def test_a_space_of_few_tracks_is_searched_as_a_whole():
    before = plan.state_of("a", "exact", "1:2:3")
    assert [_why(before, tracks=tracks) for tracks in (999, 1_000)] == ["few tracks", None]


def test_a_space_of_which_much_changed_is_searched_as_a_whole():
    config = NeighboursConfig(rebuild_share=0.3)
    assert plan.why_too_much_changed(29, 100, config) is None
    assert plan.why_too_much_changed(30, 100, config) == "30 of 100 tracks changed"
    never = NeighboursConfig(rebuild_share=1)
    assert plan.why_too_much_changed(99, 100, never) is None


# --- cells --------------------------------------------------------------------------------------------------


def test_cells_are_as_many_as_configured_or_as_suit_the_tracks():
    assert plan.wanted_cells(NeighboursConfig(cells=7), 10**6) == 7
    assert plan.wanted_cells(NeighboursConfig(), 10**6) == C.default_cells(10**6)


def test_an_update_keeps_its_cells_and_a_search_of_all_trains_them_anew():
    assert plan.cells_serve(trained=4, wanted=400, rebuild=None)
    assert not plan.cells_serve(trained=4, wanted=4, rebuild="settings")
    assert not plan.cells_serve(trained=4, wanted=4, rebuild="first")


def test_a_search_of_all_after_too_low_a_recall_keeps_cells_unless_more_are_due():
    space = _space(recall=Recall(0.9, 0.01, 100))
    why = plan.why_search_again(space, 0.95)
    assert [plan.cells_serve(4, wanted, why) for wanted in (3, 4, 5)] == [True, True, False]


def test_tracks_are_counted_by_cell_and_those_without_a_direction_apart():
    space = _space(4)
    space.count({0: 5, 3: 2})
    assert space.in_cell.tolist() == [5, 0, 0, 2]
    assert not space.has_unsearchable
    space.count({UNSEARCHABLE: 1, 1: 4})
    assert space.in_cell.tolist() == [5, 4, 0, 2]
    assert space.has_unsearchable


def test_cells_are_worn_out_when_they_are_half_as_uneven_again_as_when_they_were_trained():
    even, config = {0: 25, 1: 25, 2: 25, 3: 25}, NeighboursConfig(cells=4)
    space = _space(4)
    space.count(even)
    assert plan.why_worn_out(space, config) is None
    space.count({0: 100, 1: 100, 2: 0, 3: 0})  # twice the work of even cells
    assert plan.why_worn_out(space, config) == "cells are uneven: 2.0 times the work of even ones"
    assert plan.why_worn_out(_with(space, trained_imbalance=1.3), config) == plan.why_worn_out(space, config)
    assert plan.why_worn_out(_with(space, trained_imbalance=2 / 1.5), config) is None


def test_cells_are_worn_out_when_twice_as_many_suit_the_catalogue_unless_they_are_configured():
    grown = next(tracks for tracks in range(16, 10**6) if C.default_cells(tracks) == 2 * C.default_cells(16))
    cells = C.default_cells(16)
    even = dict.fromkeys(range(cells), 10)
    few, many = _space(cells, grown - 1), _space(cells, grown)
    for space in (few, many):
        space.count(even)
    assert plan.why_worn_out(few, NeighboursConfig()) is None
    assert plan.why_worn_out(many, NeighboursConfig()) == f"{cells} cells are too few for {grown} tracks"
    assert plan.why_worn_out(many, NeighboursConfig(cells=cells)) is None


@pytest.mark.parametrize("known", [{"cells_version": None}, {"rebuild": "first"}])
def test_exact_search_has_no_cells_to_wear_out_and_a_search_of_all_has_just_trained_them(known):
    space = _space(4, 10**6, **known)
    space.count({0: 100})
    assert plan.why_worn_out(space, NeighboursConfig()) is None


def _with(space, **changes):
    for name, value in changes.items():
        setattr(space, name, value)
    return space


# --- probes -------------------------------------------------------------------------------------------------


def _with_truth(ranks):
    """Return a space of five cells whose sampled track has true neighbours in cells of these ranks."""
    angles = np.linspace(0, np.pi / 2, 5)
    centroids = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)  # ever further from (1, 0)
    space = SpacePlan(100, centroids, cells_version=1)
    space.sample = space.choosing = pd.DataFrame({"track_id": ["a", "b"], "vector": [[0.0, 1.0], [2.0, 0.0]]})
    space.truth = pd.DataFrame({"track_id": ["b"] * len(ranks), "cell": ranks})
    return space


def test_probes_are_as_many_as_find_the_floor_and_a_fifth_of_what_it_lets_miss():
    space = _with_truth([0] * 90 + [1] * 8 + [3] * 2)
    # 1 probe: 0.90, 2: 0.98, 4: 1; what is asked for is 1 - 0.8 (1 - floor)
    for floor, probes in ((0.875, 1), (0.876, 2), (0.975, 2), (0.976, 4), (0.999, 4)):
        assert plan.needed_probes(space, floor) == probes, floor


def test_the_cells_of_each_sampled_track_are_ranked_by_its_own_vector():
    space = _with_truth([0, 0])
    space.truth = pd.DataFrame({"track_id": ["a", "b"], "cell": [4, 0]})
    assert plan.needed_probes(space, 0.9) == 1
    space.truth = pd.DataFrame({"track_id": ["a", "b"], "cell": [0, 4]})
    assert plan.needed_probes(space, 0.9) == 5


def test_configured_probes_are_the_least():
    assert plan.chosen_probes(3, NeighboursConfig()) == 3
    assert plan.chosen_probes(3, NeighboursConfig(probes=2)) == 3
    assert plan.chosen_probes(3, NeighboursConfig(probes=5)) == 5


def test_a_space_without_a_sample_is_compared_with_all_cells():
    space = _space(9, probes=2)
    space.search_all_cells()
    assert space.is_exact
    assert space.probes == 9


# --- layouts ------------------------------------------------------------------------------------------------


def test_layouts_number_their_targets_through_all_spaces():
    spaces = {"a": SpacePlan(500, C.one_cell()), "b": _with_truth([0]), "c": SpacePlan(20, C.one_cell())}
    spaces["a"].count({0: 500})
    spaces["b"].count(dict.fromkeys(range(5), 100))
    spaces["c"].count({0: 20})
    layouts = plan.lay_out(spaces, block_rows=100)
    assert [layout.first_target for layout in layouts.values()] == [
        0,
        layouts["a"].targets,
        layouts["a"].targets + layouts["b"].targets,
    ]
    assert layouts["a"].targets == 5
    assert layouts["c"].targets == 1


def test_a_new_track_probes_twice_as_many_cells_but_no_more_than_there_are():
    space = _with_truth([0])
    for probes, of_new in ((1, 2), (2, 4), (3, 5), (5, 5)):
        space.probes = probes
        layout = plan.lay_out({"a": space}, block_rows=100)["a"]
        assert (layout.probes, layout.probes_of_new) == (probes, of_new)


def test_a_block_that_the_sample_visits_often_is_shared_by_several_tasks():
    space = _with_truth([0])
    space.count(dict.fromkeys(range(5), 100))
    space.sample = pd.DataFrame({"track_id": list("abcdefghi"), "vector": [[1.0, 0.0]] * 9})
    assert plan.lay_out({"a": space}, block_rows=100)["a"].shares.tolist().count(9) == 1
    space.cells_version = None  # of exact search nothing is known, or needed
    assert plan.lay_out({"a": space}, block_rows=100)["a"].shares.tolist() == [1] * 5


# --- what lists are worth -----------------------------------------------------------------------------------


def test_an_update_below_the_floor_is_searched_again_as_a_whole():
    below = _space(recall=Recall(0.9696, 0.01, 100))
    assert plan.why_search_again(below, 0.97) == "recall 0.970 is below neighbours.recall_floor"
    assert plan.why_search_again(_space(recall=Recall(0.97, 0.01, 100)), 0.97) is None
    assert plan.why_search_again(_space(), 0.97) is None  # exact, or not measured
    assert plan.why_search_again(_with(below, rebuild="first"), 0.97) is None


def test_after_too_low_a_recall_more_cells_are_probed_than_before():
    low = plan.why_search_again(_space(recall=Recall(0.9, 0.01, 100)), 0.97)
    assert [plan.least_probes(kept, low, 16) for kept in (1, 8, 16)] == [2, 10, 16]
    assert plan.least_probes(8, "20 of 40 tracks changed", 16) == 1


def test_what_was_done_is_said_in_words():
    exact = SpacePlan(9, C.one_cell(), new=2, stale=3)
    assert plan.in_words(exact, 10) == "2 new, 3 lost a neighbour; exact"
    all_of_it = _space(4, rebuild="settings", probes=2, recall=Recall(0.98, 0.004, 100))
    assert plan.in_words(all_of_it, 10) == (
        "all searched (settings); 4 cells (version 1), 2 probes, recall@10 0.9800 ± 0.0040 (100 tracks)"
    )
