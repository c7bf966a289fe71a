"""Two catalogues matched: read, blocked, compared, decided; and what is written of each record of the left one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from specrec.arrays import Int64Array
from specrec.matching.blocking import MOST_PAIRS, Candidates, Counted, candidates
from specrec.matching.comparisons import COMPARISONS, WEIGHTS, Scored, Thresholds, Weights, compare, score
from specrec.matching.decisions import DECISIONS, MATCH, NONE, RULES, Decided, Rule, decide
from specrec.matching.records import Records, copies, count

#: What a person decided, by the ids of both sides.
Manual = Mapping[tuple[str, str], str]

#: The rules that are no decision of a pair: the record is told apart by nothing from another, which is matched; and
#: nothing is like it.
COPY, NO_CANDIDATE = "copy", "no candidate"
_PAIRS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Matching:
    """All candidates of two catalogues, compared and decided.

    Attributes
    ----------
    left, right : Records
        Without copies, by id.
    left_copies, right_copies : dict of list of str
        The ids of the copies of each record that has some, by its own id, ascending.
    rows, columns : int64, shape (pairs,)
        The places of each pair's records.
    scored : Scored
    decided : Decided
    counted : tuple of Counted
        What the blocks came to.
    """

    left: Records
    right: Records
    left_copies: dict[str, list[str]]
    right_copies: dict[str, list[str]]
    rows: Int64Array
    columns: Int64Array
    scored: Scored
    decided: Decided
    counted: tuple[Counted, ...]


def match(
    left: Records,
    right: Records,
    manual: Manual | None = None,
    *,
    thresholds: Thresholds | None = None,
    weights: Weights = WEIGHTS,
    most_pairs: int = MOST_PAIRS,
    tell: Callable[[tuple[Counted, ...]], None] | None = None,
) -> Matching:
    """Match the records of two catalogues.

    Records of one side that nothing tells apart are one, as far as this goes: the first by id is matched, and its
    copies as it is.

    Parameters
    ----------
    left, right : Records
    manual : dict or None
        What a person decided of pairs of ids: ``match``, ``review`` or ``none``.
    thresholds : Thresholds or None
        None: the defaults.
    weights : Weights
    most_pairs : int
        The bound on the pairs of a block.
    tell : callable or None
        Called with what the blocks come to, before anything is compared.

    Examples
    --------
    >>> from specrec.matching.records import read_records
    >>> names = {"track_id": ["l1"], "artists": ["Tin Whistles"], "track_name": ["Long River"]}
    >>> left = read_records(pa.table(names))
    >>> right = read_records(pa.table({"track_id": ["r1", "r2"], "artists": ["The Tin Whistles"] * 2,
    ...                                "track_name": ["Long River (Live)", "Long River"]}))
    >>> rows_of(match(left, right)).select(["left_id", "right_id", "decision", "score", "rule"]).to_pylist()
    [{'left_id': 'l1', 'right_id': 'r2', 'decision': 'match', 'score': 18.5, 'rule': 'equal names'}]
    """
    manual = manual or {}
    left, left_copies = _without_copies(left, [pair[0] for pair in manual])
    right, right_copies = _without_copies(right, [pair[1] for pair in manual])
    frequencies = count(left, right)
    found = candidates(left, right, frequencies, most_pairs)
    if tell:
        tell(found.counted)
    said = _places(manual, left, right)
    rows, columns = _with(found, said, len(right))
    parts = [
        compare(left, right, rows[at], columns[at], frequencies)
        for at in (slice(start, start + _PAIRS_AT_ONCE) for start in range(0, max(len(rows), 1), _PAIRS_AT_ONCE))
    ]
    scored = score({name: np.concatenate([part[name] for part in parts]) for name in COMPARISONS}, weights)
    decided = decide(rows, columns, scored, thresholds or Thresholds(), said)
    return Matching(left, right, left_copies, right_copies, rows, columns, scored, decided, found.counted)


def rows_of(matching: Matching) -> pa.Table:
    """Return a row for each left record: its match, or else its best candidate; and one for each manual decision.

    Parameters
    ----------
    matching : Matching

    Returns
    -------
    pyarrow.Table
        `left_id`, `right_id` (null: no candidate), `decision`, `score` and `gap` in bits, `rule`, and what each
        comparison counts, which adds up to the score; by `left_id`, then `right_id`.
    """
    rows, columns, decided = matching.rows, matching.columns, matching.decided
    is_manual = decided.rules == Rule.MANUAL
    order = np.lexsort(
        (columns, -matching.scored.scores, is_manual & (decided.decisions == 2), decided.decisions, rows)
    )
    first = np.r_[True, rows[order][1:] != rows[order][:-1]] if len(order) else np.zeros(0, bool)
    shown = order[first | is_manual[order]]
    left_ids = np.array(matching.left.ids, object)
    right_ids = np.array(matching.right.ids, object)
    rules = np.array([RULES[rule][0] for rule in Rule], object)
    found: dict[str, list[object]] = {
        "left_id": left_ids[rows[shown]].tolist(),
        "right_id": right_ids[columns[shown]].tolist(),
        "decision": [DECISIONS[of] for of in decided.decisions[shown].tolist()],
        "score": matching.scored.scores[shown].tolist(),
        "gap": [None if np.isnan(gap) else gap for gap in decided.gaps[shown].tolist()],
        "rule": rules[decided.rules[shown]].tolist(),
    }
    found |= {name: weights[shown].tolist() for name, weights in matching.scored.weights.items()}
    lists = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    lists += [copy for row in lists for copy in _copies_of(row, matching)]
    with_row = {row["left_id"] for row in lists}
    lists += [
        dict.fromkeys(found) | {"left_id": name, "decision": NONE, "rule": NO_CANDIDATE}
        for own in matching.left.ids
        for name in (own, *matching.left_copies.get(own, ()))
        if name not in with_row
    ]
    lists.sort(key=lambda row: (str(row["left_id"]), str(row["right_id"] or "")))
    return pa.Table.from_pylist(lists, schema=SCHEMA)


@dataclass(frozen=True)
class Part:
    """What a comparison found in a pair, what that counts in bits, and why."""

    comparison: str
    level: str
    weight: float
    why: str


@dataclass(frozen=True)
class Candidate:
    """A right record that a left one was compared with.

    Attributes
    ----------
    right_id : str
    decision, why : str
        What was decided, and by which rule.
    score : float
        Bits, the sum of the parts.
    gap : float or None
        Bits to the best other pair of either record; None: there is no other.
    parts : tuple of Part
    """

    right_id: str
    decision: str
    why: str
    score: float
    gap: float | None
    parts: tuple[Part, ...]


def explained(matching: Matching, left_id: str) -> list[Candidate]:
    """Return the candidates of a left record, or of the one that it is a copy of, best first.

    Examples
    --------
    >>> from specrec.matching.records import read_records
    >>> records = read_records(pa.table({"track_id": ["1"], "artists": ["Ann"], "track_name": ["Intro"]}))
    >>> [candidate] = explained(match(records, records), "1")
    >>> candidate.score, [(part.level, part.weight) for part in candidate.parts if part.comparison == "rarity"]
    (13.5, [('very common', -5.0)])
    """
    own = next((first for first, ids in matching.left_copies.items() if left_id in ids), left_id)
    mine = np.flatnonzero(matching.rows == matching.left.ids.index(own))
    order = mine[
        np.lexsort((matching.columns[mine], -matching.scored.scores[mine], matching.decided.decisions[mine]))
    ]
    found = []
    for pair in order.tolist():
        gap = float(matching.decided.gaps[pair])
        levels = {name: COMPARISONS[name][int(of[pair])] for name, of in matching.scored.levels.items()}
        found.append(
            Candidate(
                matching.right.ids[int(matching.columns[pair])],
                DECISIONS[int(matching.decided.decisions[pair])],
                RULES[Rule(int(matching.decided.rules[pair]))][1],
                float(matching.scored.scores[pair]),
                None if np.isnan(gap) else gap,
                tuple(
                    Part(name, level.name, float(matching.scored.weights[name][pair]), level.why)
                    for name, level in levels.items()
                ),
            )
        )
    return found


def matches_of(matching: Matching) -> list[tuple[str, str]]:
    """Return the ids of all matches, those of copies as well; by left id, then right id."""
    matched = np.flatnonzero(matching.decided.decisions == DECISIONS.index(MATCH))
    pairs = [
        (matching.left.ids[row], matching.right.ids[column])
        for row, column in zip(matching.rows[matched].tolist(), matching.columns[matched].tolist(), strict=True)
    ]
    return sorted(each for pair in pairs for each in _with_copies(*pair, matching))


#: The columns that are written.
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("left_id", "right_id", "decision")),
        *((name, pa.float64()) for name in ("score", "gap")),
        ("rule", pa.string()),
        *((name, pa.float64()) for name in COMPARISONS),
    ]
)


def _copies_of(row: dict[str, object], matching: Matching) -> list[dict[str, object]]:
    """Return the rows of the copies of a row's records."""
    left, right = str(row["left_id"]), str(row["right_id"])
    if row["decision"] == MATCH:
        return [
            row | {"left_id": one, "right_id": other, "rule": COPY}
            for one, other in _with_copies(left, right, matching)[1:]
        ]
    return [row | {"left_id": copy} for copy in matching.left_copies.get(left, ())]


