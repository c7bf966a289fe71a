"""The metrics: their names, what each says, and one figure of one."""

from __future__ import annotations

from dataclasses import dataclass, field

#: What every system must beat; see :mod:`specrec.evaluate.baselines`.
BASELINES = ("random", "popularity", "genre_prior")
#: The `system` of what is measured of the two systems together.
TOGETHER = "features+spectrogram"

#: Every metric, in the order they are printed, in words.
METRICS = {
    "genre_precision_at_10": "genre: share of the track's own among the first 10 of other artists",
    "genre_precision_at_10_other_albums": "genre: the same, of other artists and other albums",
    "song_precision_at_1": "song: share of tracks whose first candidate is of the same song",
    "song_hit_at_10": "song: share of tracks with one of the same song among the first 10",
    "listener_agreement": "listeners: rank correlation of a track's share of likes with its list's",
    "coverage": "share of recordings that are recommended at least once, filters included",
    "never_recommended": "share of recordings that are never recommended",
    "hubness": "skewness of how often a recording is recommended",
    "diversity": "1 - mean cosine of two tracks of a list, in the space hybrid",
    "novelty": "bits of surprise of a recommended recording: -log2 of the share of lists that it is in",
    "same_artist_rate": "share of a list that is by an artist of the track",
    "duplicate_rate": "share of a list that is the track's recording, or one twice, by the table duplicates",
    "lists_not_full": "share of tracks with fewer recommendations than recommend.top_n",
    "overlap_jaccard": "overlap of the two systems' lists: Jaccard index",
    "overlap_rank_biased": "overlap of the two systems' lists: rank-biased overlap",
    "explanation_error": "greatest difference of a score and the sum of its parts",
    "explanation_truth": "share of explanations that the tables bear out",
    "explanation_commonest": "share of rows that the most frequent explanation serves",
    "explanation_distinct": "different explanations a row",
    "fidelity_score": "loss of score without the part that is named first",
    "fidelity_score_others": "loss of score without another part",
    "fidelity_score_wins": "how often the part named first costs more score than another (0.5: no better)",
    "fidelity_rank": "ranks lost without the part that is named first",
    "fidelity_rank_others": "ranks lost without another part",
    "fidelity_rank_wins": "how often the part named first costs more ranks than another (0.5: no better)",
    "read_ms": "median time to read one track's recommendations, ms",
}


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
        The genre that it is of; empty: all tracks.
    details : dict
        What else is to be known of it.
    """

    system: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    slice: str = ""
    details: dict[str, str] = field(default_factory=dict)
