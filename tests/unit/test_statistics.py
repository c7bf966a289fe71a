import numpy as np
import pandas as pd
import pytest

from specrec.embedding.statistics import LEVELS, MEASURES, fit_statistics, percentile, share_above, share_below


def _fitted(values, levels=None):
    frame = pd.DataFrame(dict.fromkeys(MEASURES, values))
    return fit_statistics(frame, np.zeros((len(values), len(LEVELS))) if levels is None else levels)


def test_every_measure_and_level_has_its_percentiles():
    values = np.random.default_rng(0).normal(size=2_001)
    levels = np.random.default_rng(1).normal(size=(300, len(LEVELS)))
    arrays = _fitted(values, levels)
    assert set(arrays) == {*MEASURES, *LEVELS}
    for array in arrays.values():
        assert array.shape == (101,)
        assert (np.diff(array) >= 0).all()
    np.testing.assert_array_equal(arrays["tempo"], np.sort(values)[::20])  # 2,001 values: exact
    assert arrays[LEVELS[2]][[0, -1]].tolist() == [levels[:, 2].min(), levels[:, 2].max()]


def test_a_region_without_bands_in_some_or_all_tracks():
    levels = np.random.default_rng(1).normal(size=(50, len(LEVELS)))
    levels[10:, 0] = np.nan
    levels[:, 1] = np.nan
    arrays = _fitted(np.arange(50.0), levels)
    assert arrays[LEVELS[0]][-1] == levels[:10, 0].max()
    assert np.isfinite(arrays[LEVELS[1]]).all()


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
