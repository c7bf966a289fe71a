"""The registry of stages, and what follows from it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from specrec.errors import SpecrecError
from specrec.pipeline.stages import STAGES, find_stage, in_order

JOBS = Path(__file__).parents[2] / "jobs"


def words_of(job: Path) -> list[str]:
    """Return the words with which a job calls the command line."""
    for node in ast.walk(ast.parse(job.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "main":
            assert isinstance(node.args[0], ast.List)
            return [item.value for item in node.args[0].elts if isinstance(item, ast.Constant)]
    raise AssertionError(f"{job} calls no command")


def test_every_stage_is_a_function_of_a_run():
    for name in STAGES:
        assert callable(find_stage(name))


def test_every_stage_has_a_job_of_its_own():
    stages = [words[2] for words in map(words_of, sorted(JOBS.glob("*.py"))) if words[:2] == ["nightly", "--stage"]]
    assert sorted(stages) == sorted(STAGES)


@pytest.mark.parametrize("job", sorted(JOBS.glob("*.py")), ids=lambda job: job.name)
def test_a_job_is_a_command(job):
    told = subprocess.run([sys.executable, job, "--help"], capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"Usage: specrec {words_of(job)[0]} [OPTIONS]")
    assert "--config" in told
    assert "--set KEY=VALUE" in told


def test_stages_run_in_the_order_of_a_night():
    assert in_order(["recommend", "ingest"]) == ["ingest", "recommend"]
    assert in_order(None) == list(STAGES)
    assert in_order([]) == []
    assert in_order("fit") == ["fit"]
    with pytest.raises(SpecrecError, match="there is no stage 'neighbors': did you mean 'neighbours'"):
        in_order(["neighbors"])


def test_the_command_line_imports_no_stage_and_no_spark():
    code = "import sys, specrec.cli, specrec.pipeline.stages; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "pyspark",
        "torch",
        "librosa",
        "pandas",
        "sklearn",
        "structlog",
        "deltalake",
        *(find_stage(name).__module__ for name in STAGES),
    }
    assert not heavy & set(loaded)
