"""What is usual in this catalogue: the distribution of the measures that explanations speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from specrec.arrays import Float64Array, Int64Array
from specrec.embedding.spaces.space import fitted
from specrec.embedding.spectrogram import REGIONS
from specrec.warehouse.artefacts import ArtefactId

if TYPE_CHECKING:
    from specrec.config import Config


#: Columns of ``audio_features`` that :func:`measure` reads.
COLUMNS = (
    "tempo", "key", "mode", "key_strength", "onset_strength_mean", "spectral_centroid_mean",
    "spectral_bandwidth_mean", "rms_mean", "rms_std", "spectral_flatness_mean", "spectral_contrast_mean",
    "mfcc_std",
)  # fmt: skip
#: Attributes of the catalogue that explanations speak of, 0 to 1.
ATTRIBUTES = ("energy", "acousticness", "valence", "danceability")
#: Mean level of each frequency region, dB against the track's mean.
LEVELS = tuple(f"level_{region.name}" for region in REGIONS)

_QUIETEST = 1e-6  # of full scale
_POINTS = 101
_KEYS = 24
_TAG = "tag "  # and the model's name, which has no space in it, and the tag's

Column = Callable[[str], Float64Array]


def _mean_of(values: Float64Array) -> Float64Array:
    return np.asarray(values.mean(axis=1))


#: What is spoken of, in the units it is spoken of in, by the name that ``reasons.feature`` gives it.
MEASURES: dict[str, Callable[[Column], Float64Array]] = {
    "tempo": lambda column: column("tempo"),  # BPM
    "onset_strength_mean": lambda column: column("onset_strength_mean"),
    "spectral_centroid_mean": lambda column: column("spectral_centroid_mean") / 1000,  # kHz
    "spectral_bandwidth_mean": lambda column: column("spectral_bandwidth_mean") / 1000,  # kHz
    "rms_mean": lambda column: decibels(column("rms_mean")),
    "rms_variation": lambda column: column("rms_std") / np.maximum(column("rms_mean"), _QUIETEST),
    "spectral_flatness_mean": lambda column: column("spectral_flatness_mean"),
    "spectral_contrast": lambda column: _mean_of(column("spectral_contrast_mean")),  # dB
    "mfcc_variation": lambda column: _mean_of(column("mfcc_std")[:, 1:]),  # dB; the first is loudness
    "key_strength": lambda column: column("key_strength"),
}


def statistics_artefact(config: Config) -> ArtefactId:
    """Return which artefact the statistics of a configuration's catalogue are."""
    return fitted("catalogue_statistics", config)


def decibels(values: Float64Array) -> Float64Array:
    """Return amplitudes in dB of full scale, at least -120."""
    return 20 * np.log10(np.maximum(values, _QUIETEST))


def measure(frame: pd.DataFrame, prefix: str = "") -> dict[str, Float64Array]:
    """Return :data:`MEASURES`, and ``key`` (0 to 11) and ``mode`` (1: major), of rows of ``audio_features``.

    Parameters
    ----------
    frame : DataFrame
        Columns :data:`COLUMNS`, each name after `prefix`.

    Returns
    -------
    dict of str to float64, shape (rows,)
    """

    def column(name: str) -> Float64Array:
        values = frame[prefix + name]
        if len(values) and not np.isscalar(values.iloc[0]):
            return np.stack(values.to_list()).astype(np.float64)
        return np.asarray(pd.to_numeric(values), np.float64)

    return measures_of(column)


def measures_of(column: Callable[[str], Float64Array]) -> dict[str, Float64Array]:
    """Return what :func:`measure` does, of what returns each of :data:`COLUMNS` as an array by its name."""
    found = {name: of(column) for name, of in MEASURES.items()}
    return found | {name: column(name) for name in ("key", "mode")}


def fit_statistics(
    measures: dict[str, Float64Array],
    levels: Float64Array,
    attributes: dict[str, Float64Array],
    tags: Mapping[tuple[str, str], float] | None = None,
) -> dict[str, Float64Array]:
    """Return the 0th to 100th percentile of each measure, level and attribute, shape (101,) each.

    Parameters
    ----------
    measures : dict of str to float array
        Of :func:`measure`, of a sample.
    levels : float64, shape (rows, regions)
        Of a sample; NaN where a region has no band.
    attributes : dict of str to float array
        :data:`ATTRIBUTES` of a sample; NaN where the catalogue says nothing.
    tags : mapping or None
        The share of the tracks that have a tag, by model and tag.

    Returns
    -------
    dict of str to float64 array
        What nothing is known of is left out. ``keys``, shape (24,), holds the share of the tracks in each major key
        from C to B, then in each minor one. Shares of tags, shape () each, are what :func:`tag_shares` returns.
    """
    columns = {name: measures[name] for name in MEASURES}
    columns |= dict(zip(LEVELS, levels.T, strict=True)) | attributes
    points = np.linspace(0, 100, _POINTS)
    finite = {name: values[np.isfinite(values)] for name, values in columns.items()}
    arrays = {name: np.percentile(values, points) for name, values in finite.items() if len(values)}
    keys = np.bincount(key_number(measures), minlength=_KEYS)
    arrays |= {f"{_TAG}{model} {tag}": np.asarray(share) for (model, tag), share in (tags or {}).items()}
    return arrays | {"keys": keys / max(keys.sum(), 1)}


