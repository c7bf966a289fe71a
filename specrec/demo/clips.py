"""Clips: a style, with a tempo, a key and a mode that are drawn, and so are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrec.demo.styles import PROGRESSIONS, STYLES, Score
from specrec.demo.synth import RATE, mixdown, samples


@dataclass(frozen=True, eq=False)
class DemoClip:
    """A rendered clip and what is known of it.

    Parameters
    ----------
    samples : ndarray, shape (n,), float32
        Mono, at ``sample_rate``, within ±0.8.
    sample_rate : int
        Hz.
    style : str
        One of :data:`STYLES`.
    tempo : float
        Beats a minute.
    key : int
        Pitch class of the tonic, 0 = C … 11 = B.
    mode : int
        1 major, 0 minor.
    time_signature : int
        Beats a bar.
    loudness : float
        RMS of the samples, dBFS.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    style: str
    tempo: float
    key: int
    mode: int
    time_signature: int
    loudness: float


def render_clip(index: int, seconds: float = 10.0, seed: int = 0) -> DemoClip:
    """Render the ``index``-th clip of a catalogue, whatever that catalogue's size.

    Parameters
    ----------
    index : int
        From 0; styles go round.
    seconds : float
        Length.
    seed : int
        Another seed is another catalogue.

    Returns
    -------
    DemoClip

    Examples
    --------
    >>> clip = render_clip(3, seconds=2.0)
    >>> clip.samples.shape, clip.sample_rate, clip.samples.dtype
    ((88200,), 44100, dtype('float32'))
    """
    rng = np.random.default_rng([seed, index])
    name = list(STYLES)[index % len(STYLES)]
    style = STYLES[name]
    meter, mode = int(rng.choice(style.meters)), int(rng.integers(2))
    score = Score(
        rng=rng,
        n=samples(seconds),
        tempo=round(float(rng.uniform(*style.tempo)), 1),
        meter=meter,
        key=int(rng.integers(12)),
        mode=mode,
        chord_beats=meter if len(style.meters) > 1 else int(rng.choice(style.chord_beats)),
        progression=PROGRESSIONS[mode][rng.integers(len(PROGRESSIONS[mode]))],
    )
    mix = mixdown(style.play(score), style.level + float(rng.uniform(-1.5, 1.5)))
    loudness = 10 * np.log10(np.mean(np.square(mix, dtype=np.float64)))
    return DemoClip(mix, RATE, name, score.tempo, score.key, mode, meter, round(float(loudness), 2))
