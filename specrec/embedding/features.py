"""The space ``features``: standardised features, each family bounded and with its own weight."""

from __future__ import annotations

import numpy as np
import pandas as pd

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.audio.measures import CLIP_FEATURES, FAMILIES, FEATURES, STATISTICS, columns

Layout = list[tuple[str, int]]

#: Measures whose ratios are heard, not their differences: taken as logarithms before they are standardised.
_LOGARITHMIC = frozenset(
    {
        "tempo",
        "rms_mean",
        "rms_std",
        "spectral_flatness_mean",
        "spectral_flatness_std",
        "spectral_centroid_mean",
    }
)
_FLOOR = 1e-6

_FAMILY = {f"{feature.name}_{statistic}": feature.family for feature in FEATURES for statistic in STATISTICS} | {
    feature.name: feature.family for feature in CLIP_FEATURES
}

#: A pitch class is a name, not a quantity, and a key's strength is no property of the sound. The mean slope of a
#: coefficient is its last value less its first: where the clip was cut.
_NOT_A_MEASURE = frozenset({"key", "mode", "key_strength", "mfcc_delta_mean"})


def layout_of(n_mfcc: int) -> Layout:
    """Return the columns of ``audio_features`` that are embedded, with their sizes, in the embedding's order."""
    return [(name, size) for name, size in columns(n_mfcc).items() if name not in _NOT_A_MEASURE]


def stack(frame: pd.DataFrame, layout: Layout) -> Float64Array:
    """Return the columns of a frame of ``audio_features`` as one float64 matrix, shape (rows, dimensions)."""
    if frame.empty:
        return np.zeros((0, sum(size for _, size in layout)))
    parts = [
        frame[name].to_numpy(np.float64)[:, None] if size == 1 else np.stack(frame[name].to_list())
        for name, size in layout
    ]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def families(layout: Layout) -> Int64Array:
    """Return the family of each dimension, as an index into :data:`FAMILIES`, shape (dimensions,)."""
    return np.repeat([FAMILIES.index(_FAMILY[name]) for name, _ in layout], [size for _, size in layout])


def transform(matrix: Float64Array, layout: Layout) -> Float64Array:
    """Return the matrix with its logarithmic measures as logarithms, shape (rows, dimensions)."""
    logarithmic = np.repeat([name in _LOGARITHMIC for name, _ in layout], [size for _, size in layout])
    return np.where(logarithmic, np.log(np.maximum(matrix, _FLOOR)), matrix)


def fit_scaler(matrix: Float64Array, layout: Layout) -> dict[str, Float64Array]:
    """Return ``mean`` and ``std`` of each dimension of a sample, shape (dimensions,); a constant one has std 1."""
    values = transform(matrix, layout)
    std = values.std(axis=0)
    return {"mean": values.mean(axis=0), "std": np.where(std > 1e-12, std, 1.0)}


def standardise(
    matrix: Float64Array, layout: Layout, scaler: dict[str, Float64Array], clip_sd: float
) -> Float64Array:
    """Return the matrix in standard deviations from the mean, clipped to ± `clip_sd`, float64, same shape."""
    standard: Float64Array = (transform(matrix, layout) - scaler["mean"]) / scaler["std"]
    return standard.clip(-clip_sd, clip_sd)


def embed(
    matrix: Float64Array,
    layout: Layout,
    scaler: dict[str, Float64Array],
    weights: dict[str, float],
    clip_sd: float,
) -> Float32Array:
    """Return the embedding, shape (rows, dimensions), float32.

    Each feature is standardised and clipped to ``clip_sd`` standard deviations, so that no single odd value
    decides, and each family divided by the square root of its size, so that twenty MFCCs weigh no more than one
    tempo: a family x then has |x|² = 1 on average. It is divided by √(1 + |x|²), so that a track that is extreme in
    one family is not alike others by that alone, and one that is usual in it stays near 0 there. Last, it is
    multiplied by the root of its weight. A cosine stays the exact sum of what the families add. Unit length in each
    family, the usual way before kernels are added up, did as well for genres and worse for songs; whitening
    (Mahalanobis) worse for genres.

    Parameters
    ----------
    matrix : float64, shape (rows, dimensions)
        Raw feature values.
    layout : Layout
        Names and sizes of the columns that the dimensions come from.
    scaler : dict of str to float array
        Of :func:`fit_scaler`.
    weights : dict of str to float
        Of each family; one that is not named has weight 1.
    clip_sd : float
        Standard deviations.

    Examples
    --------
    >>> layout = layout_of(n_mfcc=20)
    >>> sample = np.random.default_rng(0).normal(1.0, 0.1, (50, sum(size for _, size in layout)))
    >>> scaler = fit_scaler(sample, layout)
    >>> vectors = embed(sample, layout, scaler, weights={"timbre": 3.0}, clip_sd=3.0)
    >>> vectors.shape == sample.shape, vectors.dtype
    (True, dtype('float32'))
    """
    standard = standardise(matrix, layout, scaler, clip_sd)
    family = families(layout)
    vectors = np.empty_like(standard)
    for index, name in enumerate(FAMILIES):
        own = np.flatnonzero(family == index)
        part = np.take(standard, own, axis=1) / np.sqrt(len(own))
        bounded = part / np.sqrt(1 + np.square(part).sum(axis=1, keepdims=True))
        vectors[:, own] = np.sqrt(weights.get(name, 1.0)) * bounded
    return vectors.astype(np.float32)


def drift(matrix: Float64Array, layout: Layout, scaler: dict[str, Float64Array]) -> float:
    """Return how far a sample's mean lies from the fitted one: mean absolute shift, in standard deviations."""
    shift = (transform(matrix, layout).mean(axis=0) - scaler["mean"]) / scaler["std"]
    return float(np.abs(shift).mean())