def shift(before: Mapping[str, Float64Array], now: Mapping[str, Float64Array]) -> float:
    """Return by how much what is usual changed: the most that any share of the tracks moved, percentage points.

    Of a measure it is the share of the tracks below a value, wherever that moved furthest: the distance of
    Kolmogorov and Smirnov, between the two distributions that the percentiles describe. Of keys and tags, it is the
    share of the tracks that have them.

    Parameters
    ----------
    before, now : mapping of str to float64 array
        As :func:`fit_statistics` returns them.

    Returns
    -------
    float
        0 to 100; inf if one of the two knows of a measure that the other does not.

    Examples
    --------
    >>> slow, fast = np.linspace(60.0, 160.0, 101), np.linspace(65.0, 165.0, 101)
    >>> shift({"tempo": slow}, {"tempo": slow}), round(shift({"tempo": slow}, {"tempo": fast}), 6)
    (0.0, 5.0)
    """
    if any(not name.startswith(_TAG) for name in before.keys() ^ now.keys()):
        return float("inf")
    moved, nobody = [0.0], np.asarray(0.0)  # a tag of which nothing is said, no track has
    for name in before.keys() | now.keys():
        old, new = before.get(name, nobody), now.get(name, nobody)
        if old.shape == (_POINTS,):
            at = np.union1d(old, new)
            sides = (-np.inf, np.inf)  # where many tracks have one value, the share below it leaps
            moved += [np.abs(_share_up_to(at, side, old) - _share_up_to(at, side, new)).max() for side in sides]
        else:
            moved.append(100 * np.abs(old - new).max())
    return float(max(moved))


def _share_up_to(values: Float64Array, side: float, quantiles: Float64Array) -> Float64Array:
    """Return about how many of a hundred tracks are below values: without what equals them, or with it."""
    return np.interp(np.nextafter(values, side), quantiles, np.linspace(0, 100, len(quantiles)))


def tag_shares(statistics: Mapping[str, Float64Array], model: str) -> dict[str, float]:
    """Return the share of the catalogue, 0 to 1, that has each tag of a model."""
    prefix = f"{_TAG}{model} "
    return {name.removeprefix(prefix): float(of) for name, of in statistics.items() if name.startswith(prefix)}


def key_number(measures: dict[str, Float64Array]) -> Int64Array:
    """Return keys as 0 (C major) to 11 (B major), 12 (C minor) to 23 (B minor)."""
    return (measures["key"] + np.where(measures["mode"] == 1, 0, 12)).astype(np.int64)


def percentile(values: Float64Array, quantiles: Float64Array) -> Float64Array:
    """Return the share of the catalogue, 0 to 1, that lies below each value; half of what equals it counts.

    Examples
    --------
    >>> tempos = np.linspace(60.0, 160.0, 101)
    >>> percentile(np.array([60.0, 110.0, 200.0]), tempos)
    array([0.005, 0.5  , 1.   ])
    """
    return (share_below(values, quantiles) + 1 - share_above(values, quantiles)) / 2


def share_below(values: Float64Array, quantiles: Float64Array) -> Float64Array:
    """Return the share of the catalogue's other tracks, 0 to 1, that each value surely exceeds; NaN for NaN."""
    exceeded = np.searchsorted(quantiles, values, side="left") - 1
    share: Float64Array = np.where(np.isnan(values), np.nan, exceeded.clip(min=0) / (len(quantiles) - 1))
    return share


def share_above(values: Float64Array, quantiles: Float64Array) -> Float64Array:
    """Return the share of the catalogue's other tracks, 0 to 1, that surely exceeds each value; NaN for NaN."""
    return share_below(-values, -quantiles[::-1])


def share_within(low: Float64Array, high: Float64Array, quantiles: Float64Array) -> Float64Array:
    """Return about which share of the catalogue, 0 to 1, lies from `low` to `high`; NaN for NaN."""
    inside = np.searchsorted(quantiles, high, side="right") - np.searchsorted(quantiles, low, side="left")
    return np.where(np.isnan(low) | np.isnan(high), np.nan, inside / len(quantiles))
