import csv
import io
import struct
import time
import tracemalloc
from contextlib import nullcontext, suppress
from pathlib import Path

import av
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


def _by_librosa(file, rate: int | None, offset: float, duration: float) -> tuple[np.ndarray, int]:
    """Mean of the channels, less their own mean, then resampled."""
    y, native = librosa.load(file, sr=None, mono=True, offset=offset, duration=duration)
    y = y - np.float32(y.mean(dtype=np.float64))
    rate = rate or native
    return librosa.resample(y, orig_sr=native, target_sr=rate, res_type="soxr_hq"), rate


@pytest.mark.skipif(not _some_files(), reason="../shared/music and ../shared/bad-audio are absent")
@pytest.mark.parametrize("file", _some_files(), ids=lambda file: file.name)
@pytest.mark.parametrize(
    ("rate", "offset", "duration"), [(22_050, 0.0, 30.0), (None, 1.3, 3.0), (16_000, 2.0, 30.0)]
)
def test_samples_are_those_of_librosa_load(file, rate, offset, duration):
    config = AudioConfig(sample_rate=rate, offset_seconds=offset, clip_seconds=duration)
    clip = decode(file.read_bytes(), config, file.name)
    y, sr = _by_librosa(file, rate, offset, duration)
    assert clip.sample_rate == sr
    np.testing.assert_array_equal(clip.samples, y)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_lengths_and_values_follow_librosa_at_odd_sizes(rate):
    stereo = np.random.default_rng(0).uniform(-1, 1, (rate + 7, 2)).astype(np.float32)
    data = _wav(stereo, rate)
    y, _ = _by_librosa(io.BytesIO(data), 22_050, 0.01, 1)
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
    expected = whole.samples[5 * rate : 7 * rate]
    np.testing.assert_allclose(cut.samples, expected - expected.mean(), atol=1e-6)


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


# --- lengths --------------------------------------------------------------------------------------------------


def _noise(seconds: float, rate: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * rate)).astype(np.float32)


def _ogg(seconds: float, seed: int, rate: int = 24_000, subtype: str = "VORBIS", channels: int = 1) -> bytes:
    return _wav(np.stack([_noise(seconds, rate, seed)] * channels, axis=1), rate, "OGG", subtype)


def _raw(data: bytes) -> np.ndarray:
    return librosa.load(io.BytesIO(data), sr=None)[0]


