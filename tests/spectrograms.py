"""A small warehouse of spectrograms without sound or Spark: what an encoder is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from specrec.audio.mel import encode_mel

BANDS = 16


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
    """Write the tables ``tracks`` and ``mel_spectrograms``, the latter in so many files.

    Parameters
    ----------
    tracks : rows of ``track_id`` and, if wanted, ``artists, album_name, song``.
    frames : of the first spectrogram; each further one has one more.
    """
    columns = {name: [of.get(name) for of in tracks] for name in ("track_id", "artists", "album_name")}
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


def some_tracks(count: int) -> list[dict[str, object]]:
    """Return tracks, two an artist."""
    return [{"track_id": f"t{i:03}", "artists": f"artist {i // 2}"} for i in range(count)]
