"""From channels to one: which are added, which are turned over before, and what offset is taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from specrec.arrays import Float32Array, Float64Array

#: By number of channels: by what each is multiplied, 1 or -1.
Signs = Mapping[int, Float32Array]

#: How much more power than the mean the channels must have once some are turned over: twice, 3 dB.
_CANCELS = 2.0
_BLOCK = 1 << 15  # samples that fit the processor's cache
_SILENCE_SECONDS = 0.1
_SILENT = np.float32(1e-6)  # what lossy codecs make of zeros is below this


def mixed(channels: Float32Array, signs: Signs | None = None) -> Float32Array:
    """Mean over the channels of an array of shape (n,) or (channels, n), each multiplied by its sign.

    Examples
    --------
    >>> left = np.array([0.5, -0.25], np.float32)
    >>> mixed(np.stack([left, left])).tolist(), mixed(np.stack([left, -left])).tolist()
    ([0.5, -0.25], [0.0, 0.0])
    >>> mixed(np.stack([left, -left]), {2: np.array([1, -1], np.float32)}).tolist()
    [0.5, -0.25]
    """
    if channels.ndim == 1:
        return channels
    of = (signs or {}).get(len(channels))
    if of is not None:
        channels = channels * of[:, np.newaxis]
    mono: Float32Array
    if len(channels) == 2:  # the same numbers as np.mean, many times faster
        mono = (channels[0] + channels[1]) * np.float32(0.5)
    else:
        mono = np.mean(channels, axis=0, dtype=np.float32)
    return mono


def products(channels: Float32Array) -> Float64Array:
    """Return the sums of the products of every two channels, without the means of blocks of about a second.

    Parameters
    ----------
    channels : float32 array, shape (channels, n)

    Returns
    -------
    float64 array, shape (channels, channels)
        Of blocks of a clip, these add up.
    """
    found = np.zeros((len(channels), len(channels)))
    with np.errstate(over="ignore", invalid="ignore"):  # the samples are looked at elsewhere
        for start in range(0, channels.shape[1], _BLOCK):
            block = np.array(channels[:, start : start + _BLOCK], order="C")  # ten times faster than across memory
            block -= block.mean(axis=1, keepdims=True)
            found += block @ block.T
    return found


def opposed(of_clip: Mapping[int, Float64Array]) -> Signs:
    """Return which channels are to be turned over, because they cancel others.

    A miswired cable, or an effect that makes stereo wide, gives one channel the opposite sign: their mean is what
    the recording differs by, or nothing. With that channel turned over, the mean is what it was meant to be, bit
    for bit. It is done where that has more than twice the power of the plain mean, 3 dB, in the whole clip: of two
    channels that are equally loud, where their correlation is below -1/3. Channels that have nothing to do with
    each other, or of which one is silent, are as loud either way.

    Parameters
    ----------
    of_clip : mapping of int to float64 array
        By number of channels, the :func:`products` of a clip.

    Examples
    --------
    >>> opposed({2: np.array([[1.0, -0.9], [-0.9, 1.0]])})
    {2: array([ 1., -1.], dtype=float32)}
    >>> opposed({2: np.array([[1.0, 0.2], [0.2, 1.0]])})
    {}
    >>> opposed({3: np.array([[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])})  # the first one is silent
    {3: array([ 1.,  1., -1.], dtype=float32)}
    """
    found = {}
    for size, matrix in of_clip.items():
        loudest = matrix[int(np.argmax(matrix.diagonal()))]
        first = next(iter(loudest[loudest != 0]), 0.0)  # a channel that is silent has no sign
        signs = np.where(loudest * first < 0, -1.0, 1.0)
        if signs @ matrix @ signs > _CANCELS * max(matrix.sum(), 0.0):
            found[size] = signs.astype(np.float32)
    return found


def without_offset(samples: Float32Array, rate: int) -> Float32Array:
    """Return samples without the constant that cheap converters add to all of them: less their mean.

    Digital silence, a tenth of a second or more of nothing but zeros, was never converted: it is neither counted
    nor changed. Otherwise a piece that ends in silence would end in a constant.

    Parameters
    ----------
    samples : float32 array, shape (n,)
        Finite.
    rate : int
        Hz.

    Examples
    --------
    >>> without_offset(np.array([0.25, 0.5, 0.25, 0.0], np.float32), 8_000).tolist()
    [0.0, 0.25, 0.0, -0.25]
    """
    heard = _heard(samples, max(int(_SILENCE_SECONDS * rate), 2))
    offset = np.float32(np.mean(samples, dtype=np.float64, where=heard))
    return np.subtract(samples, offset, out=samples.copy(), where=heard)


def _heard(samples: Float32Array, length: int) -> Any:
    """Return which samples are outside of silences of this length; True if there is no such silence."""
    loud = np.abs(samples) > _SILENT
    blocks = loud[: loud.size // (length // 2) * (length // 2)].reshape(-1, length // 2)
    if blocks.any(axis=1).all() or not loud.any():
        return True
    heard = np.ones(samples.size, dtype=np.bool_)
    edges = np.concatenate([[-1], np.flatnonzero(loud), [samples.size]])
    for gap in np.flatnonzero(np.diff(edges) > length):
        heard[edges[gap] + 1 : edges[gap + 1]] = False
    return heard
