"""Whatever the bytes are, a file ends as finite numbers or as one of the known errors.

`make fuzz CASES=100000` does the same for longer, with new cases each time.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from specrec.audio.config import AudioConfig, ExtractConfig
from specrec.audio.isolated import Analyst
from specrec.errors import TrackError

CASES = int(os.environ.get("SPECREC_FUZZ_CASES", "2800"))
FORMATS = ("mp3", "ogg", "opus", "flac", "wav", "aiff", "m4a")
RATE = 22_050
CONFIG = AudioConfig(clip_seconds=1.0, min_seconds=0.2)
#: What bytes can lead to. `failed` is an error that nobody thought of, `crashed_decoder` one of a library's.
EXPECTED = {"ok", "empty", "undecodable", "no_audio_stream", "too_short", "silent", "not_finite"}


def _valid(kind: str) -> bytes:
    """Half a second of stereo noise over a tone."""
    time = np.arange(RATE // 2) / RATE
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (time.size, 2))
    samples = (noise + 0.4 * np.sin(2 * np.pi * 440 * time)[:, None]).astype(np.float32)
    buffer = io.BytesIO()
    if kind != "m4a":
        subtype = "OPUS" if kind == "opus" else None
        rate = 24_000 if kind == "opus" else RATE  # one of those that Opus has
        soundfile.write(buffer, samples, rate, format="OGG" if subtype else kind, subtype=subtype)
        return buffer.getvalue()
    with av.open(buffer, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples.T.copy(), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return buffer.getvalue()


VALID = {kind: _valid(kind) for kind in FORMATS}


class _Bytes(bytes):
    """Bytes that a failing test does not print whole."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, sha256 {hashlib.sha256(self).hexdigest()[:16]}>"


@st.composite
def _mutations(draw: st.DrawFn, valid: bytes) -> _Bytes:
    """A valid file after one to eight edits, half of them in the first 256 bytes, where the headers are."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 8))):
        end = draw(st.sampled_from([256, len(data)]))
        at = draw(st.integers(0, max(0, min(end, len(data)) - 1)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(["flip", "overwrite", "extreme", "insert", "delete", "repeat", "cut"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "overwrite":
                data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "extreme":
                data[at : at + length] = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\x80"])) * length
            case "insert":
                data[at:at] = draw(st.binary(max_size=length))
            case "delete":
                del data[at : at + length]
            case "repeat":
                data[at:at] = data[at : at + length] * draw(st.integers(1, 20))
            case "cut":
                del data[at:]
    return _Bytes(data)


@pytest.fixture(scope="module")
def analyst() -> Iterator[Analyst]:
    with Analyst(CONFIG, ExtractConfig(time_limit_seconds=20.0)) as analyst:
        yield analyst


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_end_as_numbers_or_as_a_known_error(analyst: Analyst, kind: str) -> None:
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=CASES // len(FORMATS),
        derandomize="SPECREC_FUZZ_CASES" not in os.environ,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(_mutations(VALID[kind]))
    def check(data: _Bytes) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            try:
                done = analyst.analyse(file, f"song.{kind}")
            except TrackError as error:
                note(f"{error.code}: {error.message}")
                outcome, message = error.code, error.message
            else:
                outcome, message = "ok", ""
                assert all(np.isfinite(value).all() for value in done.values.values())
                assert len(done.mel) == done.n_mels * done.n_frames
                assert 0 < done.seconds <= CONFIG.clip_seconds
        outcomes[outcome] += 1
        assert outcome in EXPECTED
        assert "\n" not in message

    check()
    print(f"{kind}: {dict(outcomes)}")
    assert outcomes["ok"], "no mutated file was readable: the mutations are too coarse"
    assert len(outcomes) > 1, "every mutated file was readable: the mutations are too fine"
