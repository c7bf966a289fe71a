"""Versions: what a bracket or a tail of a title says of which recording of a piece this is.

A version is a field of its own, apart from the title. What two versions are called tells more than how their names
are spelled: `Live` and `Remastered` are both some words more, but one is another recording and the other is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag, auto

from specrec.matching.folding import fold


class Kind(IntFlag):
    """Kinds of versions, as bits, so that those of many records are one array of int64."""

    # other recordings, or other sounds
    LIVE = auto()
    REMIX = auto()
    INSTRUMENTAL = auto()
    KARAOKE = auto()
    ACOUSTIC = auto()
    A_CAPPELLA = auto()
    DEMO = auto()
    ALTERED = auto()
    ARRANGED = auto()
    LANGUAGE = auto()
    REPRISE = auto()
    MEDLEY = auto()
    RERECORDED = auto()
    # the same performance at another length, or another one of the same session
    EXTENDED = auto()
    ALTERNATE = auto()
    TAKE = auto()
    # the same recording, as it was sold
    EDIT = auto()
    RADIO = auto()
    SINGLE = auto()
    ALBUM = auto()
    ORIGINAL = auto()
    REMASTER = auto()
    CHANNELS = auto()
    LYRICS = auto()
    ISSUE = auto()


NOTHING = Kind(0)
#: Kinds of which one side's silence says that it is another recording.
OTHER_RECORDING = Kind.EXTENDED - 1
#: Kinds that name another cut or performance, though a catalogue may leave that out.
OTHER_CUT = Kind.EXTENDED | Kind.ALTERNATE | Kind.TAKE
#: Kinds that cut a recording to another length.
SHORTENED = Kind.EDIT | Kind.RADIO | Kind.SINGLE

_LANGUAGES = (
    "spanish|english|french|german|italian|portuguese|japanese|korean|chinese|mandarin|cantonese|hindi|tamil|telugu|"
    "russian|arabic|turkish|swedish|dutch|polish|hebrew|espanol|spanglish|deutsche|francaise|italiana|portugues"
)
#: What names a kind, in a folded bracket or tail; the first of those that overlap holds.
_NAMES: tuple[tuple[Kind, str], ...] = (
    (Kind.KARAOKE, r"karaoke\b.*|(?:made famous|originally performed|as performed|in the style|a tribute|tribute"
                   r"|cover(?:ed)?(?: version)? by)\b.*|cover(?: version)?|セルフカバー"),
    (Kind.A_CAPPELLA, r"a ?cap?pella"),
    (Kind.INSTRUMENTAL, r"instrumental(?:e|es)?|inst|backing track|カラオケ"),
    (Kind.ALTERED, r"(?:sped|speed) up|slowed(?: down)?|reverb|nightcore|8d(?: audio)?|chopped|screwed"
                   r"|8 ?bit|lo ?fi"),
    (Kind.LIVE, r"live(?= (?:at|from|in|on|im|au|a|en|session|sessions|version|ver|edit|acoustic"
                r"|recording|@)\b)|live\b(?=.*\d)"
                r"|\blive$|^live\b|en (?:vivo|directo|concierto|concert|public)|ao vivo|dal vivo|in concert"
                r"|concert version|unplugged|ライブ"),
    (Kind.ACOUSTIC, r"acoustic|acustico|acustica|acoustique|akustik|unplugged|piano version|stripped"),
    (Kind.DEMO, r"demo(?: version)?s?|rough mix|outtake|rehearsal|early version|work in progress"),
    (Kind.LANGUAGE, rf"(?:in |en )?(?:{_LANGUAGES})(?: (?:version|remix))?$|version (?:{_LANGUAGES})"),
    (Kind.ARRANGED, r"orchestral?(?: version)?$|symphonic version|string quartet version"
                    r"|lullaby (?:version|rendition)"
                    r"|music box(?: version)?"),
    (Kind.RERECORDED, r"re ?recorded(?: version)?|re ?recording|new recording"),
    (Kind.REPRISE, r"reprise"),
    (Kind.MEDLEY, r"medley|mega ?mix"),
    (Kind.TAKE, r"(?:alternate |alternative |alt )?take\b(?: \d+)?|takes \d+"),
    (Kind.ALTERNATE, r"(?:alternate|alternative|alt|different|unreleased|early)(?: (?:version|mix))?"
                     r"|(?:arr(?:anged)?|orchestra(?:ted)?|transcribed)\b.+"),
    (Kind.REMASTER, r"(?:digital(?:ly)? )?re ?master(?:ed|izado|isado|ise)?(?: (?:version|edition|mix))?"),
    (Kind.RADIO, r"radio(?: (?:edit|mix|version|cut))?"),
    (Kind.SINGLE, r"(?:single|7(?: inch)?)(?: (?:edit|mix|version))?|45 version"),
    (Kind.ALBUM, r"(?:album|lp|cd)(?: (?:edit|mix|version))?"),
    (Kind.ORIGINAL, r"original(?: (?:mix|version|recording))?|(?:main|full)(?: length)? (?:mix|version)"),
    (Kind.CHANNELS, r"(?:mono|stereo)(?: (?:mix|version))?"),
    (Kind.LYRICS, r"(?:explicit|clean|dirty|uncensored|censored)(?: (?:version|edit))?"),
    (Kind.EXTENDED, r"extended(?: (?:mix|edit|version))?|long version|maxi(?: version)?"
                    r"|(?:12(?: inch)?(?: disco)?|club|disco) (?:mix|version|edit)(?: edit| version)?|12 inch"),
    (Kind.ISSUE, r"bonus(?: track)?|deluxe(?: (?:edition|version))?|(?:from|theme from|music from|taken from) .*"
                 r"|(?:original )?(?:motion picture )?soundtrack(?: version)?|ost\b.*"
                 r"|\d+(?:st|nd|rd|th) anniversary.*"
                 r"|theme song|studio(?: version)?|official(?: (?:video|audio|music video))?|mixed"
                 r"|asot \w+|version"),
    (Kind.REMIX, r"(?:re ?)?mix(?:ed)?(?: (?:by|edit|version))?|rmx|re ?work(?:ed)?|bootleg|mash ?up|flip"
                 r"|vip(?: mix)?"
                 r"|re ?fix|dub(?: (?:mix|version))?|re ?edit|remixes"),
    (Kind.EDIT, r"(?:short |video |tv |movie )?(?:edit(?:ed)?(?: version)?|cut)|(?:short|video|tv|movie) version"),
)  # fmt: skip
_NAME = re.compile("|".join(rf"(?P<k{place}>(?<!\w)(?:{names})(?!\w))" for place, (_, names) in enumerate(_NAMES)))
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
#: What makes a mix another one, though nobody is named.
_NEW_MIX = re.compile(
    r"\b(?:re ?mix(?:es|ed)?|rmx|re ?work(?:ed)?|bootleg|mash ?up|flip|vip|re ?fix|dub|re ?edit)\b"
)
_TAKE = re.compile(r"\btakes? (\d+)")
#: Words that say nothing of whose a remix is, or where a concert was.
_SAYS_NOTHING = frozenset(
    (
        "the", "a", "an", "and", "by", "of", "at", "in", "on", "from", "for", "version", "mix", "remix",
        "edit", "dub", "with", "to", "by", "live", "session", "sessions", "feat",
    )
)  # fmt: skip
#: The lengthiest bracket that is a mere mention of a kind among other words; a longer one is a subtitle.
_MOST_WORDS = 9


@dataclass(frozen=True)
class Version:
    """Which recording of a piece a title names.

    Attributes
    ----------
    kinds : Kind
        All that was said of it.
    by : str
        Whose remix, or where the concert was: the folded words beside the kind, sorted; empty: not said.
    year : int
        Of the remaster, concert or version; 0: not said.
    take : int
        The number of the take; 0: not said.
    """

    kinds: Kind = NOTHING
    by: str = ""
    year: int = 0
    take: int = 0

    def __or__(self, other: Version) -> Version:
        """Return what two parts of a title say together."""
        by = " ".join(sorted({*self.by.split(), *other.by.split()}))
        return Version(self.kinds | other.kinds, by, self.year or other.year, self.take or other.take)


NO_VERSION = Version()


def read_version(part: str, in_brackets: bool = True) -> Version | None:
    """Return the version that a bracket or a tail of a title names; None if it names none.

    Parameters
    ----------
    part : str
        The words within the brackets, or after the dash.
    in_brackets : bool
        Brackets often hold whole lines of a song: so a kind must begin or end them.

    Examples
    --------
    >>> read_version("Ann Example's Sunrise Remix")
    Version(kinds=<Kind.REMIX: 2>, by='ann examples sunrise', year=0, take=0)
    >>> read_version("2011 Remaster").kinds.name, read_version("Live at the Old Mill, 1998").by
    ('REMASTER', 'mill old')
    >>> read_version("Where We Live Together") is None, read_version("Up Jumped the Cat") is None
    (True, True)
    """
    folded = fold(part)
    found = list(_NAME.finditer(folded))
    rest = _NAME.sub(" ", folded)
    years = _YEAR.findall(folded)
    rest_words = [word for word in _YEAR.sub(" ", rest).split() if word not in _SAYS_NOTHING]
    if not found:
        return Version(Kind.ISSUE, year=int(years[0])) if years and not rest_words else None
    outer = found[0].start() <= _first_word_end(folded, years) or found[-1].end() == len(folded) or years
    if in_brackets and not outer and len(folded.split()) > 3:
        return None
    if len(rest_words) > _MOST_WORDS:
        return None
    kinds = Kind(0)
    for each in found:
        kinds |= next(kind for place, (kind, _) in enumerate(_NAMES) if each[f"k{place}"])
    if kinds & Kind.REMIX and not rest_words and not _NEW_MIX.search(folded):
        # `Extended Mix` is nobody's remix
        kinds = kinds & ~Kind.REMIX or Kind.ALTERNATE
    if kinds == Kind.ISSUE and rest_words and folded.endswith("version"):
        kinds = Kind.ALTERNATE  # of a name that is not known here
    if kinds & Kind.EDIT and rest_words and not kinds & ~Kind.EDIT:
        kinds |= Kind.REMIX  # somebody's edit
    by = " ".join(sorted(set(rest_words))) if kinds & (Kind.REMIX | Kind.LIVE) else ""
    take = _TAKE.search(folded)
    return Version(kinds, by, int(years[-1]) if years else 0, int(take[1]) if take else 0)


def _first_word_end(folded: str, years: list[str]) -> int:
    """Return up to where a kind may begin that begins a part, after a year."""
    return 5 if years and folded.startswith(years[0]) else 0
