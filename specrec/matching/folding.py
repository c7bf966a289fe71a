"""Names as they can be compared: one spelling of each, in whatever script it is written, and never an empty one."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict

#: Latin letters that Unicode does not take apart into a letter and a mark.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h"}
)
_MARKS_ON_LATIN = re.compile(r"([a-z])[\u0300-\u036f]+")
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘`´ʼ′＇", "'"))
_DROPPED_G = re.compile(r"\b([^\W\d_]{2,}in)'(?!\w)")
#: Single letters with a full stop after each, the last of which some leave out.
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.\s?){1,}[^\W\d_]\b\.?(?!\w)")
#: Signs that stand for a letter within a word, as names of artists have them.
_SIGNS = (
    (re.compile(r"\$(?=[^\W\d_])|(?<=[^\W\d_])\$"), "s"),
    (re.compile(r"(?<=[^\W\d_])!(?=[^\W\d_])"), "i"),
    (re.compile(r"(?<=[^\W\d_])@(?=[^\W\d_])"), "a"),
)
_AND = re.compile(r"[&+]")
_NUMBER = re.compile(r"\b(?:no|nr|n°|nº)\.?\s*(?=\d)|#\s*(?=\d)")
_ARTICLE = re.compile(r"^(?:the|a|an) (?=\S)")
#: Words that are written in two ways, and how they are written here.
_SPELLINGS = {
    "pt": "part", "pts": "parts", "vol": "volume", "ft": "feat", "featuring": "feat", "wanna": "want to",
    "gonna": "going to", "gotta": "got to", "cuz": "because", "n": "and", "mvt": "movement", "str": "street",
    "orch": "orchestra", "vs": "versus",
}  # fmt: skip


class _Kept(defaultdict[int, str]):
    """What becomes of a character: letters, digits and their marks stay, apostrophes go, all else is a blank."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = character if unicodedata.category(character)[0] in "LNM" else "" if character == "'" else " "
        self[code] = kept
        return kept


_KEPT = _Kept()


def plain(name: str) -> str:
    """Return a name without case, compatibility forms (NFKC, Unicode TR15) or Latin accents; punctuation stays.

    Marks of other scripts stay, too: without them Japanese, Cyrillic and Hindi words become other words.

    Examples
    --------
    >>> plain("Ｎｏël  ÅRØ"), plain("Йод"), plain("が")
    ('noel  aro', 'йод', 'が')
    """
    text = unicodedata.normalize("NFKC", name).casefold()
    if text.isascii():
        return text
    taken_apart = unicodedata.normalize("NFD", text.translate(_APOSTROPHES).translate(_LETTERS))
    return unicodedata.normalize("NFC", _MARKS_ON_LATIN.sub(r"\1", taken_apart))


def fold(name: str) -> str:
    """Return the words of a name, separated by blanks, in one spelling; of one without words, its signs.

    Parameters
    ----------
    name : str
        As a catalogue writes it.

    Returns
    -------
    str
        Empty only where the name is blank.

    Examples
    --------
    >>> fold("Rollin' & Tumblin’, Pt. 2"), fold("The Q.U.I.E.T. Café"), fold("Mon€y$")
    ('rolling and tumbling part 2', 'the quiet cafe', 'mon ys')
    >>> fold("!!!"), fold("夜の歌「雨」"), fold("  ")
    ('!!!', '夜の歌 雨', '')
    """
    text = plain(name)
    text = _DROPPED_G.sub(r"\1g", text)
    text = _INITIALS.sub(lambda found: re.sub(r"[.\s]", "", found[0]) + " ", text)
    for sign, letter in _SIGNS:
        text = sign.sub(letter, text)
    text = _NUMBER.sub(" ", text)
    words = _AND.sub(" and ", text).translate(_KEPT).split()
    return " ".join(_SPELLINGS.get(word, word) for word in words) or "".join(text.split()) or name.strip()


def key_of(folded: str) -> str:
    """Return what two spellings of a folded name have in common: no article before it, and no blanks.

    Examples
    --------
    >>> key_of("the night light"), key_of("nightlight"), key_of("the the")
    ('nightlight', 'nightlight', 'the')
    """
    return _ARTICLE.sub("", folded).replace(" ", "")
