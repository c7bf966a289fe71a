"""Whatever a decoder does to its process, the file alone pays for it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from specrec.audio.analyse import analyse
from specrec.audio.config import AudioConfig, ExtractConfig, ModelMelConfig
from specrec.audio.isolated import Analyst
from specrec.audio.model_mel import measure
from specrec.errors import SpecrecError, TrackError

PLANTED = Path(__file__).parents[1] / "planted"
WORKER = 250 << 20  # of the Python worker itself: pandas, pyarrow, boto3
MEL = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=96, scaling="log_10000")
LIMITS = ExtractConfig(time_limit_seconds=6.0, memory_limit_mb=450)


@pytest.fixture(scope="module")
def music() -> bytes:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * 22_050, 2))
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 22_050, format="OGG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def analyst() -> Iterator[Analyst]:
    """An analyst whose child has the planted decoders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLANTED))
        with Analyst(AudioConfig(), LIMITS) as analyst:
            yield analyst


def _ask(analyst: Analyst, folder: Path, data: bytes, name: str = "song.mp3"):
    path = folder / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        return analyst.analyse(file, name)


def test_what_comes_back_is_what_analyse_returns(analyst: Analyst, music: bytes, tmp_path: Path) -> None:
    with threadpool_limits(1):  # as in the child: how BLAS shares a sum out moves its last bit
        here = analyse(music, AudioConfig())
    there = _ask(analyst, tmp_path, music)

    for field in fields(here):
        if field.name != "values":
            assert getattr(here, field.name) == getattr(there, field.name), field.name
    assert list(here.values) == list(there.values)
    for name, value in here.values.items():
        np.testing.assert_array_equal(value, there.values[name], strict=True)


def test_a_models_own_mel_spectrogram_comes_back_as_it_was_computed(
    analyst: Analyst, music: bytes, tmp_path: Path
) -> None:
    with threadpool_limits(1):
        here = measure(music, AudioConfig(), MEL)
    path = tmp_path / "file"
    path.write_bytes(music)
    with path.open("rb") as file:
        there = analyst.model_mel(file, MEL)
        assert analyst.analyse(file).content_hash == there.content_hash  # one child does both
    assert here.content_hash == there.content_hash
    np.testing.assert_array_equal(here.mel, there.mel, strict=True)


