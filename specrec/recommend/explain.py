"""Why a track is recommended: the exact parts of the score, and a sentence that the row's own values make true.

A cosine is a sum, so it splits without remainder: in the space ``features`` into families of features, in the space
``spectrogram`` into regions of the spectrum (the part of a region is what similarity is lost when the region of the
track's spectrogram is replaced by what is usual, the vector's length being held: exact, as the encoder is linear),
in ``hybrid`` into both, with their weights. What a model makes of a pair does not split: it is one part.

Of each family and region several statements may be true of a pair. The one is made that is true of the fewest other
tracks, and a sentence begins with the rarest of those that count in the score: what is typical of the catalogue is
no reason.

Everything is computed for many pairs at once; a `Pairs` holds a batch of them as arrays. No Spark here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from specrec.embedding.config import SYSTEMS
from specrec.embedding.features import FAMILIES
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
from specrec.settings import System

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Words = npt.NDArray[np.object_]

#: "more than 7 in 10 tracks", and so on.
_SHARES = ((7, 10), (8, 10), (9, 10), (19, 20), (49, 50), (99, 100))
_CLOSE_CENTROID = 0.15  # octaves
_CLOSE_DB = 1.5
_SAME_TEMPO = float(np.log2(1.04))  # octaves: 4 %, about what one notices
_SURE_KEY = 0.6  # correlation below which an estimated key is not spoken of
#: What is true of more than this share of the catalogue sets no pair apart.
_TYPICAL = 0.3 + 1e-9
#: A part counts that is at least this share of what the parts of a score are on average.
_WEIGHTY = 0.5
#: What is heard of an attribute must be above (or below) this share of the catalogue.
_HIGH = 0.7
#: A difference is told where the two are so far apart in the order of the catalogue.
_FAR = 0.3
_FAR_DB = 3.0
_FAR_TEMPO = 0.25  # octaves
_FAR_CENTROID = 0.3  # octaves
_ROUNDING = 1e-5
_LONGEST = 199
_MOST_REASONS = 3
_MOST_TAGS, _LONGEST_TAG = 2, 40  # a sentence has room for no more


@dataclass(frozen=True)
class Side:
    """The tracks on one side of the pairs; every array has one row a pair.

    Attributes
    ----------
    features : float32, shape (n, dimensions)
        Vectors of the space ``features``.
    spectrogram : float32, shape (n, components)
        Vectors of the space ``spectrogram``.
    levels : float64, shape (n, regions)
        Mean level of each region, dB.
    models : dict of float32, shape (n, dimensions)
        Vectors of each model that has a part in ``hybrid``.
    measures : dict of float64, shape (n,)
        Of :func:`specrec.embedding.statistics.measure`.
    attributes : dict of float64, shape (n,)
        By :data:`~specrec.embedding.statistics.ATTRIBUTES`; NaN where there is none.
    tags : list of dict, length n
        By model, the names of the tags that it gives the track.
    """

    features: npt.NDArray[np.float32]
    spectrogram: npt.NDArray[np.float32]
    levels: FloatArray
    models: dict[str, npt.NDArray[np.float32]]
    measures: dict[str, FloatArray]
    attributes: dict[str, FloatArray]
    tags: Sequence[Mapping[str, Collection[str]]]


@dataclass(frozen=True)
class Pairs:
    """Tracks, the tracks recommended to them, and the regional parts of the former.

    Attributes
    ----------
    track, recommended : Side
    parts : float32, shape (n, regions, components)
        Of the track's ``spectrogram`` vector.
    """

    track: Side
    recommended: Side
    parts: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Fact:
    """A statement that may be true of a pair, for a batch of pairs.

    Attributes
    ----------
    phrase : its place in phrases.yaml.
    feature : the measure that it speaks of.
    a, b : float64, shape (n,): that measure of the track and of the recommended one.
    holds : bool, shape (n,)
    chance : float64, shape (n,): of about which share of the catalogue it would be true, in the recommended one's
        place.
    words : what else the phrase names: one for all, or one a pair.
    """

    phrase: str
    feature: str
    a: FloatArray
    b: FloatArray
    holds: BoolArray
    chance: FloatArray
    words: Mapping[str, Any] = field(default_factory=dict)

    def told(self, rows: IntArray) -> list[str]:
        """Return the statement for some of the pairs."""
        form = _phrase(self.phrase).format
        names = ["a", "b", *self.words]
        columns = [self.a, self.b, *self.words.values()]
        told = [[of] * len(rows) if isinstance(of, str) else of[rows].tolist() for of in columns]
        return [form(**dict(zip(names, values, strict=True))) for values in zip(*told, strict=True)]


@dataclass(frozen=True)
class _Trait:
    """A family, a region or an attribute, with what can be said of it.

    Attributes
    ----------
    group : traits of a group say much the same; a sentence speaks of one.
    """

    name: str
    group: str
    facts: list[_Fact]

    def rarest(self) -> tuple[IntArray, FloatArray]:
        """Return which fact is told of each pair, and its chance: inf where none holds."""
        chances = np.stack([np.where(fact.holds, fact.chance, np.inf) for fact in self.facts])
        best = chances.argmin(axis=0)
        return best, chances[best, np.arange(chances.shape[1])]


_UPPER = ("presence", "brilliance")
#: What is said to be heard of an attribute belongs to a group too.
_HEARD_GROUPS = {"energy": "treble", "valence": "treble", "acousticness": "noisiness"}
_GROUPS = {"brightness": "treble", "presence": "treble", "brilliance": "treble", "sub_bass": "bass"}


@dataclass(frozen=True)
class Explainer:
    """What explaining needs of the run.

    Attributes
    ----------
    families : int, shape (dimensions,)
        Family of each dimension of ``features``.
    statistics : dict of float64
        The artefact ``catalogue_statistics``.
    shares : dict
        Of the systems in ``hybrid``; they sum to 1.
    """

    families: npt.NDArray[np.int64]
    statistics: dict[str, FloatArray]
    shares: dict[str, float]

    @property
    def models(self) -> list[str]:
        """The models that have a part in ``hybrid``."""
        return [name for name in self.shares if name not in SYSTEMS]

    def explain(
        self, system: System, pairs: Pairs, scores: FloatArray
    ) -> tuple[list[str], list[list[dict[str, Any]]]]:
        """Return a sentence and the reasons of each pair.

        Parameters
        ----------
        scores : float64, shape (n,), the cosines; the contributions of a row's reasons add up to its score.

        Returns
        -------
        sentences : under 200 characters each.
        reasons : dicts with the fields of ``schemas.REASON``, greatest contribution first; statements of the
            catalogue's attributes, which are no part of the score, come last with contribution 0.
        """
        families = [_Trait(name, _GROUPS.get(name, name), self._of_family(name, pairs)) for name in FAMILIES]
        regions = [
            _Trait(region.name, _GROUPS.get(region.name, region.name), self._of_region(index, pairs))
            for index, region in enumerate(REGIONS)
        ]
        beside: list[_Trait] = []
        if system == "features":
            scored = families
        elif system == "spectrogram":
            scored = regions
        elif system == "hybrid":
            scored = families + regions
            for name in self.models:
                cosines = _cosines(pairs.track.models[name], pairs.recommended.models[name])
                scored.append(_Trait(name, name, self._of_model(name, pairs, cosines)))
        else:  # a model's score has no parts: what else the two share is told beside it
            scored, beside = [_Trait(system, system, self._of_model(system, pairs, scores))], families + regions
        parts = self.contributions(system, pairs, scores)
        attributes = [_Trait("catalogue", name, self._of_attribute(name, pairs)) for name in ATTRIBUTES]
        attributes = [trait for trait in attributes if trait.facts]
        told = _tell([*scored, *beside, *attributes], len(scores))
        parts = np.concatenate([parts, np.zeros((len(scores), len(beside) + len(attributes)))], axis=1)
        heard = len(scored) + len(beside)
        reasons = _reasons(told, parts, heard)
        return _sentences(told, parts, scores, (len(scored), heard), self._differences(pairs)), reasons

    def contributions(self, system: System, pairs: Pairs, scores: FloatArray) -> FloatArray:
        """Return the parts of each score: families, regions, models, as far as the system has them; float64."""
        a, b = pairs.track, pairs.recommended
        families = np.eye(len(FAMILIES))[self.families]
        products = a.features.astype(np.float64) * b.features.astype(np.float64)
        by_family = _ratio(products @ families, _norm(a.features) * _norm(b.features))
        by_region = np.einsum("nrc,nc->nr", pairs.parts.astype(np.float64), b.spectrogram.astype(np.float64))
        by_region = _ratio(by_region, _norm(a.spectrogram) * _norm(b.spectrogram))
        if system == "features":
            parts = by_family
        elif system == "spectrogram":
            parts = by_region
        elif system == "hybrid":
            of = {"features": by_family, "spectrogram": by_region} | {
                name: _cosines(a.models[name], b.models[name])[:, None] for name in self.models
            }
            joined = np.concatenate([self.shares.get(name, 0.0) * cosines for name, cosines in of.items()], axis=1)
            parts = _ratio(joined, self._hybrid_norm(a) * self._hybrid_norm(b))
        else:
            parts = scores[:, None].copy()
        # Vectors are stored in float32: what rounding leaves, some 1e-7, goes to the greatest part.
        left = scores - parts.sum(axis=1)
        if np.abs(left).max(initial=0.0) > _ROUNDING:
            raise ValueError(
                f"contributions miss the score by {np.abs(left).max():.1e}: vectors and scores disagree"
            )
        parts[np.arange(len(parts)), np.abs(parts).argmax(axis=1)] += left
        return parts

    def _hybrid_norm(self, side: Side) -> FloatArray:
        """Return the length of the joined vectors: 1, unless one of them is zero."""
        vectors = {"features": side.features, "spectrogram": side.spectrogram, **side.models}
        squares = [share * (_norm(vectors[name]) > 0) for name, share in self.shares.items()]
        length: FloatArray = np.sqrt(np.sum(squares, axis=0))
        return length

    def _of_family(self, name: str, pairs: Pairs) -> list[_Fact]:
        """Return what can be said of a family: always something, the values themselves at least."""
        a, b = pairs.track.measures, pairs.recommended.measures

        def ranked(measure: str, high: str, low: str) -> list[_Fact]:
            return self._ranked(measure, (a[measure], b[measure]), high, low)

        def close(phrase: str, measure: str, low: FloatArray, high: FloatArray) -> _Fact:
            within = (b[measure] >= low) & (b[measure] <= high)
            chance = share_within(low, high, self.statistics[measure])
            return _Fact(phrase, measure, a[measure], b[measure], within, chance)

        if name == "timbre":
            facts = ranked("spectral_contrast", "timbre.clear", "timbre.blended")
            facts += ranked("mfcc_variation", "timbre.changing", "timbre.constant")
            last = "spectral_contrast"
        elif name == "brightness":
            last = "spectral_centroid_mean"
            near = 2**_CLOSE_CENTROID
            facts = self._of_upper_frequencies(pairs)
            facts.append(close("brightness.close", last, a[last] / near, a[last] * near))
            facts += ranked("spectral_bandwidth_mean", "brightness.wide", "brightness.narrow")
        elif name == "harmony":
            return self._of_harmony(pairs)
        elif name == "rhythm":
            last = "tempo"
            beats, near = (a[last] > 0) & (b[last] > 0), 2**_SAME_TEMPO
            none = np.full(len(beats), 0.9)
            facts = [_Fact("rhythm.no_tempo", last, a[last], b[last], ~beats, none)]
            for times, phrase in ((1.0, "same_tempo"), (0.5, "double_tempo"), (2.0, "double_tempo")):
                tempo = np.where(beats, times * a[last], np.nan)
                facts.append(close(f"rhythm.{phrase}", last, tempo / near, tempo * near))
            facts += ranked("onset_strength_mean", "rhythm.busy", "rhythm.sustained")
        elif name == "dynamics":
            last = "rms_mean"
            facts = ranked(last, "dynamics.high", "dynamics.low")
            facts.append(close("dynamics.close", last, a[last] - _CLOSE_DB, a[last] + _CLOSE_DB))
            facts += ranked("rms_variation", "dynamics.swinging", "dynamics.steady")
        else:
            last = "spectral_flatness_mean"
            facts = ranked(last, "noisiness.high", "noisiness.low")
        return [*facts, _always(f"{name}.values", last, a[last], b[last])]

    def _of_upper_frequencies(self, pairs: Pairs) -> list[_Fact]:
        """Return that both are bright, or dark, and that their upper frequencies are dense, or sparse, too."""
        measure = "spectral_centroid_mean"
        both = pairs.track.measures[measure], pairs.recommended.measures[measure]
        high, low = self._ranked(measure, both, "brightness.high", "brightness.low")
        dense, sparse = self._upper_frequencies(pairs)
        return [
            replace(high, phrase="brightness.dense", holds=high.holds & dense),
            replace(low, phrase="brightness.sparse", holds=low.holds & sparse),
            high,
            low,
        ]

    def _upper_frequencies(self, pairs: Pairs) -> tuple[BoolArray, BoolArray]:
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
        # neither where a track has no such band, and NaN
        return np.asarray((ranks > 0.5).all(axis=0)), np.asarray((ranks < 0.5).all(axis=0))

    def _of_harmony(self, pairs: Pairs) -> list[_Fact]:
        a, b = pairs.track.measures, pairs.recommended.measures
        one, other = key_number(a), key_number(b)
        sure = (a["key_strength"] >= _SURE_KEY) & (b["key_strength"] >= _SURE_KEY)
        share = self.statistics["keys"]
        # A minor has the notes of C major: three semitones below, and the other way round
        relative = np.where(one < 12, (one - 3) % 12 + 12, (one - 12 + 3) % 12)
        words = {"key": _keys(one), "other": _keys(other)}
        tonic, tonic_of_other = a["key"], b["key"]
        same, alike = (one == other) & sure, (other == relative) & sure
        return [
            _Fact("harmony.same_key", "key", tonic, tonic_of_other, same, share[one], words),
            _Fact("harmony.same_notes", "key", tonic, tonic_of_other, alike, share[relative], words),
            *self._ranked("key_strength", (a["key_strength"], b["key_strength"]), "harmony.firm", "harmony.loose"),
            _always("harmony.values", "key", tonic, tonic_of_other, words),
        ]

    def _of_region(self, index: int, pairs: Pairs) -> list[_Fact]:
        level, name = LEVELS[index], REGIONS[index].name
        words = {"region": str(phrases()["regions"][name]), "range": str(phrases()["ranges"][name])}
        a, b = pairs.track.levels[:, index], pairs.recommended.levels[:, index]
        missing = np.isnan(a) | np.isnan(b)
        facts = [_Fact("region.missing", level, a, b, missing, np.full(len(a), 0.9), words)]
        if level in self.statistics:
            facts += self._ranked(level, (a, b), "region.high", "region.low", **words)
            chance = share_within(a - _CLOSE_DB, a + _CLOSE_DB, self.statistics[level])
            facts.append(_Fact("region.close", level, a, b, np.abs(a - b) <= _CLOSE_DB, chance, words))
        return [*facts, _always("region.values", level, a, b, words)]

    def _of_model(self, name: str, pairs: Pairs, cosines: FloatArray) -> list[_Fact]:
        """Return whether a model finds the two alike, and which rare tags it gives both: no measure of either."""
        shares, between = tag_shares(self.statistics, name), str(phrases()["sentence"]["last_separator"])
        rare = {tag: share for tag, share in shares.items() if share <= _TYPICAL and len(tag) <= _LONGEST_TAG}
        tags, chance = np.full(len(cosines), "", object), np.full(len(cosines), np.inf)
        # a model that names no tags costs nothing here
        of_pairs = zip(pairs.track.tags, pairs.recommended.tags, strict=True) if rare else ()
        for row, (one, other) in enumerate(of_pairs):
            both = rare.keys() & set(one.get(name, ())) & set(other.get(name, ()))
            if both:
                named = sorted(both, key=lambda tag: (rare[tag], tag))[:_MOST_TAGS]
                tags[row], chance[row] = between.join(named), rare[named[0]]
        nothing, words = np.full(len(cosines), np.nan), {"model": name}
        alike = _always("model.alike", "cosine", nothing, nothing, words)
        return [
            _Fact("model.tags", "tags", nothing, nothing, tags != "", chance, words | {"tags": tags}),
            replace(alike, holds=cosines > 0),
            replace(alike, phrase="model.unlike", holds=cosines <= 0),
        ]

    def _of_attribute(self, name: str, pairs: Pairs) -> list[_Fact]:
        """Return what the catalogue itself states of both, by the thresholds of the seeds' table or by rank."""
        if name not in self.statistics:
            return []
        quantiles = self.statistics[name]
        a, b = pairs.track.attributes[name], pairs.recommended.attributes[name]
        facts = self._ranked(name, (a, b), f"catalogue.{name}_more", f"catalogue.{name}_less")
        for rule in _RULES:
            if rule.attribute != name:
                continue
            both = (a > rule.bound) & (b > rule.bound) if rule.above else (a < rule.bound) & (b < rule.bound)
            low, high = (rule.bound, np.inf) if rule.above else (-np.inf, rule.bound)
            share = share_within(np.full(len(a), low), np.full(len(a), high), quantiles)
            fact = _Fact(f"catalogue.{rule.phrase}", name, a, b, both, share)
            if rule.heard_in:
                share_of = share_below if rule.heard_high else share_above  # as in `_ranked`: ties are neither
                sides = (side.measures[rule.heard_in] for side in (pairs.track, pairs.recommended))
                heard = np.minimum(*(share_of(of, self.statistics[rule.heard_in]) for of in sides)) > _HIGH
                if name == "energy":
                    dense, sparse = self._upper_frequencies(pairs)
                    heard &= dense if rule.heard_high else sparse
                # first: of use to one who listens; no more usual than either alone
                chance = np.minimum(share, 1 - _HIGH)
                facts.append(replace(fact, phrase=f"{fact.phrase}_heard", holds=both & heard, chance=chance))
            facts.append(fact)
        return facts

    def _ranks(self, measure: str, pairs: Pairs) -> FloatArray:
        """Return the percentiles of both, 0 to 1, shape (2, n)."""
        sides = (pairs.track, pairs.recommended)
        return np.stack([percentile(side.measures[measure], self.statistics[measure]) for side in sides])

    def _ranked(
        self, measure: str, both: tuple[FloatArray, FloatArray], high: str, low: str, **words: str
    ) -> list[_Fact]:
        """Return that both are high, and that both are low, in the catalogue: above so many in so many tracks."""
        facts = []
        for share_of, phrase in ((share_below, high), (share_above, low)):
            least = np.minimum(*(share_of(values, self.statistics[measure]) for values in both))
            step = np.searchsorted([n / m for n, m in _SHARES], least + 1e-9, side="right") - 1
            step[np.isnan(least)] = -1
            n, m = (np.array(column)[step.clip(min=0)] for column in zip(*_SHARES, strict=True))
            said = {**words, "n": n, "m": m}
            facts.append(_Fact(phrase, measure, *both, step >= 0, 1 - n / m, said))
        return facts

    def _differences(self, pairs: Pairs) -> list[tuple[_Fact, FloatArray, str]]:
        """Return what sets the recommended track apart from the track: how far, in ranks, and in which group."""
        found = []
        for measure, group, more, less in _DIFFERENCES:
            a, b = pairs.track.measures[measure], pairs.recommended.measures[measure]
            ranks = self._ranks(measure, pairs)
            far = np.abs(ranks[0] - ranks[1])
            both = (a > 0) & (b > 0)
            octaves = np.abs(np.log2(np.where(both, b, 1) / np.where(both, a, 1)))
            if measure == "tempo":  # an estimated tempo is easily off by an octave
                clear = both & (octaves >= _FAR_TEMPO) & (np.abs(octaves - 1) > _FAR_TEMPO)
            elif measure == "spectral_centroid_mean":
                clear = octaves >= _FAR_CENTROID
            else:
                clear = np.abs(a - b) >= (_FAR_DB if measure == "rms_mean" else 0)
            clear &= far >= _FAR
            for phrase, holds in ((more, b > a), (less, b < a)):
                words = {"d": np.abs(b - a)}
                found.append(
                    (_Fact(f"difference.{phrase}", measure, a, b, clear & holds, 1 - far, words), far, group)
                )
        return found


