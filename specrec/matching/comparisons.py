"""Comparisons: what agrees and what disagrees in a pair, how much each counts, and the sum of that.

The method is Fellegi and Sunter's (A Theory for Record Linkage, JASA 1969). A comparison puts a pair at one of its
levels, and a level has a weight: log2 of how much oftener it is met among pairs of one recording than among other
candidates. Weights are in bits and add up to the score. That a common title counts for less than a rare one is
Winkler's adjustment by frequency (Frequency-Based Matching in the Fellegi-Sunter Model, 2000).

Weights are multiples of 1/8, which doubles hold exactly: so sums are exact in whatever order they are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz
from rapidfuzz.process import cpdist
from scipy import sparse

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.matching.numerals import FORMS
from specrec.matching.records import Frequencies, Objects, Records
from specrec.matching.versions import OTHER_CUT, OTHER_RECORDING, SHORTENED, Kind

#: The steps in which weights are given, in bits.
STEP = 0.125
#: What acquits whatever else is said, and what convicts unless that acquits, in bits.
_ACQUITS, _CONVICTS = 20.0, -30.0
#: A catalogue is taken for a sample of at least so many records: in a file of ten every title seems rare.
_LEAST_RECORDS = 4096

Levels = npt.NDArray[np.int8]


class Level(NamedTuple):
    """A level of a comparison: its name, what it counts in bits, and why so much."""

    name: str
    weight: float
    why: str


#: The levels of each comparison, in the order in which :func:`compare` numbers them.
COMPARISONS: dict[str, tuple[Level, ...]] = {
    "title": (
        Level("same", 10, "one candidate in a thousand has the same title by chance"),
        Level("same but for a subtitle", 8, "a subtitle is left out often, and sometimes tells two songs apart"),
        Level("nearly the same", 7, "a typo, or a word that is spelled in two ways"),
        Level("same work", 4, "the numbers of the work agree, whose words are written in many ways"),
        Level("one holds a long other", 4, "four words are seldom within another title by chance"),
        Level("one holds the other", 2, "so do titles of different songs of one artist, though seldom"),
        Level("alike", -6, "chance makes titles so alike hardly less often than catalogues do"),
        Level("unlike", -9, "of what two catalogues call one recording one in a hundred is so unlike"),
        Level("different", -12, "that happens where a catalogue is wrong"),
    ),
    "artist": (
        Level("same", 8, "candidates share an artist by their block, and others one time in several hundred"),
        Level("all of one are among the other's", 7, "catalogues leave out guests and bands"),
        Level("nearly the same", 6, "a typo, or an article"),
        Level("one name holds the other", 4, "a band is named after its leader"),
        Level("one shared", 3, "people play with several others"),
        Level("not known", -9.5, "nobody is named, or `Various Artists`: a title alone is not enough"),
        Level("composer and players", -1, "whoever wrote a piece is named by one, whoever plays it by the other"),
        Level("composer and others", -5, "the same, but the titles have no number that would tell the piece"),
        Level("different", -14, "a cover, more often than a catalogue that names somebody else"),
        Level("other players", -20, "a work is played by many, and its title says nothing of who plays"),
    ),
    "version": (
        Level("same, and named", 3, "both name the same remix, concert or cut"),
        Level("none", 0.5, "no version is named: as most candidates"),
        Level("sold in another way", -0.5, "remastered, explicit, on an album: catalogues name it or do not"),
        Level("another length", -1.5, "a radio edit or a single is often called by its title alone"),
        Level("another cut", -5, "an extended version or a take is, though seldom"),
        Level("another recording", _CONVICTS, "live, remix, instrumental, …: another recording by its name"),
    ),
    "numbers": (
        Level("three agree", 9, "number, key and movement: hardly by chance"),
        Level("two agree", 6, "as the number and the key of a work"),
        Level("one agrees", 3, "many works have a first movement"),
        Level("none said by both", 0, "that tells nothing"),
        Level("said by one", -5, "a second part is seldom called by its title alone"),
        Level("contradict", _CONVICTS, "part 2 is not part 3"),
    ),
    "movement": (
        Level("same", 5, "movements are told apart by their tempo"),
        Level("in part the same", 0, "catalogues write out more of it, or less"),
        Level("not said by both", 0, "that tells nothing"),
        Level("different", -20, "an andante is no presto"),
    ),
    "rarity": (
        Level("rare", 1.5, "the title is of this artist alone, and of several words"),
        Level("usual", 0, "neither rare nor common, or the titles differ, and so share nothing that could be rare"),
        Level("common", -1.5, "several artists have the title"),
        Level("very common", -5, "many artists have it, or it names a place on an album, as `Intro` does"),
    ),
    "length": (
        Level("within 2 s", 3, "one in ten pairs of songs is so near"),
        Level("within 10 s", 1, "silence and fading differ between issues"),
        Level("not known", 0, "that tells nothing"),
        Level("within 30 s", -3, "an edit, or another recording"),
        Level("more than 30 s apart", -10, "another recording, or a catalogue that is wrong"),
    ),
    "album": (
        Level("same", 2, "songs of one artist share albums"),
        Level("alike", 1, "an edition of it"),
        Level("not known", 0, "that tells nothing"),
        Level("different", -0.5, "recordings are sold on many albums"),
    ),
    "year": (
        Level("same", 1, "songs of one artist share years"),
        Level("one apart", 0.5, "release and registration differ"),
        Level("not known", 0, "that tells nothing"),
        Level("different", -0.5, "recordings are issued again"),
    ),
    "isrc": (
        Level("same", _ACQUITS, "the code is of one recording"),
        Level("not known", 0, "that tells nothing"),
        Level("different", -0.5, "a recording that is issued again often gets another code"),
    ),
}  # fmt: skip

#: Bits of each level of each comparison.
Weights = Mapping[str, Sequence[float]]
WEIGHTS: Weights = {name: tuple(level.weight for level in levels) for name, levels in COMPARISONS.items()}


@dataclass(frozen=True)
class Thresholds:
    """From which score on a pair is what.

    Attributes
    ----------
    match : float
        Bits; one that reaches it is a match, unless its gap is too small.
    review : float
        Bits; one that reaches it, and is no match, is for a person to decide.
    gap : float
        Bits that a match must be ahead of whatever else it may be.
    """

    match: float = 3.0
    review: float = 0.0
    gap: float = 1.0


@dataclass(frozen=True)
class Scored:
    """Compared pairs.

    Attributes
    ----------
    levels : dict of int8, shape (pairs,)
        The level of each comparison, by its place in :data:`COMPARISONS`.
    weights : dict of float64, shape (pairs,)
        What each comparison counts, in bits.
    scores : float64, shape (pairs,)
        Their sums, exactly.
    """

    levels: dict[str, Levels]
    weights: dict[str, Float64Array] = field(repr=False)
    scores: Float64Array


def place_of(comparison: str, level: str) -> int:
    """Return the number of a level, by which :func:`compare` tells it.

    Examples
    --------
    >>> place_of("title", "nearly the same")
    2
    """
    return [each.name for each in COMPARISONS[comparison]].index(level)


def compare(
    left: Records, right: Records, rows: Int64Array, columns: Int64Array, frequencies: Frequencies
) -> dict[str, Levels]:
    """Compare pairs of records.

    Parameters
    ----------
    left, right : Records
    rows, columns : int64, shape (pairs,)
        The places of each pair in `left` and `right`.
    frequencies : Frequencies
        Of both.

    Returns
    -------
    dict of int8, shape (pairs,)
        The level of each comparison. With the sides exchanged it is the same.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from specrec.matching.records import count, read_records
    >>> rows = {"track_id": ["1", "2"], "artists": ["Ann", "Ann & Bob"], "track_name": ["River", "River (Live)"]}
    >>> records, place = read_records(pa.table(rows)), np.array([0, 1])
    >>> levels = compare(records, records, place[:1], place[1:], count(records))
    >>> {name: COMPARISONS[name][level[0]].name for name, level in levels.items()}["version"]
    'another recording'
    """
    numbers, agreeing = _numbers(left, right, rows, columns)
    title = _titles(left, right, rows, columns, agreeing)
    artist, one_composed = _artists(left, right, rows, columns)
    return {
        "title": title,
        "artist": artist,
        "version": _versions(left, right, rows, columns, one_composed),
        "numbers": numbers,
        "movement": _movements(left, right, rows, columns),
        "rarity": _rarity(left, right, rows, columns, frequencies=frequencies, title=title),
        "length": _lengths(left.seconds[rows], right.seconds[columns]),
        "album": _albums(left.albums[rows], right.albums[columns]),
        "year": _years(left.years[rows], right.years[columns]),
        "isrc": _isrcs(left.isrcs[rows], right.isrcs[columns]),
    }


def score(levels: dict[str, Levels], weights: Weights = WEIGHTS) -> Scored:
    """Weigh the levels of pairs.

    Examples
    --------
    >>> scored = score({"title": np.array([0, 2], np.int8), "artist": np.array([0, 8], np.int8)})
    >>> scored.scores.tolist(), scored.weights["artist"].tolist()
    ([18.0, -7.0], [8.0, -14.0])
    """
    parts = {name: (np.asarray(weights[name], np.float64)[of] / STEP).round() * STEP for name, of in levels.items()}
    return Scored(levels, parts, np.sum(list(parts.values()), axis=0))


def _titles(left: Records, right: Records, rows: Int64Array, columns: Int64Array, agreeing: Int64Array) -> Levels:
    """Compare titles: by words in any order, by words that both have, and by letters without blanks."""
    a, b = left.work_titles[rows], right.work_titles[columns]
    a_key, b_key = left.full_keys[rows], right.full_keys[columns]
    a_base, b_base = left.base_keys[rows], right.base_keys[columns]
    likeness = np.maximum(_similarity(fuzz.token_sort_ratio, a, b), _similarity(fuzz.ratio, a_key, b_key))
    within = _holds(a, b) | _holds(b, a)
    all_words = _similarity(fuzz.token_set_ratio, a, b) >= 100
    fewer_words = np.minimum(_lengths_of(left.words)[rows], _lengths_of(right.words)[columns])
    fewer_letters = np.minimum(_lengths_of(left.full_keys)[rows], _lengths_of(right.full_keys)[columns])
    with_subtitle = ((a_base == b_key) | (a_key == b_base) | (a_base == b_base)) & (fewer_words > 1)
    works = left.is_work[rows] & right.is_work[columns]
    return _first_of(
        "title",
        {
            "different": fewer_letters == 0,  # a blank title is nobody's
            "same": (a_key == b_key) & ~works,
            "same but for a subtitle": with_subtitle & ~works,
            # of few letters one more or less is another word
            "nearly the same": (likeness >= 88) & (fewer_letters >= 5) & ~works & ~_differ_by_a_letter(a, b),
            "same work": works & ((agreeing >= 2) | ((agreeing >= 1) & (all_words | (likeness >= 88)))),
            "one holds a long other": within & (fewer_words >= 4),
            "one holds the other": within & (fewer_words >= 2),
            "alike": (likeness >= 75) | (a_base == b_base),
            "unlike": likeness >= 50,
        },
        "different",
    )


def _artists(left: Records, right: Records, rows: Int64Array, columns: Int64Array) -> tuple[Levels, BoolArray]:
    """Compare artists as sets: those who play, and with guests; also tell where one side names composers alone."""
    mains = _Shared([credit.keys for credit in left.credits], [credit.keys for credit in right.credits])
    all_left, all_right = (
        [credit.keys | credit.guest_keys for credit in records.credits] for records in (left, right)
    )
    both = mains.count(rows, columns)
    among_right = _Shared([credit.keys for credit in left.credits], all_right).count(rows, columns)
    among_left = _Shared(all_left, [credit.keys for credit in right.credits]).count(rows, columns)
    of_left, of_right = mains.sizes[0][rows], mains.sizes[1][columns]
    composers = _Shared(
        [credit.composers for credit in left.credits], [credit.composers for credit in right.credits]
    )
    composing_left, composing_right = composers.sizes[0][rows], composers.sizes[1][columns]
    # both name the composer, and each names other players
    only_composers = (both > 0) & (both == composers.count(rows, columns))
    other_players = only_composers & (of_left > composing_left) & (of_right > composing_right)
    # players are named by the other side, and no other composer, but one who plays or conducts
    unheard_left, unheard_right = (
        _lengths_of([credit.only_composers for credit in records.credits])[at]
        for records, at in ((left, rows), (right, columns))
    )
    one_composes = ((of_left == composing_left) & (of_right > composing_right) & (unheard_right == 0)) | (
        (of_right == composing_right) & (of_left > composing_left) & (unheard_left == 0)
    )
    a, b = left.whole_credits[rows], right.whole_credits[columns]
    likeness = _similarity(fuzz.token_sort_ratio, a, b)
    within = (_similarity(fuzz.token_set_ratio, a, b) >= 100) | _begins(a, b) | _begins(b, a)
    fewer_words = np.minimum(*(_lengths_of([name.split() for name in of]) for of in (a, b)))
    fewer_letters = np.minimum(_lengths_of(a), _lengths_of(b))
    levels = _first_of(
        "artist",
        {
            "not known": left.is_by_nobody[rows] | right.is_by_nobody[columns],
            "same": ((both == of_left) & (both == of_right)) | (a == b),
            "other players": other_players,
            "all of one are among the other's": (among_right == of_left) | (among_left == of_right),
            "nearly the same": (likeness >= 88) & (fewer_letters >= 5),
            "one shared": _Shared(all_left, all_right).count(rows, columns) > 0,
            "one name holds the other": within & (fewer_words >= 2),
            "composer and players": one_composes & (left.is_work[rows] | right.is_work[columns]),
            "composer and others": one_composes,
        },
        "different",
    )
    works = left.is_work[rows] & right.is_work[columns]
    levels[works & (levels == place_of("artist", "different"))] = place_of("artist", "other players")
    return levels, one_composes


def _versions(
    left: Records, right: Records, rows: Int64Array, columns: Int64Array, one_composed: BoolArray
) -> Levels:
    """Compare versions: by their kinds, and those of one kind by whose they are."""
    a, b = left.kinds[rows], right.kinds[columns]
    # who names a composer and no player does not say which performance it is either
    performed = np.where(one_composed, int(Kind.LIVE | Kind.ALTERNATE), 0)
    silent = (a | b) & performed != 0
    a, b = a & ~performed, b & ~performed
    one_only = a ^ b
    # of an album `Live at …` some catalogues call no title live
    excused = (left.album_kinds[rows] & b) | (right.album_kinds[columns] & a)
    other = (one_only & int(OTHER_RECORDING) & ~excused) != 0
    a_by, b_by = left.by[rows], right.by[columns]
    both_named = (_lengths_of(a_by) > 0) & (_lengths_of(b_by) > 0)
    by_others = both_named & (_similarity(fuzz.token_sort_ratio, a_by, b_by) < 70)
    one_named = (_lengths_of(a_by) > 0) ^ (_lengths_of(b_by) > 0)
    is_remix, is_live = (((a & b) & int(kind)) != 0 for kind in (Kind.REMIX, Kind.LIVE))
    a_year, b_year = left.version_years[rows], right.version_years[columns]
    other_years = (a_year > 0) & (b_year > 0) & (a_year != b_year)
    long_and_short = ((a & int(Kind.EXTENDED) != 0) & (b & int(SHORTENED) != 0)) | (
        (b & int(Kind.EXTENDED) != 0) & (a & int(SHORTENED) != 0)
    )
    named = (a & int(OTHER_RECORDING | OTHER_CUT)) != 0
    return _first_of(
        "version",
        {
            "another recording": other | (is_remix & by_others) | (is_live & other_years) | long_and_short,
            "another cut": ((one_only & int(OTHER_CUT)) != 0) | (is_remix & one_named) | (is_live & by_others),
            "another length": ((one_only & int(SHORTENED)) != 0) | silent,
            "sold in another way": (one_only != 0) | other_years,
            "same, and named": named,
        },
        "none",
    )


def _numbers(left: Records, right: Records, rows: Int64Array, columns: Int64Array) -> tuple[Levels, Int64Array]:
    """Compare what titles say in numbers; also return how many of these agree."""
    facts = [[title.facts for title in records.titles] for records in (left, right)]
    names = _Shared(*([frozenset(of) for of in side] for side in facts)).count(rows, columns)
    same = _Shared(*([frozenset(of.items()) for of in side] for side in facts)).count(rows, columns)
    counted = [
        [frozenset(each for each in of.items() if each[0] not in _ALSO_WORDS) for of in side] for side in facts
    ]
    agreeing = _Shared(*counted).count(rows, columns)
    # what one says alone counts where one is a song: of works catalogues say more or less
    telling = [[frozenset(of.keys() & _TELLING) for of in side] for side in facts]
    shared = _Shared(*telling)
    said_by_one = (shared.sizes[0][rows] + shared.sizes[1][columns] > 2 * shared.count(rows, columns)) & ~(
        left.is_work[rows] & right.is_work[columns]
    )
    levels = _first_of(
        "numbers",
        {
            "contradict": same < names,
            "said by one": said_by_one,
            "three agree": agreeing >= 3,
            "two agree": agreeing == 2,
            "one agrees": agreeing == 1,
        },
        "none said by both",
    )
    return levels, agreeing


#: Facts that are compared as words of the title or as the version, too: that they agree counts once.
_ALSO_WORDS = frozenset({"number", "take"})
#: Facts that a catalogue leaves out of a title seldom.
_TELLING = frozenset({"part", "volume", "chapter", "number", *FORMS})


def _movements(left: Records, right: Records, rows: Int64Array, columns: Int64Array) -> Levels:
    a, b = left.movements[rows], right.movements[columns]
    works = left.is_work[rows] & right.is_work[columns]
    likeness = _similarity(fuzz.token_set_ratio, a, b)
    return _first_of(
        "movement",
        {
            "not said by both": ~works | (_lengths_of(a) == 0) | (_lengths_of(b) == 0),
            "same": a == b,
            "in part the same": likeness >= 75,
        },
        "different",
    )


def _rarity(
    left: Records,
    right: Records,
    rows: Int64Array,
    columns: Int64Array,
    *,
    frequencies: Frequencies,
    title: Levels,
) -> Levels:
    """Tell how common the title is that a pair shares: by how many artists have it."""
    a, b = (
        np.array([frequencies.titles.get(key, 1) for key in records.base_keys], np.int64)[at]
        for records, at in ((left, rows), (right, columns))
    )
    shares = np.maximum(a, b) / max(frequencies.records, _LEAST_RECORDS)
    words = np.minimum(_lengths_of(left.words)[rows], _lengths_of(right.words)[columns])
    agreeing = ("same", "same but for a subtitle", "nearly the same", "one holds a long other")
    agrees = np.isin(title, [place_of("title", name) for name in agreeing])
    return _first_of(
        "rarity",
        {
            "usual": ~agrees,
            "very common": (shares > 1 / 400) | left.is_generic[rows] | right.is_generic[columns],
            "common": shares > 1 / 1500,
            "rare": (np.maximum(a, b) <= 2) & (words >= 3),
        },
        "usual",
    )  # fmt: skip


def _lengths(a: Float64Array, b: Float64Array) -> Levels:
    apart = np.abs(a - b)
    return _first_of(
        "length",
        {
            "not known": np.isnan(apart),
            "within 2 s": apart <= 2,
            "within 10 s": apart <= 10,
            "within 30 s": apart <= 30,
        },
        "more than 30 s apart",
    )


def _albums(a: Objects, b: Objects) -> Levels:
    unknown = (_lengths_of(a) == 0) | (_lengths_of(b) == 0)
    alike = _similarity(fuzz.token_set_ratio, a, b) >= 90
    return _first_of("album", {"not known": unknown, "same": a == b, "alike": alike}, "different")


def _years(a: Int64Array, b: Int64Array) -> Levels:
    apart = np.abs(a - b)
    return _first_of(
        "year", {"not known": (a == 0) | (b == 0), "same": apart == 0, "one apart": apart == 1}, "different"
    )


def _isrcs(a: Objects, b: Objects) -> Levels:
    unknown = (_lengths_of(a) == 0) | (_lengths_of(b) == 0)
    return _first_of("isrc", {"not known": unknown, "same": a == b}, "different")


class _Shared:
    """How many elements the sets of pairs have in common, by products of sparse matrices.

    Parameters
    ----------
    left, right : sequence of frozenset
        A set for each record.

    Attributes
    ----------
    sizes : tuple of int64 arrays, shapes (left,) and (right,)
    """

    def __init__(self, left: Sequence[frozenset[Any]], right: Sequence[frozenset[Any]]) -> None:
        numbers: dict[Any, int] = {}
        found = [[[numbers.setdefault(item, len(numbers)) for item in of] for of in side] for side in (left, right)]
        self.sizes = tuple(_lengths_of(side) for side in found)
        self._left, self._right = (
            sparse.csr_array(
                (
                    np.ones(int(sizes.sum()), np.int32),
                    np.array([number for of in side for number in of], np.int64),
                    np.concatenate([[0], np.cumsum(sizes)]),
                ),
                shape=(len(side), max(len(numbers), 1)),
            )
            for side, sizes in zip(found, self.sizes, strict=True)
        )

    def count(self, rows: Int64Array, columns: Int64Array) -> Int64Array:
        """Return the number of common elements of each pair, shape (pairs,)."""
        if not len(rows):
            return np.zeros(0, np.int64)
        common: Int64Array = self._left[rows].multiply(self._right[columns]).sum(axis=1).astype(np.int64)
        return common


def _similarity(scorer: Any, a: Objects, b: Objects) -> Float64Array:
    """Return the similarity of each pair of texts, 0 to 100, by one of rapidfuzz's scorers."""
    if not len(a):
        return np.zeros(0)
    found: Float64Array = cpdist(a.tolist(), b.tolist(), scorer=scorer, dtype=np.float64, workers=1)
    return found


