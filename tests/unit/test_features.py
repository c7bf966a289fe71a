import csv
import itertools
from pathlib import Path

import librosa
import numpy as np
import pytest

from specrec.audio import features as module
from specrec.audio.config import AudioConfig
from specrec.audio.decode import Clip, decode
from specrec.audio.features import extract
from specrec.audio.measures import CLIP_FEATURES, FEATURES, columns
from specrec.errors import TrackError

SHARED = Path(__file__).parents[2].parent / "shared"
REFERENCE = SHARED / "reference"
RATE = 22_050
TIME = np.arange(10 * RATE) / RATE


def _clip(samples: np.ndarray, rate: int = RATE) -> Clip:
    return Clip(samples.astype(np.float32), rate, samples.size / rate, rate, "synthetic")


def _chord(*midi: float, harmonics: int = 4) -> np.ndarray:
    return sum(
        0.1 / harmonic * np.sin(2 * np.pi * harmonic * 440 * 2 ** ((note - 69) / 12) * TIME)
        for note in midi
        for harmonic in range(1, harmonics + 1)
    )


def _clicks(bpm: float) -> np.ndarray:
    """Bursts of noise, which fade within 20 ms."""
    samples = np.zeros_like(TIME)
    burst = np.random.default_rng(0).standard_normal(882) * np.exp(-np.arange(882) / 150)
    for beat in np.arange(0, TIME[-1] - 0.1, 60 / bpm):
        samples[round(beat * RATE) :][:882] += 0.2 * burst
    return samples


def _noise(seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(TIME.size)


def _half_silent() -> np.ndarray:
    return np.where(TIME < 5, _chord(60, 64, 67) * np.exp(-TIME), 0)


def _by_librosa(y: np.ndarray, sr: int, c: AudioConfig) -> dict[str, np.ndarray]:
    """Each feature by its public function from the samples, as a notebook would have it."""
    stft = {"n_fft": c.n_fft, "hop_length": c.hop_length, "pad_mode": c.pad_mode, "window": c.window}
    mel = {"n_mels": c.n_mels, "fmin": c.fmin, "fmax": c.fmax or sr / 2}
    f = librosa.feature
    mfcc = f.mfcc(y=y, sr=sr, n_mfcc=c.n_mfcc, **mel, **stft)
    chroma = f.chroma_stft(y=y, sr=sr, **stft)
    return {
        "mfcc": mfcc,
        "mfcc_delta": f.delta(mfcc),
        "spectral_contrast": f.spectral_contrast(y=y, sr=sr, **stft),
        "spectral_centroid": f.spectral_centroid(y=y, sr=sr, **stft)[0],
        "spectral_bandwidth": f.spectral_bandwidth(y=y, sr=sr, **stft)[0],
        "spectral_rolloff": f.spectral_rolloff(y=y, sr=sr, **stft)[0],
        "chroma": chroma,
        "tonnetz": f.tonnetz(chroma=chroma),
        "onset_strength": librosa.onset.onset_strength(y=y, sr=sr, **mel, **stft),
        "rms": f.rms(y=y, frame_length=c.n_fft, hop_length=c.hop_length, pad_mode=c.pad_mode)[0],
        "spectral_flatness": f.spectral_flatness(y=y, **stft)[0],
        "zero_crossing_rate": f.zero_crossing_rate(y, frame_length=c.n_fft, hop_length=c.hop_length)[0],
    }


def _assert_librosas(y: np.ndarray, sr: int, config: AudioConfig) -> None:
    values = extract(_clip(y, sr), config).values
    for name, frames in _by_librosa(y.astype(np.float32), sr, config).items():
        # near-zero means, such as a delta's, are compared on the scale of the feature itself
        scale = float(np.max(np.std(frames, axis=-1)))
        for statistic in (np.mean, np.std):
            expected = statistic(frames, axis=-1, dtype=np.float64)
            actual = values[f"{name}_{statistic.__name__}"]
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


def _music() -> list[Path]:
    return sorted((SHARED / "music").rglob("*.mp3"))[::110]


SIGNALS = {
    "noise": _noise(),
    "triad": _chord(60, 64, 67) + 1e-3 * _noise(),
    "clicks": _clicks(120) + 1e-4 * _noise(),
    "half silent": _half_silent() + np.where(TIME < 5, 1e-4 * _noise(), 0),
}


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_values_are_librosas(signal):
    _assert_librosas(signal, RATE, AudioConfig())


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        (AudioConfig(pad_mode="reflect", n_mfcc=13, n_mels=64, fmin=30, fmax=9_000), RATE),
        (AudioConfig(pad_mode="edge", n_fft=1024, hop_length=300, window="hamming"), RATE),
        (AudioConfig(sample_rate=None, n_fft=4096, hop_length=1024), 44_100),
        (AudioConfig(sample_rate=16_000), 16_000),
        (AudioConfig(sample_rate=None), 96_000),
        (AudioConfig(n_fft=512, hop_length=512, n_mels=40, fmin=300, n_mfcc=13), RATE),
        (AudioConfig(n_fft=256, hop_length=128, n_mels=20, n_mfcc=5), RATE),
    ],
)
def test_values_are_librosas_with_other_parameters(config, rate):
    _assert_librosas(_noise()[:100_001] + _chord(57, 60, 64)[:100_001], rate, config)


