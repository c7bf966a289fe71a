"""What decides whether, and beside which others, a track is recommended: Arrow in, Arrow out.

Spark's workers (:mod:`specrec.recommend.spark`) and a query that starts no Spark run the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import Int64Array
from specrec.recommend.config import RecommendConfig

#: Columns of a catalogue, beside Spotify's, that say in which countries a track is available; the table ``tracks``
#: has them in ``extra``. The first that says anything counts.
MARKETS = ("available_markets", "markets")

#: What a catalogue wrote where we could not read it, by its attribute; `extra` has it under that name.
UNREAD = {"explicit": "explicit_as_written", "duration_ms": "duration_as_written"}
#: The columns that `extra` holds, by the name that it has for them.
IN_EXTRA = {**{name: name for name in MARKETS}, **{written: name for name, written in UNREAD.items()}}

#: One name of an album: two artists may each have an album named "Greatest Hits".
ALBUM = pa.struct({"album": pa.string(), "artist": pa.string()})
_TRACKS = pa.schema(
    {
        "track_id": pa.string(),
        "duration_ms": pa.int64(),
        "explicit": pa.bool_(),
        "artists": pa.string(),
        "album_name": pa.string(),
        **dict.fromkeys(IN_EXTRA, pa.string()),
    }
)
SCHEMA = pa.schema(
    {
        "track_id": pa.string(),
        "allowed": pa.bool_(),
        "artists": pa.list_(pa.string()),
        "albums": pa.list_(ALBUM),
    }
)


def columns_for(config: RecommendConfig) -> list[str]:
    """Return the columns, beside ``track_id``, that :func:`traits_of` needs with these settings."""
    needed = {
        "duration_ms": config.min_duration_seconds or config.max_duration_seconds,
        "explicit": not config.explicit,
        "artists": config.max_per_artist or config.max_per_album,
        "album_name": config.max_per_album,
        **dict.fromkeys(MARKETS, config.market),
    }
    needed |= {written: needed[name] for name, written in UNREAD.items()}
    return [name for name, is_needed in needed.items() if is_needed]


def stored_columns(config: RecommendConfig) -> list[str]:
    """Return the columns of the table ``tracks``, beside ``track_id``, that :func:`columns_for` are made of."""
    return list(dict.fromkeys("extra" if name in IN_EXTRA else name for name in columns_for(config)))


def batch_of(tracks: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return a few rows of the table ``tracks`` as :func:`traits_of` takes them."""
    rows = [
        row | {name: (row.get("extra") or {}).get(key) for name, key in IN_EXTRA.items()}
        for row in map(dict, tracks)
    ]
    return pa.RecordBatch.from_pylist(rows, _TRACKS)


def traits_of(tracks: pa.RecordBatch, config: RecommendConfig) -> pa.RecordBatch:
    """Return the traits of tracks, row by row; see :data:`SCHEMA`.

    ``allowed`` says whether a track may be recommended at all; ``artists`` and ``albums`` are the names of those
    that count against a limit, each once. What no setting asks for is empty, so that its change rewrites no list.
    What a catalogue does not say speaks against no track; what it says and we cannot read does.

    Parameters
    ----------
    tracks : RecordBatch
        ``track_id`` and :func:`columns_for` these settings: of ``tracks``, and of its ``extra``.

    Returns
    -------
    RecordBatch

    Examples
    --------
    >>> tracks = batch_of([{"track_id": "t", "artists": "Abba;Cher", "album_name": "Gold"}])
    >>> traits = traits_of(tracks, RecommendConfig())
    >>> traits.column("artists").to_pylist()
    [['abba', 'cher']]
    >>> traits.column("albums").to_pylist()
    [[{'album': 'gold', 'artist': 'abba'}, {'album': 'gold', 'artist': 'cher'}]]
    """
    count = tracks.num_rows
    artists = (
        _artists(tracks.column("artists")) if "artists" in columns_for(config) else _nothing(pa.string(), count)
    )
    albums = _albums(tracks.column("album_name"), artists) if config.max_per_album else _nothing(ALBUM, count)
    if not config.max_per_artist:
        artists = _nothing(pa.string(), count)
    return pa.RecordBatch.from_arrays(
        [tracks.column("track_id"), _allowed(tracks, config), artists, albums], schema=SCHEMA
    )


