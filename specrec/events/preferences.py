"""What a person's events say of the tracks that they are of: the rule, whole people at a time. No Spark.

Each event has a value between -1 (disliked) and 1 (liked) and a weight, which halves with each half-life that
it is older than about the person's newest event. A preference is the mean of the values by these weights, and its
confidence is their sum. So a person without new events keeps the very same preferences, whatever day it is, and one
with new events most of them.

All sums are taken in the order of the events, one after the other: they are the same, to the last bit, whoever else
is computed beside the person, and wherever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specrec.events.rows import TIME
from specrec.events.rules import EXPLICIT_KINDS, KINDS, Rules

#: The columns of events that preferences are made of; `duration_ms` is the catalogue's length of the track, and
#: `is_foreign` says that the catalogue has no such track: the event ends the play before it, and says nothing else.
INPUT = pa.schema(
    {
        "event_id": pa.string(),
        "user_id": pa.string(),
        "track_id": pa.string(),
        "kind": pa.string(),
        "value": pa.float64(),
        "listened_ms": pa.int64(),
        "ts": TIME,
        "session_id": pa.string(),
        "duration_ms": pa.int64(),
        "is_foreign": pa.bool_(),
    }
)

#: How often a person did something with a track, by the kind of the event.
COUNTS = {f"{kind}s": kind for kind in KINDS}

OUTPUT = pa.schema(
    {
        "user_id": pa.string(),
        "track_id": pa.string(),
        "preference": pa.float64(),
        "confidence": pa.float64(),
        **{name: pa.int32() for name in COUNTS},
        "last_seen": TIME,
    }
)

#: The periods of a half-life; within each, the weights of events are measured from the same moment.
_PERIODS = 12
_DAY = 24 * 3600 * 1_000_000  # in microseconds, as all times here

Floats = np.ndarray[Any, np.dtype[np.float64]]
Whole = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def preferences(events: pa.Table, rules: Rules) -> pa.Table:
    """Return the preferences of some people, made of all of their events.

    Parameters
    ----------
    events : Table
        With the columns of :data:`INPUT`, in any order. Of each event there is one row; of each person, all.
    rules : Rules

    Returns
    -------
    Table
        With the columns of :data:`OUTPUT`.

    Examples
    --------
    >>> from specrec.listeners.config import ListenersConfig
    >>> event = {"event_id": "1", "user_id": "ann", "track_id": "a", "kind": "rating", "value": 4.0, "ts": 0}
    >>> events = pa.Table.from_pylist([event], INPUT)
    >>> preferences(events, ListenersConfig().rules).select(["track_id", "preference", "confidence"]).to_pylist()
    [{'track_id': 'a', 'preference': 0.5, 'confidence': 4.0}]
    """
    events = _counting(events, rules)
    events = events.take(
        pc.sort_indices(events, [("user_id", "ascending"), ("ts", "ascending"), ("event_id", "ascending")])
    )
    events = events.append_column("share", pa.array(_shares_listened(events)))
    events = events.filter(pc.invert(pc.fill_null(events["is_foreign"], False)))
    people, users = _codes(events["user_id"])
    tracks, track_names = _codes(events["track_id"])
    pair_keys, first, pairs = np.unique(
        people * (len(track_names) or 1) + tracks, return_index=True, return_inverse=True
    )
    kind = _kinds(events["kind"])
    ts = _integers(events["ts"].cast(pa.int64()))
    values, weights = _values(events, rules, kind, _doubles(events["share"]))
    weights = weights * _decay(people, ts, rules.half_life_days)
    counts = _last_said(pairs, kind) & _within_the_day(pairs, kind, ts, rules.max_plays_a_day)
    weights = np.where(counts, weights, 0.0)
    n = len(pair_keys)
    # bincount adds in the order of the rows
    total, weighed = np.bincount(pairs, weights, n), np.bincount(pairs, weights * values, n)
    last_seen = np.full(n, np.iinfo(np.int64).min)
    np.maximum.at(last_seen, pairs, ts)
    has_weight = total > 0  # what is older than a thousand half-lives has none
    with np.errstate(invalid="ignore"):
        preference = np.clip(weighed / total, -1.0, 1.0)
    confidence = np.minimum(total, rules.max_confidence)
    found = pa.table(
        {
            "user_id": users.take(pa.array(people[first])),
            "track_id": track_names.take(pa.array(tracks[first])),
            "preference": preference,
            "confidence": confidence,
            **{
                name: np.bincount(pairs[kind == KINDS.index(of)], minlength=n).astype(np.int32)
                for name, of in COUNTS.items()
            },
            "last_seen": pa.array(last_seen).cast(TIME),
        },
        OUTPUT,
    )
    return _most_certain(found.filter(pa.array(has_weight)), rules.max_tracks_a_person)


def _counting(events: pa.Table, rules: Rules) -> pa.Table:
    """Leave out ratings outside of the scale: when they were taken in, it was another."""
    low, high = rules.rating_scale
    value = events["value"]
    is_outside = pc.or_(pc.less(value, low), pc.greater(value, high))
    is_outside = pc.and_(pc.equal(events["kind"], "rating"), pc.fill_null(is_outside, True))
    is_known = pc.is_in(events["kind"], pa.array(KINDS))
    return events.filter(pc.and_(is_known, pc.invert(is_outside)))


def _codes(column: pa.ChunkedArray) -> tuple[Whole, pa.Array]:
    """Return the number of each value, and the values by number."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices).astype(np.int64), encoded.dictionary


def _kinds(column: pa.ChunkedArray) -> Whole:
    return np.asarray(pc.index_in(column.combine_chunks(), pa.array(KINDS))).astype(np.int64)