def _with_copies(left: str, right: str, matching: Matching) -> list[tuple[str, str]]:
    """Return a match, then the matches of the copies of both records, in pairs as far as these go.

    Where one side has more of them, the rest go with the other's, from the first on again.
    """
    lefts = [left, *matching.left_copies.get(left, ())]
    rights = [right, *matching.right_copies.get(right, ())]
    return [(lefts[at % len(lefts)], rights[at % len(rights)]) for at in range(max(len(lefts), len(rights)))]


def _without_copies(records: Records, apart: list[str]) -> tuple[Records, dict[str, list[str]]]:
    """Return records by id, each once, and the ids of the copies of each that has some."""
    first = copies(records, apart)
    own = sorted(set(first.tolist()), key=records.ids.__getitem__)
    found: dict[str, list[str]] = {}
    for place in sorted(np.flatnonzero(first != np.arange(len(first))).tolist(), key=records.ids.__getitem__):
        found.setdefault(records.ids[first[place]], []).append(records.ids[place])
    return records.take(own), found


def _places(manual: Manual, left: Records, right: Records) -> dict[tuple[int, int], str]:
    """Return what a person decided by the places of the records; of ids that there are not, nothing."""
    lefts, rights = ({name: place for place, name in enumerate(records.ids)} for records in (left, right))
    return {
        (lefts[one], rights[other]): said
        for (one, other), said in manual.items()
        if one in lefts and other in rights
    }


def _with(found: Candidates, said: Mapping[tuple[int, int], str], columns: int) -> tuple[Int64Array, Int64Array]:
    """Return the candidates with those that a person brought together."""
    more = np.array(list(said), np.int64).reshape(-1, 2)
    pairs = np.unique(np.r_[found.left * columns + found.right, more[:, 0] * columns + more[:, 1]])
    rows, at = np.divmod(pairs, max(columns, 1))
    return rows, at
