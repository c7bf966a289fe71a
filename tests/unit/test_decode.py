import csv
import io
import time
import tracemalloc
from contextlib import nullcontext, suppress
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode, decoder_versions
from specrec.errors import TrackError

SHARED = Path(__file__).parents[2].parent / "shared"
BAD_AUDIO = SHARED / "bad-audio"

needs_bad_audio = pytest.mark.skipif(not BAD_AUDIO.is_dir(), reason="../shared/bad-audio is absent")

CODES = {
    "zero-bytes.mp3": "empty",
    "text-named.mp3": "undecodable",
    "random-bytes.ogg": "undecodable",
    "id3-tag-only.mp3": "undecodable",
    "silence.flac": "silent",
    "constant-offset.flac": "silent",
    "not-a-number.wav": "not_finite",
    "infinite.wav": "not_finite",
    "two-tenths-of-a-second.wav": "too_short",
    "one-sample.wav": "too_short",
    "no-samples.wav": "too_short",
    "video-without-sound.mp4": "no_audio_stream",
}


def _expected() -> list[tuple[str, str]]:
    if not BAD_AUDIO.is_dir():
        return []
    with (BAD_AUDIO / "expected.csv").open(encoding="utf-8") as lines:
        rows = [(row["audio"], row["expected"]) for row in csv.DictReader(lines)]
    return [(audio, expected) for audio, expected in rows if audio != "not-on-the-store.mp3"]


def _wav(samples: np.ndarray, rate: int = 22_050, kind: str = "WAV", subtype: str = "FLOAT") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def _sine(seconds: float, rate: int = 22_050, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@needs_bad_audio
@pytest.mark.parametrize(("audio", "expected"), _expected())
def test_every_bad_file_becomes_what_is_expected_of_it(audio, expected):
    data = (BAD_AUDIO / audio).read_bytes()
    if expected == "quarantine":
        with pytest.raises(TrackError) as caught:
            decode(data, AudioConfig(), audio)
        assert caught.value.code == CODES[audio]
        assert audio in caught.value.message
        assert "\n" not in caught.value.message
        return
    with nullcontext() if expected == "ok" else suppress(TrackError):
        clip = decode(data, AudioConfig(), audio)
        assert clip.samples.dtype == np.float32
        assert clip.samples.ndim == 1
        assert clip.sample_rate == 22_050
        assert np.isfinite(clip.samples).all()
        assert clip.samples.size == pytest.approx(clip.seconds * clip.sample_rate, abs=1)


@needs_bad_audio
def test_every_quarantined_file_has_a_code_of_its_own_fault():
    assert set(CODES) == {audio for audio, expected in _expected() if expected == "quarantine"}


def _some_files() -> list[Path]:
    music = [sorted((SHARED / "music").rglob(f"*.{ending}"))[:1] for ending in ("mp3", "ogg", "flac", "wav")]
    names = (
        "eight-channels-88khz.flac",
        "preview.opus",
        "preview.aiff",
        "telephone-8khz.wav",
        "cut-in-half.mp3",
    )
    return [file for files in music for file in files] + [BAD_AUDIO / n for n in names if (BAD_AUDIO / n).exists()]


@pytest.mark.skipif(not _some_files(), reason="../shared/music and ../shared/bad-audio are absent")
@pytest.mark.parametrize("file", _some_files(), ids=lambda file: file.name)
@pytest.mark.parametrize(
    ("rate", "offset", "duration"), [(22_050, 0.0, 30.0), (None, 1.3, 3.0), (16_000, 2.0, 30.0)]
)
def test_samples_are_those_of_librosa_load(file, rate, offset, duration):
    config = AudioConfig(sample_rate=rate, offset_seconds=offset, clip_seconds=duration)
    clip = decode(file.read_bytes(), config, file.name)
    y, sr = librosa.load(file, sr=rate, mono=True, offset=offset, duration=duration)
    assert clip.sample_rate == sr
    np.testing.assert_array_equal(clip.samples, y)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_lengths_and_values_follow_librosa_at_odd_sizes(rate):
    stereo = np.random.default_rng(0).uniform(-1, 1, (rate + 7, 2)).astype(np.float32)
    data = _wav(stereo, rate)
    y, _ = librosa.load(io.BytesIO(data), sr=22_050, mono=True, offset=0.01, duration=1)
    np.testing.assert_array_equal(
        decode(data, AudioConfig(offset_seconds=0.01, clip_seconds=1, min_seconds=0.5)).samples, y
    )


@needs_bad_audio
def test_of_two_hours_only_the_excerpt_is_held():
    data = (BAD_AUDIO / "two-hours.mp3").read_bytes()
    decode(data, AudioConfig())  # imports
    tracemalloc.start()
    clip = decode(data, AudioConfig(offset_seconds=3_600))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert clip.samples.size == 30 * 22_050
    assert peak < 32 * 2**20


@needs_bad_audio
@pytest.mark.parametrize("name", ["preview.m4a", "preview.wma", "music-video.mp4"])
def test_ffmpeg_cuts_the_same_excerpt_as_out_of_the_whole(name):
    data = (BAD_AUDIO / name).read_bytes()
    whole = decode(data, AudioConfig(sample_rate=None))
    assert whole.decoder.startswith("ffmpeg ")
    cut = decode(data, AudioConfig(sample_rate=None, offset_seconds=5, clip_seconds=2))
    rate = whole.sample_rate
    np.testing.assert_array_equal(cut.samples, whole.samples[5 * rate : 7 * rate])


def test_channels_are_averaged():
    tone = _sine(2)
    samples = decode(_wav(np.stack([tone, np.zeros_like(tone)], axis=1)), AudioConfig()).samples
    np.testing.assert_allclose(samples, tone / 2, atol=1e-7)


def test_clip_tells_what_it_is():
    clip = decode(_wav(_sine(2, 44_100), 44_100), AudioConfig())
    assert (clip.seconds, clip.native_rate, clip.sample_rate) == (2.0, 44_100, 22_050)
    assert clip.decoder in decoder_versions()


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        (np.zeros(22_050 * 2), "silent"),
        (np.full(22_050 * 2, 0.7), "silent"),
        (0.5 + 1e-5 * _sine(2), "silent"),
        (np.where(np.arange(44_100) == 30_000, np.nan, 0.1), "not_finite"),
        (np.where(np.arange(44_100) == 30_000, -np.inf, 0.1), "not_finite"),
        (_sine(0.9), "too_short"),
        (np.zeros(0), "too_short"),
    ],
)
def test_faults_of_the_samples(samples, code):
    with pytest.raises(TrackError) as caught:
        decode(_wav(np.asarray(samples, np.float32)), AudioConfig(), "a.wav")
    assert caught.value.code == code


