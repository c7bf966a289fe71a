"""Recommend: ``neighbours`` become ``recommendations``, system by system, where anything they speak of changed.

``agreement`` says how alike the lists of the two systems are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from specrec.embedding.config import SPECTROGRAM
from specrec.embedding.spaces import spaces_of
from specrec.embedding.statistics import ATTRIBUTES
from specrec.pipeline.fit import catalogue_statistics
from specrec.pipeline.hashes import recommend_hash
from specrec.pipeline.run import Run, StageReport
from specrec.recommend.agreement import COMPARED, RBO_P
from specrec.recommend.config import RecommendConfig
from specrec.recommend.explain import explainer_of
from specrec.recommend.profiles import profile_of
from specrec.recommend.spark import choose_lists, compare_lists, explain_lists, groups, nearness, profiles, traits
from specrec.settings import System, as_recorded
from specrec.warehouse.tables import by_part, states_of


def recommend(run: Run) -> None:
    """Write the lists of the systems whose neighbours, tracks, statistics or settings changed."""
    config, warehouse = run.config, run.warehouse
    with run.stage("recommend") as report:
        searched, known = warehouse.states("neighbours"), warehouse.states("recommendations")
        systems = config.systems
        excerpts_made_with = spaces_of(config)[SPECTROGRAM].artefact
        assert excerpts_made_with is not None
        pca = run.artefacts.need(excerpts_made_with)
        tracks, duplicates = warehouse.read("tracks"), warehouse.read("duplicates")
        # the excerpts, of any system's pairs, are matched by the spectrogram PCA
        said = f"{pca.version}:{_state(tracks, duplicates, config.recommend)}"
        settings = {system: recommend_hash(config, system) for system in systems}
        now = {
            system: as_recorded(
                known.get(system), *(f"{name}:{said}:{searched.get(system)}" for name in of.accepted)
            )
            for system, of in settings.items()
        }
        now |= dict.fromkeys(known.keys() - set(systems), "")  # of a model that is no longer configured
        changed: dict[str, str] = {system: state for system, state in now.items() if known.get(system) != state}
        if changed:
            neighbours = warehouse.read("neighbours").where(F.col("space").isin(*changed))
            near = nearness(neighbours, duplicates)
            chosen = choose_lists(neighbours, near, tracks, duplicates, config.recommend)
            explainer = explainer_of(config, catalogue_statistics(run))
            tables = {name: warehouse.read(name) for name in ("audio_features", "tracks", "embeddings")}
            profile = profiles(tables, profile_of(explainer, systems))
            hashes = by_part("system", {system: str(of) for system, of in settings.items()})
            lists = explain_lists(chosen, profile, config, explainer)
            rows = lists.withColumns({"config_hash": hashes, **run.stamp()})
            warehouse.replace_parts("recommendations", "system", rows, changed)
        report.parts(changed, warehouse.counts("recommendations", "system") if changed else {}, systems)
        for system, short in _count_short(run, changed).items():
            report.count("lists_not_full", short, system)
        _write_agreement(run, report, now)


def _state(tracks: DataFrame, duplicates: DataFrame, config: RecommendConfig) -> str:
    """Return the state of what lists and explanations read of the tracks: their popularity rewrites no list."""
    spoken = [F.coalesce(F.col(name).cast("string"), F.lit("")) for name in ATTRIBUTES]
    of_tracks = traits(tracks, config).join(groups(duplicates), "track_id", "left")
    # as text: a hash passes over what is null, or an empty array
    deciding = [F.to_json(F.struct("allowed", "artists", "albums", "duplicate"))]
    frames = ((tracks, spoken), (of_tracks, deciding))
    of_words, of_choice = (
        rows.select(F.lit("").alias("all"), "track_id", F.xxhash64(*columns).alias("values"))
        for rows, columns in frames
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


def _write_agreement(run: Run, report: StageReport, lists: Mapping[System, str]) -> None:
    """Write ``agreement`` if the lists of either of the systems that it compares changed.

    Parameters
    ----------
    lists : dict of str
        The state of each system's lists.
    """
    state = ":".join([str(RBO_P), *(lists[system] for system in COMPARED)])
    if run.warehouse.states("agreement").get("agreement") == state:
        report.details["agreement"] = "unchanged"
        return
    compared = compare_lists(run.warehouse.read("recommendations")).withColumns(run.stamp())
    run.warehouse.replace("agreement", compared, state)
    report.count("rows", run.warehouse.read("agreement").count(), "agreement")
    report.status = "done"
