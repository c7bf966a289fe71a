"""Mel spectrograms in decibels, and the bytes that they are stored as."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import librosa
import numpy as np
import numpy.typing as npt

from specrec.arrays import Float32Array, Float64Array
from specrec.audio.config import AudioConfig

if TYPE_CHECKING:
    import pandas as pd


TOP_DB = 80.0  # what is this far below the loudest point is not told apart
_BANDS = 16  # multiplied at once: their filters share few zeros
_AMIN = 1e-10  # power that counts as none
#: dB of one stored code: rounding errs by half of it, and 80 dB take 206 of the 256 codes.
STEP_DB = 0.39


def log_mel(power: Float32Array, sample_rate: int, config: AudioConfig) -> Float32Array:
    """Mel spectrogram in dB of unit power.

    Equal to ``librosa.power_to_db(librosa.feature.melspectrogram(S=power, …))``.

    Parameters
    ----------
    power : float32 array, shape (1 + n_fft / 2, frames)
        Squared magnitudes of the STFT.
    sample_rate : int
        Hz.
    config : AudioConfig
        Its n_fft, n_mels, fmin and fmax are used.

    Returns
    -------
    float32 array, shape (n_mels, frames)
        At most 80 dB below its maximum.
    """
    fmax = min(config.fmax or np.inf, sample_rate / 2)  # the rate may be the file's own
    mel = np.empty((config.n_mels, power.shape[1]), np.float32)
    for bands, bins, filters in _mel_filters(sample_rate, config.n_fft, config.n_mels, config.fmin, fmax):
        np.matmul(filters, power[bins], out=mel[bands])
    np.maximum(mel, np.float32(_AMIN), out=mel)
    np.log10(mel, out=mel)
    mel *= np.float32(10)
    np.maximum(mel, mel.max() - np.float32(TOP_DB), out=mel)
    return mel


def encode_mel(db: Float32Array) -> bytes:
    """Store a mel spectrogram: one byte a value, the difference from its neighbours in time and frequency.

    The bytes are meant to be compressed by what holds them (Parquet's zstd, to about 100 KB a 30 s clip), so
    that readers need numpy alone.

    Parameters
    ----------
    db : float32 array, shape (n_mels, frames)
        From -80 to 0 dB.

    Returns
    -------
    bytes
        n_mels * frames of them, band by band.

    Examples
    --------
    >>> db = np.array([[0.0, -10.0, -20.0], [-40.0, -60.0, -80.0]], np.float32)
    >>> data = encode_mel(db)
    >>> len(data)
    6
    >>> decode_mel(data, 2, 3).round(1)
    array([[ -0. , -10.1, -19.9],
           [-40.2, -60.1, -80. ]], dtype=float32)
    """
    codes = np.clip(np.rint(db / np.float32(-STEP_DB)), 0, 255).astype(np.uint8)
    zero = np.uint8(0)
    data: bytes = np.diff(np.diff(codes, axis=0, prepend=zero), axis=1, prepend=zero).tobytes()
    return data


def decode_mel(data: bytes, n_mels: int, n_frames: int) -> Float32Array:
    """Restore what :func:`encode_mel` stored, to 0.2 dB.

    Parameters
    ----------
    data : bytes
        Their length is n_mels * n_frames.
    n_mels, n_frames : int
        Shape of the spectrogram.

    Returns
    -------
    float32 array, shape (n_mels, n_frames)
        In dB against the maximum.

    Raises
    ------
    ValueError
        If the length does not fit the shape.

    Examples
    --------
    >>> db = np.array([[0.0, -10.0], [-20.0, -80.0]], np.float32)
    >>> restored = decode_mel(encode_mel(db), 2, 2)
    >>> bool(np.abs(restored - db).max() < 0.2)
    True
    """
    differences = np.frombuffer(data, np.uint8).reshape(n_mels, n_frames)
    # uint8 wraps around, which undoes the differences
    codes = _running_sums(_running_sums(differences.copy()).T).T
    db: Float32Array = codes * np.float32(-STEP_DB)
    return db


#: Columns of ``mel_spectrograms`` that a mel spectrogram is decoded from.
MEL_COLUMNS = ("mel", "n_mels", "n_frames")


def mels_of(rows: pd.DataFrame) -> Iterator[Float32Array]:
    """Return the mel spectrograms of rows of ``mel_spectrograms``, each float32, shape (n_mels, n_frames), dB."""
    return map(decode_mel, *(rows[name] for name in MEL_COLUMNS))


def _running_sums(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what ``np.cumsum`` does along the first axis; `values` are lost.

    Sums of 1, 2, 4, … values (Hillis and Steele 1986): more additions, but none waits for the one before, so that
    all are done many at a time: in a third of the time.
    """
    other, step = np.empty_like(values), 1
    while step < len(values):
        other[:step] = values[:step]
        np.add(values[step:], values[:-step], out=other[step:])
        values, other, step = other, values, 2 * step
    return values


def mel_frequencies(count: int, fmin: float, fmax: float) -> Float64Array:
    """Return frequencies in Hz that are evenly spaced on Slaney's mel scale, both ends among them, shape (count,).

    Equal to ``librosa.mel_frequencies``, which imports numba first: half a second for who asks for nothing else.

    Examples
    --------
    >>> mel_frequencies(3, 0.0, 2_000.0).round().tolist()
    [0.0, 836.0, 2000.0]
    """
    linear, knee, step = 200 / 3, 1000.0, np.log(6.4) / 27  # Hz a mel below the knee; above it, log Hz a mel

    def to_mel(hertz: float) -> float:
        return float(knee / linear + np.log(hertz / knee) / step if hertz >= knee else hertz / linear)

    mels = np.linspace(to_mel(fmin), to_mel(fmax), count)
    above = mels - knee / linear
    hertz: Float64Array = np.where(above < 0, mels * linear, knee * np.exp(step * np.maximum(above, 0)))
    return hertz


@functools.lru_cache(maxsize=8)
def _mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float
) -> list[tuple[slice, slice, Float32Array]]:
    """``librosa.filters.mel`` cut into groups of bands, each with the bins that it is not zero at."""
    filters: Float32Array = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    groups = []
    for start in range(0, n_mels, _BANDS):
        group = filters[start : start + _BANDS]
        bins = np.flatnonzero(group.any(axis=0))
        first, stop = (bins[0], bins[-1] + 1) if bins.size else (0, 1)
        groups.append(
            (slice(start, start + len(group)), slice(first, stop), np.ascontiguousarray(group[:, first:stop]))
        )
    return groups
