"""The demo's listeners: invented people who play, skip and rate its clips by tastes that nobody told the job.

Each likes two of the styles, one of them more, and a few of the artists, and cannot stand a third style. What a
person does depends on the seed, the person's number and the catalogue alone.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

#: The columns of a file of events.
COLUMNS = ("user_id", "track_id", "kind", "value", "listened_ms", "ts", "session_id")

#: When the listeners begin, and how many days they go on.
_FIRST_DAY, _DAYS = datetime(2025, 3, 1, tzinfo=UTC), 60
#: How much a person is drawn to a clip: of the favourite style, the second one, any other, and the one not stood.
_FAVOURITE, _SECOND, _OTHER, _NOT_STOOD = 1.0, 0.6, 0.0, -0.8
_OF_FAVOURITE_ARTIST = 0.4


def render_listeners(catalogue: Path, folder: Path, people: int = 48, seed: int = 0) -> list[Path]:
    """Write what invented people did with the tracks of a catalogue: a CSV file of events for each month.

    Parameters
    ----------
    catalogue : Path
        ``catalogue.csv`` of :func:`specrec.demo.render_catalogue`.
    folder : Path
        Made if absent; files of the same names are overwritten.
    people : int
        How many; the first ones are the same whatever the number.
    seed : int

    Returns
    -------
    list of Path
    """
    with catalogue.open(newline="", encoding="utf-8") as file:
        tracks = list(csv.DictReader(file))
    events = [event for person in range(people) for event in events_of(person, tracks, seed)]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for month in sorted({event["ts"][:7] for event in events}):
        path = folder / f"{month}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(sorted((of for of in events if of["ts"][:7] == month), key=lambda of: of["ts"]))
        written.append(path)
    return written


def events_of(person: int, tracks: Sequence[dict[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    """Return what a person did, in no order.

    Every sixth person did little. Among those who did much, some rate, and some only play and skip.

    Examples
    --------
    >>> track = {"track_id": "demo-0001", "track_genre": "piano", "artists": "Amber", "duration_ms": "1000"}
    >>> events = events_of(0, [track])
    >>> sorted({event["user_id"] for event in events}), set(events[0]) <= set(COLUMNS)
    (['listener-001'], True)
    """
    rng = np.random.default_rng([seed, person, 2])
    styles = sorted({track["track_genre"] for track in tracks})
    order = rng.permutation(len(styles))
    drawn = dict.fromkeys(styles, _OTHER)
    for place, value in ((0, _FAVOURITE), (1, _SECOND), (-1, _NOT_STOOD)):
        if len(styles) > 2:
            drawn[styles[order[place]]] = value
    artists = sorted({track["artists"] for track in tracks})
    favourites = {artists[of] for of in rng.choice(len(artists), size=min(3, len(artists)), replace=False)}
    rates = rng.random() < 0.5
    sessions = 1 if person % 6 == 5 else int(rng.integers(3, 9))
    events: list[dict[str, Any]] = []
    pull = np.array(
        [drawn[of["track_genre"]] + _OF_FAVOURITE_ARTIST * (of["artists"] in favourites) for of in tracks]
    )
    chance = np.exp(1.2 * pull)
    chance /= chance.sum()
    for session in range(sessions):
        at = _FIRST_DAY + timedelta(days=float(rng.uniform(0, _DAYS)))
        name = f"listener-{person + 1:03}-{session + 1}"
        for number in rng.choice(
            len(tracks), size=min(int(rng.integers(3, 7)), len(tracks)), replace=False, p=chance
        ):
            track, liking = tracks[number], pull[number] + rng.normal(0, 0.35)
            length = int(track["duration_ms"])
            share = float(np.clip(0.45 + 0.5 * liking + rng.normal(0, 0.1), 0.02, 1.0))
            row = {"user_id": f"listener-{person + 1:03}", "track_id": track["track_id"], "session_id": name}
            kind = "skip" if share < 0.2 else "play"
            stopped = {"kind": kind, "listened_ms": round(share * length), "ts": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
            events.append(row | stopped)
            at += timedelta(milliseconds=share * length + 2_000)
            opinion = {"ts": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
            if rates and rng.random() < 0.5:
                events.append(
                    row | opinion | {"kind": "rating", "value": int(np.clip(round(3 + 2 * liking), 1, 5))}
                )
            elif rng.random() < 0.25:
                kind = "like" if liking > 0.5 else "dislike" if liking < -0.3 else ""
                events += [row | opinion | {"kind": kind}] if kind else []
    return events
