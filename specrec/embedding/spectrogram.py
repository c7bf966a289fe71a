"""The space ``spectrogram``: principal components of what a mel spectrogram holds, band by band.

Two excerpts of one song are never aligned in time, so a spectrogram is not compared frame by frame: each mel band
is described by its level and by how that level moves (:func:`describe`), and the PCA is taken of that. Since the
PCA is linear, a vector is the exact sum of what each frequency region contributes to it (:func:`embed`), which is
what makes an explanation by regions exact.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.audio.config import AudioConfig
from specrec.audio.mel import mel_frequencies


@dataclass(frozen=True, slots=True)
class Region:
    """A range of frequencies that sound engineers have a name for; Hz, upper end excluded."""

    name: str
    low: float
    high: float


#: From the lowest to the highest; together they cover every frequency.
REGIONS = (
    Region("sub_bass", 0, 60),
    Region("bass", 60, 250),
    Region("low_mids", 250, 500),
    Region("mids", 500, 2_000),
    Region("presence", 2_000, 6_000),
    Region("brilliance", 6_000, float("inf")),
)

#: Lags, in frames, over which the movement of a band is taken: about 25, 100, 400 ms at the defaults.
_LAGS = (1, 4, 16)

#: What lies further below the loudest point than this is not heard, and depends on the codec more than the music.
FLOOR_DB = -60.0

#: Width of the neighbourhood, in bands, that a band's level is also compared with.
_NEIGHBOURHOOD = 9

#: Numbers that describe one band: level, local level, standard deviation, and one movement a lag.
DESCRIPTORS = 3 + len(_LAGS)


def describe(mel_db: Float32Array) -> Float64Array:
    """Describe each band of a mel spectrogram: its level, and how much that moves at several rates.

    Parameters
    ----------
    mel_db : float32, shape (…, n_mels, n_frames)
        In dB against the maximum.

    Returns
    -------
    float64, shape (…, DESCRIPTORS, n_mels)
        In dB: mean level against the mean of all bands, the same against the mean of the bands near by, standard
        deviation over time, and root mean square change over each lag.
    """
    heard = np.maximum(mel_db, np.float32(FLOOR_DB))
    level = heard.mean(axis=-1, dtype=np.float64)
    local = level - level @ nearby(level.shape[-1]).T
    rows = [level - level.mean(axis=-1, keepdims=True), local, heard.std(axis=-1, dtype=np.float64)]
    for lag in _LAGS:
        moved = heard[..., lag:] - heard[..., :-lag] if heard.shape[-1] > lag else np.zeros_like(heard[..., :1])
        rows.append(np.sqrt(np.square(moved).mean(axis=-1, dtype=np.float64)))
    return np.stack(rows, axis=-2)


@functools.lru_cache(maxsize=8)
def nearby(n_mels: int) -> Float64Array:
    """Return the matrix that takes the mean of the bands near each band, shape (n_mels, n_mels); do not change it.

    Beyond the ends the first and the last band are repeated.
    """
    reach = np.arange(_NEIGHBOURHOOD) - _NEIGHBOURHOOD // 2
    bands = np.clip(np.arange(n_mels)[:, None] + reach, 0, n_mels - 1)
    mean: Float64Array = (bands[:, :, None] == np.arange(n_mels)).mean(axis=1)
    return mean


def band_centres(config: AudioConfig, sample_rate: int) -> Float64Array:
    """Return the centre of each mel band in Hz, shape (n_mels,)."""
    fmax = min(config.fmax or np.inf, sample_rate / 2)
    return mel_frequencies(config.n_mels + 2, config.fmin, fmax)[1:-1]


def band_regions(config: AudioConfig, sample_rate: int) -> Int64Array:
    """Return the region of each mel band, as an index into :data:`REGIONS`, shape (n_mels,)."""
    return np.searchsorted([region.high for region in REGIONS], band_centres(config, sample_rate), side="right")


def region_levels(descriptions: Float64Array, regions: Int64Array) -> Float64Array:
    """Return the mean level of each region in dB against the track's mean; NaN where a region has no band.

    Parameters
    ----------
    descriptions : float64, shape (rows, DESCRIPTORS, n_mels)
    regions : int64, shape (n_mels,)
        Of :func:`band_regions`.

    Returns
    -------
    float64, shape (rows, regions)
    """
    member = regions[:, None] == np.arange(len(REGIONS))
    with np.errstate(invalid="ignore"):
        levels: Float64Array = descriptions[:, 0, :] @ member / member.sum(axis=0)
    return levels


def fit_pca(descriptions: Float64Array, components: int) -> dict[str, Float64Array]:
    """Fit the PCA to a sample.

    The descriptors differ in scale, so each is divided by its own standard deviation over sample and bands.

    Parameters
    ----------
    descriptions : float64, shape (rows, DESCRIPTORS, n_mels)
    components : int
        At most so many; fewer where the sample has fewer rows or dimensions.

    Returns
    -------
    dict of str to float64 array
        ``mean`` and ``scale``, shape (DESCRIPTORS · n_mels,), ``components``, shape (components, DESCRIPTORS ·
        n_mels), and ``explained``, shape (components,): the share of the variance.

    Examples
    --------
    >>> mels = np.random.default_rng(0).uniform(-60, 0, (20, 128, 400)).astype(np.float32)
    >>> descriptions = describe(mels)
    >>> descriptions.shape
    (20, 6, 128)
    >>> pca = fit_pca(descriptions, components=8)
    >>> regions = band_regions(AudioConfig(), 22_050)
    >>> vectors, parts = embed(descriptions, pca, regions)
    >>> vectors.shape, parts.shape
    ((20, 8), (20, 6, 8))
    """
    rows = descriptions.reshape(len(descriptions), -1)
    mean = rows.mean(axis=0)
    spread = (descriptions - descriptions.mean(axis=0)).std(axis=(0, 2))
    scale = np.repeat(np.where(spread > 1e-9, spread, 1.0), descriptions.shape[2])
    centred = (rows - mean) / scale
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    kept = min(components, int((singular > 1e-9 * max(singular[0], 1e-300)).sum())) or 1
    axes = axes[:kept]
    strongest = np.abs(axes).argmax(axis=1)  # a component and its negative fit alike: fix the sign
    axes = axes * np.sign(axes[np.arange(kept), strongest])[:, None]
    variance = singular**2 / max(float((singular**2).sum()), 1e-300)
    return {"mean": mean, "scale": scale, "components": axes, "explained": variance[:kept]}


def embed(
    descriptions: Float64Array, pca: dict[str, Float64Array], regions: Int64Array
) -> tuple[Float32Array, Float32Array]:
    """Return the embedding and its exact parts by region.

    Parameters
    ----------
    descriptions : float64, shape (rows, DESCRIPTORS, n_mels)
    pca : dict of str to float array
        Of :func:`fit_pca`.
    regions : int64, shape (n_mels,)
        Of :func:`band_regions`.

    Returns
    -------
    vectors : float32, shape (rows, components)
    parts : float32, shape (rows, regions, components)
        ``parts.sum(axis=1)`` is ``vectors``, to rounding.
    """
    rows = descriptions.reshape(len(descriptions), -1)
    centred = ((rows - pca["mean"]) / pca["scale"]).reshape(descriptions.shape)
    axes = pca["components"].reshape(-1, *descriptions.shape[1:])
    parts = np.stack(
        [
            np.tensordot(centred[..., regions == r], axes[..., regions == r], axes=([1, 2], [1, 2]))
            for r in range(len(REGIONS))
        ],
        axis=1,
    )
    return parts.sum(axis=1).astype(np.float32), parts.astype(np.float32)
