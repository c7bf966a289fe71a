"""What a night costs that changes a little, beside the first night of the same catalogue, in one run.

    make bench-night

Extraction is left out: features and short spectrograms are given (tests/given.py), and a night is its stages from
`fit` to `map`, in a process of its own on two cores. Of each size there is a first night, one in which nothing
changed, and one with 1 % of new tracks and 0.5 % gone. Times are wall-clock, the start of Java included; those of
the stages are of the table `runs`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
import memory
import numpy as np
from given import GivenTrack, write_given
from results import write

from specrec.config import load
from specrec.pipeline.stages import STAGES
from specrec.warehouse.reader import Reader

REPOSITORY = Path(__file__).resolve().parents[2]
CORES = 2
MEASURED = [stage for stage in STAGES if stage not in ("ingest", "extract")]


def settings(warehouse: Path) -> tuple[str, ...]:
    return (
        f"warehouse={warehouse}",
        f"spark.master=local[{CORES}]",
        f"spark.jars_dir={REPOSITORY / '.jars'}",
        "spark.driver_memory=4g",
        "audio.n_mels=32",
        "log.level=warning",
    )


def night(warehouse: Path) -> dict[str, Any]:
    """Run the stages in a process of its own; return what they cost."""
    command = [sys.executable, "-m", "specrec.cli", "nightly"]
    command += [word for stage in MEASURED for word in ("--stage", stage)]
    command += [word for setting in settings(warehouse) for word in ("--set", setting)]
    with memory.Watch() as watched:
        began = time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - began
    config = load(None, settings(warehouse), needs_catalogue=False)
    rows = Reader(config.warehouse, config.storage).rows("runs")
    last = max(row["run_id"] for row in rows)
    stages = {row["stage"]: row for row in rows if row["run_id"] == last}
    return {
        "seconds": wall,
        "peak_process_gib": watched.peak_mib / 1024,
        "stages": {name: round(row["seconds"], 2) for name, row in stages.items()},
        "details": {name: row["details"] for name, row in stages.items()},
    }


def changed(count: int) -> list[GivenTrack]:
    """Return the catalogue of the second night: 1 % new tracks, and 0.5 % gone."""
    return [GivenTrack.of(number) for number in range(count // 200, count + count // 100)]


def exponents(sizes: Sequence[int], nights: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return by which power of the number of tracks the time of each stage grows, by least squares."""
    logs = np.log(list(sizes))
    return {
        stage: round(float(np.polyfit(logs, np.log([night["stages"][stage] for night in nights]), 1)[0]), 2)
        for stage in MEASURED
        if all(night["stages"].get(stage) for night in nights)
    }


@click.command(help=__doc__)
@click.option("--tracks", multiple=True, type=int, default=(25_000, 50_000, 100_000), help="Sizes; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), default=REPOSITORY / "build" / "bench" / "night.json")
def main(tracks: tuple[int, ...], out: Path) -> None:
    nights: dict[int, dict[str, Any]] = {}
    for count in sorted(tracks):
        with tempfile.TemporaryDirectory() as folder:
            warehouse = Path(folder) / "warehouse"
            config = load(None, settings(warehouse), needs_catalogue=False)
            write_given(warehouse, list(map(GivenTrack.of, range(count))), config)
            of_count = {"first": night(warehouse), "unchanged": night(warehouse)}
            write_given(warehouse, changed(count), config)
            of_count["one_percent"] = night(warehouse)
        for name, result in of_count.items():
            print(count, name, {key: of for key, of in result.items() if key != "details"}, flush=True)
        nights[count] = of_count
    greatest = nights[max(nights)]
    results = {
        "tracks": max(nights),
        "one_percent_ratio": greatest["one_percent"]["seconds"] / greatest["first"]["seconds"],
        "unchanged_seconds": greatest["unchanged"]["seconds"],
        "peak_process_gib": max(result["peak_process_gib"] for result in greatest.values()),
        "nights": nights,
    }
    if len(nights) > 1:
        of_one_percent = [of["one_percent"] for of in nights.values()]
        results["exponents_one_percent"] = exponents(list(nights), of_one_percent)
    write(results, out)


if __name__ == "__main__":
    main()
