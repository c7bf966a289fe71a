"""What is usual in this catalogue: quantiles of the measures that explanations speak of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from specrec.embedding.spectrogram import REGIONS

FloatArray = npt.NDArray[np.float64]

#: Columns of ``audio_features`` whose rank in the catalogue is spoken of.
MEASURES = ("tempo", "spectral_centroid_mean", "rms_mean", "spectral_flatness_mean", "onset_strength_mean")
#: Mean level of each frequency region, dB against the track's mean.
LEVELS = tuple(f"level_{region.name}" for region in REGIONS)

_POINTS = 101


def fit_statistics(features: pd.DataFrame, levels: FloatArray) -> dict[str, FloatArray]:
    """Return the 0th to 100th percentile of each measure and level, shape (101,) each.

    Parameters
    ----------
    features : columns :data:`MEASURES` of a sample.
    levels : float64, shape (rows, regions), of a sample; NaN where a region has no band.
    """
    points = np.linspace(0, 100, _POINTS)
    arrays = {name: np.percentile(features[name].to_numpy(np.float64), points) for name in MEASURES}
    for name, column in zip(LEVELS, levels.T, strict=True):
        finite = column[np.isfinite(column)]
        arrays[name] = np.percentile(finite, points) if len(finite) else np.zeros(_POINTS)
    return arrays


def percentile(values: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Return the share of the catalogue, 0 to 1, that lies below each value; half of what equals it counts."""
    return (share_below(values, quantiles) + 1 - share_above(values, quantiles)) / 2


def share_below(values: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Return the share of the catalogue, 0 to 1, that each value exceeds; NaN for NaN."""
    return np.where(np.isnan(values), np.nan, np.searchsorted(quantiles, values, side="left") / len(quantiles))


def share_above(values: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Return the share of the catalogue, 0 to 1, that exceeds each value; NaN for NaN."""
    return share_below(-values, -quantiles[::-1])
