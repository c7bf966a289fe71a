"""Inputs that are the same on every machine and made by nothing in specrec: songs, tracks and vectors.

Random numbers are the raw bits of PCG64, which numpy promises not to change.
"""

from __future__ import annotations

import functools
import io
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from specrec.arrays import Float64Array

RATE, HOP = 22_050, 512
TRACKS = 24
_BANDS = 128

#: Measures whose size matters to who speaks of them: from, to.
_RANGES = {
    "tempo": (55.0, 185.0),
    "key_strength": (0.3, 0.95),
    "onset_strength_mean": (0.5, 3.0),
    "spectral_centroid_mean": (600.0, 5_000.0),
    "spectral_bandwidth_mean": (700.0, 4_000.0),
    "rms_mean": (0.01, 0.3),
    "rms_std": (0.003, 0.1),
    "spectral_flatness_mean": (0.0005, 0.2),
    "spectral_contrast_mean": (12.0, 30.0),
    "mfcc_std": (3.0, 20.0),
}


def random_bits(seed: int, count: int) -> npt.NDArray[np.uint8]:
    """Return 0 or 1, shape (count,)."""
    raw = np.random.PCG64(1_000_000 + seed).random_raw(count)
    return (raw >> np.uint64(40) & np.uint64(1)).astype(np.uint8)


def uniform(name: str, *shape: int) -> Float64Array:
    """Return numbers from 0 to 1 that depend on a name."""
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)) / 2.0**53).reshape(shape)


def bell(name: str, *shape: int) -> Float64Array:
    """Return numbers of mean 0 and deviation 1: sums of uniform ones."""
    return (uniform(name, 6, *shape).sum(axis=0) - 3) * np.sqrt(2)


# --- songs --------------------------------------------------------------------------------------------------


@functools.cache
def songs() -> dict[str, bytes]:
    """Return files of audio: two channels, one, and one that is quiet and begins with silence."""
    return {
        "beat.wav": _file(np.stack([_beat(44_100), 0.6 * _beat(44_100)[::-1]], axis=1), 44_100, "WAV", "PCM_16"),
        "noise.flac": _file(_bursts(RATE), RATE, "FLAC", "PCM_16"),
        "melody.wav": _file(_melody(48_000), 48_000, "WAV", "PCM_24"),
    }


def _beat(rate: int) -> Float64Array:
    """Return a chord of A minor, struck twice a second."""
    time = np.arange(3 * rate) / rate
    tones = sum(
        np.sin(2 * np.pi * root * k * time) / k**1.5 for root in (220.0, 261.63, 329.63) for k in range(1, 8)
    )
    return 0.12 * tones * np.exp(-4 * (time % 0.5)) + 0.004 * bell("beat", len(time))


def _bursts(rate: int) -> Float64Array:
    """Return bursts of noise, every 0.4 s, over a deep tone."""
    time = np.arange(int(3.2 * rate)) / rate
    return 0.2 * bell("bursts", len(time)) * np.exp(-25 * (time % 0.4)) + 0.1 * np.sin(2 * np.pi * 82.41 * time)


def _melody(rate: int) -> Float64Array:
    """Return a major scale, after half a second of near silence."""
    time = np.arange(int(3.5 * rate)) / rate
    steps = np.array([0, 2, 4, 5, 7, 9, 11, 12, 7, 4])[np.minimum(time / 0.35, 9).astype(int)]
    hertz = 261.63 * 2 ** (steps / 12) * (1 + 0.004 * np.sin(2 * np.pi * 5.5 * time))
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    return (time > 0.5) * 0.05 * (np.sin(phase) + 0.3 * np.sin(3 * phase)) + 0.0005 * bell("melody", len(time))


def _file(samples: Float64Array, rate: int, kind: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -0.99, 0.99), rate, format=kind, subtype=subtype)
    return buffer.getvalue()


# --- tracks -------------------------------------------------------------------------------------------------


def track_ids() -> list[str]:
    """Return the ids of the tracks."""
    return [f"t{number:02}" for number in range(TRACKS)]


def features(sizes: dict[str, int]) -> dict[str, list[Any]]:
    """Return columns of features of the tracks; those of a column depend on its name alone.

    Parameters
    ----------
    sizes : dict
        How many values each column has.
    """
    found: dict[str, list[Any]] = {}
    for name, size in sizes.items():
        low, high = _RANGES.get(name, (1.0, 2.0))
        values = (low + (high - low) * uniform(name, TRACKS, size)).astype(np.float32)
        found[name] = list(values) if size > 1 else values[:, 0].tolist()
    whole = {"key": 12, "mode": 2}
    return found | {name: np.floor(of * uniform(name, TRACKS)).tolist() for name, of in whole.items()}


def mel(number: int | str, frames: int = 96, bands: int = _BANDS) -> npt.NDArray[np.float32]:
    """Return a mel spectrogram in dB, float32, shape (bands, frames): a slope, a pulse, what moves, and noise."""
    name = f"mel {number}"
    slope, pulse, tilt = uniform(name, 3)
    band, frame = np.arange(bands)[:, None], np.arange(frames)[None, :]
    shape = -12 - (20 + 30 * slope) * band / bands + 8 * np.sin(band / (2 + 6 * tilt))
    beat = (2 + 3 * tilt) * np.sin(2 * np.pi * frame / (7 + 25 * pulse)) * (0.3 + band / bands)
    steps = bell(f"{name} steps", -(-bands // 8), frames + 4)
    moving = np.repeat(sum(steps[:, k : k + frames] for k in range(5)), 8, axis=0)[:bands]
    db = shape + beat + moving + 1.5 * bell(f"{name} noise", bands, frames)
    return np.clip(db - db.max(), -80, 0).astype(np.float32)


def attribute(name: str) -> Float64Array:
    """Return an attribute of the tracks from the catalogue, 0 to 1, with gaps (NaN)."""
    known, values = uniform(name, 2, TRACKS)
    return np.where(known < 0.2, np.nan, values)


def groups_of_vectors(count: int, groups: int, dimensions: int, spread: float) -> npt.NDArray[np.float32]:
    """Return vectors in groups that lie apart, on an ellipse, one after the other, float32."""
    angle = 2 * np.pi * np.arange(groups) / groups
    vectors = spread * bell(f"around {count} {dimensions}", count, dimensions)
    vectors[:, :2] += np.stack([1.6 * np.cos(angle), np.sin(angle)], axis=1)[np.arange(count) % groups]
    return vectors.astype(np.float32)
