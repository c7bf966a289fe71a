"""Neighbours: ``embeddings`` become ``neighbours``, space by space, where a space changed.

Only what can change is computed: a new or changed track is searched, a track whose list lost a member is searched
anew, and a new track that is nearer than the last of a list enters it. A space is searched as a whole where nothing
is known of it, where much of it changed, or where its cells no longer serve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from specrec.embedding.spark import sample_tracks
from specrec.errors import SpecrecError
from specrec.logs import get_logger
from specrec.neighbours import cells as C
from specrec.neighbours.cells import Layout
from specrec.neighbours.kernel import IntArray, Vectors, has_direction, nearest_cells
from specrec.neighbours.recall import Recall, matrix_of, recall, true_neighbours
from specrec.neighbours.search import (
    NEW,
    SETTLED,
    STALE,
    UNSEARCHABLE,
    count_cells,
    different_lengths,
    find,
    pack,
    unsearchable,
)
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.settings import SettingsHash, as_recorded
from specrec.warehouse.artefacts import Artefact, NewArtefact, hash_of_rows
from specrec.warehouse.tables import by_part, states_of

#: Cells that became this much less even since they were trained are trained anew.
_MOST_IMBALANCE = 1.5
#: Of the neighbours that may be missed, this share is, so that some remain to be.
_HEADROOM = 0.8
_KEY = ["space", "track_id"]


@dataclass
class _Space:
    """What is known of a space before it is searched."""

    tracks: int
    centroids: Vectors
    cells: Artefact | None
    rebuild: str | None
    new: int = 0
    stale: int = 0
    probes: int = 1
    sample: pd.DataFrame = field(default_factory=pd.DataFrame)
    truth: pd.DataFrame = field(default_factory=pd.DataFrame)
    recall: Recall | None = None
    in_cell: IntArray = field(init=False)
    has_unsearchable: bool = False

    def __post_init__(self) -> None:
        self.in_cell = np.zeros(len(self.centroids), np.int64)

    def count(self, tracks: Mapping[int, int]) -> None:
        """Note how many tracks lie in each cell; `tracks` as of :func:`count_cells`."""
        for cell, count in tracks.items():
            if cell == UNSEARCHABLE:
                self.has_unsearchable = True
            else:
                self.in_cell[cell] = count


def find_neighbours(run: Run) -> None:
    """Bring the lists of every space up to date whose vectors or search settings changed.

    What each search is worth, its recall on a sample, is in ``runs``; where it is below
    ``neighbours.recall_floor``, more cells are probed until it holds.
    """
    warehouse = run.warehouse
    with run.stage("neighbours") as report:
        known, systems = warehouse.states("neighbours"), run.config.systems
        by_space = states_of(warehouse.read("embeddings"), "space", "track_id", "input_hash")
        tracks: dict[str, int] = {space: int(by_space.get(space, "0").partition(":")[0]) for space in systems}
        settings = {space: run.config.neighbours_hash(space) for space in systems}
        now = {
            space: as_recorded(
                known.get(space),
                *(f"{name}:{_method(run, count)}:{by_space.get(space)}" for name in settings[space].accepted),
            )
            for space, count in tracks.items()
        }
        now |= dict.fromkeys(known.keys() - set(systems), "")  # of a model that is no longer configured
        changed: dict[str, str] = {space: state for space, state in now.items() if known.get(space) != state}
        if changed:
            tracks = {space: tracks.get(space, 0) for space in changed}
            report.rows_in = sum(tracks.values())
            empty = {space: state for space, state in changed.items() if not tracks[space]}
            if empty:
                nothing = warehouse.read("neighbours").where(F.lit(False))
                warehouse.replace_parts("neighbours", "space", nothing, empty)
            reasons: dict[str, str | None] = {
                space: _why_rebuild(
                    known.get(space), state, settings[space], tracks[space] < run.config.neighbours.update_from
                )
                for space, state in changed.items()
                if space not in empty
            }
            while reasons:
                reasons = _update(run, report, changed, tracks, reasons)
        report.parts(changed, warehouse.counts("neighbours", "space") if changed else {}, systems)


def _why_rebuild(before: str | None, now: str, settings: SettingsHash, is_small: bool) -> str | None:
    if before is None:
        return "first"
    old, new = before.split(":"), now.split(":")
    if old[0] not in settings.accepted:
        return "settings"
    if (old[1], new[1]) == ("approximate", "exact"):  # what stands was not found by comparing with all
        return "exact from now on"
    return "few tracks" if is_small else None


def _method(run: Run, tracks: int) -> str:
    config = run.config.neighbours
    if config.method == "auto":
        return "exact" if tracks <= config.exact_up_to else "approximate"
    return config.method


def _update(
    run: Run,
    report: StageReport,
    changed: Mapping[str, str],
    tracks: Mapping[str, int],
    reasons: Mapping[str, str | None],
) -> dict[str, str | None]:
    """Search spaces and write their lists; return those, with the reason, to be searched again as a whole."""
    updated = [space for space, reason in reasons.items() if not reason]
    compared = _compare(run, updated) if updated else None
    states = _states(run, reasons, compared).persist(StorageLevel.DISK_ONLY)
    made_of = [] if compared is None else [compared]
    try:
        spaces = _survey(run, states, tracks, reasons)
        frames = [_tracks(run, states, space, of.rebuild) for space, of in spaces.items()]
        packed = pack(reduce(DataFrame.unionByName, frames), {space: of.centroids for space, of in spaces.items()})
        packed = packed.persist(StorageLevel.DISK_ONLY)
        made_of.append(packed)
        for space, counts in count_cells(packed).items():
            spaces[space].count(counts)
        worn_out = _worn_out(spaces, run.config.neighbours.cells)
        if worn_out:
            return {space: worn_out.get(space, reason) for space, reason in reasons.items()}
        _choose_probes(run, packed, spaces)
        layouts = _layouts(run, spaces)
        _quarantine(run, packed, spaces)
        found = find(packed, layouts, run.config.neighbours.top_n)
        again = _write(run, found, states, spaces, changed, made_of=made_of)
    finally:
        for rows in (states, *made_of):
            rows.unpersist()
    _report(run, report, spaces)
    return again


def _compare(run: Run, updated: Sequence[str]) -> DataFrame:
    """Return ``space, track_id, has_list, is_there, is_old, floor``: the tracks of spaces now, beside their lists.

    ``is_old`` says that a track's vector is the one that its list is of; ``floor`` is the cosine of the list's last
    neighbour, null if it is not full. It is persisted and counted: Spark then knows how large it is, and broadcasts
    what is taken from it where that is small.
    """
    top_n = run.config.neighbours.top_n
    is_of = F.col("space").isin(*updated)
    lists = run.warehouse.read("neighbours").where(is_of & F.col("rank").isin(1, top_n))
    before = lists.groupBy(*_KEY).agg(
        F.max("input_hash").alias("old_hash"),
        F.max(F.when(F.col("rank") == top_n, F.col("cosine"))).alias("floor"),
    )
    now = run.warehouse.read("embeddings").where(is_of).select(*_KEY, "input_hash")
    both = before.join(now, _KEY, "full_outer").select(
        *_KEY,
        F.col("old_hash").isNotNull().alias("has_list"),
        F.col("input_hash").isNotNull().alias("is_there"),
        F.coalesce(F.col("old_hash") == F.col("input_hash"), F.lit(False)).alias("is_old"),
        "floor",
    )
    compared = both.persist(StorageLevel.DISK_ONLY)
    compared.count()
    return compared


def _states(run: Run, reasons: Mapping[str, str | None], compared: DataFrame | None) -> DataFrame:
    """Return ``space, track_id, state, floor`` of every track of the spaces.

    ``floor`` is the cosine of a settled track's last neighbour. A list that is not full is searched anew.

    Parameters
    ----------
    compared : of the spaces that are updated, if there are any; see :func:`_compare`.
    """
    embeddings = run.warehouse.read("embeddings").select(*_KEY)
    whole = [space for space, reason in reasons.items() if reason]
    rebuilt = embeddings.where(F.col("space").isin(whole)).withColumns(_searched_anew())
    if compared is None:
        return rebuilt
    updated = [space for space, reason in reasons.items() if not reason]
    lists = run.warehouse.read("neighbours").where(F.col("space").isin(updated))
    lost = compared.where(F.col("has_list") & ~F.col("is_old")).select("space", F.col("track_id").alias("lost"))
    members = lists.select(*_KEY, F.col("neighbour_id").alias("lost"))
    broken = members.join(lost, ["space", "lost"], "left_semi").select(*_KEY).distinct()
    state = F.when(~F.col("is_old"), NEW).when(F.col("broken") | F.col("floor").isNull(), STALE).otherwise(SETTLED)
    settled = (
        compared.where("is_there")
        .join(broken.withColumn("broken", F.lit(True)), _KEY, "left")
        .withColumn("state", state.cast("int"))
        .withColumn("floor", F.when(F.col("state") == SETTLED, F.col("floor")).otherwise(math.inf))
    )
    return rebuilt.unionByName(settled.select(*_KEY, "state", "floor"))


def _searched_anew() -> dict[str, Column]:
    return {"state": F.lit(STALE), "floor": F.lit(math.inf)}


def _survey(
    run: Run, states: DataFrame, tracks: Mapping[str, int], reasons: Mapping[str, str | None]
) -> dict[str, _Space]:
    """Decide how each space is searched."""
    config = run.config.neighbours
    by_state: dict[str, dict[int, int]] = {space: {} for space in reasons}
    if not all(reasons.values()):
        for row in states.groupBy("space", "state").count().collect():
            by_state[row.space][row.state] = row["count"]
    spaces = {}
    for space, given in reasons.items():
        count, of_state = tracks[space], by_state[space]
        fresh = sum(n for state, n in of_state.items() if state != SETTLED)
        too_many = fresh >= config.rebuild_share * count
        reason = given or (f"{fresh} of {count} tracks changed" if too_many else None)
        found = None if _method(run, count) == "exact" else _cells(run, space, count, reason)
        centroids = C.one_cell() if found is None else found.arrays["centroids"].astype(np.float32)
        spaces[space] = _Space(count, centroids, found, reason, of_state.get(NEW, 0), of_state.get(STALE, 0))
    return spaces


def _cells(run: Run, space: str, tracks: int, reason: str | None) -> Artefact | None:
    """Return the cells of a space; None if no vector has a direction.

    A search of all trains them anew, as the vectors may be of another scaler, PCA or number of dimensions.
    """
    of, wanted = C.cells_artefact(run.config, space), run.config.neighbours.cells or C.default_cells(tracks)
    cells = run.artefacts.find(of)
    if cells is not None:
        trained = len(cells.arrays["centroids"])
        if reason is None or (reason.startswith("recall") and trained >= wanted):
            return cells
    size, seed = C.sample_size(wanted), run.config.fit.seed
    sample = _sample(run, space, size)  # bounded: sample_size
    if sample.empty:
        return None
    matrix = matrix_of(sample)
    centroids = C.train(matrix, wanted, seed)
    evenness = C.imbalance(np.bincount(nearest_cells(matrix, centroids, 1)[:, 0], minlength=len(centroids)))
    arrays = {"centroids": centroids, "imbalance": np.array(evenness)}
    why = "first" if cells is None else reason or ""
    run.publish([NewArtefact(of, arrays, len(matrix), hash_of_rows(sample["track_id"]), why)])
    return run.artefacts.need(of)


def _sample(run: Run, space: str, size: int) -> pd.DataFrame:
    """Return ``track_id, vector`` of some tracks, those that have a direction, by track_id."""
    vectors = run.warehouse.read("embeddings").where(F.col("space") == space).select("track_id", "vector")
    chosen = sample_tracks(vectors.select("track_id"), size, run.config.fit.seed)  # vectors are not sorted
    found: pd.DataFrame = vectors.join(chosen, "track_id", "left_semi").toPandas()
    if found["vector"].map(len).nunique() > 1:
        raise SpecrecError(different_lengths(space))
    if not found.empty:
        found = found[has_direction(matrix_of(found))]
    return found.sort_values("track_id", ignore_index=True)


def _tracks(run: Run, states: DataFrame, space: str, rebuild: str | None) -> DataFrame:
    vectors = run.warehouse.read("embeddings").where(F.col("space") == space)
    if rebuild:
        return vectors.select(*_KEY, "input_hash", "vector").withColumns(_searched_anew())
    of_space = states.where(F.col("space") == space).select("track_id", "state", "floor")
    return vectors.select(*_KEY, "input_hash", "vector").join(of_space, "track_id")


def _worn_out(spaces: Mapping[str, _Space], configured: int | None) -> dict[str, str]:
    """Return the spaces, with the reason, whose cells are to be trained anew."""
    found = {}
    for space, of in spaces.items():
        if of.cells is None or of.rebuild:
            continue
        now = C.imbalance(of.in_cell)
        if now > _MOST_IMBALANCE * float(of.cells.arrays["imbalance"]):
            found[space] = f"cells are uneven: {now:.1f} times the work of even ones"
        elif not configured and C.default_cells(of.tracks) >= 2 * len(of.centroids):
            found[space] = f"{len(of.centroids)} cells are too few for {of.tracks} tracks"
    return found


def _choose_probes(run: Run, packed: DataFrame, spaces: Mapping[str, _Space]) -> None:
    """Set how many cells are probed, and keep the sample's true neighbours to measure the lists by."""
    config = run.config.neighbours
    approximate = {}
    for space, of in spaces.items():
        if of.cells is None:
            continue
        of.sample = _sample(run, space, config.recall_sample)
        if of.sample.empty:  # nothing to measure by: all cells
            of.cells, of.probes = None, len(of.centroids)
        else:
            approximate[space] = of
    if not approximate:
        return
    truth = true_neighbours(packed, {space: of.sample for space, of in approximate.items()}, config.top_n)
    for space, of in approximate.items():
        of.truth = truth[truth["space"] == space]
        similar = matrix_of(of.sample) @ of.centroids.T
        rank_of = np.empty(similar.shape, np.int64)
        np.put_along_axis(rank_of, np.argsort(-similar, axis=1), np.arange(similar.shape[1])[None, :], axis=1)
        rows = pd.Index(of.sample["track_id"]).get_indexer(of.truth["track_id"])
        recalls = C.recall_by_probes(rank_of[rows, of.truth["cell"]], len(of.centroids))
        # somewhat above it, or the next nights' updates would soon fall below
        needed = C.needed_probes(recalls, 1 - _HEADROOM * (1 - config.recall_floor))
        of.probes = max(config.probes or 1, needed, of.probes)
        if config.probes and needed > config.probes:
            get_logger().warning(
                "probes_raised", space=space, configured=config.probes, probes=needed, floor=config.recall_floor
            )


