"""Arrays in, measurements out: each function measures one question on all systems and baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from specrec.evaluate.explanations import Split, fidelity
from specrec.evaluate.intervals import Bootstrap, Figure
from specrec.evaluate.metrics import TOGETHER, Measurement
from specrec.evaluate.ranking import (
    BoolArray,
    Facts,
    FloatArray,
    IntArray,
    diversity,
    mean_of_list,
    precision,
)

Measurements = Iterator[Measurement]

_FIRST = 10


@dataclass(frozen=True)
class Lists:
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

    def only(self, chosen: BoolArray) -> Lists:
        """Return the lists of some of the tracks; `chosen` of shape (n,)."""
        return Lists(self.facts, self.tracks[chosen], {name: rows[chosen] for name, rows in self.of.items()})


@dataclass(frozen=True)
class Vectors:
    """The vectors of some tracks in one space.

    Attributes
    ----------
    matrix : float64, shape (m, dimensions)
    row_of : int64, shape (tracks of the facts + 1,)
        The row of each track; -1: none. The last is that of no track, so that -1 stays -1.
    """

    matrix: FloatArray
    row_of: IntArray

    @classmethod
    def of(cls, facts: Facts, track_ids: pd.Series, matrix: FloatArray) -> Vectors:
        """Index the rows of a matrix by track."""
        row_of = np.full(len(facts.ids) + 1, -1)
        row_of[facts.positions(track_ids)] = np.arange(len(matrix))
        row_of[-1] = -1
        return cls(matrix, row_of)


def row(
    system: str, metric: str, figure: Figure | None, of_slice: str = "", details: Mapping[str, str] | None = None
) -> Measurements:
    """Yield a figure as a measurement, if there is one."""
    if figure is not None:
        yield Measurement(
            system, metric, figure.value, figure.low, figure.high, figure.n, of_slice, dict(details or {})
        )


def genre(candidates: Lists, bootstrap: Bootstrap) -> Measurements:
    """Measure precision by genre, of other artists, and of other artists and albums (Flexer & Schnitzer 2010).

    An album or an artist is told by how it was recorded: without the filters, that is what would be measured.

    Parameters
    ----------
    candidates : Lists
        Longer than ten, since filters take from them; only of tracks that have a genre.
    """
    facts, tracks = candidates.facts, candidates.tracks
    for system, lists in candidates.of.items():
        if system == "genre_prior":  # drawn by what is asked: always 1
            continue
        relevant = facts.same(facts.genre, tracks, lists)
        allowed = (lists >= 0) & (facts.genre[lists] >= 0) & ~facts.same_artist(tracks, lists)
        shares, found = precision(relevant, allowed, _FIRST)
        details = {"candidates": f"{found.mean():.1f}"} if len(found) else {}
        yield from row(system, "genre_precision_at_10", bootstrap.mean(shares), details=details)
        yield from _by_genre(
            facts.genre[tracks], facts, system, "genre_precision_at_10", values=shares, bootstrap=bootstrap
        )
        allowed &= ~facts.same(facts.album, tracks, lists)
        shares, found = precision(relevant, allowed, _FIRST)
        details = {"candidates": f"{found.mean():.1f}"} if len(found) else {}
        yield from row(system, "genre_precision_at_10_other_albums", bootstrap.mean(shares), details=details)


def song(candidates: Lists, bootstrap: Bootstrap) -> Measurements:
    """Measure whether clips of one song find each other; only of tracks that have such a sibling."""
    facts, tracks = candidates.facts, candidates.tracks
    for system, lists in candidates.of.items():
        if not (lists >= 0).any():  # a baseline that has none for these
            continue
        sibling = facts.same(facts.song, tracks, lists)
        yield from row(system, "song_precision_at_1", bootstrap.mean(sibling[:, 0]))
        yield from row(system, "song_hit_at_10", bootstrap.mean(sibling[:, :_FIRST].any(axis=1)))


def listeners(recommended: Lists, bootstrap: Bootstrap) -> Measurements:
    """Measure whether tracks that were liked recommend tracks that were liked."""
    liked = recommended.facts.liked
    for system, lists in recommended.of.items():
        if system == "popularity":  # the same list for all, but for the track itself, which it leaves out
            continue
        means = mean_of_list(liked, lists).round(12)  # or rounding would rank what is the same
        agreement = bootstrap.rank_correlation(liked[recommended.tracks], means)
        yield from row(system, "listener_agreement", agreement)


def within_lists(recommended: Lists, vectors: Vectors, bootstrap: Bootstrap) -> Measurements:
    """Measure the diversity of lists, and how much of them is by the track's own artist.

    Parameters
    ----------
    vectors : float32 array
        Of one space for all systems, or their figures could not be compared.
    """
    facts, tracks = recommended.facts, recommended.tracks
    known = facts.has_artist(tracks)
    for system, lists in recommended.of.items():
        spread = diversity(vectors.row_of[lists], vectors.matrix)
        yield from row(system, "diversity", bootstrap.mean(spread))
        own, _ = precision(facts.same_artist(tracks[known], lists[known]), lists[known] >= 0, lists.shape[1])
        yield from row(system, "same_artist_rate", bootstrap.mean(own))


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


def deletion(
    system: str, split: Split, tracks: IntArray, lists: IntArray, *, top: IntArray, bootstrap: Bootstrap
) -> Measurements:
    """Measure the fidelity of a system's explanations; the arguments are those of :func:`fidelity`."""
    found = fidelity(split, tracks, lists, top)
    details = {"pairs": str(int(((lists >= 0) & (top >= 0)).sum())), "ranked_among": str(len(tracks))}
    for name in ("score", "score_others", "score_wins", "rank", "rank_others", "rank_wins"):
        yield from row(system, f"fidelity_{name}", bootstrap.mean(getattr(found, name)), details=details)


def _by_genre(
    genres: IntArray, facts: Facts, system: str, metric: str, *, values: FloatArray, bootstrap: Bootstrap
) -> Measurements:
    for number in np.unique(genres[genres >= 0]).tolist():
        figure = bootstrap.mean(values[genres == number])
        yield from row(system, metric, figure, of_slice=str(facts.genres[number]))
