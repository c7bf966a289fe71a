"""Whether two clips are one recording, and titles cleaned: no Spark."""

import numpy as np
import pandas as pd
import pytest

from specrec.audio.config import AudioConfig
from specrec.audio.mel import decode_mel, encode_mel
from specrec.duplicates.alignment import ABOVE_REPETITION, BANDS, align, repetition, sketch
from specrec.duplicates.config import DuplicatesConfig
from specrec.duplicates.titles import clean_artists, clean_titles

FRAME_RATE = 22_050 / 512


def _music(seed: int, frames: int = 600, n_mels: int = 128) -> np.ndarray:
    """Notes that begin at random moments in random bands and die away, dB against the loudest."""
    rng = np.random.default_rng(seed)
    power = np.full((n_mels, frames), 1e-7)
    for _ in range(frames // 3):
        band, start, length = rng.integers(n_mels), rng.integers(frames), rng.integers(5, 40)
        width = np.exp(-(((np.arange(n_mels) - band) / 3.0) ** 2))[:, None]
        sound = rng.uniform(0.05, 1) * width * np.exp(-np.arange(frames - start) / length)
        power[:, start:] += sound
    db = 10 * np.log10(power / power.max())
    return np.maximum(db, -80).astype(np.float32)


def _align(a: np.ndarray, b: np.ndarray, min_overlap: float = 0.9) -> tuple[int, float]:
    sketches = [sketch(mel, FRAME_RATE)[None] for mel in (a, b)]
    frames = [np.array([mel.shape[1]]) for mel in (a, b)]
    lags, similar = align(*sketches, *frames, min_overlap)
    return int(lags[0]), float(similar[0])


def test_a_clip_is_itself():
    lag, similar = _align(_music(0), _music(0))
    assert (lag, similar) == (0, pytest.approx(1.0))


@pytest.mark.parametrize("shift", [-55, -20, 1, 40])
def test_a_shifted_quieter_noisy_coded_copy_is_found_where_it_lies(shift):
    whole = _music(1, 700)
    a = whole[:, 60:660]
    b = whole[:, 60 + shift : 660 + shift]
    noise = np.random.default_rng(0).normal(0, 1.0, b.shape)
    b = np.maximum(b - 9 + noise, -80).astype(np.float32)
    b = decode_mel(encode_mel(np.minimum(b - b.max(), 0)), *b.shape)
    lag, similar = _align(a, b)
    assert lag == shift  # the same moment comes `shift` frames later in a
    assert similar > 0.85
    back, again = _align(b, a)
    assert back == -shift
    assert again == pytest.approx(similar, abs=1e-6)


def test_different_music_is_far_below_every_copy():
    similar = [_align(_music(seed), _music(seed + 100))[1] for seed in range(20)]
    assert max(similar) < 0.5


def test_what_differs_for_a_third_is_another_recording():
    a, other = _music(2), _music(3)
    b = a.copy()
    b[:, 400:] = other[:, 400:]
    assert _align(a, b)[1] < 0.5
    b = a.copy()
    b[:, 590:] = other[:, 590:]  # an end that differs for a quarter of a second
    assert _align(a, b)[1] > 0.85


def test_a_loop_is_as_alike_as_its_own_next_round():
    bar, tune = _music(9, 150), [_music(seed, 600) - 25 for seed in (10, 11)]
    a, b = (np.maximum(np.tile(bar, 4), other) for other in tune)  # one accompaniment, two quiet tunes
    own = max(repetition(sketch(mel, FRAME_RATE), FRAME_RATE) for mel in (a, b))
    assert _align(a, b)[1] < own + ABOVE_REPETITION
    assert _align(a, a)[1] > own + ABOVE_REPETITION  # yet a copy is told from it
    assert repetition(sketch(np.tile(bar, 4), FRAME_RATE), FRAME_RATE) > 0.9
    assert repetition(sketch(_music(0), FRAME_RATE), FRAME_RATE) < 0.5
    assert repetition(sketch(bar[:, :30], FRAME_RATE), FRAME_RATE) == 0


def test_too_little_overlap_is_no_evidence():
    whole = _music(4, 900)
    a, b = whole[:, :600], whole[:, 300:]
    assert _align(a, b)[1] < 0.5
    lag, similar = _align(a, b, min_overlap=0.4)
    assert (lag, similar) == (300, pytest.approx(1, abs=0.1))
    assert _align(a, a[:, :300]) == (0, 0.0)  # an excerpt of half the length is not the track


def test_a_pair_is_judged_alike_in_any_company():
    mels = [_music(5, 600), _music(5, 600)[:, 30:], _music(6, 400), _music(7, 500)]
    sketches = [sketch(mel, FRAME_RATE) for mel in mels]
    pairs = [(i, j) for i in range(4) for j in range(4)] * 3  # more than are compared at once
    frames = np.array([mel.shape[1] for mel in mels])
    padded = np.zeros((4, BANDS, 600), np.int8)
    for row, of in enumerate(sketches):
        padded[row, :, : of.shape[1]] = of
    left, right = np.array(pairs).T
    lags, similar = align(padded[left], padded[right], frames[left], frames[right], 0.8)
    for (i, j), lag, found in zip(pairs, lags, similar, strict=True):
        assert (int(lag), float(found)) == (
            pytest.approx(_align(mels[i], mels[j], 0.8)[0]),
            pytest.approx(_align(mels[i], mels[j], 0.8)[1], abs=1e-5),
        )


def test_the_best_lag_is_that_of_a_plain_loop():
    a, b = (sketch(_music(8, 700)[:, start : start + 500], FRAME_RATE).astype(float) for start in (0, 37))
    rng = np.random.default_rng(0)
    b += rng.normal(0, 8, b.shape)
    b = np.rint(b).clip(-127, 127)
    found = {}
    for lag in range(-50, 51):
        x, y = a[:, max(lag, 0) : 500 + min(lag, 0)], b[:, max(-lag, 0) : 500 - max(lag, 0)]
        found[lag] = (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())
    frames = np.array([500])
    lags, similar = align(a[None].astype(np.int8), b[None].astype(np.int8), frames, frames, 0.9)
    assert lags[0] == max(found, key=lambda lag: found[lag]) == 37
    assert similar[0] <= found[37] + 1e-6  # the least alike third


def test_silence_and_no_pairs_are_no_error():
    flat = np.full((128, 200), -80, np.float32)
    assert _align(flat, flat)[1] == 0
    assert _align(flat[:, :1], _music(0)) == (0, 0.0)
    assert _align(_music(0, n_mels=20), _music(0, n_mels=20))[1] == pytest.approx(1)
    none = np.zeros((0, BANDS, 10), np.int8), np.zeros(0, np.int64)
    assert [len(found) for found in align(none[0], none[0], none[1], none[1], 0.9)] == [0, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hey Jude - Remastered 2015", "Hey Jude"),
        ("Hey Jude (2015 Remaster)", "HEY  JUDE"),
        ("Heroes [Digitally Remastered]", "Héroes"),
        ("Umbrella (feat. Jay-Z)", "Umbrella"),
        ("Umbrella ft. Jay-Z", "umbrella"),
        ("Umbrella (feat. Jay-Z) - Remastered Version", "Umbrella"),
        ("Don't Stop", "Don’t Stop!"),
        ("Rock & Roll", "Rock and Roll"),
        ("ＢＥＡＴ", "Beat"),
        ("강남스타일", "강남스타일 "),
        ("Song - Album Version", "Song (Explicit)"),
    ],
)
def test_editions_of_one_title_are_cleaned_alike(one, other):
    first, second = clean_titles(pd.Series([one, other]))
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hey Jude", "Hey Jude - Live"),
        ("Hey Jude", "Hey Jude (Live at Wembley)"),
        ("Hey Jude", "Hey Jude - Live / Remastered 2009"),
        ("Umbrella", "Umbrella - Acoustic"),
        ("Umbrella", "Umbrella (Remix)"),
        ("Umbrella", "Umbrella - Radio Edit"),
        ("Umbrella ft. Jay-Z", "Umbrella ft. Jay-Z - Live"),
        ("Umbrella", "Umbrella (Instrumental)"),
        ("Part 1", "Part 2"),
        ("Feature Film", "Film"),
        ("Remastered", "Again"),
    ],
)
def test_other_recordings_keep_their_titles_apart(one, other):
    first, second = clean_titles(pd.Series([one, other]))
    assert first != second


