"""What people are told of their lists is read again: all that there are words for, and every lie is found."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.measurements import truth as measured
from specrec.evaluate.people_truth import Count, PeopleTables, PeopleTruthChecker
from specrec.evaluate.truth import ATTRIBUTES, FEATURES, TruthChecker, values_of
from specrec.recommend.phrases import phrases

LIKED, UNLIKED = "“Rain, which you like” by A, B", "“Noise” by C"
TABLES = PeopleTables(
    titles={"rain": LIKED, "noise": UNLIKED, "new": "“New”", "some": "“Some”", "alone": "alone", "bad": "bad"},
    preferences={"ann": {"rain": 0.5, "noise": -1.0, "alone": 0.1}, "": {}},
    opinions={"some": Count(9, 12), "bad": Count(0, 3), "rain": Count(4, 5)},
    both={("rain", "some"): Count(3, 4), ("noise", "some"): Count(2, 6), ("rain", "bad"): Count(0, 4)},
    nearby={("ann", "some"): Count(5, 50)},
    fitted={"rain", "noise", "some", "alone", "bad"},
    cosines={("rain", "some"): 0.6, ("noise", "some"): -0.4, ("noise", "bad"): 0.7, ("rain", "bad"): -0.5},
    sounds={},
)
QUIET = {"tempo": 120.0, "key": 0, "mode": 1, "key_strength": 0.9, "spectral_centroid_mean": 1_000.0}


def sound() -> TruthChecker:
    """A reader of how tracks sound alike, that knows two of them: of the same tempo."""
    ids = ["rain", "some"]
    features = {name: [QUIET.get(name, 1.0)] * 2 for name in FEATURES}
    features |= {"spectral_contrast_mean": [[1.0]] * 2, "mfcc_std": [[1.0, 1.0]] * 2}
    attributes = pd.DataFrame({"track_id": ids} | {name: [0.5, 0.5] for name in ATTRIBUTES})
    levels = pd.DataFrame({"track_id": ids, "levels": [[0.0] * 6] * 2})
    tags = pd.DataFrame({"track_id": ids, "space": ["m"] * 2, "tags": [None] * 2})
    values = values_of(pd.DataFrame({"track_id": ids} | features), levels, attributes, tags)
    return TruthChecker(values, values)


#: Of each kind of part: the component, the known track that it is due to, the sign, the track, and two numbers.
PARTS: dict[str, tuple[str, str | None, int, str, int, int]] = {
    "als_liked_for": ("als", "rain", 1, "some", 0, 0),
    "als_liked_against": ("als", "rain", -1, "some", 0, 0),
    "als_others": ("als", None, 1, "some", 0, 0),
    "content_liked_for": ("content", "rain", 1, "some", 0, 0),
    "content_liked_against": ("content", "rain", -1, "bad", 0, 0),
    "content_disliked_for": ("content", "noise", 1, "some", 0, 0),
    "content_disliked_against": ("content", "noise", -1, "bad", 0, 0),
    "content_others": ("content", None, -1, "some", 0, 0),
    "item_based_for": ("item_based", "rain", 1, "some", 3, 4),
    "item_based_against": ("item_based", "noise", -1, "some", 2, 6),
    "item_based_others": ("item_based", None, 1, "some", 0, 0),
    "user_based": ("user_based", None, 1, "some", 5, 50),
    "popularity": ("popularity", None, 1, "some", 9, 12),
    "popularity_new": ("popularity", None, 1, "new", 0, 0),
    "popularity_unheard": ("popularity", None, -1, "alone", 0, 0),
    "popularity_unliked": ("popularity", None, 1, "bad", 0, 3),
    "average": ("average", None, 1, "some", 9, 12),
    "average_new": ("average", None, 1, "new", 0, 0),
    "average_unheard": ("average", None, 1, "alone", 0, 0),
    "average_unliked": ("average", None, -1, "bad", 0, 3),
}


def row(kind: str, **changed: Any) -> dict[str, Any]:
    """A row whose one reason is of a kind, told with the words of phrases.yaml; `changed` is told otherwise."""
    family, known, sign, track, n, m = PARTS[kind]
    told = {"known": known, "title": TABLES.titles.get(known or ""), "n": n, "m": m, "part": 0.25 * sign} | changed
    words = {
        of: phrases("specrec.listeners")[of][kind].format(title=told["title"], n=told["n"], m=told["m"])
        for of in ("statement", "sentence")
    }
    reason = {
        "family": family, "feature": told["known"], "contribution": told["part"], "statement": words["statement"],
    }  # fmt: skip
    found = {"user_id": "ann", "track_id": track, "score": told["part"], "explanation": words["sentence"]}
    return found | {name: value for name, value in changed.items() if name in found} | {"reasons": [reason]}


def untrue(*rows: dict[str, Any], tables: PeopleTables = TABLES) -> list[str]:
    return [of.statement for of in PeopleTruthChecker(tables, sound()).untrue(rows)]


def test_all_that_there_are_words_for_is_read_and_true() -> None:
    words = phrases("specrec.listeners")
    assert set(PARTS) == set(words["statement"]) == set(words["sentence"])
    checker = PeopleTruthChecker(TABLES, sound())
    assert checker.untrue(map(row, PARTS)) == []
    assert checker.seen == set(checker.forms)


LIES: list[tuple[str, dict[str, Any]]] = [
    ("als_liked_for", {"title": UNLIKED}),
    ("als_liked_for", {"known": "noise", "title": UNLIKED}),  # ann does not like it
    ("als_liked_for", {"part": -0.25}),
    ("als_liked_for", {"user_id": ""}),
    ("als_liked_against", {"part": 0.25}),
    ("content_liked_for", {"track_id": "bad"}),  # which it sounds unlike
    ("content_liked_for", {"track_id": "new"}),  # which has no vector
    ("content_liked_against", {"track_id": "some"}),
    ("content_disliked_for", {"track_id": "bad"}),
    ("content_disliked_against", {"known": "rain", "title": LIKED}),
    ("item_based_for", {"n": 4}),
    ("item_based_for", {"m": 3}),
    ("item_based_for", {"track_id": "alone"}),
    ("item_based_against", {"n": 1}),
    ("item_based_others", {"user_id": ""}),  # who knows nothing
    ("user_based", {"n": 6}),
    ("user_based", {"m": 49}),
    ("user_based", {"track_id": "bad"}),
    ("popularity", {"m": 11}),
    ("popularity_new", {"track_id": "some"}),
    ("popularity_unheard", {"track_id": "bad"}),
    ("popularity_unheard", {"track_id": "new"}),
    ("popularity_unliked", {"m": 2}),
    ("average", {"n": 8}),
    ("average_new", {"track_id": "alone"}),
    ("average_unliked", {"track_id": "some"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changed"), LIES, ids=[f"{kind} {changed}" for kind, changed in LIES])
def test_a_planted_lie_is_found_in_the_statement_and_in_the_sentence(kind: str, changed: dict[str, Any]) -> None:
    told = row(kind, **changed)
    says_less = kind in ("content_liked_against", "item_based_against")  # the sentence names the known track alone
    assert untrue(told) == [told["reasons"][0]["statement"], *([] if says_less else [told["explanation"]])]


def test_a_sentence_is_of_one_of_the_reasons_and_the_parts_add_up() -> None:
    both = [row("content_liked_for"), row("item_based_for")]
    told = both[0] | {"reasons": [of["reasons"][0] for of in both], "score": 0.5}
    assert untrue(told) == []
    assert untrue(told | {"explanation": both[1]["explanation"]}) == []
    assert untrue(told | {"explanation": row("average")["explanation"]}) != []
    assert untrue(told | {"score": 0.5 + 2e-6}) == ["the parts add up to the score"]
    assert untrue(told | {"explanation": "Because."}) == ["Because."]


def test_how_a_track_sounds_like_a_known_one_is_read_again_too() -> None:
    first = row("content_liked_for")["explanation"]
    alike = f"{first} Sounds alike: nearly the same tempo (120 and 120 BPM)."
    assert untrue(row("content_liked_for", explanation=alike)) == []
    for lie in (
        f"{first} Sounds alike: nearly the same tempo (120 and 130 BPM).",
        f"{first} Sounds alike.",
        f"{first} Among the closest in overall sound, in rhythm above all.",  # no row of recommendations says so
    ):
        assert untrue(row("content_liked_for", explanation=lie)) == [lie]


def test_counts_may_be_off_by_those_who_changed_their_mind_since_and_by_no_more() -> None:
    changed = PeopleTables(**(vars(TABLES) | {"both": {("rain", "some"): Count(3, 4, changed=1)}}))
    assert untrue(row("item_based_for", n=4, m=5), tables=changed) == []
    assert len(untrue(row("item_based_for", n=5, m=5), tables=changed)) == 2


def test_the_share_of_what_is_true_is_measured_list_by_list() -> None:
    rows = [
        row("average"),
        row("popularity_new"),
        row("average", user_id="", n=8),
        row("average_unliked", user_id=""),
    ]
    (of,) = measured("hybrid", rows, PeopleTruthChecker(TABLES, sound()), Bootstrap(resamples=50))
    assert (of.metric, of.value, of.n) == ("people_explanation_truth", 0.75, 2)
    assert not of.details  # what is told to a person is nobody else's concern