@dataclass(frozen=True)
class _Rule:
    """A row of the seeds' table: an attribute's threshold, and what is then heard."""

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

#: Measures that may differ, with their group, and the words for more and for less.
_DIFFERENCES = (
    ("rms_mean", "dynamics", "louder", "quieter"),
    ("tempo", "rhythm", "faster", "slower"),
    ("spectral_centroid_mean", "treble", "brighter", "darker"),
    ("onset_strength_mean", "rhythm", "busier", "calmer"),
    ("spectral_flatness_mean", "noisiness", "noisier", "smoother"),
)


@dataclass(frozen=True)
class _Told:
    """What is said of each trait (columns) of each pair (rows)."""

    traits: list[_Trait]
    words: Words
    chances: FloatArray
    facts: IntArray


def _always(
    phrase: str, feature: str, a: FloatArray, b: FloatArray, words: Mapping[str, Any] | None = None
) -> _Fact:
    """Return what is true of every pair, and so told only where nothing else is."""
    return _Fact(phrase, feature, a, b, np.ones(len(a), bool), np.ones(len(a)), words or {})


def _tell(traits: list[_Trait], count: int) -> _Told:
    words = np.full((count, len(traits)), None, object)
    chances, facts = np.full(words.shape, np.inf), np.zeros(words.shape, np.int64)
    for column, trait in enumerate(traits):
        facts[:, column], chances[:, column] = trait.rarest()
        said = np.isfinite(chances[:, column])
        for number, fact in enumerate(trait.facts):
            rows = np.flatnonzero(said & (facts[:, column] == number))
            words[rows, column] = fact.told(rows)
    return _Told(traits, words, chances, facts)