def _by_ffmpeg(samples: np.ndarray, rate: int, container: str, codec: str, **options: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono", options={"q": "5"} if "lame" in codec else {})
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return out.getvalue()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("lengths", [(3, 4), (0.5, 2, 0.3, 1), (8, 2)])
@pytest.mark.parametrize(("offset", "duration"), [(0, 30), (2.5, 30), (1.25, 2.5), (0.75, 0.25), (3.25, 4)])
def test_of_chained_ogg_all_parts_are_heard(subtype, lengths, offset, duration):
    parts = [_ogg(seconds, seed, subtype=subtype) for seed, seconds in enumerate(lengths)]
    expected = np.concatenate([_raw(part) for part in parts])[int(offset * 24_000) :][: int(duration * 24_000)]
    config = AudioConfig(
        sample_rate=None, fmax=4_000, offset_seconds=offset, clip_seconds=duration, min_seconds=0.1
    )
    samples = decode(b"".join(parts), config).samples
    expected = expected - np.float32(expected.mean(dtype=np.float64))
    if offset == 0:
        np.testing.assert_array_equal(samples, expected)
    else:  # where libsndfile begins amid a stream, the last bits differ
        assert samples.size == expected.size
        np.testing.assert_allclose(samples[2_000:], expected[2_000:], atol=1e-3)
        assert np.corrcoef(samples, expected)[0, 1] > 0.99


def test_a_file_that_is_chained_with_itself_is_heard_twice():
    part = _ogg(2, 0)
    assert decode(part + part, AudioConfig(sample_rate=None, fmax=4_000)).seconds == pytest.approx(4, abs=1e-3)


def test_parts_of_another_rate_or_of_more_channels_are_heard_as_the_first():
    parts = [_ogg(2, 0), _ogg(3, 1, rate=48_000, channels=2), _ogg(1, 2, subtype="OPUS")]
    clip = decode(b"".join(parts), AudioConfig(sample_rate=None, fmax=4_000))
    assert clip.native_rate == 24_000
    assert clip.samples.size == pytest.approx(6 * 24_000, abs=3)
    second = librosa.resample(_raw(parts[1]), orig_sr=48_000, target_sr=24_000, res_type="soxr_hq")
    np.testing.assert_allclose(clip.samples[48_000:][: second.size], second, atol=1e-2)


def test_of_a_chain_a_damaged_part_is_left_out():
    damaged = bytearray(_ogg(2, 1))
    damaged[60:4_000] = bytes(3_940)
    data = _ogg(2, 0) + bytes(damaged) + _ogg(1, 2)
    assert 3 <= decode(data, AudioConfig()).seconds < 5.1


def test_of_joined_mp3_all_is_heard():
    parts = [
        _wav(_noise(seconds, 44_100, seed), 44_100, "MP3", "MPEG_LAYER_III") for seed, seconds in ((0, 2), (1, 5))
    ]
    assert decode(parts[0], AudioConfig()).decoder.startswith("libsndfile")
    clip = decode(b"".join(parts), AudioConfig())
    assert clip.seconds == pytest.approx(7, abs=0.15)
    assert decode(b"".join(parts), AudioConfig(offset_seconds=3)).seconds == pytest.approx(4, abs=0.15)
    lower = _wav(_noise(2, 22_050, 3), 22_050, "MP3", "MPEG_LAYER_III")
    assert decode(parts[1] + lower, AudioConfig()).seconds == pytest.approx(7, abs=0.3)


def test_of_an_mp3_of_changing_bit_rate_without_a_header_all_is_heard():
    quiet_first = np.concatenate([_noise(4, 44_100, 0) * 1e-4, _noise(8, 44_100, 1)])
    data = _by_ffmpeg(quiet_first, 44_100, "mp3", "libmp3lame", write_xing="0", id3v2_version="0")
    assert decode(data, AudioConfig()).seconds == pytest.approx(12, abs=0.15)


@pytest.mark.parametrize("said", [0, 1_000, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF])
def test_of_wav_whose_length_was_never_written_all_is_heard(said, riff):
    data = bytearray(_wav(_noise(3, 22_050, 0), subtype="PCM_16"))
    at = data.index(b"data")
    data[4:8], data[at + 4 : at + 8] = struct.pack("<I", riff), struct.pack("<I", said)
    if said == 1_000:  # a length that says something is what players play
        with pytest.raises(TrackError, match=r"holds 0\.02 s"):
            decode(bytes(data), AudioConfig())
    else:
        assert decode(bytes(data), AudioConfig()).seconds == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("said", [0, 22_050, 220_500])
def test_of_flac_whose_length_is_wrong_all_is_heard(said):
    data = bytearray(_wav(_noise(3, 22_050, 0), kind="FLAC", subtype="PCM_16"))
    known = int.from_bytes(data[18:26], "big")
    data[18:26] = (known >> 36 << 36 | said).to_bytes(8, "big")
    clip = decode(bytes(data), AudioConfig(sample_rate=None, fmax=4_000))
    assert clip.seconds == 3
    np.testing.assert_allclose(clip.samples, _noise(3, 22_050, 0), atol=1e-3)


# --- from channels to one -------------------------------------------------------------------------------------


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1)])
@pytest.mark.parametrize("width", [0.0, 0.3])
def test_a_miswired_cable_changes_nothing(signs, width):
    middle, side = _noise(3, 44_100, 0), width * _noise(3, 44_100, 1)
    wired = np.stack([middle + side, middle - side], axis=1)
    right = decode(_wav(wired, 44_100), AudioConfig()).samples
    wrong = decode(_wav(wired * np.array(signs, np.float32), 44_100), AudioConfig()).samples
    np.testing.assert_array_equal(wrong * np.float32(signs[0]), right)  # nobody knows which of the two is wrong


