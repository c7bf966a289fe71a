"""Neighbours: ``embeddings`` become ``neighbours``, space by space, where a space changed.

Only what can change is computed: a new or changed track is searched, a track whose list lost a member is searched
anew, and a new track that is nearer than the last of a list enters it. A space is searched as a whole where nothing
is known of it, where much of it changed, or where its cells no longer serve.

This module reads, writes and keeps the order of the steps. The decisions are in :mod:`specrec.neighbours.plan`,
what Spark computes is in :mod:`specrec.neighbours.spark`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce

import numpy as np
import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding.spaces import spaces_of
from specrec.embedding.spark import sample_tracks
from specrec.errors import SpecrecError
from specrec.logs import get_logger
from specrec.neighbours import cells as C
from specrec.neighbours import plan
from specrec.neighbours.kernel import has_direction, nearest_cells
from specrec.neighbours.plan import SpacePlan
from specrec.neighbours.recall import matrix_of, recall
from specrec.neighbours.search import NEW, SETTLED, STALE, different_lengths
from specrec.neighbours.spark import (
    all_stale,
    count_cells,
    find,
    join_lists,
    lists_and_vectors,
    lists_of,
    pack,
    states_of_tracks,
    true_neighbours,
    unsearchable,
)
from specrec.pipeline.hashes import neighbours_hash
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.settings import as_recorded
from specrec.warehouse.artefacts import NewArtefact, hash_of_rows
from specrec.warehouse.tables import by_part, states_of

_KEY = ["space", "track_id"]


def find_neighbours(run: Run) -> None:
    """Bring the lists of every space up to date whose vectors or search settings changed.

    What each search is worth, its recall on a sample, is in ``runs``. Where an update's recall is below
    ``neighbours.recall_floor``, the space is searched as a whole, with as many probes as the floor needs.
    """
    warehouse, config = run.warehouse, run.config.neighbours
    with run.stage("neighbours") as report:
        known, systems = warehouse.states("neighbours"), run.config.systems
        by_space = states_of(warehouse.read("embeddings"), "space", "track_id", "input_hash")
        tracks: dict[str, int] = {space: int(by_space.get(space, "0").partition(":")[0]) for space in systems}
        settings = {space: neighbours_hash(run.config, space) for space in systems}
        now = {
            space: as_recorded(
                known.get(space),
                *(
                    plan.state_of(name, plan.method_of(config, count), by_space.get(space))
                    for name in settings[space].accepted
                ),
            )
            for space, count in tracks.items()
        }
        now |= dict.fromkeys(known.keys() - set(systems), "")  # spaces of models that are no longer configured
        changed: dict[str, str] = {space: state for space, state in now.items() if known.get(space) != state}
        if changed:
            tracks = {space: tracks.get(space, 0) for space in changed}
            report.rows_in = sum(tracks.values())
            empty = {space: state for space, state in changed.items() if not tracks[space]}
            if empty:
                nothing = warehouse.read("neighbours").where(F.lit(False))
                warehouse.replace_parts("neighbours", "space", nothing, empty)
            reasons: dict[str, str | None] = {
                space: plan.why_rebuild(
                    known.get(space),
                    settings=settings[space],
                    method=plan.method_of(config, tracks[space]),
                    tracks=tracks[space],
                    config=config,
                )
                for space, state in changed.items()
                if space not in empty
            }
            while reasons:
                reasons = _update(run, report, changed, tracks, reasons)
        report.parts(changed, warehouse.counts("neighbours", "space") if changed else {}, systems)


def _update(
    run: Run,
    report: StageReport,
    changed: Mapping[str, str],
    tracks: Mapping[str, int],
    reasons: Mapping[str, str | None],
) -> dict[str, str | None]:
    """Search spaces and write their lists; return those, with the reason, that must be searched as a whole."""
    config = run.config.neighbours
    updated = [space for space, reason in reasons.items() if not reason]
    compared = _lists_and_vectors(run, updated) if updated else None
    states = _states(run, reasons, compared).persist(StorageLevel.DISK_ONLY)
    made_of = [] if compared is None else [compared]
    try:
        spaces = _survey(run, states, tracks, reasons)
        frames = [_tracks(run, states, name, space.rebuild) for name, space in spaces.items()]
        packed = pack(reduce(DataFrame.unionByName, frames), {name: of.centroids for name, of in spaces.items()})
        packed = packed.persist(StorageLevel.DISK_ONLY)
        made_of.append(packed)
        for name, counts in count_cells(packed).items():
            spaces[name].count(counts)
        worn_out = {name: why for name, of in spaces.items() if (why := plan.why_worn_out(of, config))}
        if worn_out:
            return {space: worn_out.get(space, reason) for space, reason in reasons.items()}
        _choose_probes(run, packed, spaces)
        layouts = plan.lay_out(spaces, config.block_rows)
        _quarantine(run, packed, spaces)
        found = find(packed, layouts, config.top_n)
        again = _write(run, found, states, spaces, changed, made_of=made_of)
    finally:
        for rows in (states, *made_of):
            rows.unpersist()
    for name, space in spaces.items():
        report.details[f"{name}_search"] = plan.in_words(space, config.top_n)
        for metric, value in plan.in_numbers(space).items():
            report.record(metric, value, name)
    return again


def _of(run: Run, table: str, spaces: Collection[str]) -> DataFrame:
    return run.warehouse.read(table).where(F.col("space").isin(*spaces))


def _lists_and_vectors(run: Run, updated: Sequence[str]) -> DataFrame:
    """Return what :func:`lists_and_vectors` says of the spaces that are updated.

    It is persisted and counted: Spark then knows how large it is, and broadcasts what is taken from it where that
    is small.
    """
    neighbours, embeddings = _of(run, "neighbours", updated), _of(run, "embeddings", updated)
    compared = lists_and_vectors(neighbours, embeddings, run.config.neighbours.top_n)
    compared = compared.persist(StorageLevel.DISK_ONLY)
    compared.count()
    return compared


def _states(run: Run, reasons: Mapping[str, str | None], compared: DataFrame | None) -> DataFrame:
    """Return ``space, track_id, state, floor`` of every track of the spaces; see :func:`states_of_tracks`.

    Parameters
    ----------
    compared : DataFrame or None
        What :func:`_lists_and_vectors` returned, if spaces are updated.
    """
    whole = [space for space, reason in reasons.items() if reason]
    rebuilt = all_stale(_of(run, "embeddings", whole).select(*_KEY))
    if compared is None:
        return rebuilt
    updated = [space for space, reason in reasons.items() if not reason]
    return rebuilt.unionByName(states_of_tracks(compared, _of(run, "neighbours", updated)))


def _survey(
    run: Run, states: DataFrame, tracks: Mapping[str, int], reasons: Mapping[str, str | None]
) -> dict[str, SpacePlan]:
    """Decide how each space is searched."""
    config = run.config.neighbours
    by_state: dict[str, dict[int, int]] = {space: {} for space in reasons}
    if not all(reasons.values()):
        for row in states.groupBy("space", "state").count().collect():  # three rows a space, at most
            by_state[row.space][row.state] = row["count"]
    spaces = {}
    for name, given in reasons.items():
        count, of_state = tracks[name], by_state[name]
        fresh = sum(n for state, n in of_state.items() if state != SETTLED)
        space = _plan(run, name, count, given or plan.why_too_much_changed(fresh, count, config))
        space.new, space.stale = of_state.get(NEW, 0), of_state.get(STALE, 0)
        spaces[name] = space
    return spaces


def _plan(run: Run, space: str, tracks: int, rebuild: str | None) -> SpacePlan:
    """Return the plan of a space, with its cells, trained anew where those that there are do not serve.

    A space in which no vector has a direction has none: it is searched exactly.
    """
    config = run.config.neighbours
    exact = SpacePlan(tracks, C.one_cell(), rebuild=rebuild)
    if plan.method_of(config, tracks) == "exact":
        return exact
    vectors = spaces_of(run.config)[space].settings_hash
    of, wanted = C.cells_artefact(space, vectors, config, run.config.fit.seed), plan.wanted_cells(config, tracks)
    cells = run.artefacts.find(of)
    if cells is None or not plan.cells_serve(len(cells.arrays["centroids"]), wanted, rebuild):
        sample = _sample(run, space, C.sample_size(wanted))  # bounded: sample_size
        if sample.empty:
            return exact
        matrix = matrix_of(sample)
        centroids = C.train(matrix, wanted, run.config.fit.seed)
        counts = np.bincount(nearest_cells(matrix, centroids, 1)[:, 0], minlength=len(centroids))
        arrays = {"centroids": centroids, "imbalance": np.array(C.imbalance(counts))}
        reason = "first" if cells is None else rebuild or ""
        run.publish([NewArtefact(of, arrays, len(matrix), hash_of_rows(sample["track_id"]), reason)])
        cells = run.artefacts.need(of)
    centroids = cells.arrays["centroids"].astype(np.float32)
    return SpacePlan(tracks, centroids, cells.version, float(cells.arrays["imbalance"]), rebuild)


def _sample(run: Run, space: str, size: int) -> pd.DataFrame:
    """Return ``track_id, vector`` of some tracks, those that have a direction, by track_id."""
    vectors = run.warehouse.read("embeddings").where(F.col("space") == space).select("track_id", "vector")
    # chosen by track_id alone, so that no vector is sorted
    chosen = sample_tracks(vectors.select("track_id"), size, run.config.fit.seed)
    found: pd.DataFrame = vectors.join(chosen, "track_id", "left_semi").toPandas()
    if found["vector"].map(len).nunique() > 1:
        raise SpecrecError(different_lengths(space))
    if not found.empty:
        found = found[has_direction(matrix_of(found))]
    return found.sort_values("track_id", ignore_index=True)


def _tracks(run: Run, states: DataFrame, space: str, rebuild: str | None) -> DataFrame:
    """Return the tracks of a space as :func:`pack` takes them."""
    vectors = run.warehouse.read("embeddings").where(F.col("space") == space)
    vectors = vectors.select(*_KEY, "input_hash", "vector")
    if rebuild:
        return all_stale(vectors)
    of_space = states.where(F.col("space") == space).select("track_id", "state", "floor")
    return vectors.join(of_space, "track_id")


def _choose_probes(run: Run, packed: DataFrame, spaces: Mapping[str, SpacePlan]) -> None:
    """Set how many cells are probed, and keep the sample's true neighbours to measure the lists by."""
    config = run.config.neighbours
    approximate = {}
    for name, space in spaces.items():
        if space.is_exact:
            continue
        space.sample = _sample(run, name, config.recall_sample)
        if space.sample.empty:
            space.search_all_cells()
        else:
            approximate[name] = space
    if not approximate:
        return
    truth = true_neighbours(packed, {name: space.sample for name, space in approximate.items()}, config.top_n)
    for name, space in approximate.items():
        space.truth = truth[truth["space"] == name]
        needed = plan.needed_probes(space, config.recall_floor)
        space.probes = plan.chosen_probes(needed, config)
        if config.probes and needed > config.probes:
            get_logger().warning(
                "probes_raised", space=name, configured=config.probes, probes=needed, floor=config.recall_floor
            )


