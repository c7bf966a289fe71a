"""Choice of words: which facts of a pair become its reasons, and which of these its sentence.

Of each trait the rarest fact that holds is a reason. A sentence begins with the rarest of the reasons that count in
the score: what is typical of the catalogue is no reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from specrec.arrays import Float64Array, Int64Array
from specrec.recommend.facts import TYPICAL, Difference, Trait
from specrec.recommend.phrases import phrases

Words = npt.NDArray[np.object_]

#: A part counts that is at least this share of what the parts of a score are on average.
_WEIGHTY = 0.5
_LONGEST = 199  # characters of a sentence
_MOST_REASONS = 3  # in a sentence
#: What the statement of an attribute says is heard belongs to a group of traits too.
_HEARD_GROUPS = {"energy": "treble", "valence": "treble", "acousticness": "noisiness"}


@dataclass(frozen=True)
class Told:
    """What is said of each trait (columns) of each pair (rows).

    Attributes
    ----------
    traits : list of Trait
    scored, heard : int
        So many of the traits, from the first on, are parts of the score, and so many are of the sound; what the
        catalogue states comes after them.
    words : str, shape (n, traits)
        The statements; None where no fact holds.
    chances : float64, shape (n, traits)
        How rare what is said is; inf where no fact holds.
    facts : int64, shape (n, traits)
        Which of the trait's facts is told.
    """

    traits: list[Trait]
    scored: int
    heard: int
    words: Words
    chances: Float64Array
    facts: Int64Array


def tell(scored: Sequence[Trait], beside: Sequence[Trait], stated: Sequence[Trait], count: int) -> Told:
    """Choose the rarest fact of each trait.

    Parameters
    ----------
    scored : sequence of Trait
        Traits that are parts of the score.
    beside : sequence of Trait
        Other traits of the sound.
    stated : sequence of Trait
        What the catalogue states.
    count : int
        Number of pairs.

    Examples
    --------
    >>> from specrec.recommend.facts import Fact
    >>> tempo = np.array([120.0])
    >>> fact = Fact("rhythm.same_tempo", "tempo", tempo, tempo + 1, np.array([True]), np.array([0.05]))
    >>> tell([Trait("rhythm", "rhythm", [fact])], [], [], count=1).words.tolist()
    [['nearly the same tempo (120 and 121 BPM)']]
    """
    traits = [*scored, *beside, *stated]
    words = np.full((count, len(traits)), None, object)
    chances, facts = np.full(words.shape, np.inf), np.zeros(words.shape, np.int64)
    for column, trait in enumerate(traits):
        facts[:, column], chances[:, column] = trait.rarest()
        said = np.isfinite(chances[:, column])
        for number, fact in enumerate(trait.facts):
            rows = np.flatnonzero(said & (facts[:, column] == number))
            words[rows, column] = fact.told(rows)
    return Told(traits, len(scored), len(scored) + len(beside), words, chances, facts)


def reasons(told: Told, contributions: Float64Array) -> list[list[dict[str, Any]]]:
    """Return the reasons of each pair, dicts with the fields of ``schemas.REASON``.

    The greatest contribution comes first. What is no part of the score contributes 0; what the catalogue states
    comes last.

    Parameters
    ----------
    contributions : float64, shape (n, parts)
        Of the traits that are parts of the score.
    """
    beside = np.zeros((len(contributions), len(told.traits) - told.scored))
    parts = np.concatenate([contributions, beside], axis=1)
    order = np.argsort(-parts[:, : told.heard], axis=1, kind="stable")
    rest = np.broadcast_to(np.arange(told.heard, parts.shape[1]), (len(parts), parts.shape[1] - told.heard))
    order = np.concatenate([order, rest], axis=1)
    values = np.stack([_values(told, column) for column in range(len(told.traits))], axis=1)
    return [
        [
            {
                "family": told.traits[column].name,
                "feature": told.traits[column].facts[told.facts[row, column]].feature,
                "contribution": parts_of_row[column],
                "track_value": values_of_row[column][0],
                "recommended_value": values_of_row[column][1],
                "statement": words[column],
            }
            for column in columns
            if words[column] is not None
        ]
        for row, (columns, parts_of_row, values_of_row, words) in enumerate(
            zip(order.tolist(), parts.tolist(), values.tolist(), told.words, strict=True)
        )
    ]


def _values(told: Told, column: int) -> Words:
    """Return the values that a trait's statements speak of, shape (n, 2); None where there is none."""
    facts, rows = told.traits[column].facts, np.arange(len(told.facts))
    both = [np.stack([getattr(fact, side) for fact in facts])[told.facts[:, column], rows] for side in ("a", "b")]
    values = np.stack(both, axis=1)
    found: Words = values.astype(object)
    found[~np.isfinite(values)] = None
    return found


