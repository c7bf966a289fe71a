"""Neighbours: ``embeddings`` become ``neighbours``, space by space, where a space changed.

Only what can change is computed: a new or changed track is searched, a track whose list lost a member is searched
anew, and a new track that is nearer than the last of a list enters it. A space is searched as a whole where nothing
is known of it, where much of it changed, or where its cells no longer serve.

A list that comes out as it stands keeps its rows, with the run that wrote them; all rows of one that differs are of
this run. Of equal files one is searched, and the others have its list.

This module reads, writes and keeps the order of the steps. The decisions are in :mod:`specrec.neighbours.plan`,
what Spark computes is in :mod:`specrec.neighbours.spark`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from specrec.embedding.spaces import spaces_of
from specrec.embedding.spark import MEASURING, sample_apart
from specrec.errors import SpecrecError
from specrec.logs import get_logger
from specrec.neighbours import cells as C
from specrec.neighbours import plan
from specrec.neighbours.config import NeighboursConfig
from specrec.neighbours.kernel import has_direction, nearest_cells
from specrec.neighbours.plan import SpacePlan
from specrec.neighbours.recall import matrix_of, recall
from specrec.neighbours.scan import Wanted
from specrec.neighbours.search import NEW, SETTLED, STALE, different_lengths
from specrec.neighbours.spark import (
    all_stale,
    broken_lists,
    copies,
    count_cells,
    find,
    find_few,
    lists_and_vectors,
    lists_of,
    lost_members,
    new_originals,
    pack,
    renewed_lists,
    sets_of_copies,
    states_of_tracks,
    touched_lists,
    true_neighbours,
    unchanged_lists,
    unsearchable,
    with_copies,
)
from specrec.pipeline.hashes import neighbours_hash
from specrec.pipeline.kept import Kept
from specrec.pipeline.quarantine import quarantine
from specrec.pipeline.run import Run, StageReport
from specrec.settings import as_recorded
from specrec.warehouse.artefacts import NewArtefact, hash_of_rows
from specrec.warehouse.schemas import GONE
from specrec.warehouse.schemas import NEW as NEW_ROW
from specrec.warehouse.tables import by_part, states_of

_KEY = ["space", "track_id"]


def find_neighbours(run: Run) -> None:
    """Bring the lists of every space up to date whose vectors or search settings changed.

    What a search by cells is worth, the recall of its lists on a sample, is in ``runs``. Where an update's recall
    is below ``neighbours.recall_floor``, the space is searched as a whole, with as many probes as the floor needs.
    """
    warehouse, config = run.warehouse, run.config.neighbours
    with run.stage("neighbours") as report:
        known = {space: plan.without_cells(state) for space, state in warehouse.states("neighbours").items()}
        systems = run.config.systems
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
    with Kept() as known, Kept() as vectors:
        there = _look(run, known, reasons)
        spaces = _survey(run, there, tracks, reasons)
        frames = [_tracks(run, there, name, space.rebuild) for name, space in spaces.items()]
        packed = pack(reduce(DataFrame.unionByName, frames), {name: of.centroids for name, of in spaces.items()})
        packed = vectors.keep(packed)
        for name, counts in count_cells(packed).items():
            spaces[name].count(counts)
        worn_out = {name: why for name, of in spaces.items() if (why := plan.why_worn_out(of, config))}
        if worn_out:
            return {space: worn_out.get(space, reason) for space, reason in reasons.items()}
        _choose_probes(run, packed, spaces, there.copied)
        _quarantine(run, packed, spaces, there.copied)
        found = _find(packed, spaces, config)
        renewed = _renew(run, known, vectors, found, there=there, spaces=spaces)
        again = _write(run, known, renewed, spaces, changed)
    for name, space in spaces.items():
        report.details[f"{name}_search"] = plan.in_words(space, config.top_n)
        for metric, value in plan.in_numbers(space).items():
            report.record(metric, value, name)
    return again


def _of(run: Run, table: str, spaces: Collection[str]) -> DataFrame:
    return run.warehouse.read(table).where(F.col("space").isin(*spaces))


def _copies(run: Run, known: Kept, spaces: Collection[str]) -> tuple[DataFrame, bool]:
    """Return what :func:`copies` says of some spaces, and whether there are any."""
    vectors = _of(run, "embeddings", spaces).select(*_KEY, "input_hash")
    sets, count = known.count(sets_of_copies(vectors))
    if not count:  # Spark leaves out what it would join with no row
        return vectors.where(F.lit(False)).withColumn("original", F.col("track_id")), False
    return known.count(copies(vectors, sets))[0], True


@dataclass(frozen=True)
class _There:
    """What is known of the tracks before a search.

    Attributes
    ----------
    copied : DataFrame
        What :func:`copies` says of all spaces.
    has_copies : bool
        Whether there are any.
    compared, states : DataFrame or None
        What :func:`lists_and_vectors` and :func:`states_of_tracks` say of those that are updated; None: none is.
    """

    copied: DataFrame
    has_copies: bool
    compared: DataFrame | None = None
    states: DataFrame | None = None


def _look(run: Run, known: Kept, reasons: Mapping[str, str | None]) -> _There:
    """Find copies, and compare tracks with the lists that stand."""
    every, has_copies = _copies(run, known, reasons)
    updated = [space for space, reason in reasons.items() if not reason]
    if not updated:
        return _There(every, has_copies)
    neighbours, embeddings = _of(run, "neighbours", updated), _of(run, "embeddings", updated)
    compared = lists_and_vectors(neighbours, embeddings, run.config.neighbours.top_n)
    compared, _ = known.count(compared)
    originals, _ = known.count(new_originals(compared, every.where(_in(updated))))
    lost, _ = known.count(lost_members(compared, originals))
    broken, _ = known.count(broken_lists(neighbours, lost))
    return _There(every, has_copies, compared, known.keep(states_of_tracks(originals, broken)))


def _survey(
    run: Run, there: _There, tracks: Mapping[str, int], reasons: Mapping[str, str | None]
) -> dict[str, SpacePlan]:
    """Decide how each space is searched."""
    config = run.config.neighbours
    by_state: dict[str, dict[int, int]] = {space: {} for space in reasons}
    if there.states is not None:
        for row in there.states.groupBy("space", "state").count().collect():  # three rows a space, at most
            by_state[row.space][row.state] = row["count"]
    spaces = {}
    for name, given in reasons.items():
        count, of_state = tracks[name], by_state[name]
        fresh = sum(n for state, n in of_state.items() if state != SETTLED)
        rebuild = given or plan.why_too_much_changed(fresh, count, config)
        if plan.are_few(fresh, rebuild, config):
            space = SpacePlan(count, C.one_cell(), are_few=True)
        else:
            space = _plan(run, name, count, rebuild, there.copied)
        space.new, space.stale = of_state.get(NEW, 0), of_state.get(STALE, 0)
        spaces[name] = space
    return spaces


def _plan(run: Run, space: str, tracks: int, rebuild: str | None, copied: DataFrame) -> SpacePlan:
    """Return the plan of a space, with its cells, trained anew where those that there are do not serve.

    A space in which no vector has a direction has none: it is searched exactly.
    """
    config, seed = run.config.neighbours, run.config.fit.seed
    exact = SpacePlan(tracks, C.one_cell(), rebuild=rebuild)
    if plan.method_of(config, tracks) == "exact":
        return exact
    vectors = spaces_of(run.config)[space].settings_hash
    of, wanted = C.cells_artefact(space, vectors, config, seed), plan.wanted_cells(config, tracks)
    cells = run.artefacts.find(of)
    if cells is None or not plan.cells_serve(len(cells.arrays["centroids"]), wanted, rebuild):
        sample = _sample(run, space, copied, C.sample_size(wanted), "cells")  # bounded: sample_size
        if sample.empty:
            return exact
        matrix = matrix_of(sample)
        centroids = C.train(matrix, wanted, seed)
        counts = np.bincount(nearest_cells(matrix, centroids, 1)[:, 0], minlength=len(centroids))
        arrays = {"centroids": centroids, "imbalance": np.array(C.imbalance(counts))}
        reason = "first" if cells is None else rebuild or ""
        trained = NewArtefact(of, arrays, len(matrix), hash_of_rows(sample["track_id"]), reason)
        version = run.artefacts.last_version(of.name) + 1
        return SpacePlan(tracks, centroids, version, float(arrays["imbalance"]), rebuild, trained=trained)
    found = SpacePlan(
        tracks,
        cells.arrays["centroids"].astype(np.float32),
        cells.version,
        float(cells.arrays["imbalance"]),
        rebuild,
    )
    if "probes" in cells.arrays:
        kept = int(cells.arrays["probes"])
        if not rebuild:
            found.kept_probes = kept
            return found
        found.least_probes = plan.least_probes(kept, rebuild, len(found.centroids))
    # the probes are chosen anew, and kept beside the same cells
    reason = rebuild or "probes were not kept"
    arrays = {name: cells.arrays[name] for name in ("centroids", "imbalance")}
    found.trained = NewArtefact(of, arrays, cells.fitted_tracks, cells.fitted_on, reason)
    found.cells_version = run.artefacts.last_version(of.name) + 1
    return found


def _sample(run: Run, space: str, copied: DataFrame, size: int, purpose: str) -> pd.DataFrame:
    """Return ``track_id, vector`` of some tracks that have a direction, by track_id; see :func:`sample_apart`."""
    vectors = run.warehouse.read("embeddings").where(F.col("space") == space).select(*_KEY, "vector")
    ids = vectors.select(*_KEY).join(copied.select(*_KEY), _KEY, "left_anti").select("track_id")
    chosen = sample_apart(ids, size, run.config.fit.seed, purpose)
    found: pd.DataFrame = vectors.drop("space").join(chosen, "track_id", "left_semi").toPandas()
    if found["vector"].map(len).nunique() > 1:
        raise SpecrecError(different_lengths(space))
    if not found.empty:
        found = found[has_direction(matrix_of(found))]
    return found.sort_values("track_id", ignore_index=True)


def _tracks(run: Run, there: _There, space: str, rebuild: str | None) -> DataFrame:
    """Return the tracks of a space that are searched as :func:`pack` takes them."""
    vectors = run.warehouse.read("embeddings").where(F.col("space") == space)
    vectors = vectors.select(*_KEY, "input_hash", "vector")
    if rebuild or there.states is None:
        return all_stale(vectors.join(there.copied.select(*_KEY), _KEY, "left_anti"))
    of_space = there.states.where(F.col("space") == space).select("track_id", "state", "floor")
    return vectors.join(of_space, "track_id")


def _choose_probes(run: Run, packed: DataFrame, spaces: Mapping[str, SpacePlan], copied: DataFrame) -> None:
    """Set how many cells are probed, keep that beside the cells, and find what the lists are measured by."""
    config = run.config.neighbours
    approximate = {}
    for name, space in spaces.items():
        if space.is_exact:
            continue
        space.sample = _sample(run, name, copied, config.recall_sample, MEASURING)
        if space.kept_probes is None:
            space.choosing = _sample(run, name, copied, config.recall_sample, "probes")
        if space.sample.empty or (space.kept_probes is None and space.choosing.empty):
            space.search_all_cells()
        else:
            approximate[name] = space
    if not approximate:
        return
    samples = {
        name: pd.concat([space.sample, space.choosing], ignore_index=True) for name, space in approximate.items()
    }
    wanted = {name: Wanted.only(rows["track_id"], matrix_of(rows)) for name, rows in samples.items()}
    truth = true_neighbours(packed, wanted, config.top_n)
    fitted = []
    for name, space in approximate.items():
        space.truth = truth[truth["space"] == name]
        needed = space.kept_probes or max(plan.needed_probes(space, config.recall_floor), space.least_probes)
        space.probes = plan.chosen_probes(needed, config)
        if space.trained is not None:
            new = space.trained
            fitted.append(replace(new, arrays={**new.arrays, "probes": np.array(needed)}))
        if config.probes and needed > config.probes:
            get_logger().warning(
                "probes_raised", space=name, configured=config.probes, probes=needed, floor=config.recall_floor
            )
    if fitted:
        run.publish(fitted)


def _find(packed: DataFrame, spaces: Mapping[str, SpacePlan], config: NeighboursConfig) -> DataFrame:
    """Search each space as planned; see :func:`specrec.neighbours.spark.find`."""
    few = [name for name, space in spaces.items() if space.are_few]
    layouts = plan.lay_out({name: of for name, of in spaces.items() if not of.are_few}, config.block_rows)
    found = [find_few(packed.where(_in(few)), config.top_n)] if few else []
    found += [find(packed.where(_in(layouts)), layouts, config.top_n)] if layouts else []
    return reduce(DataFrame.unionByName, found)


@dataclass(frozen=True)
class _Renewed:
    """What a night makes of the lists of its spaces.

    Attributes
    ----------
    lists : DataFrame
        Those that differ from what stood, or are new.
    standing : DataFrame or None
        The rows of ``neighbours`` that stay as they are; None: none does.
    replaced : DataFrame or None
        ``space, track_id`` of the lists that stood and do not stay; None: whatever there was is replaced.
    """

    lists: DataFrame
    standing: DataFrame | None = None
    replaced: DataFrame | None = None


def _renew(
    run: Run, known: Kept, vectors: Kept, found: DataFrame, *, there: _There, spaces: Mapping[str, SpacePlan]
) -> _Renewed:
    """Return the lists that came out otherwise than they stand, and those that stand.

    Parameters
    ----------
    vectors : Kept
        What is kept for `found` alone, and let go once that is.
    """
    comparable = [name for name, space in spaces.items() if space.rebuild not in plan.NOTHING_STANDS]
    if not comparable:
        return _Renewed(with_copies(known.keep(found), there.copied))
    found, _ = known.count(found)
    vectors.let_go()
    updated = [name for name, space in spaces.items() if not space.rebuild]
    rebuilt = [name for name, space in spaces.items() if space.rebuild]
    old = _of(run, "neighbours", comparable)
    lists, touched = [], []
    if updated and there.states is not None and there.compared is not None:
        of = [rows.where(_in(updated)) for rows in (found, there.states, there.compared, there.copied)]
        some, _ = known.count(touched_lists(*of))
        few = of[3].join(some, _KEY, "left_semi")
        top_n = run.config.neighbours.top_n
        touched.append(some)
        lists.append(renewed_lists(of[0], old.where(_in(updated)), some, states=of[1], copied=few, top_n=top_n))
    if rebuilt:
        touched.append(old.where(_in(rebuilt)).select(*_KEY).distinct())
        lists.append(with_copies(found.where(_in(rebuilt)), there.copied))
    renewed, _ = known.count(reduce(DataFrame.unionByName, lists))
    replaced = reduce(DataFrame.unionByName, touched)
    unchanged, _ = known.count(unchanged_lists(renewed, old.join(replaced, _KEY, "left_semi")))
    replaced, _ = known.count(replaced.join(unchanged, _KEY, "left_anti"))
    differing, _ = known.count(renewed.join(unchanged, _KEY, "left_anti"))
    # at its commit Delta plans anew all that is persisted and reads the table
    known.let_go(but=(replaced, differing))
    return _Renewed(differing, old.join(replaced, _KEY, "left_anti"), replaced)


def _in(spaces: Collection[str]) -> Column:
    return F.col("space").isin(*spaces)


def _write(
    run: Run, known: Kept, renewed: _Renewed, spaces: Mapping[str, SpacePlan], changed: Mapping[str, str]
) -> dict[str, str | None]:
    """Write the lists; of the spaces whose lists are not worth it, return why, and leave their old ones."""
    hashes = by_part("space", {space: str(neighbours_hash(run.config, space)) for space in spaces})
    lists = renewed.lists.withColumns({"config_hash": hashes, "run_id": F.lit(run.run_id)})
    rows = lists
    if renewed.standing is not None:
        rows = renewed.standing.select(*lists.columns).unionByName(lists)
    rebuilt = {name: plan.with_cells(changed[name], of) for name, of in spaces.items() if of.rebuild}
    if len(rebuilt) == len(spaces) or renewed.replaced is None:
        _replace(run, rows, rebuilt)
        known.let_go()
        _measure(run.warehouse.read("neighbours"), spaces)
        return {}
    _measure(rows, spaces)
    floor = run.config.neighbours.recall_floor
    again: dict[str, str | None] = {
        name: why for name, space in spaces.items() if (why := plan.why_search_again(space, floor))
    }
    updated = {
        name: plan.with_cells(changed[name], of)
        for name, of in spaces.items()
        if name not in again and name not in rebuilt
    }
    if updated:  # made before anything is written: at a commit Delta drops what reads the table
        changes, _ = known.count(_changes(lists.where(_in(updated)), renewed.replaced.where(_in(updated))))
    if rebuilt:
        _replace(run, rows.where(_in(rebuilt)), rebuilt)
    if updated:
        run.warehouse.change("neighbours", changes, _KEY, (), updated, is_list=True)
    for name, reason in again.items():
        get_logger().warning("neighbours_searched_again", space=name, reason=reason)
    return again


def _changes(lists: DataFrame, replaced: DataFrame) -> DataFrame:
    """Return what lists that differ, and those that they replace, change in the table."""
    gone = replaced.join(lists.select(*_KEY).distinct(), _KEY, "left_anti").withColumn("change", F.lit(GONE))
    return lists.withColumn("change", F.lit(NEW_ROW)).unionByName(gone, allowMissingColumns=True)


def _replace(run: Run, rows: DataFrame, states: Mapping[str, str]) -> None:
    """Write all lists of some spaces, in the order in which later nights change them."""
    in_order = rows.repartitionByRange(*_KEY).sortWithinPartitions(*_KEY, "rank")
    run.warehouse.replace_parts("neighbours", "space", in_order, states)


def _measure(lists: DataFrame, spaces: Mapping[str, SpacePlan]) -> None:
    """Note the recall of each space's lists on its sample."""
    measured = {name: space for name, space in spaces.items() if not space.is_exact}
    if not measured:
        return
    rows = lists_of(lists, {name: space.sample["track_id"].to_list() for name, space in measured.items()})
    for name, space in measured.items():
        space.recall = recall(rows[rows["space"] == name], space.measured)


def _quarantine(run: Run, packed: DataFrame, spaces: Mapping[str, SpacePlan], copied: DataFrame) -> None:
    """Note the tracks whose vectors have no direction, copies too; forget those that have one now."""
    warehouse, stage = run.warehouse, F.concat(F.lit("neighbours/"), "space")
    old = warehouse.read("quarantine").where(F.col("stage").isin(*(f"neighbours/{space}" for space in spaces)))
    found = with_copies(unsearchable(packed), copied).select("track_id", stage.alias("stage"))
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