@pytest.mark.skipif(not _music(), reason="../shared/music is absent")
@pytest.mark.parametrize("file", _music(), ids=lambda file: file.name)
def test_values_of_music_are_librosas(file):
    config = AudioConfig(clip_seconds=20)
    clip = decode(file.read_bytes(), config)
    _assert_librosas(clip.samples, RATE, config)
    tempo, _ = librosa.beat.beat_track(y=clip.samples, sr=RATE)
    assert extract(clip, config).values["tempo"] == tempo.item()


@pytest.mark.parametrize("name", ["blues.00000.wav", "classical.00000.wav", "metal.00000.wav"])
def test_published_gtzan_values_come_out(name):
    table = REFERENCE / "gtzan_published_features.csv"
    if not table.exists():
        pytest.skip("../shared/reference is absent")
    with table.open(encoding="utf-8") as lines:
        published = {row["filename"]: row for row in csv.DictReader(lines)}.get(name)
    if published is None:
        pytest.skip(f"../shared/reference/{table.name} has no row of {name}")
    config = AudioConfig(pad_mode="reflect", clip_seconds=60)  # the padding of the librosa of that day
    clip = decode((REFERENCE / name).read_bytes(), config)
    assert clip.samples.size == int(published["length"])
    values = extract(clip, config).values
    pairs = {
        "rms": "rms",
        "spectral_centroid": "spectral_centroid",
        "spectral_bandwidth": "spectral_bandwidth",
        "rolloff": "spectral_rolloff",
        "zero_crossing_rate": "zero_crossing_rate",
    }
    ours: dict[str, float] = {}
    for theirs, feature in pairs.items():
        ours[f"{theirs}_mean"] = values[f"{feature}_mean"]
        ours[f"{theirs}_var"] = values[f"{feature}_std"] ** 2
    for i in range(20):
        ours[f"mfcc{i + 1}_mean"] = values["mfcc_mean"][i]
        ours[f"mfcc{i + 1}_var"] = values["mfcc_std"][i] ** 2
    # theirs is over all pitch classes at once
    mean, std = (values[f"chroma_{statistic}"].astype(np.float64) for statistic in ("mean", "std"))
    ours["chroma_stft_mean"] = mean.mean()
    ours["chroma_stft_var"] = (std**2 + mean**2).mean() - mean.mean() ** 2
    for column, value in ours.items():
        assert value == pytest.approx(float(published[column]), rel=1e-4), column
    assert values["tempo"] == pytest.approx(float(published["tempo"]))


