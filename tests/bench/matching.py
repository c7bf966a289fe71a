"""How well two catalogues are matched: python tests/bench/matching.py FOLDER CATALOGUE.

FOLDER holds two lists of the same clips under the names that two sources give them (catalogue_a.csv,
catalogue_b.csv), and the pairs that an audio fingerprint found (same_recording_fingerprint.csv). CATALOGUE is a
CSV of other tracks, in the columns of `tracks`.

- **Recall at a precision of .985**: the tracks of the catalogue are added to the left side, and then to the
  right one, as strangers; a match of a stranger is false. Thresholds are chosen on the pairs of one half, by a
  hash of the left id, with strangers on either side: the most recall at a precision of .985 or more. They are
  stated on the other half, and the other way round; what is printed is of both together, and, as shipped, by the
  thresholds that specrec has. A track of the catalogue is called a namesake that
  has the seed's cleaned title and artist of a record: it is most likely no stranger. All figures are given with
  namesakes and without.
- **Weights** by default, by expectation and maximisation (Winkler 1988; without any pair known), and counted on
  the pairs of the other half.
- **False merges**: pairs that are different recordings by the rule that made them: two titles of one artist, a
  title that two artists have or are given, and a title with and without a tail that names a concert, a remix
  and the like, as the catalogue itself writes such tails. Each pair is scored alone, with nothing better beside
  it: by all that the catalogue says of both records, or by title and artist where one of them is made.
- **The seed's methods**: equal cleaned titles and artists; and the best cleaned key by token sort ratio, from
  90 on.

The rules of specrec were written with all pairs in sight: halves keep thresholds and weights honest, not the
rules.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
from rapidfuzz import fuzz, process
from results import write

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.duplicates.titles import clean_titles
from specrec.matching.comparisons import COMPARISONS, WEIGHTS, Levels, Thresholds, Weights, compare, score
from specrec.matching.decisions import decide
from specrec.matching.files import read_table
from specrec.matching.match import Matching, match, matches_of
from specrec.matching.records import Records, count, read_records

BUILD = Path(__file__).resolve().parents[2] / "build" / "bench"
PRECISION = 0.985
MATCH_AT = tuple(np.arange(-4, 26, 1.0).tolist())
GAPS = (0.0, 1.0, 2.0)
#: How many pairs of different recordings there are; a third are of one artist at most, as far as the catalogue has
#: them, half of the others of one title.
DIFFERENT = 100_000
#: A tail of a title, in the catalogue's own words; not by specrec's rules, which are what is measured.
_TAIL = re.compile(
    r"(?:\s-\s|\s?[(\[])(?!from\b)[^()\[\]]*(?:\blive\b|remix|ao vivo|en vivo|instrumental|karaoke|ac[uo][ús]stic)"
    r"[^()\[\]]*[)\]]?$",
    re.IGNORECASE,
)

Pair = tuple[str, str]


@dataclass(frozen=True)
class Quality:
    """Matches that are right, all that were found, and all that there are."""

    right: int
    found: int
    wanted: int

    def __add__(self, other: Quality) -> Quality:
        """Return the sum of two halves."""
        return Quality(self.right + other.right, self.found + other.found, self.wanted + other.wanted)

    @property
    def precision(self) -> float:
        """The share of what was found that is right; 1 where nothing was."""
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """The share of what there is that was found."""
        return self.right / self.wanted

    def told(self) -> dict[str, float]:
        """Return what is written."""
        return {"precision": round(self.precision, 4), "recall": round(self.recall, 4), "matches": self.found}


def quality(found: Sequence[Pair], truth: frozenset[Pair], half: int | None = None) -> Quality:
    """Count the matches of a half, or of all."""
    mine = [pair for pair in found if half is None or half_of(pair[0]) == half]
    wanted = sum(half is None or half_of(pair[0]) == half for pair in truth)
    return Quality(sum(pair in truth for pair in mine), len(mine), wanted)


def half_of(left_id: str) -> int:
    """Return the half that a left record and its pairs are in."""
    return zlib.crc32(left_id.encode()) % 2


# --- the seed's methods ---------------------------------------------------------------------------------------


def seeds_key(title: str, artists: str) -> tuple[str, str]:
    """Return a title and an artist as the seed cleans them."""
    title = re.sub(r"/.*", "", re.sub(r"\(.*?\)", "", title.lower()))
    artist = re.sub(r"(feat\.|with).*", "", artists.lower().split(";")[0])
    cleaned = [re.sub(r"[^a-z0-9\s]", "", text).strip() for text in (title, artist)]
    return cleaned[0], cleaned[1]


def keys_of(table: pa.Table) -> list[tuple[str, str]]:
    """Return the seed's keys of a table."""
    columns = (table[name].fill_null("").to_pylist() for name in ("track_name", "artists"))
    return [seeds_key(title, artists) for title, artists in zip(*columns, strict=True)]


