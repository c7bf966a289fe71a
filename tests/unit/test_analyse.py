import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from specrec.audio.analyse import analyse
from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode
from specrec.audio.features import extract
from specrec.audio.measures import columns
from specrec.audio.mel import decode_mel
from specrec.errors import TrackError

BAD_AUDIO = Path(__file__).parents[2].parent / "shared" / "bad-audio"


def _wav(samples: np.ndarray, rate: int = 22_050) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples.astype(np.float32), rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


def _noise(seconds: float, gain: float = 0.1) -> np.ndarray:
    return gain * np.random.default_rng(0).standard_normal(int(seconds * 22_050))


def test_one_call_gives_what_the_parts_give():
    config, data = AudioConfig(), _wav(_noise(3))
    analysis = analyse(data, config, "noise.wav")
    features = extract(decode(data, config), config)
    assert analysis.content_hash == hashlib.sha256(data).hexdigest()
    assert (analysis.seconds, analysis.sample_rate) == (3.0, 22_050)
    assert (analysis.n_mels, analysis.n_frames) == features.mel_db.shape
    mel = decode_mel(analysis.mel, analysis.n_mels, analysis.n_frames)
    assert np.abs(mel - features.mel_db).max() <= 0.2
    assert list(analysis.values) == list(columns(config.n_mfcc))
    for column, value in analysis.values.items():
        np.testing.assert_array_equal(value, features.values[column])


def test_the_same_bytes_give_the_same_analysis():
    data = _wav(_noise(2))
    first, second = analyse(data, AudioConfig()), analyse(data, AudioConfig())
    assert first.mel == second.mel
    for column, value in first.values.items():
        np.testing.assert_array_equal(value, second.values[column])


@pytest.mark.parametrize("gain", [1e20, 1e37])
def test_values_that_overflow_never_leave(gain):
    with pytest.raises(TrackError) as caught:
        analyse(_wav(_noise(2, gain)), AudioConfig(), "loud.wav")
    assert caught.value.code == "not_finite"
    assert "loud.wav" in caught.value.message


def test_few_frames_are_too_short():
    with pytest.raises(TrackError) as caught:
        analyse(_wav(_noise(0.1)), AudioConfig(min_seconds=0.05), "blip.wav")
    assert caught.value.code == "too_short"


def test_hardly_any_sound_is_analysed():
    click = np.zeros(5 * 22_050)
    click[50_000] = 0.5
    values = analyse(_wav(click), AudioConfig()).values
    assert all(np.isfinite(value).all() for value in values.values())


def test_every_file_that_decodes_is_analysed():
    if not BAD_AUDIO.is_dir():
        pytest.skip("../shared/bad-audio is absent")
    with (BAD_AUDIO / "expected.csv").open(encoding="utf-8") as lines:
        names = [row["audio"] for row in csv.DictReader(lines) if row["expected"].startswith("ok")]
    assert names
    for name in names:
        analysis = analyse((BAD_AUDIO / name).read_bytes(), AudioConfig(clip_seconds=5), name)
        assert len(analysis.mel) == analysis.n_mels * analysis.n_frames