def _integers(column: pa.ChunkedArray) -> Whole:
    return np.asarray(column.combine_chunks())


def _doubles(column: pa.ChunkedArray) -> Floats:
    """Return numbers as doubles; NaN where there is none."""
    return np.asarray(column.combine_chunks().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _shares_listened(events: pa.Table) -> Floats:
    """Return which share of its track each play and skip was listened to; NaN where it is not known.

    Where a play does not say how long it was, it lasted until the same person's next play or skip, within the same
    session where sessions are named, if that came before the track was over. Of two at one time nothing is known.
    """
    people, _ = _codes(events["user_id"])
    kind, ts = _kinds(events["kind"]), _integers(events["ts"].cast(pa.int64()))
    listened, duration = _doubles(events["listened_ms"]), _doubles(events["duration_ms"])
    sessions, _ = _codes(pc.fill_null(events["session_id"], ""))
    is_heard = (kind == KINDS.index("play")) | (kind == KINDS.index("skip"))
    (heard,) = np.nonzero(is_heard)
    order = heard[np.lexsort((heard, sessions[heard], people[heard]))]
    here, following = order[:-1], order[1:]
    same = (people[here] == people[following]) & (sessions[here] == sessions[following])
    gap = np.full(len(ts), np.nan)
    gap[here[same]] = (ts[following] - ts[here])[same] / 1000
    with np.errstate(invalid="ignore", divide="ignore"):
        is_told = (gap > 0) & (gap < duration) & np.isnan(listened) & (kind == KINDS.index("play"))
        listened = np.where(is_told, gap, listened)
        return np.where(is_heard & (duration > 0), listened / duration, np.nan)


def _values(events: pa.Table, rules: Rules, kind: Whole, share: Floats) -> tuple[Floats, Floats]:
    """Return the value of each event, and its weight when it was new."""
    low, high = rules.rating_scale
    by_share = _value_of_share(share, rules)
    is_unknown = np.isnan(share)
    of = {
        "rating": 2 * (_doubles(events["value"]) - low) / (high - low) - 1,
        "like": np.full(len(kind), 1.0),
        "dislike": np.full(len(kind), -1.0),
        "play": np.where(is_unknown, 1.0, by_share),
        "skip": np.where(is_unknown, -1.0, by_share),
        "save": np.full(len(kind), 1.0),
    }
    values = np.choose(kind, [of[name] for name in KINDS]) if len(kind) else np.zeros(0)
    weights = np.asarray([rules.weights[name] for name in KINDS], np.float64)[kind]
    is_unknown_play = (kind == KINDS.index("play")) & is_unknown
    return values, np.where(is_unknown_play, rules.unknown_play_weight, weights)


def _value_of_share(share: Floats, rules: Rules) -> Floats:
    """Return -1 up to one share, 1 from another on, and what lies on the line between them."""
    span = rules.full_share - rules.skip_share
    if not span:
        return np.where(share >= rules.full_share, 1.0, -1.0)
    return np.clip(2 * (share - rules.skip_share) / span - 1, -1.0, 1.0)


def _decay(people: Whole, ts: Whole, half_life_days: float) -> Floats:
    """Return what is left of each event's weight, measured back from about the person's newest event.

    It is measured from the beginning of the period that the newest event is in, of which a half-life has a dozen:
    most new events then change only what is known of their own track, and not a little of all that the person
    knows.
    """
    newest = np.full(people.max(initial=-1) + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest, people, ts)
    period = half_life_days / _PERIODS
    begins = np.floor(newest[people] / _DAY / period) * period
    decayed: Floats = np.exp2(-(begins - ts / _DAY) / half_life_days)
    return decayed


def _last_said(pairs: Whole, kind: Whole) -> Flags:
    """Tell which events are not outdone by a later rating, like or dislike of the same person and track."""
    is_explicit = np.isin(kind, [KINDS.index(name) for name in EXPLICIT_KINDS])
    (said,) = np.nonzero(is_explicit)
    last = np.zeros(len(kind), bool)
    _, from_the_end = np.unique(pairs[said][::-1], return_index=True)
    last[said[len(said) - 1 - from_the_end]] = True
    return ~is_explicit | last


def _within_the_day(pairs: Whole, kind: Whole, ts: Whole, most: int) -> Flags:
    """Tell which events are not plays beyond the first so many of the same person, track and day (UTC)."""
    (plays,) = np.nonzero(kind == KINDS.index("play"))
    days = ts[plays] // _DAY
    order = np.lexsort((plays, days, pairs[plays]))
    sorted_pairs, sorted_days = pairs[plays][order], days[order]
    begins = np.ones(len(plays), bool)
    begins[1:] = (sorted_pairs[1:] != sorted_pairs[:-1]) | (sorted_days[1:] != sorted_days[:-1])
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(plays)), 0)) if len(plays) else begins
    counts = np.ones(len(kind), bool)
    counts[plays[order]] = np.arange(len(plays)) - starts < most
    return counts


def _most_certain(found: pa.Table, most: int) -> pa.Table:
    """Keep so many preferences of each person: the most certain, of these the newest, then by track_id."""
    people, _ = _codes(found["user_id"])
    if not len(people) or np.bincount(people).max() <= most:
        return found
    by = [
        ("user_id", "ascending"),
        ("confidence", "descending"),
        ("last_seen", "descending"),
        ("track_id", "ascending"),
    ]
    found = found.take(pc.sort_indices(found, by))
    people, _ = _codes(found["user_id"])
    ranks = np.arange(len(people)) - np.searchsorted(people, people)  # codes are in the order of the rows
    return found.filter(pa.array(ranks < most))
