"""How much may fail before a night does, of what it tried."""

from __future__ import annotations

import pytest

from specrec.pipeline.extract import Tried

LIMIT = 0.2


@pytest.mark.parametrize(
    ("failed", "anew", "measured", "named", "told"),
    [
        (0, 0, 0, 90_000, None),
        (2, 2, 10, 12, None),
        (3, 3, 9, 12, "3 of 12 audio files failed"),
        (1, 1, 0, 90_000, None),  # the one new file of a night is broken
        (4, 4, 0, 90_000, None),
        (20, 20, 80, 90_000, None),
        (21, 21, 79, 90_000, "21 of 100 new or changed audio files failed"),
        (500, 0, 0, 90_000, None),  # a known fault goes on
        (500, 0, 100, 90_000, None),
        (20_000, 0, 100, 90_000, "20000 of 90000 audio files failed"),  # so does one of the whole store
        (0, 0, 0, 0, None),
    ],
)
def test_what_is_too_much(failed: int, anew: int, measured: int, named: int, told: str | None) -> None:
    words = Tried({"undecodable": failed} if failed else {}, anew, measured).too_much(named, LIMIT)
    assert words == (told and f"{told} ({failed} undecodable)")
    assert Tried({"undecodable": failed}, anew, measured).too_much(named, 1.0) is None


def test_the_most_frequent_codes_are_named() -> None:
    tried = Tried({"silent": 1, "undecodable": 5, "empty": 2, "too_short": 1}, 9, 0)
    assert tried.too_much(9, LIMIT) == "9 of 9 audio files failed (5 undecodable, 2 empty, 1 silent, 1 others)"
