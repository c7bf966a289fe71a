"""What decides whether, and beside which others, a few tracks are recommended: for a query, without Spark.

The rules are those of :func:`specrec.recommend.candidates.traits`, which states them for a whole catalogue in
Spark; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from specrec.recommend.config import RecommendConfig

#: Columns of a catalogue, beside Spotify's, that say in which countries a track is available.
MARKETS = ("available_markets", "markets")
#: Columns of ``tracks`` that traits are made of.
COLUMNS = ("track_id", "duration_ms", "explicit", "artists", "album_name", "extra")


@dataclass(frozen=True)
class Traits:
    """See :func:`specrec.recommend.candidates.traits`; here the codes are the names themselves."""

    allowed: bool
    artists: list[str]
    albums: list[str]


def traits_of(track: Mapping[str, Any], config: RecommendConfig) -> Traits:
    """Return the traits of a row of ``tracks``.

    Examples
    --------
    >>> row = {"artists": "Abba;Cher", "album_name": "Gold", "duration_ms": 200_000, "explicit": None}
    >>> traits_of(row | {"extra": None}, RecommendConfig(max_per_album=1))
    Traits(allowed=True, artists=['abba', 'cher'], albums=['gold;abba', 'gold;cher'])
    """
    artists = list(dict.fromkeys(filter(None, map(_clean, (track["artists"] or "").split(";")))))
    album = _clean(track["album_name"] or "")
    albums = [f"{album};{artist}" for artist in artists or [""]] if album else []
    return Traits(
        allowed=not any(_excluded(track, config)),
        artists=artists if config.max_per_artist else [],
        albums=albums if config.max_per_album else [],
    )


def _excluded(track: Mapping[str, Any], config: RecommendConfig) -> Iterable[bool]:
    """Yield whether each filter excludes a track; what the catalogue does not say speaks against none."""
    milliseconds = track["duration_ms"]
    if milliseconds is not None:
        yield milliseconds / 1_000 < (config.min_duration_seconds or 0)
        yield milliseconds / 1_000 > (config.max_duration_seconds or float("inf"))
    yield bool(track["explicit"]) and not config.explicit
    extra = track["extra"] or {}
    listed = next((extra[name] for name in MARKETS if extra.get(name) is not None), "").strip(" ")
    if config.market and listed:
        yield not re.search(rf"\b{config.market}\b", listed.upper(), re.ASCII)


def _clean(name: str) -> str:
    return re.sub(r"\s+", " ", name.lower(), flags=re.ASCII).strip(" ")