def test_columns_follow_the_declarations_and_their_order():
    config = AudioConfig(n_mfcc=13)
    values = extract(_clip(_noise()), config).values
    sizes = columns(13)
    assert list(values) == list(sizes)
    assert list(sizes)[:2] == ["mfcc_mean", "mfcc_std"]
    assert list(sizes)[-len(CLIP_FEATURES) :] == [feature.name for feature in CLIP_FEATURES]
    for column, size in sizes.items():
        value = values[column]
        if size == 1:
            assert isinstance(value, float), column
        else:
            assert value.shape == (size,), column
            assert value.dtype == np.float32, column
    assert len({feature.name for feature in FEATURES + CLIP_FEATURES}) == len(FEATURES + CLIP_FEATURES)


def test_a_tone_of_440_hz():
    values = extract(_clip(0.5 * np.sin(2 * np.pi * 440 * TIME)), AudioConfig()).values
    assert np.argmax(values["chroma_mean"]) == 9  # A
    assert values["spectral_centroid_mean"] == pytest.approx(440, rel=0.03)
    assert values["zero_crossing_rate_mean"] == pytest.approx(2 * 440 / RATE, rel=0.02)
    assert values["rms_mean"] == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert values["spectral_flatness_mean"] < 1e-3


def test_white_noise_is_flat_and_a_tone_is_not():
    noise = extract(_clip(_noise()), AudioConfig()).values
    assert noise["spectral_flatness_mean"] > 0.5
    assert noise["spectral_centroid_mean"] == pytest.approx(RATE / 4, rel=0.05)


@pytest.mark.parametrize("bpm", [90, 120, 150])
def test_clicks_give_their_tempo(bpm):
    y = _clicks(bpm)
    tempo = extract(_clip(y), AudioConfig()).values["tempo"]
    assert tempo == pytest.approx(bpm, rel=0.04)
    assert tempo == librosa.beat.beat_track(y=y.astype(np.float32), sr=RATE)[0].item()


def test_what_never_begins_has_no_tempo():
    assert extract(_clip(np.full(TIME.size, 0.1)), AudioConfig()).values["tempo"] >= 0
    assert module._tempo(np.zeros(100), RATE, 512) == 0.0


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("mode", "third"), [(1, 4), (0, 3)], ids=["major", "minor"])
def test_a_triad_with_its_root_doubled_gives_the_key(tonic, mode, third):
    root = 60 + tonic
    y = _chord(root, root + third, root + 7, root + 12, harmonics=1)
    values = extract(_clip(y), AudioConfig()).values
    assert (values["key"], values["mode"]) == (tonic, mode)
    assert 0.5 < values["key_strength"] <= 1


@pytest.mark.parametrize("cents", [-40, -13, 0, 25, 49])
@pytest.mark.parametrize("sharp", [False, True])
def test_tuning_is_librosas(cents, sharp):
    y = _chord(60 + cents / 100, 64 + cents / 100, 67 + cents / 100) + (0.02 if sharp else 0.0) * _noise()
    power = np.abs(librosa.stft(y.astype(np.float32))) ** 2
    expected = librosa.estimate_tuning(S=power, sr=RATE, bins_per_octave=12)
    assert module._tuning(power, RATE, 2048) == expected


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
def test_contrast_is_librosas(rate):
    magnitude = np.abs(librosa.stft(_noise()[:30_000].astype(np.float32)))
    expected = librosa.feature.spectral_contrast(S=magnitude, sr=rate)
    np.testing.assert_allclose(module._contrast(magnitude, rate), expected, atol=1e-4)


@pytest.mark.parametrize("frames", [9, 40, 344, 1_000])
def test_tempo_is_librosas(frames):
    envelope = np.random.default_rng(frames).random(frames).astype(np.float32)
    assert module._tempo(envelope, RATE, 512) == librosa.feature.tempo(onset_envelope=envelope, sr=RATE)[0]


def test_a_low_sample_rate_still_has_seven_bands_of_contrast():
    values = extract(_clip(_noise(), 8_000), AudioConfig(sample_rate=None)).values
    assert np.isfinite(values["spectral_contrast_mean"]).all()
    assert len(values["spectral_contrast_mean"]) == 7


def test_few_frames_are_too_short_and_nine_are_enough():
    config = AudioConfig()
    with pytest.raises(TrackError) as caught:
        extract(_clip(_noise()[: 8 * 512 - 1]), config)
    assert caught.value.code == "too_short"
    shortest = extract(_clip(_noise()[: 8 * 512]), config)
    assert shortest.mel_db.shape == (128, 9)
    assert all(np.isfinite(value).all() for value in shortest.values.values())


