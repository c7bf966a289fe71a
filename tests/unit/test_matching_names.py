"""Names that are matched: what two spellings share is folded, what tells recordings apart is kept."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from specrec.matching.artists import is_composer, read_credit
from specrec.matching.folding import fold, key_of
from specrec.matching.numerals import facts_of
from specrec.matching.titles import kinds_of_album, read_title
from specrec.matching.versions import Kind, read_version

names = st.text(st.characters(codec="utf-8"), max_size=30)


@given(names)
@example("!!!")
@example("+")
@example("( )")
@example("(Live)")
@example("feat. ")
@example(" - ")
@example("夜の歌")
@example("Ночная песня")
@example("أغنية الليل")
@example("\u200b")
@example("'")
@example("()")
@settings(max_examples=150, deadline=None)
def test_no_name_becomes_empty_unless_it_is_blank(name):
    title = read_title(name)
    for folded in (fold(name), title.base, title.full, key_of(fold(name))):
        assert bool(folded) == bool(name.strip())
    if name.strip():
        assert read_credit(name).mains


@given(names)
@settings(max_examples=100, deadline=None)
def test_case_and_normal_form_are_of_no_account(name):
    folded = fold(name)
    assert fold(unicodedata.normalize("NFD", name)) == folded
    assert fold(unicodedata.normalize("NFC", name)) == folded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Rollin' Home", "ROLLING HOME"),
        ("Rollin’ Home", "Rollin' Home"),
        ("Salt & Stone", "Salt and Stone"),
        ("River, Pt. 2", "River, Part 2"),
        ("The Q.U.I.E.T.", "The Quiet"),
        ("B. J. Example", "B.J. Example"),
        ("Où va la Nuit", "Ou va la nuit"),
        ("Mon$ter", "monster"),
        ("I Wanna Go", "I Want to Go"),
        ("ﬁre", "fire"),
    ],
)
def test_spellings_of_one_name_are_one(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("が", "か"), ("йод", "иод"), ("हिन्दी", "हन्द"), ("夜の歌", "夜の雨"), ("!!!", "???")]
)
def test_marks_and_scripts_that_tell_words_apart_stay(one, other):
    assert fold(one) != fold(other)


@pytest.mark.parametrize("name", ["The Night Light", "Nightlight", "the nightlight", "A Night-Light"])
def test_articles_and_blanks_are_not_in_a_key(name):
    assert key_of(fold(name)) == "nightlight"


@pytest.mark.parametrize(
    ("part", "kinds"),
    [
        ("Live", Kind.LIVE),
        ("Live at the Old Mill, 1998", Kind.LIVE),
        ("Ao Vivo", Kind.LIVE),
        ("Ann Example Remix", Kind.REMIX),
        ("Ann Example's Night Dub", Kind.REMIX),
        ("Ann & Bob Edit", Kind.REMIX | Kind.EDIT),
        ("Radio Edit", Kind.RADIO),
        ("Single Version", Kind.SINGLE),
        ("LP Version", Kind.ALBUM),
        ("Original Mix", Kind.ORIGINAL),
        ("Extended Mix", Kind.EXTENDED),
        ('12" Disco Mix', Kind.EXTENDED),
        ("2011 Remaster", Kind.REMASTER),
        ("Remastered 2009", Kind.REMASTER),
        ("Acoustic", Kind.ACOUSTIC),
        ("Instrumental", Kind.INSTRUMENTAL),
        ("Karaoke Version", Kind.KARAOKE),
        ("Originally Performed by Ann Example", Kind.KARAOKE),
        ("Demo", Kind.DEMO),
        ("Take 4", Kind.TAKE),
        ("Spanish Version", Kind.LANGUAGE),
        ("Sped Up", Kind.ALTERED),
        ("Bonus Track", Kind.ISSUE),
    ],
)
@pytest.mark.parametrize(
    "written", ["A Song ({})", "A Song [{}]", "A Song - {}", "A Song – {}", "A Song (feat. Ann) [{}]"]
)
def test_a_version_is_found_wherever_it_stands_and_leaves_the_title(part, kinds, written):
    title = read_title(written.format(part))
    assert title.version.kinds == kinds
    assert title.full == "a song"


@pytest.mark.parametrize(
    "title",
    ["Where We Live", "Live and Learn", "The Remix of My Heart Is You", "Demo Lovers", "Acoustic Sun", "Clean"],
)
def test_words_of_a_title_are_no_version(title):
    assert read_title(title).version.kinds == Kind(0)
    assert read_title(title).full == fold(title)


def test_a_subtitle_is_kept_apart_from_the_base():
    title = read_title("Rolling (Up Jumped the Cat)")
    assert (title.base, title.full) == ("rolling", "rolling up jumped the cat")
    title = read_title('Long River, "The Night Song"')
    assert (title.base, title.full) == ("long river", "long river the night song")


def test_who_made_a_remix_and_when_are_told():
    version = read_version("Bob Sample's 1997 Remix")
    assert (version.by, version.year) == ("bob samples", 1997)
    assert read_title("Song (Ann Remix) [2004 Remaster]").version.kinds == Kind.REMIX | Kind.REMASTER


def test_an_album_says_what_is_on_it():
    assert kinds_of_album("Live in the Old Mill") == Kind.LIVE
    assert kinds_of_album("The Life We Live") == Kind(0)
    assert kinds_of_album("Remastered") == Kind(0)  # another issue, and no other recording


@pytest.mark.parametrize(
    ("title", "facts"),
    [
        ("symphony no.41 in c, k.551, menuetto", {"symphony": "41", "key": "c major", "k": "551"}),
        ("symphony no. 4, k. 999: iii. presto", {"symphony": "4", "k": "999", "movement": "3"}),
        ("sonata in b-flat, d. 99: 3. scherzo", {"key": "b flat major", "d": "99", "movement": "3"}),
        ("concerto in a op. 3 no. 6, first movement", {"op": "3", "op no": "6", "key": "a major", "movement": "1"}),
        ("our river part ii", {"part": "2"}),
        ("our river, pt. 2", {"part": "2"}),
        ("river 7", {"number": "7"}),
        ("the long river", {}),
        ("i am alive in a dream", {}),
    ],
)  # fmt: skip
def test_what_titles_say_in_numbers(title, facts):
    assert facts_of(title)[0] == facts


def test_artists_are_a_set_with_roles():
    credit = read_credit("The Tin Whistles & Ann Example feat. MC Sample")
    assert credit.keys == {"tinwhistles", "annexample"}
    assert credit.guest_keys == {"mcsample"}
    for written in (
        "Ann Example;The Tin Whistles",
        "Tin Whistles, Ann Example",
        "Ann Example x Tin Whistles",
        "Ann Example vs. Tin Whistles",
    ):
        assert read_credit(written).keys == credit.keys
    assert read_credit("Ann with Bob").guest_keys == {"bob"}
    assert read_credit("Ann").with_guests(["bob & cy"]).guest_keys == {"bob", "cy"}


def test_composers_are_told_from_their_namesakes_and_ensembles():
    assert is_composer("johann sebastian bach")
    assert is_composer("js bach")
    assert is_composer("bach")
    assert not is_composer("zoe bach")
    assert not is_composer("bach collegium")
