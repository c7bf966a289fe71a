"""A night as cron, a container or a careless shell starts it: it works, or says in one line what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyspark
import pytest
from nights import LIGHT_SPARK, MEASURED, QUICK

from specrec.demo import render_catalogue
from specrec.storage.config import StorageConfig
from specrec.warehouse.reader import Reader

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("josé's music")
    render_catalogue(folder, clips=2, seconds=3.25)
    return folder


def submitted() -> list[str]:
    """Return the words by which spark-submit starts a night on this machine."""
    submit = Path(pyspark.__path__[0]) / "bin" / "spark-submit"
    jars = os.pathsep.join(map(str, sorted((ROOT / ".jars").glob("*.jar"))))
    return [str(submit), "--master", "local[1]", "--driver-class-path", jars, str(ROOT / "jobs" / "nightly.py")]


def started(
    music: Path, warehouse: Path, scratch: Path, by: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start a night with next to nothing in its environment, by `specrec nightly` or by the words of another."""
    command = list(by) or [sys.executable, "-m", "specrec.cli", "nightly"]
    settings = (*QUICK, *LIGHT_SPARK, f"catalogue.path={music / 'catalogue.csv'}", f"warehouse={warehouse}")
    for stage in MEASURED:
        command += ["--stage", stage]
    for setting in settings:
        command += ["--set", setting]
    return run(command, scratch, **environment)


def run(command: Sequence[str], scratch: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a command with next to nothing in its environment."""
    kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME", "NUMBA_CACHE_DIR") if name in os.environ}
    given = {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "COLUMNS": "0", "PYSPARK_PYTHON": sys.executable}
    return subprocess.Popen(
        command,
        env=kept | given | environment,
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


def told(night: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Wait for a night's end; return its status, what it printed by lines, and the details."""
    out, err = night.communicate(
        timeout=600
    )  # under spark-submit, out is all that Python prints, and err what Java does
    lines = [line for line in (err + out).splitlines() if not line.startswith('{"')]  # the log's events are ours
    details = Path(lines[-1].rpartition("(details: ")[2].removesuffix(")")) if lines else Path("none")
    if not details.is_file():
        return night.returncode, lines, ""
    text = details.read_text(encoding="utf-8")
    details.unlink()
    return night.returncode, lines, text


def test_without_a_locale_names_beyond_ascii_are_found(music: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "a folder for temporary files"
    scratch.mkdir()
    warehouse = tmp_path / "josé"
    night = started(music, warehouse, tmp_path, LC_ALL="C", LANG="xx_XX.UTF-8", TMPDIR=str(scratch))
    assert told(night) == (0, [], "")
    assert len(Reader(str(warehouse), StorageConfig()).rows("audio_features")) == 2
    assert not list(scratch.glob("specrec-*.log"))  # nothing failed, so nothing is kept


def test_a_failing_task_is_one_line_and_its_trace_is_in_a_file(music: Path, tmp_path: Path) -> None:
    night = started(
        music,
        tmp_path / "warehouse",
        tmp_path,
        LC_ALL="C",
        NUMBA_CACHE_DIR="/dev/null/x",
        AWS_SECRET_ACCESS_KEY="isolated",
    )
    status, (line,), details = told(night)
    assert status == 2
    assert line.startswith("specrec: the process that decodes audio did not start (NotADirectoryError: ")
    assert "Traceback" in details
    assert "org.apache.spark" in details
    assert "isolated" not in details  # as secrets are


def test_spark_submit_prints_no_trace_of_a_failing_task_either(music: Path, tmp_path: Path) -> None:
    broken = {"NUMBA_CACHE_DIR": "/dev/null/x", "LC_ALL": "C.UTF-8"}
    status, lines, details = told(started(music, tmp_path / "warehouse", tmp_path, submitted(), **broken))
    assert status == 2
    assert lines[-1].startswith("specrec: the process that decodes audio did not start (NotADirectoryError: ")
    assert not [line for line in lines if line.startswith(("\tat ", "Caused by")) or " ERROR " in line]
    assert "Traceback" in details


def test_java_that_spark_submit_started_without_a_locale_is_told_in_one_line(music: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "josé"
    status, lines, _ = told(started(music, warehouse, tmp_path, submitted(), LC_ALL="C"))
    assert status == 2
    assert lines[-1].startswith("specrec: spark-submit's Java reads what is typed as ANSI")
    assert lines[-1].endswith("set the environment's LC_ALL=C.UTF-8, and start again")

    config = tmp_path / "in-a-file.yaml"  # which Java does not read
    config.write_text(f"warehouse: {json.dumps(str(warehouse), ensure_ascii=False)}\n", encoding="utf-8")
    (tmp_path / "tracks.csv").write_text("track_id,audio\na,a.flac\n")
    catalogue = f"catalogue.path={tmp_path}/tracks.csv"
    by = [*submitted(), "--config", str(config), "--set", catalogue, "--stage", "ingest"]
    status, lines, _ = told(run(by, tmp_path, LC_ALL="C"))
    assert status == 2
    assert lines[-1].startswith(f"specrec: Java cannot name {warehouse}, since it takes the names of")
    assert lines[-1].endswith("set the environment's LC_ALL=C.UTF-8, and start again")
    assert not list(warehouse.glob("*/_delta_log"))


def test_ctrl_c_is_one_line(music: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    night = started(music, warehouse, tmp_path)
    deadline = time.monotonic() + 300
    while not (warehouse / "to_extract" / "_delta_log").exists() and time.monotonic() < deadline:
        assert night.poll() is None
        time.sleep(0.05)
    os.killpg(night.pid, signal.SIGINT)
    status, lines, _ = told(night)
    assert (status, len(lines)) == (130, 1), lines
    assert lines[0].startswith("specrec: interrupted")
    assert not (warehouse / "_specrec_lock.json").exists()
