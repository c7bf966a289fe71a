"""Titles taken apart: the name of the piece, its version, what it says in numbers, and the guests it names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from specrec.matching.folding import fold, plain
from specrec.matching.numerals import facts_of, is_work, movement_name
from specrec.matching.versions import NO_VERSION, OTHER_RECORDING, Kind, Version, read_version

_BRACKETS = re.compile(r"[(\[{【〔]([^()\[\]{}【】〔〕]*)(?:[)\]}】〕]|$)")
_DASH = re.compile(r"\s+[-–—]+\s+|\s+[–—]+|[–—]+\s+|\s+//\s+|\s+\|\s+")
_GUEST = re.compile(r"^(?:feat|ft|featuring)\b\.?:?\s*|^(?:with|w/)\s+")
#: What is in quotes at the end of a title is a subtitle, as what is in brackets is.
_QUOTED = re.compile(r"(?<=\w)[,:]?\s+[\"“„«][^\"“”„»]+[\"”“»]\s*$")
#: Guests without brackets go on up to the next bracket or dash.
_OPEN_GUEST = re.compile(r"\s+(?:feat|ft|featuring)\b\.?:?\s+(.+?)(?=\s[-–—]\s|[(\[]|$)")
_OPEN_VERSION = re.compile(r"(?<=\S)\s+(live (?:at|from) .+|(?:\w+ )?remix|radio edit|\d{4} remaster(?:ed)?)$")
#: Albums that are named as a version is.
_OF_ALL = re.compile(
    r"^(?:live(?: at| from| in| on|$)|unplugged|karaoke|remixes|instrumentals?$|acoustic$|ao vivo|en vivo)"
)
#: Titles that name a place on an album, and no piece of music.
_GENERIC = frozenset(
    (
        "intro", "outro", "introduction", "interlude", "skit", "prelude", "prologue", "epilogue",
        "untitled", "track", "unknown", "theme", "maintitle", "opening", "ending", "finale", "overture",
        "credits", "endcredits", "bonus", "bonustrack", "hiddentrack", "silence", "instrumental", "jingle",
        "conclusion", "commentary", "dialogue", "monologue", "segue",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Title:
    """A title, taken apart.

    Attributes
    ----------
    base : str
        The folded name of the piece, without subtitles; never empty where the title is not blank.
    full : str
        The same with subtitles, as brackets hold them.
    version : Version
        Which recording of it.
    facts : dict
        What it says in numbers, as :func:`~specrec.matching.numerals.facts_of` gives it.
    movement : str
        The words by which a movement is called; empty: none.
    guests : tuple of str
        What stands after `feat.` or `with`.
    """

    base: str
    full: str
    version: Version = NO_VERSION
    facts: dict[str, str] = field(default_factory=dict)
    movement: str = ""
    guests: tuple[str, ...] = ()

    @property
    def is_work(self) -> bool:
        """Whether it names a numbered piece of music, as classical titles do."""
        return is_work(self.facts)

    @property
    def is_generic(self) -> bool:
        """Whether it names a place on an album, such as `Intro`, and no piece."""
        return self.base.translate(_WITHOUT_DIGITS) in _GENERIC


_WITHOUT_DIGITS = str.maketrans("", "", "0123456789 ")


def read_title(title: str) -> Title:
    """Return the parts of a title.

    Parameters
    ----------
    title : str
        As a catalogue writes it.

    Examples
    --------
    >>> title = read_title("The Long River (feat. Ann Example) [Bob Sample Remix] - 2011 Remaster")
    >>> title.base, title.version.kinds.name, title.version.by, title.version.year, title.guests
    ('the long river', 'REMIX|REMASTER', 'bob sample', 2011, ('ann example',))
    >>> read_title("Walkin’ Home (All Night Long), Pt. II").facts, read_title("Walkin’ Home (All Night)").base
    ({'part': '2'}, 'walking home')
    >>> read_title("(Live)").base, read_title("夜の歌 (ライブ)").version.kinds.name
    ('live', 'LIVE')
    """
    text = plain(title)
    full, version, guests = _named(text, with_subtitles=True)
    has_more = full != text or _QUOTED.search(text)
    base = _named(text, with_subtitles=False)[0] if has_more else full
    if not full:
        full, version, guests = text, NO_VERSION, ()
    facts, full = facts_of(full)
    folded = fold(full)
    if version.take:
        facts["take"] = str(version.take)
    base = fold(facts_of(base)[1]) if base else folded
    return Title(base or folded, folded, version, facts, movement_name(folded), guests)


def kinds_of_album(album: str) -> Kind:
    """Return the kinds of recordings that the name of an album says of all that is on it.

    Examples
    --------
    >>> kinds_of_album("Live at the Old Mill"), kinds_of_album("Hits (Karaoke)"), kinds_of_album("Live and Learn")
    (<Kind.LIVE: 1>, <Kind.KARAOKE: 8>, <Kind: 0>)
    """
    kinds = read_title(album).version.kinds
    if _OF_ALL.search(plain(album)) and (version := read_version(album)):
        kinds |= version.kinds
    return kinds & OTHER_RECORDING


def _named(text: str, with_subtitles: bool) -> tuple[str, Version, tuple[str, ...]]:
    """Return a plain title without its versions and guests, what version it names, and the guests.

    Parameters
    ----------
    text : str
        The title.
    with_subtitles : bool
        Whether brackets that name neither, and quotes at the end, stay as words of the title.
    """
    version, guests = NO_VERSION, []

    def is_said(part: str, in_brackets: bool) -> bool:
        """Take down what a part names, and tell whether it is a version or a guest."""
        nonlocal version
        if guest := _GUEST.match(part):
            guests.append(part[guest.end() :])
        elif found := read_version(part, in_brackets):
            version |= found
        else:
            return False
        return True

    def bracket(found: re.Match[str]) -> str:
        inside = found[1].strip()
        return f" {inside} " if not is_said(inside, in_brackets=True) and with_subtitles else " "

    def guest(found: re.Match[str]) -> str:
        guests.append(found[1])
        return " "

    def open_version(found: re.Match[str]) -> str:
        return " " if is_said(found[1], in_brackets=False) else found[0]

    before = None
    while before != text:  # from within
        before, text = text, _BRACKETS.sub(bracket, text)
    if not with_subtitles:
        text = _QUOTED.sub("", text)
    first, *tails = _DASH.split(_OPEN_GUEST.sub(guest, text))
    kept = [first, *(tail for tail in tails if tail.strip() and not is_said(tail.strip(), in_brackets=False))]
    text = _OPEN_VERSION.sub(open_version, " - ".join(kept).rstrip())
    return text.strip(" -"), version, tuple(guests)