def test_a_file_that_breaks_the_decoder_does_so_for_a_models_mel_as_well(
    analyst: Analyst, music: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    for data, code in ((b"ABORT", "crashed_decoder"), (b"SLEEP", "timed_out"), (b"EAT", "out_of_memory"),
                       (b"GARBLE", "crashed_decoder"), (b"", "empty"), (b"text", "undecodable")):  # fmt: skip
        path.write_bytes(data)
        with path.open("rb") as file, pytest.raises(TrackError) as failed:
            analyst.model_mel(file, MEL, "song.mp3")
        assert failed.value.code == code
        assert failed.value.message.startswith("song.mp3 ") or code == "undecodable"
    path.write_bytes(music)
    with path.open("rb") as file:
        assert analyst.model_mel(file, MEL).mel.shape == (96, 126)


def test_a_file_is_read_from_its_beginning(analyst: Analyst, music: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(music)
    with path.open("rb") as file:
        file.seek(100)
        assert analyst.analyse(file).content_hash == analyse(music, AudioConfig()).content_hash


def test_an_error_of_the_file_comes_back_in_its_own_words(analyst: Analyst, tmp_path: Path) -> None:
    for data in (b"", b"no music at all"):
        with pytest.raises(TrackError) as here:
            analyse(data, AudioConfig(), "song.mp3")
        with pytest.raises(TrackError) as there:
            _ask(analyst, tmp_path, data)
        assert (there.value.code, there.value.message) == (here.value.code, here.value.message)


def test_a_decoder_that_fails_costs_its_file_alone(analyst: Analyst, music: bytes, tmp_path: Path) -> None:
    for word, code, told in (
        (b"ABORT", "crashed_decoder", "SIGABRT"),
        (b"SEGFAULT", "crashed_decoder", "SIGSEGV"),
        (b"EXIT", "crashed_decoder", "exit status 3"),
        (b"SLEEP", "timed_out", "extract.time_limit_seconds=6"),
        (b"EAT", "out_of_memory", "extract.memory_limit_mb"),
    ):
        with pytest.raises(TrackError) as failed:
            _ask(analyst, tmp_path, word)

        assert failed.value.code == code
        assert failed.value.message.startswith("song.mp3 ")
        assert told in failed.value.message
        assert "\n" not in failed.value.message
    assert _ask(analyst, tmp_path, music).seconds == 2


def test_a_file_is_not_blamed_for_what_an_earlier_one_did(analyst: Analyst, music: bytes, tmp_path: Path) -> None:
    _ask(analyst, tmp_path, music)
    with pytest.raises(TrackError) as failed:
        _ask(analyst, tmp_path, b"CRASH-IF-USED")
    assert failed.value.code == "undecodable"


def test_an_answer_that_makes_no_sense_costs_the_file_alone(analyst: Analyst, music: bytes, tmp_path: Path) -> None:
    with pytest.raises(TrackError) as failed:
        _ask(analyst, tmp_path, b"GARBLE")
    assert failed.value.code == "crashed_decoder"
    assert _ask(analyst, tmp_path, music).seconds == 2


def test_a_child_that_was_killed_from_outside_is_not_the_files_fault(analyst: Analyst, tmp_path: Path) -> None:
    with pytest.raises(TrackError) as failed:
        _ask(analyst, tmp_path, b"KILLED")
    assert failed.value.code == "failed"  # and is tried again


def test_what_is_no_real_file_is_refused_and_nothing_is_lost(
    analyst: Analyst, music: bytes, tmp_path: Path
) -> None:
    with pytest.raises(io.UnsupportedOperation):
        analyst.analyse(io.BytesIO(music))
    assert _ask(analyst, tmp_path, music).seconds == 2


def test_the_child_runs_on_one_thread_and_has_no_credentials(
    music: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")  # what is configured stays
    with Analyst(AudioConfig(), LIMITS) as analyst:
        _ask(analyst, tmp_path, music)
        child = psutil.Process(analyst._child._process.pid)
        assert child.num_threads() == 1
        assert child.environ()["NUMBA_NUM_THREADS"] == "2"
        assert child.environ()["OPENBLAS_NUM_THREADS"] == "1"
        assert "hush" not in child.environ().values()


def test_what_a_decoder_prints_disturbs_nothing(analyst: Analyst, music: bytes, tmp_path: Path) -> None:
    with pytest.raises(TrackError) as failed:
        _ask(analyst, tmp_path, b"PRINT")
    assert failed.value.code == "undecodable"
    _ask(analyst, tmp_path, music)


def test_an_environment_that_cannot_decode_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "librosa.py").write_text("raise ImportError('librosa was left out')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        Analyst(AudioConfig(), LIMITS) as analyst,
        pytest.raises(SpecrecError, match=r"did not start \(ImportError: librosa was left out\)"),
    ):
        _ask(analyst, tmp_path, b"anything")


def test_a_worker_and_its_child_stay_below_a_gibibyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLANTED))
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    peak = max(peak, child.memory_info().rss)

    watcher = threading.Thread(target=watch)
    with Analyst(AudioConfig(), ExtractConfig()) as analyst:
        watcher.start()
        with pytest.raises(TrackError) as failed:
            _ask(analyst, tmp_path, b"EAT")
        done.set()
    watcher.join()
    assert failed.value.code == "out_of_memory"
    assert 500 << 20 < peak < (1 << 30) - WORKER


def test_of_a_two_hour_file_only_the_excerpt_is_decoded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, (44_100 * 30, 2)), 44_100, format="MP3")
    path = tmp_path / "two-hours.mp3"
    path.write_bytes(buffer.getvalue() * 240)  # frames of MP3 may follow on one another

    with Analyst(AudioConfig(), ExtractConfig()) as analyst, path.open("rb") as file:
        analyst.start()
        done = analyst.analyse(file, path.name)
        child = psutil.Process(analyst._child._process.pid)
        peak = Path(f"/proc/{child.pid}/status").read_text().partition("VmHWM:")[2].split()[0]

    assert done.seconds == 30
    assert int(peak) * 1024 < 500e6


_PARENT = """
import sys
from specrec.audio.isolated import Analyst
from specrec.audio.model_mel import measure
from specrec.audio.config import AudioConfig, ExtractConfig, ModelMelConfig
with Analyst(AudioConfig(), ExtractConfig(time_limit_seconds=1.0)) as analyst, open(sys.argv[1], "rb") as file:
    analyst._child._wait_until_ready()
    print(analyst._child._process.pid, flush=True)
    if sys.argv[2] == "busy":
        analyst._limits = analyst._child._limits = ExtractConfig(time_limit_seconds=1000)
        analyst.analyse(file)
    sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_child_ends_with_its_parent(tmp_path: Path, state: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"SLEEP")
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, path, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PLANTED)},
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    assert child.is_running()

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    psutil.wait_procs([child], timeout=15)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
