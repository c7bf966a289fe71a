"""Precision and recall of what is told to be one recording, on the real music of ../shared: no Spark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from copies import WAYS, read
from nights import read_csv

from specrec.audio.analyse import analyse
from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode
from specrec.audio.features import _power
from specrec.audio.mel import decode_mel, encode_mel, log_mel
from specrec.duplicates.alignment import ABOVE_REPETITION, BANDS, align, repetition, sketch
from specrec.duplicates.config import DuplicatesConfig
from specrec.embedding.spectrogram import band_regions, describe, embed, fit_pca

MUSIC = Path(__file__).parents[3] / "shared" / "music"
AUDIO = AudioConfig()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not MUSIC.exists(), reason="needs music of the shared data"),
]


def _mel(data: bytes) -> np.ndarray:
    """What `analyse` gives of the mel spectrogram, without the rest, which takes two thirds of its time."""
    clip = decode(data, AUDIO)
    db = log_mel(_power(clip.samples, AUDIO), clip.sample_rate, AUDIO)
    return decode_mel(encode_mel(db - db.max()), *db.shape)


def test_mel_spectrograms_are_those_that_are_stored() -> None:
    for file in sorted(MUSIC.glob("*/*.*"))[:-1:100]:
        if file.suffix != ".csv":
            data = file.read_bytes()
            stored = analyse(data, AUDIO)
            assert np.array_equal(_mel(data), decode_mel(stored.mel, stored.n_mels, stored.n_frames))


def test_precision_and_recall_on_real_music() -> None:
    config, rate = DuplicatesConfig(), AUDIO.sample_rate / AUDIO.hop_length
    paths = {
        row["track_id"]: MUSIC / part / row["audio"]
        for part in ("emotify", "games")
        for row in read_csv(MUSIC / part / "tracks.csv")
    }
    ids = list(paths)
    copied = list(range(0, len(ids), 7))
    ways = list(WAYS.values())
    made = [ways[k % len(ways)][1](*read(paths[ids[i]])) for k, i in enumerate(copied)]
    mels = [_mel(data) for data in (*(path.read_bytes() for path in paths.values()), *made)]
    one, other = (ids.index(track_id) for track_id in ("emotify-172", "emotify-175"))
    recording = np.array([*range(len(ids)), *copied])
    recording[recording == other] = one  # published twice: a copy of either is a copy of both
    same = {tuple(pair) for pair in np.argwhere(np.triu(recording[:, None] == recording, 1)).tolist()}

    # as the search would hand them on
    descriptions = np.stack([describe(mel) for mel in mels])
    pca = fit_pca(descriptions[: len(ids)], 64)
    vectors, _ = embed(descriptions, pca, band_regions(AUDIO, AUDIO.sample_rate))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * np.eye(len(unit))
    near = np.argsort(-cosine, axis=1)[:, : config.max_rank]
    handed_on = {
        tuple(sorted((i, int(j)))) for i in range(len(unit)) for j in near[i] if cosine[i, j] >= config.min_cosine
    }
    sketches = [sketch(mel, rate) for mel in mels]
    repeats = np.array([repetition(steps, rate) for steps in sketches])
    frames = np.array([steps.shape[1] for steps in sketches])
    stacked = np.zeros((len(sketches), BANDS, frames.max()), np.int8)
    for row, steps in enumerate(sketches):
        stacked[row, :, : steps.shape[1]] = steps

    def similarities(pairs: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                align(stacked[a], stacked[b], frames[a], frames[b], config.min_overlap)[1]
                for a, b in np.array_split(pairs.T, max(1, len(pairs) // 256), axis=1)
            ]
        )

    pairs = np.array(sorted(handed_on | same | {(i, i + 1) for i in range(len(ids) - 1)}))
    found = similarities(pairs)
    is_one = (found >= config.min_similarity) & (found >= repeats[pairs].max(axis=1) + ABOVE_REPETITION)
    handed = np.array([tuple(pair) in handed_on for pair in pairs.tolist()])
    truly = np.array([tuple(pair) in same for pair in pairs.tolist()])
    merged = is_one & handed
    precision = (merged & truly).sum() / merged.sum()
    recall = (merged & truly).sum() / len(same)
    print(f"{len(pairs)} pairs, {merged.sum()} merged: precision {precision:.4f}, recall {recall:.4f}")
    print(f"worst copy {found[truly].min():.3f}, most alike of the others {found[~truly].max():.3f}")
    assert precision == 1
    assert recall >= 0.95
    assert merged[pairs.tolist().index([one, other])]
    # two excerpts of one song, told apart
    songs = {row["track_id"]: row["source_song"] for row in read_csv(MUSIC / "games" / "tracks.csv")}
    excerpts = np.array(
        [
            (ids.index(a), ids.index(b))
            for n, a in enumerate(songs)
            for b in list(songs)[n + 1 :]
            if songs[a] == songs[b]
        ]
    )
    assert len(excerpts) > 50
    assert similarities(excerpts).max() < config.min_similarity - 0.05
