"""Recommend: ``neighbours`` become ``recommendations``, system by system, where anything they speak of changed."""

from __future__ import annotations

from pyspark.sql import functions as F

from specrec.config import SYSTEMS
from specrec.embedding.artefacts import STATISTICS
from specrec.pipeline.fit import need_artefact
from specrec.pipeline.run import Run
from specrec.recommend.lists import profiles
from specrec.recommend.lists import recommend as recommend_system
from specrec.warehouse.tables import state_of


def recommend(run: Run) -> None:
    """Write the lists of the systems whose neighbours, tracks, statistics or settings changed."""
    config, warehouse = run.config, run.warehouse
    with run.stage("recommend") as report:
        searched, done = warehouse.states("neighbours"), warehouse.states("recommendations")
        statistics = need_artefact(run, STATISTICS)
        tracks = warehouse.read("tracks")
        spoken_of = f"{config.recommend_hash}:{statistics.version}:{state_of(tracks, 'track_id', 'row_hash')}"
        profile = profiles(warehouse.read("audio_features"), warehouse.read("embeddings"), tracks)
        written = []
        for system in SYSTEMS:
            state = f"{spoken_of}:{searched[system]}"
            if done.get(system) == state:
                continue
            neighbours = warehouse.read("neighbours").where(F.col("space") == system)
            lists = recommend_system(neighbours, profile, system, config, statistics)
            rows = lists.withColumns({"system": F.lit(system), **run.stamp()})
            warehouse.replace_part("recommendations", "system", system, rows, state)
            written.append(system)
        report.parts(written, warehouse.counts("recommendations", "system") if written else {}, SYSTEMS)
