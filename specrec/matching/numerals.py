"""What titles say in numbers: part, movement, key, number of a work. What differs in one is another piece.

Classical titles are told apart by little else. Two catalogues that name a symphony in the same way name its
composer in one and its orchestra in the other; its number, key and movement are what they have in common.
"""

from __future__ import annotations

import re

from specrec.matching.folding import plain

_ROMAN = r"(?:x{0,3}(?:ix|iv|v?i{1,3}|v)|x{1,3})"
_COUNT = rf"(?:\d{{1,3}}|{_ROMAN})"
_CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_WORDS = {word: place for words in (_CARDINALS, _ORDINALS) for place, word in enumerate(words, start=1)}
_WORD = "|".join(_WORDS)
_FORMS = {
    "symphony": "symphony|symphonie|sinfonie|sinfonia|symphonies", "sonata": "sonata|sonate|sonatas",
    "concerto": "concerto|konzert|concert|concertos", "quartet": "quartet|quartett|quatuor", "trio": "trio",
    "quintet": "quintet|quintett", "suite": "suite", "prelude": "prelude|praludium|preludes",
    "etude": "etude|etudes", "nocturne": "nocturne|nocturnes", "waltz": "waltz|walzer|valse",
    "variation": "variation|variations", "dance": "dance|dances", "partita": "partita",
    "cantata": "cantata|kantate",
    "mass": "mass|messe", "fugue": "fugue|fuge", "overture": "overture|ouverture", "rhapsody": "rhapsody",
    "fantasy": "fantasy|fantasia|fantasie", "mazurka": "mazurka", "ballade": "ballade",
    "scherzo": "scherzo", "impromptu": "impromptu",
}  # fmt: skip
#: The forms of which works are numbered, as facts are called.
FORMS = tuple(_FORMS)
_FORM_OF = {spelling: form for form, spellings in _FORMS.items() for spelling in spellings.split("|")}
_FORM = re.compile(rf"\b(?:{'|'.join(_FORM_OF)})\b")
_COMPOUND = re.compile(rf"(\w{{3,}}?)({'|'.join(spelling for spelling in _FORM_OF if len(spelling) > 5)})$")
#: Systems in which composers' works are numbered. Single letters are taken for one with a full stop or two digits.
_CATALOGUES = "bwv|op(?:us)?|kv|hob|rv|hwv|wq|woo|twv|buxwv|sz|trv|av|wab|th|hv|wwv"
_CATALOGUE = re.compile(
    rf"(?<![\w'])(?P<system>{_CATALOGUES}|[kdlsrgjp](?=\.|\s?\d\d))\.?\s*"
    rf"(?P<number>(?:[ivx]+[:/]\s?)?\d+[a-z]?)(?!\w)(?:\s*/\s*(?P<slash>\d+))?(?:,?\s*(?:no|nr)\.?\s*(?P<sub>\d+))?"
)
_WORK = re.compile(
    rf"\b(?P<form>{'|'.join(sorted(_FORM_OF, key=len, reverse=True))})\b(?P<between>[^:\d,;/.()]{{0,24}}?)"
    r"\s*(?:no\.?|nr\.?|#)?\s*(?P<number>\d{1,3})(?![\w:'/])"
)
_KEY = re.compile(
    r"\bin (?P<note>[a-h])(?P<sign>[\s-]?(?:flat|sharp)|b|♭|♯|#|s)?"
    r"(?:[\s-](?P<mode>major|minor|dur|moll))?(?=\s*(?:[,:.;\"'(\-–]|\bfor\b|op\b|k\b|$))"
)
_MOVEMENT = re.compile(
    rf"(?:[:/,;]|\s[-–—])\s*(?:no\.?\s*)?(?P<before>{_COUNT})\s*[.:)]\s*(?=[^\W\d])"
    rf"|\b(?:mvt|movement|mov)\.?\s*(?P<named>{_COUNT})\b|\b(?P<word>{_WORD}) movement\b"
    rf"|(?<=[a-z])[\s,]+(?P<after>{_ROMAN})\.$"
)
_PART = re.compile(
    rf"(?:^|[\s,:;(\[-])(?:(?P<part>part|parte|pt|teil)|(?P<volume>volume|vol)|(?P<chapter>chapter|kapitel|episode)"
    rf"|(?P<act>act))s?\b\.?\s*"
    rf"(?P<number>\d{{1,4}}|{_ROMAN}|{_WORD})\b"
)
#: Facts that songs have as well.
_OF_ANY_MUSIC = frozenset({"part", "volume", "chapter", "act", "take", "number", "movement"})
_DIGITS = re.compile(r"\d+")
#: A Roman numeral that ends a title, of two letters at least: `I` is a word.
_LAST = re.compile(r"(?<=\w )(?:i{2,3}|iv|vi{1,3}|ix|xi{1,3}|xi?v|xx)$")
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10}
#: Words by which movements are called, in the spelling that others are brought to.
_TEMPI = {
    spelling: tempo
    for tempo, spellings in {
        "allegro": "allegro", "allegretto": "allegretto", "andante": "andante", "andantino": "andantino",
        "adagio": "adagio", "largo": "largo", "larghetto": "larghetto", "lento": "lento lent", "presto": "presto",
        "prestissimo": "prestissimo", "vivace": "vivace", "vif": "vif", "grave": "grave",
        "moderato": "moderato modere",
        "minuet": "minuet menuet menuetto minuetto", "scherzo": "scherzo", "rondo": "rondo rondeau",
        "finale": "finale", "trio": "trio", "cantabile": "cantabile", "anime": "anime", "maestoso": "maestoso",
        "sostenuto": "sostenuto", "molto": "molto", "assai": "assai", "con": "con", "moto": "moto", "brio": "brio",
        "spiritoso": "spiritoso spirito", "vivo": "vivo", "poco": "poco", "ma": "ma", "non": "non",
        "troppo": "troppo", "tres": "tres", "assez": "assez", "fuoco": "fuoco", "expressif": "expressif",
        "espressivo": "espressivo", "grazia": "grazia", "grazioso": "grazioso", "doucement": "doucement",
        "gigue": "gigue giga", "sarabande": "sarabande sarabanda", "courante": "courante corrente",
        "allemande": "allemande allemanda", "gavotte": "gavotte", "bourree": "bourree", "intermezzo": "intermezzo",
        "siciliano": "siciliano siciliana", "pizzicato": "pizzicato", "recitative": "recitative recitativo",
        "pianissimo": "pianissimo", "sempre": "sempre", "e": "e", "aria": "aria", "chorus": "chorus coro",
        "theme": "theme tema",
    }.items()
    for spelling in spellings.split()
}  # fmt: skip
#: Of these alone a movement is not called.
_MANNERS = frozenset(
    (
        "molto", "assai", "con", "moto", "brio", "poco", "ma", "non", "troppo", "tres", "assez", "vivo",
        "trio", "theme", "chorus", "e", "sempre", "pianissimo",
    )
)  # fmt: skip