def test_rolloff_is_within_a_bin_where_sums_round_differently():
    rng = np.random.default_rng(0)
    frequencies = np.fft.rfftfreq(2048, 1 / RATE)
    magnitude = rng.uniform(0, 1, (1025, 3000)).astype(np.float32)
    for frame, edge in enumerate(rng.integers(1, 30, 3000) * 32):  # 85 % of the sum ends with a group of bins
        rest = magnitude[:edge, frame].sum() * 15 / 85
        magnitude[edge:, frame] *= rest / magnitude[edge:, frame].sum()
    ours = module._rolloff(magnitude, frequencies)
    theirs = librosa.feature.spectral_rolloff(S=magnitude, sr=RATE)[0]
    assert np.abs(ours - theirs).max() <= 1.01 * frequencies[1]


def test_rolloff_of_a_single_bin_and_where_the_sum_is_just_the_threshold():
    frequencies = np.fft.rfftfreq(2048, 1 / RATE)
    magnitude = np.zeros((1025, 5), np.float32)
    for frame, bins in enumerate([[0], [1024], range(20), range(20, 40), [31, 32]]):
        magnitude[list(bins), frame] = 1
    expected = frequencies[[0, 1024, 16, 36, 32]]  # 17 of 20 are 85 %
    np.testing.assert_array_equal(module._rolloff(magnitude, frequencies), expected)
    np.testing.assert_array_equal(librosa.feature.spectral_rolloff(S=magnitude, sr=RATE)[0], expected)


def test_a_files_own_rate_that_holds_no_mel_band_is_said():
    config = AudioConfig(sample_rate=None, fmin=5_000)
    with pytest.raises(TrackError) as failed:
        extract(Clip(_noise()[:8_000], 8_000, 1.0, 8_000, ""), config)
    assert failed.value.code == "low_sample_rate"


