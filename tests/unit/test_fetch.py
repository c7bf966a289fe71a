"""Files arrive in order, each with its own content, whatever the store does."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from specrec.audio import fetch as module
from specrec.audio.config import ExtractConfig
from specrec.audio.fetch import AudioFile, fetch_ahead
from specrec.errors import TrackError
from specrec.storage.config import StorageConfig


def _files(folder: Path, contents: list[bytes]) -> list[AudioFile]:
    files = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.mp3"
        path.write_bytes(content)
        files.append(AudioFile(str(path), "", [str(number)]))
    return files


def _ahead(files: list[AudioFile], prefetch: int = 2):
    return fetch_ahead(files, StorageConfig(), ExtractConfig(prefetch=prefetch))


@pytest.mark.parametrize("prefetch", [1, 2, 5, 50])
def test_every_file_arrives_in_order_with_its_own_content(tmp_path: Path, prefetch: int) -> None:
    contents = [bytes([number]) * (20 - number) for number in range(20)]  # shorter ones leave no rest of longer
    files = _files(tmp_path, contents)
    arrived = []
    for file, content in _ahead(files, prefetch):
        assert not isinstance(content, TrackError)
        content.seek(0)
        arrived.append((file, content.read()))
    assert arrived == list(zip(files, contents, strict=True))


def test_a_file_that_cannot_be_had_is_an_error_in_its_place(tmp_path: Path) -> None:
    files = _files(tmp_path, [b"one", b"two", b"three"])
    Path(files[1].uri).unlink()
    outcomes = [content.code if isinstance(content, TrackError) else "here" for _, content in _ahead(files)]
    assert outcomes == ["here", "not_found", "here"]


class _Store:
    """A store that notes what it is asked for, and fails as told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.error, self.go_on = error, threading.Event()

    def fetch(self, uri: str, into: BinaryIO, max_bytes: int) -> int:
        self.asked.append(uri)
        if self.error:
            raise self.error
        return 0


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> _Store:
    store = _Store()
    monkeypatch.setattr(module, "open_store", lambda *_: store)
    return store


def _named(count: int) -> list[AudioFile]:
    return [AudioFile(str(number), "", [str(number)]) for number in range(count)]


def test_no_more_than_the_next_files_are_asked_for(store: _Store) -> None:
    ahead = _ahead(_named(100), prefetch=3)
    for number, _ in enumerate(ahead, start=1):
        time.sleep(0.005)
        assert len(store.asked) <= number + 3
        if number == 10:
            break
    ahead.close()  # type: ignore[attr-defined]
    assert len(store.asked) <= 13


def test_a_store_that_only_fails_is_left_alone(store: _Store) -> None:
    store.error = TrackError("storage_error", "SlowDown")
    outcomes = [content for _, content in _ahead(_named(100), prefetch=2)]
    assert {error.code for error in outcomes} == {"storage_error"}
    assert len(outcomes) == 100
    assert len(store.asked) < 15
    assert "not asked for" in outcomes[-1].message


def test_missing_files_do_not_make_a_store_a_failing_one(store: _Store) -> None:
    store.error = TrackError("not_found", "no such object")
    assert len(list(_ahead(_named(100)))) == len(store.asked) == 100


def test_a_bug_is_not_taken_for_a_fault_of_the_file(store: _Store) -> None:
    store.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        list(_ahead(_named(5)))


def test_a_name_is_one_line() -> None:
    assert AudioFile("s3://bucket/a/two\nlines\t.mp3", "", []).name == "two?lines?.mp3"
    assert AudioFile("/music/Ünïcode – naïve.mp3", "", []).name == "Ünïcode – naïve.mp3"
