"""The rule by which events become preferences, once more and in plain loops; and events to try it on."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from specrec.events.rules import KINDS, Rules

DAY = 86_400_000_000
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1e6)


def expected(events: list[dict[str, Any]], rules: Rules) -> dict[tuple[str, str], tuple[float, float]]:
    """Preference and confidence of each person and track: in plain loops."""
    people: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in sorted(events, key=lambda of: (of["ts"], of["event_id"])):
        people[event["user_id"]].append(event)
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for user, theirs in people.items():
        known = [event["ts"] for event in theirs if not event.get("is_foreign")]
        period = rules.half_life_days / 12
        begins = max(known, default=0) / DAY // period * period
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        plays: dict[tuple[str, int], int] = defaultdict(int)
        for number, event in enumerate(theirs):
            if event.get("is_foreign"):
                continue
            later = theirs[number + 1 :]
            counted = worth(event, later, rules)
            if event["kind"] == "play":
                plays[event["track_id"], event["ts"] // DAY] += 1
                if plays[event["track_id"], event["ts"] // DAY] > rules.max_plays_a_day:
                    continue
            if counted is None:
                continue
            value, weight = counted
            weight *= 2 ** (-(begins - event["ts"] / DAY) / rules.half_life_days)
            sums[event["track_id"]][0] += weight * value
            sums[event["track_id"]][1] += weight
        of = {
            track: (min(1.0, max(-1.0, by / total)), min(total, rules.max_confidence))
            for track, (by, total) in sums.items()
            if total
        }
        last = {track: max(event["ts"] for event in theirs if event["track_id"] == track) for track in of}
        kept = sorted(of, key=lambda track: (-of[track][1], -last[track], track))[: rules.max_tracks_a_person]
        found |= {(user, track): of[track] for track in kept}
    return found


def worth(event: dict[str, Any], later: list[dict[str, Any]], rules: Rules) -> tuple[float, float] | None:
    kind, track = event["kind"], event["track_id"]
    low, high = rules.rating_scale
    if kind in ("rating", "like", "dislike"):
        if any(of["track_id"] == track and of["kind"] in ("rating", "like", "dislike") for of in later):
            return None
        values = {"like": 1.0, "dislike": -1.0}
        value = values[kind] if kind in values else 2 * (event["value"] - low) / (high - low) - 1
        return value, rules.weights[kind]
    if kind == "save":
        return 1.0, rules.weights[kind]
    listened, duration = event["listened_ms"], event["duration_ms"]
    if listened is None and kind == "play" and duration:
        session = event["session_id"] or ""
        following = [of for of in later if of["kind"] in ("play", "skip") and (of["session_id"] or "") == session]
        if following and 0 < (following[0]["ts"] - event["ts"]) / 1000 < duration:
            listened = (following[0]["ts"] - event["ts"]) / 1000
    if listened is None or not duration:
        return (1.0, rules.unknown_play_weight) if kind == "play" else (-1.0, rules.weights["skip"])
    share = listened / duration
    if share <= rules.skip_share:
        value = -1.0
    elif share >= rules.full_share:
        value = 1.0
    else:
        value = 2 * (share - rules.skip_share) / (rules.full_share - rules.skip_share) - 1
    return value, rules.weights[kind]


def some_events(seed: int, count: int, people: int = 7, tracks: int = 5) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    lengths = {f"t{number}": draw.choice([None, 0, 60_000, 200_000]) for number in range(tracks)}
    found = []
    for number in range(count):
        kind = draw.choice(KINDS)
        track = f"t{draw.randrange(tracks)}"
        found.append(
            {
                "event_id": f"{draw.randrange(10**6):06}-{number}",
                "user_id": f"u{draw.randrange(people)}",
                "track_id": track,
                "kind": kind,
                "value": draw.choice([1.0, 2.5, 5.0]) if kind == "rating" else None,
                "listened_ms": draw.choice([None, None, 0, 20_000, 45_000, 300_000]),
                "ts": NOW - draw.choice([0, 1, 3]) * DAY - draw.choice([0, 15, 30, 100, 4000]) * 1_000_000,
                "session_id": draw.choice([None, None, "s"]),
                "duration_ms": lengths[track],
            }
        )
    return found
