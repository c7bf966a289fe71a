"""Artists as a set, each with a role: who plays, and who is a guest; and who only wrote what is played."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from specrec.matching.folding import fold, key_of, plain

#: What comes before a guest.
_GUEST = re.compile(r"[\s(\[,]+(?:feat|ft|featuring)\b\.?:?\s*|[\s(\[]+(?:with|w/)\s+(?=\S)")
#: What separates artists, surely; and what may be within the name of one.
_SURELY = re.compile(r"\s*[;|]\s*|\s+(?:vs\.?|versus|x|×|presents|pres\.)\s+|\s+/\s+|\0")
_MAYBE = re.compile(r"\s*(?:,\s*(?:and\s+|&\s*)?|\s&\s|\s\+\s|\s+and\s+)\s*")
_VARIOUS = frozenset(
    "variousartists various variosartistas varios verschiedeneinterpreten va unknownartist unknown artistesdivers "
    "diverse soundtrack originalcast".split()
)
#: Surnames of composers whose works others play: one of these on one side, and players on the other, is no
#: contradiction. The list is of the standard repertoire, and whoever is not on it is an artist as any other.
_COMPOSERS = frozenset(
    "albeniz albinoni arnold bach bacharach bartok barber beethoven bellini berg berio berlioz bernstein bizet boccherini borodin "
    "boulez brahms britten bruch bruckner busoni buxtehude byrd chabrier charpentier chausson cherubini chopin cimarosa "
    "clementi copland corelli couperin czerny dallapiccola debussy delibes delius donizetti dowland dukas dutilleux "
    "dvorak elgar enescu falla faure field franck frescobaldi gabrieli gershwin gesualdo ginastera glass glazunov glinka "
    "gluck gorecki gounod grainger granados grieg handel haendel haydn hindemith holst honegger hummel humperdinck ibert "
    "ives janacek joplin khachaturian kodaly korngold lalo lassus ligeti liszt lully lutoslawski machaut mahler "
    "martinu mascagni massenet mendelssohn messiaen milhaud monteverdi mozart mussorgsky nielsen nono nyman offenbach "
    "orff pachelbel paganini palestrina part pergolesi piazzolla ponchielli poulenc praetorius prokofiev puccini purcell "
    "rachmaninoff rachmaninov rameau ravel reger reich respighi rossini rovetta saint-saens sarasate satie scarlatti "
    "schnittke schoenberg schonberg schubert schumann schutz scriabin shostakovich sibelius smetana sor stamitz "
    "stockhausen strauss stravinsky suppe szymanowski takemitsu tallis tarrega tartini tchaikovsky telemann tippett "
    "varese verdi victoria vieuxtemps villa-lobos vivaldi wagner walton weber webern weill wieniawski wolf xenakis "
    "ysaye zelenka".split()
)


#: Words by which ensembles are told, which are often named after a composer.
_ENSEMBLES = frozenset("orchestra orchester quartet quartett trio ensemble choir chor consort collegium the".split())


@dataclass(frozen=True)
class Credit:
    """Who a recording is by.

    Attributes
    ----------
    mains : tuple of str
        Who plays, as folded names, in the order of the catalogue.
    guests : tuple of str
        Who joins in.
    whole : str
        All who play as one folded name, since `Salt & Pepper` may be one artist or two.
    """

    mains: tuple[str, ...]
    guests: tuple[str, ...] = ()
    whole: str = ""

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys of all who play: :func:`~specrec.matching.folding.key_of` each."""
        return frozenset(map(key_of, self.mains))

    @cached_property
    def guest_keys(self) -> frozenset[str]:
        """The keys of guests."""
        return frozenset(map(key_of, self.guests)) - self.keys

    @cached_property
    def is_nobody(self) -> bool:
        """Whether the credit names nobody: it is empty, or says `Various Artists`."""
        return self.keys <= _VARIOUS

    @cached_property
    def composers(self) -> frozenset[str]:
        """The keys of those who play that are known to have written what others play."""
        return frozenset(key_of(name) for name in self.mains if is_composer(name))

    def with_guests(self, more: Iterable[str]) -> Credit:
        """Return the credit with guests whom the title names.

        Parameters
        ----------
        more : iterable of str
            What stands after `feat.` or `with`, as :func:`~specrec.matching.folding.plain` returns it.
        """
        found = [name for text in more for name in names_of(text)]
        return Credit(self.mains, tuple(dict.fromkeys([*self.guests, *found])), self.whole)


def read_credit(artists: str) -> Credit:
    """Return the artists that a catalogue names.

    Parameters
    ----------
    artists : str
        Names, with whatever stands between them: `;`, `,`, `&`, `and`, `x`, `vs.`, `feat.`, `with`.

    Examples
    --------
    >>> credit = read_credit("The Tin Whistles & Ann Example feat. MC Sample")
    >>> credit.mains, credit.guests, credit.whole
    (('the tin whistles', 'ann example'), ('mc sample',), 'the tin whistles and ann example')
    >>> read_credit("Ann Example;Tin Whistles").keys == read_credit("the tin whistles, Ann Example").keys
    True
    >>> read_credit("Various Artists").is_nobody, read_credit("Antonio Vivaldi").composers
    (True, frozenset({'antoniovivaldi'}))
    """
    playing, *joining = _GUEST.split(plain(artists))
    if not playing.strip(" ([,"):
        playing, joining = plain(artists), []
    mains = names_of(playing)
    guests = [name for text in joining for name in names_of(text)]
    return Credit(tuple(mains), tuple(dict.fromkeys(guests)), fold(playing.replace(";", " and ")))


def names_of(text: str) -> list[str]:
    """Return the folded names in a text, each once, in their order.

    Examples
    --------
    >>> names_of("ann example, bob and the sevens")
    ['ann example', 'bob', 'the sevens']
    """
    parts = [part for whole in _SURELY.split(text) for part in _MAYBE.split(whole)]
    return [name for name in dict.fromkeys(fold(part.strip(" ()[]")) for part in parts) if name]


def is_composer(name: str) -> bool:
    """Tell whether a folded name is that of a composer of the standard repertoire, by the surname alone.

    Examples
    --------
    >>> is_composer("js bach"), is_composer("ann bachman"), is_composer("the franz schubert quartet")
    (True, False, False)
    """
    words = name.split()
    if _ENSEMBLES & {*words}:
        return False
    return 0 < len(words) <= 4 and (words[-1] in _COMPOSERS or "-".join(words[-2:]) in _COMPOSERS)
