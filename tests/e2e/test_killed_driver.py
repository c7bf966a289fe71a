"""A driver that is killed between two commits is taken up by the next run, which comes to the same tables."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from nights import LIGHT_SPARK, RESULTS
from servers import LOOPBACK, start, stop, tail

from specrec.demo import render_catalogue
from specrec.errors import SpecrecError
from specrec.storage.config import StorageConfig
from specrec.warehouse.reader import Reader
from specrec.warehouse.schemas import TABLES

CLIPS = 24
BROKEN, ABSENT = "broken", "absent"
FILES = CLIPS + 1  # with the broken one
#: As a user types it, once a warehouse: those before `--`, with the words after it.
NIGHTS = """
import sys
from specrec.cli import main
end = sys.argv.index("--")
for warehouse in sys.argv[1:end]:
    main(["nightly", *sys.argv[end + 1:], "--set", f"warehouse={warehouse}"], standalone_mode=False)
"""
DIFFERS_BY_RUN = {"run_id", "computed_at", "updated_at", "first_seen", "last_seen"}


def test_a_killed_run_is_taken_up_and_ends_in_the_same_tables(tmp_path: Path) -> None:
    catalogue = render_with_faults(tmp_path / "music")
    killed, quiet = tmp_path / "killed", tmp_path / "quiet"

    first = start_nights(catalogue, [killed], tmp_path / "first.log", tmp_path)
    try:
        wait_until_between_commits(killed, first, tmp_path / "first.log")
    finally:
        kill_with_all_it_started(first)
    reader = Reader(str(killed), StorageConfig())
    extracted = {row["track_id"]: row["run_id"] for row in reader.rows("audio_features")}
    failed = {row["track_id"] for row in reader.rows("quarantine")} - {ABSENT}
    assert 0 < len(extracted) < CLIPS
    dead_run = next(iter(extracted.values()))

    # in one process, which costs half of what two do: first the night that takes it up, then one of its own
    events = run_nights(catalogue, [killed, quiet], tmp_path / "again.log", tmp_path)
    taken_over = [event for event in events if event["event"] == "lock_taken_over"]
    assert [event["dead_run"] for event in taken_over] == [dead_run]
    (extract,) = [row for row in reader.rows("runs") if row["stage"] == "extract"]
    assert extract["run_id"] != dead_run
    assert int(extract["details"]["decoded"]) == FILES - len(extracted) - len(failed) < FILES
    kept = {row["track_id"] for row in reader.rows("audio_features") if row["run_id"] == dead_run}
    assert kept == extracted.keys()

    undisturbed = Reader(str(quiet), StorageConfig())
    (extract,) = [row for row in undisturbed.rows("runs") if row["stage"] == "extract"]
    assert extract["details"]["decoded"] == str(FILES)
    for table in RESULTS:
        expected = results(undisturbed, table)
        # no two rendered clips are one recording
        assert expected or table == "duplicates", f"{table} is empty: nothing was compared"
        assert results(reader, table) == expected, f"{table} differs"


def render_with_faults(folder: Path) -> Path:
    """Render the demo, with one file more that is no audio, and one that is not there."""
    catalogue = render_catalogue(folder, clips=CLIPS, seconds=4.0)
    (folder / "audio" / "broken.wav").write_bytes(b"This is no audio. " * 1000)
    with catalogue.open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    with catalogue.open("a", newline="", encoding="utf-8") as file:
        for track_id in (BROKEN, ABSENT):
            csv.DictWriter(file, columns, restval="", lineterminator="\n").writerow(
                {"track_id": track_id, "audio": f"audio/{track_id}.wav"}
            )
    return catalogue


def start_nights(catalogue: Path, warehouses: Sequence[Path], log: Path, scratch: Path) -> subprocess.Popen[bytes]:
    """Start `specrec nightly` in local mode, committing about every eight files, on these, one after the other."""
    settings = {
        "catalogue.path": catalogue,
        "audio.clip_seconds": 4,
        "extract.commit_every": 8,
        "spark.driver_memory": "1g",
        "log.format": "json",
    }
    command = [sys.executable, "-c", NIGHTS, *map(str, warehouses), "--"]
    for setting in (*LIGHT_SPARK, *(f"{key}={value}" for key, value in settings.items())):
        command += ["--set", setting]
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_LOCAL_DIRS": str(scratch / "spark"),  # a killed JVM leaves its scratch files there
    }
    return start(command, log, env=environment, cwd=scratch)


def run_nights(
    catalogue: Path, warehouses: Sequence[Path], log: Path, scratch: Path, timeout: float = 600.0
) -> list[dict[str, Any]]:
    """Run `specrec nightly` on these to the end, and return the events of its log."""
    nights = start_nights(catalogue, warehouses, log, scratch)
    try:
        code = nights.wait(timeout)
    finally:
        stop(nights)
    assert code == 0, tail(log)
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"')]


def wait_until_between_commits(
    warehouse: Path, night: subprocess.Popen[bytes], log: Path, timeout: float = 180.0
) -> None:
    """Wait until portions are done and the next has its spectrograms written but not its features."""
    reader = Reader(str(warehouse), StorageConfig())
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert night.poll() is None, f"it ended before it could be killed:\n{tail(log)}"
        if 0 < count(reader, "audio_features") < count(reader, "mel_spectrograms"):
            return
        time.sleep(0.02)
    raise TimeoutError(f"no portion was committed within {timeout:.0f} s:\n{tail(log)}")


def count(reader: Reader, table: str) -> int:
    try:
        return len(reader.rows(table, columns=["track_id"]))
    except SpecrecError:  # not made yet
        return 0


def kill_with_all_it_started(night: subprocess.Popen[bytes]) -> None:
    """SIGKILL the driver, then its JVM and Python workers (which lead process groups of their own)."""
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(night.pid), *psutil.Process(night.pid).children(recursive=True)]
        with suppress(ProcessLookupError):
            os.killpg(night.pid, signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        night.wait()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []


def results(reader: Reader, table: str) -> dict[tuple[Any, ...], str]:
    """A table's rows by their key, without what differs from run to run; `repr` keeps every bit of a float."""
    rows = reader.rows(table)
    found = {
        tuple(row[column] for column in TABLES[table].key): repr(
            {name: value for name, value in row.items() if name not in DIFFERS_BY_RUN}
        )
        for row in rows
    }
    assert len(found) == len(rows), f"{table} has rows with the same key"
    return found