def _layouts(run: Run, spaces: Mapping[str, _Space]) -> dict[str, Layout]:
    layouts: dict[str, Layout] = {}
    target = 0
    for space, of in spaces.items():
        visits = None
        if of.cells is not None:
            probed = nearest_cells(matrix_of(of.sample), of.centroids, of.probes)
            visits = np.bincount(probed.ravel(), minlength=len(of.centroids))
        layouts[space] = C.lay_out(
            of.centroids,
            of.in_cell,
            run.config.neighbours.block_rows,
            first_target=target,
            probes=of.probes,
            # a pair is found from either side: with more probes on the one, none is lost to the other
            probes_of_new=min(2 * of.probes, len(of.centroids)),
            visits=visits,
        )
        target += layouts[space].targets
    return layouts


def _lists(run: Run, found: DataFrame, states: DataFrame, updated: Sequence[str]) -> DataFrame:
    """Return the lists of the spaces that are updated: those found, and those that stand with what entered them."""
    fresh, entering = found.where("rank is not null"), found.where("rank is null")
    old = run.warehouse.read("neighbours").where(F.col("space").isin(*updated)).select(*found.columns)
    settled = states.where(F.col("space").isin(*updated) & (F.col("state") == SETTLED)).select(*_KEY)
    old = old.join(settled, _KEY, "left_semi")
    entered = entering.select(*_KEY).distinct()
    nearest = Window.partitionBy(*_KEY).orderBy(F.desc("cosine"), "neighbour_id")
    contested = old.join(entered, _KEY, "left_semi").unionByName(entering)
    merged = contested.withColumn("rank", F.row_number().over(nearest))
    merged = merged.where(F.col("rank") <= run.config.neighbours.top_n)
    return fresh.unionByName(merged).unionByName(old.join(entered, _KEY, "left_anti"))