def facts_of(title: str) -> tuple[dict[str, str], str]:
    """Return what a title says in numbers, and the title without it.

    Parameters
    ----------
    title : str
        As :func:`~specrec.matching.folding.plain` returns it; without its versions.

    Returns
    -------
    facts : dict
        The value of each thing that is numbered: `k`, `op`, `bwv`, … (a catalogue of works), a form (`symphony`),
        `key`, `movement`, `part`, `volume`, `chapter`, `act`, and `number` for all other numbers of the title.
    rest : str
        The title without these, but for other numbers.

    Examples
    --------
    >>> facts_of("symphony no. 12 in e minor, k. 123: ii. scherzo")
    ({'k': '123', 'symphony': '12', 'key': 'e minor', 'movement': '2'}, 'symphony , : scherzo')
    >>> facts_of("our river, pt. ii"), facts_of("7 rivers iv")
    (({'part': '2'}, 'our river'), ({'number': '7 4'}, '7 rivers iv'))
    """
    facts: dict[str, str] = {}

    def catalogue(found: re.Match[str]) -> str:
        system = {"opus": "op", "kv": "k"}.get(found["system"], found["system"])
        facts.setdefault(system, found["number"].replace(" ", ""))
        if sub := found["slash"] or found["sub"]:
            facts.setdefault(f"{system} no", sub)
        return " "

    def work(found: re.Match[str]) -> str:
        facts.setdefault(_FORM_OF[found["form"]], found["number"])
        return f"{found['form']}{found['between']} "

    def key(found: re.Match[str]) -> str:
        sign = {"b": " flat", "♭": " flat", "#": " sharp", "♯": " sharp", "s": " flat"}.get(
            found["sign"] or "", (found["sign"] or "").replace("-", " ")
        )
        mode = {"dur": "major", "moll": "minor", None: "major"}.get(found["mode"], found["mode"])
        facts["key"] = f"{found['note']} {sign.strip()} {mode}".replace("  ", " ")
        return " "

    def movement(found: re.Match[str]) -> str:
        if found["after"] and not facts:
            return found[0]
        said = next(value for value in found.groupdict().values() if value)
        facts.setdefault("movement", _number(said))
        return " : " if found["before"] else " "

    def part(found: re.Match[str]) -> str:
        kind = next(kind for kind in ("part", "volume", "chapter", "act") if found[kind])
        facts.setdefault(kind, _number(found["number"]))
        return " "

    rest = _PART.sub(part, title)
    rest = _CATALOGUE.sub(catalogue, rest)
    rest = _WORK.sub(work, rest)
    if facts or _FORM.search(rest):
        rest = _KEY.sub(key, rest)
    if is_work(facts) or _FORM.search(rest) or _named_by_tempo(rest):
        rest = _MOVEMENT.sub(movement, rest)
    rest = " ".join(rest.split()).strip(" ,:;-/([")
    if numbers := [*_DIGITS.findall(rest), *_LAST.findall(rest)]:
        facts["number"] = " ".join(map(_number, numbers))
    return facts, rest or title


