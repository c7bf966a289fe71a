"""Excerpts of a track: a few seconds each, described so that two that sound alike can be found.

An excerpt is told by what sets it apart from the catalogue, twice: by its sound, the first components of the PCA
of the space ``spectrogram`` (how loud each band is and how it moves, less the catalogue's mean), and by its
harmony, the pitch classes that stand out. Both are brought to unit length and weighted, so that the cosine of two
excerpts is the weighted mean of two cosines. What is stored is one byte a number: sums of products of these are
exact, and so which pair matches best depends on no machine's rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from specrec.arrays import Float32Array, Float64Array, Int64Array
from specrec.audio.config import AudioConfig
from specrec.embedding import spectrogram as spectrogram_space

Codes = npt.NDArray[np.int8]

_COMPONENTS = 20
_PITCH_CLASSES = 12
#: Numbers that describe an excerpt.
NUMBERS = _COMPONENTS + _PITCH_CLASSES

#: Share of the harmony in the cosine of two excerpts; the rest is the sound's.
_HARMONY = 1 / 3

#: A quarter of the loudness of the track's loudest excerpt: an intro, a fade or a rest, and nobody is sent to it.
_QUIET_DB = -20.0

#: Hz in which a mel band is about a semitone wide or less, and partials still tell the pitch.
_PITCHED = (400.0, 4_000.0)

#: Components that hold less of the variance than this are noise, and are not raised any further.
_LEAST_EXPLAINED = 1e-3

_CODE = 127.0


def starts(n_frames: int, frame_rate: float, seconds: float) -> Int64Array:
    """Return the first frame of each excerpt: one every half excerpt, as many as the clip holds whole.

    The k-th begins ``k * seconds / 2`` into the clip, to the nearest frame. A clip that is shorter than an excerpt
    is itself the only one.

    Parameters
    ----------
    n_frames : int
        Of the clip.
    frame_rate : float
        Frames a second.
    seconds : float
        Length of an excerpt.

    Examples
    --------
    >>> starts(n_frames=1292, frame_rate=43.07, seconds=5.0)
    array([  0, 108, 215, 323, 431, 538, 646, 754, 861, 969])
    """
    hop = seconds / 2
    count = max(0, int((n_frames / frame_rate - seconds) / hop)) + 1
    first = np.rint(np.arange(count) * hop * frame_rate).astype(np.int64)
    clipped: Int64Array = np.minimum(first, n_frames - _frames(n_frames, frame_rate, seconds))
    return clipped


def pitch_classes(config: AudioConfig, sample_rate: int) -> Float32Array:
    """Return the share of each mel band in each pitch class, C first, float32, shape (12, n_mels)."""
    centres = spectrogram_space.band_centres(config, sample_rate)
    pitch = 69 + 12 * np.log2(np.maximum(centres, 1.0) / 440)
    distance = np.abs((pitch - np.arange(_PITCH_CLASSES)[:, None] + 6) % _PITCH_CLASSES - 6)
    pitched = (centres > _PITCHED[0]) & (centres < _PITCHED[1])
    shares: Float32Array = (np.maximum(1 - distance, 0) * pitched).astype(np.float32)
    return shares


def encode(
    mel_db: Float32Array,
    frame_rate: float,
    seconds: float,
    pca: dict[str, Float64Array],
    classes: Float32Array,
) -> bytes:
    """Describe the excerpts of a clip.

    Parameters
    ----------
    mel_db : float32, shape (n_mels, n_frames)
        In dB against the maximum.
    frame_rate : float
        Frames a second.
    seconds : float
        Length of an excerpt.
    pca : dict of str to float array
        Of :func:`~specrec.embedding.spectrogram.fit_pca`.
    classes : float32 array
        Of :func:`pitch_classes`.

    Returns
    -------
    bytes
        int8, :data:`NUMBERS` an excerpt, excerpt after excerpt; all are 0 where one is 20 dB or more below the
        loudest.
    """
    first = starts(mel_db.shape[1], frame_rate, seconds)
    length = _frames(mel_db.shape[1], frame_rate, seconds)
    described = np.zeros((len(first), NUMBERS))
    sound = _sound(_cut(mel_db, first, length), pca)
    described[:, : sound.shape[1]] = sound * np.sqrt(1 - _HARMONY)
    described[:, _COMPONENTS:] = _harmony(mel_db, classes, first, length) * np.sqrt(_HARMONY)
    power = np.exp(mel_db * np.float32(np.log(10) / 10)).mean(axis=0, keepdims=True)
    power = _cut(power, first, length).mean(axis=(1, 2))
    described[power <= power.max() * 10 ** (_QUIET_DB / 10)] = 0
    return np.rint(described * _CODE).astype(np.int8).tobytes()


def decode(excerpts: Sequence[bytes]) -> Codes:
    """Return the excerpts of tracks, int8, shape (tracks, most excerpts, NUMBERS); what a track lacks is 0.

    Parameters
    ----------
    excerpts : sequence of bytes
        Of :func:`encode`, of each track.
    """
    counts = np.fromiter(map(len, excerpts), np.int64, len(excerpts)) // NUMBERS
    codes = np.zeros((len(excerpts), max(counts, default=0), NUMBERS), np.int8)
    held = np.arange(codes.shape[1]) < counts[:, None]
    codes[held] = np.frombuffer(b"".join(excerpts), np.int8).reshape(-1, NUMBERS)
    return codes


def _frames(n_frames: int, frame_rate: float, seconds: float) -> int:
    return min(n_frames, round(seconds * frame_rate))


def _cut(values: Float32Array, first: Int64Array, length: int) -> Float32Array:
    """Return the excerpts of values over time, shape (excerpts, rows, length)."""
    return np.stack([values[:, start : start + length] for start in first])


def _sound(mels: Float32Array, pca: dict[str, Float64Array]) -> Float64Array:
    """Return the components, each divided by the fourth root of its variance, at unit length.

    As they are, the first few would decide, which tell tracks apart more than moments of a track; made equal, noise
    would: half-way between the two matches best.
    """
    rows = spectrogram_space.describe(mels).reshape(len(mels), -1)
    weights = np.maximum(pca["explained"][:_COMPONENTS], _LEAST_EXPLAINED) ** -0.25
    return _unit((rows - pca["mean"]) / pca["scale"] @ pca["components"][:_COMPONENTS].T * weights)


def _harmony(
    mel_db: Float32Array,
    classes: Float32Array,
    first: Int64Array,
    length: int,
) -> Float64Array:
    """Return how far each pitch class stands out above the bands near by, against the others, at unit length."""
    heard = np.maximum(mel_db, np.float32(spectrogram_space.FLOOR_DB))
    nearby = spectrogram_space.nearby(len(heard)).astype(np.float32) @ heard
    chroma = classes @ np.maximum(heard - nearby, 0)
    mean = _cut(chroma, first, length).mean(axis=2, dtype=np.float64)
    return _unit(mean - mean.mean(axis=1, keepdims=True))


def _unit(rows: Float64Array) -> Float64Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float64Array = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-9)
    return unit