def _write(
    run: Run,
    found: DataFrame,
    states: DataFrame,
    spaces: Mapping[str, _Space],
    changed: Mapping[str, str],
    *,
    made_of: Sequence[DataFrame],
) -> dict[str, str | None]:
    """Write the lists; of the spaces whose lists are not worth it, return why, and leave their old ones.

    Parameters
    ----------
    made_of : what is persisted for `found` alone, and let go once that is.
    """
    updated = [space for space, of in spaces.items() if not of.rebuild]
    if not updated:
        _replace(run, found, {space: changed[space] for space in spaces})
        _measure(run.warehouse.read("neighbours"), spaces)
        return {}
    found = found.persist(StorageLevel.DISK_ONLY)
    try:
        found.count()  # from here on Spark knows how large it is, and broadcasts it where it is small
        for rows in made_of:  # Delta plans anew, at its commit, whatever is persisted and reads the table
            rows.unpersist()
        rows = _lists(run, found, states, updated)
        _measure(rows, spaces)
        floor = run.config.neighbours.recall_floor
        below: dict[str, str | None] = {
            space: f"recall {of.recall.mean:.3f} is below neighbours.recall_floor"
            for space, of in spaces.items()
            if of.recall is not None and of.recall.mean < floor and not of.rebuild
        }
        written = {space: changed[space] for space in spaces if space not in below}
        if written:
            _replace(run, rows.where(F.col("space").isin(*written)), written)
        for space, reason in below.items():
            get_logger().warning("neighbours_searched_again", space=space, reason=reason)
        return below
    finally:
        found.unpersist()