def _allowed(tracks: pa.RecordBatch, config: RecommendConfig) -> pa.Array:
    excluding = []
    if config.min_duration_seconds:
        excluding.append(pc.less(_seconds(tracks), config.min_duration_seconds))
    if config.max_duration_seconds:
        excluding.append(pc.greater(_seconds(tracks), config.max_duration_seconds))
    if not config.explicit:
        excluding.append(tracks.column("explicit"))
    if config.market:
        excluding.append(pc.invert(_is_available(tracks, config.market)))
    for name, written in UNREAD.items():
        if name in columns_for(config):
            excluding.append(pc.and_(pc.is_null(tracks.column(name)), pc.is_valid(tracks.column(written))))
    allowed = pa.repeat(True, tracks.num_rows)
    for is_excluded in excluding:
        allowed = pc.and_(allowed, pc.invert(pc.fill_null(is_excluded, False)))
    return allowed


def _seconds(tracks: pa.RecordBatch) -> pa.Array:
    return pc.divide(tracks.column("duration_ms").cast(pa.float64()), 1_000.0)


def _is_available(tracks: pa.RecordBatch, market: str) -> pa.Array:
    """Return whether tracks are available in a country; null where the catalogue names no country."""
    listed = pc.utf8_trim(pc.coalesce(*(tracks.column(name) for name in MARKETS)), " ")
    named = pc.match_substring_regex(_cased(pc.utf8_upper, str.upper, listed), rf"\b{market}\b")
    return pc.or_(pc.equal(listed, ""), named)  # "[]" names none


def _artists(column: pa.Array) -> pa.Array:
    """Return the names of each track's artists, each once, list<string>; they are separated by semicolons."""
    split = pc.split_pattern(pc.fill_null(column, ""), ";")
    names, track = _clean(split.flatten()), holders(split)
    code = pc.dictionary_encode(names).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    kept = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    pair = track * (code.max(initial=0) + 1) + code
    _, first = np.unique(pair, return_index=True)
    is_first = np.zeros(len(pair), bool)
    is_first[first] = True
    kept &= is_first
    return _lists(names.filter(pa.array(kept)), track[kept], len(column))


def _albums(column: pa.Array, artists: pa.Array) -> pa.Array:
    """Return each track's album by each of its artists, list<:data:`ALBUM`>; by "" if it names none."""
    album = _clean(pc.fill_null(column, ""))
    named = pc.not_equal(album, "").to_numpy(zero_copy_only=False)
    counts = artists.value_lengths().to_numpy(zero_copy_only=False)
    track = np.repeat(np.arange(len(column)), np.where(named, np.maximum(counts, 1), 0))
    with_artists = holders(artists)
    own = np.full(len(track), -1)
    own[counts[track] > 0] = np.flatnonzero(named[with_artists])
    artist = artists.flatten().take(pa.array(own, mask=own < 0))
    both = pa.StructArray.from_arrays([album.take(pa.array(track)), pc.fill_null(artist, "")], fields=list(ALBUM))
    return _lists(both, track, len(column))


def _clean(names: pa.Array) -> pa.Array:
    """Return names in small letters, with one space for each run of white space, and none at the ends."""
    lower = _cased(pc.utf8_lower, str.lower, names)
    return pc.utf8_trim(pc.replace_substring_regex(lower, r"[ \t\n\v\f\r]+", " "), " ")


def _cased(of_ascii: Callable[[pa.Array], pa.Array], of_any: Callable[[str], str], texts: pa.Array) -> pa.Array:
    """Return texts in small or in capital letters, as Java and Python know them.

    Arrow maps each letter to one letter. A final sigma and a dotted I need more: with Arrow's letters, such names
    would have other codes than the ones that Spark gave them, and lists would be written anew for nothing.
    """
    found = of_ascii(texts)
    foreign = pc.invert(pc.fill_null(pc.string_is_ascii(texts), True))
    if not pc.any(foreign).as_py():
        return found
    encoded = texts.filter(foreign).dictionary_encode()
    words = pa.array([of_any(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(found, foreign, words.take(encoded.indices))


def holders(lists: pa.ListArray) -> Int64Array:
    """Return the list that each item is in, shape (items,)."""
    return np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy(zero_copy_only=False))


def _lists(items: pa.Array, holder: Int64Array, count: int) -> pa.Array:
    """Return items, sorted by the list that they belong to, as `count` lists."""
    ends = np.searchsorted(holder, np.arange(count + 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items)


def _nothing(of: pa.DataType, count: int) -> pa.Array:
    return _lists(pa.array([], of), np.zeros(0, np.int64), count)
