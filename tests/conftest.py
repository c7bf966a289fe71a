"""Fixtures that every kind of test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Tests import librosa by themselves, and two processes that fill one cache of numba at once spoil it (see
# specrec/audio/compiled.py): each process of pytest-xdist has its own. numba reads this when it is first imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    own = Path(__file__).parents[1] / ".pytest_cache" / "numba" / os.environ["PYTEST_XDIST_WORKER"]
    own.mkdir(parents=True, exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(own)

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
