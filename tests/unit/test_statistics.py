import math

import numpy as np
import pandas as pd
import pytest

from specrec.embedding.statistics import (
    COLUMNS,
    LEVELS,
    MEASURES,
    fit_statistics,
    measure,
    percentile,
    share_above,
    share_below,
    share_within,
    shift,
    tag_shares,
)
from specrec.warehouse.artefacts import pack, unpack


def _measures(values):
    return dict.fromkeys(MEASURES, values) | {"key": np.zeros(len(values)), "mode": np.zeros(len(values))}


def _fitted(values, levels=None, attributes=None):
    levels = np.zeros((len(values), len(LEVELS))) if levels is None else levels
    return fit_statistics(_measures(values), levels, attributes or {})


def test_every_measure_and_level_has_its_percentiles():
    values = np.random.default_rng(0).normal(size=2_001)
    levels = np.random.default_rng(1).normal(size=(300, len(LEVELS)))
    arrays = _fitted(values, levels)
    assert arrays.pop("keys").shape == (24,)
    assert set(arrays) == {*MEASURES, *LEVELS}
    for array in arrays.values():
        assert array.shape == (101,)
        assert (np.diff(array) >= 0).all()
    np.testing.assert_array_equal(arrays["tempo"], np.sort(values)[::20])  # 2,001 values: exact
    assert arrays[LEVELS[2]][[0, -1]].tolist() == [levels[:, 2].min(), levels[:, 2].max()]


def test_attributes_are_ranked_among_the_tracks_that_have_them():
    energy = np.r_[np.linspace(0, 1, 101), np.full(50, np.nan)]
    arrays = _fitted(np.arange(151.0), attributes={"energy": energy, "valence": np.full(151, np.nan)})
    np.testing.assert_allclose(arrays["energy"], np.linspace(0, 1, 101))
    assert "valence" not in arrays


def test_shares_of_tags_are_kept_by_model():
    shares = {("musicnn", "slow"): 0.25, ("musicnn", "no vocals"): 0.5, ("other_musicnn", "slow"): 1.0}
    arrays = unpack(pack(fit_statistics(_measures(np.arange(3.0)), np.zeros((3, len(LEVELS))), {}, shares)))
    assert tag_shares(arrays, "musicnn") == {"slow": 0.25, "no vocals": 0.5}
    assert tag_shares(arrays, "other_musicnn") == {"slow": 1.0}
    assert tag_shares(arrays, "none") == {}


def test_a_tag_that_comes_or_goes_moves_a_share_as_any_other():
    def fitted(tags):
        return fit_statistics(_measures(np.arange(9.0)), np.zeros((9, len(LEVELS))), {}, tags)

    without, tagged = fitted({}), fitted({("musicnn", "bagpipes"): 0.004})
    assert shift(without, tagged) == shift(tagged, without) == pytest.approx(0.4)
    assert shift(without, without | {"energy": np.linspace(0, 1, 101)}) == np.inf


def test_shares_of_keys():
    measures = _measures(np.arange(4.0)) | {"key": np.array([0, 0, 9, 9.0]), "mode": np.array([1, 1, 0, 1.0])}
    keys = fit_statistics(measures, np.zeros((4, len(LEVELS))), {})["keys"]
    assert {number: keys[number] for number in np.flatnonzero(keys)} == {0: 0.5, 9: 0.25, 12 + 9: 0.25}


def test_measures_are_those_of_the_columns():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({name: rng.uniform(0.1, 0.9, 5) for name in COLUMNS})
    frame["spectral_contrast_mean"] = list(rng.uniform(0, 30, (5, 7)))
    frame["mfcc_std"] = list(rng.uniform(0, 30, (5, 20)))
    found = measure(frame.add_prefix("a_"), "a_")
    for row in range(5):
        assert found["rms_mean"][row] == pytest.approx(20 * math.log10(frame["rms_mean"][row]))
        assert found["spectral_centroid_mean"][row] == pytest.approx(frame["spectral_centroid_mean"][row] / 1000)
        assert found["rms_variation"][row] == pytest.approx(frame["rms_std"][row] / frame["rms_mean"][row])
        assert found["spectral_contrast"][row] == pytest.approx(sum(frame["spectral_contrast_mean"][row]) / 7)
        assert found["mfcc_variation"][row] == pytest.approx(sum(frame["mfcc_std"][row][1:]) / 19)


def test_a_region_without_bands_in_some_or_all_tracks():
    levels = np.random.default_rng(1).normal(size=(50, len(LEVELS)))
    levels[10:, 0] = np.nan
    levels[:, 1] = np.nan
    arrays = _fitted(np.arange(50.0), levels)
    assert arrays[LEVELS[0]][-1] == levels[:10, 0].max()
    assert LEVELS[1] not in arrays


@pytest.mark.parametrize("draw", [np.random.Generator.normal, np.random.Generator.exponential])
def test_shares_are_those_of_the_sample_to_a_hundredth(draw):
    rng = np.random.default_rng(3)
    sample = draw(rng, size=1_000)
    quantiles = _fitted(sample)["tempo"]
    values = draw(rng, size=200)
    below = np.array([np.mean(sample < value) for value in values])
    np.testing.assert_allclose(share_below(values, quantiles), below, atol=0.011)
    np.testing.assert_allclose(share_above(values, quantiles), 1 - below, atol=0.011)
    np.testing.assert_allclose(percentile(values, quantiles), below, atol=0.011)


def test_what_many_tracks_share_is_neither_below_nor_above_itself():
    sample = np.repeat([1.0, 5.0, 9.0], [20, 60, 20])
    quantiles = _fitted(sample)["tempo"]
    value = np.array([5.0])
    assert share_below(value, quantiles) == pytest.approx(0.2, abs=0.011)
    assert share_above(value, quantiles) == pytest.approx(0.2, abs=0.011)
    assert percentile(value, quantiles) == pytest.approx(0.5, abs=0.011)


def test_a_catalogue_of_equals_has_nothing_unusual():
    quantiles = _fitted(np.full(30, 7.0))["tempo"]
    assert share_below(np.array([7.0]), quantiles) == 0
    assert share_above(np.array([7.0]), quantiles) == 0
    assert percentile(np.array([6.0, 7.0, 8.0]), quantiles).tolist() == [0.0, 0.5, 1.0]


def test_beyond_the_sample_and_unknown():
    quantiles = _fitted(np.arange(10.0))["tempo"]
    values = np.array([-1.0, 100.0, np.nan])
    np.testing.assert_array_equal(percentile(values, quantiles), [0, 1, np.nan])
    np.testing.assert_array_equal(share_below(values, quantiles), [0, 1, np.nan])
    np.testing.assert_array_equal(share_above(values, quantiles), [1, 0, np.nan])


def test_percentile_never_falls_as_values_rise():
    rng = np.random.default_rng(5)
    quantiles = _fitted(rng.integers(0, 9, 200).astype(float))["tempo"]
    assert (np.diff(percentile(np.sort(rng.uniform(-1, 10, 500)), quantiles)) >= 0).all()


def test_shares_within_bounds():
    sample = np.random.default_rng(6).normal(size=2_000)
    quantiles = _fitted(sample)["tempo"]
    low, high = np.array([-1.0, -0.1, 5.0, np.nan]), np.array([1.0, 0.1, 6.0, 1.0])
    share = share_within(low, high, quantiles)
    inside = [np.mean((sample >= a) & (sample <= b)) for a, b in zip(low[:3], high[:3], strict=True)]
    np.testing.assert_allclose(share[:3], inside, atol=0.02)
    assert np.isnan(share[3])
