"""Six styles of music: what is played, and how it sounds.

A style is a function from a :class:`Score` (what is played) to a mix (how it sounds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from specrec.demo.synth import (
    RATE,
    Signal,
    adsr,
    band,
    clock,
    gate,
    hat,
    karplus_strong,
    kick,
    noise,
    pattern,
    place,
    reverb,
    samples,
    saw,
    snare,
    square,
    steps,
    struck_string,
    wave,
)

# Semitones above the tonic, and chords as scale degrees; index 0 is minor, 1 major, as in the `mode` column.
SCALES = (np.array([0, 2, 3, 5, 7, 8, 10]), np.array([0, 2, 4, 5, 7, 9, 11]))
PROGRESSIONS = (
    ((0, 5, 3, 0), (0, 3, 0, 6), (0, 5, 2, 6), (0, 6, 5, 0)),
    ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4)),
)


@dataclass(frozen=True)
class Score:
    """What is played: the facts of a clip and the notes that follow from them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws everything that varies within the style.
    n : int
        Samples.
    tempo : float
        Beats a minute.
    meter : int
        Beats a bar.
    key : int
        Pitch class of the tonic, 0 = C … 11 = B.
    mode : int
        1 major, 0 minor.
    chord_beats : int
        Beats that a chord lasts.
    """

    rng: np.random.Generator
    n: int
    tempo: float
    meter: int
    key: int
    mode: int
    chord_beats: int
    progression: tuple[int, ...]

    @property
    def beat(self) -> float:
        """Seconds a beat."""
        return 60.0 / self.tempo

    @property
    def chord(self) -> float:
        """Seconds a chord."""
        return self.beat * self.chord_beats

    def hz(self, degree: ArrayLike, octave: int) -> Signal:
        """Frequency in Hz of scale degrees (0 = tonic) from the tonic of ``octave`` (4 has middle C) up.

        Examples
        --------
        >>> of_style = {"n": 44_100, "tempo": 120.0, "meter": 4, "chord_beats": 4, "progression": (0, 4, 5, 3)}
        >>> score = Score(np.random.default_rng(0), key=9, mode=1, **of_style)
        >>> score.hz(np.array([0, 4, 7]), octave=3)
        array([220.     , 329.62756, 440.     ], dtype=float32)
        """
        octaves, step = np.divmod(np.asarray(degree), 7)
        midi = 12 * (octave + 1 + octaves) + self.key + SCALES[self.mode][step]
        return wave(440.0 * 2.0 ** ((midi - 69) / 12))

    def at(self, seconds: float) -> int:
        """Root, as a scale degree, of the chord that sounds at a time."""
        return self.progression[int(seconds / self.chord + 1e-6) % len(self.progression)]

    def voice(self, third: int, octave: int) -> Signal:
        """Frequency (n,) of a chord tone through the clip: 0 the root, 1 the third, 2 the fifth."""
        return steps(self.hz(np.array(self.progression) + 2 * third, octave), self.chord, self.n)

    def melody(self, step: float) -> NDArray[np.int64]:
        """Scale degrees, one every ``step`` seconds: chord tones, with a neighbour here and there."""
        count = int(np.ceil(self.n / RATE / step))
        chords = np.array([self.at(k * step) for k in range(count)])
        tones = self.rng.choice([0, 2, 4, 7], count)
        neighbours = self.rng.choice([-1, 0, 0, 0, 1], count) * (np.arange(count) % 2)
        return np.asarray(chords + tones + neighbours, dtype=np.int64)

    def draw(self, low: float, high: float) -> float:
        """Uniform number from ``low`` to ``high``: a gain, a cutoff, a decay."""
        return float(self.rng.uniform(low, high))


def piano(score: Score) -> Signal:
    """Ballad for piano alone: low roots and fifths, soft chords, a sparse melody."""
    mix = wave(np.zeros(score.n))
    brightness, ring, high = score.draw(0.48, 0.64), score.draw(0.6, 1.1), int(score.rng.integers(4, 6))
    notes: list[tuple[float, float, float]] = []  # Hz, seconds, loudness
    for chord in np.arange(0, score.n / RATE, score.chord):
        root = score.at(chord)
        notes.append((float(score.hz(root, 2)), chord, 0.8))
        notes.append((float(score.hz(root + 4, 2)), chord + score.chord / 2, 0.45))
        notes += [(float(score.hz(root + third, 3)), chord + 0.02 * third, 0.4) for third in (0, 2, 4)]
    step = score.beat / 2
    for k, degree in enumerate(score.melody(step)):
        if score.rng.random() < (0.75 if k % 2 == 0 else 0.25):
            notes.append((float(score.hz(degree, high)), k * step, score.draw(0.4, 0.8)))
    for frequency, at, loudness in notes:
        length = samples(3 * ring)
        sound = struck_string(frequency, length, ring, brightness * loudness**0.2)
        sound += struck_string(frequency * 1.0007, length, ring, brightness)
        place(mix, sound * adsr(length, 0.001, 0.1, 0.9, 0.3), at + score.draw(0, 0.015), loudness)
    # Without a hiss, as of any microphone, the rests would be digital silence.
    mix += 0.001 * noise(score.n, score.rng)
    return reverb(mix, 1.8, score.draw(0.15, 0.35), score.rng)


def house(score: Score) -> Signal:
    """Four-on-the-floor: kick, claps, off-beat hats and bass, pads that duck under the kick, an arpeggio."""
    n, beat, draw = score.n, score.beat, score.draw
    cutoff = draw(1_000, 3_000)
    pump = 1 - 0.85 * gate([1.0], beat, n, decay=0.13)
    pads = sum(saw(score.voice(third, 4) * detune, n, cutoff) for third in range(3) for detune in (0.997, 1.003))
    bass = saw(score.voice(0, 2), n, draw(500, 1_200)) * gate([0.0, 1.0, 0.7, 1.0], beat / 4, n, decay=0.12)
    lead = square(steps(score.hz(score.melody(beat / 4), 5), beat / 4, n), n, 2_500.0)
    lead *= gate(score.rng.choice([0.0, 0.6, 1.0], 16), beat / 4, n, decay=0.08)
    drums = pattern(kick(draw(45, 56)), [1.0], beat, n)
    drums += draw(0.3, 0.5) * pattern(snare(score.rng, 300.0), [0.0, 1.0], beat, n)
    drums += draw(0.4, 0.9) * pattern(hat(score.rng, 0.05), [0.2, 0.1, 1.0, 0.1], beat / 4, n)
    music = draw(0.1, 0.25) * pads * pump + 0.5 * bass + draw(0.0, 0.3) * lead
    return drums + reverb(music, 1.2, 0.2, score.rng)


def ambient(score: Score) -> Signal:
    """No beat: a drone on the tonic, chords that swell and sink, air, all dark and far away."""
    n, draw = score.n, score.draw
    t = clock(n)
    swell = np.abs(np.sin(np.pi * (t % score.chord) / score.chord)) ** 0.7  # never a rounding below 0
    octave = int(score.rng.integers(3, 5))
    pads = sum(
        saw(score.voice(third, octave) * detune, n, 350.0) for third in range(3) for detune in (0.998, 1.002)
    )
    drone = saw(float(score.hz(0, 2)), n, 150.0) + 0.6 * saw(float(score.hz(4, 2)), n, 150.0)
    drone *= 1 + 0.3 * np.sin(2 * np.pi * draw(0.1, 0.3) * t)
    air = band(noise(n, score.rng), low=300.0, high=1_500.0)
    mix = draw(0.2, 0.4) * pads * swell + draw(0.2, 0.5) * drone + draw(0.01, 0.05) * air
    return reverb(band(mix, high=draw(600, 1_400)), 4.0, draw(1.0, 2.0), score.rng)


def metal(score: Score) -> Signal:
    """Palm-muted power chords through a clipping amplifier, a lead, double kick, snare and cymbals."""
    n, draw, step = score.n, score.draw, score.beat / 4
    chugs = score.rng.choice([0.0, 0.7, 1.0], 16, p=[0.15, 0.35, 0.5])
    chugs[::4] = 1.0
    strings = sum(saw(score.voice(third, octave), n, 4_000.0) for third, octave in ((0, 2), (2, 2), (0, 3)))
    guitar = np.tanh(draw(3, 12) * strings * gate(chugs, step, n, decay=draw(0.04, 0.4)))
    line = saw(steps(score.hz(score.melody(2 * step), 4), 2 * step, n), n, 3_000.0)
    lead = np.tanh(5 * line * gate([1.0, 0.7], 2 * step, n, decay=0.5))
    amplifier = band(guitar + draw(0.2, 0.6) * lead, low=draw(80, 160), high=draw(4_500, 8_000), order=4)
    drums = pattern(kick(draw(52, 65)), [1.3, 0.4, 0.8, 0.4], step, n)
    drums += draw(1.2, 1.8) * pattern(snare(score.rng, draw(160, 240)), [0.0, 1.0], score.beat, n)
    drums += draw(0.8, 2.0) * pattern(hat(score.rng, draw(0.04, 0.15)), [1.0], score.beat, n)
    return reverb(draw(0.35, 0.7) * amplifier + 0.8 * drums, 0.8, draw(0.05, 0.2), score.rng)


def folk(score: Score) -> Signal:
    """Acoustic guitar, picked: a thumb on the bass strings and an arpeggio on the others."""
    mix = wave(np.zeros(score.n))
    step, ring = score.beat / 2, score.draw(1.2, 2.4)
    fingers = score.rng.choice([2, 4, 7, 9], score.meter * 2)
    played: dict[tuple[int, int], Signal] = {}
    for k, degree in enumerate(score.melody(step)):
        at = k * step
        root = score.at(at)
        notes = [(int(fingers[k % len(fingers)]) + root, 3, score.draw(0.5, 0.9))]
        if k % score.meter == 0:
            notes.append((root, 2, 1.0))
        if k % 2 == 0 and score.rng.random() < 0.35:
            notes.append((int(degree), 4, score.draw(0.5, 0.9)))
        for note, octave, loudness in notes:
            if (note, octave) not in played:
                frequency = float(score.hz(note, octave))
                played[note, octave] = karplus_strong(frequency, samples(1.2), ring, score.rng)
            place(mix, played[note, octave], at + score.draw(0, 0.012), loudness)
    body = mix + 0.8 * band(mix, low=90.0, high=240.0)
    return reverb(band(body, low=70.0, high=score.draw(1_800, 4_000)), 1.0, score.draw(0.08, 0.2), score.rng)


def chiptune(score: Score) -> Signal:
    """Old games console: a square melody, chords as quick arpeggios, a square bass, drums of noise."""
    n, beat, draw, rng = score.n, score.beat, score.draw, score.rng
    quick = beat / int(rng.choice([6, 8]))
    tones = [score.hz(score.at(k * quick) + (0, 2, 4)[k % 3], 5) for k in range(int(np.ceil(n / RATE / quick)))]
    arpeggio = square(steps(tones, quick, n), n, 4_000.0)
    rhythm = rng.choice([0.0, 0.8, 1.0], 16, p=[0.25, 0.25, 0.5])
    line = square(steps(score.hz(score.melody(beat / 2), int(rng.integers(4, 6))), beat / 2, n), n, 5_000.0)
    bass = square(score.voice(0, 2), n, 1_500.0) * gate([1.0, 0.5], beat / 2, n, decay=0.2)
    burst = noise(samples(0.12), rng) * np.exp(-clock(samples(0.12)) / 0.03)
    drums = pattern(burst, [0.0, 1.0], beat, n) + 0.4 * pattern(burst[: samples(0.03)], [1.0, 0.5], beat / 2, n)
    drums += pattern(kick(60.0), [1.0, 0.0], beat, n)
    tune = draw(0.3, 0.5) * line * gate(rhythm, beat / 2, n, decay=0.3)
    return reverb(tune + draw(0.15, 0.3) * arpeggio + 0.35 * bass + draw(0.15, 0.35) * drums, 0.3, 0.05, rng)


@dataclass(frozen=True)
class Style:
    """How a style is played, how fast and how loud, and what a catalogue would say of it.

    Parameters
    ----------
    play : callable
        From a score to a mix of shape (n,).
    tempo : tuple of float
        Slowest and fastest, beats a minute.
    level : float
        RMS, dBFS.
    energy, acousticness, danceability, valence : float
        Typical values, 0…1.
    meters, chord_beats : tuple of int
        What is drawn from: beats a bar, beats a chord.
    """

    play: Callable[[Score], Signal]
    tempo: tuple[float, float]
    level: float
    energy: float
    acousticness: float
    danceability: float
    valence: float
    meters: tuple[int, ...] = (4,)
    chord_beats: tuple[int, ...] = (4,)


#: By name, in the order in which a catalogue goes round; the name is the `track_genre`.
STYLES: dict[str, Style] = {
    "piano": Style(piano, (62, 84), -22, 0.20, 0.95, 0.30, 0.30, chord_beats=(2, 4)),
    "house": Style(house, (120, 130), -14, 0.80, 0.05, 0.85, 0.60),
    "ambient": Style(ambient, (60, 76), -27, 0.10, 0.60, 0.12, 0.25),
    "metal": Style(metal, (150, 180), -12, 0.95, 0.02, 0.40, 0.35),
    "folk": Style(folk, (90, 110), -20, 0.35, 0.90, 0.50, 0.50, meters=(3, 4)),
    "chiptune": Style(chiptune, (130, 150), -15, 0.70, 0.04, 0.65, 0.75),
}
