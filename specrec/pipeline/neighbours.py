"""Neighbours: ``embeddings`` become ``neighbours``, space by space, where a space changed."""

from __future__ import annotations

from pyspark.sql import functions as F

from specrec.config import SYSTEMS
from specrec.neighbours.exact import exact_neighbours
from specrec.pipeline.run import Run
from specrec.warehouse.tables import state_of


def find_neighbours(run: Run) -> None:
    """Search the spaces whose vectors or search settings changed since they were last searched."""
    config, warehouse = run.config.neighbours, run.warehouse
    with run.stage("neighbours") as report:
        states = warehouse.states("neighbours")
        searched = []
        for space in SYSTEMS:
            vectors = warehouse.read("embeddings").where(F.col("space") == space)
            state = f"{run.config.neighbours_hash}:{state_of(vectors, 'track_id', 'input_hash')}"
            if states.get(space) == state:
                continue
            found = exact_neighbours(vectors.select("track_id", "vector"), config.top_n, config.block_rows)
            rows = found.withColumns({"space": F.lit(space), "run_id": F.lit(run.run_id)})
            warehouse.replace_part("neighbours", "space", space, rows, state)
            searched.append(space)
        report.parts(searched, warehouse.counts("neighbours", "space") if searched else {}, SYSTEMS)
