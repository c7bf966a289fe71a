"""A small warehouse of spectrograms without sound or Spark: what an encoder is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from specrec.audio.mel import encode_mel
from specrec.embedding.features import layout_of

BANDS, MFCC = 16, 20


def spectrogram(seed: int, frames: int, bands: int = BANDS) -> np.ndarray:
    """Return a spectrogram with a shape and a pulse of its own: float32 (bands, frames), -80 to 0 dB."""
    random = np.random.default_rng(seed)
    shape = random.uniform(-50, -10, (bands, 1))
    pulse = 10 * np.sin(2 * np.pi * np.arange(frames) / random.uniform(6, 30))
    db = shape + pulse * random.uniform(-1, 1, (bands, 1)) + random.normal(0, 2, (bands, frames))
    return np.clip(db, -80, 0).astype(np.float32)


def write_warehouse(
    root: Path,
    tracks: list[dict[str, object]],
    *,
    frames: int = 90,
    bands: int = BANDS,
    files: int = 1,
    audio_hash: str = "a",
) -> None:
    """Write the tables ``tracks``, ``audio_features`` and ``mel_spectrograms``, the last in so many files.

    Parameters
    ----------
    tracks : rows of ``track_id`` and, if wanted, ``artists, album_name, track_genre, song``.
    frames : of the first spectrogram; each further one has one more.
    """
    columns = {
        name: [of.get(name) for of in tracks] for name in ("track_id", "artists", "album_name", "track_genre")
    }
    extra = [{"source_song": str(of["song"])} if of.get("song") else {} for of in tracks]
    schema = pa.schema([(name, pa.string()) for name in columns] + [("extra", pa.map_(pa.string(), pa.string()))])
    write_deltalake(root / "tracks", pa.table(columns | {"extra": [list(of.items()) for of in extra]}, schema))
    for part in np.array_split(np.arange(len(tracks)), files):
        rows = [
            {
                "track_id": str(tracks[i]["track_id"]),
                "mel": encode_mel(spectrogram(int(i), frames + int(i), bands)),
                "n_mels": bands,
                "n_frames": frames + int(i),
                "content_hash": f"content of {tracks[i]['track_id']}",
                "audio_hash": audio_hash,
            }
            for i in part
        ]
        write_deltalake(root / "mel_spectrograms", pa.Table.from_pylist(rows), mode="append")
    rows = [
        {"track_id": str(of["track_id"]), "audio_hash": audio_hash} | measured(i) for i, of in enumerate(tracks)
    ]
    write_deltalake(root / "audio_features", pa.Table.from_pylist(rows))


def measured(seed: int) -> dict[str, object]:
    """Return features that nothing was measured for, but which differ from track to track."""
    random = np.random.default_rng(seed)
    values = {name: random.uniform(1, 2, size) for name, size in layout_of(MFCC)}
    return {name: of.tolist() if of.size > 1 else float(of[0]) for name, of in values.items()}


def some_tracks(count: int) -> list[dict[str, object]]:
    """Return tracks, two an artist."""
    return [{"track_id": f"t{i:03}", "artists": f"artist {i // 2}"} for i in range(count)]