def exact_merge(left: pa.Table, right: pa.Table) -> list[Pair]:
    """Return each left record with the first right one of an equal key."""
    first: dict[tuple[str, str], str] = {}
    for key, name in zip(keys_of(right), right["track_id"].to_pylist(), strict=True):
        first.setdefault(key, name)
    ids = left["track_id"].to_pylist()
    return [(name, first[key]) for key, name in zip(keys_of(left), ids, strict=True) if key in first]


def fuzzy_merge(left: pa.Table, right: pa.Table, least: float = 90) -> list[Pair]:
    """Return each left record with the best right one by token sort ratio, if that reaches `least`."""
    first: dict[str, str] = {}
    for key, name in zip(keys_of(right), right["track_id"].to_pylist(), strict=True):
        first.setdefault(" - ".join(key), name)
    choices, found = list(first), []
    for key, name in zip(keys_of(left), left["track_id"].to_pylist(), strict=True):
        best = process.extractOne(" - ".join(key), choices, scorer=fuzz.token_sort_ratio, score_cutoff=least)
        if best:
            found.append((name, first[best[0]]))
    return found


# --- weights --------------------------------------------------------------------------------------------------


def by_counts(levels: dict[str, Levels], probability: Float64Array) -> Weights:
    """Return log2 of how much oftener each level is met among matches than among others.

    Parameters
    ----------
    levels : dict of int8, shape (pairs,)
    probability : float64, shape (pairs,)
        That a pair is a match.
    """
    found = {}
    for name, of in levels.items():
        size = len(COMPARISONS[name])
        m, u = (np.bincount(of, weights, size) + 0.5 for weights in (probability, 1 - probability))
        weights = np.log2(m / m.sum()) - np.log2(u / u.sum())
        seen = np.bincount(of, minlength=size) > 0
        found[name] = tuple(np.where(seen, weights, WEIGHTS[name]).tolist())
    return found


def by_em(levels: dict[str, Levels], rounds: int = 30) -> Weights:
    """Return weights by expectation and maximisation, beginning with what the defaults make of the pairs."""
    scores = score(levels).scores
    probability = (scores >= Thresholds().match).astype(np.float64)
    for _ in range(rounds):
        weights, share = by_counts(levels, probability), max(probability.mean(), 1e-9)
        scores = score(levels, weights).scores + np.log2(share / (1 - share))
        probability = 1 / (1 + np.exp2(-scores))
    return by_counts(levels, probability)


# --- recall at a precision ------------------------------------------------------------------------------------


def decided(matching: Matching, weights: Weights, thresholds: Thresholds) -> list[Pair]:
    """Return the matches by other weights and thresholds."""
    scored = score(matching.scored.levels, weights)
    said = decide(matching.rows, matching.columns, scored, thresholds)
    return matches_of(replace(matching, scored=scored, decided=said))


def at_precision(matchings: dict[str, Matching], truth: frozenset[Pair], kind: str) -> dict[str, Any]:
    """Choose thresholds on each half, with strangers on either side, and state what they give on the other half."""
    both, chosen = {side: Quality(0, 0, 0) for side in matchings}, []
    for half in (0, 1):
        weights = {side: weights_of(matching, truth, kind, half) for side, matching in matchings.items()}
        found = {
            side: {
                at: decided(matching, weights[side], Thresholds(match=at[0], review=at[0], gap=at[1]))
                for at in product(MATCH_AT, GAPS)
            }
            for side, matching in matchings.items()
        }
        of_half = {
            at: sum((quality(pairs[at], truth, half) for pairs in found.values()), Quality(0, 0, 0))
            for at in product(MATCH_AT, GAPS)
        }
        precise = [at for at, of in of_half.items() if of.precision >= PRECISION and of.found]
        precise = precise or [max(of_half, key=lambda at: (of_half[at].precision, of_half[at].recall))]
        # of equally good ones, those that are nearest to specrec's own
        best = max(precise, key=lambda at: (of_half[at].recall, of_half[at].precision, -_apart(at)))
        for side, pairs in found.items():
            both[side] += quality(pairs[best], truth, 1 - half)
        chosen.append({"chosen_on_half": half, "match": best[0], "gap": best[1]} | of_half[best].told())
        chosen[-1]["weights"] = weights["left"]
    return {side: of.told() for side, of in both.items()} | {"thresholds": chosen}


