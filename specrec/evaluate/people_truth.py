"""Whether what people are told of their lists is true: each statement is read again, and compared with the tables.

This knows the English of the listeners' ``phrases.yaml`` and the tables, and nothing of the code that chose the
words. Counts of people are taken of ``preferences`` anew. Lists speak of the time when all listeners were last
looked at; a count may be off by as many people as have changed their mind about the track since, and by no more. A
sentence that cannot be read counts as false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specrec.evaluate.truth import TruthChecker

#: Parts add up to the score up to this.
_SUM = 1e-6
#: What is said to sound alike has at least this cosine; unlike, at most so much below 0.
_ALIKE = 0.3
_ROUNDING = 1e-6

#: A track that the person knows, and one that is recommended.
Pair = tuple[str, str]
Row = Mapping[str, Any]
#: Tells whether something is true: of a row, one of its reasons, and the words that stand in the gaps of the form.
_Check = Callable[[Row, Row, Sequence[str]], bool]


@dataclass(frozen=True)
class Count:
    """How many people, and how many more or fewer it may have been when lists were made.

    Attributes
    ----------
    of, among : int
        So many of so many people.
    changed : int
        How many changed their mind since.
    """

    of: int
    among: int
    changed: int = 0

    def is_told(self, of: int, among: int) -> bool:
        """Tell whether two numbers of a statement are these.

        Examples
        --------
        >>> Count(12, 15).is_told(12, 15), Count(12, 15).is_told(13, 15), Count(12, 15, changed=1).is_told(13, 16)
        (True, False, True)
        """
        return abs(of - self.of) <= self.changed and abs(among - self.among) <= self.changed


@dataclass(frozen=True)
class PeopleTables:
    """What the tables say, of the people and tracks that are spoken of.

    Attributes
    ----------
    titles : mapping of str
        How each track is called.
    preferences : mapping of mapping of float
        Of each person, the preference for each track.
    opinions : mapping of Count
        Of each track, how many people like it among those whose opinion is known; absent: nobody's is.
    both : mapping of Count
        Of each pair, how many people like both among those who like the known one.
    nearby : mapping of Count
        Of a person and a track, how many like it of those whose taste is nearest to the person's.
    fitted : collection of str
        The tracks that there were when all listeners were last looked at.
    cosines : mapping of float
        Of each pair, in the space that content is judged by.
    sounds : mapping of mapping
        Of each pair, its row of ``recommendations``, as far as there is one.
    """

    titles: Mapping[str, str]
    preferences: Mapping[str, Mapping[str, float]]
    opinions: Mapping[str, Count]
    both: Mapping[Pair, Count]
    nearby: Mapping[tuple[str, str], Count]
    fitted: Collection[str]
    cosines: Mapping[Pair, float]
    sounds: Mapping[Pair, Row]


@dataclass(frozen=True)
class UntrueToPerson:
    """A statement that the tables do not bear out."""

    user_id: str
    track_id: str
    statement: str


class PeopleTruthChecker:
    """Reads rows of ``user_recommendations`` again, and checks them against what the tables say.

    Parameters
    ----------
    tables : PeopleTables
    sound : TruthChecker
        Reads what sentences say of how two tracks sound alike.
    """

    def __init__(self, tables: PeopleTables, sound: TruthChecker) -> None:
        self._of, self._sound = tables, sound
        self.seen: set[str] = set()
        title, share, many = "(.+)", r"(\d+) of (\d+) people", r"(\d+) people"
        statements: dict[str, _Check] = {
            f"who likes {title} tends to like it": self._due_to("als", likes=True, speaks_for=True),
            f"who likes {title} tends not to like it": self._due_to("als", likes=True, speaks_for=False),
            "what else you like, by what people like together": self._others("als"),
            f"sounds like {title}, which you like": self._sounds(likes=True, alike=True),
            f"sounds unlike {title}, which you like": self._sounds(likes=True, alike=False),
            f"sounds unlike {title}, which you do not like": self._sounds(likes=False, alike=False),
            f"sounds like {title}, which you do not like": self._sounds(likes=False, alike=True),
            "the sound of what else you know": self._others("content"),
            f"{share} who like {title} like it too": self._together(likes=True),
            f"{share} who like {title}, which you do not, like it too": self._together(likes=False),
            "what else you know, by how many people like both": self._others("item_based"),
            r"(\d+) of the (\d+) people whose taste is nearest to yours like it": self._nearby,
            f"{many} know it": self._known,
            "it came after listeners were last looked at as a whole": self._is_new,
            "nobody's opinion of it is known yet": self._unheard,
            f"{share} who know it like it": self._liked,
            "as new tracks usually are liked": self._is_new,
            "as its artist's other tracks are liked, or as tracks usually are": self._unheard,
            rf"none of {many} who know it likes it": self._unliked,
        }
        sentences: dict[str, _Check] = {
            rf"Because you like {title}: who likes that tends to like this\.": self._due_to(
                "als", likes=True, speaks_for=True
            ),
            rf"In spite of {title}, which you like\.": self._against(likes=True),
            r"By what people like together with the tracks that you like\.": self._others("als"),
            rf"Because you like {title}, which it sounds like\.(?: (.+))?": self._sounds(likes=True, alike=True),
            rf"Because you do not like {title}: it sounds unlike that\.": self._sounds(likes=False, alike=False),
            rf"In spite of {title}, which you do not like\.": self._against(likes=False),
            r"By the sound of the tracks that you know\.": self._others("content"),
            rf"{share} who like {title}, as you do, like it too\.": self._together(likes=True),
            r"By how many people like it who like what you know\.": self._others("item_based"),
            r"(\d+) of the (\d+) people whose taste is nearest to yours like it\.": self._nearby,
            rf"Popular: {many} know it, and (\d+) of them like it\.": lambda row, reason, words: self._liked(
                row, reason, words[::-1]
            ),
            r"New here\.": self._is_new,
            r"Nobody's opinion of it is known yet\.": self._unheard,
            rf"{many} know it\.": self._known,
            rf"{share} who know it like it\.": self._liked,
            rf"None of {many} who know it likes it\.": self._unliked,
        }
        self._statements = [(re.compile(form, re.DOTALL), check) for form, check in statements.items()]
        self._sentences = [(re.compile(form, re.DOTALL), check) for form, check in sentences.items()]

    @property
    def forms(self) -> list[str]:
        """All that can be read, as patterns; what was read so far is in `seen`."""
        return [form.pattern for form, _ in (*self._statements, *self._sentences)]

    def untrue(self, rows: Iterable[Row]) -> list[UntrueToPerson]:
        """Return the sentences and statements of rows of ``user_recommendations`` that are not true."""
        return [
            UntrueToPerson(row["user_id"], row["track_id"], words) for row in rows for words in self._false(row)
        ]

    def _false(self, row: Row) -> Iterator[str]:
        reasons = row["reasons"]
        if abs(sum(reason["contribution"] for reason in reasons) - row["score"]) > _SUM:
            yield "the parts add up to the score"
        for reason in reasons:
            if not self._read(self._statements, reason["statement"], row, [reason]):
                yield reason["statement"]
        if not self._read(self._sentences, row["explanation"], row, reasons):
            yield row["explanation"]

    def _read(
        self, forms: Sequence[tuple[re.Pattern[str], _Check]], words: str, row: Row, reasons: Sequence[Row]
    ) -> bool:
        """Tell whether words have a form of which they are true, by one of the reasons."""
        for form, check in forms:
            found = form.fullmatch(words)
            if found and any(check(row, reason, found.groups()) for reason in reasons):
                self.seen.add(form.pattern)
                return True
        return False

    def _due_to(self, family: str | None, *, likes: bool, speaks_for: bool) -> _Check:
        """Check that a part is due to a track that the person likes, or not, and that it speaks for the other."""

        def check(row: Row, reason: Row, words: Sequence[str]) -> bool:
            known, part = reason["feature"], reason["contribution"]
            preference = self._of.preferences.get(row["user_id"], {}).get(known, 0.0)
            return bool(
                reason["family"] == (family or reason["family"])
                and self._of.titles.get(known) == words[0]
                and (preference > 0 if likes else preference < 0)
                and (part > 0 if speaks_for else part < 0)
            )

        return check

    def _against(self, *, likes: bool) -> _Check:
        return self._due_to(None, likes=likes, speaks_for=False)

    def _sounds(self, *, likes: bool, alike: bool) -> _Check:
        """Check that it sounds like a known track, or unlike it, and whether that speaks for it."""
        due = self._due_to("content", likes=likes, speaks_for=likes == alike)

        def check(row: Row, reason: Row, words: Sequence[str]) -> bool:
            if not due(row, reason, words):
                return False
            pair = (reason["feature"], row["track_id"])
            cosine = self._of.cosines.get(pair, 0.0)
            if (cosine if alike else -cosine) < _ALIKE - _ROUNDING:
                return False
            return len(words) == 1 or words[1] is None or self._sound_is_true(words[1], pair, cosine)

        return check

    def _sound_is_true(self, sentence: str, pair: Pair, cosine: float) -> bool:
        if not self._sound.knows(*pair):
            return False
        of = self._of.sounds.get(pair, {"reasons": [], "score": cosine})
        parts = {reason["family"]: reason["contribution"] for reason in of["reasons"]}
        return self._sound.sentence_is_true(sentence, *pair, parts, of["score"])

    def _together(self, *, likes: bool) -> _Check:
        due = self._due_to("item_based", likes=likes, speaks_for=likes)

        def check(row: Row, reason: Row, words: Sequence[str]) -> bool:
            counted = self._of.both.get((reason["feature"], row["track_id"]), Count(0, 0))
            return due(row, reason, words[2:]) and counted.is_told(int(words[0]), int(words[1]))

        return check

    def _others(self, family: str) -> _Check:
        """Check that the person knows tracks which no other reason of this family names."""

        def check(row: Row, reason: Row, _: Sequence[str]) -> bool:
            named = {of["feature"] for of in row["reasons"] if of["family"] == family} - {None}
            known = self._of.preferences.get(row["user_id"], {})
            return reason["family"] == family and reason["feature"] is None and bool(known.keys() - named)

        return check

    def _nearby(self, row: Row, reason: Row, words: Sequence[str]) -> bool:
        counted = self._of.nearby.get((row["user_id"], row["track_id"]), Count(0, 0))
        of, among = int(words[0]), int(words[1])
        return reason["family"] == "user_based" and counted.is_told(of, among) and 0 < of <= among

    def _opinions(self, row: Row) -> Count:
        return self._of.opinions.get(row["track_id"], Count(0, 0))

    def _known(self, row: Row, reason: Row, words: Sequence[str]) -> bool:
        counted = self._opinions(row)
        return reason["family"] == "popularity" and counted.is_told(counted.of, int(words[0])) and int(words[0]) > 0

    def _liked(self, row: Row, reason: Row, words: Sequence[str]) -> bool:
        of, among = int(words[0]), int(words[1])
        return _is_of_track(reason) and self._opinions(row).is_told(of, among) and 0 < of <= among

    def _unliked(self, row: Row, reason: Row, words: Sequence[str]) -> bool:
        return _is_of_track(reason) and self._opinions(row).is_told(0, int(words[0])) and int(words[0]) > 0

    def _unheard(self, row: Row, reason: Row, _: Sequence[str]) -> bool:
        return _is_of_track(reason) and self._opinions(row).is_told(0, 0) and row["track_id"] in self._of.fitted

    def _is_new(self, row: Row, reason: Row, _: Sequence[str]) -> bool:
        return _is_of_track(reason) and row["track_id"] not in self._of.fitted


def _is_of_track(reason: Row) -> bool:
    return reason["family"] in {"popularity", "average"} and reason["feature"] is None
