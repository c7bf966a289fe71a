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
#: What stands for artists who are not named, as keys.
_VARIOUS = frozenset(
    (
        "variousartists", "various", "variosartistas", "varios", "verschiedeneinterpreten", "va", "unknownartist",
        "unknown", "artistesdivers", "diverse", "soundtrack", "originalcast",
    )
)  # fmt: skip
#: Composers whose works others play, by surname, each with the letters that forenames begin with: one of these on
#: one side, and players on the other, is no contradiction. They are of the standard repertoire; whoever is not
#: among them is an artist as any other.
_REPERTOIRE = (
    "albeniz:i albinoni:t bach:jcw bartok:b barber:s beethoven:l bellini:v berio:l berlioz:h bernstein:l "
    "bizet:g boccherini:l borodin:a boulez:p brahms:j britten:b bruch:m bruckner:a busoni:f buxtehude:d "
    "byrd:w chabrier:e charpentier:m chausson:e cherubini:l chopin:f cimarosa:d clementi:m copland:a "
    "corelli:a couperin:fl czerny:c dallapiccola:l debussy:c delibes:l delius:f donizetti:g dowland:j "
    "dukas:p dutilleux:h dvorak:a elgar:e enescu:g faure:g frescobaldi:g gabrieli:ag gershwin:g gesualdo:c "
    "ginastera:a glazunov:a glinka:m gluck:c gorecki:h gounod:c grainger:p granados:e grieg:e handel:g "
    "haendel:g haydn:jfm hindemith:p holst:g honegger:a hummel:j humperdinck:e ibert:j janacek:l "
    "khachaturian:a kodaly:z korngold:e lalo:e lassus:o ligeti:g liszt:f lully:j lutoslawski:w machaut:g "
    "mahler:g martinu:b mascagni:p massenet:j mendelssohn:f messiaen:o milhaud:d monteverdi:c mozart:wl "
    "mussorgsky:m nielsen:c nyman:m offenbach:j orff:c pachelbel:j paganini:n palestrina:g pergolesi:g "
    "piazzolla:a ponchielli:a poulenc:f praetorius:m prokofiev:s puccini:g purcell:h rachmaninoff:s "
    "rachmaninov:s rameau:j ravel:m respighi:o rossini:g saint-saens:c sarasate:p satie:e scarlatti:ad "
    "schnittke:a schoenberg:a schonberg:a schubert:f schumann:rc schutz:h scriabin:a shostakovich:d "
    "sibelius:j smetana:b stamitz:cj stockhausen:k strauss:rj stravinsky:i suppe:f szymanowski:k takemitsu:t "
    "tallis:t tarrega:f tartini:g tchaikovsky:p telemann:g tippett:m varese:e verdi:g vieuxtemps:h "
    "villa-lobos:h vivaldi:a wagner:r weber:c wieniawski:h xenakis:i ysaye:e zelenka:j"
)
_COMPOSERS = dict(composer.split(":") for composer in _REPERTOIRE.split())
#: Composers whose surnames many others have.
_BY_FULL_NAME = frozenset(
    (
        "alban berg", "anton webern", "arvo part", "cesar franck", "charles ives", "fernando sor", "hugo wolf",
        "john field", "kurt weill", "luigi nono", "malcolm arnold", "manuel de falla", "max reger", "philip glass",
        "scott joplin", "steve reich", "tomas luis de victoria", "william walton",
    )
)  # fmt: skip
#: Those of them who are heard on records themselves, as players or conductors.
_RECORDED = frozenset(
    (
        "bartok", "berio", "bernstein", "boulez", "britten", "copland", "gershwin", "grainger", "hindemith",
        "khachaturian", "lutoslawski", "messiaen", "milhaud", "nyman", "piazzolla", "poulenc", "prokofiev",
        "rachmaninoff", "rachmaninov", "shostakovich", "stockhausen", "strauss", "stravinsky", "tippett", "xenakis",
    )
)  # fmt: skip
#: Words by which ensembles are told, which are often named after a composer.
_ENSEMBLES = frozenset(
    (
        "orchestra", "orchester", "quartet", "quartett", "trio", "ensemble", "choir", "chor", "consort",
        "collegium", "the",
    )
)  # fmt: skip


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

    @cached_property
    def only_composers(self) -> frozenset[str]:
        """The keys of those composers who play nothing: nobody recorded them."""
        return frozenset(
            key_of(name) for name in self.mains if is_composer(name) and name.split()[-1] not in _RECORDED
        )

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
    names = dict.fromkeys(fold(part.strip(" ()[]")) for part in parts)
    return [name for name in names if name] or [name for name in [fold(text)] if name]


def is_composer(name: str) -> bool:
    """Tell whether a folded name is that of a composer of the repertoire, by surname and how the forename begins.

    Examples
    --------
    >>> is_composer("js bach"), is_composer("bach"), is_composer("ann bach"), is_composer("bach choir")
    (True, True, False, False)
    """
    words = name.split()
    if _ENSEMBLES & {*words}:
        return False
    for count in (1, 2):  # Saint-Saëns has two words
        forenames = _COMPOSERS.get("-".join(words[-count:]))
        if forenames and len(words) <= 3 + count and (len(words) == count or words[0][0] in forenames):
            return True
    return name in _BY_FULL_NAME