def _apart(at: tuple[float, float]) -> float:
    """Return how far a threshold and a gap are from those that specrec has."""
    usual = Thresholds()
    return abs(at[0] - usual.match) + abs(at[1] - usual.gap)


def weights_of(matching: Matching, truth: frozenset[Pair], kind: str, half: int) -> Weights:
    """Return weights of a kind, as far as the pairs of a half tell them."""
    levels = matching.scored.levels
    if kind == "default":
        return WEIGHTS
    if kind == "em":
        return by_em(levels)
    mine = np.array([half_of(matching.left.ids[row]) == half for row in matching.rows.tolist()])
    is_true = np.array([pair in truth for pair in ids_of(matching)])
    return by_counts({name: of[mine] for name, of in levels.items()}, is_true[mine].astype(np.float64))


def ids_of(matching: Matching) -> list[Pair]:
    """Return the ids of all candidates."""
    return [
        (matching.left.ids[row], matching.right.ids[column])
        for row, column in zip(matching.rows.tolist(), matching.columns.tolist(), strict=True)
    ]


def doubtful(left: Records, right: Records, truth: frozenset[Pair]) -> list[dict[str, str]]:
    """Return the pairs of the fingerprint whose names say that they are wrong, and what they say."""
    rows, columns = (
        np.array([{name: at for at, name in enumerate(records.ids)}[pair[side]] for pair in sorted(truth)])
        for side, records in enumerate((left, right))
    )
    levels = compare(left, right, rows, columns, count(left, right))
    at = {
        name: [COMPARISONS[name][level].name for level in of.tolist()]
        for name, of in levels.items()
        if name in ("title", "artist", "version", "numbers")
    }
    found = []
    for place, pair in enumerate(sorted(truth)):
        said = {name: of[place] for name, of in at.items()}
        wrong = (
            "another piece" if said["title"] in ("different", "unlike") and said["numbers"] != "three agree" else
            "another artist" if said["artist"] == "different" else
            "another version" if said["version"] == "another recording" else
            "another part" if said["numbers"] == "contradict" else ""
        )  # fmt: skip
        if wrong:
            found.append({"left_id": pair[0], "right_id": pair[1], "why": wrong} | said)
    return found


# --- different recordings -------------------------------------------------------------------------------------


