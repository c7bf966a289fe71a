"""One Spark session for all tests of a process, with the S3 server at hand, and a catalogue rendered once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from nights import LIGHT_SPARK, Night, read_csv, write_csv
from pyspark.sql import SparkSession
from servers import S3Server

from specrec.config import load
from specrec.demo import render_catalogue
from specrec.session import get_spark


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: two processes then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def spark(s3: S3Server) -> Iterator[SparkSession]:
    """The session that every job of these tests runs in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        settings = (
            "warehouse=nowhere",
            "catalogue.path=nowhere",
            f"storage.endpoint_url={s3.endpoint_url}",
            "storage.path_style=true",
            *LIGHT_SPARK,
        )
        session = get_spark(load(None, settings))
        yield session
        session.stop()


@pytest.fixture(autouse=True)
def _forget_tables(spark: SparkSession) -> Iterator[None]:
    """Let Delta forget the tables of a test once it ended.

    Delta remembers those of the last hour, with the plans and the broadcast rows by which it read their logs: of
    one warehouse a hundred megabytes or more, and of the warehouses of a hundred tests more than Java's memory.
    """
    yield
    assert spark._jvm is not None
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips of 3.25 s: catalogue.csv has 24, four a style, more.csv two more. Not to be changed."""
    folder = tmp_path_factory.mktemp("rendered")
    rows = read_csv(render_catalogue(folder, clips=26, seconds=3.25))
    write_csv(folder / "catalogue.csv", rows[:24])
    write_csv(folder / "more.csv", rows[24:])
    return folder


@pytest.fixture(scope="session")
def first_night(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The rendered catalogue, and a warehouse after its first night. Not to be changed: see `night`."""
    night = Night(f"{rendered}/catalogue.csv", f"{tmp_path_factory.mktemp('first')}/warehouse")
    night.run()
    return night


@pytest.fixture
def second_night(first_night: Night, rendered: Path, tmp_path: Path) -> Night:
    """A copy of the catalogue's CSV and of its warehouse after the first night; the audio is not to be changed."""
    shutil.copytree(first_night.warehouse, tmp_path / "warehouse")
    shutil.copy(rendered / "catalogue.csv", tmp_path / "catalogue.csv")
    root = (f"catalogue.audio_root={rendered}",)
    return Night(f"{tmp_path}/catalogue.csv", f"{tmp_path}/warehouse", root)
