"""Excerpts: cut and described as their docstrings say, and those that are matched are of the same music."""

import csv
from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode as decode_audio
from specrec.demo import synth
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding.excerpts import NUMBERS, decode, encode, pitch_classes, starts
from specrec.recommend import excerpts
from specrec.recommend.excerpts import best_pairs

MUSIC = Path(__file__).parents[3] / "shared" / "music"
AUDIO = AudioConfig()
FRAME_RATE = AUDIO.sample_rate / AUDIO.hop_length
CLASSES = pitch_classes(AUDIO, AUDIO.sample_rate)


def mel_of(samples, rate=AUDIO.sample_rate):
    power = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=AUDIO.n_fft, hop_length=AUDIO.hop_length)
    return librosa.power_to_db(power, ref=np.max).astype(np.float32)


def fit(mels, components=64):
    return spectrogram_space.fit_pca(np.stack([spectrogram_space.describe(mel) for mel in mels]), components)


def described(mel, pca, seconds=5.0):
    return encode(mel, FRAME_RATE, seconds, pca, CLASSES)


def match(a, b, pca):
    """Seconds into each clip at which the best-matching excerpts start."""
    found = best_pairs(decode([described(a, pca)]), decode([described(b, pca)]))
    return tuple(2.5 * int(index[0]) for index in found)


# --- music of passages that differ --------------------------------------------------------------------------


def chord(tonic, n, cutoff):
    return sum(synth.saw(440 * 2 ** ((tonic + third) / 12), n, cutoff) for third in (0, 4, 7)) / 3


def passages(seed, count=8, seconds=2.5):
    """Passages of 2.5 s, each of its own chord, brightness and beat."""
    rng, n = np.random.default_rng(seed), synth.samples(seconds)
    played = []
    for _ in range(count):
        sound = 0.3 * chord(rng.integers(12), n, rng.uniform(600, 4_000))
        drum = synth.hat(rng, rng.uniform(0.02, 0.1)) if rng.random() < 0.5 else synth.snare(rng)
        beat = synth.pattern(drum, [1, rng.integers(2), 0.5, rng.integers(2)], rng.uniform(0.12, 0.3), n)
        played.append(sound + rng.uniform(0.1, 0.8) * beat)
    return synth.wave(np.concatenate(played))


@pytest.fixture(scope="module")
def pieces():
    rate = AUDIO.sample_rate
    return [librosa.resample(passages(seed), orig_sr=synth.RATE, target_sr=rate) for seed in range(8)]


@pytest.fixture(scope="module")
def mels(pieces):
    return [mel_of(piece) for piece in pieces]


@pytest.fixture(scope="module")
def pca(pieces):
    """Of a catalogue of their quarters."""
    return fit([mel_of(quarter) for piece in pieces for quarter in np.array_split(piece, 4)])


@pytest.mark.parametrize("offset", [2.5, 5.0])
def test_clips_that_overlap_are_matched_where_they_are_the_same(pieces, pca, offset):
    for piece in pieces:
        length, shift = 15 * AUDIO.sample_rate, int(offset * AUDIO.sample_rate)
        of_first, of_second = match(mel_of(piece[:length]), mel_of(piece[shift : shift + length]), pca)
        assert of_first - of_second == offset


@pytest.mark.parametrize("offset", [1.9, 3.3, 4.4])
def test_an_overlap_of_no_whole_hops_is_matched_where_more_than_half_is_the_same(pieces, pca, offset):
    """Not always to half a hop: where a passage lasts no longer than a hop, what follows it may be as alike."""
    length, shift = 15 * AUDIO.sample_rate, int(offset * AUDIO.sample_rate)
    for piece in pieces:
        of_first, of_second = match(mel_of(piece[:length]), mel_of(piece[shift : shift + length]), pca)
        assert abs(of_first - of_second - offset) < 2.5


@pytest.mark.parametrize("at", [0, 5, 10])
def test_among_passages_of_one_sound_the_harmony_decides(pca, at):
    n = synth.samples(5)
    sounds = {tonic: chord(tonic, n, 2_000.0) for tonic in (0, 2, 6)}
    order = {0: (0, 2, 6), 5: (2, 0, 6), 10: (6, 2, 0)}[at]
    long = librosa.resample(
        np.concatenate([sounds[tonic] for tonic in order]), orig_sr=synth.RATE, target_sr=AUDIO.sample_rate
    )
    short = librosa.resample(sounds[0], orig_sr=synth.RATE, target_sr=AUDIO.sample_rate)
    assert match(mel_of(short), mel_of(long), pca) == (0, at)


