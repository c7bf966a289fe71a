"""Why a track is recommended: the exact parts of the score, and a sentence that the row's own values make true.

A cosine is a sum, so it splits without remainder: in the space ``features`` into families of features, in the space
``spectrogram`` into regions of the spectrum (the part of a region is what similarity is lost when the region of the
track's spectrogram is blanked, which for a linear encoder is exact), in ``hybrid`` into both, with their weights.

Everything is computed for many pairs at once; a `Pairs` holds a batch of them as arrays. No Spark here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from specrec.config import System
from specrec.embedding.features import FAMILIES
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import LEVELS, percentile, share_above, share_below

FloatArray = npt.NDArray[np.float64]
Words = npt.NDArray[np.object_]

#: Raw measures of ``audio_features`` that statements speak of.
MEASURES = (
    "tempo", "key", "mode", "key_strength", "spectral_centroid_mean", "rms_mean", "spectral_flatness_mean",
    "onset_strength_mean",
)  # fmt: skip
#: Attributes of the catalogue that statements speak of.
ATTRIBUTES = ("energy", "acousticness", "valence", "danceability")

_MOST = 0.7  # of the catalogue: "more than 7 in 10 tracks"
_CLOSE_RANK = 0.1
_CLOSE_CENTROID = 0.25  # octaves
_SAME_TEMPO = float(np.log2(1.04))  # octaves: 4 %, about what one notices
_SURE_KEY = 0.6  # correlation below which an estimated key is not spoken of
_SIMILAR = 0.5  # cosine within a family
_CLOSE_DB = 1.5
_FAR_DB = 6.0
_FAR_TEMPO = 0.25  # octaves
_ROUNDING = 1e-5
_LONGEST = 199
_MOST_REASONS = 3


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
    measures, attributes : dict of float64, shape (n,)
        By :data:`MEASURES` and :data:`ATTRIBUTES`; NaN where there is none.
    """

    features: npt.NDArray[np.float32]
    spectrogram: npt.NDArray[np.float32]
    levels: FloatArray
    measures: dict[str, FloatArray]
    attributes: dict[str, FloatArray]


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
class Explainer:
    """What explaining needs of the run.

    Attributes
    ----------
    families : int, shape (dimensions,)
        Family of each dimension of ``features``.
    quantiles : dict of float64, shape (101,)
        The artefact ``catalogue_statistics``.
    weights : dict
        Of the systems in ``hybrid``.
    """

    families: npt.NDArray[np.int64]
    quantiles: dict[str, FloatArray]
    weights: dict[str, float]

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
        statements = []
        if system in ("features", "hybrid"):
            statements += self._families(pairs)
        if system in ("spectrogram", "hybrid"):
            statements += self._regions(pairs)
        parts = self.contributions(system, pairs, scores)
        order = np.argsort(-parts, axis=1, kind="stable")
        attributes = self._attributes(pairs)
        differences = _differences(pairs)
        sentences, reasons = [], []
        for row, ranking in enumerate(order):
            told = [statements[i].of(row, parts[row, i]) for i in ranking if statements[i].words[row] is not None]
            extra = [a.of(row, 0.0) for a in attributes if a.words[row] is not None]
            spoken = [statements[i].words[row] for i in ranking if parts[row, i] > 0 and statements[i].spoken[row]]
            rhythm_told = any(statements[i].name == "rhythm" and statements[i].spoken[row] for i in ranking)
            difference = differences(row, not rhythm_told)
            sentences.append(_sentence(spoken, [e["statement"] for e in extra], difference))
            reasons.append(told + extra)
        return sentences, reasons

    def contributions(self, system: System, pairs: Pairs, scores: FloatArray) -> FloatArray:
        """Return the parts of each score: families, then regions, as far as the system has them; float64."""
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
        else:
            total = sum(self.weights.values())
            of = {name: weight / total for name, weight in self.weights.items()}
            joined = np.concatenate([of["features"] * by_family, of["spectrogram"] * by_region], axis=1)
            parts = _ratio(joined, _hybrid_norm(a, of) * _hybrid_norm(b, of))
        # Vectors are stored in float32: what rounding leaves, some 1e-7, goes to the greatest part.
        left = scores - parts.sum(axis=1)
        if np.abs(left).max(initial=0.0) > _ROUNDING:
            raise ValueError(
                f"contributions miss the score by {np.abs(left).max():.1e}: vectors and scores disagree"
            )
        parts[np.arange(len(parts)), np.abs(parts).argmax(axis=1)] += left
        return parts

    def _families(self, pairs: Pairs) -> list[_Statement]:
        a, b = pairs.track, pairs.recommended
        families = np.eye(len(FAMILIES))[self.families]
        fa, fb = a.features.astype(np.float64), b.features.astype(np.float64)
        lengths = np.sqrt((fa * fa) @ families) * np.sqrt((fb * fb) @ families)
        # A family whose weight is 0 was not compared: nothing is said of how alike it is.
        alike = np.divide((fa * fb) @ families, lengths, out=np.full_like(lengths, np.nan), where=lengths > 0)
        return [self._family(name, pairs, alike[:, i]) for i, name in enumerate(FAMILIES)]

    def _family(self, name: str, pairs: Pairs, alike: FloatArray) -> _Statement:
        a, b = pairs.track.measures, pairs.recommended.measures
        measure = _FAMILY_MEASURE[name]
        n = len(alike)
        va, vb = (_spoken(measure, x[measure]) if measure else np.full(n, np.nan) for x in (a, b))
        statement = _Statement(name, measure or "mfcc", va, vb)
        if name == "harmony":
            same = (a["key"] == b["key"]) & (a["mode"] == b["mode"])
            sure = (a["key_strength"] >= _SURE_KEY) & (b["key_strength"] >= _SURE_KEY)
            statement.say(
                same & sure, lambda i: _phrase("harmony.same_key").format(key=_key(a["key"][i], a["mode"][i]))
            )
        elif name == "rhythm":
            both = (va > 0) & (vb > 0)
            octaves = np.abs(np.log2(np.where(both, va, 1) / np.where(both, vb, 1)))
            statement.say_values(both & (octaves <= _SAME_TEMPO), "rhythm.same_tempo")
            onsets = [x["onset_strength_mean"] for x in (a, b)]
            self._say_ranks(statement, "onset_strength_mean", onsets, high="rhythm.busy", low="rhythm.sustained")
            statement.say_values(both & (np.abs(octaves - 1) <= _SAME_TEMPO), "rhythm.double_tempo")
        elif measure:
            raw = [x[measure] for x in (a, b)]
            self._say_ranks(statement, measure, raw, high=f"{name}.high", low=f"{name}.low")
            if name == "dynamics":
                statement.say_values(np.abs(va - vb) <= _CLOSE_DB, "dynamics.close")
            elif name == "brightness":
                ranks = [percentile(values, self.quantiles[measure]) for values in raw]
                close = np.abs(np.log2(np.maximum(raw[0], 1) / np.maximum(raw[1], 1))) <= _CLOSE_CENTROID
                statement.say_values(close & (np.abs(ranks[0] - ranks[1]) <= _CLOSE_RANK), "brightness.close")
        if name == "timbre":
            statement.say_values(alike >= _SIMILAR, "timbre.similar")
        statement.spoken[:] = [words is not None for words in statement.words]
        statement.say_values(alike >= _SIMILAR, f"{name}.similar")
        statement.say_values(alike > 0, f"{name}.related")
        statement.say_values(alike <= 0, f"{name}.different")
        return statement

    def _regions(self, pairs: Pairs) -> list[_Statement]:
        statements = []
        for index, (region, level) in enumerate(zip(REGIONS, LEVELS, strict=True)):
            va, vb = pairs.track.levels[:, index], pairs.recommended.levels[:, index]
            statement = _Statement(region.name, level, va, vb, region=_phrases()["regions"][region.name])
            self._say_ranks(statement, level, [va, vb], high="region.high", low="region.low")
            statement.say_values(np.abs(va - vb) <= _CLOSE_DB, "region.close")
            statement.spoken[:] = [words is not None for words in statement.words]
            statement.say_values(np.abs(va - vb) <= _FAR_DB, "region.similar")
            statement.say_values(np.abs(va - vb) > _FAR_DB, "region.different")
            statement.say_values(np.isnan(va) != np.isnan(vb), "region.missing")
            statements.append(statement)
        return statements

    def _say_ranks(
        self, statement: _Statement, measure: str, both: list[FloatArray], *, high: str, low: str
    ) -> None:
        """Say that both are high, or both low, in the catalogue, and by how much at least."""
        for share, phrase in ((share_below, high), (share_above, low)):
            least = np.stack([share(values, self.quantiles[measure]) for values in both]).min(axis=0)
            statement.say_values(least >= _MOST, phrase, n=np.floor(least * 10 + 1e-9).clip(max=9))

    def _attributes(self, pairs: Pairs) -> list[_Statement]:
        """Say what the catalogue itself states of both, by the thresholds of the seeds' table."""
        a, b = pairs.track, pairs.recommended
        centroid, flatness = (
            np.stack([percentile(side.measures[m], self.quantiles[m]) for side in (a, b)])
            for m in ("spectral_centroid_mean", "spectral_flatness_mean")
        )
        confirmed = {
            "energy_high": ("bright", centroid.min(axis=0) >= 0.5),
            "energy_low": ("dark", centroid.max(axis=0) <= 0.5),
            "acousticness_high": ("smooth", flatness.max(axis=0) <= 0.5),
        }
        statements = []
        for name, phrase, holds in _ATTRIBUTE_RULES:
            va, vb = a.attributes[name], b.attributes[name]
            statement = _Statement("catalogue", name, va, vb)
            both = holds(va) & holds(vb)
            if phrase in confirmed:
                word, true = confirmed[phrase]
                statement.say_values(both & true, f"catalogue.{phrase}_{word}")
            statement.say_values(both, f"catalogue.{phrase}")
            statements.append(statement)
        return statements


