"""Faults of the network and of the S3 server, made by a proxy before a real one: tried again, within bounds."""

from __future__ import annotations

import io
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults import FAULTS, Fault, FaultyProxy
from nights import MEASURED, Night, write_csv
from servers import S3Server

from specrec.catalogue.tags import read_tags
from specrec.errors import StorageError, TrackError
from specrec.storage import retries
from specrec.storage import s3 as s3_module
from specrec.storage.config import StorageConfig
from specrec.storage.s3 import S3Store

TRIES = 3
CONTENT = bytes(range(256)) * 4_001  # about a megabyte, no round number of chunks
URI, KEY = "s3://faults/music/a.bin", "faults/music/a.bin"


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """A bucket with CONTENT in it."""
    bucket = s3.create_bucket("faults")
    s3.client().put_object(Bucket=bucket, Key="music/a.bin", Body=CONTENT)
    return bucket


@pytest.fixture
def proxy(s3: S3Server, bucket: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3.endpoint_url, drip_seconds=0.1) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Store]:
    """A store behind the proxy, which waits but a moment between tries."""
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.01)
    s3_module._new_s3_client.cache_clear()

    def make(**settings: float) -> S3Store:
        usual = {"max_attempts": TRIES, "deadline_seconds": 60}
        return S3Store(StorageConfig(endpoint_url=proxy.endpoint_url, path_style=True, **{**usual, **settings}))

    return make


def fetch(store: S3Store, uri: str = URI, limit: int = 100_000_000) -> bytes:
    into = io.BytesIO()
    assert store.fetch(uri, into, limit) == len(into.getvalue())
    return into.getvalue()


def refusal(store: S3Store, uri: str = URI, limit: int = 100_000_000) -> TrackError:
    with pytest.raises(TrackError) as refused:
        store.fetch(uri, io.BytesIO(), limit)
    return refused.value


def patience(fault: Fault) -> float:
    """A deadline that lets a try fall silent for a second, where the fault is silence."""
    return TRIES + 1 if fault == "hang" else 60


PASSING = [fault for fault in FAULTS if fault != "drip"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_costs_only_further_tries(
    store: Callable[..., S3Store], proxy: FaultyProxy, fault: Fault, times: int
) -> None:
    proxy.fail(KEY, fault, times)
    assert fetch(store(deadline_seconds=patience(fault))) == CONTENT
    assert proxy.requests == {KEY: times + 1}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_stays_is_a_storage_error_after_all_tries(
    store: Callable[..., S3Store], proxy: FaultyProxy, s3: S3Server, fault: Fault
) -> None:
    proxy.fail("faults/music/*", fault)
    started = time.monotonic()
    error = refusal(store(deadline_seconds=patience(fault)))
    assert time.monotonic() - started < 15
    assert proxy.requests == {KEY: TRIES}
    assert error.code == "storage_error"
    assert f"gave up after {TRIES} of {TRIES} tries" in error.message
    assert "\n" not in error.message
    assert s3.access_key not in error.message
    assert s3.secret_key not in error.message


def test_different_faults_share_the_tries(store: Callable[..., S3Store], proxy: FaultyProxy) -> None:
    for fault in ("reset_midway", "503", "truncate", "reset"):
        proxy.fail(KEY, fault, 1)
    assert fetch(store(max_attempts=5)) == CONTENT
    assert proxy.requests == {KEY: 5}


def test_a_server_that_drips_is_left_at_the_deadline(store: Callable[..., S3Store], proxy: FaultyProxy) -> None:
    proxy.fail(KEY, "drip")
    started = time.monotonic()
    error = refusal(store(deadline_seconds=2))
    assert 1.5 < time.monotonic() - started < 5
    assert error.code == "storage_error"
    assert "storage.deadline_seconds=2" in error.message
    assert proxy.requests == {KEY: 1}


def test_no_try_begins_after_the_deadline(store: Callable[..., S3Store], proxy: FaultyProxy) -> None:
    proxy.fail(KEY, "503")
    started = time.monotonic()
    error = refusal(store(max_attempts=1_000, deadline_seconds=1))
    assert time.monotonic() - started < 3
    assert f"gave up after {proxy.requests[KEY]} of 1000 tries" in error.message


def test_waits_grow_and_are_drawn_at_random(
    store: Callable[..., S3Store], proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.5)
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=waits.append))  # theirs alone
    proxy.fail(KEY, "503")
    refusal(store(max_attempts=10, deadline_seconds=1_000))
    assert len(waits) == 9
    assert all(0 <= wait <= min(20.0, 0.5 * 2**number) for number, wait in enumerate(waits))
    assert max(waits) > 0.5  # all nine within the first's bound: one chance in 10¹⁰
    assert len(set(waits)) == 9


def test_what_no_further_try_can_change_is_asked_for_once(
    store: Callable[..., S3Store], proxy: FaultyProxy
) -> None:
    assert refusal(store(), "s3://faults/music/none.bin").code == "not_found"
    assert proxy.requests == {"faults/music/none.bin": 1}