def sentences(
    told: Told, contributions: Float64Array, scores: Float64Array, differences: Sequence[Difference]
) -> list[str]:
    """Return a sentence for each pair, under 200 characters.

    Parameters
    ----------
    contributions : float64, shape (n, parts)
        Of the traits that are parts of the score.
    scores : float64, shape (n,)
    differences : sequence of Difference
        What may be said after "but".
    """
    usual = np.where(contributions > 0, contributions, 0).sum(axis=1, keepdims=True) / told.scored
    weighty = (contributions > 0) & (contributions >= _WEIGHTY * usual)
    beside = np.ones((len(scores), len(told.traits) - told.scored), bool)
    chances = np.where(np.concatenate([weighty, beside], axis=1), told.chances, np.inf)
    order = np.argsort(chances, axis=1, kind="stable")
    chosen = np.where(np.take_along_axis(chances, order, axis=1) <= TYPICAL, order, -1).tolist()
    far = np.stack([np.where(of.fact.holds, of.distance, -1.0) for of in differences], axis=1)
    farthest = np.argsort(-far, axis=1, kind="stable")
    farthest = np.where(np.take_along_axis(far, farthest, axis=1) >= 0, farthest, -1)
    spoken, apart = [], np.full(len(chosen), -1)
    for row, (columns, candidates) in enumerate(zip(chosen, farthest.tolist(), strict=True)):
        by_group = _one_a_group(columns, told)
        spoken.append([str(told.words[row, column]) for column in by_group.values()])
        apart[row] = next((i for i in candidates if i >= 0 and differences[i].group not in by_group), -1)
    but = np.full(len(chosen), None, object)
    for number, difference in enumerate(differences):
        rows = np.flatnonzero(apart == number)
        but[rows] = difference.fact.told(rows)
    strongest = contributions.argmax(axis=1).tolist()
    return [
        _sentence(reasons, difference, told.traits[trait].strongest, score)
        for reasons, difference, trait, score in zip(spoken, but, strongest, scores.tolist(), strict=True)
    ]


def _one_a_group(columns: list[int], told: Told) -> dict[str, int]:
    """Return which traits are spoken of, by group: one of each, and one of the catalogue's beside what is heard.

    Parameters
    ----------
    columns : list of int
        Traits that may be spoken of, the best first; -1 for none.
    """
    by_group: dict[str, int] = {}
    by_catalogue = False
    for column in columns:
        if column >= 0 and len(by_group) < _MOST_REASONS and not (by_catalogue and column >= told.heard):
            group = told.traits[column].group
            if column >= told.heard:  # what its statement says was heard is then said
                group = _HEARD_GROUPS.get(group, group)
                by_catalogue = group not in by_group
            by_group.setdefault(group, column)
    return by_group if any(column < told.heard for column in by_group.values()) else {}


def _sentence(reasons: list[str], difference: str | None, strongest: str, score: float) -> str:
    words = phrases()["sentence"]
    but = "_but" if difference else ""
    if not reasons:
        if score <= 0:
            return str(words["nothing"])
        return str(words[f"closest{but}"].format(strongest=strongest, difference=difference))
    beginning = "alike" if score > 0 else "far"
    while True:
        joined = words["separator"].join(reasons[:-1])
        joined = joined + words["last_separator"] + reasons[-1] if joined else reasons[-1]
        sentence = str(words[beginning + but].format(reasons=joined, difference=difference))
        if len(sentence) <= _LONGEST or (len(reasons) == 1 and not but):
            return sentence
        if len(reasons) > 1:
            reasons = reasons[:-1]
        else:
            but = ""
