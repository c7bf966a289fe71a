"""Pairs that are proposed, compared and decided: what holds of all, and examples with invented names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.matching.blocking import candidates
from specrec.matching.comparisons import COMPARISONS, STEP, WEIGHTS, Thresholds, compare, place_of, score
from specrec.matching.decisions import DECISIONS, Rule, decide, gaps_of
from specrec.matching.match import explained, match, matches_of, rows_of
from specrec.matching.records import Records, count, read_records

WORDS = st.sampled_from(["River", "Long", "Night", "Sun", "Home", "夜", "2", "The", "Rollin'"])
TITLES = st.builds(
    lambda words, tail: " ".join(words) + tail,
    st.lists(WORDS, min_size=1, max_size=3),
    st.sampled_from(["", "", "", " (Live)", " - 2011 Remaster", " (Ann Remix)", ", Pt. 2", " (feat. Bob)", "!"]),
)
ARTISTS = st.sampled_from(
    ["Ann", "The Ann", "Ann & Bob", "Bob", "Tin Whistles", "Various", "J. S. Bach", "Tin Whistels"]
)
ROWS = st.tuples(
    ARTISTS, TITLES, st.sampled_from(["", "Album", "Live at the Mill"]),
    st.sampled_from(["", "180000", "190000", "250000"]),
    st.sampled_from(["", "1999", "2000-01-01"]), st.sampled_from(["", "", "XX1234567890"]),
)  # fmt: skip
CATALOGUES = st.lists(ROWS, min_size=1, max_size=8)
COLUMNS = ("artists", "track_name", "album_name", "duration_ms", "year", "isrc")


def catalogue(rows, prefix="r") -> Records:
    ids = [f"{prefix}{number}" for number in range(len(rows))]
    return read_records(pa.table({"track_id": ids} | dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))))


def named(*names, prefix="r") -> Records:
    return catalogue([(artists, title, "", "", "", "") for artists, title in names], prefix)


def every_pair(left, right):
    rows, columns = np.divmod(np.arange(len(left) * len(right)), len(right))
    return rows, columns


def levels_of(one, other):
    """Return the names of the levels at which two records, each (artists, title, …), are compared."""
    fill = ("",) * (len(COLUMNS) - len(one))
    left, right = catalogue([(*one, *fill)]), catalogue([(*other, *fill)])
    at = compare(left, right, np.array([0]), np.array([0]), count(left, right))
    return {name: COMPARISONS[name][of[0]].name for name, of in at.items()}


def decision(one, other):
    fill = ("",) * (len(COLUMNS) - len(one))
    rows = rows_of(match(catalogue([(*one, *fill)], "l"), catalogue([(*other, *fill)], "r"))).to_pylist()
    return rows[0]["decision"]


@given(CATALOGUES, CATALOGUES)
@settings(max_examples=30, deadline=None)
def test_comparisons_are_the_same_from_either_side(a, b):
    left, right = catalogue(a), catalogue(b)
    rows, columns = every_pair(left, right)
    frequencies = count(left, right)
    there = compare(left, right, rows, columns, frequencies)
    back = compare(right, left, columns, rows, frequencies)
    assert {name: of.tolist() for name, of in there.items()} == {name: of.tolist() for name, of in back.items()}


@given(CATALOGUES, CATALOGUES)
@settings(max_examples=25, deadline=None)
def test_a_pair_is_compared_the_same_in_whatever_company(a, b):
    left, right = catalogue(a), catalogue(b)
    rows, columns = every_pair(left, right)
    frequencies = count(left, right)
    together = compare(left, right, rows, columns, frequencies)
    last = len(rows) - 1
    alone = compare(left, right, rows[last:], columns[last:], frequencies)
    assert {name: of[last] for name, of in together.items()} == {name: of[0] for name, of in alone.items()}


@given(CATALOGUES, CATALOGUES)
@settings(max_examples=30, deadline=None)
def test_weights_add_up_to_the_score_exactly(a, b):
    table = rows_of(match(catalogue(a, "l"), catalogue(b, "r"))).to_pylist()
    for row in table:
        if row["score"] is not None:
            assert sum(row[name] for name in COMPARISONS) == row["score"]
            assert sum(row[name] for name in reversed(COMPARISONS)) == row["score"]
            assert all(row[name] % STEP == 0 for name in COMPARISONS)


@given(CATALOGUES, CATALOGUES)
@settings(max_examples=30, deadline=None)
def test_each_record_is_matched_once_but_for_copies(a, b):
    left, right = catalogue(a, "l"), catalogue(b, "r")
    found = match(left, right)
    table = rows_of(found).to_pylist()
    assert {row["left_id"] for row in table} == set(left.ids)
    matched = [row for row in table if row["decision"] == "match"]
    own = [row for row in matched if row["rule"] != "copy"]
    for side in ("left_id", "right_id"):
        ids = [row[side] for row in own]
        assert len(ids) == len(set(ids))
    assert sorted((row["left_id"], row["right_id"]) for row in matched) == matches_of(found)
    likeness = dict(zip(left.ids, left.likeness, strict=True))
    by_right = {row["right_id"]: row["left_id"] for row in own}
    for row in matched:
        if row["rule"] == "copy" and row["right_id"] in by_right:
            assert likeness[row["left_id"]] == likeness[by_right[row["right_id"]]]


@given(CATALOGUES, CATALOGUES, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_rows_is_of_no_account(a, b, random):
    left, right = catalogue(a, "l"), catalogue(b, "r")
    shuffled = [list(range(len(side))) for side in (left, right)]
    for order in shuffled:
        random.shuffle(order)
    again = match(left.take(shuffled[0]), right.take(shuffled[1]))
    assert rows_of(again).equals(rows_of(match(left, right)))


@given(CATALOGUES, CATALOGUES, st.data())
@settings(max_examples=30, deadline=None)
def test_what_a_person_decided_always_wins(a, b, data):
    left, right = catalogue(a, "l"), catalogue(b, "r")
    pairs = st.tuples(st.sampled_from(left.ids), st.sampled_from(right.ids))
    manual = data.draw(st.dictionaries(pairs, st.sampled_from(DECISIONS), min_size=1, max_size=4))
    table = rows_of(match(left, right, manual)).to_pylist()
    told = {(row["left_id"], row["right_id"]): (row["decision"], row["rule"]) for row in table}
    for pair, said in manual.items():
        assert told[pair] == (said, "manual")
    by_hand = {pair for pair, said in manual.items() if said == "match"}
    for pair, (said, rule) in told.items():
        if said == "match" and rule not in ("manual", "copy"):
            assert pair[0] not in {one for one, _ in by_hand}
            assert pair[1] not in {other for _, other in by_hand}


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(-20, 40)),
        max_size=25,
        unique_by=lambda of: of[:2],
    )
)
@settings(max_examples=100, deadline=None)
def test_gaps_are_what_a_loop_over_rivals_finds(pairs):
    rows, columns, scores = (np.array([pair[at] for pair in pairs], np.int64) for at in range(3))
    gaps = gaps_of(rows, columns, scores / 8)
    best_left = {row: max(s for r, _, s in pairs if r == row) for row, _, _ in pairs}
    best_right = {column: max(s for _, c, s in pairs if c == column) for _, column, _ in pairs}
    for (row, column, own), gap in zip(pairs, gaps.tolist(), strict=True):
        rivals = [s for r, c, s in pairs if r == row and c != column and s >= best_right[c]]
        rivals += [s for r, c, s in pairs if c == column and r != row and s >= best_left[r]]
        assert np.isnan(gap) if not rivals else gap == (own - max(rivals)) / 8


def test_weights_are_multiples_of_a_step_and_every_level_says_why():
    for levels in COMPARISONS.values():
        assert all(level.weight % STEP == 0 and level.why for level in levels)
        assert len({level.name for level in levels}) == len(levels)


def test_other_weights_are_brought_to_the_step():
    levels = {name: np.zeros(1, np.int8) for name in COMPARISONS}
    weights = {name: tuple(weight + 0.01 for weight in of) for name, of in WEIGHTS.items()}
    assert score(levels, weights).scores == score(levels).scores


# --- worked examples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("Tin Whistles", "Rollin' Home"), ("The Tin Whistles", "Rolling Home - 2011 Remaster"), "match"),
        (("Tin Whistles", "The Long River"), ("Tin Whistels", "The Long River"), "match"),
        (("Tin Whistles", "The Long River"), ("Tin Whistles", "The Lnog River"), "match"),
        (("Ann feat. Bob", "Long River"), ("Ann", "Long River (feat. Bob)"), "match"),
        (("Ann Example & The Sevens", "Long River"), ("Ann Example", "Long River"), "match"),
        (("夜の合唱団", "夜の歌"), ("夜の合唱団", "夜の歌"), "match"),
        (("Ann", "Long River"), ("Ann", "Long River (Live)"), "none"),
        (("Ann", "Long River"), ("Ann", "Long River (Bob Remix)"), "none"),
        (("Ann", "Long River"), ("Ann", "Long River - Instrumental"), "none"),
        (("Ann", "Long River"), ("Ann", "Long River (Karaoke Version)"), "none"),
        (("Ann", "Long River (Bob Remix)"), ("Ann", "Long River (Cy Dee Remix)"), "none"),
        (("Ann", "Long River (Bob Remix)"), ("Ann", "Long River [Bob Remix]"), "match"),
        (("Ann", "Long River, Pt. 2"), ("Ann", "Long River (Part 3)"), "none"),
        (("Ann", "Long River, Pt. 2"), ("Ann", "Long River (Part II)"), "match"),
        (("Ann", "River Song 1"), ("Ann", "River Song 2"), "none"),
        (("Ann", "Plan A"), ("Ann", "Plan B"), "review"),
        (("Ann", "Long River Home"), ("Bob Sample", "Long River Home"), "none"),
        (("Various", "Intro"), ("Various", "Intro"), "none"),
        (("Various", "Long River Home"), ("Various", "Long River Home"), "review"),
    ],
)  # fmt: skip
def test_pairs_that_are_decided_by_their_names(one, other, expected):
    assert decision(one, other) == expected
    assert decision(other, one) == expected


WORK = "Sonata No. 2 in D minor, BWV 9999"


@pytest.mark.parametrize(
    ("one", "movement", "other", "same_work", "expected"),
    [
        ("Bach", ": II. Allegro", "Ann Example", ", Allegro", "match"),
        ("Bach", ": II. Allegro", "Ann Example", ": III. Allegro", "none"),
        ("Bach", ", Andante", "Ann Example", ": III. Allegro", "none"),
        ("Bach", ", Andante", "Bach;Ann Example", ": III. Allegro", "review"),
        ("Bob Sample", ", Allegro", "Ann Example", ": II. Allegro", "none"),
        ("Bach;Bob Sample", ", Allegro", "Bach;Ann Example", ": II. Allegro", "none"),
        ("Bach;Bob Sample", ", Allegro", "Bach", ": II. Allegro", "match"),
        ("Bach", ", Allegro", "Leonard Bernstein & The Sevens", ": II. Allegro", "match"),  # who conducts, too
        ("Bach", ", Allegro", "Mozart;Bob Sample", ": II. Allegro", "none"),
    ],
)
def test_works_are_told_apart_by_their_numbers_and_their_players(one, movement, other, same_work, expected):
    assert decision((one, WORK + movement), (other, WORK + same_work)) == expected


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(2, "within 2 s"), (10, "within 10 s"), (30, "within 30 s"), (31, "more than 30 s apart")],
)
def test_lengths_have_ten_seconds_of_grace_and_thirty_at_most(seconds, level):
    one = ("Ann", "River", "", "100000", "", "")
    assert levels_of(one, ("Ann", "River", "", str(100_000 + 1000 * seconds), "", ""))["length"] == level
    assert levels_of(one, ("Ann", "River", "", "", "", ""))["length"] == "not known"
    assert levels_of(one, ("Ann", "River", "", "unknown", "", ""))["length"] == "not known"


def test_an_equal_isrc_acquits_and_an_unequal_one_does_not_convict():
    live = ("Ann", "Long River (Live)", "", "", "", "XX1234567890")
    assert decision(("Ann", "Long River", "", "", "", "xx-123-45-67890"), live) == "match"
    assert (
        decision(
            ("Ann", "Long River", "", "", "", "YY1234567890"), ("Ann", "Long River", "", "", "", "XX1234567890")
        )
        == "match"
    )


def test_a_live_album_says_that_its_songs_are_live():
    live = ("Ann", "Long River (Live)", "", "", "", "")
    assert decision(("Ann", "Long River", "Live at the Mill", "", "", ""), live) == "match"
    assert decision(("Ann", "Long River", "The Mill", "", "", ""), live) == "none"


def test_a_rare_title_says_more_than_a_common_one():
    others = [(f"Artist {number}", "Home Again Now") for number in range(60)]
    left, right = named(("Ann", "Home Again Now"), *others), named(("Ann", "Home Again Now"))
    levels = compare(left, right, np.array([0]), np.array([0]), count(left, right))
    assert levels["rarity"] == place_of("rarity", "very common")
    assert levels_of(("Ann", "Home Again Now"), ("Ann", "Home Again Now"))["rarity"] == "rare"


def test_two_that_are_equally_good_are_for_a_person():
    left = catalogue([("Ann", "Long River", "", "", "", "")], "l")
    right = catalogue([("Ann", "Long River", "Red", "", "", ""), ("Ann", "Long River", "Blue", "", "", "")], "r")
    rows = rows_of(match(left, right)).to_pylist()
    assert [(row["right_id"], row["decision"], row["gap"], row["rule"]) for row in rows] == [
        ("r0", "review", 0.0, "gap")
    ]
    rows = rows_of(match(left, right, {("l0", "r1"): "match"})).to_pylist()
    assert [(row["right_id"], row["decision"]) for row in rows] == [("r1", "match")]


def test_what_is_told_apart_by_nothing_is_matched_as_one():
    left = named(("Ann", "Long River"), ("Ann", "Long  River"), prefix="l")
    right = named(("Ann", "Long River"))
    assert matches_of(match(left, right)) == [("l0", "r0"), ("l1", "r0")]
    rules = [row["rule"] for row in rows_of(match(left, right)).to_pylist()]
    assert rules == ["equal names", "copy"]
    assert [each.right_id for each in explained(match(left, right), "l1")] == ["r0"]


def test_a_record_that_is_like_nothing_is_told():
    [row] = rows_of(match(named(("Ann", "Xyz"), prefix="l"), named(("Tin Whistles", "Home")))).to_pylist()
    assert (row["right_id"], row["decision"], row["rule"]) == (None, "none", "no candidate")


def test_a_better_pair_takes_the_record():
    left = named(("Ann", "Long River"), ("Ann", "Long River Home"), prefix="l")
    right = named(("Ann", "Long River"))
    rows = {row["left_id"]: (row["decision"], row["rule"]) for row in rows_of(match(left, right)).to_pylist()}
    assert rows == {"l0": ("match", "equal names"), "l1": ("review", "taken")}


def test_no_pairs_are_no_decisions():
    none = np.zeros(0, np.int64)
    decided = decide(none, none, score({name: np.zeros(0, np.int8) for name in COMPARISONS}), Thresholds())
    assert len(decided.decisions) == len(decided.gaps) == 0


# --- blocks ---------------------------------------------------------------------------------------------------


def met(left, right, **bound):
    frequencies = count(left, right)
    found = candidates(left, right, frequencies, **bound)
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True)), found.counted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Tin Whistles", "The Long River"), ("Tin Whistels", "The Long Rivre")),
        (("Ann", "Long River"), ("Ann", "Mountain")),
        (("Ann feat. Bob", "Long River"), ("Bob", "Mountain")),
        (("Bach", "Partita in D, BWV 9999: Allemande"), ("Ann Example", "Suite (BWV 9999)")),
        (("夜の合唱団", "夜の歌"), ("Yoru", "夜の歌")),
    ],
)
def test_records_meet_by_artist_words_numbers_or_letters(one, other):
    assert met(named(one), named(other))[0] == {(0, 0)}


def test_strangers_do_not_meet():
    assert met(named(("Ann", "Long River")), named(("Tin Whistles", "Mountain")))[0] == set()


@given(CATALOGUES, CATALOGUES, st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_no_block_is_larger_than_its_bound_and_what_is_left_out_is_counted(a, b, bound):
    left, right = catalogue(a), catalogue(b)
    bounded, counted = met(left, right, most_pairs=bound)
    free, all_of = met(left, right)
    assert bounded <= free
    for one, other in zip(counted, all_of, strict=True):
        assert one.pairs <= bound * (one.blocks - one.too_large)
        assert (one.blocks, one.pairs + one.pairs_left_out) == (other.blocks, other.pairs)


def test_rules_are_in_the_order_of_evidence():
    assert list(Rule)[:4] == [Rule.MANUAL, Rule.ISRC, Rule.EQUAL_NAMES, Rule.SCORE]