def _mean_bands(mel, n_bands):
    """Mean over the mel bands of each wider one."""
    n_mels = len(mel)
    edges = [band * n_mels // n_bands for band in range(n_bands + 1)]
    return np.stack([mel[low : max(high, low + 1)].mean(axis=0) for low, high in itertools.pairwise(edges)])


def _plainly(mel_db, chroma, flux, frame_rate):
    """What librosa has no function for, by loops, from the definitions."""
    heard = np.maximum(mel_db.astype(np.float64), -60)
    level = _mean_bands(heard, 64).mean(axis=1)
    ends = [level[0]] * 2 + list(level) + [level[-1]] * 2
    detail = [level[i] - sum(ends[i : i + 5]) / 5 for i in range(64)]

    edges = [0.5 * 2 ** (5 * i / 8) for i in range(9)]
    pattern = []
    for band in _mean_bands(heard, 16):
        size = min(len(band), round(6 * frame_rate))
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        starts = range(0, len(band) - size + 1, size - size // 2)
        power = 0.0
        for start in starts:
            part = band[start : start + size]
            power = power + np.abs(np.fft.rfft((part - part.mean()) * window)) ** 2 / len(starts)
        power = 2 * power / frame_rate / (window**2).sum()  # 2: the negative rates, that the real signal has too
        if size % 2 == 0:  # but for the highest
            power[-1] /= 2
        rates = np.arange(len(power)) * frame_rate / size
        means = [power[(rates >= a) & (rates < b)] for a, b in itertools.pairwise(edges)]
        db = np.array([10 * np.log10(max(m.mean() if m.size else 0.0, 1e-3)) for m in means])
        pattern.extend(db - db.mean())

    x = flux - flux.mean()
    repeats = np.correlate(x, x, "full")[len(x) - 1 :]
    lags = [0.2 * 10 ** (i / 31) * frame_rate for i in range(32)]
    autocorrelation = [
        (repeats[int(lag)] * (1 - lag % 1) + repeats[int(lag) + 1] * (lag % 1)) / repeats[0]
        if lag <= len(x) - 1
        else 0.0
        for lag in lags
    ]

    length = round(0.372 * frame_rate)
    blocks = [chroma[:, i * length : (i + 1) * length].mean(axis=1) for i in range(chroma.shape[1] // length)]
    change = []
    for lag in (1, 2, 4, 8):
        cosines = [
            a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(blocks, blocks[lag:], strict=False)
        ]
        change.append(1 - np.mean(cosines) if cosines else 0.0)
    return {
        "spectral_detail": detail,
        "modulation": pattern,
        "onset_autocorrelation": autocorrelation,
        "chroma_change": change,
    }


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        (AudioConfig(), 10),
        (AudioConfig(), 1.5),
        (AudioConfig(hop_length=300, n_fft=1024, n_mels=40), 4),
        (AudioConfig(n_mels=100, fmin=30), 9),
    ],
)
def test_what_librosa_lacks_is_as_defined(config, seconds):
    signal = (SIGNALS["clicks"] + _chord(60, 64, 67) * (1 + np.sin(2 * np.pi * 3 * TIME)) + 1e-3 * _noise())[
        : int(seconds * RATE)
    ]
    found = extract(_clip(signal), config)
    y = signal.astype(np.float32)
    stft = {"n_fft": config.n_fft, "hop_length": config.hop_length, "pad_mode": config.pad_mode}
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(y=y, sr=RATE, n_mels=config.n_mels, fmin=config.fmin, **stft)
    )
    chroma = librosa.feature.chroma_stft(y=y, sr=RATE, **stft)
    flux = np.maximum(np.diff(mel.astype(np.float64), axis=1), 0).mean(axis=0)
    for name, expected in _plainly(mel - mel.max(), chroma, flux, RATE / config.hop_length).items():
        np.testing.assert_allclose(found.values[name], expected, atol=2e-3, rtol=1e-4, err_msg=name)


def test_what_moves_three_times_a_second_has_its_modulation_there():
    signal = _noise() * (1.01 + np.sin(2 * np.pi * 3 * TIME))
    pattern = extract(_clip(signal), AudioConfig()).values["modulation"].reshape(16, 8)
    edges = np.geomspace(0.5, 16, 9)
    assert set(pattern.argmax(axis=1)) == {int(np.searchsorted(edges, 3.0)) - 1}


@pytest.mark.parametrize("at", [5, 12, 20])
def test_clicks_repeat_after_their_period_and_noise_never_does(at):
    lags = np.geomspace(0.2, 2.0, 32)
    clicks, noise = (
        extract(_clip(signal), AudioConfig()).values["onset_autocorrelation"]
        for signal in (_clicks(60 / lags[at]), _noise())
    )
    assert np.argmax(clicks[lags < 1.5 * lags[at]]) == at
    assert clicks[at] > 0.4
    assert np.abs(noise).max() < 0.3


def test_chords_that_change_have_chroma_that_changes_and_a_key_has_no_part_in_it():
    def measured(*roots: int) -> np.ndarray:
        step = TIME.size // len(roots)
        parts = [_chord(r, r + 4, r + 7)[i * step : (i + 1) * step] for i, r in enumerate(roots)]
        return extract(_clip(np.concatenate(parts)), AudioConfig()).values["chroma_change"]

    still, moving, higher = measured(60), measured(60, 66, 62, 68, 60), measured(63, 69, 65, 71, 63)
    assert still.max() < 0.01
    assert (np.diff(moving) > 0).all()
    assert moving[0] > 5 * still[0]
    np.testing.assert_allclose(higher, moving, rtol=0.1)


def test_louder_sounds_the_same():
    quiet, loud = (extract(_clip(gain * SIGNALS["triad"]), AudioConfig()) for gain in (0.1, 1.0))
    assert loud.values["rms_mean"] == pytest.approx(10 * quiet.values["rms_mean"], rel=1e-4)
    for column in ("chroma_mean", "spectral_centroid_mean", "spectral_rolloff_mean", "tonnetz_mean", "modulation"):
        np.testing.assert_allclose(loud.values[column], quiet.values[column], rtol=1e-3, atol=1e-4)


# --- each part against its definition -----------------------------------------------------------------------


def test_the_rate_must_hold_something_above_the_lowest_band():
    config = AudioConfig(sample_rate=None, fmin=4_000, n_mels=4, n_mfcc=2)
    with pytest.raises(TrackError, match=r"8000 Hz holds nothing above audio\.fmin=4000 Hz") as failed:
        extract(_clip(_noise()[:8_000], 8_000), config)
    assert failed.value.code == "low_sample_rate"
    assert extract(_clip(_noise()[:9_000], 9_000), config).mel_db.shape == (4, 18)


def test_what_is_too_short_says_how_many_frames_it_has():
    with pytest.raises(TrackError, match=r"the clip has 8 frames of audio\.hop_length=512, and 9 are needed"):
        extract(_clip(_noise()[: 8 * 512 - 1]), AudioConfig())


@pytest.mark.parametrize("level", [1e18, 1e30])
def test_samples_far_beyond_full_scale_are_said(level):
    with pytest.raises(TrackError, match="far beyond full scale") as failed:
        extract(_clip(level * _noise()[:8_000]), AudioConfig())
    assert failed.value.code == "not_finite"
    assert np.isfinite(extract(_clip(1e6 * _noise()[:8_000]), AudioConfig()).values["rms_mean"])


def test_silence_has_features_that_are_finite():
    values = extract(_clip(np.zeros(20_000)), AudioConfig()).values
    assert all(np.isfinite(value).all() for value in values.values())
    for name in ("spectral_centroid", "spectral_bandwidth", "rms", "zero_crossing_rate", "onset_strength"):
        assert values[f"{name}_mean"] == values[f"{name}_std"] == 0
    assert values["spectral_flatness_mean"] == pytest.approx(1)
    assert (values["tempo"], values["key"], values["mode"], values["key_strength"]) == (0, 0, 1, 0)
    assert not values["onset_autocorrelation"].any()
    assert not values["modulation"].any()


def test_the_mel_spectrogram_is_against_its_maximum():
    found = extract(_clip(SIGNALS["half silent"]), AudioConfig()).mel_db
    mel = librosa.feature.melspectrogram(y=SIGNALS["half silent"].astype(np.float32), sr=RATE, pad_mode="constant")
    np.testing.assert_allclose(found, librosa.power_to_db(mel, ref=np.max), atol=1e-3)
    assert (found.max(), found.min()) == (0, -80)


@pytest.mark.parametrize("bands", [1, 2, 7, 40])
def test_the_median_over_the_bands_is_numpys(bands):
    flux = np.random.default_rng(0).standard_normal((bands, 50)).astype(np.float32)
    np.testing.assert_array_equal(module._median(flux), np.median(flux, axis=0))


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (1024, 300), (512, 512), (96, 36)])
def test_sums_over_frames_are_those_of_each_frame(n_fft, hop):
    config = AudioConfig(n_fft=n_fft, hop_length=hop)
    values = np.random.default_rng(0).integers(0, 9, 5 * n_fft + 7)
    expected = [values[start : start + n_fft].sum() for start in range(0, len(values) - n_fft + 1, hop)]
    assert module._frame_sums(values, config).tolist() == expected


