"""The metrics: each is declared here, once, with what it says and, where it is one of lists, how it is measured.

A new metric of lists is a function of :class:`SystemLists` in this module and a line in :data:`METRICS`: it is then
measured of every system and baseline, resampled, written, printed and described. The other metrics, which are of a
whole table or of vectors, are declared here too and measured in :mod:`specrec.evaluate.measurements`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.evaluate.intervals import Bootstrap, Figure
from specrec.evaluate.ranking import Facts, IndexedVectors, diversity, mean_of_list, precision

#: What every system must beat; see :mod:`specrec.evaluate.baselines`.
BASELINES = ("random", "popularity", "genre_prior")
#: The `system` of what is measured of the two systems together.
TOGETHER = "features+spectrogram"

#: What lists are asked. Each question is asked of a sample of the tracks that can tell: whether their lists hold
#: music of the track's genre, clips of the same song, tracks that listeners like as much; and, of any track, how
#: its list is made up.
Question = Literal["any", "genre", "song", "listeners"]
QUESTIONS: tuple[Question, ...] = get_args(Question)

_FIRST = 10


@dataclass(frozen=True)
class SystemLists:
    """The lists that one system or baseline gives to some tracks.

    Attributes
    ----------
    facts : Facts
        Of these tracks and of all in their lists.
    tracks : int64, shape (n,)
        Whose lists they are: positions in `facts`.
    lists : int64, shape (n, width)
        Positions of the tracks in them, in the order of rank; -1 where a list has ended.
    vectors : IndexedVectors or None
        Of one space, whatever the system, or figures could not be compared; None where the question needs none.
    """

    facts: Facts
    tracks: Int64Array
    lists: Int64Array
    vectors: IndexedVectors | None = None


@dataclass(frozen=True)
class TrackValues:
    """One value a track, float64, shape (n,), NaN where there is none; and what else is to be known of them."""

    values: Float64Array
    details: dict[str, str] = field(default_factory=dict)


def _mean(_: SystemLists, values: Float64Array, bootstrap: Bootstrap) -> Figure | None:
    return bootstrap.mean(values)


@dataclass(frozen=True)
class OfLists:
    """How a metric of lists is measured.

    Attributes
    ----------
    question : str
        Tells of which tracks, and of which lists of theirs.
    of_tracks : callable
        Returns one value a track.
    figure : callable
        Makes a figure of the values; their mean, if nothing else is said.
    by_genre : bool
        Whether there is a figure of each genre too.
    not_of : tuple of str
        Baselines that are what is asked for by construction, and would tell nothing.
    """

    question: Question
    of_tracks: Callable[[SystemLists], TrackValues]
    figure: Callable[[SystemLists, Float64Array, Bootstrap], Figure | None] = _mean
    by_genre: bool = False
    not_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """What a metric says, in words, and how it is measured if it is one of lists.

    One that needs events of people (``listeners.events``) is not missed where there are none.
    """

    words: str
    of_lists: OfLists | None = None
    needs_events: bool = False


def _of_genre(of: SystemLists, allowed: BoolArray) -> TrackValues:
    """Return the share of the track's genre among the first ten that are allowed and have a genre."""
    facts, tracks, lists = of.facts, of.tracks, of.lists
    allowed = allowed & (lists >= 0) & (facts.genre[lists] >= 0) & ~facts.same_artist(tracks, lists)
    shares, found = precision(facts.same(facts.genre, tracks, lists), allowed, _FIRST)
    return TrackValues(shares, {"candidates": f"{found.mean():.1f}"} if len(found) else {})


def _genre_of_other_artists(of: SystemLists) -> TrackValues:
    """Measure precision by genre, of other artists (Flexer & Schnitzer 2010).

    An artist is told by how the music was recorded: without the filter, that is what would be measured.
    """
    return _of_genre(of, np.ones(of.lists.shape, bool))


def _genre_of_other_albums(of: SystemLists) -> TrackValues:
    """Measure the same without the track's own album, which is told by its recording as an artist is."""
    return _of_genre(of, ~of.facts.same(of.facts.album, of.tracks, of.lists))


def _song_is_first(of: SystemLists) -> TrackValues:
    return TrackValues(of.facts.same(of.facts.song, of.tracks, of.lists)[:, 0].astype(np.float64))


def _song_is_among_ten(of: SystemLists) -> TrackValues:
    same = of.facts.same(of.facts.song, of.tracks, of.lists)
    found = np.asarray(same[:, :_FIRST].any(axis=1))
    return TrackValues(found.astype(np.float64))


def _likes_of_list(of: SystemLists) -> TrackValues:
    means = mean_of_list(of.facts.liked, of.lists)
    rounded: Float64Array = means.round(12)
    return TrackValues(rounded)  # or rounding errors would rank means that are the same


def _agreement(of: SystemLists, likes: Float64Array, bootstrap: Bootstrap) -> Figure | None:
    """Correlate the likes of lists with those of the tracks that they are given to."""
    return bootstrap.rank_correlation(of.facts.liked[of.tracks], likes)


def _diversity(of: SystemLists) -> TrackValues:
    assert of.vectors is not None, "the caller has vectors for this question"
    return TrackValues(diversity(of.vectors.row_of[of.lists], of.vectors.matrix))


def _same_artist(of: SystemLists) -> TrackValues:
    shares, _ = precision(of.facts.same_artist(of.tracks, of.lists), of.lists >= 0, of.lists.shape[1])
    return TrackValues(np.where(of.facts.has_artist(of.tracks), shares, np.nan))


