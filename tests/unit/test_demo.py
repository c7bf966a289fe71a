"""The demo catalogue: deterministic, sound, and as its rows say."""

import csv
import itertools
import math

import librosa
import numpy as np
import pytest
import soundfile

from specrec.demo import STYLES, names, render_catalogue, render_clip
from specrec.demo.catalogue import COLUMNS, OPTIONAL, row_of
from specrec.demo.names import name_of
from specrec.demo.styles import SCALES
from specrec.demo.synth import RATE

SECONDS = 2.0
CLIPS = 30  # up to the first WAV; the 20th row is the first without attributes


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return render_catalogue(tmp_path_factory.mktemp("demo"), CLIPS, SECONDS)


@pytest.fixture(scope="module")
def rows(catalogue):
    with catalogue.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clips():
    """Two clips a style, long enough to have a harmony."""
    return [render_clip(index, seconds=8.0) for index in range(2 * len(STYLES))]


def contents(catalogue):
    return {path.name: path.read_bytes() for path in sorted(catalogue.parent.rglob("*")) if path.is_file()}


def test_a_smaller_catalogue_is_the_beginning_of_a_larger_one_byte_for_byte(catalogue, tmp_path):
    # Seven clips hold every format, the Ogg files among them, which libsndfile numbers at random.
    few = contents(render_catalogue(tmp_path, 7, SECONDS, processes=2))
    many = contents(catalogue)
    assert many["catalogue.csv"].startswith(few.pop("catalogue.csv"))
    assert {name.rsplit(".")[-1] for name in few} >= {"flac", "ogg", "mp3"}
    assert all(many[name] == data for name, data in few.items())


def test_seeds_and_indices_give_other_clips():
    clips = [render_clip(index, 1.0, seed) for index, seed in [(0, 0), (6, 0), (0, 1)]]
    for one, other in itertools.combinations(clips, 2):
        assert one.style == other.style
        assert abs(np.corrcoef(one.samples, other.samples)[0, 1]) < 0.9


def test_every_file_decodes_to_what_its_row_says(catalogue, rows):
    assert {row["audio"].rsplit(".")[-1] for row in rows} == {"flac", "ogg", "mp3", "wav"}
    for row in rows:
        audio, rate = soundfile.read(catalogue.parent / row["audio"])
        assert rate == RATE
        assert len(audio) == pytest.approx(SECONDS * rate, abs=1)
        assert float(row["duration_ms"]) == pytest.approx(1_000 * len(audio) / rate, abs=1)
        assert np.abs(audio).max() < 1.0
        loudness = 20 * math.log10(np.sqrt(np.mean(audio**2)))
        assert loudness > -40
        if row["loudness"]:
            assert loudness == pytest.approx(float(row["loudness"]), abs=0.5)


def test_the_rows_have_the_columns_of_the_real_catalogue(rows):
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == CLIPS
    assert len({row["track_id"] for row in rows}) == CLIPS
    assert {row["track_genre"] for row in rows} == set(STYLES)
    for number, row in enumerate(rows):
        assert row["liveness"] == row["speechiness"] == ""
        style = STYLES[row["track_genre"]]
        if number % 20 == 19:
            assert all(row[column] == "" for column in OPTIONAL)
            continue
        assert style.tempo[0] <= float(row["tempo"]) <= style.tempo[1]
        assert 0 <= int(row["key"]) <= 11
        assert row["mode"] in {"0", "1"}
        assert int(row["time_signature"]) in style.meters
        assert 0 <= int(row["popularity"]) <= 100
        for column in ("danceability", "energy", "acousticness", "instrumentalness", "valence"):
            assert 0 <= float(row[column]) <= 1


def test_sixty_clips_have_sixty_titles_and_four_artists_a_style():
    rows = [row_of(index, render_clip(index, 0.1), seed=0) for index in range(60)]
    assert len({row["track_name"] for row in rows}) == 60
    artists = [{row["artists"] for row in rows[style :: len(STYLES)]} for style in range(len(STYLES))]
    assert [len(names) for names in artists] == [4] * len(STYLES)
    assert len(set.union(*artists)) == 4 * len(STYLES)
    for artist in set.union(*artists):
        assert len({row["album_name"] for row in rows if row["artists"] == artist}) == 2


@pytest.mark.parametrize("words", [names.ARTIST_NAMES, names.ALBUM_NAMES, names.TRACK_NAMES])
def test_words_pair_up_in_every_way_before_a_name_comes_again(words):
    period = math.lcm(*(len(of) for of in (words[0].split("|"), words[1].split(), words[2].split())))
    assert period > 1_500
    assert len({name_of(number, *words) for number in range(period)}) == period


def test_progress_is_told_of_every_clip(tmp_path):
    told = []
    render_catalogue(tmp_path, 3, 0.2, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_styles_are_as_loud_and_as_bright_as_they_should_be(clips):
    def typical(measure):
        return {style: np.mean([measure(clip) for clip in clips if clip.style == style]) for style in STYLES}

    def centroid(clip):
        return librosa.feature.spectral_centroid(y=clip.samples, sr=clip.sample_rate).mean()

    bright, loud = typical(centroid), typical(lambda clip: clip.loudness)
    assert min(bright["metal"], bright["chiptune"]) > 1.5 * max(bright["ambient"], bright["piano"])
    assert loud["ambient"] < loud["piano"] < loud["folk"] < loud["chiptune"] < loud["metal"]
    assert all(clip.samples.dtype == np.float32 and clip.samples.ndim == 1 for clip in clips)


def test_a_clip_is_in_the_key_that_it_states(clips):
    for clip in clips:
        tuned = librosa.feature.chroma_stft(y=clip.samples, sr=clip.sample_rate, n_fft=8192, tuning=0.0)
        chroma = tuned.mean(axis=1)
        scale = (clip.key + SCALES[clip.mode]) % 12
        triad = scale[[0, 2, 4]]
        assert chroma[triad].mean() > 1.1 * chroma.mean(), clip.style
        assert chroma[scale].mean() > 1.1 * np.delete(chroma, scale).mean(), clip.style


def test_the_beat_of_house_is_the_tempo_that_it_states():
    clip = render_clip(list(STYLES).index("house"), seconds=8.0)
    power = np.square(clip.samples[: len(clip.samples) // 441 * 441]).reshape(-1, 441).mean(axis=1)  # 10 ms
    onsets = np.maximum(0, np.diff(power))
    onsets -= onsets.mean()
    beat = 6_000 / clip.tempo  # frames

    def agreement(lag):
        return max(np.dot(onsets[:-k], onsets[k:]) for k in (math.floor(lag), math.ceil(lag)))

    assert agreement(beat) > 2 * max(agreement(beat * ratio) for ratio in (0.85, 1.15))
