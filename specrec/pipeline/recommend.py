"""Recommend: ``neighbours`` become ``recommendations``, system by system, where anything they speak of changed.

Only the lists that can differ are chosen anew, only the pairs that are new in them are explained, and only the rows
that differ are written. What each list was made from is kept in ``list_inputs``, and compared with what there is
now. A system's lists are made as a whole where nothing is known of that, or where something changed that all of
them depend on: settings, or what sentences are measured by.

``agreement`` says how alike the lists of two systems are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from functools import reduce

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding.config import LISTENERS, SPECTROGRAM
from specrec.embedding.spaces import spaces_of
from specrec.errors import SpecrecError
from specrec.pipeline.fit import catalogue_statistics
from specrec.pipeline.hashes import recommend_hash
from specrec.pipeline.kept import Kept
from specrec.pipeline.run import Run, StageReport
from specrec.recommend.agreement import COMPARED, RBO_P
from specrec.recommend.config import RecommendConfig
from specrec.recommend.explain import Explainer, explainer_of
from specrec.recommend.plan import Basis, made_of, why_make_all
from specrec.recommend.profiles import profile_of
from specrec.recommend.spark import (
    PAIR,
    changes_of_lists,
    choices,
    choose_lists,
    compare_inputs,
    compare_lists,
    explain_lists,
    first_named,
    inputs_of_lists,
    lists_that_may_change,
    profiles,
    stated,
    summaries_of_neighbours,
    with_likes,
    words,
)
from specrec.settings import System, as_recorded
from specrec.warehouse.artefacts import Artefact
from specrec.warehouse.explained import OF_TRACKS, explanation_id
from specrec.warehouse.schemas import GONE, MOVED, NEW
from specrec.warehouse.tables import by_part, states_of

#: What differs in a row whose pair only changed its place.
_MOVED = ("rank", "affinity", "run_id", "computed_at")


def recommend(run: Run) -> None:
    """Bring the lists of the systems up to date whose neighbours, tracks, statistics or settings changed."""
    config, warehouse = run.config, run.warehouse
    with run.stage("recommend") as report:
        searched = warehouse.states("neighbours")
        known = {system: Basis.read(text) for system, text in warehouse.states("recommendations").items()}
        systems = config.systems
        excerpts_made_with = spaces_of(config)[SPECTROGRAM].artefact
        assert excerpts_made_with is not None
        excerpts = run.artefacts.need(excerpts_made_with).version  # of any system's pairs they are matched
        tracks = _state(warehouse.read("tracks"), warehouse.read("duplicates"), config.recommend)
        count = int(tracks.partition(":")[0] or 0) // 2  # it has two codes of each track
        settings = {system: recommend_hash(config, system) for system in systems}
        now = {
            system: as_recorded(
                known[system].made_of if system in known else None,
                *(made_of(name, excerpts, tracks, searched.get(system)) for name in of.accepted),
            )
            for system, of in settings.items()
        }
        now |= dict.fromkeys(known.keys() - set(systems), "")  # of a model that is no longer configured
        changed = {
            system: state for system, state in now.items() if system not in known or known[system].made_of != state
        }
        lists = dict(known)
        changed_tracks: DataFrame | None = None
        written: dict[System, int] = {}
        with ExitStack() as stack:
            if changed:
                statistics = catalogue_statistics(run, report)
                changed |= {
                    system: now[system]
                    for system, basis in known.items()
                    if system in settings and basis.statistics not in (None, statistics.version)
                }
                reasons = {
                    system: why_make_all(
                        known.get(system),
                        settings=settings[system],
                        excerpts=excerpts,
                        statistics=statistics.version,
                        is_small=count < config.recommend.update_from,
                    )
                    for system in changed
                    if system in settings
                }
                making = stack.enter_context(_Lists(run, report, statistics))
                lists |= making.bring_up_to_date(changed, reasons, known)
                changed_tracks, written = making.changed_tracks, making.written
            counts = warehouse.counts("recommendations", "system") if changed else {}
            report.parts(changed, counts, systems)
            report.rows_out = sum(written.get(system, counts.get(system, 0)) for system in changed)
            for system, short in _count_short(run, changed).items():
                report.count("lists_not_full", short, system)
            _write_agreement(run, report, known, lists, changed_tracks)


class _Lists:
    """The lists of some systems, on their way from what there is to what there is to be.

    What it computes and needs again is kept on disk until its ``with`` block ends.

    Parameters
    ----------
    statistics : Artefact
        What is usual in the catalogue.

    Attributes
    ----------
    changed_tracks : DataFrame or None
        ``track_id`` of the tracks whose lists changed; None where lists were made as a whole.
    written : dict of int
        How many rows were written, by system; where lists were made as a whole, it is not there.
    """

    def __init__(self, run: Run, report: StageReport, statistics: Artefact) -> None:
        self._run, self._report, self._statistics = run, report, statistics.version
        self._explainer: Explainer = explainer_of(run.config, statistics)
        self._kept = Kept()
        self.changed_tracks: DataFrame | None = None
        self.written: dict[System, int] = {}

    def __enter__(self) -> _Lists:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.let_go()

    def bring_up_to_date(
        self, changed: Mapping[System, str], reasons: Mapping[System, str | None], known: Mapping[System, Basis]
    ) -> dict[System, Basis]:
        """Write the lists, and return what they are made from.

        Parameters
        ----------
        changed : mapping of str to str
            What the lists of each system that changed are to be made of; empty where it is no longer configured.
        reasons : mapping of str or None
            Why those of a system are made as a whole, if they are.
        known : mapping of Basis
            Of the lists that stand.
        """
        run = self._run
        before = {
            system: found
            for system, reason in reasons.items()
            if reason is None and (found := self._inputs_before(system, known[system])) is not None
        }
        self._report.details |= {
            f"{system}_lists": f"all made ({reason or 'what they were made from is lost'})"
            for system, reason in reasons.items()
            if system not in before
        }
        # before the lists: until these are written, they name the version that there was
        inputs = self._compare(changed, before).withColumn("run_id", F.lit(run.run_id))
        run.warehouse.replace_parts("list_inputs", "system", inputs, dict.fromkeys(changed, ""))
        version = run.warehouse.version("list_inputs")
        # read from there: all that follows would carry the plan by which it was made, many times over
        compared = run.warehouse.read("list_inputs", version)
        lists = {
            system: Basis(state, self._statistics, version, run.run_id) if state else Basis("")
            for system, state in changed.items()
        }
        whole = {system: str(of) for system, of in lists.items() if system not in before}
        if whole:
            self._make_all(compared, whole)
        if before:
            tracks = self._make_what_changed(compared, {system: str(lists[system]) for system in before})
            if not whole:
                self.changed_tracks = tracks
        return lists

    def _keep(self, rows: DataFrame) -> DataFrame:
        return self._kept.count(rows)[0]

    def _inputs_before(self, system: System, basis: Basis) -> DataFrame | None:
        """Return what the lists of a system were made from; None if that cannot be read any more."""
        for version in (None, basis.inputs):  # as it stands, unless the run after that one died
            try:
                if version is not None and self._run.warehouse.lost_files("list_inputs", version):
                    continue  # as VACUUM deletes them, before the log forgets the version
                rows = self._run.warehouse.read("list_inputs", version).where(F.col("system") == system)
                first = rows.select("run_id").first()
            except (AnalysisException, SpecrecError):
                continue
            if first is not None and first.run_id == basis.run_id:
                return rows
        return None

    def _of(self, table: str, column: str, systems: Collection[System]) -> DataFrame:
        return self._run.warehouse.read(table).where(F.col(column).isin(*systems))

    def _compare(self, changed: Collection[System], before: Mapping[System, DataFrame]) -> DataFrame:
        """Return the inputs of the lists of systems with what changed in them: see :func:`compare_inputs`."""
        run, config = self._run, self._run.config
        tracks, duplicates = run.warehouse.read("tracks"), run.warehouse.read("duplicates")
        spaces = {
            system: sorted({of.space for of in profile_of(self._explainer, [system]) if of.space is not None})
            for system in changed
            if system in config.systems
        }
        summaries = summaries_of_neighbours(self._of("neighbours", "space", changed), duplicates)
        told = words(run.warehouse.read("embeddings"), tracks, spaces or {"": [""]})
        now = inputs_of_lists(summaries, choices(tracks, duplicates, config.recommend), told)
        nothing = run.warehouse.read("list_inputs").limit(0)
        known = reduce(DataFrame.unionByName, before.values(), nothing)
        return compare_inputs(now, known, config.recommend.max_hub_shift)

    def _choose(self, neighbours: DataFrame, compared: DataFrame) -> DataFrame:
        read = self._run.warehouse.read
        near = compared.select(F.col("system").alias("space"), "track_id", "mean", "std")
        return choose_lists(neighbours, near, read("tracks"), read("duplicates"), self._run.config.recommend)

    def _explain(self, pairs: DataFrame, *, few: bool) -> DataFrame:
        """Return rows of ``recommendations`` of pairs.

        Parameters
        ----------
        few : bool
            Whether it pays to find out which tracks the pairs are of.
        """
        run, config = self._run, self._run.config
        tables = {name: run.warehouse.read(name) for name in ("audio_features", "tracks", "embeddings")}
        if few:
            both = F.explode(F.array("track_id", "recommended_track_id")).alias("track_id")
            named = self._keep(pairs.select(both).distinct())
            tables = {name: rows.join(named, "track_id", "left_semi") for name, rows in tables.items()}
        profile = profiles(tables, profile_of(self._explainer, config.systems))
        if of_listeners := [system for system in config.systems if LISTENERS in self._explainer.shares[system]]:
            likes = run.warehouse.read("also_liked")
            if few:
                likes = likes.join(named, "track_id", "left_semi")
                likes = likes.join(named.withColumnRenamed("track_id", "other_id"), "other_id", "left_semi")
            pairs = with_likes(pairs, likes, of_listeners)
        lists = explain_lists(pairs, profile, config, self._explainer)
        hashes = by_part("system", {system: str(recommend_hash(config, system)) for system in config.systems})
        name = explanation_id(OF_TRACKS, first_named(), "track_id", "recommended_track_id")
        made_with = {"statistics_version": F.lit(self._statistics), "explanation_id": name, "config_hash": hashes}
        return lists.withColumns({**made_with, **run.stamp()})

    def _make_all(self, compared: DataFrame, states: Mapping[System, str]) -> None:
        """Write all lists of some systems."""
        neighbours = self._of("neighbours", "space", states)
        chosen = self._choose(neighbours, compared.where(F.col("system").isin(*states)))
        rows = self._explain(chosen, few=False)
        self._run.warehouse.replace_parts("recommendations", "system", rows, states)

    def _make_what_changed(self, compared: DataFrame, states: Mapping[System, str]) -> DataFrame:
        """Write how lists differ from those that stand; return the ``track_id`` of those that do."""
        warehouse = self._run.warehouse
        compared = compared.where(F.col("system").isin(*states))
        neighbours = self._of("neighbours", "space", states)
        anew = self._keep(lists_that_may_change(compared, neighbours))
        of_lists = neighbours.join(anew.withColumnRenamed("system", "space"), ["space", "track_id"], "left_semi")
        standing = self._of("recommendations", "system", states)
        changes = self._keep(changes_of_lists(self._choose(of_lists, compared), standing, anew, compared))
        pairs = changes.where(F.col("change") == NEW).drop("change")
        explained = self._explain(pairs, few=True).withColumn("change", F.lit(NEW))
        others = changes.where(F.col("change") != NEW).withColumns(self._run.stamp())
        rows = self._keep(explained.unionByName(others, allowMissingColumns=True))
        chosen = {row.system: row["count"] for row in anew.groupBy("system").count().collect()}  # one row a system
        # of the rows, which read the table that is written now, Spark lets go
        tracks = self._keep(rows.select("track_id").distinct())
        counts = warehouse.change("recommendations", rows, PAIR, _MOVED, states)
        for system in states:
            new, moved, gone = (counts.get((system, kind), 0) for kind in (NEW, MOVED, GONE))
            self._report.record("lists_chosen", chosen.get(system, 0), system)
            for metric, count in (("rows_told", new), ("rows_moved", moved), ("rows_gone", gone)):
                self._report.record(metric, count, system)
            self._report.details[f"{system}_lists"] = (
                f"{chosen.get(system, 0)} chosen anew; rows: {new} told, {moved} moved, {gone} gone"
            )
            self.written[system] = new + moved + gone
        return tracks


def _state(tracks: DataFrame, duplicates: DataFrame, config: RecommendConfig) -> str:
    """Return the state of what lists and explanations read of the tracks: their popularity rewrites no list."""
    frames = ((stated(tracks), "stated"), (choices(tracks, duplicates, config), "choice"))
    of_words, of_choice = (
        rows.select(F.lit("").alias("all"), "track_id", F.col(name).alias("values")) for rows, name in frames
    )
    return states_of(of_words.unionByName(of_choice), "all", "track_id", "values").get("", "")


def _count_short(run: Run, systems: Collection[str]) -> dict[str, int]:
    """Return how many lists are shorter than they should be, or empty, by system; 0 is left out."""
    if not systems:
        return {}
    searched, lists = run.warehouse.read("neighbours"), run.warehouse.read("recommendations")
    wanted = searched.where("rank = 1").select(F.col("space").alias("system"), F.lit(1).alias("missing"))
    full = lists.where(F.col("rank") == run.config.recommend.top_n).select("system", F.lit(-1).alias("missing"))
    missing = wanted.unionByName(full).where(F.col("system").isin(*systems)).groupBy("system").sum("missing")
    return {row[0]: row[1] for row in missing.collect() if row[1]}  # one row a system


def _write_agreement(
    run: Run,
    report: StageReport,
    before: Mapping[System, Basis],
    now: Mapping[System, Basis],
    tracks: DataFrame | None,
) -> None:
    """Bring ``agreement`` up to date if the lists of either of the systems that it compares changed.

    Parameters
    ----------
    before, now : mapping of Basis
        What each system's lists were made from, and are made from now.
    tracks : DataFrame or None
        ``track_id`` of the tracks whose lists changed; None: any may have.
    """
    warehouse = run.warehouse

    def state(lists: Mapping[System, Basis]) -> str:
        return ":".join([str(RBO_P), *(lists[system].made_of if system in lists else "" for system in COMPARED)])

    known, lists = warehouse.states("agreement").get("agreement"), warehouse.read("recommendations")
    if known == state(now):
        report.details["agreement"] = "unchanged"
        return
    if tracks is None or known != state(before):
        warehouse.replace("agreement", compare_lists(lists).withColumns(run.stamp()), state(now))
    else:
        old = warehouse.read("agreement")
        compared = compare_lists(lists.join(tracks, "track_id", "left_semi"))
        same = compared.join(old.select(*compared.columns), compared.columns, "left_semi").select("track_id")
        fresh = compared.join(same, "track_id", "left_anti").withColumn("change", F.lit(NEW))
        gone = old.join(tracks, "track_id", "left_semi").join(compared, "track_id", "left_anti").select("track_id")
        changes = fresh.unionByName(gone.withColumn("change", F.lit(GONE)), allowMissingColumns=True)
        with Kept() as kept:
            changes = kept.keep(changes.withColumns(run.stamp()))
            warehouse.change("agreement", changes, ["track_id"], (), {"agreement": state(now)})
    report.count("rows", warehouse.read("agreement").count(), "agreement")
    report.status = "done"
