"""The demo's catalogue: a table with the columns of real ones, and a folder of clips.

Every clip depends on ``(seed, index)`` alone, down to the bytes of its file, so that a catalogue can grow without
changing.
"""

from __future__ import annotations

import csv
import functools
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from specrec.demo.clips import DemoClip, render_clip
from specrec.demo.files import write_audio
from specrec.demo.names import ALBUM_NAMES, ARTIST_NAMES, TRACK_NAMES, name_of
from specrec.demo.styles import STYLES

COLUMNS = (
    "track_id", "artists", "album_name", "track_name", "popularity", "duration_ms", "explicit",
    "danceability", "energy", "key", "loudness", "mode", "speechiness", "acousticness", "instrumentalness",
    "liveness", "valence", "tempo", "time_signature", "track_genre", "audio",
)  # fmt: skip

#: What every 20th row lacks, as rows of real catalogues do.
OPTIONAL = (
    "popularity", "danceability", "energy", "key", "loudness", "mode", "acousticness", "instrumentalness",
    "valence", "tempo", "time_signature",
)  # fmt: skip

FORMATS = ("flac", "ogg", "mp3", "flac", "ogg", "flac", "mp3", "ogg", "flac", "wav")


def render_catalogue(
    folder: Path,
    clips: int = 60,
    seconds: float = 10.0,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
    processes: int = 1,
) -> Path:
    """Write ``catalogue.csv`` (Spotify's columns) and the files of ``audio/`` to a folder.

    Parameters
    ----------
    folder : Path
        Made if absent; files of the same names are overwritten.
    clips : int
        How many; the first ones are the same whatever the number.
    seconds : float
        Length of each.
    seed : int
        Another seed is another catalogue.
    progress : callable, optional
        Called with (clips done, clips) after each.
    processes : int
        That render side by side; the result is the same.

    Returns
    -------
    Path
        The catalogue's; its `audio` column is relative to ``folder``.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    path = folder / "catalogue.csv"
    unfinished = path.with_suffix(".part")  # the catalogue is there only when all its clips are
    render = functools.partial(_render_to, folder, seconds=seconds, seed=seed)
    with ExitStack() as stack:
        file = stack.enter_context(unfinished.open("w", newline="", encoding="utf-8"))
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        table.writeheader()
        rows: Iterator[dict[str, Any]] = map(render, range(clips))
        if processes > 1:
            pool = stack.enter_context(ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")))
            rows = pool.map(render, range(clips), chunksize=4)
        for done, row in enumerate(rows, start=1):
            table.writerow(row)
            if progress is not None:
                progress(done, clips)
    unfinished.replace(path)
    return path


def _render_to(folder: Path, index: int, seconds: float, seed: int) -> dict[str, Any]:
    """Write a clip's file; return its row of the catalogue."""
    clip = render_clip(index, seconds, seed)
    row = row_of(index, clip, seed)
    write_audio(folder / row["audio"], clip)
    return row


def row_of(index: int, clip: DemoClip, seed: int) -> dict[str, Any]:
    """Catalogue row of a clip; columns that nothing is known of are left out.

    Examples
    --------
    >>> row = row_of(0, render_clip(0, seconds=1.0), seed=0)
    >>> row["track_id"], row["track_genre"], row["duration_ms"]
    ('demo-0001', 'piano', 1000)
    """
    # A stream of its own: what the catalogue says of a clip does not move when the way it is played does.
    rng = np.random.default_rng([seed, index, 1])
    style, (round_, number) = STYLES[clip.style], divmod(index, len(STYLES))
    # Twelve clips of a style are by four artists with two albums each; the next twelve by four others.
    artist = (round_ // 12 * 4 + round_ % 4) * len(STYLES) + number
    album = 2 * artist + round_ // 4 % 2

    def about(typical: float) -> float:
        return round(float(np.clip(typical + rng.normal(0, 0.04), 0, 1)), 3)

    row = {
        "track_id": f"demo-{index + 1:04d}",
        "artists": name_of(artist, *ARTIST_NAMES),
        "album_name": name_of(album, *ALBUM_NAMES),
        "track_name": name_of(index, *TRACK_NAMES),
        "popularity": int(rng.integers(5, 96)),
        "duration_ms": round(1_000 * len(clip.samples) / clip.sample_rate),
        "explicit": False,
        "danceability": about(style.danceability),
        "energy": about(style.energy),
        "key": clip.key,
        "loudness": clip.loudness,
        "mode": clip.mode,
        "acousticness": about(style.acousticness),
        "instrumentalness": about(0.93),
        "valence": about(style.valence + (0.1 if clip.mode else -0.1)),
        "tempo": clip.tempo,
        "time_signature": clip.time_signature,
        "track_genre": clip.style,
        # Every style comes in every format, so that no format betrays a style.
        "audio": f"audio/demo-{index + 1:04d}.{FORMATS[(round_ + number) % len(FORMATS)]}",
    }
    if index % 20 == 19:
        row |= dict.fromkeys(OPTIONAL, "")
    return row
