"""Neighbours: ``embeddings`` become ``neighbours``, space by space, where a space changed."""

from __future__ import annotations

from pyspark.sql import functions as F

from specrec.config import SYSTEMS
from specrec.neighbours.exact import exact_neighbours
from specrec.pipeline.run import Run
from specrec.warehouse.tables import by_part, states_of


def find_neighbours(run: Run) -> None:
    """Search the spaces whose vectors or search settings changed since they were last searched."""
    config, warehouse = run.config.neighbours, run.warehouse
    with run.stage("neighbours") as report:
        embeddings, known = warehouse.read("embeddings"), warehouse.states("neighbours")
        by_space = states_of(embeddings, "space", "track_id", "input_hash")
        now = {space: f"{run.config.neighbours_hash(space)}:{by_space.get(space)}" for space in SYSTEMS}
        changed: dict[str, str] = {space: state for space, state in now.items() if known.get(space) != state}
        if changed:
            vectors = embeddings.where(F.col("space").isin(*changed)).select("space", "track_id", "vector")
            found = exact_neighbours(vectors, config.top_n, config.block_rows)
            hashes = by_part("space", {space: run.config.neighbours_hash(space) for space in changed})
            rows = found.withColumns({"config_hash": hashes, "run_id": F.lit(run.run_id)})
            warehouse.replace_parts("neighbours", "space", rows, changed)
        report.parts(changed, warehouse.counts("neighbours", "space") if changed else {}, SYSTEMS)
