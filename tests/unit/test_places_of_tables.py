"""Tables lie where the setting says, to the letter, or are refused before anything is written. Without Spark."""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import UTC, datetime

import pytest
from faults import FaultyProxy
from hypothesis import example, given
from hypothesis import settings as how
from hypothesis import strategies as st
from servers import S3Server

from specrec.config import load
from specrec.errors import ConfigError, SpecrecError, StorageError
from specrec.storage import Location, join, locate, open_store, retries, uri_for_delta_rs
from specrec.storage.config import StorageConfig
from specrec.warehouse.opening import cannot_read, patiently
from specrec.warehouse.reader import Reader
from specrec.warehouse.tables import Warehouse

ROW = {"stage": "fit", "status": "done", "started_at": datetime(2026, 1, 2, tzinfo=UTC), "config_hash": "h"}

#: What a name may hold that somebody could take for something else; of letters a few.
NAMES = st.text(
    st.sampled_from(" !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~aF209ïé✓\U0001f3b5"), min_size=1, max_size=8
).filter(lambda name: name.strip("."))


def write_and_read(root: Location, config: StorageConfig) -> None:
    """Write two rows of `runs`, and find them by delta-rs, and the log where it belongs."""
    warehouse = Warehouse(None, root, config)  # type: ignore[arg-type]
    warehouse.create_missing(["runs"])
    for run_id in ("a", "b"):
        warehouse.append_few("runs", [ROW | {"run_id": run_id}])
    assert warehouse.states("runs") == {}
    assert sorted(row["run_id"] for row in Reader(root, config).rows("runs")) == ["a", "b"]
    log = [file.uri.rpartition("/")[2] for file in open_store(root, config).list(join(root, "runs", "_delta_log"))]
    assert {f"{version:020}.json" for version in range(3)} <= set(log)


def is_refused(root: Location) -> bool:
    """Tell whether a place is refused; in one line then, by the configuration and by what opens tables."""
    told = ""
    try:
        uri_for_delta_rs(root)
    except StorageError as error:
        told = str(error)
    if told:
        assert "\n" not in told
        for make in (lambda: Reader(root, StorageConfig()), lambda: Warehouse(None, root, StorageConfig())):  # type: ignore[arg-type]
            with pytest.raises(StorageError, match="tables cannot lie in"):
                make()
        with pytest.raises(ConfigError, match="tables cannot lie in"):
            load(None, [f"warehouse={root}"], needs_catalogue=False)
    return bool(told)


@how(max_examples=60)
@given(NAMES)
@example("Music [flac]")
@example("My%20Music")
@example("100%")
@example("who? #1 & {a,b}*")
def test_on_a_disk(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Location(f"{folder}/{name}/w")
        if not is_refused(root):
            write_and_read(root, StorageConfig())
        assert os.listdir(folder) in ([], [name])


@pytest.mark.parametrize("name", ["My%20Music", "Music [flac]", "a|b", "a^b", "back\\slash", "tab\there", "50%aff"])
def test_what_one_of_the_libraries_misreads_is_refused(name: str) -> None:
    assert is_refused(Location(f"/music/{name}"))


@pytest.mark.parametrize("name", ["who? #1", "a{b,c}*", "100% off", "k=v", "ünï", "a:b", "'\"`", "~", "a+b", " a "])
def test_what_both_read_as_it_is_written_is_not(name: str) -> None:
    assert not is_refused(Location(f"/music/{name}/w"))
    assert not is_refused(Location(f"s3://bucket/{name}/w"))


@pytest.fixture
def on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> StorageConfig:
    for variable, value in s3.environment().items():
        monkeypatch.setenv(variable, value)
    return StorageConfig(endpoint_url=s3.endpoint_url, path_style=True)


@how(max_examples=25)
@given(name=NAMES)
@example(name="who? #1")
@example(name="My%20Music")
@example(name="Music [flac]")
def test_in_object_storage(s3: S3Server, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in s3.environment().items():
            patch.setenv(variable, value)
        bucket = s3.create_bucket(f"places-{uuid.uuid4().hex}")  # an example may be tried more than once
        root = locate(f"s3://{bucket}/{name}/w")
        if is_refused(root):
            return
        write_and_read(root, StorageConfig(endpoint_url=s3.endpoint_url, path_style=True))
        found = s3.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert {entry["Key"].partition("/runs/")[0] for entry in found} == {f"{name}/w"}


@pytest.mark.parametrize("name", ["a//b", "a/../b", "./b"])
def test_keys_with_empty_parts_are_refused(name: str) -> None:
    assert is_refused(Location(f"s3://bucket/{name}"))


def test_the_configured_endpoint_is_used_whatever_the_environment_says(
    on_s3: StorageConfig, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    write_and_read(Location(f"s3://{s3.create_bucket('endpoint')}/w"), on_s3)


def test_a_bad_line_costs_further_tries_and_no_row_is_written_twice(
    on_s3: StorageConfig, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    root = Location(f"s3://{s3.create_bucket('bad-line')}/w")
    written = [f"run {number}" for number in range(12)]
    with FaultyProxy(s3.endpoint_url) as proxy:
        config = on_s3.model_copy(update={"endpoint_url": proxy.endpoint_url, "max_attempts": 10})
        warehouse, reader = Warehouse(None, root, config), Reader(root, config)  # type: ignore[arg-type]
        proxy.fail_often(0.15, seed=1)
        warehouse.create_missing(["runs"])
        for run_id in written:
            warehouse.append_few("runs", [ROW | {"run_id": run_id}])
        found = [row["run_id"] for row in reader.rows("runs")]
        assert proxy.strays > 10
    assert sorted(found) == sorted(written)
    assert sorted(row["run_id"] for row in Reader(root, on_s3).rows("runs")) == sorted(written)


def test_a_store_that_stays_away_is_told_with_its_cause(
    on_s3: StorageConfig, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    root = Location(f"s3://{s3.create_bucket('stays-away')}/w")
    write_and_read(root, on_s3)
    with FaultyProxy(s3.endpoint_url) as proxy:
        config = on_s3.model_copy(update={"endpoint_url": proxy.endpoint_url, "max_attempts": 2})
        proxy.fail("stays-away/w/runs/*.parquet", "truncate")
        with pytest.raises(SpecrecError, match="cannot read s3://stays-away/w/runs: ") as told:
            Reader(root, config).rows("runs")
    assert "\n" not in str(told.value)
    assert "Generic S3 error {}" not in str(told.value)


def test_a_file_that_a_store_no_longer_has_is_told_with_the_way_out_and_asked_for_once():
    lost = OSError(
        "Generic S3 error: Error performing GET http://s3/w/tracks/part-0.parquet: 404 Not Found: NoSuchKey"
    )
    tries = []

    def read():
        tries.append(1)
        raise lost

    with pytest.raises(OSError, match="404"):
        patiently("s3://bucket/w/tracks", StorageConfig(max_attempts=3), read)
    assert len(tries) == 1
    told = str(cannot_read("s3://bucket/w", "tracks", lost))
    assert "`specrec repair tracks --warehouse s3://bucket/w`" in told
    refused = cannot_read("s3://bucket/w", "tracks", OSError("NoSuchBucket: 404 Not Found"))
    assert isinstance(refused, StorageError)
    assert "repair" not in str(refused)
