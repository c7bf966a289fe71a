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
        report.rows_in = report.rows_out = 0
        for space in SYSTEMS:
            vectors = warehouse.read("embeddings").where(F.col("space") == space)
            state = f"{run.config.neighbours_hash}:{state_of(vectors, 'track_id', 'input_hash')}"
            report.details[space] = "unchanged"
            if states.get(space) == state:
                continue
            found = exact_neighbours(vectors.select("track_id", "vector"), config.top_n, config.block_rows)
            rows = found.withColumns({"space": F.lit(space), "run_id": F.lit(run.run_id)})
            warehouse.replace_part("neighbours", "space", space, rows, state)
            count = warehouse.read("neighbours").where(F.col("space") == space).count()
            report.details[space] = f"{count} rows"
            report.rows_in += vectors.count()
            report.rows_out += count
        if all(report.details[space] == "unchanged" for space in SYSTEMS):
            report.unchanged()