#: Every metric, in the order in which they are printed.
METRICS: dict[str, Metric] = {
    "genre_precision_at_10": Metric(
        "genre: share of the track's own among the first 10 of other artists",
        OfLists("genre", _genre_of_other_artists, by_genre=True, not_of=("genre_prior",)),
    ),
    "genre_precision_at_10_other_albums": Metric(
        "genre: the same, of other artists and other albums",
        OfLists("genre", _genre_of_other_albums, not_of=("genre_prior",)),
    ),
    "song_precision_at_1": Metric(
        "song: share of tracks whose first candidate is of the same song", OfLists("song", _song_is_first)
    ),
    "song_hit_at_10": Metric(
        "song: share of tracks with one of the same song among the first 10", OfLists("song", _song_is_among_ten)
    ),
    "listener_agreement": Metric(
        "listeners: rank correlation of a track's share of likes with its list's",
        # the popular list is the same for all, but for the track itself, which it leaves out
        OfLists("listeners", _likes_of_list, _agreement, not_of=("popularity",)),
    ),
    "coverage": Metric("share of recordings that are recommended at least once, filters included"),
    "never_recommended": Metric("share of recordings that are never recommended"),
    "hubness": Metric("skewness of how often a recording is recommended"),
    "diversity": Metric("1 - mean cosine of two tracks of a list, in the space hybrid", OfLists("any", _diversity)),
    "novelty": Metric("bits of surprise of a recommended recording: -log2 of the share of lists that it is in"),
    "same_artist_rate": Metric("share of a list that is by an artist of the track", OfLists("any", _same_artist)),
    "duplicate_rate": Metric(
        "share of a list that is the track's recording, or one twice, by the table duplicates"
    ),
    "lists_not_full": Metric("share of tracks with fewer recommendations than recommend.top_n"),
    "overlap_jaccard": Metric("overlap of the two systems' lists: Jaccard index"),
    "overlap_rank_biased": Metric("overlap of the two systems' lists: rank-biased overlap"),
    "explanation_error": Metric("greatest difference of a score and the sum of its parts"),
    "explanation_truth": Metric("share of explanations that the tables bear out"),
    "explanation_commonest": Metric("share of rows that the most frequent explanation serves"),
    "explanation_distinct": Metric("different explanations a row"),
    "fidelity_score": Metric("loss of score without the part that is named first"),
    "fidelity_score_others": Metric("loss of score without another part"),
    "fidelity_score_wins": Metric("how often the part named first costs more score than another (0.5: no better)"),
    "fidelity_rank": Metric("ranks lost without the part that is named first"),
    "fidelity_rank_others": Metric("ranks lost without another part"),
    "fidelity_rank_wins": Metric("how often the part named first costs more ranks than another (0.5: no better)"),
    "explanation_clear": Metric(
        "how clear people find explanations, 1 to 5 (events of kind clear)", needs_events=True
    ),
    "explanation_trust": Metric(
        "how far people trust explanations, 1 to 5 (events of kind trust)", needs_events=True
    ),
    "read_ms": Metric("median time to read one track's recommendations, ms"),
    # of lists for people, by what these people liked that the model was not told
    "people_precision_at_10": Metric(
        "people: share of the first 10 that the person turned out to like", needs_events=True
    ),
    "people_recall_at_10": Metric(
        "people: share of what the person turned out to like that is among the first 10", needs_events=True
    ),
    "people_ndcg_at_10": Metric(
        "people: the same by rank: discounted gain of the first 10, against the greatest", needs_events=True
    ),
    "people_coverage": Metric(
        "people: share of tracks that may be recommended which are in the first 10 of somebody", needs_events=True
    ),
    "people_novelty": Metric(
        "people: bits of news of the first 10: -log2 of the share of people who know a track", needs_events=True
    ),
    "people_popularity_bias": Metric(
        "people: how many know the first 10, against the mean track (1: no bias)", needs_events=True
    ),
    "people_explanation_error": Metric(
        "people: greatest difference of a score and the sum of its parts", needs_events=True
    ),
    "people_explanation_truth": Metric("people: share of explanations that the tables bear out", needs_events=True),
    "people_explanation_commonest": Metric(
        "people: share of rows that the most frequent explanation serves", needs_events=True
    ),
    "people_explanation_distinct": Metric("people: different explanations a row", needs_events=True),
    "people_explanation_clear": Metric(
        "people: how clear they find explanations, 1 to 5 (events of kind clear)", needs_events=True
    ),
    "people_explanation_trust": Metric(
        "people: how far they trust explanations, 1 to 5 (events of kind trust)", needs_events=True
    ),
}
#: The names of those that are of lists for people begin so.
OF_PEOPLE = "people_"


@dataclass(frozen=True)
class Measurement:
    """One figure: a row of the table ``evaluation``.

    Attributes
    ----------
    system : str
        A system, one of :data:`BASELINES`, or :data:`TOGETHER`.
    metric : str
        One of :data:`METRICS`.
    value : float
        The figure.
    low, high : float or None
        Ends of the 95 % bootstrap interval; None where it cannot be resampled.
    n : int
        How many tracks (or lists, or rows) it is of.
    slice : str
        The genre, kind of reason, or way of holding out and kind of people or tracks that it is of; empty: all.
    details : dict
        What else is to be known of it.

    Examples
    --------
    >>> of = Measurement("hybrid", "coverage", value=0.84, low=0.81, high=0.87, n=385)
    >>> METRICS[of.metric].words
    'share of recordings that are recommended at least once, filters included'
    """

    system: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    slice: str = ""
    details: dict[str, str] = field(default_factory=dict)
