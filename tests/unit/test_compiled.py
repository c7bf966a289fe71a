"""One process at a time fills numba's cache, and only until it is filled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from specrec.audio.compiled import filling_cache

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
    with filling_cache():
        pass
    assert list(tmp_path.glob("filled-*"))