def test_refused_credentials_are_shown_once_and_said_of_no_one(
    store: Callable[..., S3Store], proxy: FaultyProxy, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if s3.kind == "moto":
        pytest.skip("moto lets everyone in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    error = refusal(store())
    assert error.code == "storage_error"
    assert "not-the-secret" not in error.message
    assert proxy.requests == {KEY: 1}


def test_without_credentials_nothing_is_sent(
    store: Callable[..., S3Store], proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    error = refusal(store())
    assert (error.code, "credentials" in error.message) == ("storage_error", True)
    assert proxy.connections == 0


def test_a_file_that_is_too_large_is_not_fetched_whole(
    store: Callable[..., S3Store], proxy: FaultyProxy, s3: S3Server
) -> None:
    size = 50_000_000
    s3.client().put_object(Bucket="faults", Key="large.bin", Body=bytes(size))
    assert refusal(store(), "s3://faults/large.bin", size - 1).code == "too_large"
    assert proxy.requests == {"faults/large.bin": 1}
    assert proxy.sent["faults/large.bin"] < size / 2  # what fits into the kernel's buffers
    assert len(fetch(store(), "s3://faults/large.bin", size)) == size


def test_one_connection_serves_one_file_after_another(store: Callable[..., S3Store], proxy: FaultyProxy) -> None:
    for _ in range(3):
        assert fetch(store()) == CONTENT
    assert proxy.connections == 1


def test_threads_fetch_at_once(store: Callable[..., S3Store], proxy: FaultyProxy, s3: S3Server) -> None:
    names = [f"s3://faults/many/{number}.bin" for number in range(16)]
    for number in range(len(names)):
        s3.client().put_object(Bucket="faults", Key=f"many/{number}.bin", Body=b"%d" % number * 50_000)
    proxy.fail("faults/many/*", "truncate", 1)
    proxy.fail("faults/many/*", "503", 1)
    start, found = threading.Barrier(len(names)), {}

    def work(uri: str) -> None:
        start.wait()
        found[uri] = fetch(store(), uri)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: b"%d" % number * 50_000 for number, name in enumerate(names)}
    assert set(proxy.requests.values()) == {3}


def test_tags_are_read_through_faults_and_never_taken_for_absent(
    store: Callable[..., S3Store], proxy: FaultyProxy, s3: S3Server, rendered: Path
) -> None:
    clip = min((rendered / "audio").iterdir())
    s3.client().upload_file(str(clip), "faults", clip.name)
    uri, size = f"s3://faults/{clip.name}", clip.stat().st_size
    with clip.open("rb") as file:
        expected = read_tags(file, clip.name)
    proxy.fail(f"faults/{clip.name}", "truncate", 1)
    proxy.fail(f"faults/{clip.name}", "reset", 1)
    with store().open(uri, size) as file:
        assert read_tags(file, clip.name) == expected
    proxy.fail(f"faults/{clip.name}", "reset_midway")
    with store().open(uri, size) as file, pytest.raises(StorageError, match="gave up after 3 of 3 tries"):
        read_tags(file, clip.name)


def test_a_night_goes_on_around_faults_and_the_next_one_tries_again(
    rendered: Path, s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.create_bucket("faulty-night")
    clips = sorted((rendered / "audio").iterdir())[:6]
    for clip in clips:
        s3.client().upload_file(str(clip), bucket, f"clips/{clip.name}")
    s3.client().put_object(Bucket=bucket, Key="clips/text.mp3", Body=b"no decoder reads this " * 100)
    names = [*(clip.name for clip in clips), "text.mp3"]
    slow, broken, *good = names[:-1]
    rows = [{"track_id": name, "audio": name} for name in names]
    rows.append({"track_id": "twin", "audio": good[0]})  # of the same file, which is fetched and decoded once
    catalogue = write_csv(tmp_path / "tracks.csv", rows)

    def asked() -> Counter[str]:
        return Counter({os.path.basename(key): count for key, count in proxy.requests.items()})

    def codes() -> dict[str, str]:
        return {row["track_id"]: row["code"] for row in night.rows("quarantine")}

    def analysed() -> set[str]:
        return {row["track_id"] for row in night.rows("audio_features")}

    with FaultyProxy(s3.endpoint_url) as proxy:
        settings = (
            f"catalogue.audio_root=s3://{bucket}/clips",
            f"storage.endpoint_url={proxy.endpoint_url}",
            "storage.path_style=true",
            "storage.max_attempts=3",
            "extract.max_failed_share=0.5",
        )
        night = Night(str(catalogue), f"{tmp_path}/warehouse", settings)
        proxy.fail(f"{bucket}/clips/{slow}", "503", times=2)
        proxy.fail(f"{bucket}/clips/{broken}", "reset")

        night.run(stages=MEASURED)

        assert codes() == {broken: "storage_error", "text.mp3": "undecodable"}
        assert analysed() == {slow, *good, "twin"}
        assert asked() == {slow: 3, broken: 3, **dict.fromkeys(good, 1), "text.mp3": 1}

        proxy.heal()
        proxy.requests.clear()
        run_id = night.run(stages=MEASURED)

        assert asked() == {broken: 1}
        assert night.stage(run_id, "extract")["details"]["decoded"] == "1"
        assert codes() == {"text.mp3": "undecodable"}
        assert analysed() == {slow, broken, *good, "twin"}
