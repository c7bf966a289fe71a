"""Arrays in, measurements out: what was collected of a night becomes rows of ``evaluation``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from specrec.evaluate.explanations import Split, fidelity, joined, split
from specrec.evaluate.intervals import Bootstrap, Figure
from specrec.evaluate.metrics import METRICS, TOGETHER, Measurement, Question, SystemLists
from specrec.evaluate.occurrence import Occurrence
from specrec.evaluate.ranking import BoolArray, Facts, FloatArray, IndexedVectors, IntArray
from specrec.recommend.contributions import Parts
from specrec.settings import System

Measurements = Iterator[Measurement]


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
    tracks: IntArray
    of: dict[str, IntArray]

    def only(self, chosen: BoolArray) -> ListsBySystem:
        """Return the lists of some of the tracks; `chosen` of shape (n,)."""
        return ListsBySystem(
            self.facts, self.tracks[chosen], {name: rows[chosen] for name, rows in self.of.items()}
        )


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


def sentences(counts: Iterable[Any]) -> Measurements:
    """Measure how far sentences differ, and that the parts make the score.

    All rows are counted, and there is no sample whose chance an interval could tell of.

    Parameters
    ----------
    counts : iterable of Row
        What :func:`specrec.evaluate.spark.count_sentences` returned, collected.
    """
    for of in sorted(counts):
        commonest = {"explanation": of.commonest}
        yield from row(of.system, "explanation_error", Figure(of.error, None, None, of.rows))
        share = Figure(of.most / of.rows, None, None, of.rows)
        yield from row(of.system, "explanation_commonest", share, details=commonest)
        yield from row(of.system, "explanation_distinct", Figure(of.distinct / of.rows, None, None, of.rows))


def fidelity_of(
    system: System,
    lists: ListsBySystem,
    top: IntArray,
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
    system: str, split: Split, tracks: IntArray, lists: IntArray, *, top: IntArray, bootstrap: Bootstrap
) -> Measurements:
    """Measure the fidelity of a system's explanations; the arguments are those of :func:`fidelity`."""
    found = fidelity(split, tracks, lists, top)
    details = {"pairs": str(int(((lists >= 0) & (top >= 0)).sum())), "ranked_among": str(len(tracks))}
    for name in ("score", "score_others", "score_wins", "rank", "rank_others", "rank_wins"):
        yield from row(system, f"fidelity_{name}", bootstrap.mean(getattr(found, name)), details=details)


def _split(parts: Parts, vectors: IndexedVectors, tracks: IntArray) -> Split:
    rows = vectors.row_of[tracks]
    return split(parts, vectors.matrix[rows], None if vectors.parts is None else vectors.parts[rows])


def _by_genre(
    genres: IntArray, facts: Facts, system: str, metric: str, *, values: FloatArray, bootstrap: Bootstrap
) -> Measurements:
    for number in np.unique(genres[genres >= 0]).tolist():
        figure = bootstrap.mean(values[genres == number])
        yield from row(system, metric, figure, of_slice=str(facts.genres[number]))
