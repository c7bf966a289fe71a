"""Fixtures that every kind of test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from servers import S3Server

settings.register_profile("specrec", deadline=None)  # a busy machine is no failure
settings.load_profile("specrec")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for the session; a test makes a bucket of its own in it."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        print(f"S3 server: {server.kind}")
        yield server