def test_a_miswired_cable_changes_nothing_of_what_lossy_codecs_and_ffmpeg_read():
    tone = _sine(3) * np.linspace(1, 0.2, 3 * 22_050, dtype=np.float32)
    for kind, subtype in (("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        right = decode(_wav(np.stack([tone, tone], axis=1), kind=kind, subtype=subtype), AudioConfig()).samples
        wrong = decode(_wav(np.stack([tone, -tone], axis=1), kind=kind, subtype=subtype), AudioConfig()).samples
        assert np.corrcoef(right, wrong)[0, 1] > 0.999
        assert np.abs(wrong).max() == pytest.approx(np.abs(right).max(), rel=0.05)


@pytest.mark.parametrize(
    "others",
    [
        np.zeros_like,
        lambda x: 1e-3 * _noise(3, 22_050, 5),
        lambda x: _noise(3, 22_050, 5),
        lambda x: 0.5 * x,
        lambda x: 0.6 * _noise(3, 22_050, 5) - 0.2 * x,
    ],
    ids=["silent", "noise", "another sound", "softer", "a little opposed"],
)
def test_other_stereo_is_the_mean_of_its_channels_bit_for_bit(others):
    left = _noise(3, 22_050, 0)
    stereo = np.stack([left, others(left).astype(np.float32)], axis=1)
    y, _ = _by_librosa(io.BytesIO(_wav(stereo)), None, 0, 30)
    np.testing.assert_array_equal(decode(_wav(stereo), AudioConfig()).samples, y)


def test_of_several_channels_those_that_cancel_are_turned_over():
    front, back = _noise(3, 48_000, 0), 0.1 * _noise(3, 48_000, 1)
    nothing = np.zeros_like(front)
    surround = np.stack([front, -front, nothing, nothing, back, -back], axis=1)
    y = librosa.resample((front - -front) / 6, orig_sr=48_000, target_sr=22_050, res_type="soxr_hq")
    samples = decode(_wav(surround, 48_000), AudioConfig()).samples
    assert np.corrcoef(samples, y)[0, 1] > 0.97
    plain = np.stack([front, nothing, nothing, nothing, back, -back], axis=1)
    expected, _ = _by_librosa(io.BytesIO(_wav(plain, 48_000)), 22_050, 0, 30)
    np.testing.assert_array_equal(decode(_wav(plain, 48_000), AudioConfig()).samples, expected)


def test_it_is_the_whole_clip_that_decides_which_channels_cancel():
    left = _noise(10, 96_000, 0)
    right = np.where(np.arange(left.size) < left.size // 4, -0.9 * left, left).astype(
        np.float32
    )  # opposed in the first blocks alone
    channels = np.stack([left, right, left * 0, left * 0], axis=1)
    expected, _ = _by_librosa(io.BytesIO(_wav(channels, 96_000)), 22_050, 0, 30)
    np.testing.assert_array_equal(decode(_wav(channels, 96_000), AudioConfig()).samples, expected)


# --- a constant offset ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.02, -0.3, 0.9])
@pytest.mark.parametrize("level", [0.5, 1e-3])
def test_a_constant_offset_is_no_part_of_the_sound(offset, level):
    tone = level * 2 * _sine(3, 44_100)
    with_offset = np.stack([tone + offset, tone + offset], axis=1).astype(np.float32)
    samples = decode(_wav(with_offset, 44_100), AudioConfig()).samples
    expected = decode(_wav(np.stack([tone, tone], axis=1), 44_100), AudioConfig()).samples
    assert abs(samples.mean()) < 1e-6
    np.testing.assert_allclose(samples, expected, atol=1e-6)


def test_opposite_channels_are_known_in_spite_of_an_offset():
    tone = 1e-2 * _noise(3, 22_050, 0)
    stereo = np.stack([tone + 0.5, 0.5 - tone], axis=1).astype(np.float32)
    np.testing.assert_allclose(decode(_wav(stereo), AudioConfig()).samples, tone - tone.mean(), atol=1e-6)


def test_digital_silence_stays_silent():
    samples = np.concatenate([_noise(2, 22_050, 0) + 0.02, np.zeros(22_050), [0.3, 0.0, 0.0], _noise(1, 22_050, 1)])
    heard = decode(_wav(samples.astype(np.float32)), AudioConfig()).samples
    assert not heard[44_100:66_150].any()
    expected = np.concatenate([samples[:44_100], samples[66_150:]])
    np.testing.assert_allclose(
        np.concatenate([heard[:44_100], heard[66_150:]]), expected - expected.mean(), atol=1e-6
    )
