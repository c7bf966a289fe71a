from itertools import pairwise

import librosa
import numpy as np
import pytest
from sklearn.decomposition import PCA

from specrec.audio.config import AudioConfig
from specrec.embedding.spectrogram import (
    DESCRIPTORS,
    REGIONS,
    band_regions,
    describe,
    embed,
    fit_pca,
    region_levels,
)

BANDS = 40
REGION_OF = np.repeat(np.arange(len(REGIONS)), (2, 4, 6, 14, 9, 5))


def _mel(seed=0, bands=128, frames=1292):
    """Something like music: bands that differ in level and that move together, between -50 and -10 dB."""
    rng = np.random.default_rng(seed)
    slow = np.cumsum(rng.normal(0, 0.3, (bands, frames)), axis=1)
    slow -= np.linspace(0, 1, frames) * slow[:, -1:]  # ends where it began
    level = rng.uniform(-35, -20, (bands, 1))
    return np.clip(level + slow + rng.normal(0, 2, (bands, frames)), -50, -10).astype(np.float32)


def _descriptions(n=60, seed=0):
    rng = np.random.default_rng(seed)
    scale = np.array([8, 3, 4, 2, 3, 5])[:, None]
    return rng.normal(0, 1, (n, DESCRIPTORS, BANDS)) * scale + rng.normal(0, 2, (n, 1, BANDS))


# --- description --------------------------------------------------------------------------------------------


def test_a_description_is_what_its_docstring_says():
    mel = _mel(bands=20, frames=100)
    found = describe(mel)
    assert found.shape == (DESCRIPTORS, 20)
    level = mel.astype(np.float64).mean(axis=1)
    for band in range(20):
        around = [level[min(max(band + k, 0), 19)] for k in range(-4, 5)]
        moves = [[mel[band, t + lag] - mel[band, t] for t in range(100 - lag)] for lag in (1, 4, 16)]
        rms = [np.sqrt(np.mean(np.square(move, dtype=np.float64))) for move in moves]
        expected = [
            level[band] - level.mean(),
            level[band] - np.mean(around),
            mel[band].astype(np.float64).std(),
            *rms,
        ]
        np.testing.assert_allclose(found[:, band], expected, atol=1e-4)


@pytest.mark.parametrize("offset", [-10, -3.7, 5, 10])
def test_loudness_does_not_change_a_description(offset):
    mel = _mel()
    np.testing.assert_allclose(describe(mel + np.float32(offset)), describe(mel), atol=1e-4)


@pytest.mark.parametrize("frames", [1, 200, 646])
def test_where_in_time_something_sounds_hardly_changes_a_description(frames):
    mel = _mel()
    difference = np.abs(describe(np.roll(mel, frames, axis=1)) - describe(mel))
    assert difference[:3].max() < 1e-4  # levels and spread not at all
    assert difference[3:].max() < 0.1  # movements only where the ends meet
    other = np.abs(describe(_mel(seed=1)) - describe(mel))
    assert other.max() > 20 * difference.max()


def test_what_is_below_the_floor_does_not_count():
    mel = _mel()
    mel[:20] = -70
    deeper = mel.copy()
    deeper[:20] = -80
    np.testing.assert_array_equal(describe(mel), describe(deeper))


@pytest.mark.parametrize("frames", [1, 2, 4, 16, 17])
def test_clips_of_few_frames_have_a_finite_description(frames):
    found = describe(_mel(frames=200)[:, :frames])
    assert np.isfinite(found).all()
    moving = [frames > lag for lag in (1, 4, 16)]
    assert [bool(row.any()) for row in found[3:]] == moving


def test_a_steady_sound_does_not_move():
    steady = np.repeat(_mel(frames=20)[:, :1], 100, axis=1)
    np.testing.assert_allclose(describe(steady)[2:], 0, atol=1e-4)


# --- regions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        (AudioConfig(), 22_050),
        (AudioConfig(n_mels=40), 22_050),
        (AudioConfig(n_mels=64, fmin=50, fmax=8_000), 22_050),
        (AudioConfig(sample_rate=None), 8_000),
        (AudioConfig(sample_rate=None, fmax=10_000), 8_000),
        (AudioConfig(sample_rate=48_000, n_mels=256), 48_000),
        (AudioConfig(n_mels=1, n_mfcc=1), 22_050),
    ],
)
def test_every_band_lies_in_one_region_and_they_rise(config, rate):
    found = band_regions(config, rate)
    assert found.shape == (config.n_mels,)
    assert (np.diff(found) >= 0).all()
    top = min(config.fmax or rate / 2, rate / 2)
    filters = librosa.filters.mel(sr=rate, n_fft=1 << 16, n_mels=config.n_mels, fmin=config.fmin, fmax=top)
    peaks = librosa.fft_frequencies(sr=rate, n_fft=1 << 16)[filters.argmax(axis=1)]
    for peak, index in zip(peaks, found, strict=True):
        assert REGIONS[index].low - 1 <= peak < REGIONS[index].high + 1


