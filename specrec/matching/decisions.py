"""Decisions: which of the scored pairs are matches, which a person should look at, and which are none.

The order of evidence: what a person decided, an equal ISRC, equal names, the sum of all comparisons. A match must
moreover be ahead of whatever else either record may be, as in beets' tagger: where a second candidate is nearly as
good, one of them is wrong, and nothing here tells which. Each record is matched once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.matching.comparisons import Levels, Scored, Thresholds, place_of

#: What a pair can be.
MATCH, REVIEW, NONE = DECISIONS = ("match", "review", "none")


class Rule(IntEnum):
    """What decided a pair, in the order of evidence."""

    MANUAL = 0
    ISRC = 1
    EQUAL_NAMES = 2
    SCORE = 3
    GAP = 4
    TAKEN = 5


#: What each rule is called, and what it says.
RULES = {
    Rule.MANUAL: ("manual", "a person decided so"),
    Rule.ISRC: ("isrc", "both have the same ISRC"),
    Rule.EQUAL_NAMES: ("equal names", "title, artists and version are the same"),
    Rule.SCORE: ("score", "the sum of all comparisons"),
    Rule.GAP: ("gap", "another candidate is nearly as good"),
    Rule.TAKEN: ("taken", "one of the records is matched by a better one"),
}


@dataclass(frozen=True)
class Decided:
    """What was decided of each pair.

    Attributes
    ----------
    decisions : int8, shape (pairs,)
        The place in :data:`DECISIONS`.
    gaps : float64, shape (pairs,)
        Bits by which a pair is ahead of the best other pair of its records; nan: there is no other.
    rules : int8, shape (pairs,)
        A :class:`Rule`.
    """

    decisions: Levels
    gaps: Float64Array
    rules: Levels


def decide(
    rows: Int64Array,
    columns: Int64Array,
    scored: Scored,
    thresholds: Thresholds,
    manual: Mapping[tuple[int, int], str] | None = None,
) -> Decided:
    """Decide scored pairs.

    Parameters
    ----------
    rows, columns : int64, shape (pairs,)
        The records of each pair, numbered in the order by which ties go.
    scored : Scored
    thresholds : Thresholds
    manual : dict or None
        What a person decided of pairs: ``match``, ``review`` or ``none``.

    Returns
    -------
    Decided
        No record is in two matches, but where a person said so.

    Examples
    --------
    >>> from specrec.matching.comparisons import score
    >>> level = np.array([0, 0, 7], np.int8)
    >>> scored = score({"title": level, "artist": np.array([0, 1, 1], np.int8)})
    >>> decided = decide(np.array([0, 0, 1]), np.array([0, 1, 1]), scored, Thresholds(match=9, review=4, gap=1))
    >>> [DECISIONS[of] for of in decided.decisions], decided.gaps.tolist()
    (['match', 'none', 'none'], [1.0, -1.0, nan])
    """
    said = np.array([_said(manual, pair) for pair in zip(rows.tolist(), columns.tolist(), strict=True)], np.int8) \
        if manual else np.full(len(rows), -1, np.int8)  # fmt: skip
    scores = scored.scores
    same_isrc = _at(scored, "isrc", "same")
    equal_names = (
        _at(scored, "title", "same")
        & _at(scored, "artist", "same")
        & (_at(scored, "version", "none") | _at(scored, "version", "same, and named"))
    )  # fmt: skip
    gaps = gaps_of(rows, columns, np.where(said == DECISIONS.index(NONE), -np.inf, scores))
    rules = np.select(
        [said >= 0, same_isrc, equal_names], [Rule.MANUAL, Rule.ISRC, Rule.EQUAL_NAMES], Rule.SCORE
    ).astype(np.int8)
    decisions = np.select([scores >= thresholds.match, scores >= thresholds.review], [0, 1], 2).astype(np.int8)
    decisions[same_isrc] = 0
    close = (decisions == 0) & (gaps < thresholds.gap) & ~same_isrc
    decisions[said >= 0] = said[said >= 0]
    # the best first: what a person said, ISRCs, scores; then ids
    order = np.lexsort((columns, rows, close, -scores, rules > Rule.ISRC, rules > Rule.MANUAL))
    matches = order[decisions[order] == 0]
    kept = _each_once(rows, columns, matches, rules)
    taken = np.zeros(len(rows), bool)
    taken[matches] = True
    taken[kept] = False
    decisions[taken], rules[taken] = 1, Rule.TAKEN
    close &= ~taken & (said < 0)
    decisions[close], rules[close] = 1, Rule.GAP
    # what else a matched record may have been is settled
    is_matched = np.isin(rows, rows[decisions == 0])
    settled = is_matched & (decisions == 1) & (said < 0)
    decisions[settled], rules[settled] = 2, Rule.TAKEN
    return Decided(decisions, gaps, rules)


def gaps_of(rows: Int64Array, columns: Int64Array, scores: Float64Array) -> Float64Array:
    """Return by how much each pair is ahead of the best other pair of either record; nan where there is no other.

    A pair is no rival whose other record has a better one of its own.

    Parameters
    ----------
    rows, columns : int64, shape (pairs,)
    scores : float64, shape (pairs,)

    Examples
    --------
    >>> gaps_of(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([9.0, 8.0, 10.0])).tolist()
    [nan, -2.0, nan]
    """
    if not len(rows):
        return np.zeros(0)
    best_of_row, best_of_column = _best(rows, scores), _best(columns, scores)
    # as a rival of another pair of its row, a pair counts if it is its column's best; and the other way round
    of_row = _best_other(rows, np.where(scores >= best_of_column[columns], scores, -np.inf), columns)
    of_column = _best_other(columns, np.where(scores >= best_of_row[rows], scores, -np.inf), rows)
    rival = np.maximum(of_row, of_column)
    gaps: Float64Array = np.full(len(rows), np.nan)
    known = np.isfinite(rival) & np.isfinite(scores)
    gaps[known] = scores[known] - rival[known]
    return gaps


def _best(group: Int64Array, scores: Float64Array) -> Float64Array:
    """Return the best score of each group, by its number."""
    best = np.full(int(group.max()) + 1, -np.inf)
    np.maximum.at(best, group, scores)
    return best


def _best_other(group: Int64Array, scores: Float64Array, tie: Int64Array) -> Float64Array:
    """Return for each element the best score of the others in its group."""
    order = np.lexsort((tie, -scores, group))
    first = np.r_[True, group[order][1:] != group[order][:-1]]
    starts = np.flatnonzero(first)
    has_second = np.r_[starts[1:], len(order)] - starts > 1
    second = np.full(len(starts), -np.inf)
    second[has_second] = scores[order[starts[has_second] + 1]]
    place = np.cumsum(first) - 1
    found = np.empty(len(group))
    found[order] = np.where(first, second[place], scores[order[starts]][place])
    return found


def _each_once(rows: Int64Array, columns: Int64Array, order: Int64Array, rules: Levels) -> Int64Array:
    """Return the pairs, taken in an order, whose records are not taken yet; what a person said is always taken."""
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    kept = []
    for pair, row, column, rule in zip(
        order.tolist(), rows[order].tolist(), columns[order].tolist(), rules[order].tolist(), strict=True
    ):
        if rule == Rule.MANUAL or (row not in taken_rows and column not in taken_columns):
            taken_rows.add(row)
            taken_columns.add(column)
            kept.append(pair)
    return np.array(kept, np.int64)


def _at(scored: Scored, comparison: str, level: str) -> BoolArray:
    """Tell which pairs are at a level of a comparison."""
    if comparison not in scored.levels:
        return np.zeros(len(scored.scores), bool)
    found: BoolArray = scored.levels[comparison] == place_of(comparison, level)
    return found


def _said(manual: Mapping[tuple[int, int], str], pair: tuple[int, int]) -> int:
    said = manual.get(pair)
    return -1 if said is None else DECISIONS.index(said)