def _begins(a: Objects, b: Objects) -> BoolArray:
    """Tell of which pairs the second begins with the words of the first, the last of which may be a genitive."""
    return np.fromiter(
        (f"{other} ".startswith((f"{one} ", f"{one}s ")) for one, other in zip(a, b, strict=True)), bool, len(a)
    )


def _differ_by_a_letter(a: Objects, b: Objects) -> BoolArray:
    """Tell of which pairs each has a word of one letter that the other has not, as plan A and plan B."""
    letters = (
        {word for word in {*one.split()} ^ {*other.split()} if len(word) == 1}
        for one, other in zip(a, b, strict=True)
    )
    return np.fromiter((len(of) > 1 for of in letters), bool, len(a))


def _holds(a: Objects, b: Objects) -> BoolArray:
    """Tell of which pairs the second has all words of the first, one after the other."""
    return np.fromiter((f" {one} " in f" {other} " for one, other in zip(a, b, strict=True)), bool, len(a))


def _lengths_of(values: Any) -> Int64Array:
    return np.fromiter(map(len, values), np.int64, len(values))


def _first_of(comparison: str, conditions: Mapping[str, BoolArray], otherwise: str) -> Levels:
    """Return the place of the first level whose condition holds."""
    choices = [np.int8(place_of(comparison, name)) for name in conditions]
    return np.select(list(conditions.values()), choices, np.int8(place_of(comparison, otherwise))).astype(np.int8)