def test_what_says_nothing_is_missing():
    assert clean_titles(pd.Series(["", None, "…", "(Remastered 2011)", "  "], dtype=object)).tolist() == [None] * 5
    assert clean_artists(pd.Series([None, ";", "The"], dtype=object)).tolist() == [None, None, "the"]
    assert clean_titles(pd.Series([None, None])).tolist() == [None, None]


def test_the_first_artist_counts():
    artists = pd.Series(["The Beatles", "Beatles;Billy Preston", "BEATLES feat. Billy Preston", "Beyoncé"])
    assert clean_artists(artists).tolist() == ["beatles"] * 3 + ["beyonce"]


def test_what_was_compared_is_kept_whatever_follows_from_it():
    audio = AudioConfig().settings_hash
    usual = DuplicatesConfig().comparison_hash(audio)
    others = {"min_cosine": 0.5, "max_rank": 9, "min_similarity": 0.9, "duration_tolerance": 1.0}
    assert {*others, "min_overlap"} == set(DuplicatesConfig.model_fields)  # does a new one change a comparison?
    assert DuplicatesConfig(**others).comparison_hash(audio) == usual
    assert DuplicatesConfig(min_overlap=0.8).comparison_hash(audio) != usual
    assert DuplicatesConfig().comparison_hash(AudioConfig(n_mels=64).settings_hash) != usual
