"""The encoder that the package carries: whole, small, and of use on clips that it was not trained on."""

import hashlib
import io
import json

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from specrec.audio.analyse import analyse
from specrec.audio.config import AudioConfig
from specrec.audio.mel import decode_mel
from specrec.config import load
from specrec.demo import render_clip
from specrec.embedding.models import ENCODER, load_model, outputs, unit_mel
from specrec.errors import ConfigError
from specrec.neighbours.kernel import unit

CLIPS = 32  # the first ones, which deploy/ship_encoder.py leaves out


def shipped(*overrides):
    settings = ("embedding.models={encoder: {path: shipped}}", *overrides)
    return load_model("encoder", load(None, ("warehouse=w", *settings), needs_catalogue=False))


def stored(samples, sample_rate):
    """A mel spectrogram of samples, as the job stores it and gives it to a model."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV", subtype="FLOAT")
    found = analyse(file.getvalue(), AudioConfig())
    return unit_mel(decode_mel(found.mel, found.n_mels, found.n_frames))


def test_it_is_the_file_that_its_card_describes_and_small():
    model, card = shipped(), json.loads(ENCODER.with_suffix(".json").read_text())
    assert model.sha256 == card["model"]["sha256"] == hashlib.sha256(model.content).hexdigest()
    assert len(model.content) < 4e6
    assert card["data"]["labels"]["column"] is None
    assert not card["data"]["warehouse"].startswith("/")
    assert outputs(model, np.zeros((128, 431), np.float32))[0].shape == (256,)


def test_it_is_refused_for_other_mel_spectrograms_than_it_was_trained_on():
    with pytest.raises(ConfigError, match="hop_length"):
        shipped("audio.hop_length=256")
    with pytest.raises(ConfigError, match="n_mels"):
        shipped("audio.n_mels=96")
    mel = "{sample_rate: 16000, n_fft: 512, hop_length: 256, n_mels: 128, scaling: log}"
    with pytest.raises(ConfigError, match="leave mel out"):
        shipped(f"embedding.models={{encoder: {{path: shipped, mel: {mel}}}}}")


def test_it_knows_a_clip_again_by_another_part_through_a_filter_and_noise():
    """An untrained network of its design knows three in four, so this is what training gave."""
    model, random, one, other = shipped(), np.random.default_rng(0), [], []
    for index in range(CLIPS):
        clip = render_clip(index, seconds=8.0)
        one.append(stored(clip.samples[: 5 * clip.sample_rate], clip.sample_rate))
        filtering = butter(1, 3_000, fs=clip.sample_rate, output="sos")
        dull = sosfilt(filtering, clip.samples[3 * clip.sample_rate :])
        other.append(stored(0.4 * (dull + random.normal(0, 0.003, len(dull))), clip.sample_rate))

    def known(vectors_of):
        cosines = (
            unit(np.stack([vectors_of(mel) for mel in other])) @ unit(np.stack([vectors_of(mel) for mel in one])).T
        )
        return (cosines.argmax(axis=1) == np.arange(CLIPS)).mean()

    assert known(lambda mel: mel.mean(axis=1)) < 0.8  # levels of bands do not tell
    assert known(lambda mel: outputs(model, mel)[0]) > 0.9
