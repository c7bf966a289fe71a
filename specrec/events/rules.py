"""What an event may be, why one is refused, and by which rule events become preferences."""

from __future__ import annotations

from dataclasses import dataclass

#: The kinds of events that say something of a track. Of the first three, the last that a person did with a track
#: counts; of the others, all.
EXPLICIT_KINDS = ("rating", "like", "dislike")
KINDS = (*EXPLICIT_KINDS, "play", "skip", "save")
#: What people say of the reason why a track is recommended: how clear it is, and how far they trust it. It says
#: nothing of the track, and becomes no preference.
FEEDBACK_KINDS = ("clear", "trust")
#: The least and the greatest value of these.
FEEDBACK_SCALE = (1.0, 5.0)

#: Every code that ``refused_events.code`` can hold, with what it means. Codes are a contract: never renamed.
EVENT_CODES: dict[str, str] = {
    "no_user": "the event does not say whose it is: give it a user_id",
    "no_track": "the event does not say which track it is of: give it a track_id",
    "unknown_kind": f"the kind of the event is none of {', '.join((*KINDS, *FEEDBACK_KINDS))}",
    "no_time": "the event does not say when it was, as ISO 8601 or as seconds or milliseconds since 1970",
    "future_time": "the event is of a time to come; tried again each night",
    "no_value": "the rating, or the judgement of a reason, has no value that is a number",
    "value_out_of_range": "the rating is outside of listeners.rating_scale, the judgement of a reason is none of 1 "
    "to 5, or the time listened is below 0",
    "unknown_track": "the catalogue does not know the track; tried again once it does",
    "unknown_explanation": "the judgement names no explanation_id of a list that recommends the track",
    "repeated_event": "the same event stands more than once in what was read",
    "unreadable_file": "the file cannot be read; tried again each night",
}

#: Of rows that are neither taken in nor refused: what an earlier night took in, and what is of a forgotten person.
#: They are counted, and stand in no table.
KNOWN, FORGOTTEN = "known_event", "forgotten"


@dataclass(frozen=True)
class Rules:
    """By which rule events become preferences: the settings of ``listeners`` that they depend on.

    Attributes
    ----------
    rating_scale : tuple of float
        The least and the greatest value of a rating.
    weights : dict of float
        How much one event of a kind counts.
    unknown_play_weight : float
        How much a play counts of which it is not known how long it was.
    skip_share, full_share : float
        Who listened to this share of a track at most did not like it, and who listened to that share liked it.
    half_life_days : float
        After so many days an event counts half.
    max_plays_a_day : int
        So many plays of a track by one person count a day.
    max_confidence : float
        Greater confidence is this.
    max_tracks_a_person : int
        Of one person, preferences for so many tracks are kept.

    Examples
    --------
    >>> from specrec.listeners.config import ListenersConfig
    >>> rules = ListenersConfig(rating_scale=(0, 10)).rules
    >>> rules.rating_scale, rules.weights["rating"]
    ((0.0, 10.0), 4.0)
    """

    rating_scale: tuple[float, float]
    weights: dict[str, float]
    unknown_play_weight: float
    skip_share: float
    full_share: float
    half_life_days: float
    max_plays_a_day: int
    max_confidence: float
    max_tracks_a_person: int
