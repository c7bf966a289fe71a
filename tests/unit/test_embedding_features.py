import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.audio.measures import CLIP_FEATURES, FAMILIES, FEATURES, columns
from specrec.embedding.features import drift, embed, families, fit_scaler, layout_of, stack, transform

LAYOUT = layout_of(20)
DIMENSIONS = sum(size for _, size in LAYOUT)
NAMES = [name for name, size in LAYOUT for _ in range(size)]
WEIGHTS = {"timbre": 3.0, "brightness": 1.0, "harmony": 3.0, "rhythm": 3.0, "dynamics": 1.0, "noisiness": 1.0}


def _frame(n=50, seed=0):
    rng = np.random.default_rng(seed)
    columns_of = {}
    for name, size in LAYOUT:
        scale = {"tempo": 120, "spectral_centroid_mean": 2_000, "rms_mean": 0.1}.get(name, 1.0)
        values = np.abs(rng.normal(1, 0.3, (n, size)) * scale).astype(np.float32)
        columns_of[name] = values[:, 0] if size == 1 else list(values)
    columns_of["key"] = rng.integers(0, 12, n)
    return pd.DataFrame(columns_of)


def _matrix(n=50, seed=0):
    return stack(_frame(n, seed), LAYOUT)


def _squares(vectors):
    """Squared norm of each family, shape (rows, families)."""
    family = families(LAYOUT)
    return np.stack(
        [np.square(vectors[:, family == f], dtype=np.float64).sum(axis=1) for f in range(len(FAMILIES))], 1
    )


@pytest.mark.parametrize("n_mfcc", [1, 13, 20])
def test_the_layout_is_that_of_the_table_without_key(n_mfcc):
    layout = layout_of(n_mfcc)
    left_out = {"key", "mode", "key_strength", "mfcc_delta_mean"}
    assert [name for name, _ in layout] == [name for name in columns(n_mfcc) if name not in left_out]
    assert dict(layout)["mfcc_mean"] == dict(layout)["mfcc_delta_std"] == n_mfcc
    assert dict(layout)["chroma_mean"] == 12
    assert dict(layout)["tempo"] == 1
    assert len(families(layout)) == sum(dict(layout).values())


def test_every_dimension_has_the_family_that_its_feature_declares():
    declared = {f"{f.name}_{statistic}": f.family for f in FEATURES for statistic in ("mean", "std")} | {
        f.name: f.family for f in CLIP_FEATURES
    }
    assert [FAMILIES[f] for f in families(LAYOUT)] == [declared[name] for name in NAMES]
    assert set(FAMILIES) == set(WEIGHTS)


def test_stacking_keeps_rows_and_order():
    frame = _frame(3)
    matrix = stack(frame, LAYOUT)
    assert matrix.dtype == np.float64
    assert matrix.shape == (3, DIMENSIONS)
    for row in range(3):
        expected = np.concatenate([np.atleast_1d(frame[name].iloc[row]) for name, _ in LAYOUT])
        np.testing.assert_array_equal(matrix[row], expected)
    assert stack(frame.iloc[:0], LAYOUT).shape == (0, DIMENSIONS)


def test_a_ratio_of_tempo_or_loudness_counts_alike_everywhere():
    matrix = np.ones((4, DIMENSIONS))
    for name in ("tempo", "rms_mean", "spectral_centroid_mean"):
        matrix[:, NAMES.index(name)] = [60, 120, 80, 160]
        moved = transform(matrix, LAYOUT)[:, NAMES.index(name)]
        assert moved[1] - moved[0] == pytest.approx(moved[3] - moved[2])


def test_silence_and_no_tempo_stay_finite():
    assert np.isfinite(transform(np.zeros((1, DIMENSIONS)), LAYOUT)).all()


def test_the_fitting_sample_is_standardised():
    matrix = _matrix()
    scaler = fit_scaler(matrix, LAYOUT)
    standard = (transform(matrix, LAYOUT) - scaler["mean"]) / scaler["std"]
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
@pytest.mark.parametrize("value", [0.1, 1234.5678, 11_025.123])
def test_a_constant_dimension_says_nothing(rows, value):
    matrix = np.tile(np.full(DIMENSIONS, np.float32(value), np.float64), (rows, 1))
    scaler = fit_scaler(matrix, LAYOUT)
    assert np.abs(embed(matrix, LAYOUT, scaler, WEIGHTS, 4.0)).max() < 1e-6
    assert drift(matrix, LAYOUT, scaler) < 1e-6


def _by_hand(row, sample, weights, clip_sd):
    """One track's vector, feature by feature, from the definition."""
    logarithmic = {
        "tempo", "rms_mean", "rms_std", "spectral_flatness_mean", "spectral_flatness_std", "spectral_centroid_mean",
    }  # fmt: skip
    standard = []
    for value, column, name in zip(row, sample.T, NAMES, strict=True):
        known = [np.log(max(x, 1e-6)) if name in logarithmic else x for x in (value, *column)]
        spread = np.std(known[1:])
        score = (known[0] - np.mean(known[1:])) / (spread if spread > 1e-12 else 1.0)
        standard.append(min(max(score, -clip_sd), clip_sd))
    vector = []
    for score, family in zip(standard, families(LAYOUT), strict=True):
        own = [s for s, f in zip(standard, families(LAYOUT), strict=True) if f == family]
        length = np.sqrt(sum(s * s for s in own) / len(own))
        vector.append(score / np.sqrt(len(own)) * np.sqrt(weights[FAMILIES[family]] / (1 + length**2)))
    return np.array(vector)