def _reasons(told: _Told, parts: FloatArray, heard: int) -> list[list[dict[str, Any]]]:
    """Return the reasons of each pair; the first `heard` traits are of the sound."""
    order = np.argsort(-parts[:, :heard], axis=1, kind="stable")
    rest = np.broadcast_to(np.arange(heard, parts.shape[1]), (len(parts), parts.shape[1] - heard))
    order = np.concatenate([order, rest], axis=1)
    values = np.stack([_values(told, column) for column in range(len(told.traits))], axis=1)
    return [
        [
            {
                "family": told.traits[column].name,
                "feature": told.traits[column].facts[told.facts[row, column]].feature,
                "contribution": parts_of_row[column],
                "track_value": values_of_row[column][0],
                "recommended_value": values_of_row[column][1],
                "statement": words[column],
            }
            for column in columns
            if words[column] is not None
        ]
        for row, (columns, parts_of_row, values_of_row, words) in enumerate(
            zip(order.tolist(), parts.tolist(), values.tolist(), told.words, strict=True)
        )
    ]


def _values(told: _Told, column: int) -> Words:
    """Return the values that a trait's statements speak of, shape (n, 2); None where there is none."""
    facts, rows = told.traits[column].facts, np.arange(len(told.facts))
    both = [np.stack([getattr(fact, side) for fact in facts])[told.facts[:, column], rows] for side in ("a", "b")]
    values = np.stack(both, axis=1)
    found: Words = values.astype(object)
    found[~np.isfinite(values)] = None
    return found


