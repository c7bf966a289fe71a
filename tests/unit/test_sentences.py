"""Which facts become reasons and which a sentence: by the rules written out for one pair."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.recommend.facts import Difference, Fact, Trait
from specrec.recommend.sentences import Told, reasons, sentences, tell

SCORED, BESIDE, STATED = 3, 1, 3
GROUPS = st.sampled_from(["treble", "bass", "noisiness"])
STATED_GROUPS = ["energy", "acousticness", "danceability"]
CHANCES = st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.300001, 0.9, np.inf])
PARTS = st.sampled_from([-0.25, 0.0, 0.125, 0.25, 0.375, 0.625])  # exact, and so are their averages
LENGTHS = st.sampled_from([5, 40, 80, 150])
UNHEARD = np.zeros(1)


def _columns(rows):
    return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]


def _trait(name, group):
    return Trait(name, group, [], f"in {name}")


def _difference(group, distance, holds):
    fact = Fact(
        "difference.louder", "rms_mean", UNHEARD, UNHEARD, np.array([holds]), UNHEARD, {"d": np.array([distance])}
    )
    return Difference(fact, np.array([distance]), group)


def _sentence_of(groups, words, chances, parts, *, score, apart):
    """The rules, for one pair. A trait after the first SCORED + BESIDE is of the catalogue."""
    average = sum(max(part, 0) for part in parts) / SCORED
    counts = [part > 0 and part >= average / 2 for part in parts] + [True] * (BESIDE + STATED)
    rare = sorted((c, i) for i, c in enumerate(chances) if counts[i] and c <= 0.3 + 1e-9)
    spoken, of_catalogue = {}, 0
    for _, i in rare:
        stated = i >= SCORED + BESIDE
        group = {"energy": "treble", "acousticness": "noisiness"}.get(groups[i], groups[i])
        if len(spoken) < 3 and group not in spoken and not (stated and of_catalogue):
            spoken[group] = i
            of_catalogue += stated
    if all(i >= SCORED + BESIDE for i in spoken.values()):
        spoken = {}  # what the catalogue states is no reason alone
    differs = sorted((-distance, i) for i, (_, distance, holds) in enumerate(apart) if holds)
    but = next((f"{-d:.0f} dB louder" for d, i in differs if apart[i][0] not in spoken), None)
    if not spoken and score <= 0:
        return "The nearest that this catalogue has, and not alike."
    if not spoken:
        strongest = f"in part {max(range(SCORED), key=lambda i: parts[i])}"
        return f"Among the closest in overall sound, {strongest} above all{f', but {but}' if but else ''}."
    begin = "Sounds alike: " if score > 0 else "The nearest that this catalogue has: "
    said = [words[i] for i in spoken.values()]
    while True:
        joined = " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)
        sentence = f"{begin}{joined}{f'; but {but}' if but else ''}."
        if len(sentence) < 200 or (len(said) == 1 and not but):
            return sentence
        if len(said) > 1:
            said.pop()
        else:
            but = None


@settings(max_examples=150)
@given(data=st.data())
def test_a_sentence_is_made_by_its_rules(data):
    traits = SCORED + BESIDE + STATED
    groups = [data.draw(GROUPS) for _ in range(SCORED + BESIDE)] + STATED_GROUPS
    chances = [data.draw(CHANCES) for _ in range(traits)]
    words = [f"{i}".ljust(data.draw(LENGTHS), "x") for i in range(traits)]
    parts = [data.draw(PARTS) for _ in range(SCORED)]
    score = data.draw(st.sampled_from([-0.5, 0.0, 0.5]))
    apart = data.draw(
        st.lists(st.tuples(GROUPS, st.sampled_from([0.0, 3.0, 4.0, 5.0]), st.booleans()), min_size=1, max_size=3)
    )
    told = Told(
        [_trait(f"part {i}", group) for i, group in enumerate(groups)],
        SCORED,
        SCORED + BESIDE,
        _columns([words]),
        np.array([chances]),
        np.zeros((1, traits), np.int64),
    )
    found = sentences(told, np.array([parts]), np.array([score]), [_difference(*of) for of in apart])
    assert found.to_pylist() == [_sentence_of(groups, words, chances, parts, score=score, apart=apart)]


def test_each_row_has_its_own_sentence():
    told = Told(
        [_trait("bass", "bass"), _trait("mids", "mids")],
        2,
        2,
        _columns([["low", "middle"], ["low", "middle"], [None, "middle"]]),
        np.array([[0.1, 0.2], [0.2, 0.1], [np.inf, 0.1]]),
        np.zeros((3, 2), np.int64),
    )
    nothing = np.zeros(3)
    louder = Fact(
        "difference.louder",
        "rms_mean",
        nothing,
        nothing,
        np.array([True, False, True]),
        nothing,
        {"d": np.array([3.0, 4, 5])},
    )
    found = sentences(
        told, np.full((3, 2), 0.3), np.array([0.6, 0.6, -0.1]), [Difference(louder, np.ones(3), "dynamics")]
    )
    assert found.to_pylist() == [
        "Sounds alike: low and middle; but 3 dB louder.",
        "Sounds alike: middle and low.",
        "The nearest that this catalogue has: middle; but 5 dB louder.",
    ]


def test_half_of_the_average_counts_and_the_farthest_difference_is_told():
    told = Told(
        [_trait(name, name) for name in ("one", "two", "three")],
        3,
        3,
        _columns([["most", "half", "less"]]),
        np.full((1, 3), 0.1),
        np.zeros((1, 3), np.int64),
    )
    apart = [_difference(group, distance, True) for group, distance in (("a", 3.0), ("b", 5.0), ("c", 4.0))]
    found = sentences(told, np.array([[0.375, 0.125, 0.25]]), np.array([0.75]), apart)  # 0.25 on average
    assert found.to_pylist() == ["Sounds alike: most, half and less; but 5 dB louder."]
    (found,) = sentences(
        told, np.array([[0.625, 0.125, 0.375]]), np.array([1.125]), apart
    ).to_pylist()  # 0.375 on average
    assert found == "Sounds alike: most and less; but 5 dB louder."


@pytest.mark.parametrize(("length", "kept"), [(199 - 30, 2), (200 - 30, 1)])
def test_a_sentence_has_at_most_199_characters(length, kept):
    words = ["first".ljust(10, "x"), "second".ljust(length, "x")]  # 30: what else "Sounds alike: … and …." holds
    told = Told(
        [_trait(name, name) for name in words],
        2,
        2,
        _columns([words]),
        np.array([[0.1, 0.2]]),
        np.zeros((1, 2), np.int64),
    )
    (found,) = sentences(told, np.full((1, 2), 0.3), np.array([0.6]), [_difference("none", 1.0, False)]).to_pylist()
    expected = "Sounds alike: " + " and ".join(words[:kept]) + "."
    assert (found, len(found) < 200) == (expected, True)
    assert len(expected) == 199 or kept == 1


def test_of_each_trait_the_rarest_fact_is_told_and_reasons_are_ordered():
    n, nan = 2, np.nan

    def fact(phrase, feature, chance, holds=(True, True), *, a=(1, 2), b=(3, 4), **words):
        a, b, chance = (np.array(of, float) for of in (a, b, chance))
        return Fact(phrase, feature, a, b, np.array(holds), chance, words)

    quiet = fact("rhythm.no_tempo", "tempo", (0.9, 0.9), (False, False))
    traits = [
        Trait(
            "one",
            "one",
            [fact("model.alike", "x", (0.5, 0.1), model="A"), fact("model.unlike", "y", (0.2, 0.2), model="A")],
        ),
        Trait("two", "two", [fact("model.alike", "cosine", (0.4, 0.4), a=(nan, 5), b=(6, np.inf), model="B")]),
        Trait("none", "none", [quiet]),
        Trait("beside", "beside", [quiet, fact("model.alike", "z", (1, 1), (True, False), model="C")]),
        Trait("catalogue", "energy", [fact("model.alike", "energy", (0.01, 0.01), a=(7, 8), model="D")]),
    ]
    told = tell(traits[:3], traits[3:4], traits[4:], n)
    assert (told.traits, told.scored, told.heard) == (traits, 3, 4)
    alike, unlike = "alike to the model ", "not alike to the model "
    assert [list(of) for of in zip(*(words.to_pylist() for words in told.words), strict=True)] == [
        [f"{unlike}A", f"{alike}B", None, f"{alike}C", f"{alike}D"],
        [f"{alike}A", f"{alike}B", None, None, f"{alike}D"],
    ]
    assert told.chances.tolist() == [[0.2, 0.4, np.inf, 1, 0.01], [0.1, 0.4, np.inf, np.inf, 0.01]]
    found = reasons(told, np.array([[0.1, 0.3, 0.2], [0.2, -0.1, 0.4]])).to_pylist()
    names = ("family", "feature", "contribution", "track_value", "recommended_value", "statement")
    expected = [
        [
            ("two", "cosine", 0.3, None, 6, f"{alike}B"),
            ("one", "y", 0.1, 1, 3, f"{unlike}A"),
            ("beside", "z", 0, 1, 3, f"{alike}C"),
            ("catalogue", "energy", 0, 7, 3, f"{alike}D"),
        ],
        [
            ("one", "x", 0.2, 2, 4, f"{alike}A"),
            ("two", "cosine", -0.1, 5, None, f"{alike}B"),
            ("catalogue", "energy", 0, 8, 4, f"{alike}D"),
        ],
    ]
    assert found == [[dict(zip(names, row, strict=True)) for row in rows] for rows in expected]