def _write(
    run: Run,
    found: DataFrame,
    states: DataFrame,
    spaces: Mapping[str, SpacePlan],
    changed: Mapping[str, str],
    *,
    made_of: Sequence[DataFrame],
) -> dict[str, str | None]:
    """Write the lists; of the spaces whose lists are not worth it, return why, and leave their old ones.

    Parameters
    ----------
    made_of : sequence of DataFrame
        What is persisted for `found` alone, and let go once that is.
    """
    updated = [name for name, space in spaces.items() if not space.rebuild]
    if not updated:
        _replace(run, found, {name: changed[name] for name in spaces})
        _measure(run.warehouse.read("neighbours"), spaces)
        return {}
    found = found.persist(StorageLevel.DISK_ONLY)
    try:
        found.count()  # Spark then knows how large it is, and broadcasts it where it is small
        for rows in made_of:  # at its commit Delta plans anew all that is persisted and reads the table
            rows.unpersist()
        of_updated = states.where(F.col("space").isin(*updated))
        rows = join_lists(found, _of(run, "neighbours", updated), of_updated, run.config.neighbours.top_n)
        _measure(rows, spaces)
        floor = run.config.neighbours.recall_floor
        again: dict[str, str | None] = {
            name: why for name, space in spaces.items() if (why := plan.why_search_again(space, floor))
        }
        written = {name: changed[name] for name in spaces if name not in again}
        if written:
            _replace(run, rows.where(F.col("space").isin(*written)), written)
        for name, reason in again.items():
            get_logger().warning("neighbours_searched_again", space=name, reason=reason)
        return again
    finally:
        found.unpersist()