def test_a_vector_is_what_its_definition_says():
    matrix = _matrix()
    vectors = embed(matrix, LAYOUT, fit_scaler(matrix, LAYOUT), WEIGHTS, 1.5)
    for row in (0, 31):
        np.testing.assert_allclose(vectors[row], _by_hand(matrix[row], matrix, WEIGHTS, 1.5), rtol=1e-5, atol=1e-7)


def test_a_cosine_is_the_sum_of_its_families_and_none_adds_more_than_its_weight():
    matrix = _matrix()
    vectors = embed(matrix, LAYOUT, fit_scaler(matrix, LAYOUT), WEIGHTS, 4.0).astype(np.float64)
    family = families(LAYOUT)
    parts = np.stack([vectors[:, family == f] @ vectors[:, family == f].T for f in range(len(FAMILIES))])
    lengths = np.linalg.norm(vectors, axis=1)
    cosine = [[np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for b in vectors] for a in vectors]
    np.testing.assert_allclose(parts.sum(axis=0) / np.outer(lengths, lengths), cosine, atol=1e-12)
    assert (np.abs(parts).max(axis=(1, 2)) < [WEIGHTS[name] for name in FAMILIES]).all()


def test_families_of_equal_weight_have_about_equal_shares_whatever_their_size():
    matrix = _matrix(2_000)
    vectors = embed(matrix, LAYOUT, fit_scaler(matrix, LAYOUT), dict.fromkeys(FAMILIES, 1.0), clip_sd=100)
    shares = _squares(vectors).mean(axis=0)
    # of length² 1 on average, half is left; the less, the more it varies from track to track
    assert (shares <= 0.5 + 1e-6).all()
    assert (shares > 1 / 3).all()


def test_the_same_sample_gives_the_same_scaler():
    one, again = (fit_scaler(_matrix(), LAYOUT) for _ in range(2))
    assert one.keys() == again.keys()
    assert all(np.array_equal(one[name], again[name]) for name in one)


@settings(max_examples=30, deadline=None)
@given(family=st.sampled_from(FAMILIES), factor=st.floats(0, 16))
def test_a_familys_part_of_a_squared_norm_is_proportional_to_its_weight(family, factor):
    matrix = _matrix(10)
    scaler = fit_scaler(matrix, LAYOUT)
    before = _squares(embed(matrix, LAYOUT, scaler, WEIGHTS, 4.0))
    after = _squares(embed(matrix, LAYOUT, scaler, WEIGHTS | {family: WEIGHTS[family] * factor}, 4.0))
    expected = before * np.where(np.array(FAMILIES) == family, factor, 1.0)
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-12)


def test_a_family_that_is_not_named_has_weight_1():
    matrix = _matrix()
    scaler = fit_scaler(matrix, LAYOUT)
    named = embed(matrix, LAYOUT, scaler, WEIGHTS, 4.0)
    unnamed = embed(matrix, LAYOUT, scaler, {k: v for k, v in WEIGHTS.items() if v != 1}, 4.0)
    np.testing.assert_array_equal(named, unnamed)


def test_one_odd_value_does_not_decide():
    matrix = _matrix()
    scaler = fit_scaler(matrix, LAYOUT)
    odd = matrix[:1].copy()
    odd[0, NAMES.index("onset_strength_mean")] = 1e9
    vector = embed(odd, LAYOUT, scaler, WEIGHTS, 4.0)
    at = NAMES.index("onset_strength_mean")
    usual = embed(matrix[:1], LAYOUT, scaler, WEIGHTS, 4.0)
    in_rhythm = families(LAYOUT) == FAMILIES.index("rhythm")
    assert 0 < vector[0, at] < np.sqrt(WEIGHTS["rhythm"]) * 4.0 / np.sqrt(in_rhythm.sum())
    np.testing.assert_array_equal(vector[:, ~in_rhythm], usual[:, ~in_rhythm])
    others = np.delete(vector, at)[np.delete(in_rhythm, at)] / np.delete(usual, at)[np.delete(in_rhythm, at)]
    assert others.min() == pytest.approx(others.max(), rel=1e-4)  # shorter, but still in proportion
    assert 0.9 < others.min() < 1


def test_a_vector_depends_on_its_own_row_alone():
    matrix = _matrix()
    scaler = fit_scaler(matrix, LAYOUT)
    whole = embed(matrix, LAYOUT, scaler, WEIGHTS, 4.0)
    assert whole.dtype == np.float32
    for row in range(0, 50, 9):
        np.testing.assert_array_equal(embed(matrix[row : row + 1], LAYOUT, scaler, WEIGHTS, 4.0)[0], whole[row])


def test_drift_is_the_shift_in_standard_deviations():
    matrix = _matrix()
    scaler = fit_scaler(matrix, LAYOUT)
    assert drift(matrix, LAYOUT, scaler) == pytest.approx(0, abs=1e-9)
    moved = matrix.copy()
    at = NAMES.index("chroma_mean")
    moved[:, at] += 3 * scaler["std"][at]
    assert drift(moved, LAYOUT, scaler) == pytest.approx(3 / DIMENSIONS)
    moved[:, at] -= 6 * scaler["std"][at]  # a fall counts as a rise
    assert drift(moved, LAYOUT, scaler) == pytest.approx(3 / DIMENSIONS)
    assert drift(_matrix(seed=1), LAYOUT, scaler) > 0