def is_work(facts: dict[str, str]) -> bool:
    """Tell whether facts are of a numbered piece of music, as classical ones are.

    Examples
    --------
    >>> is_work({"k": "550"}), is_work({"part": "2", "number": "9"})
    (True, False)
    """
    return bool(facts.keys() - _OF_ANY_MUSIC)


def movement_name(rest: str) -> str:
    """Return the words by which a movement is called, in one spelling, sorted; empty: it is called by none.

    Parameters
    ----------
    rest : str
        A folded title.

    Examples
    --------
    >>> movement_name("symphony menuetto allegretto"), movement_name("con te")
    ('allegretto minuet', '')
    """
    found = {_TEMPI[word] for word in rest.split() if word in _TEMPI}
    return " ".join(sorted(found)) if found - _MANNERS else ""


def with_forms(rest: str) -> str:
    """Return a folded title with musical forms in one spelling, German compounds taken apart.

    Examples
    --------
    >>> with_forms("gartensonate"), with_forms("concert for oboe"), with_forms("the long river")
    ('garten sonata', 'concerto for oboe', 'the long river')
    """
    return " ".join(_form_of(word) for word in rest.split())


def _form_of(word: str) -> str:
    if word in _FORM_OF:
        return _FORM_OF[word]
    found = _COMPOUND.match(word)
    return f"{found[1]} {_FORM_OF[found[2]]}" if found else word


def without_movement(rest: str) -> str:
    """Return a folded title without the words by which a movement is called, unless it has no others.

    Examples
    --------
    >>> without_movement("the long river suite allegro molto"), without_movement("adagio")
    ('the long river suite', 'adagio')
    """
    return " ".join(word for word in rest.split() if word not in _TEMPI) or rest


def _named_by_tempo(title: str) -> bool:
    return bool(movement_name(re.sub(r"\W+", " ", plain(title))))


def _number(said: str) -> str:
    """Return a number that is written in digits, Roman numerals or as a word, in digits."""
    if said.isdecimal():
        return str(int(said))
    if said in _WORDS:
        return str(_WORDS[said])
    values = [_ROMAN_VALUES[letter] for letter in said]
    return str(sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True)))