class _Statement:
    """What is said of one family, region or attribute, for a batch of pairs. The first that fits is kept."""

    def __init__(self, name: str, feature: str, a: FloatArray, b: FloatArray, **words: str) -> None:
        self.name, self.feature, self.a, self.b, self._fixed = name, feature, a, b, words
        self.words: Words = np.full(len(a), None, object)
        self.spoken = np.zeros(len(a), bool)

    def say(self, where: npt.NDArray[np.bool_], words: Callable[[int], str]) -> None:
        unsaid = np.array([words is None for words in self.words], bool)
        for i in np.flatnonzero(where & unsaid):
            self.words[i] = words(int(i))

    def say_values(self, where: npt.NDArray[np.bool_], phrase: str, **numbers: FloatArray) -> None:
        template = _phrase(phrase)
        self.say(
            where,
            lambda i: template.format(
                a=self.a[i],
                b=self.b[i],
                **self._fixed,
                **{key: int(values[i]) for key, values in numbers.items()},
            ),
        )

    def of(self, row: int, contribution: float) -> dict[str, Any]:
        a, b = float(self.a[row]), float(self.b[row])
        return {
            "family": self.name,
            "feature": self.feature,
            "contribution": float(contribution),
            "track_value": a if np.isfinite(a) else None,
            "recommended_value": b if np.isfinite(b) else None,
            "statement": self.words[row],
        }


