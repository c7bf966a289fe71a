"""Titles and artists without what differs between two editions of one recording."""

from __future__ import annotations

import pandas as pd

# What another edition of the same recording is called. Live, remix, acoustic or radio edit name other recordings.
_EDITION = (
    r"(?:(?:\d{4} )?(?:digital(?:ly)? )?remaster(?:ed)?(?: version| edition)?(?: in)?(?: \d{4})?"
    r"|album version|explicit(?: version)?)"
)
_GUEST = r"(?:feat\.?|ft\.?|featuring)\s"
_LEFT_OUT = (
    rf"[(\[]\s*(?:{_GUEST}[^)\]]*|{_EDITION}\s*)[)\]]"
    rf"|\s[-–—]\s*{_EDITION}\s*$"
    rf"|\s{_GUEST}(?:(?!\s[-–—]\s)[^(\[])*"
)


def clean_titles(titles: pd.Series) -> pd.Series:
    """Return titles as they can be compared: no case, accents, punctuation, guests, nor names of editions.

    Parameters
    ----------
    titles : Series
        Text; may hold nulls.

    Returns
    -------
    Text, null where nothing is left.

    Examples
    --------
    >>> clean_titles(pd.Series(["Où va la Nuit (2011 Remaster)", "Ou va la nuit - Live"])).to_list()
    ['ou va la nuit', 'ou va la nuit live']
    """
    text = _plain(titles).str.replace(_LEFT_OUT, " ", regex=True)
    return _words(text)


def clean_artists(artists: pd.Series) -> pd.Series:
    """Return the first artist of each list, likewise; guests are told apart by nobody in the same way.

    Parameters
    ----------
    artists : Series
        Names separated by semicolons; may hold nulls.

    Examples
    --------
    >>> clean_artists(pd.Series(["The Weavers;Guest", "weavers feat. Guest"])).to_list()
    ['weavers', 'weavers']
    """
    first = _plain(artists).str.split(";").str[0].str.replace(_LEFT_OUT, " ", regex=True)
    return _words(first.str.replace(r"^\s*the\s+(?=\w)", "", regex=True))


def _plain(text: pd.Series) -> pd.Series:
    """Fold case and compatibility forms (NFKD, Unicode TR15) and take off the accents."""
    folded = text.astype("string").str.normalize("NFKD").str.casefold()
    # NFKC puts letters together again, as a Korean syllable is several in NFKD
    plain: pd.Series = folded.str.replace(r"[\u0300-\u036f]", "", regex=True).str.normalize("NFKC")
    return plain.str.replace(r"\s+", " ", regex=True)


def _words(text: pd.Series) -> pd.Series:
    words = text.str.replace("&", " and ").str.replace(r"['’`´]", "", regex=True)
    words = words.str.replace(r"[\W_]+", " ", regex=True).str.strip()
    found: pd.Series = words.astype(object).where(words.notna() & (words != ""), None)
    return found
