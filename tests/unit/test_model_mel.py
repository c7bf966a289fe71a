"""A model hears what librosa would have made of the file for it."""

from __future__ import annotations

import io

import librosa
import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from specrec.audio.analyse import analyse
from specrec.audio.config import AudioConfig, ModelMelConfig
from specrec.audio.mel import STEP_DB, decode_mel
from specrec.audio.model_mel import SCALINGS, measure, model_mel
from specrec.errors import TrackError

MUSICNN = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=96, scaling="log_10000")
SHORT_CHUNK = ModelMelConfig(
    sample_rate=16_000, n_fft=512, hop_length=256, n_mels=128, fmax=8_000, htk=True, norm=None, scaling="db"
)
PANNS = ModelMelConfig(
    sample_rate=32_000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=14_000, scaling="db"
)
MAGNITUDES = ModelMelConfig(sample_rate=44_100, n_fft=2048, hop_length=700, n_mels=40, power=1, scaling="log")

#: The scalings in librosa's words, or NumPy's in double precision.
REFERENCE = {
    "unit_db": lambda mel: (librosa.power_to_db(mel, ref=np.max, top_db=80) + 80) / 80,
    "db": lambda mel: librosa.power_to_db(mel, ref=1.0, top_db=None),
    "log_10000": lambda mel: np.log10(1 + 10_000 * mel.astype(float)),
    "log": lambda mel: np.log(mel.astype(float) + 1e-6),
}


def _sound(rate: int, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(int(rate * seconds)) / rate
    sweep = np.sin(2 * np.pi * (100 + 1_500 * time) * time) * np.linspace(0, 0.7, time.size) ** 3
    return (sweep + 1e-3 * np.random.default_rng(0).standard_normal(time.size)).astype(np.float32)


def _wav(samples: np.ndarray, rate: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")
    return out.getvalue()


def _librosas(samples: np.ndarray, settings: ModelMelConfig) -> np.ndarray:
    parameters = settings.model_dump(exclude={"sample_rate", "scaling"})
    mel = librosa.feature.melspectrogram(y=samples, sr=settings.sample_rate, **parameters)
    return REFERENCE[settings.scaling](mel)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("settings", [MUSICNN, SHORT_CHUNK, PANNS, MAGNITUDES])
def test_it_is_librosas_scaled(settings, scaling):
    settings = settings.model_copy(update={"scaling": scaling})
    samples = _sound(settings.sample_rate)
    mel = model_mel(samples, settings.sample_rate, settings)
    assert mel.dtype == np.float32
    assert mel.shape == (settings.n_mels, 1 + samples.size // settings.hop_length)
    np.testing.assert_allclose(mel, _librosas(samples, settings), atol=2e-4)


def test_every_scaling_that_can_be_configured_is_there():
    assert set(ModelMelConfig.model_json_schema()["properties"]["scaling"]["enum"]) == set(SCALINGS)


def test_other_rates_are_resampled_as_librosa_does():
    samples = _sound(22_050)
    resampled = librosa.resample(samples, orig_sr=22_050, target_sr=16_000, res_type="soxr_hq")
    np.testing.assert_allclose(model_mel(samples, 22_050, MUSICNN), _librosas(resampled, MUSICNN), atol=1e-5)


def test_a_file_is_heard_at_the_models_rate_and_not_through_the_analysis(tmp_path):
    data = _wav(_sound(48_000), 48_000)
    path = tmp_path / "sweep.wav"
    path.write_bytes(data)
    audio = AudioConfig(sample_rate=8_000, offset_seconds=0.5, clip_seconds=1.0)
    samples, _ = librosa.load(path, sr=None, offset=0.5, duration=1.0)
    samples = librosa.resample(samples - samples.mean(), orig_sr=48_000, target_sr=16_000, res_type="soxr_hq")

    heard = measure(data, audio, MUSICNN, path.name)

    assert heard.content_hash == analyse(data, audio).content_hash
    np.testing.assert_allclose(heard.mel, _librosas(samples, MUSICNN), atol=1e-5)


def test_with_the_analysis_own_parameters_it_is_the_stored_one():
    audio, data = AudioConfig(), _wav(_sound(22_050), 22_050)
    same = {name: getattr(audio, name) for name in ("sample_rate", "n_fft", "hop_length", "n_mels", "fmin", "fmax")}
    heard = measure(data, audio, ModelMelConfig(**same, scaling="unit_db"))
    done = analyse(data, audio)
    stored = (decode_mel(done.mel, done.n_mels, done.n_frames) + 80) / 80
    assert np.abs(heard.mel - stored).max() <= STEP_DB / 2 / 80 + 1e-4


def test_files_fail_as_they_do_in_the_analysis():
    for data in (b"", b"no music", _wav(np.zeros(44_100, np.float32), 22_050), _wav(_sound(22_050, 0.5), 22_050)):
        with pytest.raises(TrackError) as here:
            measure(data, AudioConfig(), MUSICNN, "song.wav")
        with pytest.raises(TrackError) as there:
            analyse(data, AudioConfig(), "song.wav")
        assert (here.value.code, here.value.message) == (there.value.code, there.value.message)


def test_what_overflows_never_leaves():
    with pytest.raises(TrackError, match=r"loud\.wav gives no finite mel") as caught:
        measure(_wav(_sound(22_050) * np.float32(1e25), 22_050), AudioConfig(), MUSICNN, "loud.wav")
    assert caught.value.code == "not_finite"


@pytest.mark.parametrize(
    "change", [{"hop_length": 1024}, {"fmax": 9_000}, {"fmin": 8_000}, {"power": 3}, {"norm": "l1"}, {"win": 400}]
)
def test_parameters_that_make_no_sense_are_refused(change):
    with pytest.raises(ValidationError):
        ModelMelConfig.model_validate(MUSICNN.model_dump() | change)