_FAMILY_MEASURE: dict[str, str | None] = {
    "timbre": None,
    "brightness": "spectral_centroid_mean",
    "harmony": "key",
    "rhythm": "tempo",
    "dynamics": "rms_mean",
    "noisiness": "spectral_flatness_mean",
}


def _decibels(values: FloatArray) -> FloatArray:
    return 20 * np.log10(np.maximum(values, 1e-6))


def _spoken(measure: str, values: FloatArray) -> FloatArray:
    """Return values in the units that statements and `reasons` give them in: dB of full scale, kHz."""
    if measure == "rms_mean":
        return _decibels(values)
    return values / 1000 if measure == "spectral_centroid_mean" else values


_ATTRIBUTE_RULES: tuple[tuple[str, str, Callable[[FloatArray], npt.NDArray[np.bool_]]], ...] = (
    ("energy", "energy_high", lambda v: v > 0.7),
    ("energy", "energy_low", lambda v: v < 0.3),
    ("acousticness", "acousticness_high", lambda v: v > 0.8),
    ("valence", "valence_high", lambda v: v > 0.7),
    ("valence", "valence_low", lambda v: v < 0.3),
    ("danceability", "danceability_high", lambda v: v > 0.7),
)


def _differences(pairs: Pairs) -> Callable[[int, bool], str | None]:
    a, b = pairs.track.measures, pairs.recommended.measures
    louder = _decibels(b["rms_mean"]) - _decibels(a["rms_mean"])
    both = (a["tempo"] > 0) & (b["tempo"] > 0)
    faster = np.log2(np.where(both, b["tempo"], 1) / np.where(both, a["tempo"], 1))
    octave = np.abs(np.abs(faster) - 1) <= _FAR_TEMPO  # an estimated tempo is easily off by an octave

    def difference(row: int, tempo_may_be_told: bool) -> str | None:
        if abs(louder[row]) >= _FAR_DB:
            return _phrase("difference.louder" if louder[row] > 0 else "difference.quieter").format(
                d=abs(louder[row])
            )
        if tempo_may_be_told and abs(faster[row]) >= _FAR_TEMPO and not octave[row]:
            phrase = _phrase("difference.faster" if faster[row] > 0 else "difference.slower")
            return phrase.format(a=a["tempo"][row], b=b["tempo"][row])
        return None

    return difference