def _replace(run: Run, rows: DataFrame, states: Mapping[str, str]) -> None:
    hashes = by_part("space", {space: str(neighbours_hash(run.config, space)) for space in states})
    stamped = rows.withColumns({"config_hash": hashes, "run_id": F.lit(run.run_id)})
    run.warehouse.replace_parts("neighbours", "space", stamped, states)


def _measure(lists: DataFrame, spaces: Mapping[str, SpacePlan]) -> None:
    """Note the recall of each space's lists on its sample."""
    measured = {name: space for name, space in spaces.items() if not space.is_exact}
    if not measured:
        return
    rows = lists_of(lists, {name: space.sample["track_id"].to_list() for name, space in measured.items()})
    for name, space in measured.items():
        space.recall = recall(rows[rows["space"] == name], space.truth)


def _quarantine(run: Run, packed: DataFrame, spaces: Mapping[str, SpacePlan]) -> None:
    """Note the tracks whose vectors have no direction; forget those that have one now."""
    warehouse, stage = run.warehouse, F.concat(F.lit("neighbours/"), "space")
    old = warehouse.read("quarantine").where(F.col("stage").isin(*(f"neighbours/{space}" for space in spaces)))
    found = unsearchable(packed).select("track_id", stage.alias("stage"))
    if not any(space.has_unsearchable for space in spaces.values()):
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
