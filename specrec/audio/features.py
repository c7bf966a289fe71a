"""Features of a clip, all from one STFT."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from specrec.arrays import Float32Array
from specrec.audio.config import AudioConfig
from specrec.audio.decode import Clip
from specrec.audio.measures import CLIP_FEATURES, FEATURES, STATISTICS
from specrec.audio.mel import log_mel
from specrec.errors import TrackError

Array = npt.NDArray[Any]

#: Fewest frames that a slope over time (``mfcc_delta``) can be taken of.
MIN_FRAMES = 9

_MAX_POWER = 1e30  # sums of larger ones overflow float32; full scale is about 1e6
_ROLLOFF_GROUP = 32  # bins
_STFT_BLOCK = 32  # frames that fit the processor's cache

_HEARD_DB = np.float32(-60.0)  # against the maximum; what is below depends on the codec more than the music
_DETAIL_BANDS, _DETAIL_NEAR = 64, 5
_MODULATION_BANDS = 16
_MODULATION_RATES = np.geomspace(0.5, 16.0, 9)  # Hz, edges
_MODULATION_WINDOW = 6.0  # seconds
_MODULATION_FLOOR = 1e-3  # dB² per Hz
_REPEATS = np.geomspace(0.2, 2.0, 32)  # seconds: 300 to 30 events a minute
_CHANGE_BLOCK, _CHANGE_LAGS = 0.372, (1, 2, 4, 8)  # seconds, blocks


@dataclass(frozen=True, slots=True)
class Features:
    """What was measured of a clip.

    Attributes
    ----------
    values : dict
        By column, in the order of :func:`specrec.audio.measures.columns`: a float, or a float32 array of shape
        (dimensions,) where a feature has more than one dimension.
    mel_db : float32 array, shape (n_mels, frames)
        Mel spectrogram in dB against its maximum.
    """

    values: dict[str, Float32Array | float]
    mel_db: Float32Array


def extract(clip: Clip, config: AudioConfig) -> Features:
    """Measure all features of a clip.

    One STFT feeds all of them. Each value equals that of librosa's public function of the same name called on
    the samples with the same parameters (``tonnetz`` on the chroma); ``tempo`` equals that of
    ``librosa.beat.beat_track``. Rhythm is taken from the configured mel spectrogram. librosa has no key: it
    is the best correlation of the mean chroma with the 24 rotated profiles of Krumhansl and Kessler (1982,
    Psychological Review 89(4)). Nor has it these, from the mel spectrogram above -60 dB and the chroma:

    - ``spectral_detail``: mean level of each of 64 bands less the mean of the five around it; what resonances and
      mastering leave once the envelope (``mfcc``) is taken away.
    - ``modulation``: spectrum of the level's movement in dB, by Welch's method (6 s windows), in 16 bands and 8
      ranges of rate, less the mean of each band's 8: in kind the fluctuation pattern of Pampalk (2006,
      Computational Models of Music Similarity, PhD thesis, TU Wien), of which the shape is kept and not the
      strength. Band after band, slowest rate first.
    - ``onset_autocorrelation``: of ``onset_strength``, at 32 lags, as for the beat histogram of Tzanetakis and Cook
      (2002, IEEE Transactions on Speech and Audio Processing 10(5)).
    - ``chroma_change``: mean cosine distance of the chroma, averaged over 0.37 s, from that 1, 2, 4 and 8 such
      blocks later: how fast the harmony moves, in whatever key.

    What a clip is too short for is 0.

    Parameters
    ----------
    clip : Clip
        What :func:`specrec.audio.decode.decode` returned.
    config : AudioConfig
        How it is analysed.

    Raises
    ------
    TrackError
        ``too_short`` if the clip has fewer than nine frames, ``low_sample_rate`` if it has no mel band,
        ``not_finite`` if its samples are so far beyond full scale that their powers overflow.

    Examples
    --------
    >>> sine = np.sin(np.arange(66_150) * 0.0627).astype(np.float32)
    >>> clip = Clip(sine, sample_rate=22_050, seconds=3.0, native_rate=22_050, decoder="none")
    >>> features = extract(clip, AudioConfig())
    >>> features.values["mfcc_mean"].shape, round(float(features.values["spectral_centroid_mean"]))
    ((20,), 233)
    """
    samples, rate, hop = clip.samples, clip.sample_rate, config.hop_length
    if config.fmin >= rate / 2:
        raise TrackError(
            "low_sample_rate", f"a sample rate of {rate} Hz holds nothing above audio.fmin={config.fmin:g} Hz"
        )
    n_frames = 1 + samples.size // hop
    if n_frames < MIN_FRAMES:
        raise TrackError(
            "too_short",
            f"the clip has {n_frames} frames of audio.hop_length={hop}, and {MIN_FRAMES} are needed",
        )
    power = _power(samples, config)
    if not power.max() < _MAX_POWER:
        raise TrackError("not_finite", "the samples are far beyond full scale: export the file again")
    magnitude = np.sqrt(power)
    mel = log_mel(power, rate, config)
    mfcc = _mfcc_basis(config.n_mfcc, config.n_mels) @ mel
    centroid, bandwidth = _centroid_and_bandwidth(magnitude, _frequencies(rate, config.n_fft))
    chroma = _chroma(power, rate, config.n_fft)
    flux = np.maximum(mel[:, 1:] - mel[:, :-1], 0)
    frames: dict[str, Array] = {
        "mfcc": mfcc,
        "mfcc_delta": _delta(mfcc),
        "spectral_contrast": _contrast(magnitude, rate),
        "spectral_centroid": centroid,
        "spectral_bandwidth": bandwidth,
        "spectral_rolloff": _rolloff(magnitude, _frequencies(rate, config.n_fft)),
        "chroma": chroma,
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "onset_strength": _onset_envelope(np.mean(flux, axis=0), config),
        "rms": _rms(samples, config),
        "spectral_flatness": _flatness(power),
        "zero_crossing_rate": _zero_crossing_rate(samples, config),
    }
    values: dict[str, Float32Array | float] = {}
    for feature in FEATURES:
        measured = frames[feature.name]
        for statistic in STATISTICS:
            summary = getattr(np, statistic)(measured, axis=-1, dtype=np.float64).astype(np.float32)
            values[f"{feature.name}_{statistic}"] = summary if summary.ndim else float(summary)
    key, mode, key_strength = _key(np.mean(chroma, axis=-1))
    heard = np.maximum(mel - mel.max(), _HEARD_DB)
    once: dict[str, Array | float] = {
        # the median over the bands, as in beat_track, is not misled by what one instrument does
        "tempo": _tempo(_onset_envelope(_median(flux), config), rate, hop),
        "key": key,
        "mode": mode,
        "key_strength": key_strength,
        "spectral_detail": _detail(heard.mean(axis=1, dtype=np.float64)),
        "modulation": _modulation(heard, rate / hop),
        "onset_autocorrelation": _autocorrelation(flux.mean(axis=0, dtype=np.float64), rate / hop),
        "chroma_change": _change(chroma, rate / hop),
    }
    for feature in CLIP_FEATURES:
        value = once[feature.name]
        values[feature.name] = float(value) if feature.dimensions == 1 else np.asarray(value, np.float32)
    return Features(values, mel - mel.max())


def _power(samples: Float32Array, config: AudioConfig) -> Float32Array:
    """Squared magnitudes of ``librosa.stft``, shape (1 + n_fft / 2, frames), frames contiguous in memory."""
    padded = np.pad(samples, config.n_fft // 2, mode=config.pad_mode)
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_length]
    window = _window(config.window, config.n_fft)
    power = np.empty((len(frames), 1 + config.n_fft // 2), np.float32)
    windowed = np.empty((_STFT_BLOCK, config.n_fft))
    for start in range(0, len(frames), _STFT_BLOCK):
        block = frames[start : start + _STFT_BLOCK]
        # float64 as in librosa: float32 would fill the spectrum's valleys with rounding noise
        spectrum = scipy.fft.rfft(np.multiply(block, window, out=windowed[: len(block)]))
        parts = spectrum.view(np.float64)  # real and imaginary, in turns
        with np.errstate(over="ignore"):  # the caller looks for infinity
            np.square(parts, out=parts)
            np.add(parts[:, ::2], parts[:, 1::2], out=power[start : start + _STFT_BLOCK], casting="same_kind")
    return power.T


def _centroid_and_bandwidth(magnitude: Float32Array, frequencies: Array) -> tuple[Array, Array]:
    # float64, because the bandwidth is a small difference of large moments
    moments = np.stack([np.ones_like(frequencies), frequencies, frequencies**2]) @ magnitude.astype(np.float64)
    total = np.where(moments[0] < np.finfo(np.float32).tiny, 1.0, moments[0])  # a silent frame's are 0
    centroid, square = moments[1] / total, moments[2] / total
    return centroid, np.sqrt(np.maximum(square - centroid**2, 0))


def _rolloff(magnitude: Float32Array, frequencies: Array) -> Array:
    """Do what ``librosa.feature.spectral_rolloff`` does: sums over groups of bins find the group, then the bin."""
    spectrum = magnitude.T
    n_frames, n_bins = spectrum.shape
    starts = np.arange(0, n_bins, _ROLLOFF_GROUP)
    cumulated = np.cumsum(np.add.reduceat(spectrum, starts, axis=1), axis=1)
    threshold = np.float32(0.85) * cumulated[:, -1:]
    group = np.count_nonzero(cumulated < threshold, axis=1)
    before = np.where(group > 0, np.take_along_axis(cumulated, np.maximum(group - 1, 0)[:, None], axis=1)[:, 0], 0)
    bins = np.minimum(starts[group][:, None] + np.arange(_ROLLOFF_GROUP), n_bins - 1)
    inside = np.cumsum(np.take_along_axis(spectrum, bins, axis=1), axis=1) + before[:, None]
    # sums in another order may end a rounding below the threshold: then it is the last of the group
    place = np.minimum(np.count_nonzero(inside < threshold, axis=1), _ROLLOFF_GROUP - 1)
    rolloff: Array = frequencies[bins[np.arange(n_frames), place]]
    return rolloff


def _flatness(power: Float32Array) -> Float32Array:
    power = np.maximum(power, np.float32(1e-10))
    mean = np.mean(power, axis=0)
    flatness: Float32Array = np.exp(np.mean(np.log(power, out=power), axis=0)) / mean
    return flatness


def _contrast(magnitude: Float32Array, rate: int) -> Array:
    """Do what ``librosa.feature.spectral_contrast`` does, sorting along contiguous memory."""
    bands = _contrast_bands(rate, len(magnitude))
    valley, peak = np.empty((2, len(bands), magnitude.shape[1]))
    for band, (start, stop, count) in enumerate(bands):
        ordered = np.sort(magnitude.T[:, start:stop], axis=1)
        valley[band] = np.mean(ordered[:, :count], axis=1)
        peak[band] = np.mean(ordered[:, -count:], axis=1)
    contrast: Array = librosa.power_to_db(peak) - librosa.power_to_db(valley)
    return contrast


@functools.lru_cache(maxsize=8)
def _contrast_bands(rate: int, n_bins: int) -> tuple[tuple[int, int, int], ...]:
    """Octave bands from 200 Hz as (first bin, bin after the last, how many make up a peak or a valley)."""
    frequencies = np.linspace(0, rate / 2, n_bins)
    lowest, octaves = 200.0, 6
    while lowest * 2 ** (octaves - 1) >= rate / 2:  # librosa refuses bands above half of a low sample rate
        lowest /= 2
    edges = [0.0, *(lowest * 2**octave for octave in range(octaves + 1))]
    bands = []
    for band, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = np.flatnonzero((frequencies >= low) & (frequencies <= high))
        # as librosa has it: neighbours overlap by a bin, the last band reaches the end
        start = int(inside[0]) - (band > 0)
        stop = n_bins if band == octaves else int(inside[-1]) + 1
        count = max(int(np.rint(0.02 * (stop - start))), 1)
        bands.append((start, stop if band == octaves else stop - 1, count))
    return tuple(bands)


def _chroma(power: Float32Array, rate: int, n_fft: int) -> Array:
    filters = _chroma_filters(rate, n_fft, _tuning(power, rate, n_fft))
    chroma: Array = librosa.util.normalize(filters @ power, norm=np.inf, axis=0)
    return chroma


def _tuning(power: Float32Array, rate: int, n_fft: int) -> float:
    """Do what ``librosa.estimate_tuning`` does, interpolating at the spectral peaks alone.

    Returns
    -------
    float
        Deviation from A = 440 Hz, in semitones, a multiple of 0.01.
    """
    frequencies = _frequencies(rate, n_fft)
    first, stop = np.searchsorted(frequencies, (150.0, min(4000.0, rate / 2)))
    spectrum = power.T
    left, here, right = (spectrum[:, first + shift : stop + shift] for shift in (-1, 0, 1))
    threshold = np.float32(0.1) * spectrum.max(axis=1, keepdims=True)
    peaks = (here > left) & (here >= right) & (here > threshold)
    if not peaks.any():
        return 0.0
    left, here, right = left[peaks], here[peaks], right[peaks]
    slope = (right - left) / 2
    curvature = (left + right).astype(np.float64) - 2 * here.astype(np.float64)
    inside = np.abs(slope) < np.abs(curvature)  # else the parabola's top is more than a bin away
    shift = np.where(inside, -slope / np.where(inside, curvature, 1), 0).astype(np.float32)
    pitch = ((first + np.nonzero(peaks)[1] + shift) * rate / n_fft).astype(np.float32)
    height = here + np.float32(0.5) * slope * shift
    return float(librosa.pitch_tuning(pitch[height >= np.median(height)]))


def _delta(mfcc: Float32Array) -> Array:
    delta: Array = librosa.feature.delta(mfcc)
    return delta


def _onset_envelope(flux: Array, config: AudioConfig) -> Array:
    """Shift a flux of shape (frames - 1,) by its lag and by half a window, as ``librosa.onset`` does."""
    shift = 1 + config.n_fft // (2 * config.hop_length)
    return np.pad(flux, (shift, 0))[: flux.size + 1]


def _median(flux: Float32Array) -> Array:
    """Median over the bands of an array of shape (bands, frames): sorting short rows beats ``np.median``."""
    ordered, middle = np.sort(flux.T, axis=1), len(flux) // 2
    return ordered[:, middle] if len(flux) % 2 else (ordered[:, middle - 1] + ordered[:, middle]) / 2


def _tempo(onset_envelope: Array, rate: int, hop: int) -> float:
    """Do what ``librosa.feature.tempo`` does, with one inverse FFT in place of one a frame.

    The tempogram's frames are divided by their maximum, which of an autocorrelation is its lag 0: the energy.
    So the mean over the frames can be taken before the inverse FFT.
    """
    if not onset_envelope.any():
        return 0.0
    length = int(librosa.time_to_frames(8.0, sr=rate, hop_length=hop))
    padded = np.pad(onset_envelope, length // 2, mode="linear_ramp", end_values=0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[: onset_envelope.size]
    frames = windows * librosa.filters.get_window("hann", length)
    energy = np.einsum("tl,tl->t", frames, frames)
    scale = np.divide(1.0, energy, out=np.zeros_like(energy), where=energy > np.finfo(np.float64).tiny)
    n_fft = scipy.fft.next_fast_len(2 * length - 1, real=True)
    spectrum = scipy.fft.rfft(frames, n=n_fft)
    mean = scale @ (np.square(spectrum.real) + np.square(spectrum.imag)) / len(frames)
    tempogram = scipy.fft.irfft(mean, n=n_fft)[:length]
    return float(librosa.feature.tempo(tg=tempogram[:, np.newaxis], sr=rate, hop_length=hop, aggregate=None).item())


def _detail(level: Array) -> Array:
    bands = _pooling(len(level), _DETAIL_BANDS) @ level
    around = np.pad(bands, _DETAIL_NEAR // 2, mode="edge")
    detail: Array = bands - np.convolve(around, np.full(_DETAIL_NEAR, 1 / _DETAIL_NEAR), "valid")
    return detail


def _modulation(heard: Float32Array, frame_rate: float) -> Array:
    bands = _pooling(len(heard), _MODULATION_BANDS).astype(np.float32) @ heard
    window = min(bands.shape[1], round(_MODULATION_WINDOW * frame_rate))
    rates, power = scipy.signal.welch(bands.astype(np.float64), frame_rate, "hann", window)
    low, high = _MODULATION_RATES[:-1, np.newaxis], _MODULATION_RATES[1:, np.newaxis]
    inside = (rates >= low) & (rates < high)
    mean = power @ inside.T / np.maximum(inside.sum(axis=1), 1)
    level = 10 * np.log10(np.maximum(mean, _MODULATION_FLOOR))
    pattern: Array = (level - level.mean(axis=1, keepdims=True)).ravel()
    return pattern


def _autocorrelation(flux: Array, frame_rate: float) -> Array:
    centred = flux - flux.mean()
    spectrum = scipy.fft.rfft(centred, scipy.fft.next_fast_len(2 * centred.size, real=True))
    repeats = scipy.fft.irfft(np.square(np.abs(spectrum)))[: centred.size]
    if repeats[0] <= np.finfo(np.float32).tiny:  # nothing ever begins
        return np.zeros(len(_REPEATS))
    at = np.interp(_REPEATS * frame_rate, np.arange(repeats.size), repeats / repeats[0], right=0.0)
    return np.asarray(at)


def _change(chroma: Array, frame_rate: float) -> Array:
    length = max(round(_CHANGE_BLOCK * frame_rate), 1)
    n_blocks = chroma.shape[1] // length
    blocks = chroma[:, : n_blocks * length].reshape(len(chroma), n_blocks, length).mean(axis=2, dtype=np.float64)
    blocks /= np.maximum(np.linalg.norm(blocks, axis=0), 1e-9)
    return np.array(
        [
            1 - (blocks[:, lag:] * blocks[:, :-lag]).sum(axis=0).mean() if n_blocks > lag else 0.0
            for lag in _CHANGE_LAGS
        ]
    )


def _frame_sums(values: Array, config: AudioConfig) -> Array:
    """Sum over each frame of padded samples, by way of sums over blocks that frames share."""
    n_fft, hop = config.n_fft, config.hop_length
    block = math.gcd(n_fft, hop)
    n_frames = 1 + (values.size - n_fft) // hop
    used = n_fft + (n_frames - 1) * hop
    blocks = values[:used].reshape(-1, block).sum(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(blocks, n_fft // block)[:: hop // block]
    sums: Array = windows.sum(axis=1)
    return sums


def _rms(samples: Float32Array, config: AudioConfig) -> Array:
    padded = np.pad(samples, config.n_fft // 2, mode=config.pad_mode)
    return np.sqrt(_frame_sums(np.square(padded), config) / config.n_fft)


def _zero_crossing_rate(samples: Float32Array, config: AudioConfig) -> Array:
    negative = np.pad(samples, config.n_fft // 2, mode="edge") < np.float32(-1e-10)
    crossings = np.zeros(negative.size, dtype=np.uint8)
    np.not_equal(negative[1:], negative[:-1], out=crossings[1:].view(bool))
    sums = _frame_sums(crossings, config).astype(np.int64)
    # the first sample of a frame has no predecessor in it
    return (sums - crossings[:: config.hop_length][: sums.size]) / config.n_fft


# Krumhansl and Kessler (1982): how well each pitch class fits C major and C minor
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@functools.lru_cache(maxsize=1)
def _key_profiles() -> Array:
    """Profiles of the 24 keys, standardised: C major to B major, then C minor to B minor."""
    profiles = np.array([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    return _standardise(profiles)


def _standardise(rows: Array) -> Array:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    standardised: Array = centred / np.where(norm > 0, norm, 1.0)
    return standardised


def _key(mean_chroma: Array) -> tuple[float, float, float]:
    correlations = _key_profiles() @ _standardise(mean_chroma.astype(np.float64))
    best = int(np.argmax(correlations))
    return float(best % 12), float(best < 12), float(correlations[best])


@functools.lru_cache(maxsize=8)
def _window(name: str, n_fft: int) -> Array:
    window: Array = librosa.filters.get_window(name, n_fft)
    return window


@functools.lru_cache(maxsize=128)  # tunings are multiples of 0.01
def _chroma_filters(rate: int, n_fft: int, tuning: float) -> Float32Array:
    filters: Float32Array = librosa.filters.chroma(sr=rate, n_fft=n_fft, tuning=tuning)
    return filters


@functools.lru_cache(maxsize=8)
def _frequencies(rate: int, n_fft: int) -> Array:
    return np.fft.rfftfreq(n_fft, 1 / rate)


@functools.lru_cache(maxsize=8)
def _pooling(n_mels: int, n_bands: int) -> Array:
    """Mean of the mel bands in each of wider bands, shape (n_bands, n_mels). Too few are repeated."""
    edges = np.arange(n_bands + 1) * n_mels // n_bands
    band, start = np.arange(n_mels), edges[:-1, np.newaxis]
    member = (band >= start) & (band < np.maximum(edges[1:, np.newaxis], start + 1))
    pooling: Array = member / member.sum(axis=1, keepdims=True)
    return pooling


@functools.lru_cache(maxsize=8)
def _mfcc_basis(n_mfcc: int, n_mels: int) -> Float32Array:
    basis: Float32Array = scipy.fft.dct(np.eye(n_mels), axis=0, norm="ortho")[:n_mfcc].astype(np.float32)
    return basis
