"""What the commands read from the tables, by delta-rs and without Spark."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from specrec.config import Config
from specrec.errors import SpecrecError

if TYPE_CHECKING:
    import pandas as pd

    from specrec.warehouse.reader import Reader

#: Titles and attributes of tracks, by track_id.
Tracks = dict[str, dict[str, Any]]
Rows = list[dict[str, Any]]


def open_reader(config: Config) -> Reader:
    """Return a reader of the configured warehouse."""
    from specrec.warehouse.reader import Reader

    return Reader(config.warehouse, config.storage)


def tracks_of(reader: Reader, track_ids: Iterable[str] | None = None) -> Tracks:
    """Return the titles of tracks, or of all."""
    filters = None if track_ids is None else [("track_id", "in", sorted(set(track_ids)))]
    columns = ["track_id", "track_name", "artists", "track_genre", "has_audio"]
    return {row["track_id"]: row for row in reader.rows("tracks", filters, columns)}


def why_no_list(reader: Reader, track_id: str) -> str:
    """Return in one line why a track has no recommendations at all."""
    found = tracks_of(reader, [track_id])
    if not found:
        names = [row["track_id"] for row in reader.rows("tracks", columns=["track_id"])]
        close = difflib.get_close_matches(track_id, names, n=3)
        hint = f": did you mean {' or '.join(close)}?" if close else ""
        return f"there is no track {track_id!r} in the catalogue{hint}"
    for row in reader.rows("quarantine", [("track_id", "=", track_id)]):
        return f"{track_id} has no recommendations: it is in quarantine ({row['code']}: {row['message']})"
    if not found[track_id]["has_audio"]:
        return f"{track_id} has no recommendations: the catalogue names no audio for it"
    return f"{track_id} has no recommendations yet: run `specrec nightly`"


def list_of(reader: Reader, track_id: str, system: str) -> Rows:
    """Return a track's recommendations by a system, best first."""
    rows = reader.rows("recommendations", [("system", "=", system), ("track_id", "=", track_id)])
    return sorted(rows, key=lambda row: row["rank"])


def liked_with(reader: Reader, track_id: str) -> Rows:
    """Return what those who like a track also like, as rows of a list, the most similar first."""
    from specrec.recommend.phrases import phrase

    rows = reader.rows("also_liked", [("track_id", "=", track_id)])
    if not rows:
        return []
    (of_track,) = reader.rows("track_listeners", [("track_id", "=", track_id)], ["liked"])
    told = phrase("also_liked.statement", "specrec.listeners")
    return [
        {
            "rank": row["rank"],
            "recommended_track_id": row["other_id"],
            "score": row["similarity"],
            "explanation": told.format(n=row["both"], m=of_track["liked"]),
            "reasons": [],
        }
        for row in sorted(rows, key=lambda row: row["rank"])
    ]


def map_points(reader: Reader, by: str, most: int) -> tuple[pd.DataFrame, int]:
    """Return up to about `most` rows of the map with coordinates, read in passing, and how many rows there are."""
    import pandas as pd

    columns = ["space", "track_id", f"{by}_x", f"{by}_y", "cluster", "cluster_name"]
    with reader.opened("map", columns) as dataset:
        tracks = dataset.count_rows()
        step = -(-tracks // most) or 1
        batches = (batch.to_pandas().iloc[::step] for batch in dataset.to_batches(columns=columns))
        points = pd.concat([batch for batch in batches if len(batch)] or [pd.DataFrame(columns=columns)])
    points = points.rename(columns={f"{by}_x": "x", f"{by}_y": "y"}).dropna()
    if points.empty:
        raise SpecrecError(f"the map has no coordinates by {by}: run `specrec nightly`, or try --by pca")
    return points.sort_values("track_id", ignore_index=True), tracks


def genre_of(track_id: str, tracks: Tracks) -> str | None:
    """Return a track's genre, where the catalogue says one."""
    return tracks[track_id]["track_genre"] if track_id in tracks else None
