"""One process at a time fills numba's cache, and only until it is filled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from specrec.audio.compiled import filling_cache
from specrec.audio.config import AudioConfig, ExtractConfig
from specrec.audio.isolated import Analyst

_FILL = """
import sys, time
from pathlib import Path
from specrec.audio.compiled import filling_cache
log = Path(sys.argv[1])
with filling_cache():
    if not list(log.parent.glob("cache/filled-*")):
        with log.open("a") as lines: lines.write("begin\\n")
        time.sleep(0.3)
        with log.open("a") as lines: lines.write("end\\n")
"""


def test_of_several_processes_one_fills(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    processes = [
        subprocess.Popen([sys.executable, "-c", _FILL, str(tmp_path / "log")], env=environment) for _ in range(4)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text().split() == ["begin", "end"]


def test_a_filling_that_failed_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    with pytest.raises(ImportError), filling_cache():
        raise ImportError
    assert not list(tmp_path.glob("filled-*"))
    with filling_cache() as fills:
        assert fills
    assert list(tmp_path.glob("filled-*"))
    with filling_cache() as fills:
        assert not fills


def test_compiling_takes_no_memory_from_the_first_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 22_050 * 10)
    soundfile.write(tmp_path / "noise.wav", noise, 22_050)
    # less than compiling takes, with which it once ran for minutes before it gave up
    limits = ExtractConfig(memory_limit_mb=450)
    with Analyst(AudioConfig(), limits) as analyst, (tmp_path / "noise.wav").open("rb") as file:
        assert analyst.analyse(file).seconds == pytest.approx(10)
    assert list(tmp_path.glob("cache/filled-*"))
