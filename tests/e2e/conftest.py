"""A Spark cluster, and what spark-submit ships to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import PackedEnvironment, SparkCluster, pack_environment


@pytest.fixture(scope="session")
def packed_environment() -> PackedEnvironment:
    """The dependencies and the package, packed once; minutes when the dependencies changed."""
    return pack_environment()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    """A standalone cluster of two workers with one core each, for the session."""
    with SparkCluster(tmp_path_factory.mktemp("spark")) as cluster:
        yield cluster
