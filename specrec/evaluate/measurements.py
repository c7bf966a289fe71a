"""Arrays in, measurements out: what was collected of a night becomes rows of ``evaluation``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.evaluate.explanations import Split, fidelity, joined, split
from specrec.evaluate.intervals import Bootstrap, Figure
from specrec.evaluate.metrics import METRICS, TOGETHER, Measurement, Question, SystemLists
from specrec.evaluate.occurrence import ListCounts, Occurrence
from specrec.evaluate.people_truth import PeopleTruthChecker
from specrec.evaluate.ranking import Facts, IndexedVectors
from specrec.evaluate.truth import TruthChecker
from specrec.recommend.contributions import Parts
from specrec.settings import System

Measurements = Iterator[Measurement]

#: How the names of metrics of explanations begin, by whose lists these are of.
_OF_LISTS = {"tracks": "explanation", "people": "people_explanation"}


@dataclass(frozen=True)
class ListsBySystem:
    """The lists of some tracks, by every system and baseline.

    Attributes
    ----------
    facts : Facts
        Of these tracks and of all in their lists.
    tracks : int64, shape (n,)
        Whose lists they are: positions in `facts`.
    of : dict of int64, shape (n, width)
        By system.
    """

    facts: Facts
    tracks: Int64Array
    of: dict[str, Int64Array]

    def only(self, chosen: BoolArray) -> ListsBySystem:
        """Return the lists of some of the tracks; `chosen` of shape (n,)."""
        return ListsBySystem(
            self.facts, self.tracks[chosen], {name: rows[chosen] for name, rows in self.of.items()}
        )

    def track_ids(self, systems: Collection[str] | None = None) -> pd.Series:
        """Return the track_ids of the tracks and of all in their lists, or in those of some systems."""
        rows = [of.ravel() for system, of in self.of.items() if systems is None or system in systems]
        found = np.unique(np.concatenate([self.tracks, *rows]))
        return pd.Series(self.facts.ids[found[found >= 0]])


def row(
    system: str, metric: str, figure: Figure | None, of_slice: str = "", details: Mapping[str, str] | None = None
) -> Measurements:
    """Yield a figure as a measurement, if there is one.

    Examples
    --------
    >>> from specrec.evaluate.intervals import Figure
    >>> [(of.system, of.metric, of.value) for of in row("hybrid", "coverage", Figure(0.84, 0.81, 0.87, 385))]
    [('hybrid', 'coverage', 0.84)]
    >>> list(row("hybrid", "coverage", None))
    []
    """
    if figure is not None:
        yield Measurement(
            system, metric, figure.value, figure.low, figure.high, figure.n, of_slice, dict(details or {})
        )


def of_lists(
    question: Question, lists: ListsBySystem, bootstrap: Bootstrap, vectors: IndexedVectors | None = None
) -> Measurements:
    """Measure every metric that answers a question, of every system and baseline that has lists.

    Parameters
    ----------
    question : str
        What is asked; see :data:`~specrec.evaluate.metrics.Question`.
    lists : ListsBySystem
        Of tracks that the question can be asked of. For ``genre`` they must be longer than ten, since filters take
        from them.
    bootstrap : Bootstrap
        How figures are resampled.
    vectors : IndexedVectors or None
        Of one space; for the question ``any``.
    """
    facts, genres = lists.facts, lists.facts.genre[lists.tracks]
    for name, metric in METRICS.items():
        asked = metric.of_lists
        if asked is None or asked.question != question:
            continue
        for system, rows in lists.of.items():
            if system in asked.not_of or not (rows >= 0).any():
                continue
            own = SystemLists(facts, lists.tracks, rows, vectors)
            found = asked.of_tracks(own)
            yield from row(system, name, asked.figure(own, found.values, bootstrap), details=found.details)
            if asked.by_genre:
                yield from _by_genre(genres, facts, system, name, values=found.values, bootstrap=bootstrap)


def overlap(facts: Facts, agreement: pd.DataFrame, bootstrap: Bootstrap) -> Measurements:
    """Measure how much the lists of the two systems overlap, over all and by genre.

    Parameters
    ----------
    agreement : DataFrame
        ``track_id, jaccard, rank_biased_overlap`` of some tracks, rows of the table ``agreement``.
    """
    genres = facts.genre[facts.positions(agreement["track_id"])]
    for metric, column in (("overlap_jaccard", "jaccard"), ("overlap_rank_biased", "rank_biased_overlap")):
        values = agreement[column].to_numpy(np.float64)
        yield from row(TOGETHER, metric, bootstrap.mean(values))
        yield from _by_genre(genres, facts, TOGETHER, metric, values=values, bootstrap=bootstrap)


def occurrence(system: str, of: Occurrence, bootstrap: Bootstrap) -> Measurements:
    """Measure what follows from how often each recording is recommended."""
    for metric, figure in of.figures(bootstrap).items():
        yield from row(system, metric, figure)


def whole_lists(
    system: System,
    occurring: pd.DataFrame,
    lengths: pd.DataFrame,
    *,
    tracks: int,
    surplus: int,
    top_n: int,
    groups_are_known: bool,
    bootstrap: Bootstrap,
) -> Measurements:
    """Measure all lists of a system: how often recordings are in them, which are short, which have duplicates.

    Parameters
    ----------
    system : str
        Whose lists they are.
    occurring : DataFrame
        ``times, count``: how many recordings are recommended how many times, from once up.
    lengths : DataFrame
        ``length, duplicates, count``: how many lists are how long, with how many needless members.
    tracks : int
        How many tracks there are, with a list or without.
    surplus : int
        How many more these are than recordings.
    top_n : int
        Length of a full list.
    groups_are_known : bool
        Whether the catalogue has any recording twice, so that duplicates can be told.
    bootstrap : Bootstrap
        How figures are resampled.
    """
    # sorted, since resamples are drawn cell by cell: another order would give another interval
    histogram = dict(sorted(zip(occurring["times"].tolist(), occurring["count"].tolist(), strict=True)))
    with_list = lengths["count"].sum()
    yield from occurrence(system, Occurrence.of(histogram, tracks - surplus, float(with_list)), bootstrap)
    lengths = lengths.sort_values(["length", "duplicates"])
    cells = ListCounts(
        np.array([0.0, *lengths["length"]]),
        np.array([0.0, *lengths["duplicates"]]),
        np.array([max(tracks - with_list, 0.0), *lengths["count"]]),
    )
    yield from row(system, "lists_not_full", cells.not_full(top_n, bootstrap))
    if groups_are_known:
        yield from row(system, "duplicate_rate", cells.duplicate_rate(bootstrap))


def truth(
    system: System,
    rows: Iterable[Mapping[str, Any]],
    checker: TruthChecker | PeopleTruthChecker,
    bootstrap: Bootstrap,
) -> Measurements:
    """Measure which of a system's explanations are true: the share of them in each list, over lists.

    Parameters
    ----------
    system : str
        Whose explanations they are.
    rows : iterable of mapping
        Rows of ``recommendations``, or of ``user_recommendations``.
    checker : TruthChecker or PeopleTruthChecker
        Knows what they speak of.
    bootstrap : Bootstrap
        How figures are resampled.
    """
    is_of_people = isinstance(checker, PeopleTruthChecker)
    owner, listed = ("user_id", "track_id") if is_of_people else ("track_id", "recommended_track_id")
    rows = sorted(rows, key=lambda row: (str(row[owner]), str(row[listed])))
    untrue = checker.untrue(rows)
    false = {(getattr(one, owner), getattr(one, listed)) for one in untrue}
    holds = pd.DataFrame(
        {
            "owner": [row[owner] for row in rows],
            "true": [(row[owner], row[listed]) not in false for row in rows],
        }
    )
    by_list = holds.groupby("owner")["true"].mean().to_numpy(np.float64)
    # what is told to a person is nobody else's concern
    details = {"untrue": untrue[0].statement} if untrue and not is_of_people else {}
    of_lists = _OF_LISTS["people" if is_of_people else "tracks"]
    yield from row(system, f"{of_lists}_truth", bootstrap.mean(by_list), details=details)


def sentences(counts: Iterable[Any], lists: str = "tracks") -> Measurements:
    """Measure how far sentences differ, and that the parts make the score.

    All rows are counted, and there is no sample whose chance an interval could tell of.

    Parameters
    ----------
    counts : iterable of Row
        What :func:`specrec.evaluate.spark.count_sentences` returned, collected.
    lists : str
        Of whose lists they are: of ``tracks`` or of ``people``.
    """
    of_lists = _OF_LISTS[lists]
    for of in sorted(counts):
        commonest = {"explanation": of.commonest} if lists == "tracks" else {}
        yield from row(of.system, f"{of_lists}_error", Figure(of.error, None, None, of.rows))
        share = Figure(of.most / of.rows, None, None, of.rows)
        yield from row(of.system, f"{of_lists}_commonest", share, details=commonest)
        yield from row(of.system, f"{of_lists}_distinct", Figure(of.distinct / of.rows, None, None, of.rows))


def judgements(said: pd.DataFrame, bootstrap: Bootstrap) -> Measurements:
    """Measure how clear people find explanations, and how far they trust them, by system and by kind of reason.

    A figure is the mean over people of each one's mean: who judges much counts as much as who judges little.

    Parameters
    ----------
    said : DataFrame
        What :func:`specrec.evaluate.spark.judgements` returned, collected.
    bootstrap : Bootstrap
        Resamples people.
    """
    for (lists, kind, system), of_system in said.groupby(["lists", "kind", "system"]):
        by_reason = [(str(reason), rows) for reason, rows in of_system.groupby("reason")]
        for reason, rows in [("", of_system), *by_reason]:
            # sorted by person: resamples are always the same
            sums = rows.groupby("person")[["total", "count"]].sum()
            figure = bootstrap.mean((sums["total"] / sums["count"]).to_numpy(np.float64))
            details = {"judgements": str(int(sums["count"].sum()))}
            yield from row(str(system), f"{_OF_LISTS[str(lists)]}_{kind}", figure, reason, details)


def fidelity_of(
    system: System,
    lists: ListsBySystem,
    top: Int64Array,
    spaces: Mapping[str, IndexedVectors],
    parts: Mapping[str, Parts],
    *,
    bootstrap: Bootstrap,
) -> Measurements:
    """Measure the fidelity of a system's explanations, among the tracks that have vectors in all its spaces.

    Parameters
    ----------
    system : str
        Whose lists they are.
    lists : ListsBySystem
        Its lists, among others.
    top : int64, shape (n, width)
        The part that each explanation names first, by its place among all parts; -1: none.
    spaces : mapping of IndexedVectors
        Those of the system's own space and of all spaces that it is made of, among others.
    parts : mapping of Parts
        By space, the parts of the system's scores, in the order that `top` counts them in.
    """
    tracks, listed = lists.tracks, lists.of[system]
    used = np.unique(np.concatenate([tracks, listed[listed >= 0]]))
    used = used[np.all([spaces[space].row_of[used] >= 0 for space in (system, *parts)], axis=0)]
    local = np.full(len(lists.facts.ids) + 1, -1)
    local[used] = np.arange(len(used))
    splits = [_split(of, spaces[space], used) for space, of in parts.items()]
    own = spaces[system]
    whole = splits[0] if system in parts else joined(own.matrix[own.row_of[used]], splits)
    has = local[tracks] >= 0
    yield from deletion(system, whole, local[tracks[has]], local[listed[has]], top=top[has], bootstrap=bootstrap)


def deletion(
    system: str, split: Split, tracks: Int64Array, lists: Int64Array, *, top: Int64Array, bootstrap: Bootstrap
) -> Measurements:
    """Measure the fidelity of a system's explanations; the arguments are those of :func:`fidelity`."""
    found = fidelity(split, tracks, lists, top)
    details = {"pairs": str(int(((lists >= 0) & (top >= 0)).sum())), "ranked_among": str(len(tracks))}
    for name in ("score", "score_others", "score_wins", "rank", "rank_others", "rank_wins"):
        yield from row(system, f"fidelity_{name}", bootstrap.mean(getattr(found, name)), details=details)


def _split(parts: Parts, vectors: IndexedVectors, tracks: Int64Array) -> Split:
    rows = vectors.row_of[tracks]
    return split(parts, vectors.matrix[rows], None if vectors.parts is None else vectors.parts[rows])


def _by_genre(
    genres: Int64Array, facts: Facts, system: str, metric: str, *, values: Float64Array, bootstrap: Bootstrap
) -> Measurements:
    for number in np.unique(genres[genres >= 0]).tolist():
        figure = bootstrap.mean(values[genres == number])
        yield from row(system, metric, figure, of_slice=str(facts.genres[number]))