def _sentences(
    told: _Told,
    parts: FloatArray,
    scores: FloatArray,
    counts: tuple[int, int],
    differences: list[tuple[_Fact, FloatArray, str]],
) -> list[str]:
    """Return the sentences; the first `counts` of the traits have a part in the score, and are of the sound."""
    in_score, heard = counts
    scored = parts[:, :in_score]
    usual = np.where(scored > 0, scored, 0).sum(axis=1, keepdims=True) / in_score
    weighty = np.concatenate(
        [(scored > 0) & (scored >= _WEIGHTY * usual), np.ones_like(parts[:, in_score:], bool)], axis=1
    )
    chances = np.where(weighty, told.chances, np.inf)
    order = np.argsort(chances, axis=1, kind="stable")
    chosen = np.where(np.take_along_axis(chances, order, axis=1) <= _TYPICAL, order, -1).tolist()
    far = np.stack([np.where(fact.holds, distance, -1.0) for fact, distance, _ in differences], axis=1)
    farthest = np.argsort(-far, axis=1, kind="stable")
    farthest = np.where(np.take_along_axis(far, farthest, axis=1) >= 0, farthest, -1)
    spoken, apart = [], np.full(len(chosen), -1)
    for row, (columns, candidates) in enumerate(zip(chosen, farthest.tolist(), strict=True)):
        by_group = _one_a_group(columns, told, row, heard)
        spoken.append([str(told.words[row, column]) for column in by_group.values()])
        apart[row] = next((i for i in candidates if i >= 0 and differences[i][2] not in by_group), -1)
    difference = np.full(len(chosen), None, object)
    for number, (fact, _, _) in enumerate(differences):
        rows = np.flatnonzero(apart == number)
        difference[rows] = fact.told(rows)
    strongest = scored.argmax(axis=1).tolist()
    return [
        _sentence(reasons, but, told.traits[trait].name, score)
        for reasons, but, trait, score in zip(spoken, difference, strongest, scores.tolist(), strict=True)
    ]