def test_crossings_are_counted_between_samples_of_a_frame_and_rounding_is_no_crossing():
    config = AudioConfig(n_fft=8, hop_length=4, n_mels=4, n_mfcc=2)
    samples = np.array([1, -1, 1, 1, -1, -1, 1e-11, -1e-11, 0, -1, 1, 1, -1, 1, -1, 1], np.float32)
    padded = np.concatenate([[1] * 4, samples, [1] * 4])
    expected = []
    for start in range(0, len(padded) - 8 + 1, 4):
        negative = [value < -1e-10 for value in padded[start : start + 8]]
        expected.append(sum(a != b for a, b in itertools.pairwise(negative)) / 8)
    assert module._zero_crossing_rate(samples, config).tolist() == expected


def test_the_key_is_the_profile_that_correlates_best():
    major = [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88]
    minor = [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17]
    rng, found = np.random.default_rng(0), set()
    for _ in range(200):
        chroma = rng.random(12).astype(np.float32)
        correlations = {
            (tonic, mode): np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]
            for mode, profile in ((1, major), (0, minor))
            for tonic in range(12)
        }
        best = max(correlations, key=correlations.get)
        assert module._key(chroma) == (*best, pytest.approx(correlations[best], abs=1e-6))
        found.add(best)
    assert len(found) == 24
    assert module._key(np.ones(12)) == (0, 1, 0)


