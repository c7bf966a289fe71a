"""Catalogues whose audio was measured already: the tables up to ``mel_spectrograms`` without sound or Spark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa

from specrec.audio.measures import TABLE_COLUMNS, columns
from specrec.audio.mel import encode_mel
from specrec.config import Config
from specrec.warehouse.schemas import TABLES

STYLES, BANDS, FRAMES = 12, 32, 40
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class GivenTrack:
    """A track of such a catalogue.

    Attributes
    ----------
    track_id : str
    sound : int
        What it sounds like; two tracks of one sound are equal files.
    artist, title : str
    energy : float
        By the catalogue, 0 to 1.
    uri, fingerprint : str
        Of its file, if there is one.
    duration_ms : int or None
        By the catalogue.
    """

    track_id: str
    sound: int
    artist: str
    title: str
    energy: float = 0.5
    uri: str = ""
    fingerprint: str = ""
    duration_ms: int | None = None

    @classmethod
    def of(cls, number: int) -> GivenTrack:
        """Return the track of a number: every third artist has several tracks."""
        return cls(
            f"track-{number:08d}", number, f"artist {number // 3}", f"song {number}", (number * 37 % 100) / 100
        )

    def changed(self, **values: Any) -> GivenTrack:
        return replace(self, **values)


#: The tables that extraction makes.
MEASURED = ("audio_features", "mel_spectrograms")


def write_given(
    warehouse: Path, tracks: Sequence[GivenTrack], config: Config, names: Sequence[str] = ("tracks", *MEASURED)
) -> None:
    """Make these the catalogue, in place of what there was: tracks, audio_features and mel_spectrograms."""
    for name in names:
        schema = deltalake.Schema.from_json(TABLES[name].schema.json())
        arrow = pa.schema(schema.to_arrow())
        place = str(warehouse / name)
        deltalake.DeltaTable.create(place, schema, mode="ignore")
        batches = pa.RecordBatchReader.from_batches(arrow, _batches(name, tracks, arrow, config))
        # a third of the rows in a row group of Spark's: a reader holds a whole one
        properties = deltalake.WriterProperties(max_row_group_size=_ROWS_AT_ONCE)
        deltalake.write_deltalake(place, batches, mode="overwrite", writer_properties=properties)


def change_given(
    warehouse: Path, new: Sequence[GivenTrack], gone: Sequence[GivenTrack], config: Config, run_id: str
) -> None:
    """Change a catalogue that :func:`write_given` made as a night's extraction does.

    Rows of new tracks are appended, in files of their own and with a run of their own; those of tracks that are
    gone are deleted.
    """
    ids = ", ".join(f"'{track.track_id}'" for track in gone)
    for name in ("tracks", *MEASURED):
        table = deltalake.DeltaTable(str(warehouse / name))
        if gone:
            table.delete(f"track_id in ({ids})")
        schema = pa.schema(table.schema().to_arrow())
        batches = pa.RecordBatchReader.from_batches(schema, _batches(name, new, schema, config, run_id))
        deltalake.write_deltalake(table, batches, mode="append")


def _batches(
    name: str, tracks: Sequence[GivenTrack], schema: pa.Schema, config: Config, run_id: str = "given"
) -> Iterator[pa.RecordBatch]:
    of_table = {"tracks": _track, "audio_features": _features, "mel_spectrograms": _spectrogram}[name]
    for start in range(0, len(tracks), _ROWS_AT_ONCE):
        made = (of_table(track, config) for track in tracks[start : start + _ROWS_AT_ONCE])
        rows = [row | {"run_id": run_id} for row in made]
        yield pa.RecordBatch.from_pylist(rows, schema)


def _track(track: GivenTrack, _: Config) -> dict[str, Any]:
    return {
        "track_id": track.track_id,
        "artists": track.artist,
        "track_name": track.title,
        "energy": track.energy,
        "duration_ms": track.duration_ms,
        "audio": f"{track.sound}.wav",
        "audio_uri": f"/given/{track.sound}.wav",
        "audio_fingerprint": str(track.sound),
        "has_audio": True,
        "row_hash": f"{track}",
        "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def _random(track: GivenTrack) -> tuple[np.random.Generator, np.random.Generator]:
    """Return what a track's style, and what it alone, is drawn from."""
    return np.random.default_rng(track.sound % STYLES), np.random.default_rng((STYLES, track.sound))


def _features(track: GivenTrack, config: Config) -> dict[str, Any]:
    style, own = _random(track)
    sizes = columns(config.audio.n_mfcc)
    values: dict[str, Any] = {}
    for column in TABLE_COLUMNS:
        size = sizes[column.name]
        drawn = style.uniform(0.2, 0.8, size) + own.normal(0, 0.1, size)
        values[column.name] = drawn.clip(0.01).tolist() if column.kind == "array<float>" else float(drawn[0])
    values |= {"tempo": 60 + 100 * abs(values["tempo"]), "key": track.sound % 12, "mode": track.sound % 2}
    for name in ("spectral_centroid_mean", "spectral_bandwidth_mean", "spectral_rolloff_mean"):
        values[name] *= 4000
    return _analysed(track, config) | {"decoder": "none", "seconds": 3.0} | values


def _spectrogram(track: GivenTrack, config: Config) -> dict[str, Any]:
    style, own = _random(track)
    shape = style.uniform(-50, -10, (BANDS, 1)) + own.normal(0, 3, (BANDS, 1))
    pulse = 10 * np.sin(2 * np.pi * np.arange(FRAMES) / own.uniform(6, 30))
    db = shape + pulse * own.uniform(-1, 1, (BANDS, 1)) + own.normal(0, 2, (BANDS, FRAMES))
    mel = encode_mel(np.clip(db, -80, 0).astype(np.float32))
    about = {"mel": mel, "n_mels": BANDS, "n_frames": FRAMES, "hop_length": config.audio.hop_length}
    return _analysed(track, config) | about


def _analysed(track: GivenTrack, config: Config) -> dict[str, Any]:
    return {
        "track_id": track.track_id,
        "audio_uri": track.uri or f"/given/{track.sound}.wav",
        "audio_fingerprint": track.fingerprint or str(track.sound),
        "content_hash": f"sound {track.sound}",
        "audio_hash": str(config.audio_hash),
        "sample_rate": 22_050,
        "computed_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
