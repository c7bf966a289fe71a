"""How the spaces of a night are searched: every decision, made of counts and arrays. No Spark, and nothing is read.

A space is searched as a whole, or only what changed in it. It is searched exactly, every track against every other,
or approximately: each track is then compared with the tracks of a few cells, so many that a sample of tracks finds
as much of its true neighbours as ``neighbours.recall_floor`` demands.

>>> from specrec.neighbours.config import NeighboursConfig
>>> config = NeighboursConfig(exact_up_to=1_000)
>>> [method_of(config, tracks) for tracks in (1_000, 1_001)]
['exact', 'approximate']
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from specrec.arrays import Int64Array, Vectors
from specrec.neighbours import cells as C
from specrec.neighbours.cells import UNSEARCHABLE, CellLayout
from specrec.neighbours.config import NeighboursConfig
from specrec.neighbours.kernel import nearest_cells
from specrec.neighbours.recall import Recall, matrix_of
from specrec.settings import SettingsHash
from specrec.warehouse.artefacts import NewArtefact

Method = Literal["exact", "approximate"]

#: Cells are trained anew when their unevenness makes searches so many times longer than when they were trained.
_MOST_IMBALANCE = 1.5
#: So many times more cells than there are must suit the catalogue before they are trained anew for that.
_TOO_FEW_CELLS = 2
#: The share of what ``recall_floor`` lets a search miss that a choice of probes uses up. The rest is left for the
#: next nights, whose updates miss a little more each.
_HEADROOM = 0.8
#: How a reason begins that :func:`why_search_again` gives.
_LOW_RECALL = "recall"
#: Why a space is searched of which no list stands, as there is none or all are of other settings.
FIRST, SETTINGS = "first", "settings"
NOTHING_STANDS = (FIRST, SETTINGS)


@dataclass
class SpacePlan:
    """How one space is searched, and what is known of it; filled in step by step.

    Attributes
    ----------
    tracks : int
        How many it has.
    centroids : float32, shape (cells, dimensions)
        Those of exact search's one cell, if it is exact.
    cells_version : int or None
        Version of the artefact that holds the cells. None: every track is compared with all tracks.
    trained_imbalance : float
        How uneven the cells were on the sample that they were trained on; see :func:`~.cells.imbalance`.
    rebuild : str or None
        Why the space is searched as a whole. None: what stands is brought up to date.
    are_few : bool
        Whether an update searches so few tracks that they are compared with all, without cells.
    new, stale : int
        How many tracks no list knows yet, and how many have a list that must be found anew.
    kept_probes : int or None
        How many cells the floor needed when the probes were last chosen. None: they are to be chosen.
    least_probes : int
        How many are chosen at least; see :func:`least_probes`.
    probes : int
        With how many cells a track is compared.
    trained : NewArtefact or None
        The cells, if they are not yet kept as this version: they are, together with the probes that are chosen.
    choosing : DataFrame
        ``track_id, vector`` of the tracks that the probes are chosen by; empty where these are kept.
    sample : DataFrame
        ``track_id, vector`` of the tracks that recall is measured on. Nothing is chosen by them.
    truth : DataFrame
        ``track_id, neighbour_id, cosine, cell`` of the true neighbours of both samples.
    recall : Recall or None
        What the lists are worth; None where they are exact, or not yet measured.
    in_cell : int64, shape (cells,)
        How many tracks lie in each cell.
    has_unsearchable : bool
        Whether some vectors have no direction.
    """

    tracks: int
    centroids: Vectors
    cells_version: int | None = None
    trained_imbalance: float = 1.0
    rebuild: str | None = None
    are_few: bool = False
    new: int = 0
    stale: int = 0
    kept_probes: int | None = None
    least_probes: int = 1
    probes: int = 1
    trained: NewArtefact | None = None
    choosing: pd.DataFrame = field(default_factory=pd.DataFrame)
    sample: pd.DataFrame = field(default_factory=pd.DataFrame)
    truth: pd.DataFrame = field(default_factory=pd.DataFrame)
    recall: Recall | None = None
    in_cell: Int64Array = field(init=False)
    has_unsearchable: bool = False

    def __post_init__(self) -> None:
        self.in_cell = np.zeros(len(self.centroids), np.int64)

    @property
    def is_exact(self) -> bool:
        """Whether every track is compared with all tracks."""
        return self.cells_version is None

    def count(self, tracks: Mapping[int, int]) -> None:
        """Note how many tracks lie in each cell, those without a direction under :data:`UNSEARCHABLE`."""
        for cell, count in tracks.items():
            if cell == UNSEARCHABLE:
                self.has_unsearchable = True
            else:
                self.in_cell[cell] = count

    def search_all_cells(self) -> None:
        """Compare every track with all tracks: there is no sample to choose the number of probes by."""
        self.cells_version, self.probes = None, len(self.centroids)

    @property
    def measured(self) -> pd.DataFrame:
        """The true neighbours of the tracks that recall is measured on."""
        return self.truth[self.truth["track_id"].isin(self.sample["track_id"])]


def method_of(config: NeighboursConfig, tracks: int) -> Method:
    """Return how a space of so many tracks is searched."""
    if config.method == "auto":
        return "exact" if tracks <= config.exact_up_to else "approximate"
    return config.method


def state_of(settings: str, method: Method, vectors: str | None) -> str:
    """Return what the lists of a space depend on, as one text that is kept beside them; see :func:`why_rebuild`.

    Parameters
    ----------
    settings : str
        Hash of the settings that lists depend on.
    method : str
        How the space is searched.
    vectors : str or None
        Tells this set of vectors from any other.
    """
    return f"{settings}:{method}:{vectors}"


def with_cells(state: str, space: SpacePlan) -> str:
    """Return the state of the lists of a space, which was searched as a whole where that is so.

    By other cells, other lists come out of the same vectors: who reads them must see that they are others.
    """
    return state if space.is_exact or not space.rebuild else f"{state}+{space.cells_version}"


def without_cells(state: str | None) -> str | None:
    """Return what :func:`state_of` returned, of a state that was recorded.

    Examples
    --------
    >>> without_cells("ab:approximate:24:1:2+3"), without_cells("ab:exact:24:1:2"), without_cells(None)
    ('ab:approximate:24:1:2', 'ab:exact:24:1:2', None)
    """
    return None if state is None else state.partition("+")[0]


def why_rebuild(
    before: str | None, *, settings: SettingsHash, method: Method, tracks: int, config: NeighboursConfig
) -> str | None:
    """Return why a space whose state changed is searched as a whole; None if what changed in it is enough.

    Parameters
    ----------
    before : str or None
        State of :func:`state_of` of the lists that stand; None or empty if there are none.
    settings : SettingsHash
        Of the settings that the lists to be made depend on.
    method : str
        How the space is searched now.
    tracks : int
        How many the space has.
    config : NeighboursConfig
        Below ``update_from`` tracks a space is searched as a whole, which is faster.
    """
    if not before:
        return FIRST
    old_settings, old_method, _ = before.split(":", 2)
    if old_settings not in settings.accepted:
        return SETTINGS
    if (old_method, method) == ("approximate", "exact"):  # the lists that stand may lack neighbours
        return "exact from now on"
    return "few tracks" if tracks < config.update_from else None


def why_too_much_changed(changed: int, tracks: int, config: NeighboursConfig) -> str | None:
    """Return why a space of so many changed tracks is searched as a whole; None if it is not."""
    return f"{changed} of {tracks} tracks changed" if changed >= config.rebuild_share * tracks else None


def are_few(changed: int, rebuild: str | None, config: NeighboursConfig) -> bool:
    """Tell whether the tracks that are searched are so few that they are compared with all of their space.

    Parameters
    ----------
    changed : int
        How many are to be searched.
    rebuild : str or None
        Why the space is searched as a whole, if it is.
    """
    return rebuild is None and changed <= config.compare_up_to


def wanted_cells(config: NeighboursConfig, tracks: int) -> int:
    """Return how many cells a space of so many tracks is to have."""
    return config.cells or C.default_cells(tracks)


def cells_serve(trained: int, wanted: int, rebuild: str | None) -> bool:
    """Tell whether cells are used as they are, and not trained anew.

    A search of everything trains them anew, as its vectors may be of another scaler, PCA or number of dimensions.
    One that follows an update whose recall was too low has the same vectors, and needs other cells only if more are
    due.

    Parameters
    ----------
    trained, wanted : int
        How many cells there are, and how many there should be.
    rebuild : str or None
        Why the space is searched as a whole, if it is.
    """
    return rebuild is None or (rebuild.startswith(_LOW_RECALL) and trained >= wanted)


def why_worn_out(space: SpacePlan, config: NeighboursConfig) -> str | None:
    """Return why the cells of a space must be trained anew before it is searched; None if they serve.

    Parameters
    ----------
    space : SpacePlan
        Its tracks are counted by cell.
    config : NeighboursConfig
        A configured number of cells is never too small.
    """
    if space.is_exact or space.rebuild:
        return None
    now = C.imbalance(space.in_cell)
    if now > _MOST_IMBALANCE * space.trained_imbalance:
        return f"cells are uneven: {now:.1f} times the work of even ones"
    cells = len(space.centroids)
    if not config.cells and C.default_cells(space.tracks) >= _TOO_FEW_CELLS * cells:
        return f"{cells} cells are too few for {space.tracks} tracks"
    return None


def needed_probes(space: SpacePlan, recall_floor: float) -> int:
    """Return with how many cells a track must be compared for the sample to find its true neighbours.

    That is somewhat more than the floor demands, or the updates of the next nights would soon fall below it.

    Parameters
    ----------
    space : SpacePlan
        The sample that is chosen by and the truth of this are known.
    recall_floor : float
        Share of the true neighbours that the lists must hold.
    """
    ranks = _ranks_of_cells(matrix_of(space.choosing), space.centroids)
    rows = pd.Index(space.choosing["track_id"]).get_indexer(space.truth["track_id"])
    chosen_by = rows >= 0
    recalls = C.recall_by_probes(ranks[rows[chosen_by], space.truth["cell"][chosen_by]], len(space.centroids))
    return C.needed_probes(recalls, 1 - _HEADROOM * (1 - recall_floor))


def least_probes(kept: int, rebuild: str | None, cells: int) -> int:
    """Return how many cells a choice of probes must not stay below.

    Where the lists of an update were too poor, the sample that probes are chosen by may well find as many enough as
    before: there are to be a quarter more, or every night would end in a search of everything.

    Parameters
    ----------
    kept : int
        As how many were kept, with these cells.
    rebuild : str or None
        Why the space is searched as a whole, if it is.
    cells : int
        How many there are.
    """
    return min(math.ceil(1.25 * kept), cells) if rebuild and rebuild.startswith(_LOW_RECALL) else 1


def chosen_probes(needed: int, config: NeighboursConfig) -> int:
    """Return with how many cells a track is compared: those configured, and more where the floor needs them."""
    return max(config.probes or 1, needed)


def lay_out(spaces: Mapping[str, SpacePlan], block_rows: int) -> dict[str, CellLayout]:
    """Return how the cells of each space lie in blocks; targets are numbered through all spaces.

    Parameters
    ----------
    spaces : mapping of SpacePlan
        Their tracks are counted by cell, and their probes are chosen.
    block_rows : int
        Tracks of one block, about.
    """
    layouts: dict[str, CellLayout] = {}
    target = 0
    for name, space in spaces.items():
        visits = None
        if not space.is_exact:
            probed = nearest_cells(matrix_of(space.sample), space.centroids, space.probes)
            visits = np.bincount(probed.ravel(), minlength=len(space.centroids))
        layouts[name] = C.lay_out(
            space.centroids,
            space.in_cell,
            block_rows,
            first_target=target,
            probes=space.probes,
            # settled tracks do not look for a new one: it looks further, to meet those that would have found it
            probes_of_new=min(2 * space.probes, len(space.centroids)),
            visits=visits,
        )
        target += layouts[name].targets
    return layouts


def why_search_again(space: SpacePlan, recall_floor: float) -> str | None:
    """Return why the lists of an update are not written and the space is searched as a whole; None if they are.

    The lists of a search of everything are written whatever their recall is: its probes were chosen for the floor.
    """
    if space.rebuild or space.recall is None or space.recall.mean >= recall_floor:
        return None
    return f"{_LOW_RECALL} {space.recall.mean:.3f} is below neighbours.recall_floor"


def in_words(space: SpacePlan, top_n: int) -> str:
    """Return what was searched and how, as ``runs`` says it."""
    what = (
        f"all searched ({space.rebuild})" if space.rebuild else f"{space.new} new, {space.stale} lost a neighbour"
    )
    if space.are_few:
        return f"{what}; compared with all"
    if space.is_exact:
        return f"{what}; exact"
    cells = f"{len(space.centroids)} cells (version {space.cells_version}), {space.probes} probes"
    return f"{what}; {cells}, recall@{top_n} {space.recall}"


def in_numbers(space: SpacePlan) -> dict[str, float]:
    """Return, by metric, the numbers of what :func:`in_words` says."""
    numbers: dict[str, float] = {"searched_whole": bool(space.rebuild)}
    if not space.rebuild:
        numbers |= {"tracks_new": space.new, "tracks_stale": space.stale}
    if space.cells_version is not None:
        numbers |= {"cells": len(space.centroids), "cells_version": space.cells_version, "probes": space.probes}
    if space.recall is not None:
        of = space.recall
        numbers |= {"recall": of.mean, "recall_margin": of.margin, "recall_tracks": of.tracks}
    return numbers


def _ranks_of_cells(vectors: Vectors, centroids: Vectors) -> Int64Array:
    """Return how many cells are nearer to each vector than each cell, int64, shape (rows, cells)."""
    similar = vectors @ centroids.T
    ranks = np.empty(similar.shape, np.int64)
    np.put_along_axis(ranks, np.argsort(-similar, axis=1), np.arange(similar.shape[1])[None, :], axis=1)
    return ranks
