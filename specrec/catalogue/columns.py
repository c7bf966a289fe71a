"""The names of a catalogue's columns: when two of them are the same, and what the second is then called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def plain_name(name: str) -> str:
    """Return what a column is known by: case, and the blanks around a name, are of no account.

    Examples
    --------
    >>> plain_name(" Track_ID")
    'track_id'
    """
    return name.strip().lower()


def unique_names(header: Sequence[str]) -> list[str]:
    """Return the names of columns, each once: a second `x` is called `x (2)`.

    Names are the same for us whatever their case and the blanks around them.

    Examples
    --------
    >>> unique_names(["audio", " Audio", "x"])
    ['audio', ' Audio (2)', 'x']
    >>> unique_names(["x", "x (2)", "x"])
    ['x', 'x (2)', 'x (3)']
    """
    taken = {plain_name(name) for name in header}
    seen: Counter[str] = Counter()
    found = []
    for name in header:
        plain, own = plain_name(name), name
        seen[plain] += 1
        while seen[plain] > 1 and plain_name(own := f"{name} ({seen[plain]})") in taken:
            seen[plain] += 1
        taken.add(plain_name(own))
        found.append(own)
    return found
