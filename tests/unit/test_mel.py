import io
from pathlib import Path

import librosa
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode
from specrec.audio.features import extract
from specrec.audio.mel import TOP_DB, decode_mel, encode_mel, log_mel, mel_frequencies

SHARED = Path(__file__).parents[2].parent / "shared"
RATE = 22_050


def _against_maximum(power: np.ndarray, rate: int, config: AudioConfig) -> np.ndarray:
    mel = log_mel(power, rate, config)
    return mel - mel.max()


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    fade = np.linspace(0, 0.5, int(RATE * seconds)) ** 4  # so that some of it is below -80 dB
    return (np.random.default_rng(seed).standard_normal(fade.size) * fade).astype(np.float32)


@pytest.mark.parametrize(("fmin", "fmax"), [(0, 11_025), (50, 900), (1_000, 8_000), (999.9, 22_050)])
def test_mel_frequencies_are_librosas(fmin, fmax):
    np.testing.assert_allclose(
        mel_frequencies(130, fmin, fmax), librosa.mel_frequencies(130, fmin=fmin, fmax=fmax), rtol=1e-12, atol=1e-9
    )


@pytest.mark.parametrize(
    "config", [AudioConfig(), AudioConfig(n_mels=64, fmin=50, fmax=8_000, n_fft=1024, hop_length=256)]
)
def test_mel_db_is_librosas(config):
    y = _noise(3)
    parameters = {"n_fft": config.n_fft, "hop_length": config.hop_length}
    power = np.abs(librosa.stft(y, **parameters)) ** 2
    mel = librosa.feature.melspectrogram(
        y=y, sr=RATE, n_mels=config.n_mels, fmin=config.fmin, fmax=config.fmax, **parameters
    )
    ours = _against_maximum(power, RATE, config)
    assert ours.dtype == np.float32
    assert ours.min() == pytest.approx(-TOP_DB)
    np.testing.assert_allclose(ours, librosa.power_to_db(mel, ref=np.max), atol=1e-3)


def test_fmax_is_bounded_by_half_of_the_files_own_rate():
    power = np.ones((1025, 10), np.float32)
    low = _against_maximum(power, 8_000, AudioConfig(sample_rate=None, fmax=10_000, n_mels=40))
    np.testing.assert_array_equal(low, _against_maximum(power, 8_000, AudioConfig(sample_rate=None, n_mels=40)))


@pytest.mark.parametrize("shape", [(128, 1292), (64, 1), (1, 9)])
def test_storing_errs_by_at_most_a_fifth_of_a_decibel(shape):
    db = np.random.default_rng(1).uniform(-80, 0, shape).astype(np.float32)
    db.flat[0], db.flat[-1] = 0, -80
    data = encode_mel(db)
    restored = decode_mel(data, *shape)
    assert len(data) == db.size
    assert restored.dtype == np.float32
    assert np.abs(restored - db).max() <= 0.2
    assert encode_mel(restored) == data


def test_bytes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="reshape"):
        decode_mel(bytes(10), 3, 4)


def test_a_30_second_clip_takes_at_most_120_kb_of_parquet():
    files = sorted((SHARED / "music").rglob("*.mp3"))[::70]
    if not files:
        pytest.skip("../shared/music is absent")
    config = AudioConfig()
    for file in files:
        data = encode_mel(extract(decode(file.read_bytes(), config), config).mel_db)
        out = io.BytesIO()
        pq.write_table(pa.table({"mel": [data]}), out, compression="zstd")
        assert out.tell() <= 120_000, file.name
