"""What may be said of a pair of tracks: facts about both, each with how rare it is in the catalogue.

A :class:`Trait` is what facts are about: a family of features, a region of the spectrum, what a model hears, or an
attribute that the catalogue states. Of each trait several facts may hold; the one is told that holds of the fewest
other tracks.

A new family of features is told of in one place: write a function that returns its facts, name it in
:data:`FAMILY_FACTS`, and give it its words in ``phrases.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from specrec.arrays import BoolArray, Float64Array, Int64Array
from specrec.embedding.config import LISTENERS
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import (
    ATTRIBUTES,
    LEVELS,
    key_number,
    percentile,
    share_above,
    share_below,
    share_within,
    tag_shares,
)
from specrec.recommend.pairs import ListedPairs
from specrec.recommend.phrases import key_names, phrase
from specrec.recommend.wording import fill

#: The value of a measure for the track and for the recommended one, float64, shape (n,) each.
Both = tuple[Float64Array, Float64Array]

#: What is true of more than this share of the catalogue sets no pair apart.
TYPICAL = 0.3 + 1e-9

#: A rank is told in these steps, as "more than 7 in 10 tracks".
_SHARES = ((7, 10), (8, 10), (9, 10), (19, 20), (49, 50), (99, 100))
_CLOSE_CENTROID = 0.15  # octaves
_CLOSE_DB = 1.5
_SAME_TEMPO = float(np.log2(1.04))  # octaves: 4 %, about what one notices
_SURE_KEY = 0.6  # correlation; an estimated key that correlates less is not spoken of
#: Chance of a fact that says what is missing: it is told only where the values themselves would be.
_MISSING = 0.9
#: An attribute is confirmed by what is heard if a measure of both is above (or below) this share of the catalogue.
_HIGH = 0.7
#: A difference is told if the two are so far apart in the order of the catalogue, as a share of it.
_FAR = 0.3
_FAR_DB = 3.0
_FAR_TEMPO = 0.25  # octaves
_FAR_CENTROID = 0.3  # octaves
_MOST_TAGS, _LONGEST_TAG = 2, 40  # a sentence has room for no more; the length is in characters


@dataclass(frozen=True)
class Fact:
    """A statement that may be true of a pair, for a batch of pairs.

    Attributes
    ----------
    phrase : str
        Its place in phrases.yaml.
    feature : str
        The measure that it speaks of.
    a, b : float64, shape (n,)
        That measure of the track and of the recommended one.
    holds : bool, shape (n,)
        Whether the statement is true.
    chance : float64, shape (n,)
        Of about which share of the catalogue it would be true, in the recommended one's place.
    words : dict
        What else the phrase names: one value for all pairs, or an array of one a pair.
    """

    phrase: str
    feature: str
    a: Float64Array
    b: Float64Array
    holds: BoolArray
    chance: Float64Array
    words: Mapping[str, Any] = field(default_factory=dict)

    def told(self, rows: Int64Array) -> list[str]:
        """Return the statement for some of the pairs, whether it holds or not.

        Examples
        --------
        >>> tempo = np.array([120.0, 90.0])
        >>> holds = np.array([True, False])
        >>> fact = Fact("rhythm.same_tempo", "tempo", tempo, tempo + 1, holds, chance=np.array([0.05, 0.05]))
        >>> fact.told(np.array([0]))
        ['nearly the same tempo (120 and 121 BPM)']
        """
        told: list[str] = self.texts(rows).to_pylist()
        return told

    def texts(self, rows: Int64Array) -> pa.StringArray:
        """Return what :meth:`told` does, as an Arrow array."""
        columns = {"a": self.a, "b": self.b, **self.words}
        taken = {name: of if isinstance(of, str) else of[rows] for name, of in columns.items()}
        return fill(phrase(self.phrase), taken, len(rows))


@dataclass(frozen=True)
class Trait:
    """What facts are about: a family, a region, a model or an attribute.

    Attributes
    ----------
    name : str
        As ``reasons.family`` gives it.
    group : str
        Traits of one group say much the same; a sentence speaks of one of them.
    facts : list of Fact
        What can be said of it. Of what is in every pair, one fact always holds.
    strongest : str
        What it is called where it is the strongest part of a score and nothing particular can be said.
    """

    name: str
    group: str
    facts: list[Fact]
    strongest: str = ""

    def rarest(self) -> tuple[Int64Array, Float64Array]:
        """Return which fact is told of each pair, and its chance: inf where none holds."""
        chances = np.stack([np.where(fact.holds, fact.chance, np.inf) for fact in self.facts])
        best = chances.argmin(axis=0)
        return best, chances[best, np.arange(chances.shape[1])]


@dataclass(frozen=True)
class Difference:
    """What may set the recommended track apart from the track.

    Attributes
    ----------
    fact : Fact
    distance : float64, shape (n,)
        How far apart the two are in the order of the catalogue, as a share of it.
    group : str
        As that of a :class:`Trait`.
    """

    fact: Fact
    distance: Float64Array
    group: str


@dataclass(frozen=True)
class Usual:
    """What is usual in the catalogue, and so what is rare.

    Attributes
    ----------
    statistics : dict of float64
        The arrays of the artefact ``catalogue_statistics``.
    """

    statistics: Mapping[str, Float64Array]

    def ranked(self, measure: str, both: Both, high: str, low: str, **words: str) -> list[Fact]:
        """Return the facts that both are high, and that both are low: above so many in so many tracks.

        Parameters
        ----------
        high, low : str
            The phrases for the two; they may name ``n`` and ``m``: n in m tracks.
        words : str
            What else the phrases name.
        """
        facts = []
        for share_of, words_for_it in ((share_below, high), (share_above, low)):
            least = np.minimum(*(share_of(values, self.statistics[measure]) for values in both))
            step = np.searchsorted([n / m for n, m in _SHARES], least + 1e-9, side="right") - 1
            step[np.isnan(least)] = -1
            n, m = (np.array(column)[step.clip(min=0)] for column in zip(*_SHARES, strict=True))
            said = {**words, "n": n, "m": m}
            facts.append(Fact(words_for_it, measure, *both, step >= 0, 1 - n / m, said))
        return facts

    def between(self, measure: str, both: Both, low: Float64Array, high: Float64Array, words_for_it: str) -> Fact:
        """Return the fact that the recommended one lies from `low` to `high`, both included."""
        _, b = both
        chance = share_within(low, high, self.statistics[measure])
        return Fact(words_for_it, measure, *both, (b >= low) & (b <= high), chance)

    def ranks(self, measure: str, both: Both) -> Float64Array:
        """Return where both stand in the order of the catalogue, as shares of it, shape (2, n)."""
        return np.stack([percentile(values, self.statistics[measure]) for values in both])

    def upper_frequencies(self, pairs: ListedPairs) -> tuple[BoolArray, BoolArray]:
        """Tell in which pairs both tracks have more, and less, of both upper regions than most of the catalogue."""
        unknown = np.full(2, np.nan)
        ranks = np.stack(
            [
                percentile(side.levels[:, index], self.statistics.get(LEVELS[index], unknown))
                for index, region in enumerate(REGIONS)
                if region.name in _UPPER
                for side in (pairs.track, pairs.recommended)
            ]
        )
        # of a track that has no such band the rank is NaN: it has neither more nor less
        return np.asarray((ranks > 0.5).all(axis=0)), np.asarray((ranks < 0.5).all(axis=0))


_UPPER = ("presence", "brilliance")
#: Traits that say much the same; any other is a group of its own.
_GROUPS = {"brightness": "treble", "presence": "treble", "brilliance": "treble", "sub_bass": "bass"}


# --- families of features -----------------------------------------------------------------------------------


def families(names: Sequence[str], pairs: ListedPairs, usual: Usual) -> list[Trait]:
    """Return families of features as traits.

    Raises
    ------
    ValueError
        If nothing is known to be said of one of them.
    """
    unknown = [name for name in names if name not in FAMILY_FACTS]
    if unknown:
        raise ValueError(
            f"nothing can be said of the family {unknown[0]!r}: add it to FAMILY_FACTS in {__name__}, and its "
            "words to phrases.yaml"
        )
    return [
        Trait(name, _GROUPS.get(name, name), FAMILY_FACTS[name](pairs, usual), phrase(f"strongest.{name}"))
        for name in names
    ]


def _of_timbre(pairs: ListedPairs, usual: Usual) -> list[Fact]:
    contrast, variation = _measured(pairs, "spectral_contrast"), _measured(pairs, "mfcc_variation")
    return [
        *usual.ranked("spectral_contrast", contrast, "timbre.clear", "timbre.blended"),
        *usual.ranked("mfcc_variation", variation, "timbre.changing", "timbre.constant"),
        _always("timbre.values", "spectral_contrast", contrast),
    ]


def _of_brightness(pairs: ListedPairs, usual: Usual) -> list[Fact]:
    measure, near = "spectral_centroid_mean", 2**_CLOSE_CENTROID
    both = _measured(pairs, measure)
    a, _ = both
    high, low = usual.ranked(measure, both, "brightness.high", "brightness.low")
    dense, sparse = usual.upper_frequencies(pairs)
    width = _measured(pairs, "spectral_bandwidth_mean")
    return [
        replace(high, phrase="brightness.dense", holds=high.holds & dense),
        replace(low, phrase="brightness.sparse", holds=low.holds & sparse),
        high,
        low,
        usual.between(measure, both, a / near, a * near, "brightness.close"),
        *usual.ranked("spectral_bandwidth_mean", width, "brightness.wide", "brightness.narrow"),
        _always("brightness.values", measure, both),
    ]


def _of_harmony(pairs: ListedPairs, usual: Usual) -> list[Fact]:
    a, b = pairs.track.measures, pairs.recommended.measures
    one, other = key_number(a), key_number(b)
    sure = (a["key_strength"] >= _SURE_KEY) & (b["key_strength"] >= _SURE_KEY)
    share = usual.statistics["keys"]
    # A minor has the notes of C major: three semitones below, and the other way round
    relative = np.where(one < 12, (one - 3) % 12 + 12, (one - 12 + 3) % 12)
    words = {"key": key_names(one), "other": key_names(other)}
    tonics, strengths = _measured(pairs, "key"), _measured(pairs, "key_strength")
    return [
        Fact("harmony.same_key", "key", *tonics, (one == other) & sure, share[one], words),
        Fact("harmony.same_notes", "key", *tonics, (other == relative) & sure, share[relative], words),
        *usual.ranked("key_strength", strengths, "harmony.firm", "harmony.loose"),
        _always("harmony.values", "key", tonics, words),
    ]


def _of_rhythm(pairs: ListedPairs, usual: Usual) -> list[Fact]:
    both = _measured(pairs, "tempo")
    a, b = both
    has_beat, near = (a > 0) & (b > 0), 2**_SAME_TEMPO
    facts = [Fact("rhythm.no_tempo", "tempo", *both, ~has_beat, np.full(len(a), _MISSING))]
    for times, words in ((1.0, "rhythm.same_tempo"), (0.5, "rhythm.double_tempo"), (2.0, "rhythm.double_tempo")):
        tempo = np.where(has_beat, times * a, np.nan)
        facts.append(usual.between("tempo", both, tempo / near, tempo * near, words))
    attacks = _measured(pairs, "onset_strength_mean")
    facts += usual.ranked("onset_strength_mean", attacks, "rhythm.busy", "rhythm.sustained")
    return [*facts, _always("rhythm.values", "tempo", both)]


def _of_dynamics(pairs: ListedPairs, usual: Usual) -> list[Fact]:
    both = _measured(pairs, "rms_mean")
    a, _ = both
    return [
        *usual.ranked("rms_mean", both, "dynamics.high", "dynamics.low"),
        usual.between("rms_mean", both, a - _CLOSE_DB, a + _CLOSE_DB, "dynamics.close"),
        *usual.ranked("rms_variation", _measured(pairs, "rms_variation"), "dynamics.swinging", "dynamics.steady"),
        _always("dynamics.values", "rms_mean", both),
    ]


def _of_noisiness(pairs: ListedPairs, usual: Usual) -> list[Fact]:
    both = _measured(pairs, "spectral_flatness_mean")
    return [
        *usual.ranked("spectral_flatness_mean", both, "noisiness.high", "noisiness.low"),
        _always("noisiness.values", "spectral_flatness_mean", both),
    ]


#: What may be said of each family; its last fact always holds.
FAMILY_FACTS: dict[str, Callable[[ListedPairs, Usual], list[Fact]]] = {
    "timbre": _of_timbre,
    "brightness": _of_brightness,
    "harmony": _of_harmony,
    "rhythm": _of_rhythm,
    "dynamics": _of_dynamics,
    "noisiness": _of_noisiness,
}


# --- regions of the spectrum, and models --------------------------------------------------------------------


def regions(pairs: ListedPairs, usual: Usual) -> list[Trait]:
    """Return the regions of the spectrum as traits."""
    return [
        Trait(name, _GROUPS.get(name, name), _of_region(index, pairs, usual), phrase(f"strongest.{name}"))
        for index, name in enumerate(region.name for region in REGIONS)
    ]


def _of_region(index: int, pairs: ListedPairs, usual: Usual) -> list[Fact]:
    level, name = LEVELS[index], REGIONS[index].name
    words = {"region": phrase(f"regions.{name}"), "range": phrase(f"ranges.{name}")}
    a, b = both = pairs.track.levels[:, index], pairs.recommended.levels[:, index]
    missing = np.isnan(a) | np.isnan(b)
    facts = [Fact("region.missing", level, a, b, missing, np.full(len(a), _MISSING), words)]
    if level in usual.statistics:
        facts += usual.ranked(level, both, "region.high", "region.low", **words)
        chance = share_within(a - _CLOSE_DB, a + _CLOSE_DB, usual.statistics[level])
        facts.append(Fact("region.close", level, a, b, np.abs(a - b) <= _CLOSE_DB, chance, words))
    return [*facts, _always("region.values", level, both, words)]


def model(name: str, pairs: ListedPairs, cosines: Float64Array, usual: Usual) -> Trait:
    """Return what a model hears as a trait: whether the two are alike to it, and which rare tags it gives both.

    Parameters
    ----------
    cosines : float64, shape (n,)
        Of the pairs, in the model's space.
    """
    shares, between = tag_shares(usual.statistics, name), phrase("sentence.last_separator")
    rare = {tag: share for tag, share in shares.items() if share <= TYPICAL and len(tag) <= _LONGEST_TAG}
    tags, chance = np.full(len(cosines), "", object), np.full(len(cosines), np.inf)
    # a model that names no tags costs nothing here
    of_pairs = zip(pairs.track.tags, pairs.recommended.tags, strict=True) if rare else ()
    for row, (one, other) in enumerate(of_pairs):
        common = rare.keys() & set(one.get(name, ())) & set(other.get(name, ()))
        if common:
            named = sorted(common, key=lambda tag: (rare[tag], tag))[:_MOST_TAGS]
            tags[row], chance[row] = between.join(named), rare[named[0]]
    nothing, words = np.full(len(cosines), np.nan), {"model": name}
    alike = _always("model.alike", "cosine", (nothing, nothing), words)
    facts = [
        Fact("model.tags", "tags", nothing, nothing, tags != "", chance, words | {"tags": tags}),
        replace(alike, holds=cosines > 0),
        replace(alike, phrase="model.unlike", holds=cosines <= 0),
    ]
    return Trait(name, name, facts, phrase("strongest.model").format(model=name))


def listeners(pairs: ListedPairs, cosines: Float64Array) -> Trait:
    """Return who likes a pair as a trait: how many people like both, or that one is not known to be liked yet.

    It is told of no sentence about sound: what people like is no reason why two tracks sound alike.

    Parameters
    ----------
    cosines : float64, shape (n,)
        Of the pairs, in the space ``listeners``.
    """
    nothing = np.full(len(cosines), np.nan)
    unknown = np.zeros(len(cosines), bool)
    one, other = (
        unknown if of.is_predicted is None else of.is_predicted for of in (pairs.track, pairs.recommended)
    )
    both = nothing if pairs.both is None else pairs.both
    is_counted = ~one & ~other & (both > 0)
    is_left = ~one & ~other & ~is_counted
    told = {
        "predicted_both": one & other,
        "predicted_track": one & ~other,
        "predicted_recommended": ~one & other,
        "together": is_counted,
        "alike": is_left & (cosines > 0),
        "unlike": is_left & (cosines <= 0),
    }
    always = _always("listeners.alike", "likes", (nothing, nothing), {"n": np.nan_to_num(both)})
    found = [replace(always, phrase=f"listeners.{name}", holds=holds) for name, holds in told.items()]
    return Trait(LISTENERS, LISTENERS, found, phrase("listeners.strongest"))


# --- attributes of the catalogue ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """What an attribute is called above (or below) a bound, and what is then heard as well.

    Attributes
    ----------
    attribute : str
    phrase : str
    above : bool
        Whether the attribute must lie above the bound, or below it.
    bound : float
    heard_in : str
        The measure that may confirm it; none if empty.
    heard_high : bool
        Whether that measure must be high, or low.
    """

    attribute: str
    phrase: str
    above: bool
    bound: float
    heard_in: str = ""
    heard_high: bool = False


_RULES = (
    _Rule("energy", "energy_high", True, 0.7, "spectral_centroid_mean", True),
    _Rule("energy", "energy_low", False, 0.3, "spectral_centroid_mean"),
    _Rule("acousticness", "acousticness_high", True, 0.8, "spectral_flatness_mean"),
    _Rule("valence", "valence_high", True, 0.7),
    _Rule("valence", "valence_low", False, 0.3, "spectral_centroid_mean"),
    _Rule("danceability", "danceability_high", True, 0.7),
)


def attributes(pairs: ListedPairs, usual: Usual) -> list[Trait]:
    """Return as traits the attributes that the catalogue states; those of which nothing is known are left out."""
    return [
        Trait("catalogue", name, _of_attribute(name, pairs, usual))
        for name in ATTRIBUTES
        if name in usual.statistics
    ]


def _of_attribute(name: str, pairs: ListedPairs, usual: Usual) -> list[Fact]:
    a, b = both = pairs.track.attributes[name], pairs.recommended.attributes[name]
    facts = usual.ranked(name, both, f"catalogue.{name}_more", f"catalogue.{name}_less")
    for rule in _RULES:
        if rule.attribute != name:
            continue
        holds = (a > rule.bound) & (b > rule.bound) if rule.above else (a < rule.bound) & (b < rule.bound)
        low, high = (rule.bound, np.inf) if rule.above else (-np.inf, rule.bound)
        share = share_within(np.full(len(a), low), np.full(len(a), high), usual.statistics[name])
        fact = Fact(f"catalogue.{rule.phrase}", name, a, b, holds, share)
        if rule.heard_in:
            share_of = share_below if rule.heard_high else share_above  # as in `ranked`: ties are neither
            measured = _measured(pairs, rule.heard_in)
            heard = np.minimum(*(share_of(of, usual.statistics[rule.heard_in]) for of in measured)) > _HIGH
            if name == "energy":
                dense, sparse = usual.upper_frequencies(pairs)
                heard &= dense if rule.heard_high else sparse
            # it comes first, as it is of use to one who listens; and it is no more usual than either alone
            chance = np.minimum(share, 1 - _HIGH)
            facts.append(replace(fact, phrase=f"{fact.phrase}_heard", holds=holds & heard, chance=chance))
        facts.append(fact)
    return facts


# --- differences --------------------------------------------------------------------------------------------


#: Measures that may differ, with their group, and the words for more and for less.
_DIFFERENCES = (
    ("rms_mean", "dynamics", "louder", "quieter"),
    ("tempo", "rhythm", "faster", "slower"),
    ("spectral_centroid_mean", "treble", "brighter", "darker"),
    ("onset_strength_mean", "rhythm", "busier", "calmer"),
    ("spectral_flatness_mean", "noisiness", "noisier", "smoother"),
)


def differences(pairs: ListedPairs, usual: Usual) -> list[Difference]:
    """Return what may set the recommended track apart from the track."""
    found = []
    for measure, group, more, less in _DIFFERENCES:
        a, b = both = _measured(pairs, measure)
        ranks = usual.ranks(measure, both)
        far = np.abs(ranks[0] - ranks[1])
        known = (a > 0) & (b > 0)
        octaves = np.abs(np.log2(np.where(known, b, 1) / np.where(known, a, 1)))
        if measure == "tempo":  # an estimated tempo is easily off by an octave
            clear = known & (octaves >= _FAR_TEMPO) & (np.abs(octaves - 1) > _FAR_TEMPO)
        elif measure == "spectral_centroid_mean":
            clear = octaves >= _FAR_CENTROID
        else:
            clear = np.abs(a - b) >= (_FAR_DB if measure == "rms_mean" else 0)
        clear &= far >= _FAR
        words = {"d": np.abs(b - a)}
        for words_for_it, holds in ((more, b > a), (less, b < a)):
            fact = Fact(f"difference.{words_for_it}", measure, a, b, clear & holds, 1 - far, words)
            found.append(Difference(fact, far, group))
    return found


def _measured(pairs: ListedPairs, measure: str) -> Both:
    return pairs.track.measures[measure], pairs.recommended.measures[measure]


def _always(words_for_it: str, feature: str, both: Both, words: Mapping[str, Any] | None = None) -> Fact:
    """Return what is true of every pair, and so is told only where nothing else is."""
    count = len(both[0])
    return Fact(words_for_it, feature, *both, np.ones(count, bool), np.ones(count), words or {})