@pytest.mark.parametrize("quiet_db", [-23, -60])
def test_a_quiet_intro_matches_nothing_not_even_itself(pieces, pca, quiet_db):
    rate = AUDIO.sample_rate
    gain = np.where(np.arange(pieces[0].size) < 10 * rate, 10 ** (quiet_db / 20), 1).astype(np.float32)
    faded = mel_of(pieces[0] * gain)
    codes = decode([described(faded, pca)])[0]
    assert not codes[:3].any()  # 0, 2.5 and 5 s; at 7.5 s the music has begun
    assert codes[3:].any(axis=1).all()
    assert match(faded, faded, pca) == (7.5, 7.5)


def test_what_is_only_softer_is_matched(pieces, pca):
    gain = np.where(np.arange(pieces[0].size) < 10 * AUDIO.sample_rate, 0.3, 1).astype(np.float32)
    assert decode([described(mel_of(pieces[0] * gain), pca)])[0].any(axis=1).all()


@pytest.mark.skipif(not MUSIC.exists(), reason="needs music of the shared data")
def test_clips_cut_from_real_music_are_matched_where_they_overlap():
    with (MUSIC / "games" / "tracks.csv").open(encoding="utf-8", newline="") as file:
        names = [row["audio"] for row in csv.DictReader(file)][::10]
    samples = [decode_audio((MUSIC / "games" / name).read_bytes(), AUDIO).samples for name in names]
    pca = fit([mel_of(one) for one in samples])
    length, shift = 20 * AUDIO.sample_rate, int(6.2 * AUDIO.sample_rate)
    cut = [(mel_of(one[:length]), mel_of(one[shift : shift + length])) for one in samples]
    found = np.array([match(a, b, pca) for a, b in cut])
    # by chance 0.09; music that repeats is matched elsewhere just as well
    assert np.mean(np.abs(found[:, 0] - found[:, 1] - 6.2) <= 1.25) > 0.7


# --- where excerpts lie -------------------------------------------------------------------------------------