def false_merges(catalogue: pa.Table, match_at: float, weights: Weights = WEIGHTS) -> dict[str, Any]:
    """Make pairs of different recordings out of a catalogue, and count those that would be matched."""
    records, rng = read_records(catalogue), np.random.default_rng(0)
    frequencies, keys = count(records), keys_of(catalogue)
    titles = dict(zip(*(catalogue[name].to_pylist() for name in ("track_id", "track_name")), strict=True))
    told: dict[str, Any] = {}
    total, wrong = 0, 0
    for at, (kind, make) in enumerate(_MAKERS.items()):
        wanted = (DIFFERENT - total) // (len(_MAKERS) - at)
        left, right, rows, columns = make(catalogue, records, keys, wanted, rng)
        scores = score(compare(left, right, rows, columns, frequencies), weights).scores
        merged = np.flatnonzero(scores >= match_at)
        told[kind] = {
            "pairs": len(rows),
            "false": len(merged),
            "rate": round(len(merged) / len(rows), 5),
            "examples": [
                [_called(left, rows[at], titles), _called(right, columns[at], titles), float(scores[at])]
                for at in merged[:: max(len(merged) // 20, 1)].tolist()
            ],
        }
        total, wrong = total + len(rows), wrong + len(merged)
    return {"pairs": total, "false": wrong, "false_merge_rate": round(wrong / total, 6), "kinds": told}


Made = tuple[Records, Records, Int64Array, Int64Array]


def _one_artist(
    table: pa.Table, records: Records, keys: list[tuple[str, str]], wanted: int, rng: np.random.Generator
) -> Made:
    """Return pairs of one first artist whose cleaned titles differ by more than an edition, or so many by lot."""
    editions = clean_titles(table["track_name"].to_pandas()).to_list()
    by_artist: dict[str, list[int]] = {}
    for place, (_, artist) in enumerate(keys):
        if artist:
            by_artist.setdefault(artist, []).append(place)
    pairs = [
        (a, b)
        for places in by_artist.values()
        for at, a in enumerate(places)
        for b in places[at + 1 :]
        if keys[a][0] != keys[b][0] and keys[a][0] and keys[b][0] and editions[a] != editions[b]
    ]
    return records, records, *_drawn(pairs, wanted, rng)


def _one_title(
    table: pa.Table, records: Records, keys: list[tuple[str, str]], wanted: int, rng: np.random.Generator
) -> Made:
    """Return pairs of one title by two artists: those of the catalogue, then titles that are given another's."""
    by_title: dict[str, list[int]] = {}
    for place, (title, _) in enumerate(keys):
        if title:
            by_title.setdefault(title, []).append(place)
    # the first artist of one is nowhere among those of the other
    found = [
        (a, b)
        for places in by_title.values()
        for at, a in enumerate(places)
        for b in places[at + 1 :]
        if not records.credits[a].keys & records.credits[b].keys
        and not records.credits[a].guest_keys & records.credits[b].keys
        and not records.credits[b].guest_keys & records.credits[a].keys
    ]
    rows, columns = _drawn(found, wanted, rng)
    more = wanted - len(rows)
    given, by = (rng.integers(0, len(records), 2 * more) for _ in range(2))
    apart = np.array(
        [not records.credits[a].keys & records.credits[b].keys for a, b in zip(given, by, strict=True)]
    )
    given, by = given[apart][:more], by[apart][:more]
    unknown = pa.table({name: [""] * len(given) for name in ("track_id", "artists", "track_name")})
    nothing = read_records(unknown)
    covers = Records(
        tuple(
            f"{at}: by {records.credits[other].whole}, of {records.credits[one].whole}"
            for at, (one, other) in enumerate(zip(given.tolist(), by.tolist(), strict=True))
        ),
        tuple(records.titles[at] for at in given.tolist()),
        tuple(records.credits[at] for at in by.tolist()),
        *(getattr(nothing, name) for name in _FIELDS),
    )
    right = _joined(records, covers)
    return records, right, np.r_[rows, given], np.r_[columns, len(records) + np.arange(len(given))]


def _another_version(
    table: pa.Table, records: Records, keys: list[tuple[str, str]], wanted: int, rng: np.random.Generator
) -> Made:
    """Return titles with and without a tail that names a version, in the catalogue's own words."""
    titles, artists = table["track_name"].fill_null("").to_pylist(), table["artists"].fill_null("").to_pylist()
    tails = [found[0] for title in titles if (found := _TAIL.search(title))]
    bare = [place for place, title in enumerate(titles) if title and not re.search(r" - |[(\[]", title)]
    given = rng.choice(bare, wanted)
    drawn = rng.integers(0, len(tails), wanted)
    versions = read_records(
        pa.table(
            {
                "track_id": [
                    f"{at}: {titles[place]}{tails[tail]}"
                    for at, (place, tail) in enumerate(zip(given.tolist(), drawn.tolist(), strict=True))
                ],
                "artists": [artists[place] for place in given.tolist()],
                "track_name": [
                    titles[place] + tails[tail] for place, tail in zip(given.tolist(), drawn.tolist(), strict=True)
                ],
            }
        )
    )
    names_alone = read_records(table.select(["track_id", "artists", "track_name"]))
    return names_alone, versions, given, np.arange(wanted)


_FIELDS = ("albums", "album_kinds", "seconds", "years", "isrcs")
_MAKERS = {"one artist": _one_artist, "one title": _one_title, "another version": _another_version}


def _called(records: Records, at: int, titles: dict[str, str]) -> str:
    """Return what a record is called in an example."""
    credit, name = records.credits[at], records.ids[at]
    return f"{credit.whole}: {titles[name]}" if name in titles else name


def _drawn(pairs: list[tuple[int, int]], wanted: int, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
    found = np.array(pairs, np.int64).reshape(-1, 2)
    if len(found) > wanted:
        found = found[np.sort(rng.choice(len(found), wanted, replace=False))]
    return found[:, 0], found[:, 1]


def _joined(a: Records, b: Records) -> Records:
    return Records(
        a.ids + b.ids, a.titles + b.titles, a.credits + b.credits,
        *(np.concatenate([getattr(a, name), getattr(b, name)])
          for name in _FIELDS),
    )  # fmt: skip


# --- all of it ------------------------------------------------------------------------------------------------


def each_once(table: pa.Table) -> pa.Table:
    """Return the first row of each id: some catalogues list a track once for every genre."""
    first: dict[str, int] = {}
    for place, name in enumerate(table["track_id"].to_pylist()):
        first.setdefault(name, place)
    return table.take(list(first.values()))


def with_strangers(table: pa.Table, strangers: pa.Table) -> pa.Table:
    """Return a table with more rows."""
    return pa.concat_tables([table, strangers], promote_options="default")


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.argument("catalogue", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=BUILD / "matching.json", help="Where results go.")
def main(folder: Path, catalogue: Path, out: Path) -> None:
    names = {"artists": "artist", "track_name": "title"}
    left = read_table(folder / "catalogue_a.csv", {"track_id": "a_id", **names})
    right = read_table(folder / "catalogue_b.csv", {"track_id": "b_id", "isrc": "isrc", **names})
    pairs = read_table(folder / "same_recording_fingerprint.csv", {"a_id": "a_id", "b_id": "b_id"})
    truth = frozenset(zip(pairs["a_id"].to_pylist(), pairs["b_id"].to_pylist(), strict=True))
    tracks = each_once(read_table(catalogue, {}))
    known = {*keys_of(left), *keys_of(right)}
    strange: BoolArray = np.array([key not in known for key in keys_of(tracks)])
    results: dict[str, Any] = {
        "pairs": len(truth), "strangers": tracks.num_rows, "namesakes": int((~strange).sum()),
    }  # fmt: skip
    for among, strangers in (("all", tracks), ("without_namesakes", tracks.filter(strange))):
        print(f"strangers: {among}")
        results[among] = measured(left, right, strangers, truth)
        worse = min((results[among]["default"][side] for side in ("left", "right")), key=lambda of: of["recall"])
        key = "recall_at_985" if among == "all" else "recall_at_985_without_namesakes"
        results[key], results[key.replace("recall_at", "precision_at")] = worse["recall"], worse["precision"]
        print(f"{key}: {worse['recall']} at a precision of {worse['precision']}")
    results["different_recordings"] = false_merges(tracks, Thresholds().match)
    results["false_merge_rate"] = results["different_recordings"]["false_merge_rate"]
    counted = results["all"]["counted"]["thresholds"][0]
    by_counted = false_merges(tracks, counted["match"], counted["weights"])
    results["false_merge_rate_of_counted"] = by_counted["false_merge_rate"]
    print(f"false_merge_rate: {results['false_merge_rate']}; counted: {results['false_merge_rate_of_counted']}")
    results["doubtful_pairs"] = doubtful(read_records(left), read_records(right), truth)
    print(f"pairs of the fingerprint that their names contradict: {len(results['doubtful_pairs'])}")
    write(results, out)


def measured(left: pa.Table, right: pa.Table, strangers: pa.Table, truth: frozenset[Pair]) -> dict[str, Any]:
    """Measure specrec, with strangers on the left and then on the right, and the seed's methods beside it."""
    sides = {"left": (with_strangers(left, strangers), right), "right": (left, with_strangers(right, strangers))}
    matchings, seconds = {}, {}
    for side, tables in sides.items():
        began = time.perf_counter()
        matchings[side] = match(read_records(tables[0]), read_records(tables[1]))
        seconds[side] = round(time.perf_counter() - began, 2)
    found: dict[str, Any] = {kind: at_precision(matchings, truth, kind) for kind in ("default", "em", "counted")}
    found["as_shipped"] = {side: quality(matches_of(of), truth).told() for side, of in matchings.items()}
    found["seed_exact_merge"] = {side: quality(exact_merge(*of), truth).told() for side, of in sides.items()}
    found["seed_fuzzy_merge"] = {side: quality(fuzzy_merge(*of), truth).told() for side, of in sides.items()}
    for kind, of in found.items():
        told = (f"{side} P {of[side]['precision']:.4f} R {of[side]['recall']:.4f}" for side in sides)
        print(f"  {kind}: " + ", ".join(told))
    found["blocking"] = {side: blocked(of, truth) for side, of in matchings.items()}
    return found | {"seconds": seconds}


def blocked(matching: Matching, truth: frozenset[Pair]) -> dict[str, Any]:
    """Return how many pairs were compared, and which share of the true ones was among them."""
    pairs = ids_of(matching)
    reached = {(copy, other) for one, other in pairs for copy in (one, *matching.left_copies.get(one, ()))}
    return {
        "candidates": len(pairs),
        "true_pairs_reached": round(len(truth & reached) / len(truth), 4),
        "kinds": [vars(counted) for counted in matching.counted],
    }


if __name__ == "__main__":
    main()
