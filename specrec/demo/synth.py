"""A small synthesiser: the oscillators, strings, drums and room that the demo's styles are written with.

Everything is mono at :data:`RATE`, about unit amplitude; times are seconds, pitches Hz. Waves are computed in
``float32``, several times quicker than ``float64`` and far below what a 16-bit file can hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, signal

RATE = 44_100  # Hz
Signal = NDArray[np.float32]


def samples(seconds: float) -> int:
    """Count the samples in ``seconds``."""
    return round(seconds * RATE)


def wave(x: ArrayLike) -> Signal:
    """Bring what was computed back to ``float32``; shape as ``x``."""
    return np.asarray(x, dtype=np.float32)


def clock(n: int) -> Signal:
    """Time of each of ``n`` samples, in seconds."""
    return wave(np.arange(n) / RATE)


def _slots(step: float, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split ``n`` samples into slots of ``step`` seconds: where each starts and its length, in samples."""
    starts = np.arange(0, n, step * RATE).round().astype(np.int64)
    return starts, np.diff(starts, append=n)


def steps(values: ArrayLike, step: float, n: int) -> Signal:
    """Hold each value for ``step`` seconds, cycling through them.

    Parameters
    ----------
    values : array_like, shape (k,)
    step : float
        Seconds.
    n : int
        Samples.

    Returns
    -------
    ndarray, shape (n,)
    """
    starts, lengths = _slots(step, n)
    return np.repeat(np.resize(wave(values), len(starts)), lengths)


def gate(levels: ArrayLike, step: float, n: int, decay: float, attack: float = 0.003) -> Signal:
    """Envelope that is struck to the next of ``levels`` every ``step`` seconds and decays from there.

    Parameters
    ----------
    levels : array_like, shape (k,)
        Cycled through; 0 is a rest.
    step, decay, attack : float
        Seconds; ``decay`` is the time constant.
    n : int
        Samples.

    Returns
    -------
    ndarray, shape (n,)
    """
    starts, lengths = _slots(step, n)
    since = clock(n) - wave(np.repeat(starts / RATE, lengths))
    return wave(steps(levels, step, n) * np.minimum(1.0, since / attack) * np.exp(-since / decay))


def adsr(n: int, attack: float, decay: float, sustain: float, release: float) -> Signal:
    """Attack–decay–sustain–release envelope of ``n`` samples; times in seconds, the level in 0…1.

    Examples
    --------
    >>> adsr(samples(1.0), attack=0.1, decay=0.2, sustain=0.5, release=0.3)[[0, 2205, 11_025]]
    array([0.   , 0.5  , 0.625], dtype=float32)
    """
    end = n / RATE
    corners = np.array([0.0, attack, attack + decay, max(end - release, attack + decay), end])
    # A note shorter than its corners keeps its shape, quicker.
    corners *= end / corners.max()
    return wave(np.interp(clock(n), corners, [0.0, 1.0, sustain, sustain, 0.0]))


def _phase(frequency: float | Signal, n: int) -> Signal:
    """Phase (n,) in radians, 0…2π; turns add up in ``float64``, as a rounded sum would drift out of tune."""
    turns = np.cumsum(np.broadcast_to(frequency, n), dtype=np.float64) / RATE
    return wave(2 * np.pi * (turns - np.floor(turns)))


def saw(frequency: float | Signal, n: int, cutoff: float) -> Signal:
    """Sawtooth whose harmonics fall off by e every ``cutoff`` Hz: Σ rᵏ sin(kθ)/k in closed form.

    Parameters
    ----------
    frequency : float or ndarray, shape (n,)
        Hz.
    n : int
        Samples.
    cutoff : float
        Hz; up to about 5 kHz what folds back at half the sample rate is inaudible.

    Returns
    -------
    ndarray, shape (n,)
    """
    theta, r = _phase(frequency, n), np.exp(-wave(frequency) / np.float32(cutoff))
    return wave(np.arctan(r * np.sin(theta) / (1 - r * np.cos(theta))) * (2 / np.pi))


def square(frequency: float | Signal, n: int, cutoff: float) -> Signal:
    """Square wave: the odd harmonics of :func:`saw`; same parameters and shape."""
    theta, r = _phase(frequency, n), np.exp(-wave(frequency) / np.float32(cutoff))
    return wave(np.arctan(2 * r * np.sin(theta) / (1 - r**2)) * (2 / np.pi))


def struck_string(frequency: float, n: int, ring: float, brightness: float) -> Signal:
    """Piano-like string: Σ rᵏ sin(kθ) in closed form; r decays, so the high harmonics die first.

    Parameters
    ----------
    frequency, ring : float
        Hz; time constant of the fundamental in seconds.
    n : int
        Samples.
    brightness : float
        Amplitude ratio of neighbouring harmonics, 0…1.

    Returns
    -------
    ndarray, shape (n,)
    """
    t = clock(n)
    theta, r = _phase(frequency, n), brightness * np.exp(-t / ring)
    sound = r * np.sin(theta) / (1 - 2 * r * np.cos(theta) + r**2)
    return wave(sound * np.minimum(1.0, t / 0.003) * (1 - brightness))