def _replace(run: Run, rows: DataFrame, states: Mapping[str, str]) -> None:
    hashes = by_part("space", {space: str(run.config.neighbours_hash(space)) for space in states})
    stamped = rows.withColumns({"config_hash": hashes, "run_id": F.lit(run.run_id)})
    run.warehouse.replace_parts("neighbours", "space", stamped, states)


def _measure(lists: DataFrame, spaces: Mapping[str, _Space]) -> None:
    """Note the recall of each space's lists on its sample."""
    measured = {space: of for space, of in spaces.items() if of.cells is not None}
    if not measured:
        return
    of_samples = (
        (F.col("space") == space) & F.col("track_id").isin(of.sample["track_id"].to_list())
        for space, of in measured.items()
    )
    of_all = lists.where(reduce(Column.__or__, of_samples)).select("space", "track_id", "cosine")
    rows: pd.DataFrame = of_all.toPandas()  # as large as the samples
    for space, of in measured.items():
        of.recall = recall(rows[rows["space"] == space], of.truth)


def _quarantine(run: Run, packed: DataFrame, spaces: Mapping[str, _Space]) -> None:
    """Note the tracks whose vectors have no direction; forget those that have one now."""
    warehouse, stage = run.warehouse, F.concat(F.lit("neighbours/"), "space")
    old = warehouse.read("quarantine").where(F.col("stage").isin(*(f"neighbours/{space}" for space in spaces)))
    found = unsearchable(packed).select("track_id", stage.alias("stage"))
    if not any(of.has_unsearchable for of in spaces.values()):
        warehouse.delete("quarantine", old.select("track_id", "stage"))
        return
    rows = found.withColumns(
        {
            "code": F.lit("no_direction"),
            "message": F.lit(
                "the vector is zero or not finite, and so like no other: listen to the file, and replace it if it "
                "holds no music"
            ),
        }
    )
    key = ["track_id", "stage"]
    warehouse.delete("quarantine", old.join(found, key, "left_anti").select(*key))
    quarantine(run, rows)


def _report(run: Run, report: StageReport, spaces: Mapping[str, _Space]) -> None:
    """Say what was done and what it is worth."""
    for space, of in spaces.items():
        what = f"all searched ({of.rebuild})" if of.rebuild else f"{of.new} new, {of.stale} lost a neighbour"
        how = "exact"
        if of.cells is not None:
            how = f"{len(of.centroids)} cells (version {of.cells.version}), {of.probes} probes"
            how += f", recall@{run.config.neighbours.top_n} {of.recall}"
        report.details[f"{space}_search"] = f"{what}; {how}"
