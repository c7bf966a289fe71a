"""Records of a catalogue, read once: each field as comparisons and blocks want it, an array for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.matching.artists import Credit, read_credit
from specrec.matching.folding import fold, key_of
from specrec.matching.numerals import with_forms, without_movement
from specrec.matching.titles import Title, kinds_of_album, read_title

#: The columns that a record may have, by the names that a catalogue's columns have in `tracks`.
COLUMNS = {
    "track_id": "its own id",
    "artists": "its artists",
    "track_name": "its title",
    "album_name": "its album",
    "duration_ms": "its length in milliseconds",
    "year": "the year it was published, or the whole date",
    "isrc": "the international standard recording code",
}
#: Without these nothing is matched.
REQUIRED = ("track_id", "artists", "track_name")

Objects = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Records:
    """Some records of one catalogue.

    Attributes
    ----------
    ids : tuple of str
    titles : tuple of Title
    credits : tuple of Credit
        With the guests that the title names.
    albums : object array of str, shape (n,)
        Folded; empty: not known.
    album_kinds : int64, shape (n,)
        The kinds of versions that the album's name says of all that is on it.
    seconds : float64, shape (n,)
        The length; nan: not known.
    years : int64, shape (n,)
        0: not known.
    isrcs : object array of str, shape (n,)
        Empty: not known.
    """

    ids: tuple[str, ...]
    titles: tuple[Title, ...]
    credits: tuple[Credit, ...]
    albums: Objects
    album_kinds: Int64Array
    seconds: Float64Array
    years: Int64Array
    isrcs: Objects

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Sequence[int] | Int64Array) -> Records:
        """Return some of them."""
        at = np.asarray(which, np.int64)
        places = at.tolist()
        return Records(
            ids=tuple(self.ids[place] for place in places),
            titles=tuple(self.titles[place] for place in places),
            credits=tuple(self.credits[place] for place in places),
            albums=self.albums[at],
            album_kinds=self.album_kinds[at],
            seconds=self.seconds[at],
            years=self.years[at],
            isrcs=self.isrcs[at],
        )

    @cached_property
    def work_titles(self) -> Objects:
        """The folded titles; those of works without the words of movements, and with forms in one spelling."""
        return _objects(
            with_forms(without_movement(title.full)) if title.is_work else title.full for title in self.titles
        )

    @cached_property
    def full_keys(self) -> Objects:
        """The keys of the titles with their subtitles."""
        return _objects(key_of(title.full) for title in self.titles)

    @cached_property
    def base_keys(self) -> Objects:
        """The keys of the titles without their subtitles."""
        return _objects(key_of(title.base) for title in self.titles)

    @cached_property
    def movements(self) -> Objects:
        """The words by which movements are called."""
        return _objects(title.movement for title in self.titles)

    @cached_property
    def is_work(self) -> BoolArray:
        """Which are numbered pieces of music."""
        return np.array([title.is_work for title in self.titles], bool)

    @cached_property
    def is_generic(self) -> BoolArray:
        """Which titles name a place on an album only."""
        return np.array([title.is_generic for title in self.titles], bool)

    @cached_property
    def kinds(self) -> Int64Array:
        """The kinds of versions that the titles name, as bits."""
        return np.array([int(title.version.kinds) for title in self.titles], np.int64)

    @cached_property
    def version_years(self) -> Int64Array:
        """The years that versions name; 0: none."""
        return np.array([title.version.year for title in self.titles], np.int64)

    @cached_property
    def by(self) -> Objects:
        """Whose remix each is, or where the concert was."""
        return _objects(title.version.by for title in self.titles)

    @cached_property
    def whole_credits(self) -> Objects:
        """All who play, as one folded name."""
        return _objects(credit.whole for credit in self.credits)

    @cached_property
    def is_by_nobody(self) -> BoolArray:
        """Whose credit names nobody."""
        return np.array([credit.is_nobody for credit in self.credits], bool)

    @cached_property
    def words(self) -> tuple[frozenset[str], ...]:
        """The words of each title, with subtitles."""
        return tuple(frozenset(title.full.split()) for title in self.titles)

    @cached_property
    def likeness(self) -> tuple[tuple[Any, ...], ...]:
        """All that is compared of each record: those for whom this is equal are told apart by nothing."""
        return tuple(
            (title.full, title.base, title.version, tuple(sorted(title.facts.items())), credit.keys,
             credit.guest_keys, album, -1.0 if np.isnan(seconds) else seconds, year, isrc)
            for title, credit, album, seconds, year, isrc in zip(
                self.titles, self.credits, self.albums, self.seconds.tolist(), self.years.tolist(), self.isrcs,
                strict=True,
            )
        )  # fmt: skip


@dataclass(frozen=True)
class Frequencies:
    """How often titles and words occur, which says how much it tells that two records share one.

    Attributes
    ----------
    records : int
        How many were counted.
    titles : dict
        By how many different artists each title is, by its key.
    words : dict
        In how many titles each word is.
    """

    records: int
    titles: dict[str, int]
    words: dict[str, int]


def read_records(table: pa.Table) -> Records:
    """Read the records of a table.

    Parameters
    ----------
    table : pyarrow.Table
        Its columns are some of :data:`COLUMNS`, and all of :data:`REQUIRED`; null is not known.

    Examples
    --------
    >>> names = {"track_id": ["1"], "artists": ["Ann"], "track_name": ["River (feat. Bob)"]}
    >>> records = read_records(pa.table(names))
    >>> records.titles[0].base, records.credits[0].guests, records.seconds
    ('river', ('bob',), array([nan]))
    """
    rows = table.num_rows
    texts = {
        name: ["" if text is None else text for text in pc.cast(table[name], pa.string()).to_pylist()]
        if name in table.column_names
        else [""] * rows
        for name in COLUMNS
    }
    titles = tuple(map(read_title, texts["track_name"]))
    return Records(
        tuple(texts["track_id"]),
        titles,
        tuple(
            read_credit(artists).with_guests(title.guests)
            for artists, title in zip(texts["artists"], titles, strict=True)
        ),
        _objects(map(fold, texts["album_name"])),
        np.array([int(kinds_of_album(album)) for album in texts["album_name"]], np.int64),
        np.array([_seconds(text) for text in texts["duration_ms"]], np.float64),
        np.array([_year(text) for text in texts["year"]], np.int64),
        _objects("".join(filter(str.isalnum, text)).upper() for text in texts["isrc"]),
    )  # fmt: skip


def count(*catalogues: Records) -> Frequencies:
    """Count the titles and words of catalogues.

    Examples
    --------
    >>> names = {"track_id": ["1", "2"], "artists": ["Ann", "Bob"], "track_name": ["Intro", "Intro (Live)"]}
    >>> counted = count(read_records(pa.table(names)))
    >>> counted.records, counted.titles, counted.words
    (2, {'intro': 2}, {'intro': 2})
    """
    by = {
        (key, credit.keys)
        for records in catalogues
        for key, credit in zip(records.base_keys, records.credits, strict=True)
    }
    return Frequencies(
        sum(map(len, catalogues)),
        dict(Counter(key for key, _ in by)),
        dict(Counter(word for records in catalogues for words in records.words for word in words)),
    )


def copies(records: Records, apart: Iterable[str] = ()) -> Int64Array:
    """Return for each record the place of the first, by id, that nothing tells apart from it; often its own.

    Parameters
    ----------
    records : Records
    apart : iterable of str
        Ids that are nobody's copies, such as those that a person decided on.

    Examples
    --------
    >>> names = {"track_id": ["b", "a", "c"], "artists": ["Ann"] * 3, "track_name": ["River", "river", "Sea"]}
    >>> copies(read_records(pa.table(names))).tolist()
    [1, 1, 2]
    """
    alone = set(apart)
    first: dict[Any, int] = {}
    found = np.arange(len(records))
    for place in sorted(range(len(records)), key=records.ids.__getitem__):
        if records.ids[place] not in alone:
            found[place] = first.setdefault(records.likeness[place], place)
    return found


def _objects(values: Iterable[str]) -> Objects:
    listed = list(values)
    found = np.empty(len(listed), object)
    found[:] = listed
    return found


def _seconds(text: str) -> float:
    try:
        seconds = float(text) / 1000
    except ValueError:
        return np.nan
    return seconds if 0 < seconds < 1e6 else np.nan


def _year(text: str) -> int:
    digits = text.strip()[:4]
    return int(digits) if digits.isdecimal() and digits.isascii() and 1000 < int(digits) < 3000 else 0
