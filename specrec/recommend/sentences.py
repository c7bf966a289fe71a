"""Choice of words: which facts of a pair become its reasons, and which of these its sentence.

Of each trait the rarest fact that holds is a reason. A sentence begins with the rarest of the reasons that count in
the score: what is typical of the catalogue is no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.recommend.facts import TYPICAL, Difference, Trait
from specrec.recommend.phrases import phrase, phrases
from specrec.recommend.wording import fill, joined

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
    words : list of StringArray, length n each
        By trait, the statements; null where no fact holds.
    chances : float64, shape (n, traits)
        How rare what is said is; inf where no fact holds.
    facts : int64, shape (n, traits)
        Which of the trait's facts is told.
    """

    traits: list[Trait]
    scored: int
    heard: int
    words: list[pa.StringArray]
    chances: Float64Array
    facts: Int64Array

    @cached_property
    def flat(self) -> pa.StringArray:
        """All statements, those of one trait after those of another."""
        return pa.concat_arrays(self.words)


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
    >>> tell([Trait("rhythm", "rhythm", [fact])], [], [], count=1).words[0].to_pylist()
    ['nearly the same tempo (120 and 121 BPM)']
    """
    traits = [*scored, *beside, *stated]
    words, chances = [], np.full((count, len(traits)), np.inf)
    facts = np.zeros(chances.shape, np.int64)
    for column, trait in enumerate(traits):
        facts[:, column], chances[:, column] = trait.rarest()
        which = np.where(np.isfinite(chances[:, column]), facts[:, column], -1)
        words.append(_scattered([fact.texts for fact in trait.facts], which))
    return Told(traits, len(scored), len(scored) + len(beside), words, chances, facts)


def _scattered(texts: Sequence[Callable[[Int64Array], pa.StringArray]], which: Int64Array) -> pa.StringArray:
    """Return of each row the text that is made by the function of that number; null where the number is -1."""
    order = np.argsort(which, kind="stable")
    counts = np.bincount(which + 1, minlength=len(texts) + 1)
    ends = np.cumsum(counts)
    parts = [
        text(order[start:end]) for text, start, end in zip(texts, ends[:-1], ends[1:], strict=True) if end > start
    ]
    place = np.empty(len(which), np.int64)
    place[order] = np.arange(len(which)) - counts[0]
    flat = pa.concat_arrays([pa.array([], pa.string()), *parts])
    return flat.take(pa.array(place, mask=which < 0))


def reasons(told: Told, contributions: Float64Array) -> pa.ListArray:
    """Return the reasons of each pair, structs with the fields of ``schemas.REASON``.

    The greatest contribution comes first. What is no part of the score contributes 0; what the catalogue states
    comes last.

    Parameters
    ----------
    contributions : float64, shape (n, parts)
        Of the traits that are parts of the score.
    """
    count, traits = told.facts.shape
    beside = np.zeros((count, traits - told.scored))
    parts = np.concatenate([contributions, beside], axis=1)
    order = np.argsort(-parts[:, : told.heard], axis=1, kind="stable")
    rest = np.broadcast_to(np.arange(told.heard, traits), (count, traits - told.heard))
    order = np.concatenate([order, rest], axis=1)
    is_said = np.take_along_axis(_are_said(told), order, axis=1)
    row, place = np.nonzero(is_said)
    column = order[row, place]
    features = [np.array([fact.feature for fact in trait.facts] or [""], object) for trait in told.traits]
    numbered, feature = np.unique(np.concatenate(features), return_inverse=True)
    first = np.cumsum([0, *map(len, features[:-1])])
    a, b = (np.stack([_values(told, index, side) for index in range(traits)]) for side in ("a", "b"))
    fields = {
        "family": _named([trait.name for trait in told.traits], column),
        "feature": _named(numbered.tolist(), feature[first[column] + told.facts[row, column]]),
        "contribution": pa.array(parts[row, column]),
        "track_value": _finite(a[column, row]),
        "recommended_value": _finite(b[column, row]),
        "statement": _picked(told, row, column),
    }
    ends = np.concatenate([[0], np.cumsum(is_said.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.StructArray.from_arrays(list(fields.values()), list(fields)))


def _are_said(told: Told) -> BoolArray:
    """Return of which traits of each pair anything is said, shape (n, traits)."""
    return np.stack([of.is_valid().to_numpy(zero_copy_only=False) for of in told.words], axis=1)


def _picked(told: Told, row: Int64Array, column: Int64Array) -> pa.StringArray:
    """Return the statements of some traits of some pairs."""
    return told.flat.take(pa.array(column * len(told.facts) + row))


def _named(names: list[str], index: Int64Array) -> pa.StringArray:
    return pa.array(names, pa.string()).take(pa.array(index))


def _finite(values: Float64Array) -> pa.DoubleArray:
    return pa.array(values, mask=~np.isfinite(values))


def _values(told: Told, column: int, side: str) -> Float64Array:
    """Return the values on one side that a trait's statements speak of, shape (n,)."""
    which, found = told.facts[:, column], np.full(len(told.facts), np.nan)
    facts = told.traits[column].facts
    # most facts of a trait speak of the same measure
    sides = {id(getattr(fact, side)): getattr(fact, side) for fact in facts}
    if len(sides) == 1:
        of_all: Float64Array = next(iter(sides.values()))
        return of_all
    for number, fact in enumerate(facts):
        np.copyto(found, getattr(fact, side), where=which == number)
    return found