def _sentence(spoken: list[str], by_catalogue: list[str], difference: str | None) -> str:
    words = _phrases()["sentence"]
    reasons = spoken[: _MOST_REASONS - 1] + by_catalogue[:1] if by_catalogue else spoken[:_MOST_REASONS]
    if not reasons:
        return str(words["closest_but"].format(difference=difference) if difference else words["closest"])
    while True:
        joined = words["separator"].join(reasons[:-1])
        joined = joined + words["last_separator"] + reasons[-1] if joined else reasons[-1]
        form = words["alike_but"] if difference else words["alike"]
        sentence = str(form.format(reasons=joined, difference=difference))
        if len(sentence) <= _LONGEST or len(reasons) == 1:
            return sentence
        reasons = reasons[:-1]


def _key(key: float, mode: float) -> str:
    words = _phrases()
    return str(words["key"]["major" if mode == 1 else "minor"].format(tonic=words["keys"][int(key)]))


def _norm(vectors: npt.NDArray[np.float32]) -> FloatArray:
    length: FloatArray = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    return length


def _hybrid_norm(side: Side, weights: dict[str, float]) -> FloatArray:
    """Return the length of the joined vectors: 1, unless one of the two is zero."""
    has = [
        (_norm(side.features) > 0) * weights["features"],
        (_norm(side.spectrogram) > 0) * weights["spectrogram"],
    ]
    length: FloatArray = np.sqrt(has[0] + has[1])
    return length


def _ratio(parts: FloatArray, length: FloatArray) -> FloatArray:
    return np.divide(parts, length[:, None], out=np.zeros_like(parts), where=length[:, None] > 0)


@lru_cache(maxsize=1)
def _phrases() -> dict[str, Any]:
    text = (files("specrec.recommend") / "phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def _phrase(dotted: str) -> str:
    section, _, name = dotted.partition(".")
    return str(_phrases()[section][name])
