"""Do the excerpts that are chosen lie on the same music, and what do they cost?

    python tests/bench/excerpts.py MUSIC          MUSIC holds emotify/ and games/, each with tracks.csv

Two overlapping clips of 20 s are cut from each file of 30 s; the excerpts that match best should lie as far apart
as the clips do, to half a hop. Of the clips of one song, the best pair is compared with all pairs, and so is its
chroma, which is measured on the audio and not on the mel spectrogram.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode as decode_audio
from specrec.audio.features import _chroma, _power
from specrec.audio.mel import decode_mel, encode_mel, log_mel
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding.excerpts import decode, encode, pitch_classes, starts
from specrec.recommend.excerpts import best_pairs

AUDIO, SECONDS, CUT = AudioConfig(), 5.0, 20.0
RATE = AUDIO.sample_rate or 0
FRAME_RATE = RATE / AUDIO.hop_length
Array = npt.NDArray[Any]


def main(music: Path) -> None:
    rng = np.random.default_rng(0)
    whole, chroma, songs, cut = [], [], [], []
    for part in ("emotify", "games"):
        with (music / part / "tracks.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            samples = decode_audio((music / part / row["audio"]).read_bytes(), AUDIO).samples
            power = _power(samples, AUDIO)
            whole.append(_mel(power))
            chroma.append(_chroma(power, RATE, AUDIO.n_fft))
            songs.append(row.get("source_song") or row["track_id"])
            start, length = round(rng.uniform(3, 9.9) * RATE), round(CUT * RATE)
            if samples.size >= start + length:
                both = (samples[:length], samples[start : start + length])
                cut.append((start / RATE, *(_mel(_power(one, AUDIO)) for one in both)))
    pca = spectrogram_space.fit_pca(np.stack([spectrogram_space.describe(mel) for mel in whole]), 64)
    codes = decode(_encode(whole, pca))
    _known_offsets(cut, pca)
    names = np.array(songs)
    _pairs("of one song", np.argwhere(np.triu(names[:, None] == names, 1)), codes, chroma)
    others = rng.integers(0, len(names), (500, 2))
    _pairs("of two songs", others[names[others[:, 0]] != names[others[:, 1]]], codes, chroma)
    _costs(whole[:100], pca)


def _known_offsets(cut: list[tuple[Any, ...]], pca: dict[str, Array]) -> None:
    offsets, first, second = zip(*cut, strict=True)
    a, b = decode(_encode(first, pca)), decode(_encode(second, pca))
    i, j = best_pairs(a, b)
    apart = np.subtract.outer(np.arange(a.shape[1]), np.arange(b.shape[1])) * SECONDS / 2
    error = np.abs(apart - np.array(offsets)[:, None, None])
    found = error[np.arange(len(a)), i, j]
    print(f"{len(a)} files cut in two, the best excerpts are apart as the clips")
    for title, limit in (("half a hop", SECONDS / 4), ("half an excerpt", SECONDS / 2)):
        print(f"  to {title}: {(found <= limit).mean():.1%}, by chance {(error <= limit).mean():.1%}")


def _pairs(title: str, pairs: Array, codes: Array, chroma: list[Array]) -> None:
    best, usual = [], []
    i, j = best_pairs(codes[pairs[:, 0]], codes[pairs[:, 1]])
    for (x, y), at_x, at_y in zip(pairs, i, j, strict=True):
        matrices = (_cosines(codes[x], codes[y]), _cosines(_chroma_of(chroma[x]), _chroma_of(chroma[y])))
        best.append([matrix[at_x, at_y] for matrix in matrices])
        usual.append([np.nanmean(matrix) for matrix in matrices])
    of_best, of_any = np.mean(best, axis=0), np.mean(usual, axis=0)
    print(f"{len(pairs)} pairs of clips {title}, best excerpts and any two")
    for name, one, other in zip(("cosine", "cosine of their chroma"), of_best, of_any, strict=True):
        print(f"  {name}: {one:.2f} and {other:.2f}")


def _costs(mels: list[Array], pca: dict[str, Array]) -> None:
    data = [(encode_mel(mel), *mel.shape) for mel in mels]
    print(f"decode_mel {_ms(lambda: [decode_mel(*one) for one in data]) / len(mels):.2f} ms a track")
    print(f"describe {_ms(lambda: [spectrogram_space.describe(mel) for mel in mels]) / len(mels):.2f} ms a track")
    print(f"encode {_ms(lambda: _encode(mels, pca)) / len(mels):.2f} ms a track")
    stored = _encode(mels, pca)
    some = [stored[i] for i in np.random.default_rng(0).integers(0, len(stored), 10_000)]
    print(f"{np.mean([len(one) for one in stored]):.0f} bytes a track")
    print(f"decode and best_pairs {_ms(lambda: best_pairs(decode(some), decode(some[::-1]))) / 10:.1f} µs a pair")


def _encode(mels: Sequence[Array], pca: dict[str, Array]) -> list[bytes]:
    classes = pitch_classes(AUDIO, RATE)
    return [encode(mel, FRAME_RATE, SECONDS, pca, classes) for mel in mels]


def _mel(power: Array) -> Array:
    mel = log_mel(power, RATE, AUDIO)
    mel -= mel.max()
    return decode_mel(encode_mel(mel), *mel.shape)


def _chroma_of(chroma: Array) -> Array:
    length, first = round(SECONDS * FRAME_RATE), starts(chroma.shape[1], FRAME_RATE, SECONDS)
    means = np.stack([chroma[:, start : start + length].mean(axis=1) for start in first])
    deviations: Array = means - means.mean(axis=1, keepdims=True)
    return deviations


def _cosines(a: Array, b: Array) -> Array:
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        of_a, of_b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
        found: Array = of_a @ of_b.T
    return found


def _ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        clock = time.perf_counter()
        work()
        times.append(time.perf_counter() - clock)
    return min(times) * 1_000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