def test_regions_cover_every_frequency():
    assert REGIONS[0].low == 0
    assert REGIONS[-1].high == np.inf
    assert all(one.high == other.low for one, other in pairwise(REGIONS))


def test_levels_are_means_over_a_regions_bands():
    descriptions, regions = _descriptions(5), np.where(REGION_OF == 0, 1, REGION_OF)
    levels = region_levels(descriptions, regions)
    assert levels.shape == (5, len(REGIONS))
    assert np.isnan(levels[:, 0]).all()  # no band at all
    for region in range(1, len(REGIONS)):
        np.testing.assert_allclose(levels[:, region], descriptions[:, 0, regions == region].mean(axis=1))


# --- PCA ----------------------------------------------------------------------------------------------------


def _scaled(descriptions):
    """Each descriptor divided by its own spread, as `fit_pca` says; one row a track."""
    spread = (descriptions - descriptions.mean(axis=0)).std(axis=(0, 2))
    return (descriptions / spread[:, None]).reshape(len(descriptions), -1)


@pytest.mark.parametrize("components", [1, 8, 59])
def test_the_pca_is_that_of_scikit_learn_up_to_sign(components):
    descriptions = _descriptions()
    pca = fit_pca(descriptions, components)
    reference = PCA(components, svd_solver="full").fit(_scaled(descriptions))
    np.testing.assert_allclose(np.abs((pca["components"] * reference.components_).sum(axis=1)), 1, atol=1e-8)
    np.testing.assert_allclose(pca["explained"], reference.explained_variance_ratio_, atol=1e-10)
    ours, _ = embed(descriptions, pca, REGION_OF)
    theirs = reference.transform(_scaled(descriptions))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


def test_the_sign_of_a_component_is_fixed():
    descriptions = _descriptions()
    one, other = fit_pca(descriptions, 5), fit_pca(descriptions[::-1], 5)
    np.testing.assert_allclose(one["components"], other["components"], atol=1e-8)


def test_no_more_components_than_the_sample_has():
    pca = fit_pca(_descriptions(10), 64)
    assert pca["components"].shape == (9, DESCRIPTORS * BANDS)
    assert pca["explained"].sum() == pytest.approx(1)
    np.testing.assert_allclose(pca["components"] @ pca["components"].T, np.eye(9), atol=1e-9)


@pytest.mark.parametrize("copies", [1, 3])
def test_a_sample_of_one_sound_gives_zero_vectors(copies):
    same = np.repeat(_descriptions(1), copies, axis=0)
    vectors, parts = embed(same, fit_pca(same, 8), REGION_OF)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors, 0, atol=1e-6)
    np.testing.assert_allclose(parts, 0, atol=1e-6)


# --- parts --------------------------------------------------------------------------------------------------


def test_a_vector_is_the_sum_of_its_parts():
    descriptions = _descriptions()
    vectors, parts = embed(descriptions, fit_pca(descriptions, 16), REGION_OF)
    assert vectors.dtype == parts.dtype == np.float32
    assert parts.shape == (60, len(REGIONS), 16)
    np.testing.assert_allclose(parts.sum(axis=1), vectors, atol=2e-5)


@pytest.mark.parametrize("region", range(len(REGIONS)))
def test_blanking_a_region_takes_away_exactly_its_part(region):
    descriptions = _descriptions()
    pca = fit_pca(descriptions, 16)
    vectors, parts = embed(descriptions, pca, REGION_OF)
    usual = pca["mean"].reshape(DESCRIPTORS, BANDS)
    blanked = descriptions.copy()
    blanked[..., region == REGION_OF] = usual[:, region == REGION_OF]  # nothing that differs from the mean track
    without, parts_without = embed(blanked, pca, REGION_OF)
    np.testing.assert_allclose(vectors - without, parts[:, region], atol=2e-5)
    assert not parts_without[:, region].any()
    rest = np.delete(np.arange(len(REGIONS)), region)
    np.testing.assert_array_equal(parts_without[:, rest], parts[:, rest])


def test_a_vector_hardly_depends_on_other_rows():
    descriptions = _descriptions()
    pca = fit_pca(descriptions, 16)
    vectors, parts = embed(descriptions, pca, REGION_OF)
    for row in range(0, 60, 13):
        alone, its_parts = embed(descriptions[row : row + 1], pca, REGION_OF)
        np.testing.assert_allclose(alone[0], vectors[row], atol=1e-5)
        np.testing.assert_allclose(its_parts[0], parts[row], atol=1e-5)
