"""Recommend: ``neighbours`` become ``recommendations``, system by system, where anything they speak of changed."""

from __future__ import annotations

from pyspark.sql import functions as F

from specrec.config import SYSTEMS
from specrec.embedding.artefacts import STATISTICS
from specrec.embedding.statistics import ATTRIBUTES
from specrec.pipeline.fit import need_artefact
from specrec.pipeline.run import Run
from specrec.recommend.lists import profiles, recommend_lists
from specrec.warehouse.tables import by_part, states_of


def recommend(run: Run) -> None:
    """Write the lists of the systems whose neighbours, tracks, statistics or settings changed."""
    config, warehouse = run.config, run.warehouse
    with run.stage("recommend") as report:
        searched, known = warehouse.states("neighbours"), warehouse.states("recommendations")
        statistics = need_artefact(run, STATISTICS)
        tracks = warehouse.read("tracks")
        # of a track's row, only what explanations speak of: a change of popularity rewrites no list
        spoken = [F.coalesce(F.col(name).cast("string"), F.lit("")).alias(name) for name in ATTRIBUTES]
        of_tracks = states_of(
            tracks.select(F.lit("").alias("all"), "track_id", *spoken), "all", "track_id", *ATTRIBUTES
        )
        spoken_of = f"{statistics.version}:{of_tracks.get('')}"
        now = {system: f"{config.recommend_hash(system)}:{spoken_of}:{searched.get(system)}" for system in SYSTEMS}
        changed: dict[str, str] = {system: state for system, state in now.items() if known.get(system) != state}
        if changed:
            neighbours = warehouse.read("neighbours").where(F.col("space").isin(*changed))
            profile = profiles(warehouse.read("audio_features"), warehouse.read("embeddings"), tracks)
            hashes = by_part("system", {system: config.recommend_hash(system) for system in changed})
            lists = recommend_lists(neighbours, profile, config, statistics)
            rows = lists.withColumns({"config_hash": hashes, **run.stamp()})
            warehouse.replace_parts("recommendations", "system", rows, changed)
        report.parts(changed, warehouse.counts("recommendations", "system") if changed else {}, SYSTEMS)