@pytest.mark.parametrize(("rate", "fmin"), [(8_000, 100.0), (12_800, 100.0), (12_802, 200.0), (6_000, 50.0)])
def test_bands_of_contrast_begin_an_octave_lower_where_the_highest_would_not_fit(rate, fmin):
    magnitude = np.random.default_rng(0).random((513, 40)).astype(np.float32)
    expected = librosa.feature.spectral_contrast(S=magnitude, sr=rate, fmin=fmin)
    np.testing.assert_allclose(module._contrast(magnitude, rate), expected, atol=1e-4)


@pytest.mark.parametrize("rate", [6_000, 8_000, 16_000, 48_000])
@pytest.mark.parametrize("seed", range(3))
def test_tuning_of_noise_at_other_rates_is_librosas(rate, seed):
    power = np.random.default_rng(seed).random((1025, 12)).astype(np.float32) ** 4
    assert module._tuning(power, rate, 2048) == librosa.estimate_tuning(S=power, sr=rate, bins_per_octave=12)


def test_tuning_is_librosas_where_a_window_is_no_power_of_two():
    power = np.random.default_rng(0).random((751, 12)).astype(np.float32) ** 4
    assert module._tuning(power, RATE, 1500) == librosa.estimate_tuning(S=power, sr=RATE, bins_per_octave=12)


def test_a_spectrum_without_peaks_is_in_tune():
    assert module._tuning(np.zeros((1025, 3), np.float32), RATE, 2048) == 0.0
    assert module._tuning(np.ones((1025, 3), np.float32), RATE, 2048) == 0.0


