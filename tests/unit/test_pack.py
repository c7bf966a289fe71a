"""What is packed for executors: see deploy/pack.py."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pack", ROOT / "deploy" / "pack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_what_nights_need_is_packed_and_no_spark_nor_pytorch(pack: ModuleType, project: dict) -> None:
    packed = pack.wanted(project["dependencies"], pack.DRIVER_ONLY)
    assert packed.keys() >= {"librosa", "numba", "pyarrow", "onnxruntime", "delta-spark"}
    assert not packed.keys() & {"pyspark", "py4j", "deltalake", "torch", "matplotlib"}


def test_executors_that_train_get_pytorch_and_read_tables_themselves(pack: ModuleType, project: dict) -> None:
    pytest.importorskip("torch", reason="pip install 'specrec[train]'")
    needs = project["dependencies"] + project["optional-dependencies"]["train"]
    packed = pack.wanted(needs, pack.OF_THE_WORKER)
    assert packed.keys() >= {"librosa", "torch", "onnx", "matplotlib", "deltalake"}
    assert not packed.keys() & {"pyspark", "py4j"}


def test_what_is_not_installed_is_told_in_one_line(pack: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no-such-package is not installed here"):
        pack.wanted(["No_Such.Package>=1"], set())
