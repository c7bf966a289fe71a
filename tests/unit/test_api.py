"""What `import specrec` gives, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from deltalake import write_deltalake

import specrec

HEAVY = {"pyspark", "py4j", "torch", "librosa", "pandas", "pyarrow", "deltalake", "pydantic", "structlog"}


def loaded(code: str) -> set[str]:
    """Return which heavy packages some code imports."""
    program = f"import sys\n{code}\nprint(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return HEAVY & set(told.split())


def test_importing_specrec_imports_nothing_else():
    assert loaded("import specrec") == set()


def test_reading_a_table_imports_no_spark(tmp_path):
    write_deltalake(tmp_path / "numbers", pa.table({"n": [1, 2]}))
    code = f"""
import specrec
config = specrec.load_config(None, ["warehouse={tmp_path}"])
assert len(specrec.read_table(config, "numbers")) == 2
assert specrec.STAGES and specrec.run_stages and specrec.query_files and specrec.train_encoder
"""
    assert not {"pyspark", "py4j", "torch", "librosa"} & loaded(code)


def test_every_public_name_is_there_and_is_told_of():
    for name in specrec.__all__:
        assert getattr(specrec, name) is not None
        assert name in dir(specrec)
        assert f":`{name}`" in specrec.__doc__
    with pytest.raises(AttributeError, match="no attribute 'read_tabel'"):
        _ = specrec.read_tabel


def test_tables_are_read_by_columns_and_conditions(tmp_path):
    rows = {"name": ["a", "b", "b"], "n": [1, 2, 3], "extra": [[("k", "v")], [], None]}
    schema = pa.schema([("name", pa.string()), ("n", pa.int64()), ("extra", pa.map_(pa.string(), pa.string()))])
    write_deltalake(tmp_path / "numbers", pa.table(rows, schema))
    config = specrec.load_config(None, [f"warehouse={tmp_path}"])
    assert sorted(specrec.read_table(config, "numbers", ["n"], [("name", "=", "b")])["n"]) == [2, 3]
    assert specrec.read_table(config, "numbers").sort_values("n")["extra"].iloc[0] == {"k": "v"}
    empty = specrec.read_table(config, "numbers", ["n", "name"], [("n", ">", 9)], as_arrow=True)
    assert (empty.num_rows, empty.column_names) == (0, ["n", "name"])
    with pytest.raises(specrec.SpecrecError, match="there is no table"):
        specrec.read_table(config, "nothing")


def test_a_night_without_a_catalogue_is_refused(tmp_path):
    config = specrec.load_config(None, [f"warehouse={tmp_path}/w"])
    with pytest.raises(specrec.SpecrecError, match=r"catalogue\.path"):
        specrec.run_stages(config)
    assert not (tmp_path / "w").exists()


def test_a_wrong_stage_is_named(tmp_path):
    config = specrec.load_config(None, [f"warehouse={tmp_path}/w"])
    with pytest.raises(specrec.SpecrecError, match="did you mean 'neighbours'"):
        specrec.run_stages(config, ["neighbors"])