def _one_a_group(columns: list[int], told: _Told, row: int, heard: int) -> dict[str, int]:
    """Return which traits are spoken of: one of each group, and of the catalogue's one beside what was heard."""
    by_group: dict[str, int] = {}
    by_catalogue = False
    for column in columns:
        if column >= 0 and len(by_group) < _MOST_REASONS and not (by_catalogue and column >= heard):
            group = told.traits[column].group
            if column >= heard:  # what it says was heard is said
                group = _HEARD_GROUPS.get(group, group)
                by_catalogue = group not in by_group
            by_group.setdefault(group, column)
    return by_group if any(column < heard for column in by_group.values()) else {}


def _sentence(reasons: list[str], difference: str | None, strongest: str, score: float) -> str:
    words = phrases()["sentence"]
    but = "_but" if difference else ""
    if not reasons:
        if score <= 0:
            return str(words["nothing"])
        form, names = words[f"closest{but}"], phrases()["strongest"]
        named = names[strongest] if strongest in names else names["model"].format(model=strongest)
        return str(form.format(strongest=named, difference=difference))
    form = words[f"alike{but}"] if score > 0 else words[f"far{but}"]
    while True:
        joined = words["separator"].join(reasons[:-1])
        joined = joined + words["last_separator"] + reasons[-1] if joined else reasons[-1]
        sentence = str(form.format(reasons=joined, difference=difference))
        if len(sentence) <= _LONGEST or len(reasons) == 1:
            return sentence
        reasons = reasons[:-1]


def _keys(numbers: IntArray) -> Words:
    """Return the names of keys; see :func:`~specrec.embedding.statistics.key_number`."""
    words = phrases()
    names = [words["key"][mode].format(tonic=tonic) for mode in ("major", "minor") for tonic in words["keys"]]
    return np.array(names, object)[numbers]


def _norm(vectors: npt.NDArray[np.float32]) -> FloatArray:
    length: FloatArray = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    return length


def _cosines(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> FloatArray:
    products = (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
    length = _norm(a) * _norm(b)
    cosines: FloatArray = np.divide(products, length, out=np.zeros_like(products), where=length > 0)
    return cosines


def _ratio(parts: FloatArray, length: FloatArray) -> FloatArray:
    return np.divide(parts, length[:, None], out=np.zeros_like(parts), where=length[:, None] > 0)


@lru_cache(maxsize=1)
def phrases() -> dict[str, Any]:
    """Return what phrases.yaml holds, read once a process."""
    text = (files("specrec.recommend") / "phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def _phrase(dotted: str) -> str:
    section, _, name = dotted.partition(".")
    return str(phrases()[section][name])
