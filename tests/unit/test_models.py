"""Models in ONNX: what they are given, what comes out, and which files are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx_models import matrix, write_model

from specrec.config import load
from specrec.embedding.models import (
    MOST_TAGS,
    Model,
    load_model,
    outputs,
    patches_of,
    top_tags,
    unit_mel,
)
from specrec.embedding.spaces import spaces_of
from specrec.errors import ConfigError, SpecrecError

MELS = 128


def config(path, *settings):
    models = f"embedding.models={{encoder: {{path: {path}, patch_frames: null}}}}"
    return load(None, ("warehouse=w", "catalogue.path=c", models, *settings))


@pytest.fixture
def weights():
    return matrix(MELS)


def mels(*frames, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.random((MELS, n), dtype=np.float32) for n in frames]


def vectors_of(model, clips):
    return np.stack([outputs(model, clip)[0] for clip in clips])


def test_a_vector_is_the_model_s_output_for_the_whole_clip(tmp_path, weights):
    model = load_model("encoder", config(write_model(tmp_path / "m.onnx", weights)))
    clips = mels(30, 431, 7)
    found = vectors_of(model, clips)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [clip.mean(axis=1) @ weights for clip in clips], rtol=1e-4, atol=1e-5)


def test_with_patches_it_is_the_mean_of_theirs(tmp_path, weights):
    content = write_model(tmp_path / "m.onnx", weights).read_bytes()
    clips = mels(200, 431, 20)
    found = vectors_of(Model("m", content, 20), clips)
    for clip, vector in zip(clips, found, strict=True):
        starts = range(0, clip.shape[1] - 19, 10)
        expected = np.mean([clip[:, start : start + 20].mean(axis=1) @ weights for start in starts], axis=0)
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "patch", "count"), [(40, 10, 7), (10, 10, 1), (44, 10, 7), (3, 10, 1), (9, 1, 9)]
)
def test_patches_begin_half_a_patch_apart_and_a_short_clip_is_repeated(frames, patch, count):
    mel = np.arange(frames, dtype=np.float32)[None].repeat(2, axis=0)
    patches = patches_of(mel, patch)
    assert patches.shape == (count, 2, patch)
    hop = max(patch // 2, 1)
    for number, own in enumerate(patches):
        np.testing.assert_array_equal(own[0], (number * hop + np.arange(patch)) % max(frames, 1))


def test_a_spectrogram_is_scaled_to_the_range_of_0_to_1():
    db = np.array([[0.0, -40.0, -79.95, -80.0, -99.0]], np.float32)
    np.testing.assert_allclose(unit_mel(db), [[1.0, 0.5, 0.000625, 0.0, 0.0]], atol=1e-6)


def test_two_models_take_turns(tmp_path, weights):
    one = Model("a", write_model(tmp_path / "a.onnx", weights).read_bytes())
    other = Model("b", write_model(tmp_path / "b.onnx", -weights).read_bytes())
    clips = mels(50)
    np.testing.assert_array_equal(vectors_of(one, clips), -vectors_of(other, clips))
    assert one.sha256 != other.sha256


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path, _: path.unlink(), "cannot read"),
        (lambda path, _: path.write_bytes(b"no model"), "is no model of mel spectrograms"),
        (lambda path, w: write_model(path, w[:100]), "is no model of mel spectrograms"),
        (lambda path, w: write_model(path, w, rank=3), r"has shape .* and not a row for each"),
        (lambda path, w: write_model(path, w * np.float32(np.nan)), "gives no finite vector"),
        (
            lambda path, w: write_model(path, w, audio={"hop_length": 256}),
            "of hop_length 256, and audio.hop_length is",
        ),
        (lambda path, w: write_model(path, w, tags=["rock", "slow"]), "it names 2 tags and gives 6 scores"),
        (lambda path, w: write_model(path, w, tags=["rock"] * 6), "has a name twice"),
        (lambda path, w: write_model(path, w, tags=["a", "b", "c", "d", "e", " "]), "no list of names in JSON"),
        (lambda path, w: write_model(path, w, tags={"rock": 1}), "no list of names in JSON"),
    ],
)
def test_what_is_no_such_model_is_refused_in_one_line(tmp_path, weights, spoil, words):
    path = write_model(tmp_path / "m.onnx", weights)
    spoil(path, weights)
    with pytest.raises(SpecrecError, match=words) as caught:
        load_model("encoder", config(path))
    assert "\n" not in str(caught.value)
    assert "embedding.models.encoder" in str(caught.value)
    if path.exists():
        assert isinstance(caught.value, ConfigError)


def test_a_model_that_was_trained_on_the_same_spectrograms_is_taken(tmp_path, weights):
    path = write_model(tmp_path / "m.onnx", weights, audio={"hop_length": 256, "n_mels": MELS, "codec": "any"})
    assert load_model("encoder", config(path, "audio.hop_length=256")).sha256


def test_tags_without_scores_are_those_of_another_s_catalogue(tmp_path, weights):
    path = write_model(tmp_path / "m.onnx", weights, tags=["rock"], scores=False)
    assert load_model("encoder", config(path)).tags == ()


def test_the_most_probable_tags_are_kept_the_first_first(tmp_path, weights):
    names = ["rock", "slow", "choir", "harp", "loud", "opera"]
    model = load_model("encoder", config(write_model(tmp_path / "m.onnx", weights, tags=names)))
    assert model.tags == tuple(names)
    found = top_tags(model, np.array([0.2, 0.9, 0.099, 0.9, np.nan, 0.3], np.float32))
    assert [tag["name"] for tag in found] == ["slow", "harp", "opera", "rock"]
    assert [tag["score"] for tag in found] == pytest.approx([0.9, 0.9, 0.3, 0.2])
    assert len(top_tags(model, np.ones(6, np.float32))) == MOST_TAGS
    assert top_tags(model, np.zeros(6, np.float32)) == []
    clip = mels(40)[0]
    vector, scores = outputs(model, clip)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-vector.astype(float))), atol=1e-6)
    silent = Model("m", model.content)
    assert top_tags(silent, outputs(silent, clip)[1]) is None


def test_tags_are_an_ingredient_of_what_is_embedded(tmp_path, weights):
    plain = load_model("encoder", config(write_model(tmp_path / "m.onnx", weights)))
    space = spaces_of(config("m.onnx"))["encoder"]
    made = space.ingredients({"encoder": plain})
    assert made[0][1:] == [f"encoder {plain.sha256}"]  # as before there were tags
    tagged = replace(plain, tags=("rock",))
    assert space.ingredients({"encoder": tagged}) != made


def test_the_file_s_place_changes_no_hash_and_its_patches_do():
    plain, moved = config("a.onnx"), config("b.onnx")
    assert spaces_of(plain)["encoder"].settings_hash == spaces_of(moved)["encoder"].settings_hash
    models = "embedding.models={encoder: {path: a.onnx, patch_frames: 100}}"
    assert spaces_of(config("a.onnx", models))["encoder"].settings_hash != spaces_of(plain)["encoder"].settings_hash
    assert plain.systems == ("features", "spectrogram", "encoder", "hybrid")
