"""A night that is measured: in a process of its own, from its start to its end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import memory

from specrec.config import load
from specrec.warehouse.reader import Reader


@dataclass(frozen=True)
class MeasuredNight:
    """What a night took.

    Attributes
    ----------
    wall : float
        Seconds, the start of Java included.
    peak_gib : float
        Memory of its largest process.
    stages : dict
        What `runs` says of each of its stages.
    """

    wall: float
    peak_gib: float
    stages: dict[str, dict[str, Any]]


def measure_night(settings: Sequence[str], stages: Sequence[str]) -> MeasuredNight:
    """Run stages, all if none is named, with settings as ``--set`` takes them."""
    command = [sys.executable, "-m", "specrec.cli", "nightly"]
    command += [word for stage in stages for word in ("--stage", stage)]
    command += [word for setting in settings for word in ("--set", setting)]
    with memory.Watch() as watched:
        began = time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - began
    config = load(None, settings, needs_catalogue=False)
    rows = Reader(config.warehouse, config.storage).rows("runs")
    last = max(row["run_id"] for row in rows)  # names of runs sort by time
    of_night = {row["stage"]: row for row in rows if row["run_id"] == last}
    return MeasuredNight(wall, watched.peak_mib / 1024, of_night)
