"""How an explanation is named, so that people may judge it: the column ``explanation_id`` of lists.

Who was shown an explanation says days later how clear it was, or whether it is trusted, and the list may be another
by then. So the name itself says what judgements are added up by: whether the list is of a track or of a person, the
system, and the kind of the reason that is told first. Then comes a hash of the explanation and of whose list it is
in, and at last a few digits that only belong to the rest and the recommended track: a name that was cut off, or is
given with another track, is nobody's.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

#: Whose lists explanations are of: those of ``recommendations``, and of ``user_recommendations``.
OF_TRACKS, OF_PEOPLE = "tracks", "people"
#: Hexadecimal digits: of what tells explanations of one kind and track apart, and of the check.
_DIGITS, _CHECK_DIGITS = 10, 4
_PARTS = rf"^({OF_TRACKS}|{OF_PEOPLE})\.([a-z0-9_]+)\.([a-z0-9_]+)\.[0-9a-f]{{{_DIGITS}}}$"
_CHECKED = rf"^(.+)\.([0-9a-f]{{{_CHECK_DIGITS}}})$"


def explanation_id(lists: str, reason: Column, owner: str, recommended: str) -> Column:
    """Return the name of a row's explanation.

    Parameters
    ----------
    lists : str
        Whose list it is in: :data:`OF_TRACKS` or :data:`OF_PEOPLE`.
    reason : Column
        The kind of the reason that is told first.
    owner, recommended : str
        The columns that name whose list it is, and the recommended track; ``system`` and ``explanation`` are there.
    """
    of = _digits(F.concat_ws("\n", owner, recommended, "explanation"), _DIGITS)
    name = F.concat_ws(".", F.lit(lists), "system", F.coalesce(reason, F.lit("none")), of)
    return F.concat_ws(".", name, _check(name, F.col(recommended)))


def is_name_of_explanation(name: Column, recommended: Column) -> Column:
    """Tell whether a name is one of an explanation of the recommended track; false where either is null."""
    rest, check = F.regexp_extract(name, _CHECKED, 1), F.regexp_extract(name, _CHECKED, 2)
    return F.coalesce(rest.rlike(_PARTS) & (check == _check(rest, recommended)), F.lit(False))


def told_by_name(name: Column) -> dict[str, Column]:
    """Return what a name says: ``lists``, ``system`` and ``reason``."""
    rest = F.regexp_extract(name, _CHECKED, 1)
    return {part: F.regexp_extract(rest, _PARTS, at) for at, part in enumerate(("lists", "system", "reason"), 1)}


def _check(name: Column, recommended: Column) -> Column:
    return _digits(F.concat(name, F.lit("\n"), recommended), _CHECK_DIGITS)


def _digits(text: Column, count: int) -> Column:
    return F.substr(F.sha2(text, 256), F.lit(1), F.lit(count))