def karplus_strong(frequency: float, n: int, ring: float, rng: np.random.Generator) -> Signal:
    """Plucked string: a burst of noise in a delay line that averages neighbours at each round.

    Solved in the frequency domain, where the delay may be a fraction of a sample and the string is in tune.

    Parameters
    ----------
    frequency, ring : float
        Hz; seconds until the string is 60 dB down.
    n : int
        Samples.
    rng : numpy.random.Generator
        Draws the pluck.

    Returns
    -------
    ndarray, shape (n,)
    """
    size = fft.next_fast_len(2 * n, real=True)
    period = RATE / frequency
    omega = 2 * np.pi * np.arange(size // 2 + 1) / size
    loss = 10 ** (-3 / (ring * frequency))
    # The average of two neighbours delays by half a sample.
    loop = loss * np.exp(-1j * omega * (period - 0.5)) * (1 + np.exp(-1j * omega)) / 2
    pluck = fft.rfft(rng.uniform(-1, 1, round(period)), size)
    return wave(fft.irfft(pluck / (1 - loop), size)[:n])


def noise(n: int, rng: np.random.Generator) -> Signal:
    """White noise, shape (n,)."""
    return rng.standard_normal(n, dtype=np.float32)


def band(x: Signal, low: float | None = None, high: float | None = None, order: int = 2) -> Signal:
    """Keep what lies between ``low`` and ``high`` Hz (either may be None); shape as ``x``."""
    for edge, kind in ((low, "highpass"), (high, "lowpass")):
        if edge is not None:
            x = wave(signal.sosfilt(signal.butter(order, edge, kind, fs=RATE, output="sos"), x))
    return x


def kick(pitch: float) -> Signal:
    """Bass drum, 0.25 s: a sine that falls to ``pitch`` Hz."""
    t = clock(samples(0.25))
    return wave(np.sin(2 * np.pi * (pitch * t + 4.0 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.08))


def snare(rng: np.random.Generator, tone: float = 190.0) -> Signal:
    """Snare drum, 0.2 s: a short tone of ``tone`` Hz under rattling noise."""
    t = clock(samples(0.2))
    rattle = band(noise(len(t), rng), low=1_200.0) * np.exp(-t / 0.05)
    return wave(0.5 * np.sin(2 * np.pi * tone * t) * np.exp(-t / 0.04) + 0.4 * rattle)


def hat(rng: np.random.Generator, ring: float) -> Signal:
    """Hi-hat or cymbal: bright noise with a time constant of ``ring`` seconds, five of them long."""
    t = clock(samples(5 * ring))
    return wave(0.3 * band(noise(len(t), rng), low=7_000.0) * np.exp(-t / ring))


def place(track: Signal, sound: Signal, at: float, gain: float = 1.0) -> None:
    """Add ``sound`` to ``track`` in place, ``at`` seconds from its start; what sticks out is dropped."""
    start = max(0, samples(at))
    room = max(0, len(track) - start)
    track[start : start + len(sound)] += gain * sound[:room]


def pattern(sound: Signal, levels: Sequence[float], step: float, n: int) -> Signal:
    """Repeat ``sound`` every ``step`` seconds at the cycled ``levels`` (0: rest); shape (n,)."""
    track = np.zeros(n, dtype=np.float32)
    for k in range(int(np.ceil(n / RATE / step))):
        if levels[k % len(levels)]:
            place(track, sound, k * step, levels[k % len(levels)])
    return track


def reverb(x: Signal, seconds: float, wet: float, rng: np.random.Generator) -> Signal:
    """Add a room: decaying, darkened noise of ``seconds`` (60 dB), ``wet`` as loud as the dry sound."""
    t = clock(samples(seconds))
    room = band(wave(noise(len(t), rng) * 10 ** (-3 * t / seconds)), high=5_000.0, order=1)
    room /= np.linalg.norm(room)
    return x + wet * wave(signal.fftconvolve(x, room)[: len(x)])


def mixdown(x: Signal, level: float, ceiling: float = 0.8) -> Signal:
    """Bring a mix to its loudness without clipping, with its ends faded.

    Parameters
    ----------
    x : ndarray, shape (n,)
    level : float
        RMS in dBFS before the limiter.
    ceiling : float
        Peaks are rounded off below it; the room above is for what lossy encoders overshoot.

    Returns
    -------
    ndarray, shape (n,), float32
    """
    x = band(x, low=25.0)
    x = x * np.float32(10 ** (level / 20) / np.sqrt(np.mean(x**2)))
    x = wave(ceiling * np.tanh(x / ceiling))
    fade = np.linspace(0, 1, samples(0.02), dtype=np.float32)
    x[: len(fade)] *= fade
    x[-len(fade) :] *= fade[::-1]
    return x
