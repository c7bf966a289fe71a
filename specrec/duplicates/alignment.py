"""Whether two clips hold the same recording: one mel spectrogram is slid along the other.

Two files of one recording move alike in every band at every moment, whatever their codec, bitrate and loudness; two
takes of a song do not. So what is compared is how each band moves about its own mean of a second, by normalised
cross-correlation over all lags at once (Lewis, *Fast Normalized Cross-Correlation*, 1995, with time as the only
axis), as fingerprints do with the signs of the same differences (Haitsma and Kalker, *A Highly Robust Audio
Fingerprinting System*, 2002).

Many pairs are compared at once, in numpy; there is no Spark here.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import uniform_filter1d

from specrec.arrays import Float32Array, Float64Array, Int64Array

Sketch = npt.NDArray[np.int8]

#: Bands of a sketch. More of them tell music apart better; fewer of them forgive more of what a codec does.
BANDS = 64
_FLOOR_DB = -50.0  # against the loudest point; what lies lower is the codec's as much as the music's
_SMOOTH_SECONDS = 0.09  # since two cuts of a recording do not begin at the same sample of a frame
_MEAN_SECONDS = 1.0
_STEP_DB = 0.25  # that one unit of a sketch stands for; its 8 bits reach to ± 32 dB
#: A pair must be more alike, by so much, than either clip is with itself some moments later.
ABOVE_REPETITION = 0.03
#: The overlap is cut into so many parts, of which the least alike counts: where another voice sings for a part of
#: the time, it is another recording.
_PARTS = 3
_REPEAT_SECONDS = 0.5  # sooner than this every sound is like itself
_PAIRS_AT_ONCE = 16


def sketch(mel_db: Float32Array, frame_rate: float) -> Sketch:
    """Reduce a mel spectrogram to how its bands move.

    Parameters
    ----------
    mel_db : float32, shape (n_mels, n_frames)
        dB against the maximum.
    frame_rate : float
        Frames a second.

    Returns
    -------
    int8, shape (BANDS, n_frames), or fewer bands where the spectrogram has fewer: quarters of a dB about the mean
    of the second around.

    Examples
    --------
    >>> mel = np.random.default_rng(0).uniform(-60, 0, (128, 430)).astype(np.float32)
    >>> sketch(mel, frame_rate=43.07).shape
    (64, 430)
    """
    heard = np.maximum(mel_db, np.float32(_FLOOR_DB))
    edges = np.linspace(0, len(heard), min(BANDS, len(heard)) + 1).astype(int)
    sizes = np.diff(edges).astype(np.float32)[:, None]
    bands = (np.add.reduceat(heard, edges[:-1], axis=0) / sizes).astype(np.float32)
    smooth, mean = (_moving_mean(bands, seconds * frame_rate) for seconds in (_SMOOTH_SECONDS, _MEAN_SECONDS))
    steps: Sketch = np.clip(np.rint((smooth - mean) / _STEP_DB), -127, 127).astype(np.int8)
    return steps


def repetition(steps: Sketch, frame_rate: float) -> float:
    """Return the greatest correlation of a sketch with itself, half a second to half its length later.

    Two excerpts of a loop are as alike as one is with its own next round: only what is more alike than this can be
    told to be one recording.

    Parameters
    ----------
    steps : int8, shape (bands, frames)
        What :func:`sketch` returned.
    frame_rate : float
        Frames a second.
    """
    frames = steps.shape[1]
    lags = np.arange(math.ceil(_REPEAT_SECONDS * frame_rate), frames // 2 + 1)
    if not lags.size:
        return 0.0
    values = steps.astype(np.float64)[None]
    size = fft.next_fast_len(frames + int(lags[-1]) + 1, real=True)
    spectrum = np.square(np.abs(fft.rfft(values, size))).sum(axis=(0, 1))
    energy = _energy(values)[0]
    earlier, later = energy[frames - lags], energy[frames] - energy[lags]
    return float(_correlation(fft.irfft(spectrum, size)[lags], earlier, later).max())


def align(
    a: npt.NDArray[np.int8],
    b: npt.NDArray[np.int8],
    frames_a: Int64Array,
    frames_b: Int64Array,
    min_overlap: float,
) -> tuple[Int64Array, Float64Array]:
    """Return where the sketches of each pair fit best, and how well.

    Parameters
    ----------
    a, b : int8, shapes (n, bands, frames)
        Sketches of both sides, padded with zeros to one length a side.
    frames_a, frames_b : int64, shape (n,)
        How many frames each really has.
    min_overlap : float
        Share of the longer one's frames that must meet the other's.

    Returns
    -------
    lags : int64, shape (n,)
        Frames by which the same moment comes later in `a` than in `b`.
    similarities : float64, shape (n,), -1 to 1
        Correlation of the two where they overlap, in the least alike third of it (thirds of equal movement, so that
        silence does not count); 0 where no lag leaves overlap enough.

    Examples
    --------
    >>> clip = np.random.default_rng(0).uniform(-40, 0, (64, 300)).astype(np.float32)
    >>> a, b = (sketch(part, frame_rate=43.0)[None] for part in (clip[:, :290], clip[:, 10:]))
    >>> frames = np.array([290])
    >>> lags, similarities = align(a, b, frames, frames, min_overlap=0.9)
    >>> int(lags[0]), bool(similarities[0] > 0.9)
    (10, True)
    """
    found = [
        _align(a[rows], b[rows], frames_a[rows], frames_b[rows], min_overlap)
        for start in range(0, len(a), _PAIRS_AT_ONCE)
        for rows in [slice(start, start + _PAIRS_AT_ONCE)]
    ]
    lags = np.concatenate([lags for lags, _ in found]) if found else np.zeros(0, np.int64)
    return lags, np.concatenate([similar for _, similar in found]) if found else np.zeros(0)


def _align(
    a: npt.NDArray[np.int8],
    b: npt.NDArray[np.int8],
    frames_a: Int64Array,
    frames_b: Int64Array,
    min_overlap: float,
) -> tuple[Int64Array, Float64Array]:
    # In float64 and rounded, sums of products of integers are exact: they do not depend on the length of the
    # longest clip in the batch.
    left, right = a.astype(np.float64), b.astype(np.float64)
    longest = max(left.shape[2], right.shape[2])
    reach = math.ceil((1 - min_overlap) * longest)  # a greater lag leaves too little overlap
    lags = np.arange(-reach, reach + 1)
    size = fft.next_fast_len(longest + reach + 1, real=True)
    spectrum = np.einsum("nbf,nbf->nf", fft.rfft(left, size), np.conj(fft.rfft(right, size)))
    products = np.rint(fft.irfft(spectrum, size))[:, lags % size]

    na, nb = frames_a[:, None], frames_b[:, None]
    start, stop = np.maximum(lags, 0), np.minimum(na, nb + lags)  # where the overlap lies in a
    enough = stop - start >= np.ceil(min_overlap * np.maximum(na, nb)).clip(min=1)
    start, stop = np.where(enough, start, 0), np.where(enough, stop, 0)
    energy_a = _between(_energy(left), start, stop)
    energy_b = _between(_energy(right), np.where(enough, start - lags, 0), np.where(enough, stop - lags, 0))
    best = np.where(enough, _correlation(products, energy_a, energy_b), -np.inf).argmax(axis=1)
    rows = np.arange(len(a))
    lag = np.where(enough.any(axis=1), lags[best], 0)
    return lag, _least_alike(left, right, lag, start[rows, best], stop[rows, best])


def _least_alike(
    left: Float64Array,
    right: Float64Array,
    lag: Int64Array,
    start: Int64Array,
    stop: Int64Array,
) -> Float64Array:
    """Return the correlation in the part of the overlap where it is least; the parts move as much as each other."""
    frames = np.arange(left.shape[2])
    inside = (frames >= start[:, None]) & (frames < stop[:, None])
    shifted = np.where(inside, frames - lag[:, None], 0)
    right = np.take_along_axis(right, shifted[:, None, :], axis=2) * inside[:, None, :]
    left = left * inside[:, None, :]
    xy, xx, yy = (
        np.einsum("nbt,nbt->nt", u, v).astype(np.float64) for u, v in ((left, right), (left, left), (right, right))
    )
    # how much of all movement, of both clips, comes before each frame: 0 to 1
    place = sum(np.cumsum(z, axis=1) / np.maximum(z.sum(axis=1, keepdims=True), 1.0) for z in (xx, yy)) / 2
    part = np.minimum((place * _PARTS * (1 - 1e-12)).astype(np.int64), _PARTS - 1)
    of_part = (part[:, None, :] == np.arange(_PARTS)[:, None]).astype(np.float64)
    sums = [np.einsum("npt,nt->np", of_part, z) for z in (xy, xx, yy)]
    least: Float64Array = _correlation(*sums).min(axis=1)
    return least


def _correlation(xy: npt.ArrayLike, xx: npt.ArrayLike, yy: npt.ArrayLike) -> Float64Array:
    length = np.sqrt(np.multiply(xx, yy, dtype=np.float64))
    return np.divide(xy, length, out=np.zeros_like(length), where=length > 0)


def _energy(sketches: Float64Array) -> Float64Array:
    """Return the sums of squares up to each frame, shape (n, frames + 1)."""
    by_frame = np.einsum("nbt,nbt->nt", sketches, sketches)
    return np.pad(np.cumsum(by_frame, axis=1, dtype=np.float64), ((0, 0), (1, 0)))


def _between(sums: Float64Array, start: Int64Array, stop: Int64Array) -> Float64Array:
    found: Float64Array = np.take_along_axis(sums, stop, axis=1) - np.take_along_axis(sums, start, axis=1)
    return found


def _moving_mean(bands: Float32Array, frames: float) -> Float32Array:
    mean: Float32Array = uniform_filter1d(bands, max(1, math.floor(frames + 0.5)), axis=1, mode="nearest")
    return mean