@pytest.mark.parametrize(("n_mels", "n_bands"), [(128, 64), (128, 16), (100, 16), (40, 64), (5, 16), (16, 16)])
def test_bands_are_means_of_mel_bands(n_mels, n_bands):
    mel = np.random.default_rng(0).standard_normal((n_mels, 3))
    pooled = module._pooling(n_mels, n_bands) @ mel
    if n_mels < n_bands:  # too few are repeated
        expected = mel[[band * n_mels // n_bands for band in range(n_bands)]]
    else:
        expected = _mean_bands(mel, n_bands)
    np.testing.assert_allclose(pooled, expected, atol=1e-12)


def test_what_fits_no_block_of_chroma_has_no_change_and_silence_changes_wholly():
    chroma = np.random.default_rng(0).random((12, 50))
    rate = 10.0  # four frames a block, twelve blocks
    blocks = [chroma[:, 4 * i : 4 * i + 4].mean(axis=1) for i in range(12)]
    units = [block / np.linalg.norm(block) for block in blocks]
    expected = [1 - np.mean([a @ b for a, b in zip(units, units[lag:], strict=False)]) for lag in (1, 2, 4, 8)]
    np.testing.assert_allclose(module._change(chroma, rate), expected, atol=1e-12)
    assert (module._change(chroma[:, :35], rate) > 0).tolist() == [
        True,
        True,
        True,
        False,
    ]  # eight blocks: none is eight on
    assert module._change(chroma[:, :3], rate).tolist() == [0, 0, 0, 0]
    assert module._change(np.zeros((12, 50)), rate).tolist() == [1, 1, 1, 1]
    units = chroma / np.linalg.norm(chroma, axis=0)
    expected = [1 - (units[:, lag:] * units[:, :-lag]).sum() / (50 - lag) for lag in (1, 2, 4, 8)]
    np.testing.assert_allclose(module._change(chroma, 0.5), expected, atol=1e-12)  # a frame is the least block


def test_an_autocorrelation_of_what_never_begins_or_ends_early_is_zero():
    assert module._autocorrelation(np.zeros(100), 43.0).tolist() == [0] * 32
    assert module._autocorrelation(np.full(100, 7.0), 43.0).tolist() == [0] * 32
    short = module._autocorrelation(np.random.default_rng(0).random(30), 43.0)
    reached = 43 * 0.2 * 10 ** (np.arange(32) / 31) <= 29
    assert (short[reached] != 0).all()
    assert not short[~reached].any()


def test_rates_lie_in_the_range_that_begins_with_them():
    mel = np.random.default_rng(0).uniform(-60, 0, (16, 500))  # at 64 frames a second, 0.5 and 16 Hz are measured
    expected = _plainly(mel, np.ones((12, 500)), np.ones(500) + mel[0], 64.0)["modulation"]
    np.testing.assert_allclose(module._modulation(mel.astype(np.float32), 64.0), expected, atol=1e-4)


def test_the_tempo_is_that_of_librosas_mean_tempogram(monkeypatch):
    envelope, given = np.random.default_rng(0).random(700), []
    expected = librosa.feature.tempogram(onset_envelope=envelope, sr=RATE, hop_length=512, win_length=344).mean(
        axis=1
    )

    def tempo(tg, **settings):
        given.append((tg, settings))
        return np.array([99.0])

    monkeypatch.setattr(librosa.feature, "tempo", tempo)
    assert module._tempo(envelope, RATE, 512) == 99
    ((tempogram, settings),) = given
    np.testing.assert_allclose(tempogram[:, 0], expected, atol=1e-6)
    assert settings == {"sr": RATE, "hop_length": 512, "aggregate": None}


def test_the_tempo_of_an_envelope_that_is_silent_in_part_is_librosas():
    envelope = np.zeros(900)
    envelope[::21] = 1
    envelope[400:] = 0
    for rate, hop in ((RATE, 512), (44_100, 1024), (8_000, 100)):
        expected = librosa.feature.tempo(onset_envelope=envelope, sr=rate, hop_length=hop)[0]
        assert module._tempo(envelope, rate, hop) == expected


@pytest.mark.parametrize(("n_fft", "hop"), [(2048, 512), (1024, 300), (512, 512)])
def test_onsets_are_shifted_as_librosa_shifts_them(n_fft, hop):
    config = AudioConfig(n_fft=n_fft, hop_length=hop)
    mel = np.random.default_rng(0).random((8, 60)).astype(np.float32)
    flux = np.maximum(np.diff(mel, axis=1), 0).mean(axis=0)
    expected = librosa.onset.onset_strength(S=mel, sr=RATE, n_fft=n_fft, hop_length=hop)
    np.testing.assert_allclose(module._onset_envelope(flux, config), expected, rtol=1e-6)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("frames", [9, 32, 33, 70])
def test_powers_are_those_of_librosas_stft_whatever_the_number_of_blocks(pad_mode, frames):
    config = AudioConfig(pad_mode=pad_mode, n_fft=512, hop_length=128)
    samples = _noise()[: (frames - 1) * 128].astype(np.float32)
    expected = np.abs(librosa.stft(samples, n_fft=512, hop_length=128, pad_mode=pad_mode)) ** 2
    found = module._power(samples, config)
    assert (found.dtype, found.shape) == (np.float32, (257, frames))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_moments_of_a_spectrum_by_hand():
    frequencies = np.array([0.0, 10.0, 20.0, 30.0])
    magnitude = np.array([[0, 1, 0, 0], [0, 1, 5, 0], [0, 0, 0, 1e-39], [0, 2, 5, 0]], np.float32)
    centroid, bandwidth = module._centroid_and_bandwidth(magnitude, frequencies)
    assert centroid[:3].tolist() == pytest.approx([0, 70 / 4, 20])
    assert bandwidth[1] == pytest.approx(np.sqrt((17.5**2 + 7.5**2 + 2 * 12.5**2) / 4))
    assert bandwidth[2] == pytest.approx(10)
    assert bandwidth[0] == 0
    assert centroid[3] < 1e-30  # as good as silent