def sentences(
    told: Told, contributions: Float64Array, scores: Float64Array, differences: Sequence[Difference]
) -> pa.StringArray:
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
    order = np.where(np.take_along_axis(chances, order, axis=1) <= TYPICAL, order, -1)
    groups = list(dict.fromkeys([*_groups(told), *(of.group for of in differences)]))
    spoken, said = _one_a_group(order, told, groups)
    but = _difference(differences, groups, said)
    strongest = _named([trait.strongest for trait in told.traits], contributions.argmax(axis=1))
    return _worded(told, spoken, but, strongest, scores)


def sentences_of_listeners(told: Told) -> pa.StringArray:
    """Return a sentence for each pair of a system whose scores say who likes tracks, and nothing of their sound.

    Parameters
    ----------
    told : Told
        Its first trait is that of the listeners.
    """
    return fill(phrase("listeners.sentence"), {"statement": told.words[0]}, len(told.facts))


def _groups(told: Told) -> list[str]:
    """Return the group of each trait; what the statement of an attribute says was heard is then said."""
    groups = [trait.group for trait in told.traits]
    return [_HEARD_GROUPS.get(of, of) if column >= told.heard else of for column, of in enumerate(groups)]


def _one_a_group(order: Int64Array, told: Told, groups: list[str]) -> tuple[Int64Array, BoolArray]:
    """Return which traits are spoken of: one of each group, and one of the catalogue's beside what is heard.

    Parameters
    ----------
    order : int64, shape (n, traits)
        Traits that may be spoken of, the best first; -1 for none, after which there are no more.
    groups : list of str
        Those that there are.

    Returns
    -------
    spoken : int64, shape (n, most reasons)
        The traits, in this order; -1 for none.
    said : bool, shape (n, groups)
        Of which groups one is spoken of.
    """
    of_trait = np.array([groups.index(of) for of in _groups(told)])
    rows = np.arange(len(order))
    spoken, said = np.full((len(order), _MOST_REASONS), -1), np.zeros((len(order), len(groups)), bool)
    count, by_catalogue = np.zeros(len(order), np.int64), np.zeros(len(order), bool)
    is_heard = np.zeros(len(order), bool)
    for column in order.T:
        if (column < 0).all():
            break
        group, stated = of_trait[column], column >= told.heard
        taken = (column >= 0) & (count < _MOST_REASONS) & ~(by_catalogue & stated) & ~said[rows, group]
        by_catalogue |= taken & stated
        is_heard |= taken & ~stated
        spoken[rows[taken], count[taken]] = column[taken]
        said[rows[taken], group[taken]] = True
        count += taken
    # what the catalogue states is no reason alone
    return np.where(is_heard[:, None], spoken, -1), said & is_heard[:, None]


