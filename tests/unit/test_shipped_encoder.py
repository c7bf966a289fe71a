"""The encoder that the package carries: whole, small, and of use on clips that it was not trained on."""

import hashlib
import json
from importlib.resources import files

import librosa
import numpy as np
import pytest

from specrec.catalogue.demo import render_clip
from specrec.config import load
from specrec.embedding.models import load_model, outputs
from specrec.errors import ConfigError
from specrec.neighbours.kernel import unit

CLIPS = 48  # the first ones, which deploy/ship_encoder.py leaves out


def shipped(*overrides):
    settings = ("embedding.models={encoder: {path: shipped}}", *overrides)
    return load_model("encoder", load(None, ("warehouse=w", *settings), needs_catalogue=False))


def test_it_is_the_file_that_its_card_describes_and_small():
    model, card = shipped(), json.loads(files("specrec.embedding").joinpath("encoder.json").read_text())
    assert model.sha256 == card["model"]["sha256"] == hashlib.sha256(model.content).hexdigest()
    assert len(model.content) < 4e6
    assert card["data"]["labels"]["column"] is None
    assert not card["data"]["warehouse"].startswith("/")
    assert outputs(model, np.zeros((128, 431), np.float32))[0].shape == (256,)


def test_it_is_refused_for_other_mel_spectrograms_than_it_was_trained_on():
    with pytest.raises(ConfigError, match="hop_length"):
        shipped("audio.hop_length=256")


def test_it_finds_clips_of_a_style_better_than_levels_of_bands_do():
    model, mels, styles = shipped(), [], []
    for index in range(CLIPS):
        clip = render_clip(index, seconds=6.0)
        power = librosa.feature.melspectrogram(y=clip.samples, sr=clip.sample_rate)
        mels.append((librosa.power_to_db(power, ref=np.max, top_db=80) / 80 + 1).astype(np.float32))
        styles.append(clip.style)

    def precision_at_3(vectors):
        rows = unit(np.stack(vectors))
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -2)
        nearest = np.argsort(-cosines, axis=1)[:, :3]
        return (np.array(styles)[nearest] == np.array(styles)[:, None]).mean()

    by_levels = precision_at_3([mel.mean(axis=1) for mel in mels])
    assert precision_at_3([outputs(model, mel)[0] for mel in mels]) > max(by_levels + 0.05, 0.8)