def test_a_whisper_is_not_silent():
    assert decode(_wav(1e-3 * _sine(2)), AudioConfig()).samples.size == 44_100


def test_sound_above_the_new_rates_reach_is_silent():
    with pytest.raises(TrackError, match="no sound") as caught:
        decode(_wav(_sine(2, 48_000, 20_000) * np.hanning(96_000), 48_000), AudioConfig(sample_rate=16_000))
    assert caught.value.code == "silent"


def test_an_offset_beyond_the_end_is_too_short():
    with pytest.raises(TrackError, match="after 60 s") as caught:
        decode(_wav(_sine(2)), AudioConfig(offset_seconds=60))
    assert caught.value.code == "too_short"


@pytest.mark.parametrize("data", [b"\x00", b"RIFF", b"ID3\x04\x00", b"OggS" + bytes(100), bytes(5_000)])
def test_fragments_are_undecodable(data):
    with pytest.raises(TrackError) as caught:
        decode(data, AudioConfig())
    assert caught.value.code == "undecodable"


@pytest.mark.parametrize(
    "text",
    [
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "ffconcat version 1.0\nfile '/etc/hostname'\n",
        "#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.mp3\n",
    ],
)
def test_lists_of_addresses_are_not_followed(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(TrackError) as error:
        decode(text.encode(), AudioConfig(), "x.mp3")
    assert error.value.code in ("undecodable", "no_audio_stream")
    assert time.monotonic() - started < 5
