"""Blocking: which pairs are compared at all. Records meet in blocks, and a block is all records that share a key.

Keys of several kinds are made of each record alone, so that Spark can join on them. What one kind misses
another finds: an artist's tracks meet by the artist's name; a work whose composer is named by one catalogue and
whose players by the other, by its rarest words and its number; and what is misspelled anywhere, by its
trigrams.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from specrec.arrays import Int64Array
from specrec.matching.folding import key_of
from specrec.matching.records import Frequencies, Records

#: A block of more pairs than this is not compared: what it holds is common, and rarer keys find its pairs.
MOST_PAIRS = 10_000
#: So many of a title's rarest words are keys.
_RAREST = 4
#: Trigrams are hashed to bands of so many least values. Two sets of which a share s is common meet with probability
#: 1 - (1 - s**3)**20: .05 at s = .14, .93 at s = .5, and surely at .75 (Broder 1997; Leskovec et al., Mining of
#: Massive Datasets, 2020, chapter 3).
_BANDS, _ROWS = 20, 3
_PRIME = np.uint64((1 << 31) - 1)

Keys = list[list[str]]


@dataclass(frozen=True)
class Counted:
    """What blocks of one kind come to, told before anything is compared.

    Attributes
    ----------
    kind : str
    blocks, pairs : int
        Blocks that both sides share, and the pairs in those that are compared.
    too_large, pairs_left_out : int
        Blocks that are not compared, and their pairs.
    """

    kind: str
    blocks: int
    pairs: int
    too_large: int
    pairs_left_out: int


@dataclass(frozen=True)
class Candidates:
    """Pairs that share a key, each once, by their places: ascending by left, then by right.

    Attributes
    ----------
    left, right : int64, shape (pairs,)
    counted : tuple of Counted
        A line for each kind of key.
    """

    left: Int64Array
    right: Int64Array
    counted: tuple[Counted, ...]


def artist_keys(records: Records, frequencies: Frequencies) -> Keys:
    """Return the keys of all artists of each record, guests as well, and of all together."""
    return [
        sorted({*credit.keys, *credit.guest_keys, key_of(credit.whole)} - {""}) if not credit.is_nobody else []
        for credit in records.credits
    ]


def rare_word_keys(records: Records, frequencies: Frequencies) -> Keys:
    """Return the rarest words of each title, and the whole of it."""
    seen = frequencies.words
    return [
        [key, *sorted(words, key=lambda word: (seen.get(word, 0), word))[:_RAREST]]
        for key, words in zip(records.base_keys, records.words, strict=True)
    ]


def work_keys(records: Records, frequencies: Frequencies) -> Keys:
    """Return the numbers in catalogues of works, and ISRCs."""
    return [
        [
            f"{name} {value}"
            for name, value in title.facts.items()
            if title.is_work and name not in ("key", "movement")
        ]
        + ([f"isrc {isrc}"] if isrc else [])
        for title, isrc in zip(records.titles, records.isrcs, strict=True)
    ]


def trigram_keys(records: Records, frequencies: Frequencies) -> Keys:
    """Return bands of the least hashes of each record's trigrams, of title and artists together.

    Two names of which a letter differs share most trigrams, and so, very likely, one band at least.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from specrec.matching.records import count, read_records
    >>> table = pa.table({"track_id": ["1", "2", "3"], "artists": ["Tin Whistles", "Tin Whistels", "Ann Example"],
    ...                   "track_name": ["The Long River", "The Long River", "Nothing of the Kind"]})
    >>> records = read_records(table)
    >>> one, typo, other = map(set, trigram_keys(records, count(records)))
    >>> bool(one & typo), bool(one & other)
    (True, False)
    """
    grams = [
        _trigrams(f"{title} {credit.whole}")
        for title, credit in zip(records.full_keys, records.credits, strict=True)
    ]
    if not grams:
        return []
    starts = np.cumsum([0, *map(len, grams[:-1])])
    hashes = np.array([zlib.crc32(gram.encode()) for of in grams for gram in of], np.uint64) % _PRIME
    random = np.random.default_rng(0)
    factors = random.integers(1, int(_PRIME), (2, _BANDS * _ROWS), dtype=np.uint64)
    least = np.empty((len(grams), _BANDS * _ROWS), np.uint64)
    for column, (factor, term) in enumerate(factors.T):
        least[:, column] = np.minimum.reduceat((hashes * factor + term) % _PRIME, starts)
    bands = least.reshape(len(grams), _BANDS, _ROWS)
    return [[f"{band} {' '.join(map(str, values))}" for band, values in enumerate(of)] for of in bands.tolist()]


#: The ways in which records meet.
KINDS: dict[str, Callable[[Records, Frequencies], Keys]] = {
    "artist": artist_keys,
    "rare words": rare_word_keys,
    "numbers": work_keys,
    "trigrams": trigram_keys,
}


def candidates(left: Records, right: Records, frequencies: Frequencies, most_pairs: int = MOST_PAIRS) -> Candidates:
    """Return the pairs of two catalogues that are worth comparing.

    Parameters
    ----------
    left, right : Records
    frequencies : Frequencies
        Of both.
    most_pairs : int
        The bound on the pairs of a block.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from specrec.matching.records import count, read_records
    >>> rows = {"track_id": ["1", "2"], "artists": ["Ann", "Tin Whistles"], "track_name": ["River", "Mountain"]}
    >>> records = read_records(pa.table(rows))
    >>> found = candidates(records, records, count(records))
    >>> found.left.tolist(), found.right.tolist(), found.counted[0].pairs
    ([0, 1], [0, 1], 2)
    """
    pairs, counted = [np.zeros(0, np.int64)], []
    for kind, keys_of in KINDS.items():
        found, told = _of_kind(
            kind, keys_of(left, frequencies), keys_of(right, frequencies), most_pairs, len(right)
        )
        pairs.append(found)
        counted.append(told)
    rows, columns = np.divmod(np.unique(np.concatenate(pairs)), max(len(right), 1))
    return Candidates(rows, columns, tuple(counted))


def _of_kind(kind: str, left: Keys, right: Keys, most_pairs: int, columns: int) -> tuple[Int64Array, Counted]:
    """Return the pairs of one kind of key, each as left · columns + right, and what they come to."""
    numbers: dict[str, int] = {}
    rows, row_keys = _numbered(left, numbers)
    others, other_keys = _numbered(right, numbers)
    sizes, other_sizes = (np.bincount(keys, minlength=len(numbers)) for keys in (row_keys, other_keys))
    products = sizes * other_sizes
    compared = (products > 0) & (products <= most_pairs)
    order = np.argsort(other_keys, kind="stable")
    others, starts = others[order], np.concatenate([[0], np.cumsum(other_sizes)])
    kept = compared[row_keys]
    rows, row_keys = rows[kept], row_keys[kept]
    many = other_sizes[row_keys]
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    found = np.repeat(rows, many) * columns + others[np.repeat(starts[row_keys], many) + within]
    too_large = products > most_pairs
    return found, Counted(
        kind,
        int((products > 0).sum()),
        int(products[compared].sum()),
        int(too_large.sum()),
        int(products[too_large].sum()),
    )


def _numbered(keys: Keys, numbers: dict[str, int]) -> tuple[Int64Array, Int64Array]:
    """Return rows and the numbers of their keys, each key of a row once; new keys are added to `numbers`."""
    found = [
        (row, numbers.setdefault(key, len(numbers))) for row, of in enumerate(keys) for key in dict.fromkeys(of)
    ]
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _trigrams(text: str) -> Sequence[str]:
    padded = f"  {text} "
    return sorted({padded[at : at + 3] for at in range(len(padded) - 2)})