def _difference(differences: Sequence[Difference], groups: list[str], said: BoolArray) -> pa.StringArray:
    """Return the farthest difference of each pair, of a group that is not spoken of; null where there is none."""
    far = np.stack([np.where(of.fact.holds, of.distance, -1.0) for of in differences], axis=1)
    is_free = np.stack([~said[:, groups.index(of.group)] for of in differences], axis=1)
    far = np.where(is_free & (far >= 0), far, -1.0)
    which = far.argmax(axis=1)  # of equal ones the first
    which = np.where(np.take_along_axis(far, which[:, None], axis=1)[:, 0] >= 0, which, -1)
    return _scattered([of.fact.texts for of in differences], which)


def _worded(
    told: Told, spoken: Int64Array, but: pa.StringArray, strongest: pa.StringArray, scores: Float64Array
) -> pa.StringArray:
    """Return the sentences: with fewer reasons, and then without the difference, where they are too long."""
    count, differs = (spoken >= 0).sum(axis=1), but.is_valid().to_numpy(zero_copy_only=False)
    done, place = pa.array([], pa.string()), np.zeros(len(spoken), np.int64)
    rows = np.arange(len(spoken))
    while len(rows):
        form = _forms(count[rows], differs[rows], scores[rows])
        made = _scattered([_maker(told, spoken, but, strongest, rows, number) for number in range(_FORMS)], form)
        place[rows] = len(done) + np.arange(len(rows))
        done = pa.concat_arrays([done, made])
        is_long = pc.utf8_length(made).to_numpy() > _LONGEST
        rows = rows[is_long & ((count[rows] > 1) | ((count[rows] == 1) & differs[rows]))]
        differs[rows] &= count[rows] > 1
        count[rows] = np.maximum(count[rows] - 1, 1)
    return done.take(pa.array(place))


#: How sentences are formed: without a reason, or with one to three of them, and with a difference or without.
_BEGINNINGS = ("alike", "far")
_FORMS = 3 + len(_BEGINNINGS) * 2 * _MOST_REASONS


def _forms(count: Int64Array, differs: BoolArray, scores: Float64Array) -> Int64Array:
    """Return the number of the form of each sentence, of so many reasons."""
    with_reasons = 3 + ((scores <= 0) * 2 + differs) * _MOST_REASONS + count - 1
    form: Int64Array = np.where(count > 0, with_reasons, np.where(scores <= 0, 0, 1 + differs))
    return form


def _maker(  # noqa: PLR0917
    told: Told,
    spoken: Int64Array,
    but: pa.StringArray,
    strongest: pa.StringArray,
    of: Int64Array,
    form: int,
) -> Callable[[Int64Array], pa.StringArray]:
    """Return what words the sentences of one form, of some of the rows `of`."""
    words = phrases()["sentence"]

    def made(some: Int64Array) -> pa.StringArray:
        rows = of[some]
        values = {"difference": but.take(pa.array(rows)), "strongest": strongest.take(pa.array(rows))}
        if form < 3:
            return fill(words[("nothing", "closest", "closest_but")[form]], values, len(rows))
        which, last = divmod(form - 3, _MOST_REASONS)
        beginning, differs = divmod(which, 2)
        pieces: list[str | pa.StringArray] = []
        for place in range(last + 1):
            if place:
                pieces.append(words["last_separator" if place == last else "separator"])
            pieces.append(_picked(told, rows, spoken[rows, place]))
        values["reasons"] = joined(pieces, len(rows))
        return fill(words[_BEGINNINGS[beginning] + ("_but" if differs else "")], values, len(rows))

    return made