def test_thirty_seconds_hold_eleven_excerpts_of_five():
    found = starts(1 + 30 * 22_050 // 512, 22_050 / 512, 5.0)
    np.testing.assert_array_equal(found, [round(k * 2.5 * 22_050 / 512) for k in range(11)])


@given(
    samples=st.integers(4_608, 3_000_000),
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    seconds=st.floats(1, 20),
)
def test_excerpts_are_as_many_as_fit_and_lie_within(samples, rate, seconds):
    frames, frame_rate = 1 + samples // 512, rate / 512
    found = starts(frames, frame_rate, seconds)
    length = min(frames, round(seconds * frame_rate))
    assert found[0] == 0
    assert found[-1] + length <= frames
    np.testing.assert_allclose(found / frame_rate, np.arange(len(found)) * seconds / 2, atol=1.01 / frame_rate)
    end = (len(found) - 1) * seconds / 2 + max(seconds, 0)
    assert len(found) == 1 or end <= samples / rate + 1 / frame_rate
    assert end + seconds / 2 > samples / rate - 1e-9  # one more would not have fitted


# --- what describes them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("components", [64, 3])
def test_a_code_is_what_its_docstring_says(mels, pca, components):
    pca = pca | {name: pca[name][:components] for name in ("components", "explained")}
    mel, length = mels[1], round(5 * FRAME_RATE)
    codes = np.frombuffer(described(mel, pca), np.int8).reshape(-1, NUMBERS)
    centres = librosa.mel_frequencies(130, fmin=0, fmax=11_025)[1:-1]
    kept = min(20, components)
    scale = np.maximum(pca["explained"], 1e-3) ** 0.25
    for k, code in enumerate(codes):
        cut = mel[:, round(k * 2.5 * FRAME_RATE) :][:, :length]
        centred = (spectrogram_space.describe(cut).ravel() - pca["mean"]) / pca["scale"]
        sound = np.array([pca["components"][c] @ centred / scale[c] for c in range(kept)])
        harmony = np.zeros(12)
        heard = np.maximum(cut, -60)
        for band, hz in enumerate(centres):
            if not 400 < hz < 4_000:
                continue
            near = [heard[min(max(band + step, 0), 127)] for step in range(-4, 5)]
            above = np.maximum(heard[band] - np.mean(near, axis=0), 0).mean()
            pitch = (12 * np.log2(hz / 440) + 9) % 12  # C is 0
            below = int(pitch)
            harmony[below] += above * (1 - (pitch - below))
            harmony[(below + 1) % 12] += above * (pitch - below)
        harmony -= harmony.mean()
        expected = np.concatenate(
            [
                sound / np.linalg.norm(sound) * np.sqrt(2 / 3),
                np.zeros(20 - kept),
                harmony / np.linalg.norm(harmony) * np.sqrt(1 / 3),
            ]
        )
        assert np.abs(code - 127 * expected).max() < 0.51
    assert len(codes) == 7


def test_each_note_falls_into_its_pitch_class():
    for octave in (4, 5):
        for note in range(12):
            t = np.arange(AUDIO.sample_rate) / AUDIO.sample_rate
            tone = np.sin(2 * np.pi * librosa.midi_to_hz(12 * octave + 21 + note) * t).astype(np.float32)
            assert (CLASSES @ librosa.db_to_power(mel_of(tone)).mean(axis=1)).argmax() == (9 + note) % 12


def test_a_catalogue_of_one_track_and_a_clip_that_is_shorter_than_an_excerpt(mels):
    pca = fit(mels[:1])
    assert len(described(mels[0][:, :100], pca)) == NUMBERS
    codes = decode([described(mels[0], pca), described(mels[0][:, :100], pca)])
    assert codes.shape == (2, 7, NUMBERS)
    assert not codes[1, 1:].any()
    assert [int(index[0]) for index in best_pairs(codes[1:], codes[1:])] == [0, 0]


def test_bands_that_hold_no_pitch_give_no_harmony():
    config = AudioConfig(fmin=5_000, n_mels=40)
    assert not pitch_classes(config, 22_050).any()
    mel = np.random.default_rng(0).uniform(-60, 0, (40, 400)).astype(np.float32)
    codes = decode([encode(mel, FRAME_RATE, 5.0, fit([mel, mel[::-1]]), pitch_classes(config, 22_050))])
    assert not codes[..., 20:].any()
    assert codes.any()


def test_excerpts_of_unlike_numbers_are_padded_with_zeros():
    tracks = [np.full((count, NUMBERS), count, np.int8) for count in (3, 1, 2)]
    codes = decode([track.tobytes() for track in tracks])
    assert (codes.dtype, codes.shape) == (np.int8, (3, 3, NUMBERS))
    for track, code in zip(tracks, codes, strict=True):
        np.testing.assert_array_equal(code[: len(track)], track)
        assert not code[len(track) :].any()


# --- the best pair ------------------------------------------------------------------------------------------


def slow_best(a, b):
    """The earliest pair of greatest cosine, in exact arithmetic."""
    best, found = Fraction(-2), (0, 0)
    for i, x in enumerate(a.astype(int).tolist()):
        for j, y in enumerate(b.astype(int).tolist()):
            product = sum(p * q for p, q in zip(x, y, strict=True))
            squares = sum(p * p for p in x) * sum(q * q for q in y)
            likeness = Fraction(product * abs(product), squares) if squares else Fraction(-1)
            if likeness > best:
                best, found = likeness, (i, j)
    return found


few = st.integers(-3, 3)  # so that many pairs are equal


@settings(max_examples=60)
@given(data=st.data(), pairs=st.integers(1, 6), shape=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_the_best_pair_is_the_earliest_by_exact_arithmetic(data, pairs, shape):
    a = data.draw(arrays(np.int8, (pairs, shape[0], 3), elements=few))
    b = data.draw(arrays(np.int8, (pairs, shape[1], 3), elements=few))
    expected = [slow_best(x, y) for x, y in zip(a, b, strict=True)]
    assert list(zip(*map(list, best_pairs(a, b)), strict=True)) == expected


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.integers(-60, 60, (50, 5, NUMBERS), np.int8)
    b = rng.integers(-60, 60, (50, 7, NUMBERS), np.int8)
    at_once = best_pairs(a, b)
    monkeypatch.setattr(excerpts, "_BLOCK", 100)
    np.testing.assert_array_equal(best_pairs(a, b), at_once)
    assert [slow_best(x, y) for x, y in zip(a, b, strict=True)] == list(zip(*at_once, strict=True))


@pytest.mark.parametrize(("block", "rows"), [(100, 2), (105, 3), (34, 1), (1, 1)])
def test_no_more_cosines_are_in_memory_than_allowed(monkeypatch, block, rows):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-60, 60, (8, count, NUMBERS), np.int8) for count in (5, 7))
    at_once, sizes = best_pairs(a, b), []

    def likeness(a, b, of=excerpts._likeness):
        sizes.append(len(a))
        return of(a, b)

    monkeypatch.setattr(excerpts, "_BLOCK", block)
    monkeypatch.setattr(excerpts, "_likeness", likeness)
    np.testing.assert_array_equal(best_pairs(a, b), at_once)
    assert sizes == [min(rows, 8 - start) for start in range(0, 8, rows)]


def test_likeness_is_the_squared_cosine_with_its_sign():
    a, b = np.array([[[3, 4], [0, 0], [-1, 0]]], np.int8), np.array([[[1, 0], [-4, 3]]], np.int8)
    expected = [[0.36, 0.0], [-1, -1], [-1, 0.64]]
    np.testing.assert_allclose(excerpts._likeness(a, b), [expected], rtol=1e-12)


def test_a_track_matches_its_copy_at_its_first_excerpt(mels, pca):
    for mel in mels:
        assert match(mel, mel, pca) == (0, 0)


def test_no_pairs_are_no_pairs():
    none = np.zeros((0, 4, NUMBERS), np.int8)
    assert [len(index) for index in best_pairs(none, none)] == [0, 0]
